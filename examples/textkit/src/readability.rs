//! The classic readability formulas for English.

use crate::segments;

/// Words of this many syllables are hard in the sense of the fog index.
const HARD_WORD_SYLLABLES: usize = 3;

/// The scores of a text.
pub(crate) struct Scores {
    pub(crate) flesch_reading_ease: f64,
    pub(crate) flesch_kincaid_grade: f64,
    pub(crate) gunning_fog: f64,
}

/// The scores, or nothing for a text without words.
pub(crate) fn assess(text: &str) -> Option<Scores> {
    let syllables: Vec<usize> = segments::words(text).map(syllables).collect();
    if syllables.is_empty() {
        return None;
    }
    let words = syllables.len() as f64;
    let hard_words = syllables.iter().filter(|&&count| count >= HARD_WORD_SYLLABLES).count() as f64;
    let words_per_sentence = words / segments::sentences(text).len().max(1) as f64;
    let syllables_per_word = syllables.iter().sum::<usize>() as f64 / words;
    Some(Scores {
        flesch_reading_ease: 206.835 - 1.015 * words_per_sentence - 84.6 * syllables_per_word,
        flesch_kincaid_grade: 0.39 * words_per_sentence + 11.8 * syllables_per_word - 15.59,
        gunning_fog: 0.4 * (words_per_sentence + 100.0 * hard_words / words),
    })
}

/// The syllables of an English word: its groups of vowels, less the silent endings. At least 1.
fn syllables(word: &str) -> usize {
    let word = word.to_lowercase();
    let is_vowel = |character: char| "aeiouyáàâäãåæéèêëíìîïóòôöõøúùûü".contains(character);
    let mut groups = 0;
    let mut after_vowel = false;
    for character in word.chars() {
        let vowel = is_vowel(character);
        groups += usize::from(vowel && !after_vowel);
        after_vowel = vowel;
    }
    groups.saturating_sub(usize::from(has_silent_ending(&word, is_vowel))).max(1)
}

fn has_silent_ending(word: &str, is_vowel: impl Fn(char) -> bool) -> bool {
    let consonant_before =
        |stem: &str| stem.chars().next_back().is_some_and(|last| !is_vowel(last));
    if let Some(stem) = word.strip_suffix("ed") {
        return consonant_before(stem) && !stem.ends_with(['t', 'd']);
    }
    if let Some(stem) = word.strip_suffix("es") {
        let is_sibilant = stem.ends_with(['s', 'x', 'z', 'c', 'g'])
            || stem.ends_with("sh")
            || stem.ends_with("ch");
        return consonant_before(stem) && !is_sibilant && !stem.ends_with('l');
    }
    let Some(stem) = word.strip_suffix('e') else {
        return false;
    };
    // "table" and "centre" speak their last syllable.
    let mut before = stem.chars().rev();
    let spoken = matches!(before.next(), Some('l' | 'r'))
        && before.next().is_some_and(|second| !is_vowel(second));
    consonant_before(stem) && !spoken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_syllables() {
        let cases = [
            ("cat", 1),
            ("the", 1),
            ("table", 2),
            ("make", 1),
            ("jumped", 1),
            ("wanted", 2),
            ("boxes", 2),
            ("makes", 1),
            ("readability", 5),
            ("university", 5),
            ("rhythm", 1),
            ("42", 1),
        ];
        for (word, expected) in cases {
            assert_eq!(syllables(word), expected, "{word}");
        }
    }

    #[test]
    fn short_words_are_easier_than_long_ones() {
        let easy = assess("The cat sat on the mat. The dog ran.").unwrap();
        let hard = assess(
            "Institutional considerations notwithstanding, jurisdictional ambiguity predominates.",
        )
        .unwrap();
        assert!(easy.flesch_reading_ease > 100.0);
        assert!(hard.flesch_reading_ease < 0.0);
        assert!(hard.flesch_kincaid_grade > easy.flesch_kincaid_grade);
        assert!(hard.gunning_fog > easy.gunning_fog);
    }

    #[test]
    fn no_words_no_scores() {
        assert!(assess(" -- ").is_none());
    }
}

//! Finds what a text is about: RAKE (Rose et al., 2010). A phrase is a run of words between stop
//! words and punctuation; a word counts for more the longer the phrases it stands in. Unlike RAKE the
//! score also grows with the number of occurrences, since long texts repeat what they are about.

use std::collections::{BTreeMap, HashMap};

use unicode_segmentation::UnicodeSegmentation;

/// Longer runs are enumerations or lists without punctuation, not phrases.
const PHRASE_WORDS_MAX: usize = 4;

/// English words that carry no subject, sorted.
const STOP_WORDS: [&str; 151] = [
    "a", "about", "above", "after", "again", "against", "all", "also", "although", "am", "an",
    "and", "any", "are", "as", "at", "be", "because", "been", "before", "being", "below",
    "between", "both", "but", "by", "can", "cannot", "could", "did", "do", "does", "doing",
    "don't", "down", "during", "each", "either", "etc", "every", "few", "for", "from", "further",
    "get", "give", "given", "had", "has", "have", "having", "he", "her", "here", "hers", "him",
    "his", "how", "however", "i", "if", "in", "into", "is", "it", "it's", "its", "itself", "just",
    "less", "let", "like", "made", "make", "many", "may", "me", "might", "more", "most", "much",
    "must", "my", "neither", "no", "nor", "not", "now", "of", "off", "often", "on", "once", "one",
    "only", "or", "other", "our", "out", "over", "own", "per", "rather", "same", "say", "says",
    "shall", "she", "should", "since", "so", "some", "such", "than", "that", "the", "their",
    "them", "then", "there", "these", "they", "this", "those", "though", "through", "thus", "to",
    "too", "under", "until", "up", "upon", "us", "use", "used", "very", "was", "we", "were",
    "what", "when", "where", "which", "while", "who", "will", "with", "would", "you", "your",
];

/// Whether an English word, in lower case, carries no subject.
pub(crate) fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word.replace('’', "'").as_str()).is_ok()
}

/// A phrase that a text is about.
pub(crate) struct Keyword {
    pub(crate) phrase: String,
    pub(crate) score: f64,
    pub(crate) occurrences: usize,
}

/// The phrases of a text, best first; equal ones in alphabetical order.
pub(crate) fn extract(text: &str) -> Vec<Keyword> {
    let phrases = phrases(text);
    let mut degree: HashMap<&str, (usize, usize)> = HashMap::new();
    for phrase in &phrases {
        for word in phrase {
            let (degree, frequency) = degree.entry(word).or_default();
            *degree += phrase.len();
            *frequency += 1;
        }
    }
    let mut occurrences: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for phrase in &phrases {
        *occurrences.entry(phrase.clone()).or_default() += 1;
    }
    let mut keywords: Vec<Keyword> = occurrences
        .into_iter()
        .map(|(phrase, occurrences)| {
            let weights = phrase.iter().filter_map(|word| degree.get(word.as_str()));
            let weight: f64 =
                weights.map(|&(degree, frequency)| degree as f64 / frequency as f64).sum();
            Keyword { score: weight * occurrences as f64, phrase: phrase.join(" "), occurrences }
        })
        .collect();
    keywords.sort_by(|one, other| {
        other.score.total_cmp(&one.score).then_with(|| one.phrase.cmp(&other.phrase))
    });
    let best = keywords.first().map_or(1.0, |keyword| keyword.score);
    for keyword in &mut keywords {
        keyword.score /= best;
    }
    keywords
}

/// The runs of content words, in lower case.
fn phrases(text: &str) -> Vec<Vec<String>> {
    let mut phrases = Vec::new();
    let mut phrase: Vec<String> = Vec::new();
    for token in text.split_word_bounds() {
        if token == " " || token == "-" {
            continue;
        }
        let word = token.to_lowercase();
        if token.chars().any(char::is_alphabetic) && !is_stop_word(&word) {
            phrase.push(word);
        } else {
            phrases.push(std::mem::take(&mut phrase));
        }
    }
    phrases.push(phrase);
    phrases.retain(|phrase| match phrase.as_slice() {
        [] => false,
        [word] => word.chars().count() > 2,
        _ => phrase.len() <= PHRASE_WORDS_MAX,
    });
    phrases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_are_sorted_for_the_search() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn the_subject_comes_first() {
        let found = extract(
            "Linear algebra is fun. We use linear algebra, and the solver of linear algebra systems is fast.",
        );
        assert_eq!(found[0].phrase, "linear algebra");
        assert_eq!(found[0].occurrences, 2);
        assert_eq!(found[0].score, 1.0);
        assert!(found.iter().any(|keyword| keyword.phrase == "linear algebra systems"));
        assert!(found.iter().all(|keyword| keyword.score > 0.0 && keyword.score <= 1.0));
    }

    #[test]
    fn runs_that_are_too_long_are_no_phrases() {
        assert!(extract("alpha beta gamma delta epsilon").is_empty());
        assert!(extract("").is_empty());
    }
}

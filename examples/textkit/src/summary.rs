//! Picks the most telling sentences of a text: SumBasic (Nenkova and Vanderwende, 2005). A sentence
//! is as telling as its content words are frequent; once a sentence is chosen its words count less,
//! so the summary does not repeat itself.

use std::collections::HashMap;

use crate::keywords::is_stop_word;
use crate::segments;

/// The indexes of at most `wanted` sentences, ascending.
pub(crate) fn choose(sentences: &[&str], wanted: usize) -> Vec<usize> {
    let words: Vec<Vec<String>> =
        sentences.iter().map(|sentence| content_words(sentence)).collect();
    let mut probability = probabilities(&words);
    let mut open: Vec<usize> = (0..sentences.len()).collect();
    let mut chosen = Vec::new();
    while chosen.len() < wanted {
        let Some(best) = best(&open, &words, &probability) else {
            break;
        };
        let index = open.remove(best);
        for word in &words[index] {
            probability.entry(word).and_modify(|probability| *probability *= *probability);
        }
        chosen.push(index);
    }
    chosen.sort_unstable();
    chosen
}

fn content_words(sentence: &str) -> Vec<String> {
    segments::words(sentence).map(str::to_lowercase).filter(|word| !is_stop_word(word)).collect()
}

fn probabilities(sentences: &[Vec<String>]) -> HashMap<&str, f64> {
    let total = sentences.iter().map(Vec::len).sum::<usize>() as f64;
    let mut probability = HashMap::new();
    for word in sentences.iter().flatten() {
        *probability.entry(word.as_str()).or_insert(0.0) += 1.0 / total;
    }
    probability
}

/// The position in `open` of the best sentence. The earlier one wins a tie.
fn best(open: &[usize], words: &[Vec<String>], probability: &HashMap<&str, f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (position, &index) in open.iter().enumerate() {
        let score = score(&words[index], probability);
        if best.is_none_or(|(_, best_score)| score > best_score) {
            best = Some((position, score));
        }
    }
    best.map(|(position, _)| position)
}

/// Sentences below this length are headings and interjections: one frequent word would make them win.
const WORDS_FOR_FULL_SCORE: usize = 6;

fn score(words: &[String], probability: &HashMap<&str, f64>) -> f64 {
    if words.is_empty() {
        return 0.0;
    }
    let sum: f64 = words.iter().filter_map(|word| probability.get(word.as_str())).sum();
    sum / words.len().max(WORDS_FOR_FULL_SCORE) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: [&str; 5] = [
        "Bees pollinate flowers while they collect nectar for the hive.",
        "The weather was nice.",
        "Without bees many flowers and crops would not set seed in summer.",
        "Bees!",
        "A hive of bees can visit millions of flowers in a single summer day.",
    ];

    #[test]
    fn keeps_the_subject_and_the_order() {
        assert_eq!(choose(&TEXT, 2), [0, 2]);
    }

    #[test]
    fn never_more_than_there_is() {
        assert_eq!(choose(&TEXT, 99), [0, 1, 2, 3, 4]);
        assert!(choose(&[], 3).is_empty());
    }

    #[test]
    fn does_not_repeat_itself() {
        let text = [
            "Red apples grow on old apple trees here.",
            "Red apples grow on old apple trees here.",
            "Blue plums ripen.",
        ];
        assert_eq!(choose(&text, 2), [0, 2]);
    }
}

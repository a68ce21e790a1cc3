//! Counts what a text is made of.

use std::collections::HashSet;

use unicode_segmentation::UnicodeSegmentation;

use crate::segments;

/// Silent reading of English non-fiction by adults (Brysbaert 2019).
const WORDS_PER_MINUTE: usize = 238;

/// The counts of a text.
pub(crate) struct Statistics {
    pub(crate) characters: usize,
    pub(crate) words: usize,
    pub(crate) unique_words: usize,
    pub(crate) sentences: usize,
    pub(crate) paragraphs: usize,
}

impl Statistics {
    pub(crate) fn words_per_sentence(&self) -> f64 {
        if self.sentences == 0 { 0.0 } else { self.words as f64 / self.sentences as f64 }
    }

    /// Rounded up, so that a text with words never takes no time.
    pub(crate) fn reading_seconds(&self) -> usize {
        (self.words * 60).div_ceil(WORDS_PER_MINUTE)
    }
}

/// Counts a text.
pub(crate) fn measure(text: &str) -> Statistics {
    let mut words = 0;
    let mut unique = HashSet::new();
    for word in segments::words(text) {
        words += 1;
        unique.insert(word.to_lowercase());
    }
    Statistics {
        characters: text.graphemes(true).count(),
        words,
        unique_words: unique.len(),
        sentences: segments::sentences(text).len(),
        paragraphs: segments::paragraphs(text).len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_as_a_reader_does() {
        let statistics = measure("Tea, tea! A cafe\u{301} 👩‍🚀.\n\nThe end.");
        assert_eq!(statistics.characters, 29);
        assert_eq!(statistics.words, 6);
        assert_eq!(statistics.unique_words, 5);
        assert_eq!(statistics.sentences, 3);
        assert_eq!(statistics.paragraphs, 2);
        assert_eq!(statistics.reading_seconds(), 2);
    }

    #[test]
    fn nothing_is_nothing() {
        let statistics = measure("");
        assert_eq!(
            (statistics.characters, statistics.words, statistics.reading_seconds()),
            (0, 0, 0)
        );
        assert_eq!(statistics.words_per_sentence(), 0.0);
    }
}

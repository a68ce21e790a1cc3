//! Cuts a text into paragraphs, sentences and words, by the Unicode rules (UAX #29) plus what those
//! leave to the language: abbreviations.

use unicode_segmentation::UnicodeSegmentation;

/// English words whose full stop does not end a sentence, in lower case.
const ABBREVIATIONS: [&str; 24] = [
    "mr.", "mrs.", "ms.", "dr.", "prof.", "st.", "sr.", "jr.", "vs.", "etc.", "e.g.", "i.e.",
    "cf.", "fig.", "no.", "vol.", "p.", "pp.", "ca.", "approx.", "inc.", "ltd.", "co.", "u.s.",
];

/// The blocks of a text that blank lines separate.
pub(crate) fn paragraphs(text: &str) -> Vec<&str> {
    let mut paragraphs = Vec::new();
    let mut start = None;
    let mut end = 0;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if line.trim().is_empty() {
            paragraphs.extend(start.take().map(|start| text[start..end].trim()));
        } else {
            start.get_or_insert(offset);
            end = offset + line.len();
        }
        offset += line.len();
    }
    paragraphs.extend(start.map(|start| text[start..end].trim()));
    paragraphs
}

/// The sentences of a text. None spans two paragraphs.
pub(crate) fn sentences(text: &str) -> Vec<&str> {
    paragraphs(text).into_iter().flat_map(sentences_of_paragraph).collect()
}

fn sentences_of_paragraph(paragraph: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let mut end = 0;
    for bound in paragraph.split_sentence_bounds() {
        end += bound.len();
        let sentence = paragraph[start..end].trim();
        if !ends_in_abbreviation(sentence) {
            if words(sentence).next().is_some() {
                sentences.push(sentence);
            }
            start = end;
        }
    }
    let rest = paragraph[start..].trim();
    if words(rest).next().is_some() {
        sentences.push(rest);
    }
    sentences
}

fn ends_in_abbreviation(sentence: &str) -> bool {
    let last = sentence.rsplit(char::is_whitespace).next().unwrap_or_default();
    let last = last.trim_start_matches(['(', '[', '"', '\'', '“', '‘']);
    let is_initial = {
        let mut characters = last.chars();
        characters.next().is_some_and(|first| first.is_uppercase() && first != 'I')
            && characters.next() == Some('.')
            && characters.next().is_none()
    };
    is_initial || ABBREVIATIONS.contains(&last.to_lowercase().as_str())
}

/// The words of a text, without punctuation.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.unicode_words()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_separate_paragraphs() {
        assert_eq!(paragraphs("one\ntwo\n\n \nthree\n"), ["one\ntwo", "three"]);
        assert!(paragraphs(" \n\n").is_empty());
    }

    #[test]
    fn abbreviations_and_initials_do_not_end_a_sentence() {
        assert_eq!(
            sentences("Dr. A. Smith paid 3.50 dollars. He left! Did he?"),
            ["Dr. A. Smith paid 3.50 dollars.", "He left!", "Did he?"]
        );
    }

    #[test]
    fn a_heading_is_a_sentence_of_its_own() {
        assert_eq!(sentences("Results\n\nIt works."), ["Results", "It works."]);
    }

    #[test]
    fn a_text_that_ends_in_an_abbreviation_keeps_its_last_sentence() {
        assert_eq!(sentences("We saw cats, dogs, etc."), ["We saw cats, dogs, etc."]);
    }

    #[test]
    fn punctuation_alone_is_no_sentence() {
        assert!(sentences("... !!! ---").is_empty());
    }
}

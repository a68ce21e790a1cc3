//! From a user's text to an FTS5 expression. Every text is legal: only letters and digits get
//! through, each word in quotes, so nothing in it can be read as FTS5 syntax.
//!
//! A tool that has any of the words matches, and ranking puts those first that have more and rarer
//! ones; demanding all of them would fail most questions that people and models type. The last word
//! may be unfinished and also matches longer ones.

/// Words of a query that are used. A tool has few to offer, and each costs a pass over the tools
/// that have it.
const WORDS_MAX: usize = 8;

/// What is read of a query. More is not a search.
const TEXT_MAX_BYTES: usize = 1024;

/// Shorter last words match as they are only: a single letter begins a word of nearly every tool.
const PREFIX_LENGTH_MIN: usize = 2;

/// Words so common in descriptions that they decide nothing and cost a pass over every tool.
const COMMON: [&str; 38] = [
    "a", "an", "and", "any", "are", "as", "at", "be", "by", "can", "do", "for", "from", "how", "i",
    "if", "in", "is", "it", "its", "me", "my", "of", "on", "or", "that", "the", "this", "to",
    "want", "what", "when", "which", "will", "with", "would", "you", "your",
];

/// What a text asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is empty.
    Everything,
    /// An FTS5 expression.
    Match(String),
    /// It has no word at all.
    Nothing,
}

pub(super) fn parse(text: &str) -> Meaning {
    if text.trim().is_empty() {
        return Meaning::Everything;
    }
    let text = &text[..text.floor_char_boundary(TEXT_MAX_BYTES)];
    let words = || text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let telling: Vec<&str> = words().filter(|word| !is_common(word)).take(WORDS_MAX).collect();
    let words = if telling.is_empty() { words().take(WORDS_MAX).collect() } else { telling };
    let Some((last, others)) = words.split_last() else { return Meaning::Nothing };
    let mut expression: String = others.iter().map(|word| format!("\"{word}\" OR ")).collect();
    expression.push_str(&format!("\"{last}\""));
    if last.chars().count() >= PREFIX_LENGTH_MIN {
        expression.push('*');
    }
    Meaning::Match(expression)
}

fn is_common(word: &str) -> bool {
    COMMON.iter().any(|common| word.eq_ignore_ascii_case(common))
}

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

/// Shorter last words match as they are only: one or two Latin letters begin a word of nearly every
/// tool. A single character of a script with longer codes tells enough.
const PREFIX_MIN_BYTES: usize = 3;

/// Words so common in descriptions that they decide nothing and cost a pass over every tool.
const COMMON: [&str; 38] = [
    "a", "an", "and", "any", "are", "as", "at", "be", "by", "can", "do", "for", "from", "how", "i",
    "if", "in", "is", "it", "its", "me", "my", "of", "on", "or", "that", "the", "this", "to",
    "want", "what", "when", "which", "will", "with", "would", "you", "your",
];

/// What a text asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// It is empty.
    Everything,
    /// These words, at least one.
    Words(Vec<Word<'a>>),
    /// It has no word at all.
    Nothing,
}

/// A word of a query: letters and digits only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    /// Whether longer words that begin with it match as well.
    pub(super) is_unfinished: bool,
}

pub(super) fn parse(text: &str) -> Meaning<'_> {
    if text.trim().is_empty() {
        return Meaning::Everything;
    }
    let text = &text[..text.floor_char_boundary(TEXT_MAX_BYTES)];
    let all = || text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let telling: Vec<&str> = all().filter(|word| !is_common(word)).take(WORDS_MAX).collect();
    let words = if telling.is_empty() { all().take(WORDS_MAX).collect() } else { telling };
    let last = words.len().saturating_sub(1);
    let mut meant = Vec::with_capacity(words.len());
    for (index, text) in words.into_iter().enumerate() {
        meant.push(Word { text, is_unfinished: index == last && text.len() >= PREFIX_MIN_BYTES });
    }
    if meant.is_empty() { Meaning::Nothing } else { Meaning::Words(meant) }
}

/// The FTS5 expression for any of the words.
pub(super) fn expression(words: &[Word<'_>]) -> String {
    let quoted =
        |word: &Word<'_>| format!("\"{}\"{}", word.text, if word.is_unfinished { "*" } else { "" });
    words.iter().map(quoted).collect::<Vec<_>>().join(" OR ")
}

fn is_common(word: &str) -> bool {
    COMMON.iter().any(|common| word.eq_ignore_ascii_case(common))
}

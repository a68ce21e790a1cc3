//! What is wrong with a settings or configuration file, and where.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use super::lines::Index;

/// The most characters of a message. What the author wrote is repeated in it, and nobody reads a page of that.
const MESSAGE_CHARS_MAX: usize = 2000;
/// The most characters of a name in a message, and of one to which another is suggested: what compares them takes the
/// product of their lengths.
pub(super) const NAME_CHARS_MAX: usize = 64;

/// One mistake, in words that say what would be right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Mistake {
    /// A mistake at a byte offset of `text`, whose lines begin where `index` says: looking for them anew for each mistake
    /// would read a file of mistakes thousands of times.
    pub(super) fn at(text: &str, index: &Index, offset: usize, message: &str) -> Self {
        let (line, begin) = index.line(offset);
        let before = &text[begin..text.floor_char_boundary(offset).max(begin)];
        Self {
            line,
            column: before.chars().count() + 1,
            message: shortened(message, MESSAGE_CHARS_MAX).into_owned(),
        }
    }
}

/// A name that the author chose, as messages repeat it.
pub(super) fn shown(name: &str) -> Cow<'_, str> {
    shortened(name, NAME_CHARS_MAX)
}

fn shortened(text: &str, chars_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for Mistake {}

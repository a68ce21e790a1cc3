//! The notebook: notes in what the agent remembers over all conversations, one entry each under its title, so
//! that titles are listed without reading notes.

use aop_agent::changes;
use aop_agent::state::{Bucket, StateError};
use serde::{Deserialize, Serialize};

use crate::address;

/// Longest title: a line in a list.
const TITLE_MAX_CHARS: usize = 120;
/// Longest text: a note, not a book.
const TEXT_MAX_BYTES: usize = 64 << 10;
/// Tags of one note.
const TAGS_MAX: usize = 16;
/// Longest tag.
const TAG_MAX_CHARS: usize = 32;
/// Notes in all: each is read for a search.
const NOTES_MAX: usize = 1000;
/// Notes that one search gives back.
const FOUND_MAX: usize = 100;

/// A note.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) tags: Vec<String>,
}

/// See the module's documentation.
pub(crate) struct Book(Bucket);

impl Book {
    pub(crate) fn open() -> Result<Self, String> {
        Bucket::agent().map(Self).map_err(in_words)
    }

    /// Writes a note, and tells clients that it changed.
    pub(crate) fn write(&self, note: &Note) -> Result<(), String> {
        check(note)?;
        let titles = self.titles()?;
        let is_new = !titles.contains(&note.title);
        if is_new && titles.len() >= NOTES_MAX {
            return Err(format!("the notebook is full: {NOTES_MAX} notes; remove some"));
        }
        self.0.set(&note.title, note).map_err(in_words)?;
        if is_new {
            changes::resources_changed();
        }
        changes::resource_updated(&address::of(&note.title))
    }

    pub(crate) fn read(&self, title: &str) -> Result<Option<Note>, String> {
        self.0.get(title).map_err(in_words)
    }

    pub(crate) fn remove(&self, title: &str) -> Result<(), String> {
        self.0.delete(title).map_err(in_words)?;
        changes::resources_changed();
        Ok(())
    }

    /// All titles, in order.
    pub(crate) fn titles(&self) -> Result<Vec<String>, String> {
        let mut titles = self.0.keys().map_err(in_words)?;
        titles.sort();
        Ok(titles)
    }

    /// All tags, in order.
    pub(crate) fn tags(&self) -> Result<Vec<String>, String> {
        let mut tags: Vec<String> = self.all()?.into_iter().flat_map(|note| note.tags).collect();
        tags.sort();
        tags.dedup();
        Ok(tags)
    }

    /// Notes that have all the words, and the tag if there is one.
    pub(crate) fn find(&self, words: &str, tag: Option<&str>) -> Result<Vec<Note>, String> {
        let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
        let fits = |note: &Note| {
            let text = format!("{} {}", note.title, note.text).to_lowercase();
            words.iter().all(|word| text.contains(word))
                && tag.is_none_or(|tag| note.tags.iter().any(|known| known == tag))
        };
        let mut found = self.all()?;
        found.retain(fits);
        found.truncate(FOUND_MAX);
        Ok(found)
    }

    fn all(&self) -> Result<Vec<Note>, String> {
        let notes = self.titles()?.into_iter().map(|title| self.read(&title));
        // One that was removed in between is left out.
        notes.filter_map(Result::transpose).collect()
    }
}

fn check(note: &Note) -> Result<(), String> {
    if note.title.trim().is_empty() || note.title.chars().count() > TITLE_MAX_CHARS {
        return Err(format!("a title has 1 to {TITLE_MAX_CHARS} characters"));
    }
    if note.text.len() > TEXT_MAX_BYTES {
        return Err(format!("a note has at most {} KiB of text", TEXT_MAX_BYTES >> 10));
    }
    let is_word = |tag: &String| {
        (1..=TAG_MAX_CHARS).contains(&tag.chars().count())
            && tag.chars().all(|c| (c.is_alphanumeric() && !c.is_uppercase()) || c == '-')
    };
    if note.tags.len() > TAGS_MAX || !note.tags.iter().all(is_word) {
        return Err(format!(
            "a note has at most {TAGS_MAX} tags, each a word in lower case of at most {TAG_MAX_CHARS} characters"
        ));
    }
    Ok(())
}

fn in_words(error: StateError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;

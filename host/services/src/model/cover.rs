//! Keeps a provider's key out of what agents read: a provider that repeats a request, as gateways for debugging do,
//! would hand the key to whoever asks.
//!
//! A key is found as it was sent, not where the provider encodes it: the operator chose the provider and gave it the key.

use aop_core::model::{Completion, Part};

/// What is there instead of a key.
pub(super) const COVERED: &str = "[key]";

/// The shortest key that is looked for in answers, in bytes. Servers that ask for none get words like `ollama` for one,
/// which an answer may well have in it.
const KEY_MIN_BYTES: usize = 8;

/// A text as it is within a text of JSON.
pub(super) fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Covers the key of one provider.
#[derive(Default)]
pub(super) struct Cover {
    key: Option<String>,
    /// As it is within a text of JSON, where that differs.
    escaped: Option<String>,
}

impl Cover {
    pub(super) fn of(key: &str) -> Self {
        if key.len() < KEY_MIN_BYTES {
            return Self::default();
        }
        let escaped = in_json(key);
        Self { key: Some(key.to_owned()), escaped: Some(escaped).filter(|escaped| escaped != key) }
    }

    fn text(&self, text: &mut String) {
        for key in self.escaped.iter().chain(&self.key) {
            if text.contains(key.as_str()) {
                *text = text.replace(key.as_str(), COVERED);
            }
        }
    }

    /// Covers every text that a provider wrote.
    pub(super) fn completion(&self, completion: &mut Completion) {
        self.text(&mut completion.model);
        for part in &mut completion.parts {
            match part {
                Part::Text(text) => self.text(text),
                Part::ToolCall { id, name, arguments } => {
                    [id, name, arguments].into_iter().for_each(|text| self.text(text));
                }
                Part::Image { .. } | Part::ToolResult { .. } => {}
            }
        }
    }
}

/// Covers a key in a text that comes in pieces. It holds back as much as the beginning of one may have.
pub(super) struct Pieces {
    cover: Cover,
    held: String,
}

impl Pieces {
    pub(super) fn new(cover: Cover) -> Self {
        Self { cover, held: String::new() }
    }

    /// What can be shown after another piece.
    pub(super) fn push(&mut self, piece: String) -> String {
        if self.held.is_empty() {
            self.held = piece;
        } else {
            self.held.push_str(&piece);
        }
        self.cover.text(&mut self.held);
        let rest = self.held.split_off(self.held.len() - self.undecided());
        std::mem::replace(&mut self.held, rest)
    }

    /// The end, of which nothing can be a key any more.
    pub(super) fn rest(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// How many bytes at the end are held back: as many as may be the beginning of a key, whatever they are. If it depended
    /// on what they are, where pieces end would tell an agent, whose model says what it asks for, how a key begins.
    fn undecided(&self) -> usize {
        let keys = self.cover.escaped.iter().chain(&self.cover.key);
        let longest = keys.map(|key| key.len() - 1).max().unwrap_or(0);
        self.held.len() - self.held.floor_char_boundary(self.held.len().saturating_sub(longest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(key: &str, pieces: &[&str]) -> String {
        let mut reading = Pieces::new(Cover::of(key));
        let mut shown: String =
            pieces.iter().map(|piece| reading.push((*piece).to_owned())).collect();
        shown.push_str(&reading.rest());
        shown
    }

    #[test]
    fn a_key_is_covered_wherever_the_text_is_cut() {
        let text = "grüezi sk-secret-12 und sk-secret, sk-secret-12sk-secret-12";
        let expected = "grüezi [key] und sk-secret, [key][key]";
        for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            let (one, other) = text.split_at(cut);
            assert_eq!(shown("sk-secret-12", &[one, other]), expected, "cut at {cut}");
        }
        let letters: Vec<_> = text.split_inclusive(|_| true).collect();
        assert_eq!(shown("sk-secret-12", &letters), expected);
    }

    #[test]
    fn where_pieces_end_tells_nothing_of_the_key() {
        for text in ["hello sk-secret-1", "hello sk-secret-x", "hello there, you!"] {
            let mut reading = Pieces::new(Cover::of("sk-secret-12"));
            assert_eq!(reading.push(text.to_owned()), text[..6], "{text}");
            assert_eq!(reading.push("?".to_owned()).len(), 1, "{text}");
            assert_eq!(reading.rest(), format!("{}?", &text[7..]));
        }
    }

    #[test]
    fn words_that_stand_for_no_key_are_left_alone() {
        assert_eq!(shown("ollama", &["I am ollama"]), "I am ollama");
        let mut reading = Pieces::new(Cover::of(""));
        assert_eq!(reading.push("all of it".to_owned()), "all of it");
    }

    #[test]
    fn a_key_is_covered_as_json_writes_it() {
        let key = r#"quoted"key\of"#;
        let json = serde_json::json!({ "said": key }).to_string();
        assert_eq!(shown(key, &[&json]), r#"{"said":"[key]"}"#);
        assert_eq!(shown(key, &[key]), "[key]");
    }

    proptest! {
        #[test]
        fn it_never_shows_one_and_loses_nothing_else(
            pieces in prop::collection::vec("[ab-]{0,6}", 0..12),
        ) {
            let key = "abababab-a";
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let text = shown(key, &pieces);
            prop_assert!(!text.contains(key));
            prop_assert_eq!(text, pieces.concat().replace(key, COVERED));
        }
    }
}

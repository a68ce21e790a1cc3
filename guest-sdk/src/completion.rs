//! Suggestions while a person fills in a prompt or a URI template.
//!
//! An agent exports `aop:agent/completion` in its WIT, implements [`Completion`], and names `completion` in
//! [`agent!`](crate::agent!).
//!
//! ```
//! use aop_agent::completion::{Completion, Subject, Suggestions};
//! use aop_agent::prompts::Arguments;
//!
//! struct Notes;
//!
//! impl Completion for Notes {
//!     fn complete(
//!         _subject: &Subject,
//!         name: &str,
//!         value: &str,
//!         _known: &Arguments,
//!     ) -> Result<Suggestions, String> {
//!         Ok(match name {
//!             "note" => Suggestions::beginning_with(value, ["Plans", "Places", "People"]),
//!             _ => Suggestions::default(),
//!         })
//!     }
//! }
//!
//! let subject = Subject::Prompt("review".to_owned());
//! let found = Notes::complete(&subject, "note", "Pl", &Arguments::default()).unwrap();
//! assert_eq!(found.values, ["Plans", "Places"]);
//! ```

use crate::prompts::Arguments;

/// Most values that a client is given at once.
pub const VALUES_MAX: usize = 100;

/// An agent that suggests values.
pub trait Completion {
    /// Suggests values for the parameter `name` that begin like `value`. `known` is filled in already.
    ///
    /// # Errors
    /// Why there are no suggestions.
    fn complete(
        subject: &Subject,
        name: &str,
        value: &str,
        known: &Arguments,
    ) -> Result<Suggestions, String>;
}

/// What is being filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The prompt of this name within the agent.
    Prompt(String),
    /// This URI template.
    Template(String),
}

/// What could be filled in, the best first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suggestions {
    /// At most [`VALUES_MAX`] values.
    pub values: Vec<String>,
    /// How many there are in all, when that is known.
    pub total: Option<u32>,
    /// Whether there are more.
    pub has_more: bool,
}

impl Suggestions {
    /// Those of some values that begin with what was typed.
    pub fn beginning_with<V: Into<String>>(
        typed: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values = values.into_iter().map(Into::into);
        let mut values: Vec<String> = values.filter(|value| value.starts_with(typed)).collect();
        let total = values.len();
        values.truncate(VALUES_MAX);
        Self { values, total: u32::try_from(total).ok(), has_more: total > VALUES_MAX }
    }
}

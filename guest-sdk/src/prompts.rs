//! Texts that a person picks from a menu to start a conversation.
//!
//! An agent exports `aop:agent/prompts` in its WIT, implements [`Prompts`], and names `prompts` in
//! [`agent!`](crate::agent!). A prompt `review` of an agent `notes` is `notes_review` for clients.
//!
//! ```
//! use aop_agent::prompts::{Arguments, Entry, GetError, Prompt, Prompts};
//!
//! struct Notes;
//!
//! impl Prompts for Notes {
//!     fn list() -> Result<Vec<Entry>, String> {
//!         Ok(vec![Entry::new("review").description("Reviews a note.").required("note", "Its title")])
//!     }
//!
//!     fn get(name: &str, arguments: &Arguments) -> Result<Prompt, GetError> {
//!         match name {
//!             "review" => {
//!                 let note = arguments.require("note")?;
//!                 Ok(Prompt::new().user(format!("Review my note {note}.")))
//!             }
//!             _ => Err(GetError::NotFound),
//!         }
//!     }
//! }
//!
//! let filled_in = Arguments::from(vec![("note".to_owned(), "Plans".to_owned())]);
//! assert_eq!(Notes::get("review", &filled_in).unwrap().messages.len(), 1);
//! assert!(matches!(Notes::get("review", &Arguments::default()), Err(GetError::Invalid(_))));
//! ```

use crate::content::{Block, Role};

/// An agent that offers prompts.
pub trait Prompts {
    /// The prompts that exist now.
    ///
    /// # Errors
    /// Why they cannot be listed.
    fn list() -> Result<Vec<Entry>, String>;

    /// Fills in one prompt.
    ///
    /// # Errors
    /// [`GetError`].
    fn get(name: &str, arguments: &Arguments) -> Result<Prompt, GetError>;
}

/// Why a prompt cannot be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GetError {
    /// There is no such prompt.
    NotFound,
    /// Something that was filled in is missing or wrong.
    Invalid(String),
    /// Anything else, in words for the reader.
    Failed(String),
}

/// What a person filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments(Vec<(String, String)>);

impl Arguments {
    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that must be given.
    ///
    /// # Errors
    /// It is missing.
    pub fn require(&self, name: &str) -> Result<&str, GetError> {
        self.get(name).ok_or_else(|| GetError::Invalid(format!("`{name}` is missing")))
    }
}

impl From<Vec<(String, String)>> for Arguments {
    fn from(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }
}

/// A prompt on the menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name within the agent.
    pub name: String,
    /// A name for people.
    pub title: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What a person fills in.
    pub parameters: Vec<Parameter>,
}

/// Something that a person fills in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What to fill in.
    pub description: Option<String>,
    /// Whether it must be given.
    pub required: bool,
}

impl Entry {
    /// A prompt that needs nothing filled in.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), title: None, description: None, parameters: Vec::new() }
    }

    /// A name for people.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// What it is for.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Something that must be filled in.
    #[must_use]
    pub fn required(self, name: impl Into<String>, description: impl Into<String>) -> Self {
        self.parameter(name.into(), description.into(), true)
    }

    /// Something that may be filled in.
    #[must_use]
    pub fn optional(self, name: impl Into<String>, description: impl Into<String>) -> Self {
        self.parameter(name.into(), description.into(), false)
    }

    fn parameter(mut self, name: String, description: String, required: bool) -> Self {
        self.parameters.push(Parameter { name, description: Some(description), required });
        self
    }
}

/// One message of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: Block,
}

/// A prompt that was filled in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prompt {
    /// What it is for.
    pub description: Option<String>,
    /// The messages that begin the conversation.
    pub messages: Vec<Message>,
}

impl Prompt {
    /// An empty conversation.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the person says.
    #[must_use]
    pub fn user(self, text: impl Into<String>) -> Self {
        self.message(Role::User, Block::text(text))
    }

    /// What the model says.
    #[must_use]
    pub fn assistant(self, text: impl Into<String>) -> Self {
        self.message(Role::Assistant, Block::text(text))
    }

    /// One more message.
    #[must_use]
    pub fn message(mut self, role: Role, content: Block) -> Self {
        self.messages.push(Message { role, content });
        self
    }
}

//! What a running agent can ask of the client that waits for its call.
//!
//! An edge that can carry such questions gives the call a [`Client`]; a call without one (a batch, a
//! command line, a client that did not offer the feature) answers every question with
//! [`AskError::Unsupported`]. Questions are MCP's own: elicitation, sampling and roots, as a request within the
//! session (2025-11-25) or as a round of `input_required` (2026-07-28); questions that are open at one time
//! are asked in one round. The call keeps its instance and its deadline while it waits.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::model::{Completion, CompletionRequest, ModelError};
use crate::{BoxFuture, GuestLevel};

/// The client behind a call.
pub trait Client: Send + Sync {
    /// Asks the person. Dropping the future withdraws the question.
    ///
    /// # Errors
    /// [`AskError`].
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Answer, AskError>>;

    /// Lets the client's own model complete a conversation (MCP sampling).
    ///
    /// # Errors
    /// [`ModelError`].
    fn sample(&self, request: CompletionRequest) -> BoxFuture<'_, Result<Completion, ModelError>>;

    /// Asks for the places on its machine that the client lets servers work on (MCP roots).
    ///
    /// # Errors
    /// [`AskError`].
    fn roots(&self) -> BoxFuture<'_, Result<Vec<Root>, AskError>>;

    /// The same client for a call of `tool` that this one leads to. The names of its questions are its own, so that
    /// nothing which the client answered ahead for this call reaches them.
    fn within(self: Arc<Self>, tool: &str) -> Arc<dyn Client>;

    /// Shows a line of the guest's log to the client, if it asked for that level. Never blocks.
    fn log(&self, level: GuestLevel, logger: &str, text: &str);
}

/// A question to a person.
#[derive(Debug, Clone)]
pub enum Question {
    /// Fill in a form (MCP elicitation, mode `form`).
    Form {
        /// Names it among the questions of its call; none for the name of its first field.
        key: Option<String>,
        /// What it is about.
        message: String,
        /// The restricted JSON Schema that MCP allows here: a flat object of primitives.
        schema: Box<RawValue>,
    },
    /// Go to a page (MCP elicitation, mode `url`).
    Url {
        /// Names it among the questions of its call; none for `url`.
        key: Option<String>,
        /// Why.
        message: String,
        /// Where; an absolute `https` or `http` URL.
        url: String,
    },
}

/// What a person did.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Agreed. For a form: a JSON object, not yet checked against the form.
    Accepted(Box<RawValue>),
    /// Said no.
    Declined,
    /// Closed the question.
    Dismissed,
}

/// A place on the client's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Where it is; a `file://` URI so far.
    pub uri: String,
    /// A name for people.
    pub name: Option<String>,
}

/// Why a client could not be asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError {
    /// The client cannot, or did not offer to.
    #[error("{0}")]
    Unsupported(String),
    /// The question breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// The client went wrong, or went away.
    #[error("{0}")]
    Failed(String),
}

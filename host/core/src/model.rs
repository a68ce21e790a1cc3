//! Conversations with a language model: the paper's M and θ, as `aop:agent/model` has them.
//!
//! Which model an agent talks to is in its settings ([`ModelBinding`]); who serves it and with which
//! key is the operator's ([`Models`] knows). `services` implements the providers.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::quota::Payer;
use crate::{AgentId, BoxFuture, StoreError, TenantName};

/// The model of an agent (`[model]` in its settings; the paper's M, φ and θ).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelBinding {
    /// A provider of the host's configuration, or [`ModelBinding::CLIENT`].
    pub provider: String,
    /// The model's name at that provider; a hint when the provider is the client.
    pub name: String,
    /// φ: put before every conversation.
    pub system: Option<String>,
    /// Unless a request has its own.
    pub temperature: Option<f64>,
    /// The most output tokens of one completion.
    pub max_tokens: u32,
    /// How many rounds of model and tools a task may take.
    pub max_loops: u32,
    /// Tokens, read and written, that one call may use, nested calls not included.
    pub tokens_per_call: u64,
    /// Tokens, read and written, that the agent may use per day (UTC) at the providers of this host; those of a
    /// client's own model are the client's to count.
    pub tokens_per_day: u64,
}

// Settings accept no NaN.
impl Eq for ModelBinding {}

impl ModelBinding {
    /// The provider that asks the connected MCP client (sampling).
    pub const CLIENT: &'static str = "client";
}

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Role {
    System,
    User,
    Assistant,
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text.
    Text(String),
    /// An image.
    Image {
        /// The file.
        data: Vec<u8>,
        /// Such as `image/png`.
        mime_type: String,
    },
    /// The model wants a tool to be called.
    ToolCall {
        /// Identifies it within the conversation.
        id: String,
        /// The tool.
        name: String,
        /// A JSON object as text; from a model, so not to be trusted.
        arguments: String,
    },
    /// What a tool answered.
    ToolResult {
        /// The id of the call.
        id: String,
        /// The answer.
        text: String,
        /// Whether it is an error.
        is_error: bool,
    },
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub parts: Vec<Part>,
}

/// A tool that the model may ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOffer {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON Schema of its arguments; known to be a JSON object.
    pub input_schema: serde_json::Map<String, serde_json::Value>,
}

/// What to complete. Bounded by whoever makes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CompletionRequest {
    /// The conversation, the system prompt first.
    pub messages: Vec<Message>,
    /// Tools that the model may ask for.
    pub tools: Vec<ToolOffer>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// The most output tokens.
    pub max_tokens: Option<u32>,
    /// Texts that end the output.
    pub stop: Vec<String>,
    /// The model's name.
    pub model: String,
}

/// Why the output ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of aop:agent/model")]
pub enum StopReason {
    End,
    Length,
    ToolCalls,
    Filtered,
    Other,
}

/// Tokens that a completion took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Read.
    pub input_tokens: u64,
    /// Written.
    pub output_tokens: u64,
}

/// What the model said.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Text and calls of tools.
    pub parts: Vec<Part>,
    /// Why it ended.
    pub stop: StopReason,
    /// What it took.
    pub usage: Usage,
    /// Which model answered.
    pub model: String,
}

/// One step of a completion that is read while it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum CompletionEvent {
    /// More text.
    Text(String),
    /// The whole of it: the last event.
    Done(Completion),
}

/// Why there is no completion. Messages never hold a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The operator does not allow it.
    #[error("{0}")]
    Denied(String),
    /// A token budget is used up.
    #[error("{0}")]
    Budget(String),
    /// The provider refuses for now, even after retries.
    #[error("the model's provider is busy")]
    Busy(Option<Duration>),
    /// The request does not fit the model.
    #[error("{0}")]
    Invalid(String),
    /// The provider cannot be reached or answers nonsense.
    #[error("{0}")]
    Unavailable(String),
}

/// Whose tokens are counted.
#[derive(Clone)]
pub struct Spender {
    /// The tenant that asked.
    pub tenant: TenantName,
    /// The one that owns the agent: its secrets are used. Another one where the agent is shared.
    pub owner: TenantName,
    /// The agent.
    pub agent: AgentId,
    /// Who pays: how much the tenant may use, and whose turn it is where many ask.
    pub payer: Arc<Payer>,
}

/// What an agent spent on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpentTokens {
    /// Whose.
    pub tenant: TenantName,
    /// The agent; it may be gone by now.
    pub agent: AgentId,
    /// How many, read and written.
    pub tokens: u64,
}

/// What remembers spent tokens over a restart, which must not hand out the day's budgets again. `store`
/// implements it. Days count from the Unix epoch.
pub trait TokenLedger: Send + Sync {
    /// What was spent on a day; earlier days may be forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    fn spent(&self, day: u64) -> BoxFuture<'_, Result<Vec<SpentTokens>, StoreError>>;

    /// Adds to what an agent spent on a day.
    ///
    /// # Errors
    /// [`StoreError`].
    fn spend(&self, day: u64, spent: SpentTokens) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// A completion that is still being written. Dropping it stops the provider.
pub trait CompletionStream: Send {
    /// The next event; none after [`CompletionEvent::Done`].
    fn next(&mut self) -> BoxFuture<'_, Result<Option<CompletionEvent>, ModelError>>;
}

/// Tokens of today's budgets that are set aside for a completion which a model outside this host's providers makes.
/// Dropped without being settled, they are spent: nobody says what it cost.
pub trait Reserved: Send {
    /// Spends what it took, and gives back the rest.
    fn settle(&mut self, usage: Usage);
}

/// The providers of this host. Retries what may pass, and counts tokens per agent and tenant and day.
pub trait Models: Send + Sync {
    /// Completes a conversation. `request` has the binding's model, prompt and parameters already.
    ///
    /// # Errors
    /// [`ModelError`].
    fn complete<'a>(
        &'a self,
        spender: &'a Spender,
        binding: &'a ModelBinding,
        request: CompletionRequest,
    ) -> BoxFuture<'a, Result<Completion, ModelError>>;

    /// The same, read while it is written.
    ///
    /// # Errors
    /// [`ModelError`].
    fn stream<'a>(
        &'a self,
        spender: &'a Spender,
        binding: &'a ModelBinding,
        request: CompletionRequest,
    ) -> BoxFuture<'a, Result<Box<dyn CompletionStream>, ModelError>>;

    /// Sets aside what a completion of the connected client's own model may take at most: the budgets per day bind
    /// that one too.
    ///
    /// # Errors
    /// [`ModelError::Budget`].
    fn reserve(
        &self,
        spender: &Spender,
        binding: &ModelBinding,
        most: Usage,
    ) -> Result<Box<dyn Reserved>, ModelError>;
}

//! The language model that the operator bound to the agent (`[model]` in its settings).
//!
//! The host adds the agent's system prompt and parameters, holds the key, retries what may pass, and counts
//! tokens. An agent never sees a key.
//!
//! ```
//! # #[cfg(not(target_family = "wasm"))] {
//! use aop_agent::model::{Event, Request};
//!
//! # let host = aop_agent::testing::Script::new().says("Paris.").says("Rome.");
//! # host.run(|| {
//! let completion = Request::new().user("The capital of France, in one word?").complete()?;
//! assert_eq!(completion.text(), "Paris.");
//!
//! for event in Request::new().user("And of Italy?").stream()? {
//!     match event? {
//!         Event::Text(piece) => assert_eq!(piece, "Rome."),
//!         Event::Done(completion) => assert!(completion.usage.output_tokens > 0),
//!     }
//! }
//! # Ok::<(), aop_agent::model::ModelError>(())
//! # }).0.unwrap();
//! # }
//! ```

use std::fmt;
use std::time::Duration;

pub use crate::bindings::aop::agent::model::{
    Binding, Completion, Event, Image, Message, Part, Request, Role, StopReason, ToolCall,
    ToolDefinition, ToolResult, Usage,
};
use crate::host::{Events, with};

/// Why there is no completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelError {
    /// The operator bound no model to the agent, or does not allow what was asked.
    Denied(String),
    /// A token budget is used up.
    Budget(String),
    /// The provider refuses for now, even after retries. How long to wait, when it says so.
    Busy(Option<Duration>),
    /// The request does not fit the model.
    Invalid(String),
    /// The provider cannot be reached or answers nonsense.
    Unavailable(String),
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(why) | Self::Budget(why) | Self::Invalid(why) | Self::Unavailable(why) => {
                f.write_str(why)
            }
            Self::Busy(None) => f.write_str("the model is busy"),
            Self::Busy(Some(wait)) => write!(f, "the model is busy for {} ms", wait.as_millis()),
        }
    }
}

impl std::error::Error for ModelError {}

/// What the operator set for the agent; none when no model is bound to it.
#[must_use]
pub fn bound() -> Option<Binding> {
    with(|host| host.bound())
}

impl Request {
    /// An empty conversation with the parameters of the settings.
    #[must_use]
    pub fn new() -> Self {
        Self {
            messages: Vec::new(),
            tools: Vec::new(),
            temperature: None,
            max_tokens: None,
            stop: Vec::new(),
        }
    }

    /// Instructions, in addition to the operator's system prompt.
    #[must_use]
    pub fn system(self, text: impl Into<String>) -> Self {
        self.message(Message::system(text))
    }

    /// What the person says.
    #[must_use]
    pub fn user(self, text: impl Into<String>) -> Self {
        self.message(Message::user(text))
    }

    /// What the model said.
    #[must_use]
    pub fn assistant(self, text: impl Into<String>) -> Self {
        self.message(Message::assistant(text))
    }

    /// One more message.
    #[must_use]
    pub fn message(mut self, message: Message) -> Self {
        self.messages.push(message);
        self
    }

    /// A tool that the model may ask for.
    #[must_use]
    pub fn tool(mut self, tool: impl Into<ToolDefinition>) -> Self {
        self.tools.push(tool.into());
        self
    }

    /// Instead of the settings' temperature.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// At most this many tokens of output; the settings' own limit still holds.
    #[must_use]
    pub fn max_tokens(mut self, max_tokens: u32) -> Self {
        self.max_tokens = Some(max_tokens);
        self
    }

    /// A text that ends the output.
    #[must_use]
    pub fn stop(mut self, stop: impl Into<String>) -> Self {
        self.stop.push(stop.into());
        self
    }

    /// Completes the conversation.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn complete(&self) -> Result<Completion, ModelError> {
        with(|host| host.complete(self))
    }

    /// Completes the conversation and reads it while it is written. The last event is [`Event::Done`].
    ///
    /// # Errors
    /// [`ModelError`]; so may be any item.
    pub fn stream(&self) -> Result<Events, ModelError> {
        with(|host| host.stream(self))
    }
}

impl Default for Request {
    fn default() -> Self {
        Self::new()
    }
}

impl Message {
    /// A message of one text.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self { role, parts: vec![Part::Text(text.into())] }
    }

    /// Instructions.
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, text)
    }

    /// What the person says.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, text)
    }

    /// What the model says.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, text)
    }

    /// What tools answered to the calls of the message before.
    #[must_use]
    pub fn results(results: impl IntoIterator<Item = ToolResult>) -> Self {
        Self { role: Role::User, parts: results.into_iter().map(Part::ToolResult).collect() }
    }

    /// The same message with an image.
    #[must_use]
    pub fn image(mut self, data: Vec<u8>, mime_type: impl Into<String>) -> Self {
        self.parts.push(Part::Image(Image { data, mime_type: mime_type.into() }));
        self
    }
}

impl ToolCall {
    /// The answer to this call.
    pub fn result(&self, text: impl Into<String>) -> ToolResult {
        ToolResult { id: self.id.clone(), text: text.into(), is_error: false }
    }

    /// What went wrong with this call, for the model to read.
    pub fn error(&self, text: impl Into<String>) -> ToolResult {
        ToolResult { id: self.id.clone(), text: text.into(), is_error: true }
    }
}

impl From<crate::tools::Definition> for ToolDefinition {
    fn from(tool: crate::tools::Definition) -> Self {
        Self { name: tool.name, description: tool.description, input_schema: tool.input_schema }
    }
}

impl Completion {
    /// All its text.
    #[must_use]
    pub fn text(&self) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            _ => None,
        };
        self.parts.iter().filter_map(text).collect()
    }

    /// The tools that the model wants to be called.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
    }

    /// As a message of the conversation that goes on.
    #[must_use]
    pub fn message(&self) -> Message {
        Message { role: Role::Assistant, parts: self.parts.clone() }
    }
}

//! Between the types of `aop:agent/model` and the host's, with the bounds on what a guest may ask.

use aop_core::model::{
    Completion, CompletionEvent, CompletionRequest, Message, ModelBinding, ModelError, Part, Role,
    StopReason, ToolOffer,
};

use crate::binding::agent_0_1_0::model as wit;

/// Messages of one conversation. A longer one fits no model's window.
const MESSAGES_MAX: usize = 1000;
/// Parts of all messages together.
const PARTS_MAX: usize = 10_000;
/// Images of all messages together: what the largest provider accepts of one request.
const IMAGES_MAX_BYTES: usize = 16 << 20;
/// Texts of all messages together, far beyond any model's window.
const TEXTS_MAX_BYTES: usize = 16 << 20;
/// Tools that are offered: what providers accept.
const TOOLS_MAX: usize = 128;
/// Schemas of all tools together.
const SCHEMAS_MAX_BYTES: usize = 1 << 20;
/// Texts that end the output.
const STOPS_MAX: usize = 16;
/// Longest name of a tool.
const NAME_MAX_BYTES: usize = 256;
/// What providers accept.
const TEMPERATURE_MAX: f64 = 2.0;

/// The request as it goes to a provider: the binding's prompt first, its parameters where the request
/// has none.
///
/// # Errors
/// The bound that the request passes.
pub(super) fn request(
    bound: &ModelBinding,
    request: wit::Request,
) -> Result<CompletionRequest, String> {
    bound_messages(&request.messages)?;
    let temperature = request.temperature.or(bound.temperature);
    if let Some(wrong) = temperature.filter(|t| !(0.0..=TEMPERATURE_MAX).contains(t)) {
        return Err(format!(
            "the temperature must be between 0 and {TEMPERATURE_MAX}, not {wrong}"
        ));
    }
    if request.max_tokens == Some(0) {
        return Err("max-tokens must be at least 1".to_owned());
    }
    if request.stop.len() > STOPS_MAX {
        return Err(format!("at most {STOPS_MAX} texts can end the output"));
    }
    let system = bound
        .system
        .iter()
        .map(|prompt| Message { role: Role::System, parts: vec![Part::Text(prompt.clone())] });
    let max_tokens = request.max_tokens.map_or(bound.max_tokens, |max| max.min(bound.max_tokens));
    Ok(CompletionRequest {
        messages: system.chain(request.messages.into_iter().map(Into::into)).collect(),
        tools: offers(request.tools)?,
        temperature,
        max_tokens: Some(max_tokens),
        stop: request.stop,
        model: bound.name.clone(),
    })
}

fn bound_messages(messages: &[wit::Message]) -> Result<(), String> {
    if !(1..=MESSAGES_MAX).contains(&messages.len()) {
        return Err(format!("a conversation has 1 to {MESSAGES_MAX} messages"));
    }
    let (mut parts, mut images, mut texts) = (0_usize, 0_usize, 0_usize);
    for message in messages {
        if message.parts.is_empty() {
            return Err("a message has no parts".to_owned());
        }
        parts += message.parts.len();
        for part in &message.parts {
            bound_part(message.role, part)?;
            match part {
                wit::Part::Text(text) => texts += text.len(),
                wit::Part::Image(image) => images += image.data.len(),
                wit::Part::ToolCall(call) => texts += call.arguments.len(),
                wit::Part::ToolResult(result) => texts += result.text.len(),
            }
        }
    }
    let bounds = [
        (parts, PARTS_MAX, "parts of all messages"),
        (images, IMAGES_MAX_BYTES, "bytes of all images"),
        (texts, TEXTS_MAX_BYTES, "bytes of all texts"),
    ];
    match bounds.into_iter().find(|(has, max, _)| has > max) {
        Some((has, max, what)) => Err(format!("{has} {what}: at most {max} are accepted")),
        None => Ok(()),
    }
}

fn bound_part(role: wit::Role, part: &wit::Part) -> Result<(), String> {
    let whose = match part {
        wit::Part::Text(_) => return Ok(()),
        wit::Part::Image(image) if !image.mime_type.starts_with("image/") => {
            return Err("the MIME type of an image must begin with image/".to_owned());
        }
        wit::Part::Image(_) => (wit::Role::User, "an image"),
        wit::Part::ToolCall(_) => (wit::Role::Assistant, "a call of a tool"),
        wit::Part::ToolResult(_) => (wit::Role::User, "the result of a tool"),
    };
    let (expected, what) = whose;
    if role == expected {
        return Ok(());
    }
    let expected = if expected == wit::Role::User { "the user" } else { "the assistant" };
    Err(format!("{what} belongs into a message of {expected}"))
}

fn offers(tools: Vec<wit::ToolDefinition>) -> Result<Vec<ToolOffer>, String> {
    if tools.len() > TOOLS_MAX {
        return Err(format!("at most {TOOLS_MAX} tools can be offered"));
    }
    if tools.iter().map(|tool| tool.input_schema.len()).sum::<usize>() > SCHEMAS_MAX_BYTES {
        return Err(format!("the schemas of the tools have more than {SCHEMAS_MAX_BYTES} bytes"));
    }
    let offer = |tool: wit::ToolDefinition| {
        if tool.name.is_empty() || tool.name.len() > NAME_MAX_BYTES {
            return Err(format!("a tool's name has 1 to {NAME_MAX_BYTES} bytes"));
        }
        let input_schema = serde_json::from_str(&tool.input_schema).map_err(|error| {
            format!("the schema of `{}` is not a JSON object: {error}", tool.name)
        })?;
        Ok(ToolOffer { name: tool.name, description: tool.description, input_schema })
    };
    tools.into_iter().map(offer).collect()
}

impl From<wit::Message> for Message {
    fn from(message: wit::Message) -> Self {
        let role = match message.role {
            wit::Role::System => Role::System,
            wit::Role::User => Role::User,
            wit::Role::Assistant => Role::Assistant,
        };
        Self { role, parts: message.parts.into_iter().map(Into::into).collect() }
    }
}

impl From<wit::Part> for Part {
    fn from(part: wit::Part) -> Self {
        match part {
            wit::Part::Text(text) => Self::Text(text),
            wit::Part::Image(wit::Image { data, mime_type }) => Self::Image { data, mime_type },
            wit::Part::ToolCall(wit::ToolCall { id, name, arguments }) => {
                Self::ToolCall { id, name, arguments }
            }
            wit::Part::ToolResult(wit::ToolResult { id, text, is_error }) => {
                Self::ToolResult { id, text, is_error }
            }
        }
    }
}

impl From<Part> for wit::Part {
    fn from(part: Part) -> Self {
        match part {
            Part::Text(text) => Self::Text(text),
            Part::Image { data, mime_type } => Self::Image(wit::Image { data, mime_type }),
            Part::ToolCall { id, name, arguments } => {
                Self::ToolCall(wit::ToolCall { id, name, arguments })
            }
            Part::ToolResult { id, text, is_error } => {
                Self::ToolResult(wit::ToolResult { id, text, is_error })
            }
        }
    }
}

impl From<Completion> for wit::Completion {
    fn from(completion: Completion) -> Self {
        let stop = match completion.stop {
            StopReason::End => wit::StopReason::End,
            StopReason::Length => wit::StopReason::Length,
            StopReason::ToolCalls => wit::StopReason::ToolCalls,
            StopReason::Filtered => wit::StopReason::Filtered,
            StopReason::Other => wit::StopReason::Other,
        };
        let usage = wit::Usage {
            input_tokens: completion.usage.input_tokens,
            output_tokens: completion.usage.output_tokens,
        };
        let parts = completion.parts.into_iter().map(Into::into).collect();
        Self { parts, stop, usage, model: completion.model }
    }
}

impl From<CompletionEvent> for wit::Event {
    fn from(event: CompletionEvent) -> Self {
        match event {
            CompletionEvent::Text(text) => Self::Text(text),
            CompletionEvent::Done(completion) => Self::Done(completion.into()),
        }
    }
}

impl From<ModelError> for wit::ModelError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Denied(why) => Self::Denied(why),
            ModelError::Budget(why) => Self::Budget(why),
            ModelError::Busy(wait) => {
                Self::Busy(wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
            }
            ModelError::Invalid(why) => Self::Invalid(why),
            ModelError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

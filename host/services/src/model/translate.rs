//! Between the nouns of `aop:agent/model` and those of `rig-core`.

use std::collections::HashMap;

use aop_core::model::{
    Completion, CompletionRequest, Message, ModelError, Part, Role, StopReason, ToolOffer, Usage,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rig_core::completion as rig;
use rig_core::message::{
    AssistantContent, CallId, DocumentSourceKind, Image, ImageMediaType, Message as RigMessage,
    MimeType as _, Text, ToolCall, ToolFunction, ToolName, ToolResult, ToolResultContent,
    UserContent,
};
use serde_json::{Value, json};

use super::{ProviderKind, mend};

/// Bytes of text that make one token, about, in the languages that models read best; it is only used where a
/// provider has not said yet, or does not say, what was used.
const BYTES_PER_TOKEN: usize = 4;
/// Tokens that a model reads for a large image, about.
const TOKENS_PER_IMAGE: u64 = 1_500;

/// Tokens of so many bytes of text, about.
pub(super) fn tokens_of(bytes: usize) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN) as u64
}

/// What a completion may take at most, about.
pub(super) fn estimate(request: &CompletionRequest) -> Usage {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let of_parts: u64 = parts
        .map(|part| match part {
            Part::Text(text) => tokens_of(text.len()),
            Part::Image { .. } => TOKENS_PER_IMAGE,
            Part::ToolCall { name, arguments, .. } => tokens_of(name.len() + arguments.len()),
            Part::ToolResult { text, .. } => tokens_of(text.len()),
        })
        .sum();
    let of_tools: u64 = request
        .tools
        .iter()
        .map(|tool| {
            let schema = serde_json::to_string(&tool.input_schema).map_or(0, |text| text.len());
            tokens_of(tool.name.len() + tool.description.len() + schema)
        })
        .sum();
    Usage {
        input_tokens: of_parts + of_tools,
        output_tokens: u64::from(request.max_tokens.unwrap_or_default()),
    }
}

/// The request as the provider will be asked.
pub(super) fn request(
    kind: ProviderKind,
    request: CompletionRequest,
) -> Result<rig::CompletionRequest, ModelError> {
    let mut tool_names = HashMap::new();
    let mut history = Vec::with_capacity(request.messages.len());
    for message in request.messages {
        history.push(translate(message, &mut tool_names)?);
    }
    let stop = (!request.stop.is_empty()).then(|| match kind {
        ProviderKind::OpenAi => json!({ "stop": request.stop }),
        ProviderKind::Anthropic => json!({ "stop_sequences": request.stop }),
    });
    Ok(rig::CompletionRequest {
        model: None,
        chat_history: history,
        documents: Vec::new(),
        tools: request.tools.into_iter().map(offer).collect(),
        temperature: request.temperature,
        max_tokens: request.max_tokens.map(u64::from),
        tool_choice: None,
        additional_params: stop,
        output_schema: None,
        record_telemetry_content: false,
    })
}

fn offer(tool: ToolOffer) -> rig::ToolDefinition {
    rig::ToolDefinition {
        name: tool.name,
        description: tool.description,
        parameters: Value::Object(tool.input_schema),
    }
}

/// `names` are those of the tools that the conversation called so far, by the ids of the calls.
fn translate(
    message: Message,
    names: &mut HashMap<String, ToolName>,
) -> Result<RigMessage, ModelError> {
    let invalid = |reason: &str| Err(ModelError::Invalid(reason.to_owned()));
    match message.role {
        Role::System => {
            let mut texts = Vec::new();
            for part in message.parts {
                let Part::Text(text) = part else {
                    return invalid("a message of the system holds text only");
                };
                texts.push(text);
            }
            Ok(RigMessage::System { content: texts.join("\n\n") })
        }
        Role::User => {
            let content = message.parts.into_iter().map(|part| said(part, names));
            Ok(RigMessage::User { content: content.collect::<Result<_, _>>()? })
        }
        Role::Assistant => {
            let content = message.parts.into_iter().map(|part| answered(part, names));
            Ok(RigMessage::Assistant { id: None, content: content.collect::<Result<_, _>>()? })
        }
    }
}

fn said(part: Part, names: &HashMap<String, ToolName>) -> Result<UserContent, ModelError> {
    match part {
        Part::Text(text) => Ok(UserContent::Text(Text::new(text))),
        Part::Image { data, mime_type } => {
            let media_type = ImageMediaType::from_mime_type(&mime_type).ok_or_else(|| {
                ModelError::Invalid(format!("`{mime_type}` is no image that models read"))
            })?;
            Ok(UserContent::Image(Image {
                data: DocumentSourceKind::Base64(BASE64.encode(data)),
                media_type: Some(media_type),
                ..Image::default()
            }))
        }
        Part::ToolResult { id, text, is_error } => {
            let name = names.get(&id).cloned().ok_or_else(|| {
                ModelError::Invalid(format!(
                    "there is a result for `{id}`, but no call of that id before it"
                ))
            })?;
            // No field says so in every provider's format.
            let text = if is_error { format!("error: {text}") } else { text };
            Ok(UserContent::ToolResult(ToolResult {
                call: CallId::from_wire(id),
                name,
                content: vec![ToolResultContent::Text(Text::new(text))],
            }))
        }
        Part::ToolCall { .. } => {
            Err(ModelError::Invalid("only the assistant calls tools".to_owned()))
        }
    }
}

fn answered(
    part: Part,
    names: &mut HashMap<String, ToolName>,
) -> Result<AssistantContent, ModelError> {
    match part {
        Part::Text(text) => Ok(AssistantContent::Text(Text::new(text))),
        Part::ToolCall { id, name, arguments } => {
            let wrong =
                |reason: String| ModelError::Invalid(format!("the tool call `{id}`: {reason}"));
            // No format has a place for anything else. The result says what was wrong with them.
            let arguments = serde_json::from_str::<Value>(&arguments).ok();
            let arguments = arguments.filter(Value::is_object).unwrap_or_else(|| json!({}));
            let name = ToolName::new(name).map_err(|error| wrong(error.to_string()))?;
            names.insert(id.clone(), name.clone());
            Ok(AssistantContent::ToolCall(ToolCall::from_wire(
                id,
                ToolFunction::new(name, arguments),
            )))
        }
        Part::Image { .. } | Part::ToolResult { .. } => {
            Err(ModelError::Invalid("the assistant holds text and tool calls only".to_owned()))
        }
    }
}

/// What the model said. Reasoning stays with the provider.
pub(super) fn completion(
    response: rig::CompletionResponse,
    asked: &str,
    size: Usage,
) -> Completion {
    let stop = match response.finish_reason() {
        Some(rig::FinishReason::Stop) => StopReason::End,
        Some(rig::FinishReason::Length) => StopReason::Length,
        Some(rig::FinishReason::ToolCalls) => StopReason::ToolCalls,
        Some(rig::FinishReason::ContentFilter) => StopReason::Filtered,
        Some(rig::FinishReason::Other(_)) | None => StopReason::Other,
    };
    let mut parts: Vec<_> = response.choice.into_iter().filter_map(part).collect();
    // Whoever looks for the text of an answer that ended finds one, if an empty one.
    if parts.is_empty() && stop == StopReason::End {
        parts.push(Part::Text(String::new()));
    }
    let written = || {
        let bytes = parts.iter().map(|part| match part {
            Part::Text(text) | Part::ToolCall { arguments: text, .. } => text.len(),
            Part::Image { .. } | Part::ToolResult { .. } => 0,
        });
        tokens_of(bytes.sum())
    };
    let usage = Usage {
        input_tokens: response.usage.input_tokens.unwrap_or(size.input_tokens),
        output_tokens: response.usage.output_tokens.unwrap_or_else(written),
    };
    Completion { parts, stop, usage, model: response.model.unwrap_or_else(|| asked.to_owned()) }
}

fn part(content: AssistantContent) -> Option<Part> {
    match content {
        AssistantContent::Text(text) => {
            // The model said nothing: see `mend`.
            (text.text != mend::SILENCE).then_some(Part::Text(text.text))
        }
        AssistantContent::ToolCall(call) => Some(Part::ToolCall {
            id: call.id.to_string(),
            name: call.function.name.into(),
            arguments: match call.function.arguments {
                // What the model wrote was no JSON: see `mend`.
                Value::String(text) => text,
                json => json.to_string(),
            },
        }),
        AssistantContent::Reasoning(_) | AssistantContent::Image(_) => None,
    }
}

//! A guest's conversation with the client's own model, as MCP sampling has it.
#![expect(deprecated, reason = "2026-07-28 deprecates sampling, and still has it")]

use aop_core::model::{
    Completion, CompletionRequest, Message, ModelError, Part, Role, StopReason, ToolOffer, Usage,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rmcp::model::{
    ContentBlock, CreateMessageRequest, CreateMessageRequestParams, CreateMessageResult,
    ImageContent, InputRequest, ModelHint, ModelPreferences, Role as Speaker, SamplingMessage,
    SamplingMessageContentBlock as Block, Tool, ToolResultContent, ToolUseContent,
};
use serde_json::Value;

use super::offers::Ability;

/// Tokens of output when the request names no limit, which MCP does not allow.
const MAX_TOKENS_DEFAULT: u32 = 4096;

/// The request as MCP has it.
///
/// # Errors
/// [`ModelError::Invalid`].
pub(crate) fn request(request: CompletionRequest) -> Result<(Ability, InputRequest), ModelError> {
    let (mut system, mut messages) = (Vec::new(), Vec::new());
    let mut has_tools = !request.tools.is_empty();
    for message in request.messages {
        if message.role == Role::System {
            system.extend(message.parts.into_iter().filter_map(|part| match part {
                Part::Text(text) => Some(text),
                _ => None,
            }));
        } else {
            has_tools |= push(&mut messages, message)?;
        }
    }
    let max_tokens = request.max_tokens.unwrap_or(MAX_TOKENS_DEFAULT);
    let mut params = CreateMessageRequestParams::new(messages, max_tokens);
    params.system_prompt = (!system.is_empty()).then(|| system.join("\n\n"));
    #[expect(clippy::cast_possible_truncation, reason = "a temperature needs no more digits")]
    let temperature = request.temperature.map(|temperature| temperature as f32);
    params.temperature = temperature;
    params.stop_sequences = (!request.stop.is_empty()).then_some(request.stop);
    if !request.model.is_empty() {
        let mut preferences = ModelPreferences::default();
        preferences.hints = Some(vec![ModelHint::new(request.model)]);
        params.model_preferences = Some(preferences);
    }
    if !request.tools.is_empty() {
        params.tools = Some(request.tools.into_iter().map(tool).collect());
    }
    let ability = if has_tools { Ability::SampleWithTools } else { Ability::Sample };
    Ok((ability, InputRequest::CreateMessage(CreateMessageRequest::new(params))))
}

/// Adds a message; whether it speaks of tools. Only such a message has several parts in one: before
/// 2025-11-25 a message had one part, and results of tools must stay together.
fn push(messages: &mut Vec<SamplingMessage>, message: Message) -> Result<bool, ModelError> {
    let speaker = if message.role == Role::Assistant { Speaker::Assistant } else { Speaker::User };
    let blocks: Vec<_> = message.parts.into_iter().map(block).collect::<Result<_, _>>()?;
    let has_tools =
        blocks.iter().any(|block| matches!(block, Block::ToolUse(_) | Block::ToolResult(_)));
    if has_tools {
        messages.push(SamplingMessage::new_multiple(speaker, blocks));
    } else {
        let single = |block| SamplingMessage::new(speaker.clone(), block);
        messages.extend(blocks.into_iter().map(single));
    }
    Ok(has_tools)
}

fn block(part: Part) -> Result<Block, ModelError> {
    Ok(match part {
        Part::Text(text) => Block::text(text),
        Part::Image { data, mime_type } => {
            Block::Image(ImageContent::new(BASE64.encode(data), mime_type))
        }
        Part::ToolCall { id, name, arguments } => {
            let input = serde_json::from_str(&arguments).map_err(|_| {
                ModelError::Invalid(format!("the arguments of tool call `{id}` are no JSON object"))
            })?;
            Block::ToolUse(ToolUseContent::new(id, name, input))
        }
        Part::ToolResult { id, text, is_error } => {
            let mut result = ToolResultContent::new(id, vec![ContentBlock::text(text)]);
            result.is_error = is_error.then_some(true);
            Block::ToolResult(result)
        }
    })
}

fn tool(offer: ToolOffer) -> Tool {
    Tool::new(offer.name, offer.description, offer.input_schema)
}

/// Reads what the model said; none when it is no answer to a sampling request. Clients do not say how many
/// tokens it took.
pub(crate) fn read(answer: &Value) -> Option<Completion> {
    let result: CreateMessageResult = serde_json::from_value(answer.clone()).ok()?;
    if result.message.role != Speaker::Assistant {
        return None;
    }
    let parts = result.message.content.into_vec().into_iter().map(part).collect::<Option<_>>()?;
    let stop = match result.stop_reason.as_deref() {
        None | Some("endTurn" | "stopSequence") => StopReason::End,
        Some("maxTokens") => StopReason::Length,
        Some("toolUse") => StopReason::ToolCalls,
        Some(_) => StopReason::Other,
    };
    Some(Completion { parts, stop, usage: Usage::default(), model: result.model })
}

fn part(block: Block) -> Option<Part> {
    match block {
        Block::Text(text) => Some(Part::Text(text.text)),
        Block::Image(image) => {
            let data = BASE64.decode(image.data).ok()?;
            Some(Part::Image { data, mime_type: image.mime_type })
        }
        Block::ToolUse(call) => Some(Part::ToolCall {
            id: call.id,
            name: call.name,
            arguments: Value::Object(call.input).to_string(),
        }),
        // Neither sound nor a result of a tool is something that a model says here.
        _ => None,
    }
}

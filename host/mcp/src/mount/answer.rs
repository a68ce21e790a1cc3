//! From a mounted server's answer to this host's.

use aop_core::{ErrorCode, Failure, Output, Shown};
use rmcp::model::{Annotations, CallToolResult, ContentBlock, Resource, ResourceContents, Role};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

/// Longest message of a failure, in bytes.
const MESSAGE_MAX_BYTES: usize = 64 << 10;

/// Reads a result. `is_structured` says whether the tool publishes what its structured content looks like.
///
/// # Errors
/// The server's own failure, or that its answer breaks a bound or a rule.
pub(super) fn read(
    result: CallToolResult,
    is_structured: bool,
    answer_max_bytes: u64,
) -> Result<Output, Failure> {
    if result.is_error == Some(true) {
        return Err(failure(result, answer_max_bytes));
    }
    let (value, shown) = if is_structured {
        let structured = result.structured_content.ok_or_else(|| {
            bad("the server published an output schema and answered without structured content")
        })?;
        (structured, Shown::Json)
    } else if result.content.is_empty()
        && let Some(structured) = result.structured_content
    {
        let text = structured.to_string();
        (
            Value::Array(vec![block("text", json!({ "text": text, "annotations": null }))]),
            Shown::Content,
        )
    } else {
        let blocks = result.content.into_iter().map(content).collect::<Result<_, _>>()?;
        (Value::Array(blocks), Shown::Content)
    };
    let json = to_raw_value(&value).map_err(|error| bad(error.to_string()))?;
    if json.get().len() as u64 > answer_max_bytes {
        return Err(bad(format!("the server's answer has more than {answer_max_bytes} bytes")));
    }
    Ok(Output { json, shown })
}

fn bad(reason: impl Into<String>) -> Failure {
    Failure::executed(ErrorCode::BadOutput, reason)
}

/// The server says that its tool failed.
fn failure(result: CallToolResult, details_max_bytes: u64) -> Failure {
    let texts = result.content.iter().filter_map(|block| match block {
        ContentBlock::Text(text) => Some(text.text.as_str()),
        _ => None,
    });
    let mut message = texts.collect::<Vec<_>>().join("\n");
    message.truncate(message.floor_char_boundary(MESSAGE_MAX_BYTES));
    if message.is_empty() {
        "the tool failed and did not say why".clone_into(&mut message);
    }
    let failure = Failure::executed(ErrorCode::GuestError, message);
    let details = result.structured_content.and_then(|details| to_raw_value(&details).ok());
    match details.filter(|details| details.get().len() as u64 <= details_max_bytes) {
        Some(details) => failure.with_details(details),
        None => failure,
    }
}

/// A block as the codec writes those of `aop:agent/content`, which is what the edge reads and checks.
fn content(content: ContentBlock) -> Result<Value, Failure> {
    Ok(match content {
        ContentBlock::Text(text) => {
            block("text", json!({ "text": text.text, "annotations": hints(text.annotations) }))
        }
        ContentBlock::Image(image) => block(
            "image",
            json!({
                "data": image.data,
                "mime_type": image.mime_type,
                "annotations": hints(image.annotations),
            }),
        ),
        ContentBlock::Audio(audio) => block(
            "audio",
            json!({
                "data": audio.data,
                "mime_type": audio.mime_type,
                "annotations": hints(audio.annotations),
            }),
        ),
        ContentBlock::ResourceLink(resource) => block("link", link(resource)),
        ContentBlock::Resource(embedded) => {
            let (uri, mime_type, body) = match embedded.resource {
                ResourceContents::TextResourceContents { uri, mime_type, text, .. } => {
                    (uri, mime_type, block("text", Value::String(text)))
                }
                ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => {
                    (uri, mime_type, block("blob", Value::String(blob)))
                }
                _ => return Err(unknown_kind()),
            };
            block(
                "embedded",
                json!({
                    "uri": uri,
                    "mime_type": mime_type,
                    "body": body,
                    "annotations": hints(embedded.annotations),
                }),
            )
        }
        _ => return Err(unknown_kind()),
    })
}

fn unknown_kind() -> Failure {
    bad("the server's answer has content of a kind that this host does not know")
}

fn block(tag: &str, value: Value) -> Value {
    json!({ "tag": tag, "val": value })
}

fn link(resource: Resource) -> Value {
    json!({
        "uri": resource.uri,
        "name": resource.name,
        "title": resource.title,
        "description": resource.description,
        "mime_type": resource.mime_type,
        "size": resource.size,
        "annotations": hints(resource.annotations),
    })
}

fn hints(annotations: Option<Annotations>) -> Value {
    let Some(annotations) = annotations else { return Value::Null };
    let audience = annotations.audience.unwrap_or_default();
    let audience: Vec<_> = audience
        .into_iter()
        .map(|role| match role {
            Role::User => "user",
            Role::Assistant => "assistant",
        })
        .collect();
    json!({
        "audience": audience,
        "priority": annotations.priority,
        "last_modified": annotations.last_modified,
    })
}

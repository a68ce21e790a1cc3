//! From a mounted server's answer to this host's.

use std::time::Duration;

use aop_core::{ErrorCode, Failure, Output, Shown};
use rmcp::model::{Annotations, CallToolResult, ContentBlock, Resource, ResourceContents, Role};
use serde::Deserialize;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use super::call::Shape;

/// Longest message of a failure, in bytes.
const MESSAGE_MAX_BYTES: usize = 64 << 10;

/// Longest time after which a server may ask to be tried again.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// The envelope of a host like this one.
#[derive(Deserialize)]
struct Theirs {
    success: bool,
    #[serde(default)]
    result: Value,
    error: Option<String>,
    code: Option<ErrorCode>,
    details: Option<Value>,
    retry_after_ms: Option<u64>,
}

/// Reads a result of a tool whose results have a shape.
///
/// # Errors
/// The server's own failure, or that its answer breaks a bound or a rule.
pub(super) fn read(
    result: CallToolResult,
    shape: Shape,
    answer_max_bytes: u64,
) -> Result<Output, Failure> {
    if result.is_error == Some(true) {
        return Err(failure(result, shape, answer_max_bytes));
    }
    let (value, shown) = if shape != Shape::Content {
        let structured = result.structured_content.ok_or_else(|| {
            bad("the server published an output schema and answered without structured content")
        })?;
        if shape == Shape::Enveloped {
            opened(structured, answer_max_bytes)?
        } else {
            (structured, Shown::Json)
        }
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

/// What is in an envelope.
fn opened(envelope: Value, details_max_bytes: u64) -> Result<(Value, Shown), Failure> {
    let theirs: Theirs = serde_json::from_value(envelope)
        .map_err(|_| bad("the server's answer is not the envelope that its output schema says"))?;
    if !theirs.success {
        let code = theirs.code.unwrap_or(ErrorCode::GuestError);
        return Err(theirs.failure(code, details_max_bytes));
    }
    let shown = if theirs.result.is_string() { Shown::Text } else { Shown::Json };
    Ok((theirs.result, shown))
}

impl Theirs {
    /// A failure under the code that it has there. Whether something ran is not said, so it may have. What broke that host
    /// did not break this one.
    fn failure(self, code: ErrorCode, details_max_bytes: u64) -> Failure {
        let code = if code == ErrorCode::Internal { ErrorCode::GuestTrapped } else { code };
        let message = shortened(self.error.unwrap_or_default());
        let failure =
            with_details(Failure::executed(code, message), self.details, details_max_bytes);
        match self.retry_after_ms.map(Duration::from_millis) {
            Some(after) => failure.with_retry_after(after.min(RETRY_AFTER_MAX)),
            None => failure,
        }
    }
}

fn bad(reason: impl Into<String>) -> Failure {
    Failure::executed(ErrorCode::BadOutput, reason)
}

/// The server says that its tool failed. Only of a host like this one a code means what it means here: another's
/// `internal` is no failure of this host.
fn failure(result: CallToolResult, shape: Shape, details_max_bytes: u64) -> Failure {
    let theirs = result.structured_content.as_ref().map(Theirs::deserialize).and_then(Result::ok);
    if let Some(theirs) = theirs
        && shape == Shape::Enveloped
        && !theirs.success
        && let Some(code) = theirs.code
    {
        return theirs.failure(code, details_max_bytes);
    }
    let texts = result.content.iter().filter_map(|block| match block {
        ContentBlock::Text(text) => Some(text.text.as_str()),
        _ => None,
    });
    let message = shortened(texts.collect::<Vec<_>>().join("\n"));
    let failure = Failure::executed(ErrorCode::GuestError, message);
    with_details(failure, result.structured_content, details_max_bytes)
}

fn shortened(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MESSAGE_MAX_BYTES));
    if message.is_empty() {
        "the tool failed and did not say why".clone_into(&mut message);
    }
    message
}

fn with_details(failure: Failure, details: Option<Value>, details_max_bytes: u64) -> Failure {
    let details = details.and_then(|details| to_raw_value(&details).ok());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(structured: Value, is_error: bool) -> CallToolResult {
        let result = json!({ "resultType": "complete", "content": [{ "type": "text", "text": "no" }], "structuredContent": structured, "isError": is_error });
        serde_json::from_value(result).unwrap()
    }

    #[test]
    fn the_envelope_of_a_host_like_this_one_is_opened() {
        let good = read(
            answered(json!({ "success": true, "result": { "sum": 3 } }), false),
            Shape::Enveloped,
            1000,
        );
        assert_eq!(good.unwrap().json.get(), r#"{"sum":3}"#);
        let said = json!({ "success": false, "error": "full", "code": "rate_limited", "details": [1], "retry_after_ms": 99_999_999_999_u64 });
        let other = read(answered(said.clone(), true), Shape::Content, 1000).unwrap_err();
        assert_eq!(other.code, ErrorCode::GuestError, "codes of others are not ours");
        for is_error in [true, false] {
            let failure =
                read(answered(said.clone(), is_error), Shape::Enveloped, 1000).unwrap_err();
            assert_eq!((failure.code, failure.message.as_str()), (ErrorCode::RateLimited, "full"));
            assert_eq!(failure.details.unwrap().get(), "[1]");
            assert_eq!(failure.retry_after, Some(RETRY_AFTER_MAX));
            assert!(failure.executed, "it is not said that nothing ran");
        }
    }

    #[test]
    fn a_host_that_breaks_is_not_this_one() {
        let said = json!({ "success": false, "error": "x", "code": "internal" });
        let failure = read(answered(said, true), Shape::Enveloped, 1000).unwrap_err();
        assert_eq!(failure.code, ErrorCode::GuestTrapped);
    }

    #[test]
    fn what_only_looks_like_one_stays_the_servers_own() {
        for own in [
            json!({ "success": false, "error": "x", "code": "odd" }),
            json!({ "success": false }),
            json!(7),
        ] {
            let failure = read(answered(own.clone(), true), Shape::Content, 1000).unwrap_err();
            assert_eq!((failure.code, failure.message.as_str()), (ErrorCode::GuestError, "no"));
            assert_eq!(failure.details.unwrap().get(), own.to_string());
        }
        let failure =
            read(answered(json!({ "sum": 3 }), false), Shape::Enveloped, 1000).unwrap_err();
        assert_eq!(failure.code, ErrorCode::BadOutput);
    }
}

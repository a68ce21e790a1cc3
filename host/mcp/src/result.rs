//! From a [`Reply`] to a `tools/call` result: the one place where that mapping is written.
//!
//! The result borrows from the reply, so the fast path writes a guest's output into the response
//! without parsing or copying it before; `rmcp`'s type is made from the same serialization.

use std::borrow::Cow;

use aop_core::{CallId, Envelope, Failure, Output, Reply};
use rmcp::model::CallToolResult;
use serde::Serialize;
use serde_json::value::RawValue;

/// A `tools/call` result as it goes over the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToolResult<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result_type: Option<&'static str>,
    content: [Block<'a>; 1],
    structured_content: Envelope<'a>,
    is_error: bool,
    #[serde(rename = "_meta")]
    meta: ResultMeta,
}

#[derive(Debug, Serialize)]
struct Block<'a> {
    r#type: &'static str,
    text: Readable<'a>,
}

/// What a model reads.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Readable<'a> {
    /// JSON that is a string already.
    Literal(&'a RawValue),
    /// Text to be quoted.
    Text(Cow<'a, str>),
}

#[derive(Debug, Serialize)]
struct ResultMeta {
    #[serde(rename = "aop/call-id")]
    call_id: CallId,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

impl<'a> ToolResult<'a> {
    /// `stateless` says whether the client speaks the revision that marks every result's type.
    pub(crate) fn new(reply: &'a Reply, stateless: bool) -> Self {
        let text = match &reply.result {
            Ok(output) => readable_output(output),
            Err(failure) => Readable::Text(readable_failure(failure)),
        };
        Self {
            result_type: stateless.then_some("complete"),
            content: [Block { r#type: "text", text }],
            structured_content: Envelope::new(&reply.result),
            is_error: reply.result.is_err(),
            meta: ResultMeta {
                call_id: reply.id,
                traceparent: reply.trace.map(|trace| trace.to_string()),
            },
        }
    }

    /// The same as `rmcp`'s type.
    ///
    /// # Errors
    /// When the output is nested too deeply for a value tree.
    pub(crate) fn to_rmcp(&self) -> Result<CallToolResult, serde_json::Error> {
        serde_json::from_value(serde_json::to_value(self)?)
    }
}

fn readable_output(output: &Output) -> Readable<'_> {
    if output.is_text && output.json.get().starts_with('"') {
        Readable::Literal(&output.json)
    } else {
        Readable::Text(Cow::Borrowed(output.json.get()))
    }
}

/// The message, which names every violation, and when to come back.
fn readable_failure(failure: &Failure) -> Cow<'_, str> {
    match failure.retry_after {
        None => Cow::Borrowed(&failure.message),
        Some(after) => {
            Cow::Owned(format!("{}\nTry again in {} ms.", failure.message, after.as_millis()))
        }
    }
}

#[cfg(test)]
mod tests;

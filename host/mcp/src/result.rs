//! From an [`Answer`] to a `tools/call` result: the one place where that mapping is written.
//!
//! The result borrows from the answer, so the fast path writes a guest's output into the response
//! without parsing or copying it before; `rmcp`'s type is made from the same parts.

use std::borrow::Cow;

use aop_core::{CallId, Envelope, ErrorCode, Failure, Output, Reply, Shown};
use rmcp::model::{CallToolResult, ContentBlock, MetaObject};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::content;

/// How a `tools/call` ended, its content blocks read and checked.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    /// What the agent shows in its own words; none for any other result.
    blocks: Option<Vec<ContentBlock>>,
    /// Whether the tool that was called publishes an output schema, so that content has an envelope too.
    enveloped: bool,
}

impl Answer {
    /// Reads the reply of a tool; `enveloped` says whether it was called through one that always answers
    /// with an envelope. Content that breaks a rule becomes the failure `bad_output`.
    pub(crate) fn new(mut reply: Reply, enveloped: bool) -> Self {
        let blocks = match &reply.result {
            Ok(output) if output.shown == Shown::Content => {
                Some(content::blocks(output.json.get()))
            }
            _ => None,
        };
        let blocks = blocks.transpose().unwrap_or_else(|bad| {
            let reason = format!("the agent's content breaks a rule of MCP: {bad}");
            reply.result = Err(Failure::executed(ErrorCode::BadOutput, reason));
            None
        });
        Self { reply, blocks, enveloped }
    }
}

/// A `tools/call` result as it goes over the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToolResult<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result_type: Option<&'static str>,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    structured_content: Option<Envelope<'a>>,
    is_error: bool,
    #[serde(rename = "_meta")]
    meta: ResultMeta<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text([Block<'a>; 1]),
    Blocks(&'a [ContentBlock]),
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
struct ResultMeta<'a> {
    #[serde(rename = "aop/call-id")]
    call_id: CallId,
    #[serde(rename = "aop/session", skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

impl<'a> ToolResult<'a> {
    /// `stateless` says whether the client speaks the revision that marks every result's type.
    pub(crate) fn new(answer: &'a Answer, stateless: bool) -> Self {
        let Answer { reply, blocks, enveloped } = answer;
        let content = match (blocks, &reply.result) {
            (Some(blocks), _) => Content::Blocks(blocks),
            (None, Ok(output)) => Content::text(readable_output(output)),
            (None, Err(failure)) => Content::text(Readable::Text(readable_failure(failure))),
        };
        let is_enveloped = *enveloped || blocks.is_none();
        Self {
            result_type: stateless.then_some("complete"),
            content,
            structured_content: is_enveloped.then(|| Envelope::new(&reply.result)),
            is_error: reply.result.is_err(),
            meta: ResultMeta {
                call_id: reply.id,
                session: reply.session.as_ref().map(|session| session.as_str()),
                traceparent: reply.trace.map(|trace| trace.to_string()),
            },
        }
    }

    /// The same as `rmcp`'s type.
    ///
    /// # Errors
    /// When the output is nested too deeply for a value tree.
    pub(crate) fn to_rmcp(&self) -> Result<CallToolResult, serde_json::Error> {
        let mut result = CallToolResult::default();
        result.content = match &self.content {
            Content::Text([block]) => vec![ContentBlock::text(block.text.to_text()?)],
            Content::Blocks(blocks) => blocks.to_vec(),
        };
        result.structured_content =
            self.structured_content.as_ref().map(serde_json::to_value).transpose()?;
        result.is_error = Some(self.is_error);
        if let Value::Object(meta) = serde_json::to_value(&self.meta)? {
            result.meta = Some(MetaObject(meta));
        }
        Ok(result)
    }
}

impl<'a> Content<'a> {
    const fn text(text: Readable<'a>) -> Self {
        Self::Text([Block { r#type: "text", text }])
    }
}

impl Readable<'_> {
    fn to_text(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Literal(literal) => serde_json::from_str(literal.get()),
            Self::Text(text) => Ok(text.clone().into_owned()),
        }
    }
}

fn readable_output(output: &Output) -> Readable<'_> {
    if output.shown == Shown::Text && output.json.get().starts_with('"') {
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

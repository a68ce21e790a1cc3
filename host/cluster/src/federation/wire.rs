//! A call between zones as bytes: a stateless MCP `tools/call` of revision 2026-07-28, and its result. Both sides of
//! that one form are here, so that they cannot drift.

use std::borrow::Cow;

use aop_core::{
    CallId, Envelope, ErrorCode, Failure, Output, Reply, Shown, ToolName, TraceContext,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::call::header;

/// The revision of MCP.
pub(super) const REVISION: &str = "2026-07-28";
/// Agents that may wait for a call. More are a cycle, or an attack.
const VIA_MAX: usize = 64;
/// Longest message of a failure that is taken over from another zone.
const MESSAGE_MAX_BYTES: usize = 4 << 10;

/// What travels with a call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Passage {
    /// The time that is left.
    pub(super) deadline_ms: u64,
    /// How deep calls may still nest, this one included.
    pub(super) hops: u32,
    /// Who waits, the nearest first. The ids mean something only where they were made.
    pub(super) via: Vec<Uuid>,
    /// Further calls that all who wait may make together.
    pub(super) budget: u32,
    /// The trace.
    pub(super) trace: Option<TraceContext>,
}

#[derive(Serialize, Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    revision: Cow<'a, str>,
    #[serde(borrow, rename = "io.modelcontextprotocol/clientCapabilities")]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    traceparent: Option<Cow<'a, str>>,
    #[serde(rename = "aop/deadline-ms")]
    deadline_ms: Option<u64>,
    #[serde(rename = "aop/hops")]
    hops: Option<u32>,
    #[serde(rename = "aop/via", default)]
    via: Vec<Uuid>,
    #[serde(rename = "aop/budget")]
    budget: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Meta<'a>,
}

#[derive(Serialize, Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// A call that arrived.
pub(super) struct Arrived<'a> {
    pub(super) id: &'a RawValue,
    pub(super) tool: Cow<'a, str>,
    /// A JSON object as text.
    pub(super) arguments: &'a str,
    pub(super) passage: Passage,
}

/// Why a message is no call: its JSON-RPC error.
#[derive(Debug)]
pub(super) struct NoCall<'a> {
    pub(super) id: Option<&'a RawValue>,
    pub(super) code: i32,
    pub(super) message: String,
}

/// Writes a call.
///
/// # Errors
/// Never for what this host makes.
pub(super) fn write_call(
    tool: &ToolName,
    arguments: &RawValue,
    passage: &Passage,
) -> Result<Bytes, serde_json::Error> {
    let id: &RawValue = serde_json::from_str("1")?;
    let empty: &RawValue = serde_json::from_str("{}")?;
    let params = Params {
        name: Cow::Borrowed(tool),
        arguments: Some(arguments),
        meta: Meta {
            revision: Cow::Borrowed(REVISION),
            capabilities: Some(empty),
            traceparent: passage.trace.map(|trace| Cow::Owned(trace.to_string())),
            deadline_ms: Some(passage.deadline_ms),
            hops: Some(passage.hops),
            via: passage.via.clone(),
            budget: Some(passage.budget),
        },
    };
    let params = serde_json::value::to_raw_value(&params)?;
    let message = Message {
        jsonrpc: Cow::Borrowed("2.0"),
        id,
        method: Cow::Borrowed("tools/call"),
        params: Some(&params),
    };
    serde_json::to_vec(&message).map(Bytes::from)
}

/// Puts into the headers what the revision wants there.
pub(super) fn describe(headers: &mut HeaderMap, tool: &ToolName) {
    let name = HeaderName::from_static;
    headers.insert(name("mcp-protocol-version"), header(REVISION));
    headers.insert(name("mcp-method"), header("tools/call"));
    headers.insert(name("mcp-name"), header(tool));
}

/// Reads a call.
///
/// # Errors
/// [`NoCall`].
pub(super) fn read_call<'a>(
    body: &'a [u8],
    headers: &HeaderMap,
) -> Result<Arrived<'a>, NoCall<'a>> {
    let no = |id, code, message: String| NoCall { id, code, message };
    let message: Message<'a> = serde_json::from_slice(body)
        .map_err(|error| no(None, -32700, format!("Parse error: {error}")))?;
    let id = Some(message.id);
    let is_id = message.id.get().starts_with('"') || message.id.get().parse::<i64>().is_ok();
    if message.jsonrpc != "2.0" || !is_id {
        return Err(no(None, -32600, "Invalid Request".to_owned()));
    }
    if message.method != "tools/call" {
        let method: String = message.method.chars().take(64).collect();
        let what = format!(
            "only server/discover, tools/list and tools/call are served between zones, not {method}"
        );
        return Err(no(id, -32601, what));
    }
    let params = message.params.map_or("null", RawValue::get);
    let params: Params<'a> = serde_json::from_str(params)
        .map_err(|error| no(id, -32602, format!("Invalid params: {error}")))?;
    let said = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let agrees = params.meta.revision == REVISION
        && said("mcp-protocol-version") == Some(REVISION)
        && said("mcp-method") == Some("tools/call")
        && said("mcp-name") == Some(&*params.name);
    if !agrees {
        let what = format!("only revision {REVISION} is spoken, with headers that repeat the body");
        return Err(no(id, -32602, what));
    }
    let arguments = params.arguments.map_or("{}", RawValue::get);
    if !arguments.starts_with('{') || params.meta.via.len() > VIA_MAX {
        return Err(no(id, -32602, "Invalid params: arguments are an object".to_owned()));
    }
    let meta = params.meta;
    let passage = Passage {
        deadline_ms: meta.deadline_ms.unwrap_or(u64::MAX),
        hops: meta.hops.unwrap_or(aop_core::lineage::DEPTH_MAX),
        via: meta.via,
        budget: meta.budget.unwrap_or(aop_core::lineage::CALLS_MAX),
        trace: meta.traceparent.and_then(|text| text.parse().ok()),
    };
    Ok(Arrived { id: message.id, tool: params.name, arguments, passage })
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Form {
    Json,
    Text,
    Content,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    result_type: &'static str,
    content: [Block<'a>; 1],
    structured_content: Envelope<'a>,
    is_error: bool,
    #[serde(rename = "_meta")]
    meta: WrittenMeta,
}

#[derive(Serialize)]
struct Block<'a> {
    r#type: &'static str,
    text: &'a str,
}

#[derive(Serialize)]
struct WrittenMeta {
    #[serde(rename = "aop/call-id")]
    call_id: CallId,
    /// How the result is shown.
    #[serde(rename = "aop/shown")]
    shown: Form,
    /// Whether the agent may have run.
    #[serde(rename = "aop/executed")]
    executed: bool,
    /// Calls that were made for it, this one included.
    #[serde(rename = "aop/calls")]
    calls: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

#[derive(Serialize)]
struct Response<'a, R> {
    jsonrpc: &'static str,
    id: Option<&'a RawValue>,
    #[serde(flatten)]
    rest: R,
}

/// Writes the answer to a call, for which `calls` were made.
pub(super) fn write_answer(id: &RawValue, reply: &Reply, calls: u32) -> Vec<u8> {
    #[derive(Serialize)]
    struct Result_<'a> {
        result: Written<'a>,
    }
    let (text, shown, executed) = match &reply.result {
        Ok(output) => (output.json.get(), form(output.shown), true),
        Err(failure) => (failure.message.as_str(), Form::Json, failure.executed),
    };
    let result = Written {
        result_type: "complete",
        content: [Block { r#type: "text", text }],
        structured_content: Envelope::new(&reply.result),
        is_error: reply.result.is_err(),
        meta: WrittenMeta {
            call_id: reply.id,
            shown,
            executed,
            calls,
            traceparent: reply.trace.map(|trace| trace.to_string()),
        },
    };
    let response = Response { jsonrpc: "2.0", id: Some(id), rest: Result_ { result } };
    serde_json::to_vec(&response).unwrap_or_default()
}

const fn form(shown: Shown) -> Form {
    match shown {
        Shown::Json => Form::Json,
        Shown::Text => Form::Text,
        Shown::Content => Form::Content,
    }
}

/// Writes the result of something that is no call.
pub(super) fn write_result(id: &RawValue, result: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Result_<'a, R> {
        result: &'a R,
    }
    let response = Response { jsonrpc: "2.0", id: Some(id), rest: Result_ { result } };
    serde_json::to_vec(&response).unwrap_or_default()
}

/// Writes a JSON-RPC error.
pub(super) fn write_error(no: &NoCall<'_>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Error_<'a> {
        error: Body<'a>,
    }
    #[derive(Serialize)]
    struct Body<'a> {
        code: i32,
        message: &'a str,
    }
    let error = Body { code: no.code, message: &no.message };
    let response = Response { jsonrpc: "2.0", id: no.id, rest: Error_ { error } };
    serde_json::to_vec(&response).unwrap_or_default()
}

#[derive(Deserialize)]
struct Read {
    result: Option<ReadResult>,
    error: Option<ReadError>,
}

#[derive(Deserialize)]
struct ReadError {
    code: i64,
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadResult {
    structured_content: Option<ReadEnvelope>,
    #[serde(rename = "_meta")]
    meta: Option<ReadMeta>,
}

#[derive(Deserialize)]
struct ReadMeta {
    #[serde(rename = "aop/shown")]
    shown: Option<Form>,
    #[serde(rename = "aop/executed")]
    executed: Option<bool>,
    #[serde(rename = "aop/calls", default)]
    calls: u32,
}

#[derive(Deserialize)]
struct ReadEnvelope {
    success: bool,
    result: Option<Box<RawValue>>,
    error: Option<String>,
    code: Option<ErrorCode>,
    details: Option<Box<RawValue>>,
    retry_after_ms: Option<u64>,
}

/// What another zone answered to a call.
pub(super) struct Answered {
    /// How it ended. The four kinds of failure stay what they were there; an answer that makes no sense is
    /// `bad_output`.
    pub(super) result: Result<Output, Failure>,
    /// Calls that were made for it there, this one included.
    pub(super) calls: u32,
}

/// Reads the answer to a call of `name`.
pub(super) fn read_answer(body: &[u8], name: &str) -> Answered {
    let mut calls = 0;
    let result = read_result(body, name, &mut calls);
    Answered { result, calls }
}

/// Whether a body with an error status is one that this protocol itself writes, before anything runs.
pub(super) fn is_refusal(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        code: ErrorCode,
        #[serde(rename = "message")]
        _message: String,
    }
    serde_json::from_slice::<Refusal>(body)
        .is_ok_and(|refusal| refusal.code == ErrorCode::ResourceExhausted)
}

fn read_result(body: &[u8], name: &str, calls: &mut u32) -> Result<Output, Failure> {
    let bad = |what: &str| {
        let message = format!("the zone of `{name}` answers nonsense: {what}");
        Failure::executed(ErrorCode::BadOutput, message)
    };
    let read: Read = serde_json::from_slice(body).map_err(|error| bad(&error.to_string()))?;
    if let Some(error) = read.error {
        let message = format!("the zone of `{name}` refuses the call: {}", clip(&error.message));
        return Err(match error.code {
            // The request itself was refused: nothing ran.
            -32602 => Failure::before_execution(ErrorCode::NotFound, message),
            -32600 | -32601 | -32700 => Failure::before_execution(ErrorCode::Unavailable, message),
            _ => Failure::executed(ErrorCode::Unavailable, message),
        });
    }
    let result = read.result.ok_or_else(|| bad("neither a result nor an error"))?;
    let envelope = result.structured_content.ok_or_else(|| bad("no envelope"))?;
    let meta = result.meta;
    *calls = meta.as_ref().map_or(0, |meta| meta.calls);
    if envelope.success {
        let json = match envelope.result {
            Some(json) => json,
            None => RawValue::from_string("null".to_owned()).map_err(|_| bad("no result"))?,
        };
        let shown = match meta.and_then(|meta| meta.shown) {
            Some(Form::Content) => Shown::Content,
            Some(Form::Text) if json.get().starts_with('"') => Shown::Text,
            _ => Shown::Json,
        };
        return Ok(Output { json, shown });
    }
    let code = envelope.code.ok_or_else(|| bad("a failure without a code"))?;
    let executed = meta.and_then(|meta| meta.executed).unwrap_or(true);
    let message = clip(envelope.error.as_deref().unwrap_or_default()).to_owned();
    let retry_after = envelope.retry_after_ms.map(std::time::Duration::from_millis);
    Err(Failure { code, message, details: envelope.details, retry_after, executed })
}

fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(MESSAGE_MAX_BYTES)]
}

#[cfg(test)]
mod tests;

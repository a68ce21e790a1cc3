//! The fast path: plain `tools/call` and `tools/list` requests answered without `rmcp`.
//!
//! It only ever accepts. A request that breaks a rule, or uses anything beyond the plain form, is
//! left to `rmcp`, which knows the right complaint. So this file states what must hold for `rmcp`
//! to accept a request, and the tests compare both on generated requests.

use std::time::Instant;

use aop_core::{Caller, TraceContext};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use rmcp::ErrorData;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::edge::{Edge, ToolCall};
use crate::handler::{list_ttl_ms, trace};
use crate::list::Page;
use crate::message::{Method, Request, STATELESS_REVISION};
use crate::result::ToolResult;

/// The revisions a session may name in its header: those that `rmcp` knows and that have sessions.
const SESSION_REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

static METHOD: HeaderName = HeaderName::from_static("mcp-method");
static NAME: HeaderName = HeaderName::from_static("mcp-name");
static REVISION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// Whether a stateless request keeps every rule of its revision.
pub(crate) fn admits_stateless(headers: &HeaderMap, request: &Request<'_>) -> bool {
    let named = match &request.method {
        // An encoded name (`=?base64?…`) is rmcp's to decode, an odd one its to refuse.
        Method::Call { name, .. } => {
            !name.starts_with('=')
                && name.bytes().all(|byte| byte.is_ascii_graphic())
                && only(headers, &NAME).is_some_and(|value| *value == **name)
        }
        Method::List { .. } => true,
    };
    named
        && only(headers, &REVISION).is_some_and(|value| *value == *STATELESS_REVISION)
        && only(headers, &METHOD).is_some_and(|value| *value == *request.method.name())
        && request.meta.is_stateless()
        && common(headers)
}

/// Whether a request of a session keeps every rule of its revision.
pub(crate) fn admits_sessional(headers: &HeaderMap, request: &Request<'_>) -> bool {
    let revision = match headers.get(&REVISION) {
        None => true,
        Some(_) => only(headers, &REVISION)
            .is_some_and(|value| SESSION_REVISIONS.iter().any(|revision| *value == **revision)),
    };
    revision && request.meta.is_sessional() && common(headers)
}

/// What both eras ask of the headers, in the form that needs no parsing of weights or quotes.
fn common(headers: &HeaderMap) -> bool {
    let host = only(headers, &header::HOST)
        .is_some_and(|value| http::uri::Authority::try_from(value.as_bytes()).is_ok());
    let accept = only(headers, &header::ACCEPT).and_then(|value| value.to_str().ok());
    let accept = accept.is_some_and(|value| {
        let offers =
            |kind: &str| value.split(',').any(|entry| entry.trim().eq_ignore_ascii_case(kind));
        offers("application/json") && offers("text/event-stream") && !value.contains(['"', ';'])
    });
    host && accept
}

/// The value of a header that appears exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Where a plain request comes from. Unlike an [`Arrival`](crate::arrival::Arrival), it travels nowhere.
pub(crate) struct Origin<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) received: Instant,
    /// The trace in the transport's headers, if it has any.
    pub(crate) trace: Option<TraceContext>,
}

/// Answers a plain request with a complete JSON-RPC message.
pub(crate) async fn answer(
    edge: &Edge,
    request: &Request<'_>,
    origin: &Origin<'_>,
    stateless: bool,
) -> Vec<u8> {
    match &request.method {
        Method::Call { name, arguments } => {
            let call = ToolCall {
                caller: origin.caller,
                name,
                arguments,
                received: origin.received,
                trace: trace(request.meta.traceparent.as_deref(), origin.trace),
                progress: None,
                client: None,
                session: request.session.clone(),
            };
            match edge.call(call).await {
                Ok(answer) => response(request.id, &ToolResult::new(&answer, stateless)),
                Err(unknown) => error(request.id, &unknown),
            }
        }
        Method::List { cursor } => {
            match edge.page(origin.caller, cursor.as_deref(), origin.received) {
                Ok(page) => list(request.id, &page, stateless.then(|| list_ttl_ms(edge))),
                Err(none) => complaint(Some(request.id), &none.error()),
            }
        }
    }
}

fn response(id: &RawValue, result: &ToolResult<'_>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Response<'a> {
        jsonrpc: &'static str,
        id: &'a RawValue,
        result: &'a ToolResult<'a>,
    }
    // Strings, flags and raw JSON: serializing them cannot fail.
    serde_json::to_vec(&Response { jsonrpc: "2.0", id, result }).unwrap_or_default()
}

fn error(id: &RawValue, reason: &impl std::error::Error) -> Vec<u8> {
    let error = ErrorData::invalid_params(reason.to_string(), None);
    complaint(Some(id), &error)
}

/// A JSON-RPC error, with the id of its request when that was readable.
pub(crate) fn complaint<Id: Serialize>(id: Option<Id>, error: &ErrorData) -> Vec<u8> {
    #[derive(Serialize)]
    struct Response<'a, Id> {
        jsonrpc: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Id>,
        error: &'a ErrorData,
    }
    serde_json::to_vec(&Response { jsonrpc: "2.0", id, error }).unwrap_or_default()
}

/// `ttl_ms` is given to clients that know what it means.
fn list(id: &RawValue, page: &Page, ttl_ms: Option<u64>) -> Vec<u8> {
    let mut message = Vec::with_capacity(page.tools.len() + 256);
    message.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    message.extend_from_slice(id.get().as_bytes());
    message.extend_from_slice(br#","result":{"#);
    if let Some(ttl_ms) = ttl_ms {
        let hints = format!(r#""resultType":"complete","ttlMs":{ttl_ms},"cacheScope":"private","#);
        message.extend_from_slice(hints.as_bytes());
    }
    if let Some(next) = &page.next {
        // A cursor is base64: nothing in it needs escaping.
        message.extend_from_slice(format!(r#""nextCursor":"{next}","#).as_bytes());
    }
    message.extend_from_slice(br#""tools":"#);
    message.extend_from_slice(&page.tools);
    message.extend_from_slice(b"}}");
    message
}

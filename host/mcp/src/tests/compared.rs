//! The same request down both paths, and what of the answers must be the same.

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Request};
use serde_json::{Value, json};

use super::{Answer, World, post};
use crate::{McpConfig, McpServer};

/// A request as text, so that it can be sent twice.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Sent {
    pub(crate) fn request(&self, session: Option<&HeaderValue>) -> Option<Request<Body>> {
        let mut request = post("/mcp", self.body.clone());
        let headers = request.headers_mut();
        headers.remove("accept");
        headers.remove("content-type");
        for (name, value) in &self.headers {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value.as_bytes()).ok()?,
            );
        }
        if let Some(session) = session {
            headers.insert("mcp-session-id", session.clone());
        }
        Some(request)
    }
}

/// What must be the same.
pub(crate) fn essence(answer: &Answer, with_kind: bool) -> Value {
    let header =
        |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let mut messages = answer.messages();
    for message in &mut messages {
        // The built-in tools mint an id per call.
        if let Some(id) = message.pointer_mut("/result/_meta/aop~1call-id") {
            *id = Value::Null;
        }
        // Each server seals with a key of its own.
        if let Some(state) = message.pointer_mut("/result/requestState") {
            *state = Value::Null;
        }
    }
    let text = messages.is_empty().then(|| answer.text.clone());
    json!({
        "status": answer.status.as_u16(),
        "kind": with_kind.then(|| header("content-type")),
        "retry": header("retry-after"),
        "messages": messages,
        "text": text,
    })
}

/// One server with both paths, and one with only the full one.
pub(crate) fn servers(world: &Arc<World>) -> [McpServer; 2] {
    [true, false].map(|fast| McpServer::with_fast_path(McpConfig::default(), world.parts(), fast))
}

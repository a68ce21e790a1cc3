//! Requests as clients send them, and answers as they come back.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::McpServer;
use crate::tests::mounted;

/// A response, read to its end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The JSON-RPC messages in it, whether it is a plain body or an event stream.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let kind = self.headers.get("content-type").map(HeaderValue::as_bytes);
        if kind == Some(b"text/event-stream") {
            let data =
                self.text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
            data.filter(|data| !data.is_empty())
                .map(|data| serde_json::from_str(data).unwrap())
                .collect()
        } else {
            serde_json::from_str(&self.text).into_iter().collect()
        }
    }

    /// The only message, or the last one.
    pub(crate) fn message(&self) -> Value {
        self.messages().pop().unwrap_or_default()
    }

    pub(crate) fn result(&self) -> Value {
        self.message()["result"].clone()
    }

    pub(crate) fn error_code(&self) -> Option<i64> {
        self.message()["error"]["code"].as_i64()
    }
}

/// A POST with what every client sends.
pub(crate) fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(body.into())
        .unwrap()
}

/// A stateless request with all its headers.
pub(crate) fn stateless(id: &Value, method: &str, mut params: Value) -> Request<Body> {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    let capabilities = &mut params["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    if capabilities.is_null() {
        *capabilities = json!({});
    }
    let names = ["name", "uri", "taskId"].map(|member| params[member].as_str());
    let name = names.into_iter().flatten().next().map(|name| HeaderValue::from_str(name).unwrap());
    let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let mut request = post("/mcp", message.to_string());
    let headers = request.headers_mut();
    headers.insert("mcp-protocol-version", HeaderValue::from_static("2026-07-28"));
    headers.insert("mcp-method", HeaderValue::from_str(method).unwrap());
    if let Some(name) = name {
        headers.insert("mcp-name", name);
    }
    request
}

pub(crate) fn call(name: &str, arguments: &Value) -> Request<Body> {
    stateless(&json!(1), "tools/call", json!({ "name": name, "arguments": arguments }))
}

/// Sends a request and reads the whole response.
pub(crate) async fn send(server: &McpServer, request: Request<Body>) -> Answer {
    let (parts, body) = mounted(server).oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, text }
}

/// An open session of a revision before the stateless one.
pub(crate) struct Client<'a> {
    pub(crate) server: &'a McpServer,
    pub(crate) session: HeaderValue,
}

pub(crate) fn initialize(revision: &str) -> Request<Body> {
    initialize_with(revision, &json!({}))
}

fn initialize_with(revision: &str, capabilities: &Value) -> Request<Body> {
    let message = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": revision, "capabilities": capabilities, "clientInfo": { "name": "test", "version": "1" } } });
    post("/mcp", message.to_string())
}

impl<'a> Client<'a> {
    pub(crate) async fn open(server: &'a McpServer) -> Self {
        Self::open_with(server, json!({})).await
    }

    /// A session of a client with these capabilities.
    pub(crate) async fn open_with(server: &'a McpServer, capabilities: Value) -> Self {
        let answer = send(server, initialize_with("2025-11-25", &capabilities)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.result()["protocolVersion"], "2025-11-25");
        let client = Self { server, session: answer.headers["mcp-session-id"].clone() };
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(client.send(&initialized).await.status, StatusCode::ACCEPTED);
        client
    }

    pub(crate) fn request(&self, message: &Value) -> Request<Body> {
        let mut request = post("/mcp", message.to_string());
        request.headers_mut().insert("mcp-session-id", self.session.clone());
        request
            .headers_mut()
            .insert("mcp-protocol-version", HeaderValue::from_static("2025-11-25"));
        request
    }

    pub(crate) async fn send(&self, message: &Value) -> Answer {
        send(self.server, self.request(message)).await
    }

    /// A request without a body.
    pub(crate) fn bare(&self, method: Method) -> Request<Body> {
        let mut request = self.request(&Value::Null);
        *request.method_mut() = method;
        *request.body_mut() = Body::empty();
        request
    }
}

pub(crate) fn call_message(id: i64, name: &str, arguments: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": name, "arguments": arguments } })
}

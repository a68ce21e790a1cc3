//! A client of the revisions with sessions (2025-11-25 and 2025-06-18) over HTTP.

use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{Answer, Events, ToolResult, http_client};

/// An open session.
#[derive(Debug)]
pub struct Session {
    http: reqwest::Client,
    url: String,
    id: String,
    version: String,
    initialized: Value,
    ids: AtomicU64,
}

impl Session {
    /// Opens one.
    ///
    /// # Panics
    /// When the server does not let it.
    pub async fn open(url: &str, version: &str) -> Self {
        let http = http_client();
        let answer = Self::initialize(&http, url, version).await;
        let id = answer.headers.get("mcp-session-id").and_then(|id| id.to_str().ok());
        let Some(id) = id.map(str::to_owned) else {
            panic!("no session id: {} {}", answer.status, answer.text)
        };
        let initialized = answer.result().clone();
        let session = Self {
            http,
            url: url.to_owned(),
            id,
            version: version.to_owned(),
            initialized,
            ids: AtomicU64::new(1),
        };
        let accepted = session.notify("notifications/initialized", json!({})).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text);
        session
    }

    /// Sends `initialize` alone.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn initialize(http: &reqwest::Client, url: &str, version: &str) -> Answer {
        let message = json!({
            "jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {
                "protocolVersion": version,
                "capabilities": {},
                "clientInfo": { "name": "aop-tests", "version": "1" },
            },
        });
        let request = http
            .post(url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(message.to_string());
        Answer::read(request.send().await.expect("the host answers")).await
    }

    /// What the server said of itself.
    #[must_use]
    pub fn initialized(&self) -> &Value {
        &self.initialized
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A request of the session without a body.
    pub fn http(&self, method: Method) -> RequestBuilder {
        self.http
            .request(method, &self.url)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", &self.version)
            .header("mcp-session-id", &self.id)
    }

    /// A POST of a message.
    pub fn post(&self, message: &Value) -> RequestBuilder {
        self.http(Method::POST).header("content-type", "application/json").body(message.to_string())
    }

    /// A request with an id of its own.
    #[must_use]
    pub fn message(&self, method: &str, params: Value) -> Value {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
    }

    /// Sends a request and reads its answer.
    ///
    /// # Panics
    /// When there is none.
    pub async fn request(&self, method: &str, params: Value) -> Answer {
        let message = self.message(method, params);
        Answer::read(self.post(&message).send().await.expect("the host answers")).await
    }

    /// Sends a notification.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn notify(&self, method: &str, params: Value) -> Answer {
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        Answer::read(self.post(&message).send().await.expect("the host answers")).await
    }

    /// Calls a tool.
    pub async fn call(&self, tool: &str, arguments: Value) -> ToolResult {
        ToolResult::of(
            &self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await,
        )
    }

    /// The stream of what the server says by itself.
    ///
    /// # Panics
    /// When there is none.
    pub async fn events(&self) -> Events {
        Events::of(self.http(Method::GET).send().await.expect("the host answers"))
    }

    /// Ends the session.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn delete(&self) -> u16 {
        self.http(Method::DELETE).send().await.expect("the host answers").status().as_u16()
    }
}

//! A client of MCP 2026-07-28: every request stands alone.

use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::{Answer, Events, http_client};

/// The revision without sessions.
pub const STATELESS: &str = "2026-07-28";

/// A client. Its requests may run at the same time.
#[derive(Debug)]
pub struct Mcp {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
    ids: AtomicU64,
}

impl Mcp {
    /// A client of the server at a URL.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self { http: http_client(), url, key: None, ids: AtomicU64::new(1) }
    }

    /// With the key that opens the server.
    #[must_use]
    pub fn with_key(self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self }
    }

    /// A request with everything that the revision asks for.
    ///
    /// # Panics
    /// When `params` is not an object.
    #[must_use]
    pub fn message(&self, method: &str, mut params: Value) -> Value {
        let object = params.as_object_mut().expect("params are an object");
        let meta = object.entry("_meta").or_insert_with(|| json!({}));
        meta["io.modelcontextprotocol/protocolVersion"] = STATELESS.into();
        meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "aop-tests", "version": "1" });
        meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
    }

    /// A POST of a message with the headers that belong to it.
    pub fn post(&self, message: &Value) -> RequestBuilder {
        let method = message["method"].as_str().unwrap_or_default();
        let name = message["params"]["name"].as_str();
        let request = self.post_bytes(message.to_string()).header("mcp-method", method);
        match name {
            Some(name) => request.header("mcp-name", name),
            None => request,
        }
    }

    /// A POST of any body with the headers that every request has.
    pub fn post_bytes(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", STATELESS)
            .body(body);
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a request and reads its answer.
    ///
    /// # Panics
    /// When there is none.
    pub async fn request(&self, method: &str, params: Value) -> Answer {
        let message = self.message(method, params);
        Answer::read(self.post(&message).send().await.expect("the host answers")).await
    }

    /// Calls a tool.
    pub async fn call(&self, tool: &str, arguments: Value) -> ToolResult {
        let answer =
            self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await;
        ToolResult::of(&answer)
    }

    /// Calls a tool of a host that may be gone.
    ///
    /// # Errors
    /// How it failed.
    pub async fn try_call(&self, tool: &str, arguments: Value) -> Result<Value, CallFault> {
        let message = self.message("tools/call", json!({ "name": tool, "arguments": arguments }));
        let response = self.post(&message).send().await.map_err(CallFault::no_answer)?;
        let text = response.text().await.map_err(CallFault::no_answer)?;
        let answer: Value = serde_json::from_str(&text).map_err(CallFault::no_answer)?;
        let envelope = &answer["result"]["structuredContent"];
        if envelope["success"] == true {
            return Ok(envelope["result"].clone());
        }
        let code = envelope["code"]
            .as_str()
            .map_or_else(|| answer["error"]["code"].to_string(), str::to_owned);
        Err(CallFault { code, message: text })
    }

    /// Calls a tool and asks for its progress.
    pub async fn call_with_progress(&self, tool: &str, arguments: Value, token: &str) -> Answer {
        let params =
            json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": token } });
        self.request("tools/call", params).await
    }

    /// Every tool, over all pages.
    pub async fn tools(&self) -> Vec<Value> {
        let mut tools = Vec::new();
        let mut params = json!({});
        loop {
            let answer = self.request("tools/list", params).await;
            let result = answer.result();
            tools.extend(result["tools"].as_array().cloned().unwrap_or_default());
            match result.get("nextCursor") {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => return tools,
            }
        }
    }

    /// The names of every tool.
    pub async fn tool_names(&self) -> Vec<String> {
        let name = |tool: Value| tool["name"].as_str().map(str::to_owned);
        self.tools().await.into_iter().filter_map(name).collect()
    }

    /// Opens a subscription to changes of the tool list and waits until it is acknowledged.
    ///
    /// # Panics
    /// When it is not.
    pub async fn listen(&self) -> Events {
        let message = self.message(
            "subscriptions/listen",
            json!({ "notifications": { "toolsListChanged": true } }),
        );
        let mut events = Events::of(self.post(&message).send().await.expect("the host answers"));
        events.next_of("notifications/subscriptions/acknowledged").await;
        events
    }
}

/// How a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFault {
    /// The envelope's code, that of a JSON-RPC error, or [`CallFault::NO_ANSWER`].
    pub code: String,
    /// What was answered.
    pub message: String,
}

impl CallFault {
    /// The code of a call that nobody answered.
    pub const NO_ANSWER: &'static str = "no_answer";

    fn no_answer(error: impl std::error::Error) -> Self {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self { code: Self::NO_ANSWER.to_owned(), message: format!("{error}{cause}") }
    }
}

/// The result of a `tools/call`.
#[derive(Debug, Clone)]
pub struct ToolResult(
    /// The result as it came.
    pub Value,
);

impl ToolResult {
    /// The result in an answer, after checking what holds for every one of them.
    ///
    /// # Panics
    /// When the answer is no result, or one that contradicts itself.
    #[must_use]
    #[track_caller]
    pub fn of(answer: &Answer) -> Self {
        let result = Self(answer.result().clone());
        let success = result.envelope()["success"].as_bool();
        let error = result.0["isError"].as_bool().unwrap_or(false);
        assert_eq!(success, Some(!error), "`isError` is the opposite of `success`: {}", result.0);
        assert!(result.0["content"][0]["text"].is_string(), "a model can read it: {}", result.0);
        assert!(result.call_id().len() == 36, "a call id: {}", result.0);
        result
    }

    /// The envelope.
    #[must_use]
    pub fn envelope(&self) -> &Value {
        &self.0["structuredContent"]
    }

    /// The value of a call that succeeded.
    ///
    /// # Panics
    /// When it failed.
    #[must_use]
    #[track_caller]
    pub fn value(&self) -> &Value {
        assert_eq!(self.envelope()["success"], true, "{}", self.0);
        &self.envelope()["result"]
    }

    /// The code of a call that failed.
    ///
    /// # Panics
    /// When it succeeded.
    #[must_use]
    #[track_caller]
    pub fn code(&self) -> &str {
        assert_eq!(self.envelope()["success"], false, "{}", self.0);
        self.envelope()["code"].as_str().unwrap_or_default()
    }

    /// What a model reads.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0["content"][0]["text"].as_str().unwrap_or_default()
    }

    /// The call's id.
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.0["_meta"]["aop/call-id"].as_str().unwrap_or_default()
    }
}

//! One MCP request per POST, answered as JSON or as an event stream.

use std::collections::BTreeSet;

use anyhow::Context as _;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::admin::Problem;
use super::answer::Answer;
use super::{Client, body, repeated};
use crate::exit::{CommandError, failure, misuse};

/// The protocol revision without sessions.
pub(crate) const REVISION: &str = "2026-07-28";
/// JSON-RPC: the request is well formed but asks for something that is not there.
const INVALID_PARAMS: i64 = -32602;
/// The client did not offer what the tool asks it for (MCP 2026-07-28).
const MISSING_CAPABILITY: i64 = -32021;
/// A header does not say what the body says (MCP 2026-07-28).
const HEADER_MISMATCH: i64 = -32020;
/// The most pages of a tool list that are read; a host with more tools is searched, not listed.
const PAGES_MAX: usize = 10_000;

/// A tool as the host lists it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToolEntry {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    #[serde(default)]
    pub(crate) description: String,
    pub(crate) input_schema: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output_schema: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<Box<RawValue>>,
}

/// The host refused a request.
#[derive(Debug, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct RpcError {
    pub(crate) code: i64,
    pub(crate) message: String,
    #[serde(default)]
    data: Value,
}

impl RpcError {
    /// Whether the client would have to follow tasks.
    fn wants_tasks(&self) -> bool {
        let extensions = &self.data["requiredCapabilities"]["extensions"];
        self.code == MISSING_CAPABILITY && extensions.get("io.modelcontextprotocol/tasks").is_some()
    }
}

/// What a server may answer with.
pub(crate) const ACCEPT: &str = "application/json, text/event-stream";
/// Every request has a connection of its own to be answered on, so one id serves all.
const REQUEST_ID: u64 = 1;

/// A JSON-RPC request.
#[derive(Serialize)]
pub(crate) struct Request<'a> {
    pub(crate) jsonrpc: &'static str,
    pub(crate) id: u64,
    pub(crate) method: &'a str,
    pub(crate) params: Params<'a>,
}

/// The parameters of the requests that a client sends. Arguments stay the text that was given, so
/// no number changes on its way.
#[derive(Default, Serialize)]
pub(crate) struct Params<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<Value>,
}

impl<'a> Params<'a> {
    /// Those of `tools/call`.
    pub(crate) fn call(tool: &'a str, arguments: &'a str) -> anyhow::Result<Self> {
        let arguments = serde_json::from_str(arguments).context("the arguments are not JSON")?;
        Ok(Self { name: Some(tool), arguments: Some(arguments), ..Self::default() })
    }

    /// Adds what every request of the revision without sessions carries.
    pub(crate) fn stateless(mut self) -> Self {
        self.meta = Some(json!({
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientInfo": { "name": "aop", "version": env!("CARGO_PKG_VERSION") },
            "io.modelcontextprotocol/clientCapabilities": {},
        }));
        self
    }
}

/// Why a request has no result.
enum RequestError {
    Refused(RpcError),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for RequestError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<RequestError> for CommandError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(RpcError { code: INVALID_PARAMS, message, .. }) => {
                misuse(message)
            }
            RequestError::Refused(error) if error.wants_tasks() => failure(
                "the tool runs only as a task, which this command does not follow: `aop call aop_call tool=NAME arguments={…}` waits for it",
            ),
            RequestError::Refused(RpcError { code: MISSING_CAPABILITY, .. }) => failure(
                "the tool asks its client for a model or a person, which a command line does not have: call it from an MCP client, or give the agent a model of the host (`[model]` in its settings)",
            ),
            RequestError::Refused(RpcError { code, message, .. }) => {
                failure(format!("{message} (code {code})"))
            }
            RequestError::Failed(error) => Self::Failure(error),
        }
    }
}

#[derive(Deserialize)]
struct Page {
    tools: Vec<ToolEntry>,
    #[serde(rename = "nextCursor")]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    id: Value,
    result: Option<Box<RawValue>>,
    error: Option<RpcError>,
}

impl Client {
    /// Every tool, in the host's order.
    pub(crate) async fn tools(&self) -> Result<Vec<ToolEntry>, CommandError> {
        let (mut tools, mut seen) = (Vec::new(), BTreeSet::new());
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let params = Params { cursor: cursor.as_deref(), ..Params::default() };
            let result = self.request("tools/list", params).await?;
            let page: Page =
                serde_json::from_str(result.get()).context("the host's tool list is malformed")?;
            tools.extend(page.tools);
            let Some(next) = page.next_cursor else { return Ok(tools) };
            if !seen.insert(next.clone()) {
                return Err(failure("the host lists the same page again and again"));
            }
            cursor = Some(next);
        }
        Err(failure(format!("the host lists more than {PAGES_MAX} pages of tools")))
    }

    /// Calls a tool with a JSON object as text. What headers have to repeat is known once a host wants it.
    pub(crate) async fn call(&self, tool: &str, arguments: &str) -> Result<Answer, CommandError> {
        let params = || Params::call(tool, arguments);
        let result = match self.request_with("tools/call", params()?, &[]).await {
            Err(RequestError::Refused(RpcError { code: HEADER_MISMATCH, .. })) => {
                let described = json!({ "tool": tool }).to_string();
                let described = Params::call("aop_describe", &described)?;
                let described = self.request("tools/call", described).await?;
                let headers = repeated::headers(described.get(), arguments);
                self.request_with("tools/call", params()?, &headers).await?
            }
            result => result?,
        };
        Ok(serde_json::from_str(result.get()).context("the host's answer is malformed")?)
    }

    async fn request(
        &self,
        method: &str,
        params: Params<'_>,
    ) -> Result<Box<RawValue>, RequestError> {
        self.request_with(method, params, &[]).await
    }

    async fn request_with(
        &self,
        method: &str,
        params: Params<'_>,
        headers: &[(String, String)],
    ) -> Result<Box<RawValue>, RequestError> {
        let name = params.name;
        let message =
            Request { jsonrpc: "2.0", id: REQUEST_ID, method, params: params.stateless() };
        let mut request = self
            .http
            .post(self.endpoint.mcp.clone())
            .header("accept", ACCEPT)
            .header("mcp-protocol-version", REVISION)
            .header("mcp-method", method)
            .json(&message);
        if let Some(name) = name {
            request = request.header("mcp-name", header_text(name)?);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = self.send(request).await?;
        let status = response.status();
        let is_stream = response
            .headers()
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let text = body(response).await?;
        let message = if is_stream { from_events(&text) } else { serde_json::from_str(&text).ok() };
        match message {
            Some(Message { result: Some(result), .. }) => Ok(result),
            Some(Message { error: Some(error), .. }) => Err(RequestError::Refused(error)),
            _ => Err(RequestError::Failed(match serde_json::from_str::<Problem>(&text) {
                Ok(problem) if status == StatusCode::UNAUTHORIZED => {
                    anyhow::Error::msg(problem.unauthenticated())
                }
                Ok(problem) => anyhow::Error::msg(problem.message),
                Err(_) => anyhow::anyhow!(
                    "{} answered {status} and no MCP message: is it an AOP host?",
                    self.endpoint.mcp
                ),
            })),
        }
    }
}

/// A tool's name goes into a header: what no tool can be called is refused here.
fn header_text(name: &str) -> Result<&str, RequestError> {
    let is_plain = !name.is_empty() && name.bytes().all(|c| c.is_ascii_graphic());
    if is_plain {
        Ok(name)
    } else {
        let message = format!("`{name}` is not a tool's name: see `aop tools`");
        Err(RequestError::Refused(RpcError { code: INVALID_PARAMS, message, data: Value::Null }))
    }
}

/// The answer in an event stream: the message that carries our id.
fn from_events(text: &str) -> Option<Message> {
    let mut data = String::new();
    for line in text.lines().chain([""]) {
        if let Some(rest) = line.strip_prefix("data:") {
            data.push_str(rest.strip_prefix(' ').unwrap_or(rest));
            data.push('\n');
        } else if line.is_empty() {
            let message = serde_json::from_str::<Message>(&data);
            data.clear();
            if let Ok(message) = message
                && message.id == REQUEST_ID
            {
                return Some(message);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_found_among_the_events_of_a_stream() {
        let text = ": hello\n\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n\
                    id: 4\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\ndata: \"result\":{\"a\":1}}\n\n";
        let message = from_events(text).unwrap();
        assert_eq!(message.result.unwrap().get(), "{\"a\":1}");
        assert!(from_events("data: nothing\n\n").is_none());
        assert!(from_events("").is_none());
    }
}

//! The three tools that make a large catalogue usable: search it, read one definition, call it.
//!
//! They answer with the same envelope as any tool. `aop_call` reaches agents' tools only, so a call
//! cannot be wrapped in itself.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use aop_core::{
    AgentName, CallId, Caller, ErrorCode, Failure, Output, Query, Reply, Resolve, Search,
    TraceContext, Violation,
};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::list::Definition;

/// Hits when the caller names no limit: enough to choose from, short enough to read.
const LIMIT_DEFAULT: u32 = 10;
/// Hits at most: beyond this, a better query serves the caller better.
const LIMIT_MAX: u32 = 100;

/// One of the host's own tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builtin {
    Discover,
    Describe,
    Call,
}

impl Builtin {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "aop_discover" => Some(Self::Discover),
            "aop_describe" => Some(Self::Describe),
            "aop_call" => Some(Self::Call),
            _ => None,
        }
    }
}

/// Whether a name is kept for the host's own tools.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with("aop_")
}

/// What the built-in tools look into.
pub(crate) struct Library<'a> {
    pub(crate) resolve: &'a Arc<dyn Resolve>,
    pub(crate) search: &'a Arc<dyn Search>,
    pub(crate) caller: &'a Caller,
}

#[derive(Serialize)]
struct Found<'a> {
    tools: Vec<FoundTool<'a>>,
}

#[derive(Serialize)]
struct FoundTool<'a> {
    name: &'a str,
    agent: &'a str,
    description: String,
    score: f64,
}

#[derive(Serialize)]
struct Described<'a> {
    agent: &'a str,
    #[serde(flatten)]
    definition: Definition<'a>,
    signature: &'a str,
}

impl Library<'_> {
    /// `aop_discover`: the best tools for a query.
    pub(crate) fn discover(&self, arguments: &str) -> Result<Output, Failure> {
        let arguments: DiscoverArguments<'_> = parse(arguments)?;
        let agent = arguments.agent.as_deref().map(AgentName::new).transpose();
        let agent = agent.map_err(|error| invalid("/agent", error.to_string()))?;
        let limit = arguments.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(invalid("/limit", format!("must be between 1 and {LIMIT_MAX}")));
        }
        let query = Query { text: arguments.query.into_owned(), agent, limit };
        let tenant = &self.caller.tenant;
        let hits = self
            .search
            .search(tenant, &query)
            .map_err(|error| Failure::before_execution(ErrorCode::Internal, error.to_string()))?;
        let describe = |name: &str| {
            self.resolve.resolve(tenant, name).map(|route| route.tool.description.clone())
        };
        let tools = hits
            .iter()
            .filter_map(|hit| {
                // A tool that left after the index was read is no hit any more.
                let description = describe(&hit.tool)?;
                Some(FoundTool {
                    name: &hit.tool,
                    agent: &hit.agent,
                    description,
                    score: hit.score,
                })
            })
            .collect();
        output(&Found { tools })
    }

    /// `aop_describe`: the full definition of one tool.
    pub(crate) fn describe(&self, arguments: &str) -> Result<Output, Failure> {
        let arguments: DescribeArguments<'_> = parse(arguments)?;
        let name = &*arguments.tool;
        let Some(route) = self.resolve.resolve(&self.caller.tenant, name) else {
            return Err(unknown(name));
        };
        output(&Described {
            agent: &route.revision.agent,
            definition: Definition::new(&route.tool),
            signature: &route.tool.signature,
        })
    }
}

/// What `aop_call` passes on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forwarded<'a> {
    #[serde(borrow)]
    pub(crate) tool: Cow<'a, str>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

impl Forwarded<'_> {
    /// A JSON object as text.
    pub(crate) fn arguments(&self) -> &str {
        self.arguments.map_or("{}", RawValue::get)
    }
}

/// Reads the arguments of `aop_call`.
pub(crate) fn forwarded(arguments: &str) -> Result<Forwarded<'_>, Failure> {
    let forwarded: Forwarded<'_> = parse(arguments)?;
    if is_reserved(&forwarded.tool) {
        return Err(invalid(
            "/tool",
            "built-in tools cannot be called through aop_call".to_owned(),
        ));
    }
    if !forwarded.arguments().starts_with('{') {
        return Err(invalid(
            "/arguments",
            "must be an object with the tool's arguments".to_owned(),
        ));
    }
    Ok(forwarded)
}

/// The failure for a tool that does not exist, where it is an argument.
pub(crate) fn unknown(name: &str) -> Failure {
    let shown: String = name.chars().take(aop_core::ToolName::LENGTH_MAX).collect();
    Failure::before_execution(
        ErrorCode::NotFound,
        format!("no tool `{shown}`: search with aop_discover"),
    )
}

/// Wraps what a built-in tool answered.
pub(crate) fn reply(result: Result<Output, Failure>, trace: Option<TraceContext>) -> Reply {
    Reply { id: CallId(Uuid::now_v7()), result, trace }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DiscoverArguments<'a> {
    #[serde(borrow, default)]
    query: Cow<'a, str>,
    #[serde(borrow)]
    agent: Option<Cow<'a, str>>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribeArguments<'a> {
    #[serde(borrow)]
    tool: Cow<'a, str>,
}

fn parse<'a, T: Deserialize<'a>>(arguments: &'a str) -> Result<T, Failure> {
    serde_json::from_str(arguments).map_err(|error| invalid("", error.to_string()))
}

fn invalid(pointer: &str, message: String) -> Failure {
    Failure::invalid_arguments(&[Violation { pointer: pointer.to_owned(), message }])
}

fn output(value: &impl Serialize) -> Result<Output, Failure> {
    match to_raw_value(value) {
        Ok(json) => Ok(Output { json, is_text: false }),
        Err(error) => Err(Failure::before_execution(ErrorCode::Internal, error.to_string())),
    }
}

/// The definitions of the three tools as JSON objects, in the order `tools/list` shows them.
pub(crate) fn definitions() -> &'static [String; 3] {
    static DEFINITIONS: LazyLock<[String; 3]> = LazyLock::new(|| {
        [call_definition(), describe_definition(), discover_definition()].map(|v| v.to_string())
    });
    &DEFINITIONS
}

fn discover_definition() -> serde_json::Value {
    serde_json::json!({
        "name": "aop_discover",
        "title": "Find tools",
        "description": "Searches every tool of this server by words in its name, description and parameters. \
            Use it when no listed tool fits. Returns the best matches first.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": { "type": "string", "description": "Words that describe the task. Empty lists all tools by name." },
                "agent": { "type": "string", "description": "Only tools of this agent." },
                "limit": {
                    "type": "integer", "minimum": 1, "maximum": LIMIT_MAX,
                    "description": format!("At most this many matches; {LIMIT_DEFAULT} when left out."),
                },
            },
            "additionalProperties": false,
        },
        "outputSchema": envelope(&serde_json::json!({
            "type": "object",
            "properties": {
                "tools": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "name": { "type": "string", "description": "What to pass to aop_describe or aop_call." },
                            "agent": { "type": "string" },
                            "description": { "type": "string" },
                            "score": { "type": "number", "description": "Higher is better, within one answer." },
                        },
                        "required": ["name", "agent", "description", "score"],
                    },
                },
            },
            "required": ["tools"],
        })),
        "annotations": { "readOnlyHint": true, "idempotentHint": true, "openWorldHint": false },
    })
}

fn describe_definition() -> serde_json::Value {
    serde_json::json!({
        "name": "aop_describe",
        "title": "Describe a tool",
        "description": "Returns the full definition of one tool: description, input and output schema, hints.",
        "inputSchema": {
            "type": "object",
            "properties": { "tool": { "type": "string", "description": "The tool's name, as aop_discover gives it." } },
            "required": ["tool"],
            "additionalProperties": false,
        },
        "outputSchema": envelope(&serde_json::json!({
            "type": "object",
            "properties": {
                "agent": { "type": "string" },
                "name": { "type": "string" },
                "title": { "type": "string" },
                "description": { "type": "string" },
                "inputSchema": { "type": "object", "description": "JSON Schema of the arguments." },
                "outputSchema": { "type": "object", "description": "JSON Schema of the result." },
                "annotations": { "type": "object" },
                "signature": { "type": "string", "description": "The function in WIT." },
            },
            "required": ["agent", "name", "description", "inputSchema", "outputSchema", "annotations", "signature"],
        })),
        "annotations": { "readOnlyHint": true, "idempotentHint": true, "openWorldHint": false },
    })
}

fn call_definition() -> serde_json::Value {
    serde_json::json!({
        "name": "aop_call",
        "title": "Call a tool",
        "description": "Calls any tool of this server by name, listed or not. Read its schema with aop_describe first.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "tool": { "type": "string", "description": "The tool's name, as aop_discover gives it." },
                "arguments": {
                    "type": "object",
                    "description": "The tool's arguments, as its input schema says. Left out: none.",
                },
            },
            "required": ["tool"],
            "additionalProperties": false,
        },
        "outputSchema": envelope(&serde_json::json!({ "description": "What the called tool returns." })),
        "annotations": { "idempotentHint": false },
    })
}

/// The schema of an envelope around `result`.
fn envelope(result: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "type": "object",
        "properties": {
            "success": { "type": "boolean" },
            "result": result,
            "error": { "type": "string", "description": "What went wrong, when success is false." },
            "code": { "type": "string", "enum": ErrorCode::ALL.map(ErrorCode::as_str) },
            "details": { "description": "Machine-readable details of the error." },
            "retry_after_ms": { "type": "integer", "minimum": 0 },
        },
        "required": ["success"],
    })
}

#[cfg(test)]
mod tests;

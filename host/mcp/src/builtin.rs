//! The tools that make a large catalogue usable: search it, read one definition, call one tool or many.
//!
//! They answer with the same envelope as any tool. `aop_call` and `aop_call_many` reach agents' tools only,
//! so a call cannot be wrapped in itself.

use std::borrow::Cow;
use std::sync::LazyLock;

use aop_core::federation::{Federation, ZoneQuery};
use aop_core::{
    CallId, Caller, ErrorCode, Failure, Library, Output, Reply, Shown, TraceContext, Violation,
};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_path_to_error::{Path, Segment};

use crate::edge::is_full_name;
use crate::list::Definition;
use crate::many;

/// One of the host's own tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builtin {
    Discover,
    Describe,
    Call,
    CallMany,
}

impl Builtin {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "aop_discover" => Some(Self::Discover),
            "aop_describe" => Some(Self::Describe),
            "aop_call" => Some(Self::Call),
            "aop_call_many" => Some(Self::CallMany),
            _ => None,
        }
    }
}

/// Whether a name is kept for the host's own tools.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with("aop_")
}

#[derive(Serialize)]
struct FoundTools<'a> {
    tools: Vec<FoundTool<'a>>,
}

#[derive(Serialize)]
struct FoundTool<'a> {
    name: &'a str,
    agent: &'a str,
    description: &'a str,
    score: f64,
}

#[derive(Serialize)]
struct Described<'a> {
    agent: &'a str,
    #[serde(flatten)]
    definition: Definition<'a>,
    signature: &'a str,
}

/// `aop_discover`: the best tools for a query, of this host or of another zone and those below it.
pub(crate) async fn discover(
    library: &Library,
    federation: Option<&dyn Federation>,
    caller: &Caller,
    arguments: &str,
) -> Result<Output, Failure> {
    let DiscoverArguments { query, agent, limit, zone } = parse(arguments)?;
    let tenant = &caller.tenant;
    if let Some(zone) = zone {
        let federation = federation.ok_or_else(no_zone)?;
        if agent.is_some() {
            let reason = "cannot be said together with a zone: leave it out";
            return Err(invalid("/agent", reason.to_owned()));
        }
        let query = ZoneQuery {
            text: query.into_owned(),
            zone: zone.into_owned(),
            limit: limit.unwrap_or(Library::LIMIT_DEFAULT),
        };
        return output(&federation.discover(caller, query).await?);
    }
    let found = library.discover(tenant, &query, agent.as_deref(), limit, &|_| true)?;
    let tools = found.iter().map(|found| FoundTool {
        name: &found.route.tool.name,
        agent: &found.route.revision.agent,
        description: &found.route.tool.description,
        score: found.score,
    });
    output(&FoundTools { tools: tools.collect() })
}

fn no_zone() -> Failure {
    invalid("/zone", "this host belongs to no zone: leave it out".to_owned())
}

/// `aop_describe`: the full definition of one tool, of this host or, by its full name, of another zone.
pub(crate) async fn describe(
    library: &Library,
    federation: Option<&dyn Federation>,
    caller: &Caller,
    arguments: &str,
) -> Result<Output, Failure> {
    let DescribeArguments { tool } = parse(arguments)?;
    let route = match federation {
        Some(federation) if is_full_name(&tool) => federation.describe(caller, &tool).await?,
        _ => library.describe(&caller.tenant, &tool)?,
    };
    output(&Described {
        agent: &route.revision.agent,
        definition: Definition::new(&route.tool),
        signature: &route.tool.signature,
    })
}

/// What `aop_call` passes on; `aop_call_many` has a list of it.
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

    /// Whether it can be passed on.
    ///
    /// # Errors
    /// `invalid_arguments`.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if is_reserved(&self.tool) {
            let reason = "built-in tools cannot be called through a built-in tool";
            return Err(invalid("/tool", reason.to_owned()));
        }
        if !self.arguments().starts_with('{') {
            let reason = "must be an object with the tool's arguments";
            return Err(invalid("/arguments", reason.to_owned()));
        }
        Ok(())
    }
}

/// Reads the arguments of `aop_call`.
pub(crate) fn forwarded(arguments: &str) -> Result<Forwarded<'_>, Failure> {
    let forwarded: Forwarded<'_> = parse(arguments)?;
    forwarded.check()?;
    Ok(forwarded)
}

/// Wraps what a built-in tool answered.
pub(crate) fn reply(result: Result<Output, Failure>, trace: Option<TraceContext>) -> Reply {
    Reply { id: CallId::begin(), result, trace, session: None }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DiscoverArguments<'a> {
    #[serde(borrow, default)]
    query: Cow<'a, str>,
    #[serde(borrow)]
    agent: Option<Cow<'a, str>>,
    limit: Option<u32>,
    #[serde(borrow)]
    zone: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribeArguments<'a> {
    #[serde(borrow)]
    tool: Cow<'a, str>,
}

/// Reads arguments.
///
/// # Errors
/// `invalid_arguments`, with the pointer of the first mistake.
pub(crate) fn parse<'a, T: Deserialize<'a>>(arguments: &'a str) -> Result<T, Failure> {
    let mut text = serde_json::Deserializer::from_str(arguments);
    serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let pointer = pointer(error.path());
        let message = error.into_inner().to_string();
        // They are a part of the message that the client sent: where in this part says nothing to it.
        let message = message.rsplit_once(" at line ").map_or(&*message, |(reason, _)| reason);
        invalid(&pointer, message.to_owned())
    })
}

/// RFC 6901.
fn pointer(path: &Path) -> String {
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => {
            format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
        }
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

pub(crate) fn invalid(pointer: &str, message: String) -> Failure {
    Failure::invalid_arguments(&[Violation { pointer: pointer.to_owned(), message }])
}

pub(crate) fn output(value: &impl Serialize) -> Result<Output, Failure> {
    match to_raw_value(value) {
        Ok(json) => Ok(Output { json, shown: Shown::Json }),
        Err(error) => Err(Failure::before_execution(ErrorCode::Internal, error.to_string())),
    }
}

/// The definitions of the tools as JSON objects, in the order `tools/list` shows them.
pub(crate) fn definitions() -> &'static [String; 4] {
    static DEFINITIONS: LazyLock<[String; 4]> = LazyLock::new(|| {
        [call_definition(), call_many_definition(), describe_definition(), discover_definition()]
            .map(|definition| definition.to_string())
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
                "zone": {
                    "type": "string",
                    "description": "Search this zone and those below it instead of this server, such as eu.acme.example. Call what is found with aop_call.",
                },
                "limit": {
                    "type": "integer", "minimum": 1, "maximum": Library::LIMIT_MAX,
                    "description": format!("At most this many matches; {} when left out.", Library::LIMIT_DEFAULT),
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
                "zones": { "type": "array", "items": { "type": "string" }, "description": "With a zone: those that answered." },
                "failed": {
                    "type": "array",
                    "description": "With a zone: those that did not answer, so that the tools are not all there are.",
                    "items": {
                        "type": "object",
                        "properties": { "zone": { "type": "string" }, "reason": { "type": "string" } },
                        "required": ["zone", "reason"],
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
                "outputSchema": { "type": "object", "description": "JSON Schema of the result; none for a tool that shows content of its own." },
                "annotations": { "type": "object" },
                "signature": { "type": "string", "description": "The function in WIT." },
            },
            "required": ["agent", "name", "description", "inputSchema", "annotations", "signature"],
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
        "outputSchema": envelope(&anything("What the called tool returns.")),
        "annotations": { "idempotentHint": false },
    })
}

fn call_many_definition() -> serde_json::Value {
    serde_json::json!({
        "name": "aop_call_many",
        "title": "Call many tools",
        "description": format!(
            "Calls up to {} tools of this server at once and waits for all. Each has a result of its own, \
            in the order of the calls: one that fails does not fail the others.",
            many::CALLS_MAX
        ),
        "inputSchema": {
            "type": "object",
            "properties": {
                "calls": {
                    "type": "array",
                    "maxItems": many::CALLS_MAX,
                    "items": {
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
                },
            },
            "required": ["calls"],
            "additionalProperties": false,
        },
        "outputSchema": envelope(&serde_json::json!({
            "type": "object",
            "properties": {
                "results": { "type": "array", "items": envelope(&anything("What the called tool returns.")) },
            },
            "required": ["results"],
        })),
        "annotations": { "idempotentHint": false },
    })
}

/// The schema of any JSON value. It names the types, because strict clients warn of one that does not.
fn anything(description: &str) -> serde_json::Value {
    let kinds = ["object", "string", "number", "boolean", "null"]
        .map(|kind| serde_json::json!({ "type": kind }));
    let list = serde_json::json!({ "type": "array", "items": {} });
    let kinds: Vec<_> = kinds.into_iter().chain([list]).collect();
    serde_json::json!({ "description": description, "anyOf": kinds })
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
            "details": anything("Machine-readable details of the error."),
            "retry_after_ms": { "type": "integer", "minimum": 0 },
        },
        "required": ["success"],
    })
}

#[cfg(test)]
mod tests;

//! What an MCP client that is no zone hears besides the answers to its calls, at the same endpoint: what the zone is, and
//! which tools whoever asks may call. Revision 2026-07-28, without sessions.
//!
//! What bounds it: a page has [`PAGE_TOOLS_MAX`] tools and stops growing beyond [`PAGE_BYTES_MAX`]; the places of
//! questions at the door.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aop_core::{Hints, Tool};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::authority::Authority;
use super::export::Asker;
use super::resolver::millis;
use super::wire::{self, NoCall, REVISION};

/// Tools of one page.
const PAGE_TOOLS_MAX: usize = 100;
/// Bytes of schemas and descriptions after which a page takes no further tool: a client reads answers of a few MiB.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    Discover,
    Tools,
}

impl Question {
    /// What the headers of a request ask; none of one that calls a tool, or makes no sense.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        match headers.get("mcp-method")?.to_str().ok()? {
            "server/discover" => Some(Self::Discover),
            "tools/list" => Some(Self::Tools),
            _ => None,
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::Discover => "server/discover",
            Self::Tools => "tools/list",
        }
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(default)]
    params: Params,
}

#[derive(Default, Deserialize)]
struct Params {
    cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    description: &'a str,
    input_schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<&'a RawValue>,
    annotations: Annotations,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Annotations {
    #[serde(skip_serializing_if = "Option::is_none")]
    read_only_hint: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destructive_hint: Option<bool>,
    idempotent_hint: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_world_hint: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    result_type: &'static str,
    tools: Vec<Listed<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<&'a str>,
    ttl_ms: u64,
    cache_scope: &'static str,
}

/// Answers a question with a JSON-RPC message.
pub(super) fn answer(
    question: Question,
    body: &[u8],
    authority: &Authority,
    asker: Asker<'_>,
) -> Vec<u8> {
    let no = |id, code, message: String| wire::write_error(&NoCall { id, code, message });
    let message: Message<'_> = match serde_json::from_slice(body) {
        Ok(message) => message,
        Err(error) => return no(None, -32600, format!("Invalid Request: {error}")),
    };
    if message.method != question.method() {
        let what = "the headers repeat the method of the body".to_owned();
        return no(Some(message.id), -32602, what);
    }
    let ttl_ms = millis(authority.presence().ttl);
    match question {
        Question::Discover => wire::write_result(message.id, &discovered(authority, ttl_ms)),
        Question::Tools => {
            let table = authority.exported();
            let visible = table.agents().filter(|exported| exported.is_for(asker));
            let cursor = message.params.cursor.as_deref();
            let behind = |name: &str| cursor.is_none_or(|cursor| name > cursor);
            let mut tools: BTreeMap<&str, &Tool> = BTreeMap::new();
            for tool in visible.flat_map(|agent| &agent.tools).filter(|tool| behind(&tool.name)) {
                tools.insert(&tool.name, tool);
                // One more than fits tells that there is another page.
                if tools.len() > PAGE_TOOLS_MAX + 1 {
                    tools.pop_last();
                }
            }
            wire::write_result(message.id, &page(&tools, ttl_ms))
        }
    }
}

fn discovered(authority: &Authority, ttl_ms: u64) -> Value {
    let zone = authority.zone().to_string();
    json!({
        "resultType": "complete",
        "supportedVersions": [REVISION],
        "capabilities": { "tools": {} },
        "instructions": format!("The tools that the zone {zone} exports to whoever asks"),
        "ttlMs": ttl_ms,
        "cacheScope": "private",
        "_meta": {
            "io.modelcontextprotocol/serverInfo": { "name": zone, "version": env!("CARGO_PKG_VERSION") },
        },
    })
}

/// As many of these tools as fit a page. Its cursor is the name of the last one.
fn page<'a>(tools: &BTreeMap<&'a str, &'a Tool>, ttl_ms: u64) -> List<'a> {
    let (mut listed, mut bytes, mut next_cursor) = (Vec::new(), 0, None);
    for (name, tool) in tools {
        if listed.len() >= PAGE_TOOLS_MAX || bytes > PAGE_BYTES_MAX {
            next_cursor = listed.last().map(|last: &Listed<'a>| last.name);
            break;
        }
        let output_schema = tool.output_schema.as_deref();
        bytes += tool.description.len()
            + tool.input_schema.get().len()
            + output_schema.map_or(0, |schema| schema.get().len());
        listed.push(Listed {
            name,
            title: tool.title.as_deref(),
            description: &tool.description,
            input_schema: &tool.input_schema,
            output_schema,
            annotations: tool.hints.into(),
        });
    }
    // Other askers may call other tools.
    List { result_type: "complete", tools: listed, next_cursor, ttl_ms, cache_scope: "private" }
}

impl From<Hints> for Annotations {
    fn from(hints: Hints) -> Self {
        Self {
            read_only_hint: hints.read_only,
            destructive_hint: hints.destructive,
            idempotent_hint: hints.idempotent,
            open_world_hint: hints.open_world,
        }
    }
}

//! A tool: one callable function of an agent, as MCP clients see it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ToolName;

/// The paper's T = ⟨n, d, I, O, f⟩ (equation 1), with `f` as an index into the agent's functions.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    /// n: unique within the tenant.
    pub name: ToolName,
    /// A short name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// d: what a model reads.
    pub description: String,
    /// I: JSON Schema 2020-12 whose root is a plain object.
    pub input_schema: Box<RawValue>,
    /// O: JSON Schema 2020-12 of the [`Envelope`](crate::Envelope); none for a tool that answers with content
    /// blocks of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Box<RawValue>>,
    /// The function as WIT text.
    pub signature: String,
    /// What settings say of its behaviour.
    #[serde(skip)]
    pub hints: Hints,
    /// Whether a call becomes a task.
    #[serde(skip)]
    pub task: TaskUse,
    /// Parameters that HTTP headers repeat.
    #[serde(skip)]
    pub headers: Vec<RepeatedParameter>,
    /// Whether a call may ask its client something, so that its edge must be able to carry questions.
    #[serde(skip)]
    pub converses: bool,
    /// Whether it works on resources that live in an instance. A crash takes those along, so a call that ran is
    /// never repeated, whatever `hints.idempotent` says.
    #[serde(skip)]
    pub takes_handles: bool,
    /// f: index into [`Interface::functions`](crate::Interface::functions).
    #[serde(skip)]
    pub function: usize,
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool")
            .field("name", &self.name)
            .field("signature", &self.signature)
            .finish_non_exhaustive()
    }
}

/// MCP tool annotations, from the operator's settings only. `None` is "not said".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hints {
    /// Repeating a call does no harm; also what retries follow.
    pub idempotent: bool,
    /// The tool changes nothing.
    pub read_only: Option<bool>,
    /// The tool may destroy something.
    pub destructive: Option<bool>,
    /// The tool reaches the world outside.
    pub open_world: Option<bool>,
}

/// Whether a call of a tool becomes an MCP task: answered at once, and its result fetched later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskUse {
    /// Never.
    #[default]
    Never,
    /// For clients that can follow tasks; others wait.
    Optional,
    /// Always: clients that cannot follow tasks are refused. Agents, and whoever calls through `aop_call`, wait.
    Required,
}

impl TaskUse {
    /// As settings spell them.
    pub const WORDS: [&str; 3] = ["never", "optional", "required"];

    /// As settings spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }

    /// Reads it as settings spell it; anything else is `Never`.
    #[must_use]
    pub fn of_word(word: &str) -> Self {
        match word {
            "optional" => Self::Optional,
            "required" => Self::Required,
            _ => Self::Never,
        }
    }
}

/// A parameter that an HTTP header repeats, so that what stands in front of the host can route by it without
/// reading bodies (`x-mcp-header`, MCP 2026-07-28).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepeatedParameter {
    /// As it is called in the arguments.
    pub parameter: String,
    /// What follows `Mcp-Param-` in the header's name.
    pub header: String,
}

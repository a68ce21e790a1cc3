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
    /// Whether a client that can follow tasks gets one instead of waiting.
    #[serde(skip)]
    pub task: bool,
    /// Whether a call may ask its client something, so that its edge must be able to carry questions.
    #[serde(skip)]
    pub converses: bool,
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

//! The settings of an agent: what `NAME.toml` beside a component says (paper §7.2,
//! `AgentToolConfig`), validated. [`Settings::from_toml`] reads them.
//!
//! Which keys exist, what each may hold and why is declared once (`agent.rs`). Reading, the
//! mistakes, and the printed reference all come from that declaration; the host's own configuration
//! is declared and read with the same [`keys`].

mod agent;
pub mod directories;
pub mod keys;
mod lines;
mod mistake;
mod placement;
mod quantity;
mod quota;
mod share;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::ModelBinding;
use crate::policy::milliseconds;
use crate::quota::Quota;
use crate::supply::OciReference;
use crate::{AgentName, Digest, Limits, Policy, TaskUse, ToolName};

pub use agent::reference as agent_reference;
pub use lines::Lines;
pub use mistake::Mistake;
pub use placement::Balance;
pub use quantity::{parse_size, parse_time, show_size, show_time};
pub use share::Share;

/// How an agent is described, limited and allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What the agent is for; the component's own description otherwise.
    pub description: Option<String>,
    /// How much one call may use.
    pub limits: Limits,
    /// How much all of its calls may use together.
    pub quota: Quota,
    /// Executions per call in total, the first included; at least 1.
    pub max_retries: u32,
    /// How long an instance lives.
    pub lifetime: Lifetime,
    /// Log the duration of successes.
    pub verbose: bool,
    /// Log the backtrace of a trap.
    pub traceback: bool,
    /// What the guest reads through `wasi:config`.
    pub config: BTreeMap<String, String>,
    /// Which other tenants see and call it.
    pub share: Share,
    /// What the agent may touch.
    pub policy: Policy,
    /// The language model that it talks to (the paper's M, φ and θ); none for an agent without one.
    pub model: Option<ModelBinding>,
    /// On how many nodes of the zone it lives; none for an agent that lives where it was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Labels that a node must have to hold a replica.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub placement: BTreeMap<String, String>,
    /// How calls are spread over replicas; without it, a node that has one runs its calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// The only component that may run under these settings; any when none.
    pub pinned: Option<Digest>,
    /// Where the component was had from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<OciReference>,
    /// The Sigstore bundle that vouches for the component: JSON, not yet believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<Arc<str>>,
    /// Who may call it from other zones; none may when there is no such table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<Export>,
    /// Per function, by its WIT name or its full path `interface#name`.
    pub tools: BTreeMap<String, ToolSettings>,
}

impl Settings {
    /// Reads `NAME.toml`.
    ///
    /// # Errors
    /// Every mistake in the text, in the order of their places.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Mistake>> {
        agent::read(text)
    }

    /// The most replicas: every node of the largest zone.
    pub const REPLICAS_MAX: u32 = 200;

    /// Identifies settings: agents with the same component and the same settings are replicas of each other.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Maps are ordered, so the same settings have the same text. Plain data: writing it cannot fail.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Whether they let the agent do anything beyond computing and remembering, or reach others than its own tenant.
    #[must_use]
    pub fn grant_anything(&self) -> bool {
        self.model.is_some()
            || self.export.is_some()
            || self.policy != Policy::deny_all()
            || !self.share.is_nobody()
    }

    /// Whether requests of the agent get headers with secrets of its tenant.
    #[must_use]
    pub fn name_secrets(&self) -> bool {
        self.policy.http.iter().any(|grant| grant.secrets().next().is_some())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            description: None,
            limits: Limits::default(),
            quota: Quota::default(),
            max_retries: 3,
            lifetime: Lifetime::Call,
            verbose: false,
            traceback: true,
            config: BTreeMap::new(),
            share: Share::default(),
            policy: Policy::deny_all(),
            model: None,
            pinned: None,
            component: None,
            signature: None,
            replicas: None,
            placement: BTreeMap::new(),
            balance: None,
            export: None,
            tools: BTreeMap::new(),
        }
    }
}

/// How long an instance lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Lifetime {
    /// A fresh instance for every call.
    Call,
    /// An instance serves calls one after another, until it traps, passes a deadline, idles or has
    /// served enough.
    Warm {
        /// Calls before it is replaced.
        calls_max: u32,
        /// How long it may wait for the next call.
        #[serde(rename = "idle_max_ms", with = "milliseconds")]
        idle_max: Duration,
    },
}

impl Lifetime {
    /// `lifetime = "warm"` without further settings.
    pub const WARM: Self = Self::Warm { calls_max: 1000, idle_max: Duration::from_secs(60) };
}

/// To whom an agent is published beyond its zone. Calls from there run as its tenant, and are billed to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Export {
    /// `world`, `parent`, or names of zones.
    pub to: Vec<String>,
    /// What it is called there, instead of its own name: unique in the zone.
    pub name: Option<AgentName>,
    /// Words that other zones find it by, besides its own name and those of its tools.
    pub tags: Vec<String>,
}

/// What an operator says of one tool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolSettings {
    /// Instead of the derived name.
    pub name: Option<ToolName>,
    /// A short name for people.
    pub title: Option<String>,
    /// Instead of the doc comment.
    pub description: Option<String>,
    /// Repeating a call does no harm. Retries follow this, never what an author claims.
    pub idempotent: bool,
    /// The tool changes nothing.
    pub read_only: Option<bool>,
    /// The tool may destroy something.
    pub destructive: Option<bool>,
    /// The tool reaches the world outside.
    pub open_world: Option<bool>,
    /// Whether a call becomes a task.
    pub task: TaskUse,
    /// Parameters that HTTP headers repeat: the parameter, and what follows `Mcp-Param-`.
    pub headers: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests;

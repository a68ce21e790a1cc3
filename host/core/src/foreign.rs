//! Agents that run elsewhere, and how they come into this host's registry.
//!
//! Whoever knows such agents is a [`Source`]: the nodes of this zone, a mounted MCP server, another zone. It
//! publishes the whole set that it has now, as often as that changes; what it does not name any more is gone.
//! From then on they are agents like any other: calls resolve to them, they are listed, searched and told of.
//!
//! A foreign agent is a [`Revision`] whose [`Executable`](crate::Executable) forwards. Its `validate` checks only
//! that the arguments are a JSON object within bounds: the owner validates, and its `invalid_arguments` come back
//! with their details. Two rules keep names honest:
//!
//! - In a tenant no two agents own one tool name, wherever they run. Who came second is refused, visibly.
//! - What this host itself serves hides a foreign agent of the same name. From the zone's nodes that is a replica
//!   of the same agent; from any other source it is a clash, and said so.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{AgentName, Revision, TenantName, Tool, ToolName};

/// Who publishes agents that run elsewhere. Sources go before each other in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "source", content = "name")]
pub enum Source {
    /// The other nodes of this host's zone.
    Nodes,
    /// Another tenant of this host, which shares it.
    Tenant(TenantName),
    /// An MCP server that the operator mounted, by the name it has in the configuration.
    Server(String),
    /// Another zone whose tools the operator imports.
    Zone(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes => f.write_str("another node"),
            Self::Tenant(tenant) => write!(f, "tenant `{tenant}`"),
            Self::Server(name) => write!(f, "server `{name}`"),
            Self::Zone(zone) => write!(f, "zone `{zone}`"),
        }
    }
}

/// An agent that runs elsewhere.
#[derive(Clone)]
pub struct ForeignAgent {
    /// What calls run on. Publishing the same `Arc` again changes nothing, so a source makes a new one exactly
    /// when the agent changed. Where there is no component, its digest is that of whatever describes it.
    pub revision: Arc<Revision>,
    /// Further names that lead to its tools.
    pub aliases: Vec<(ToolName, Arc<Tool>)>,
    /// What it is for.
    pub description: String,
    /// Where it runs, for people: node names, a URL, a zone.
    pub places: Vec<String>,
}

/// A foreign agent that did not get in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedAgent {
    /// Whose.
    pub tenant: TenantName,
    /// Which.
    pub agent: AgentName,
    /// Why, in words that say what to do.
    pub reason: String,
}

/// Takes agents that run elsewhere into the registry. `registry` implements it.
pub trait Publish: Send + Sync {
    /// Makes `agents` all that `source` has. Those that are refused are tried again whenever something changes
    /// that may help, and shown as `ERROR` meanwhile; the answer names them once, for the source's log.
    ///
    /// Blocks briefly and does no I/O.
    fn publish(&self, source: &Source, agents: Vec<ForeignAgent>) -> Vec<RefusedAgent>;
}

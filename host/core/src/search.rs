//! Ranked full-text search over the tools of a tenant. `store` implements it.

use std::sync::Arc;

use crate::{AgentName, TenantName, Tool, ToolName};

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Words; empty lists everything in name order.
    pub text: String,
    /// Only tools of this agent.
    pub agent: Option<AgentName>,
    /// At most this many hits.
    pub limit: u32,
}

/// A tool that matches.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The tool.
    pub tool: ToolName,
    /// Its agent.
    pub agent: AgentName,
    /// Higher is better; comparable within one answer only.
    pub score: f64,
}

/// The index could not answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("search failed: {0}")]
pub struct SearchError(pub String);

/// The index. Calls block briefly and never do I/O.
pub trait Search: Send + Sync {
    /// Replaces what the index knows of an agent. An empty slice removes it.
    ///
    /// # Errors
    /// [`SearchError`] when the index is broken.
    fn publish(
        &self,
        tenant: &TenantName,
        agent: &AgentName,
        tools: &[Arc<Tool>],
    ) -> Result<(), SearchError>;

    /// The best hits first; ties in name order.
    ///
    /// # Errors
    /// [`SearchError`] when the index is broken. Any `query.text` is legal.
    fn search(&self, tenant: &TenantName, query: &Query) -> Result<Vec<Hit>, SearchError>;
}

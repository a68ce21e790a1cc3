//! Finding tools: what `aop_discover` and `aop_describe` answer clients, and `aop:agent/tools` agents.

use std::sync::Arc;

use crate::{
    AgentName, ErrorCode, Failure, Query, Resolve, Route, Search, TenantName, ToolName, Violation,
};

/// The tools of a host, as one searches them.
#[derive(Clone)]
pub struct Library {
    resolve: Arc<dyn Resolve>,
    search: Arc<dyn Search>,
}

/// A tool that was found.
pub struct Found {
    /// Its revision and definition.
    pub route: Route,
    /// Higher is better, within one answer.
    pub score: f64,
}

impl Library {
    /// Hits when the caller names no limit: enough to choose from, short enough to read.
    pub const LIMIT_DEFAULT: u32 = 10;
    /// Hits at most: beyond this, a better query serves the caller better.
    pub const LIMIT_MAX: u32 = 100;
    /// How much further each pass looks while too few hits are permitted: a handful of passes reach through
    /// any index, and all of them together cost little more than the last.
    const DEEPER: u32 = 10;

    /// A library over an index and what its names mean now.
    #[must_use]
    pub fn new(resolve: Arc<dyn Resolve>, search: Arc<dyn Search>) -> Self {
        Self { resolve, search }
    }

    /// The best tools for a query, of one agent or of all, that `permits` lets the caller know of. The others
    /// take no place of the limit.
    ///
    /// # Errors
    /// `invalid_arguments` for an impossible limit or agent name, `internal` when the index is broken.
    pub fn discover(
        &self,
        tenant: &TenantName,
        text: &str,
        agent: Option<&str>,
        limit: Option<u32>,
        permits: &dyn Fn(&ToolName) -> bool,
    ) -> Result<Vec<Found>, Failure> {
        let agent = agent.map(AgentName::new).transpose();
        let agent = agent.map_err(|error| invalid("/agent", error.to_string()))?;
        let limit = limit.unwrap_or(Self::LIMIT_DEFAULT);
        if !(1..=Self::LIMIT_MAX).contains(&limit) {
            return Err(invalid("/limit", format!("must be between 1 and {}", Self::LIMIT_MAX)));
        }
        let mut query = Query { text: text.to_owned(), agent, limit };
        loop {
            let hits = self.search.search(tenant, &query).map_err(|error| {
                Failure::before_execution(ErrorCode::Internal, error.to_string())
            })?;
            let is_all = hits.len() < query.limit as usize;
            let permitted = hits.into_iter().filter(|hit| permits(&hit.tool));
            // A tool that left after the index was read is no hit any more.
            let found = permitted.filter_map(|hit| {
                let route = self.resolve.resolve(tenant, &hit.tool)?;
                Some(Found { route, score: hit.score })
            });
            let found: Vec<_> = found.take(limit as usize).collect();
            if is_all || found.len() == limit as usize || query.limit == u32::MAX {
                return Ok(found);
            }
            query.limit = query.limit.saturating_mul(Self::DEEPER);
        }
    }

    /// The definition of one tool.
    ///
    /// # Errors
    /// `not_found`.
    pub fn describe(&self, tenant: &TenantName, tool: &str) -> Result<Route, Failure> {
        self.resolve.resolve(tenant, tool).ok_or_else(|| unknown_tool(tool))
    }
}

/// The failure for a tool that does not exist, where its name is an argument.
#[must_use]
pub fn unknown_tool(name: &str) -> Failure {
    let shown: String = name.chars().take(ToolName::LENGTH_MAX).collect();
    Failure::before_execution(
        ErrorCode::NotFound,
        format!("no tool `{shown}`: search with aop_discover"),
    )
}

fn invalid(pointer: &str, message: String) -> Failure {
    Failure::invalid_arguments(&[Violation { pointer: pointer.to_owned(), message }])
}

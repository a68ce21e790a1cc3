//! The numbers the edge keeps about itself.

use std::sync::atomic::{AtomicU64, Ordering};

use aop_core::{Measure, Sample};

use crate::server::McpServer;

/// Counters that only grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Requests answered on the fast path.
    pub(crate) fast: Counter,
    /// Requests handed to `rmcp`.
    pub(crate) full: Counter,
    /// Messages refused before either: too large, not JSON-RPC, over a limit.
    pub(crate) refused: Counter,
    /// Sessions ended for idling.
    pub(crate) sessions_expired: Counter,
    /// Sessions ended because the credential of their client counts no more.
    pub(crate) sessions_revoked: Counter,
    /// Answers of agents that fit their types and still broke a rule of MCP. To the dispatcher they were successes.
    pub(crate) bad_content: Counter,
}

/// A counter that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Measure for McpServer {
    fn measure(&self) -> Vec<Sample> {
        let counters = self.counters();
        vec![
            Sample::gauge("mcp_sessions", "MCP sessions open now", self.sessions_open()),
            Sample::gauge("mcp_streams", "MCP event streams open now", self.streams_open()),
            Sample::gauge(
                "mcp_calls_parked",
                "Calls that wait for their client to come back with answers",
                self.calls_parked(),
            ),
            Sample::gauge("mcp_tasks", "Calls that run as tasks now", self.tasks_running()),
            Sample::counter(
                "mcp_requests_fast",
                "MCP requests answered on the fast path",
                counters.fast.get(),
            ),
            Sample::counter(
                "mcp_requests_full",
                "MCP requests handed to the full service",
                counters.full.get(),
            ),
            Sample::counter(
                "mcp_requests_refused",
                "MCP messages refused before any service",
                counters.refused.get(),
            ),
            Sample::counter(
                "mcp_sessions_expired",
                "MCP sessions ended for idling",
                counters.sessions_expired.get(),
            ),
            Sample::counter(
                "mcp_sessions_revoked",
                "MCP sessions ended because the credential of their client expired or was revoked, or because the host is open no more",
                counters.sessions_revoked.get(),
            ),
            Sample::counter(
                "mcp_bad_content",
                "Answers of agents that fit their types and broke a rule of MCP",
                counters.bad_content.get(),
            ),
        ]
    }
}

//! The numbers the edge keeps about itself.

use std::sync::atomic::{AtomicU64, Ordering};

use aop_core::{Measure, Sample, SampleKind};

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
        #[expect(
            clippy::cast_precision_loss,
            reason = "a sample is a float; 2^53 requests are out of reach"
        )]
        let sample =
            |name, help, kind, value: u64| Sample { name, help, kind, value: value as f64 };
        let gauge = SampleKind::Gauge;
        let counter = SampleKind::Counter;
        vec![
            sample("mcp_sessions", "MCP sessions open now", gauge, self.sessions_open()),
            sample("mcp_streams", "MCP event streams open now", gauge, self.streams_open()),
            sample(
                "mcp_calls_parked",
                "Calls that wait for their client to come back with answers",
                gauge,
                self.calls_parked(),
            ),
            sample("mcp_tasks", "Calls that run as tasks now", gauge, self.tasks_running()),
            sample(
                "mcp_requests_fast",
                "MCP requests answered on the fast path",
                counter,
                counters.fast.get(),
            ),
            sample(
                "mcp_requests_full",
                "MCP requests handed to the full service",
                counter,
                counters.full.get(),
            ),
            sample(
                "mcp_requests_refused",
                "MCP messages refused before any service",
                counter,
                counters.refused.get(),
            ),
            sample(
                "mcp_sessions_expired",
                "MCP sessions ended for idling",
                counter,
                counters.sessions_expired.get(),
            ),
        ]
    }
}

//! What a measurement found.

use std::time::Duration;

use serde::Serialize;

use crate::args::{BenchArgs, BenchProtocol};

/// The figures, named with their units.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    url: String,
    tool: String,
    protocol: &'static str,
    concurrency: u32,
    calls: u64,
    pub(super) errors: u64,
    seconds: f64,
    calls_per_second: f64,
    mean_ms: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
}

impl Report {
    /// `latencies` are those of the calls that succeeded, in any order.
    pub(super) fn new(
        args: &BenchArgs,
        concurrency: u32,
        elapsed: Duration,
        mut latencies: Vec<Duration>,
        errors: u64,
        first_error: Option<String>,
    ) -> Self {
        latencies.sort_unstable();
        let protocol = match args.protocol {
            _ if args.plain => "plain",
            BenchProtocol::Stateless => "2026-07-28",
            BenchProtocol::Sessions => "2025-11-25",
        };
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let count = latencies.len() as f64;
        let seconds = elapsed.as_secs_f64();
        let sum: Duration = latencies.iter().sum();
        Self {
            url: args.url.clone(),
            tool: args.tool.clone(),
            protocol,
            concurrency,
            calls: latencies.len() as u64,
            errors,
            seconds,
            calls_per_second: if seconds > 0.0 { count / seconds } else { 0.0 },
            mean_ms: if count > 0.0 { milliseconds(sum) / count } else { 0.0 },
            p50_ms: percentile(&latencies, 50),
            p95_ms: percentile(&latencies, 95),
            p99_ms: percentile(&latencies, 99),
            max_ms: percentile(&latencies, 100),
            first_error,
        }
    }

    /// For people.
    pub(super) fn show(&self) -> String {
        let mut text = format!(
            "{:.0} calls/s ({} calls, {} errors, {} connections, {:.2} s)\np50 {:.3} ms   p95 {:.3} ms   p99 {:.3} ms   max {:.3} ms",
            self.calls_per_second,
            self.calls,
            self.errors,
            self.concurrency,
            self.seconds,
            self.p50_ms,
            self.p95_ms,
            self.p99_ms,
            self.max_ms
        );
        if let Some(error) = &self.first_error {
            text.push_str("\nfirst error: ");
            text.push_str(&crate::output::printable(error));
        }
        text
    }
}

/// The smallest latency that at least `percent` of all are not above (nearest rank).
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().map_or(0.0, milliseconds)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

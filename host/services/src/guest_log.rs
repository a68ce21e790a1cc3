//! The sink for guest logs: forwards lines to the host's own log, at a bounded rate per agent.
//!
//! A guest in a loop can write millions of lines per second. What is over the agent's rate is
//! counted and dropped, and the next kept line says how many were; the host's log stays readable and
//! the disk below it alive.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use aop_core::{AgentName, GuestLevel, GuestLine, GuestLog, Measure, Sample, TenantName};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Agents whose rate is tracked at once. Above it all are forgotten, which at worst lets each write
/// one more burst; it keeps agents that come and go from growing the table.
const AGENTS_TRACKED_MAX: usize = 16_384;

/// Forwards guest lines to `tracing` (target `aop::guest`).
#[derive(Default)]
pub struct GuestLogs {
    agents: Mutex<HashMap<(TenantName, AgentName), Rate>>,
    kept: AtomicU64,
    dropped: AtomicU64,
}

struct Rate {
    lines_per_second: u32,
    limiter: DefaultDirectRateLimiter,
    dropped: u64,
}

impl Rate {
    fn new(lines_per_second: u32) -> Self {
        let quota = NonZeroU32::new(lines_per_second).unwrap_or(NonZeroU32::MIN);
        Self {
            lines_per_second,
            limiter: RateLimiter::direct(Quota::per_second(quota)),
            dropped: 0,
        }
    }
}

impl GuestLogs {
    /// Counts the line against its agent's rate. `Some(n)`: keep it, `n` were dropped before it.
    fn admit(&self, line: &GuestLine<'_>) -> Option<u64> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let agent = (line.tenant.clone(), line.agent.clone());
        if agents.len() >= AGENTS_TRACKED_MAX && !agents.contains_key(&agent) {
            agents.clear();
        }
        let rate = agents.entry(agent).or_insert_with(|| Rate::new(line.lines_per_second));
        if rate.lines_per_second != line.lines_per_second {
            *rate = Rate::new(line.lines_per_second);
        }
        if line.lines_per_second > 0 && rate.limiter.check().is_ok() {
            self.kept.fetch_add(1, Ordering::Relaxed);
            Some(std::mem::take(&mut rate.dropped))
        } else {
            rate.dropped += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

impl GuestLog for GuestLogs {
    fn line(&self, line: GuestLine<'_>) {
        let Some(dropped_before) = self.admit(&line) else { return };
        macro_rules! emit {
            ($level:ident) => {
                tracing::$level!(
                    target: "aop::guest",
                    tenant = %line.tenant,
                    agent_name = %line.agent,
                    correlation_id = %line.call,
                    context = line.context,
                    dropped_before,
                    "{}",
                    line.text
                )
            };
        }
        match line.level {
            GuestLevel::Trace => emit!(trace),
            GuestLevel::Debug => emit!(debug),
            GuestLevel::Info => emit!(info),
            GuestLevel::Warn => emit!(warn),
            GuestLevel::Error | GuestLevel::Critical => emit!(error),
        }
    }
}

impl Measure for GuestLogs {
    fn measure(&self) -> Vec<Sample> {
        let counter = |name, help, value: &AtomicU64| {
            Sample::counter(name, help, value.load(Ordering::Relaxed))
        };
        vec![
            counter("guest_log_lines", "Guest log lines kept", &self.kept),
            counter(
                "guest_log_lines_dropped",
                "Guest log lines over the agent's rate",
                &self.dropped,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aop_core::CallId;

    #[test]
    fn lines_over_the_rate_are_dropped_and_counted_per_agent() {
        let logs = GuestLogs::default();
        let call: CallId = serde_free_call_id();
        let flood = AgentName::new("flood").unwrap();
        let quiet = AgentName::new("quiet").unwrap();
        let [ours, theirs] = ["ours", "theirs"].map(|name| TenantName::new(name).unwrap());
        let line_of = |tenant, agent| GuestLine {
            tenant,
            agent,
            call,
            context: "stdout",
            level: GuestLevel::Info,
            text: "x",
            lines_per_second: 10,
        };
        let line = |agent| line_of(&ours, agent);
        for _ in 0..1000 {
            logs.line(line(&flood));
        }
        let kept = logs.kept.load(Ordering::Relaxed);
        assert!((10..100).contains(&kept), "{kept} of 1000 lines were kept");
        assert_eq!(kept + logs.dropped.load(Ordering::Relaxed), 1000);
        assert_eq!(logs.admit(&line(&quiet)), Some(0));
        assert_eq!(logs.admit(&line_of(&theirs, &flood)), Some(0), "a namesake has its own rate");
    }

    fn serde_free_call_id() -> CallId {
        CallId(Default::default())
    }
}

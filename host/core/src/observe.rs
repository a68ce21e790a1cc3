//! What the host tells about itself. `web` implements [`Observe`] and reads every [`Measure`].

use std::sync::Arc;
use std::time::Duration;

use crate::{AgentName, CallId, ErrorCode, TenantName, ToolName};

/// One finished call.
#[derive(Debug)]
pub struct CallRecord<'a> {
    /// The call.
    pub id: CallId,
    /// Whose.
    pub tenant: &'a TenantName,
    /// The agent, once it was resolved.
    pub agent: Option<&'a AgentName>,
    /// The tool, once it was resolved.
    pub tool: Option<&'a ToolName>,
    /// From arrival to answer.
    pub duration: Duration,
    /// How it failed; none when it succeeded.
    pub code: Option<ErrorCode>,
    /// Executions, 0 when it was refused before one.
    pub attempts: u32,
    /// Size of the arguments.
    pub input_bytes: u64,
    /// Size of the result.
    pub output_bytes: u64,
    /// Time during which a core worked for it.
    pub cpu: Duration,
    /// The most linear memory it had.
    pub memory_peak_bytes: u64,
}

/// Is told of every call. Called on the call's path: must be quick and never block.
pub trait Observe: Send + Sync {
    /// A call passed admission and runs now.
    fn started(&self, tenant: &TenantName, agent: &AgentName);
    /// A call ended. `started` was called before it exactly when `ran` is true.
    fn finished(&self, record: &CallRecord<'_>, ran: bool);
}

/// Whether a sample only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleKind {
    /// Only grows (restarts at 0 with the process).
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A number a crate keeps about itself, with its unit in the name.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Prometheus name without the `aop_` prefix and without `_total`: `instances_live`.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: SampleKind,
    /// Now.
    pub value: f64,
    /// What it is of, where there is one of each: a name and which. Samples of one name that differ in it follow each
    /// other. Only what the operator's configuration names may stand here, so that nobody else makes series.
    pub label: Option<(&'static str, Arc<str>)>,
}

#[expect(clippy::cast_precision_loss, reason = "a sample is a float; counts stay far below 2^53")]
impl Sample {
    /// A count that only grows.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, kind: SampleKind::Counter, value: value as f64, label: None }
    }

    /// A count that goes up and down.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, kind: SampleKind::Gauge, value: value as f64, label: None }
    }

    /// Time that only grows.
    #[must_use]
    pub const fn seconds(name: &'static str, help: &'static str, time: Duration) -> Self {
        let value = time.as_secs_f64();
        Self { name, help, kind: SampleKind::Counter, value, label: None }
    }

    /// The same of one of several.
    #[must_use]
    pub fn of(self, name: &'static str, which: &Arc<str>) -> Self {
        Self { label: Some((name, Arc::clone(which))), ..self }
    }
}

/// Something that keeps numbers about itself; read when metrics are scraped.
pub trait Measure: Send + Sync {
    /// Every number, always in the same order.
    fn measure(&self) -> Vec<Sample>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_knows_whether_it_only_grows() {
        let (counter, gauge) =
            (Sample::counter("loads", "Loads", 3), Sample::gauge("open", "Open", 4));
        assert_eq!(
            (counter.kind, counter.name, counter.value),
            (SampleKind::Counter, "loads", 3.0)
        );
        assert_eq!((gauge.kind, gauge.help, gauge.value), (SampleKind::Gauge, "Open", 4.0));
        let time = Sample::seconds("wait_seconds", "Waiting", Duration::from_millis(1500));
        assert_eq!((time.kind, time.value, &time.label), (SampleKind::Counter, 1.5, &None));
        assert_eq!(gauge.of("disk", &Arc::from("a")).label, Some(("disk", Arc::from("a"))));
    }
}

//! What a run was like, as Markdown.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::{Call, Fault, GOAL};

/// One fault.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) fault: Fault,
    pub(crate) victim: usize,
    /// When it began.
    pub(crate) at: Duration,
    /// How long until every other node saw the node gone.
    pub(crate) ejected: Duration,
    /// From the end of the fault until all were as before.
    pub(crate) recovered: Duration,
    /// When that was.
    pub(crate) over: Duration,
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:>5.1} s: node {} {:?}; ejected by all after {:.1} s, whole {:.1} s after its end",
            self.at.as_secs_f64(),
            self.victim,
            self.fault,
            self.ejected.as_secs_f64(),
            self.recovered.as_secs_f64()
        )
    }
}

/// A whole run.
pub(crate) struct Report {
    pub(crate) minutes: u64,
    pub(crate) calls: Vec<Call>,
    pub(crate) events: Vec<Event>,
    /// Attempts that failed, by code.
    pub(crate) failed_attempts: BTreeMap<String, u64>,
}

/// Calls per minute that a run of ten minutes must have at least, and a short one on a machine that is busy with
/// other tests.
const CALLS_PER_MINUTE: usize = 10_000;
const CALLS_PER_SHORT_MINUTE: usize = 1_000;
/// By when failure detection must have ejected a node.
const EJECTED_MAX: Duration = Duration::from_secs(5);

fn sorted(durations: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut durations: Vec<_> = durations.collect();
    durations.sort_unstable();
    durations
}

fn at(sorted: &[Duration], per_mille: usize) -> String {
    let last = sorted.len().saturating_sub(1);
    let value = sorted.get((sorted.len() * per_mille / 1000).min(last));
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1?}"))
}

impl Report {
    fn failed(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.outcome.is_err())
    }

    #[expect(clippy::cast_precision_loss, reason = "a share is shown to a thousandth of a percent")]
    fn share(&self) -> f64 {
        let failed = self.failed().count();
        1.0 - failed as f64 / self.calls.len().max(1) as f64
    }

    fn in_a_fault(&self, call: &Call) -> bool {
        self.events.iter().any(|event| (event.at..event.over).contains(&call.began))
    }

    /// What must hold.
    fn goals(&self) -> Vec<(String, bool)> {
        let rate = if self.minutes < 10 { CALLS_PER_SHORT_MINUTE } else { CALLS_PER_MINUTE };
        let wanted = rate * usize::try_from(self.minutes).unwrap_or(usize::MAX);
        let late = self.events.iter().map(|event| event.ejected).max().unwrap_or_default();
        vec![
            (format!("at least {wanted} calls: {}", self.calls.len()), self.calls.len() >= wanted),
            (
                format!("at least {:.2} % succeed: {:.4} %", GOAL * 100.0, self.share() * 100.0),
                self.share() >= GOAL,
            ),
            (
                format!("every ejection within {EJECTED_MAX:?}: the latest after {late:.1?}"),
                late <= EJECTED_MAX,
            ),
            (
                format!("a fault every 20 s: {}", self.events.len()),
                self.events.len() as u64 >= self.minutes * 2,
            ),
        ]
    }

    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::from("# A run of chaos\n\n");
        writeln!(text, "{} minutes, 5 nodes, k = 1: one agent on two nodes.\n", self.minutes)?;
        for (goal, holds) in self.goals() {
            writeln!(text, "- {}: {goal}", if holds { "kept" } else { "MISSED" })?;
        }
        writeln!(
            text,
            "\n## Calls\n\n| | n | p50 | p99 | p99.9 | max |\n|---|---|---|---|---|---|"
        )?;
        for (name, in_a_fault) in [("while all was well", false), ("during a fault", true)] {
            let calls = self.calls.iter().filter(|call| self.in_a_fault(call) == in_a_fault);
            let times = sorted(calls.map(|call| call.took));
            let [p50, p99, p999, max] = [500, 990, 999, 1000].map(|part| at(&times, part));
            writeln!(text, "| {name} | {} | {p50} | {p99} | {p999} | {max} |", times.len())?;
        }
        let repeated = self.calls.iter().filter(|call| call.attempts > 1).count();
        let attempts: u64 = self.calls.iter().map(|call| u64::from(call.attempts)).sum();
        writeln!(
            text,
            "\n{repeated} calls were repeated at another node by their callers; {attempts} attempts in all."
        )?;
        for (code, count) in &self.failed_attempts {
            writeln!(text, "- attempts that ended as `{code}`: {count}")?;
        }
        writeln!(text, "\n{} calls failed:", self.failed().count())?;
        for call in self.failed().take(50) {
            let Err(fault) = &call.outcome else { continue };
            let (at, message) = (call.began.as_secs_f64(), fault.message.replace('\n', " "));
            let message: String = message.chars().take(200).collect();
            writeln!(text, "- at {at:.1} s: `{}` after {:.1?}: {message}", fault.code, call.took)?;
        }
        writeln!(
            text,
            "\n## Faults\n\n| | n | ejected by all after: p50 | max | whole again after its end: p50 | max |\n|---|---|---|---|---|---|"
        )?;
        for fault in super::FAULTS {
            let of = || self.events.iter().filter(move |event| event.fault == fault);
            let (ejected, recovered) = (
                sorted(of().map(|event| event.ejected)),
                sorted(of().map(|event| event.recovered)),
            );
            writeln!(
                text,
                "| {fault:?} | {} | {} | {} | {} | {} |",
                ejected.len(),
                at(&ejected, 500),
                at(&ejected, 1000),
                at(&recovered, 500),
                at(&recovered, 1000)
            )?;
        }
        writeln!(text)?;
        for event in &self.events {
            writeln!(text, "- {event}")?;
        }
        Ok(text)
    }

    /// Writes the report, and says whether every goal was kept.
    pub(crate) fn write(&self) -> bool {
        let text = self.text().expect("text can be written");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos.md");
        std::fs::write(&path, &text).expect("the report can be written");
        println!("{text}\nwritten to {}", path.display());
        self.goals().iter().all(|(_, holds)| *holds)
    }
}

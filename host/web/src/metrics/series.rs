//! The numbers of one agent.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aop_core::{CallRecord, ErrorCode};
use serde::Serialize;
use sketches_ddsketch::{Config, DDSketch};

/// Upper bounds of the latency buckets in seconds, the last one unbounded. Two to a decade from a
/// fresh sandbox (tens of microseconds) to the default timeout: every bucket is a line per agent.
pub(super) const BUCKETS_SECONDS: [f64; 13] =
    [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, f64::INFINITY];

/// How a call can end: "ok", then every [`ErrorCode`] in its order.
const OUTCOMES: usize = 1 + ErrorCode::ALL.len();

/// The relative error of a percentile: 1 %, as in every published use of the sketch.
const SKETCH_ERROR: f64 = 0.01;
/// Enough bins for durations from a microsecond to over an hour at that error; 8 bytes each, and only
/// the range that occurs is kept.
const SKETCH_BINS_MAX: u32 = 1152;
/// What is shorter counts as zero.
const SKETCH_SECONDS_MIN: f64 = 1e-6;

/// Written by every call, read by scrapes and the admin API. Counters may be read mid-call: each is
/// exact, together they may be one call apart.
#[derive(Default)]
pub(super) struct Series {
    outcomes: [AtomicU64; OUTCOMES],
    buckets: [AtomicU64; BUCKETS_SECONDS.len()],
    duration_nanos: AtomicU64,
    in_flight: AtomicI64,
    cpu_nanos: AtomicU64,
    input_bytes: AtomicU64,
    output_bytes: AtomicU64,
    memory_peak_bytes: AtomicU64,
    attempts: AtomicU64,
    retries: AtomicU64,
    latencies: Mutex<Option<Box<DDSketch>>>,
}

/// The figures of one agent, as `aop agent show` prints them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AgentStats {
    /// Calls that ended, refused ones included.
    pub calls: u64,
    /// Those of them that failed, for whatever reason.
    pub errors: u64,
    /// Calls that run now.
    pub in_flight: u64,
    /// Half of the calls took no longer, in milliseconds from arrival to answer, within 1 %; none
    /// without a call.
    pub p50_ms: Option<f64>,
    /// 95 % of the calls took no longer.
    pub p95_ms: Option<f64>,
    /// 99 % of the calls took no longer.
    pub p99_ms: Option<f64>,
    /// Time during which a core worked for its calls.
    pub cpu_seconds: f64,
    /// Arguments received.
    pub input_bytes: u64,
    /// Results sent.
    pub output_bytes: u64,
    /// The most linear memory that one call had.
    pub memory_peak_bytes: u64,
    /// Executions.
    pub attempts: u64,
    /// Executions after the first one of a call.
    pub retries: u64,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn seconds(nanos: &AtomicU64) -> f64 {
    Duration::from_nanos(nanos.load(Ordering::Relaxed)).as_secs_f64()
}

impl Series {
    pub(super) fn started(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn finished(&self, record: &CallRecord<'_>, ran: bool) {
        let add = |counter: &AtomicU64, amount: u64| counter.fetch_add(amount, Ordering::Relaxed);
        if ran {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        add(&self.outcomes[outcome(record.code)], 1);
        let duration = record.duration.as_secs_f64();
        let bucket = BUCKETS_SECONDS.partition_point(|bound| *bound < duration);
        add(&self.buckets[bucket.min(BUCKETS_SECONDS.len() - 1)], 1);
        add(&self.duration_nanos, nanos(record.duration));
        add(&self.cpu_nanos, nanos(record.cpu));
        add(&self.input_bytes, record.input_bytes);
        add(&self.output_bytes, record.output_bytes);
        add(&self.attempts, u64::from(record.attempts));
        add(&self.retries, u64::from(record.attempts.saturating_sub(1)));
        self.memory_peak_bytes.fetch_max(record.memory_peak_bytes, Ordering::Relaxed);
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.get_or_insert_with(sketch).add(duration);
    }

    /// Whether no call runs, so that nobody will miss the series.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight() == 0
    }

    /// Never negative: a call that began before its agent was unloaded may end after it.
    pub(super) fn in_flight(&self) -> u64 {
        u64::try_from(self.in_flight.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Every outcome that occurred, with its label and count.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = std::iter::once("ok").chain(ErrorCode::ALL.map(ErrorCode::as_str));
        labels
            .zip(&self.outcomes)
            .map(|(label, count)| (label, count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
    }

    /// The latency buckets, not cumulative, as the encoder wants them.
    pub(super) fn buckets(&self) -> [(f64, u64); BUCKETS_SECONDS.len()] {
        std::array::from_fn(|i| (BUCKETS_SECONDS[i], self.buckets[i].load(Ordering::Relaxed)))
    }

    pub(super) fn duration_seconds(&self) -> f64 {
        seconds(&self.duration_nanos)
    }

    pub(super) fn stats(&self) -> AgentStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let calls = self.outcomes.iter().map(read).sum::<u64>();
        let [p50_ms, p95_ms, p99_ms] = self.percentiles_ms([0.50, 0.95, 0.99]);
        AgentStats {
            calls,
            errors: calls - read(&self.outcomes[outcome(None)]).min(calls),
            in_flight: self.in_flight(),
            p50_ms,
            p95_ms,
            p99_ms,
            cpu_seconds: seconds(&self.cpu_nanos),
            input_bytes: read(&self.input_bytes),
            output_bytes: read(&self.output_bytes),
            memory_peak_bytes: read(&self.memory_peak_bytes),
            attempts: read(&self.attempts),
            retries: read(&self.retries),
        }
    }

    fn percentiles_ms<const N: usize>(&self, quantiles: [f64; N]) -> [Option<f64>; N] {
        let latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        quantiles.map(|quantile| {
            let seconds = latencies.as_ref()?.quantile(quantile).ok().flatten()?;
            Some(seconds * 1000.0)
        })
    }
}

fn sketch() -> Box<DDSketch> {
    Box::new(DDSketch::new(Config::new(SKETCH_ERROR, SKETCH_BINS_MAX, SKETCH_SECONDS_MIN)))
}

/// The index of an outcome. The codes are numbered in the order of [`ErrorCode::ALL`].
fn outcome(code: Option<ErrorCode>) -> usize {
    code.map_or(0, |code| 1 + code as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_numbered_in_the_order_of_the_codes() {
        assert_eq!(outcome(None), 0);
        for (index, code) in ErrorCode::ALL.into_iter().enumerate() {
            assert_eq!(outcome(Some(code)), index + 1, "{code}");
        }
    }

    #[test]
    fn a_sketch_stays_within_its_error_over_its_whole_range_and_bounded_beyond() {
        let mut sketch = sketch();
        let mut seconds = SKETCH_SECONDS_MIN * 1.1;
        let mut sum: u32 = 0;
        while seconds < 3600.0 {
            sketch.add(seconds);
            sum += 1;
            seconds *= 1.001;
        }
        let median = sketch.quantile(0.5).ok().flatten().unwrap_or_default();
        let expected = SKETCH_SECONDS_MIN * 1.1 * 1.001_f64.powf(f64::from(sum - 1) / 2.0);
        assert!((median / expected - 1.0).abs() <= 0.011, "{median} {expected}");
        sketch.add(1e9);
        assert!(sketch.length() <= SKETCH_BINS_MAX as usize);
    }
}

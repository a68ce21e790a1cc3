//! One scrape: a snapshot of the series, encoded family by family.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aop_core::quota::Account;
use aop_core::{AgentName, Sample, SampleKind, TenantName};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::quotas::Quotas;
use super::series::{AgentStats, Series};

/// What one answer to `/metrics` says.
pub(super) struct Scrape {
    uptime: Duration,
    rows: Vec<Row>,
    samples: Vec<Sample>,
    quotas: Quotas,
}

struct Row {
    tenant: TenantName,
    agent: Option<AgentName>,
    series: Arc<Series>,
    stats: AgentStats,
    concurrency: Option<u32>,
}

type Labels<'a> = [(&'static str, &'a str); 2];
type Read = fn(&AgentStats) -> f64;

impl Row {
    fn labels(&self) -> Labels<'_> {
        [
            ("tenant", self.tenant.as_str()),
            ("agent", self.agent.as_ref().map_or("", AgentName::as_str)),
        ]
    }
}

/// The families that are one number of each agent.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
const NUMBERS: [(&str, &str, SampleKind, Read); 8] = [
    ("in_flight", "Calls that run now.", SampleKind::Gauge, |stats| stats.in_flight as f64),
    ("cpu_seconds", "Time during which a core worked for calls.", SampleKind::Counter, |stats| {
        stats.cpu_seconds
    }),
    ("input_bytes", "Size of the arguments.", SampleKind::Counter, |stats| {
        stats.input_bytes as f64
    }),
    ("output_bytes", "Size of the results.", SampleKind::Counter, |stats| {
        stats.output_bytes as f64
    }),
    (
        "memory_peak_bytes",
        "The most linear memory that one call had.",
        SampleKind::Gauge,
        |stats| stats.memory_peak_bytes as f64,
    ),
    ("attempts", "Executions.", SampleKind::Counter, |stats| stats.attempts as f64),
    ("retries", "Executions after the first one of a call.", SampleKind::Counter, |stats| {
        stats.retries as f64
    }),
    ("call_errors", "Calls that failed, for whatever reason.", SampleKind::Counter, |stats| {
        stats.errors as f64
    }),
];

/// The families that are encoded one by one.
const FAMILIES: [&str; 8] = [
    "calls",
    "call_duration_seconds",
    "in_flight_ratio",
    "quota_used_ratio",
    "quota_refusals",
    "lane_wait_seconds",
    "build",
    "uptime_seconds",
];

impl Scrape {
    pub(super) fn new(uptime: Duration) -> Self {
        Self { uptime, rows: Vec::new(), samples: Vec::new(), quotas: Quotas::default() }
    }

    /// Adds an agent with the most calls it may run at once.
    pub(super) fn push(
        &mut self,
        tenant: TenantName,
        agent: Option<AgentName>,
        series: Arc<Series>,
        concurrency: Option<u32>,
    ) {
        let stats = series.stats();
        // Nothing ended here without an agent, or nothing at all yet: no line.
        if agent.is_some() || stats.calls > 0 {
            self.rows.push(Row { tenant, agent, series, stats, concurrency });
        }
    }

    /// Adds what is used of quotas.
    pub(super) fn accounts(&mut self, accounts: Vec<(Option<TenantName>, Arc<Account>)>) {
        self.quotas = Quotas::of(accounts);
    }

    pub(super) fn extend(&mut self, samples: Vec<Sample>) {
        self.samples.extend(samples);
    }

    pub(super) fn encode(mut self) -> String {
        let samples = std::mem::take(&mut self.samples);
        let (process, own): (Vec<_>, Vec<_>) =
            samples.into_iter().partition(|sample| sample.name.starts_with("process_"));
        let mut registry = Registry::default();
        // Prometheus wants these under the same names in every process.
        registry.register_collector(Box::new(Samples(process)));
        let aop = registry.sub_registry_with_prefix("aop");
        aop.register_collector(Box::new(self));
        aop.register_collector(Box::new(Samples(own)));
        let mut out = String::new();
        // Writing into a String cannot fail.
        let _ = text::encode(&mut out, &registry);
        out
    }

    fn each_row(
        &self,
        mut family: MetricEncoder<'_>,
        encode: impl Fn(&Row, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.rows.iter().try_for_each(|row| encode(row, family.encode_family(&row.labels())?))
    }

    fn encode_calls(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "calls",
            "Calls that ended, by outcome.",
            None,
            MetricType::Counter,
        )?;
        for row in &self.rows {
            let [tenant, agent] = row.labels();
            for (outcome, count) in row.series.outcomes() {
                let labels = [tenant, agent, ("code", outcome)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn encode_durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "From the arrival of a call to its answer.";
        let family = encoder.encode_descriptor(
            "call_duration_seconds",
            help,
            None,
            MetricType::Histogram,
        )?;
        self.each_row(family, |row, mut encoder| {
            let buckets = row.series.buckets();
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<NoLabelSet>(
                row.series.duration_seconds(),
                count,
                &buckets,
                None,
            )
        })
    }

    fn encode_saturation(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Calls that run now, divided by the most that may.";
        let mut family =
            encoder.encode_descriptor("in_flight_ratio", help, None, MetricType::Gauge)?;
        for row in &self.rows {
            let Some(concurrency) = row.concurrency else { continue };
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let ratio = row.stats.in_flight as f64 / f64::from(concurrency.max(1));
            ConstGauge::new(ratio).encode(family.encode_family(&row.labels())?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_calls(&mut encoder)?;
        self.encode_durations(&mut encoder)?;
        self.encode_saturation(&mut encoder)?;
        for (name, help, kind, read) in NUMBERS {
            let family = encoder.encode_descriptor(name, help, None, metric_type(kind))?;
            self.each_row(family, |row, encoder| encode_number(kind, read(&row.stats), encoder))?;
        }
        self.quotas.encode(&mut encoder)?;
        let mut build = encoder.encode_descriptor(
            "build",
            "The version of this host.",
            None,
            MetricType::Info,
        )?;
        build.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let uptime = encoder.encode_descriptor(
            "uptime_seconds",
            "Age of this process.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(self.uptime.as_secs_f64()).encode(uptime)
    }
}

/// Numbers that parts of the host keep of themselves.
#[derive(Debug)]
struct Samples(Vec<Sample>);

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut seen: HashSet<&str> =
            NUMBERS.iter().map(|(name, ..)| *name).chain(FAMILIES).collect();
        // One of each of several is one family.
        let is_same = |before: &Sample, sample: &Sample| {
            before.name == sample.name && before.label.is_some() && sample.label.is_some()
        };
        for samples in self.0.chunk_by(is_same) {
            let [sample, ..] = samples else { continue };
            // A family may come only once in an exposition; a second one would fail the whole scrape.
            if !seen.insert(sample.name) {
                tracing::warn!(name = sample.name, "two parts of the host measure under one name");
                continue;
            }
            let mut family = encoder.encode_descriptor(
                sample.name,
                sample.help,
                None,
                metric_type(sample.kind),
            )?;
            if sample.label.is_none() {
                encode_number(sample.kind, sample.value, family)?;
                continue;
            }
            for Sample { kind, value, label, .. } in samples {
                let Some((name, which)) = label else { continue };
                let labels = [(*name, &**which)];
                encode_number(*kind, *value, family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn metric_type(kind: SampleKind) -> MetricType {
    match kind {
        SampleKind::Counter => MetricType::Counter,
        SampleKind::Gauge => MetricType::Gauge,
    }
}

fn encode_number(kind: SampleKind, value: f64, encoder: MetricEncoder<'_>) -> fmt::Result {
    match kind {
        SampleKind::Counter => ConstCounter::new(value).encode(encoder),
        SampleKind::Gauge => ConstGauge::new(value).encode(encoder),
    }
}

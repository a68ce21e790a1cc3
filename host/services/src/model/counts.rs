//! What was asked of each provider so far. Their names are the operator's, so there are no more series than the
//! configuration has providers, and one for all names that it does not have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aop_core::Sample;
use aop_core::model::{ModelError, Usage};
use tokio::time::Instant;

/// What stands for every provider that this host does not have.
pub(super) const UNKNOWN: &str = "";

/// The figures of one provider.
#[derive(Debug, Default)]
pub(super) struct Counts {
    completed: AtomicU64,
    refused: AtomicU64,
    busy: AtomicU64,
    failed: AtomicU64,
    pub(super) retries: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    microseconds: AtomicU64,
}

impl Counts {
    /// A completion that was asked for at `since` has ended.
    pub(super) fn completed(&self, usage: Usage, since: Instant) {
        add(&self.completed, 1);
        add(&self.input_tokens, usage.input_tokens);
        add(&self.output_tokens, usage.output_tokens);
        self.took(since);
    }

    /// It failed. What was refused here, or by the provider for what it asked, says nothing of how fast that is.
    pub(super) fn failed(&self, error: &ModelError, since: Instant) {
        let counter = match error {
            ModelError::Denied(_) | ModelError::Budget(_) | ModelError::Invalid(_) => &self.refused,
            ModelError::Busy(_) => &self.busy,
            ModelError::Unavailable(_) => &self.failed,
        };
        add(counter, 1);
        if matches!(error, ModelError::Busy(_) | ModelError::Unavailable(_)) {
            self.took(since);
        }
    }

    fn took(&self, since: Instant) {
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        add(&self.microseconds, micros);
    }

    fn time(&self) -> Duration {
        Duration::from_micros(self.microseconds.load(Ordering::Relaxed))
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

type Read = fn(&Counts) -> &AtomicU64;

const COUNTERS: [(&str, &str, Read); 7] = [
    ("model_completions", "Completions of models", |counts| &counts.completed),
    ("model_refused", "Completions that a budget, the host or the model refused", |counts| {
        &counts.refused
    }),
    ("model_busy", "Completions that a provider had no capacity for", |counts| &counts.busy),
    ("model_failed", "Completions that failed at a provider", |counts| &counts.failed),
    ("model_retries", "Further attempts at completions", |counts| &counts.retries),
    ("model_input_tokens", "Tokens that models read", |counts| &counts.input_tokens),
    ("model_output_tokens", "Tokens that models wrote", |counts| &counts.output_tokens),
];

/// All of them, each with the provider's name.
pub(super) fn measure(providers: &[(&str, &Counts)]) -> Vec<Sample> {
    let providers: Vec<(Arc<str>, &Counts)> =
        providers.iter().map(|(name, counts)| (Arc::from(*name), *counts)).collect();
    let mut samples = Vec::with_capacity((COUNTERS.len() + 1) * providers.len());
    for (name, help, read) in COUNTERS {
        samples.extend(providers.iter().map(|(provider, counts)| {
            let value = read(counts).load(Ordering::Relaxed);
            Sample::counter(name, help, value).of("provider", provider)
        }));
    }
    samples.extend(providers.iter().map(|(provider, counts)| {
        let help = "From asking for a completion to its end, attempts and waiting included";
        Sample::seconds("model_seconds", help, counts.time()).of("provider", provider)
    }));
    samples
}

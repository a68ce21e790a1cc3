//! Trying again where that may help: when the provider had no time (429 and its kin), failed (5xx), or could not be
//! reached. What a provider began to answer is not asked again: it was billed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::Instant;

use super::ModelProvider;
use super::failure::Trouble;

/// First pause where the provider names none; each further one is twice as long, with jitter.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Attempts after the first. With these pauses, four take about ten seconds.
const RETRIES_MAX: usize = 4;

pub(super) struct Retries {
    /// No attempt begins later than this after the first.
    pub(super) window: Duration,
}

impl Retries {
    pub(super) async fn run<T, F>(
        &self,
        provider: &ModelProvider,
        retries: &AtomicU64,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let begun = Instant::now();
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(PAUSE_MIN)
            .with_max_delay(PAUSE_MAX)
            .with_jitter()
            .with_max_times(RETRIES_MAX)
            .build();
        loop {
            let trouble = match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            let Some(pause) = pauses.next().filter(|_| trouble.may_pass) else {
                return Err(trouble);
            };
            // A provider that says when is not asked earlier.
            let pause = trouble.retry_after.unwrap_or(pause);
            if begun.elapsed() + pause > self.window {
                return Err(trouble);
            }
            tracing::debug!(provider = provider.name, pause_ms = pause.as_millis(), "trying again");
            retries.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(pause).await;
        }
    }
}

//! Admission: how many calls of an agent run at once, and how many may wait for that.
//!
//! Refusing early is kinder than queueing without end: a caller that is told to come back can go
//! elsewhere, one that waits behind a thousand others times out having learnt nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aop_core::{AgentId, ErrorCode, Failure, Revision};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// When a full queue is likely to have room again.
const QUEUE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long a call that an agent makes may wait for a place. Its caller holds a place of its own
/// meanwhile, so agents that call each other from different roots could wait for each other.
const NESTED_PATIENCE: Duration = Duration::from_secs(1);

/// The gate of every agent that was called.
#[derive(Default)]
pub(crate) struct Gates {
    by_agent: RwLock<HashMap<AgentId, Arc<Gate>>>,
    queued: AtomicUsize,
}

struct Gate {
    concurrency: u32,
    permits: Arc<Semaphore>,
    waiting: AtomicU32,
}

impl Gates {
    /// Waits for a free place of the agent; only briefly when an agent makes the call.
    ///
    /// # Errors
    /// `resource_exhausted` when too many wait already or the place does not come soon, `deadline_exceeded`
    /// when the deadline passes first. Nothing ran in either case.
    pub(crate) async fn admit(
        &self,
        revision: &Revision,
        deadline: Instant,
        is_nested: bool,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        let gate = self.gate(revision);
        if let Ok(permit) = Arc::clone(&gate.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let queue = revision.settings.limits.queue;
        let _place = Place::take(self, &gate, queue).ok_or_else(|| full(revision))?;
        let acquired = Arc::clone(&gate.permits).acquire_owned();
        let given_up = is_nested
            .then(|| tokio::time::Instant::now() + NESTED_PATIENCE)
            .filter(|given_up| *given_up < deadline.into());
        match tokio::time::timeout_at(given_up.unwrap_or(deadline.into()), acquired).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(closed)) => {
                Err(Failure::before_execution(ErrorCode::Internal, closed.to_string()))
            }
            Err(_) if given_up.is_some() => Err(busy(revision)),
            Err(_) => Err(Failure::before_execution(
                ErrorCode::DeadlineExceeded,
                format!(
                    "the deadline passed while the call waited for a free place of `{}`",
                    revision.agent
                ),
            )),
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    fn gate(&self, revision: &Revision) -> Arc<Gate> {
        let concurrency = revision.settings.limits.concurrency;
        let found = self
            .by_agent
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&revision.id)
            .filter(|gate| gate.concurrency == concurrency)
            .cloned();
        found.unwrap_or_else(|| self.make(revision.id, concurrency))
    }

    /// A new revision with another limit gets a new gate; calls of the old one finish behind theirs.
    fn make(&self, id: AgentId, concurrency: u32) -> Arc<Gate> {
        let mut gates = self.by_agent.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(&id).filter(|gate| gate.concurrency == concurrency) {
            return Arc::clone(gate);
        }
        if gates.len() == gates.capacity() {
            // Before the table grows: gates without a call cost nothing to make again.
            let idle = |gate: &Gate| gate.permits.available_permits() == gate.concurrency as usize;
            gates.retain(|_, gate| Arc::strong_count(gate) > 1 || !idle(gate));
        }
        let gate = Arc::new(Gate {
            concurrency,
            permits: Arc::new(Semaphore::new(concurrency as usize)),
            waiting: AtomicU32::new(0),
        });
        gates.insert(id, Arc::clone(&gate));
        gate
    }
}

/// A place in a queue, given back on drop, so that a caller who goes away leaves none behind.
struct Place<'a> {
    gates: &'a Gates,
    gate: &'a Gate,
}

impl<'a> Place<'a> {
    fn take(gates: &'a Gates, gate: &'a Gate, queue_max: u32) -> Option<Self> {
        gate.waiting
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                (waiting < queue_max).then_some(waiting + 1)
            })
            .ok()?;
        gates.queued.fetch_add(1, Ordering::Relaxed);
        Some(Self { gates, gate })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.gate.waiting.fetch_sub(1, Ordering::Relaxed);
        self.gates.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

fn busy(revision: &Revision) -> Failure {
    Failure::before_execution(
        ErrorCode::ResourceExhausted,
        format!(
            "`{}` runs {} calls and no place came free soon enough for an agent that waits: try again shortly",
            revision.agent, revision.settings.limits.concurrency
        ),
    )
    .with_retry_after(QUEUE_RETRY_AFTER)
}

fn full(revision: &Revision) -> Failure {
    let limits = &revision.settings.limits;
    Failure::before_execution(
        ErrorCode::ResourceExhausted,
        format!(
            "`{}` already runs {} calls and {} wait: try again shortly",
            revision.agent, limits.concurrency, limits.queue
        ),
    )
    .with_retry_after(QUEUE_RETRY_AFTER)
}

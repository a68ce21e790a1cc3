//! The CPU lane: how guests that compute for long share the cores with everything else.
//!
//! A guest runs its first slice (up to one epoch tick) at once, so short calls never queue. Before
//! each further slice it waits its turn for one of max(1, cores − 1) permits, first come first
//! served, and it gives the permit back while it waits for the host. So however many guests spin, one
//! core's worth of time stays with timers, sockets and short calls.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The permits of one host.
#[derive(Clone)]
pub(crate) struct Lane(Arc<Semaphore>);

impl Lane {
    /// A lane for the cores that the process may use (its cgroup quota included).
    pub(crate) fn for_this_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))))
    }

    /// A place in the lane for one instance.
    pub(crate) fn turn(&self) -> Arc<Turn> {
        Arc::new(Turn {
            lane: self.clone(),
            permit: Mutex::new(None),
            waiting: AtomicBool::new(false),
        })
    }
}

/// One instance's place in the lane.
pub(crate) struct Turn {
    lane: Lane,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    waiting: AtomicBool,
}

impl Turn {
    /// Gives the current permit to whoever waits longest, and resolves when it is this instance's
    /// turn again.
    pub(crate) fn next_slice(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.release();
        self.waiting.store(true, Ordering::Relaxed);
        Box::pin(async move {
            // Even the only spinner must let the executor look at its other tasks. Before the permit is
            // taken, since a suspension gives it back.
            tokio::task::yield_now().await;
            // The semaphore is never closed; if it were, running on is the harmless answer.
            let permit = Arc::clone(&self.lane.0).acquire_owned().await.ok();
            self.waiting.store(false, Ordering::Relaxed);
            *self.slot() = permit;
        })
    }

    /// Called when the guest is suspended or has ended: unless it queues for its turn, it waits for the host, and
    /// somebody else may compute.
    pub(crate) fn suspended(&self) {
        if !self.waiting.load(Ordering::Relaxed) {
            self.release();
        }
    }

    fn release(&self) {
        drop(self.slot().take());
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

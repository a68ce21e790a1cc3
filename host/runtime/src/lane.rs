//! The CPU lane: how guests that compute for long share the cores with everything else.
//!
//! A guest runs its first slice (up to one epoch tick) at once, so short calls never queue. Before
//! each further slice it waits its turn for one of max(1, cores − 1) permits, and it gives the permit back while it
//! waits for the host. So however many guests spin, one core's worth of time stays with timers, sockets and short calls.
//!
//! Turns are fair between tenants by their weights, and between the agents of a tenant ([`aop_core::fair`]): what counts
//! is the time of the slices, so 256 spinning calls of one tenant get no more of the lane than one of another. Two things
//! keep it that way for who looks for a way past:
//!
//! - First slices are free as a courtesy to short calls. While several tenants have something running, one whose free
//!   slices add up to more than half a core takes turns from the beginning.
//! - An agent or tenant that used up its CPU time pauses before its next slice until time comes back.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use aop_core::fair::{Permit, Permits};
use aop_core::quota::Payer;

/// What a turn probably takes: one epoch tick, in nanoseconds.
const SLICE_NANOS: u64 = 1_000_000;
/// How long a guest without CPU time pauses before it looks again: meanwhile its node may have got more of the quota.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The permits of one host.
#[derive(Clone)]
pub(crate) struct Lane(Arc<Permits>);

impl Lane {
    /// A lane for the cores that the process may use (its cgroup quota included).
    pub(crate) fn for_this_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with(u32::try_from(cores.saturating_sub(1).max(1)).unwrap_or(u32::MAX))
    }

    fn with(permits: u32) -> Self {
        Self(Arc::new(Permits::new(permits, SLICE_NANOS)))
    }

    /// A place in the lane for one instance, whose time `payer` pays for.
    pub(crate) fn turn(&self, payer: &Arc<Payer>) -> Arc<Turn> {
        Arc::new(Turn {
            lane: self.clone(),
            payer: Arc::clone(payer),
            slot: Mutex::new(None),
            waiting: AtomicBool::new(false),
            free: AtomicBool::new(true),
            paused: AtomicBool::new(false),
        })
    }

    /// How many guests wait for their turns.
    pub(crate) fn waiting(&self) -> u32 {
        self.0.waiting()
    }
}

/// One instance's place in the lane.
pub(crate) struct Turn {
    lane: Lane,
    payer: Arc<Payer>,
    slot: Mutex<Option<Slice>>,
    waiting: AtomicBool,
    /// Whether what it computes now takes no turn.
    free: AtomicBool,
    /// Whether it ever had to pause for want of CPU time.
    paused: AtomicBool,
}

/// A slice that is being computed.
struct Slice {
    permit: Permit<Arc<Permits>>,
    since: Instant,
}

impl Turn {
    /// Gives the current permit to whoever is next, and resolves when it is this instance's turn again.
    pub(crate) fn next_slice(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.waiting.store(true, Ordering::Relaxed);
        Box::pin(async move {
            let began = Instant::now();
            if self.payer.cpu_pause(began).is_some() {
                self.release();
                self.pause(began).await;
            }
            // It is in the order again before its permit goes on, and before others are looked at: who came back to the
            // queue only after those would find that every turn went to whoever has more guests in it.
            let mut place = Permits::acquire(Arc::clone(&self.lane.0), self.payer.party());
            let at_once = poll_fn(|cx| match Pin::new(&mut place).poll(cx) {
                Poll::Ready(permit) => Poll::Ready(Some(permit)),
                Poll::Pending => Poll::Ready(None),
            })
            .await;
            self.release();
            // Even the only spinner must let the executor look at its other tasks.
            tokio::task::yield_now().await;
            let permit = match at_once {
                Some(permit) => permit,
                None => place.await,
            };
            let since = Instant::now();
            self.payer.tenant.waited_for_turn(since.saturating_duration_since(began));
            self.waiting.store(false, Ordering::Relaxed);
            self.free.store(false, Ordering::Relaxed);
            *self.slot() = Some(Slice { permit, since });
        })
    }

    /// Waits until there is CPU time for the guest.
    async fn pause(&self, mut now: Instant) {
        while let Some(pause) = self.payer.cpu_pause(now) {
            self.paused.store(true, Ordering::Relaxed);
            tokio::time::sleep(pause.min(PAUSE_MAX)).await;
            now = Instant::now();
        }
    }

    /// Whether the guest had to pause because CPU time was used up.
    pub(crate) fn was_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Called when the guest is suspended or has ended, having computed for a time: unless it queues for its turn, it
    /// waits for the host, and somebody else may compute.
    pub(crate) fn suspended(&self, computed: Duration, now: Instant) {
        if self.free.load(Ordering::Relaxed) {
            self.payer.tenant.used_without_turn(computed, now);
        }
        if !self.waiting.load(Ordering::Relaxed) {
            self.release();
            self.free.store(true, Ordering::Relaxed);
        }
    }

    fn release(&self) {
        let slice = self.slot().take();
        if let Some(Slice { mut permit, since }) = slice {
            permit.spend(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Slice>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

//! What the guests of a host share while they work on files: threads that may wait for a disk, and open files.
//!
//! A thread that waits for a disk, or for a mount whose server is gone, does so for as long as that takes, whatever
//! becomes of the call it worked for. The threads are those of the whole host, so guests have few of them and no tenant
//! has all of those; the work itself gives its place back, not whoever waits for it. Open files are counted, since a
//! process that has as many as the system lets it have serves nobody.
//!
//! What wasmtime-wasi does by itself (reading, removing, asking for attributes) has threads of its own and is not counted
//! here: a mount that does not answer can still hold those.
//!
//! What threads compute is charged to whoever they compute for, by their own clocks: waiting costs nothing.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aop_core::CallContext;
use aop_core::fair::{Flow, Parts, Party, Place};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::guest::Guest;

/// Threads that guests may have at work on files. The runtime has 512, which also read the database and resolve names.
const THREADS_MAX: usize = 64;
/// The part of what the process may have open that guests may: connections, and what belongs to the host, need the rest.
const OPEN_FRACTION: u64 = 4;
/// Files that guests may have open, however many the process may.
const OPEN_MAX: u64 = 1 << 16;

/// Directories that are walked at one time. Each has a descriptor for each level, so all of them have 512 at most, which
/// no guest holds and which are not of those that guests may have open.
const WALKS_MAX: usize = 8;

/// By the tenant's id among parties.
pub(crate) struct Desk {
    threads: Parts<u64>,
    walks: Parts<u64>,
    open: Parts<u64>,
}

impl Default for Desk {
    fn default() -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let open = (limit / OPEN_FRACTION).clamp(1, OPEN_MAX);
        Self::new(THREADS_MAX, usize::try_from(open).unwrap_or(usize::MAX))
    }
}

impl Desk {
    fn new(threads_max: usize, open_max: usize) -> Self {
        Self {
            threads: Parts::new(threads_max),
            walks: Parts::new(WALKS_MAX.min(threads_max)),
            open: Parts::new(open_max),
        }
    }
}

/// Who works on files: a call, at the desk of its host.
#[derive(Clone)]
pub(super) struct Worker {
    desk: Arc<Desk>,
    /// None for a guest that serves nobody, which nobody pays for.
    context: Option<Arc<CallContext>>,
}

impl Worker {
    pub(super) fn of(guest: &Guest) -> Self {
        Self { desk: Arc::clone(&guest.grants.desk), context: guest.peek().cloned() }
    }

    /// Does what may block on a thread where it may, once it is this one's turn.
    ///
    /// # Errors
    /// The work panicked, or the host stops.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.run_with((), work).await
    }

    /// The same for what walks a directory and all below it.
    ///
    /// # Errors
    /// As of [`Worker::run`].
    pub(super) async fn walk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let party = self.party();
        // Before a thread, so that those who wait here leave the threads to others.
        let walk = self.desk.walks.place(&party.tenant.id, party).await;
        self.run_with(walk, work).await
    }

    /// Holds something until the work is done, also when nobody waits for it any more.
    async fn run_with<H: Send + 'static, T: Send + 'static>(
        &self,
        held: H,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let party = self.party();
        let place = self.desk.threads.place(&party.tenant.id, party).await;
        let context = self.context.clone();
        let working = tokio::task::spawn_blocking(move || {
            let _held = (held, place);
            charged(context.as_deref(), work)
        });
        working.await.map_err(io::Error::other)
    }

    /// A place for one more open file, until it is dropped. None when there is none.
    pub(super) fn try_open(&self) -> Option<Place> {
        self.desk.open.try_place(&self.party().tenant.id)
    }

    fn party(&self) -> Party {
        let nobody = Flow { id: 0, weight: Flow::WEIGHT_DEFAULT };
        let party = self.context.as_ref().map(|context| context.payer.party());
        party.unwrap_or(Party { tenant: nobody, agent: nobody })
    }
}

/// Works, and charges what that computes.
fn charged<T>(context: Option<&CallContext>, work: impl FnOnce() -> T) -> T {
    let before = computed();
    let done = work();
    if let Some(context) = context {
        let took = computed().saturating_sub(before);
        context.meter.add_cpu(took);
        context.payer.used_cpu(took, Instant::now());
    }
    done
}

/// What this thread computed since it began.
fn computed() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

#[cfg(test)]
pub(super) mod tests;

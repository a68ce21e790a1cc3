//! How much room is left in a directory that agents may change.
//!
//! Nobody tells the host what is in a directory: agents of several tenants, other processes and people may all
//! write there. So it is measured, by walking it, and what agents are about to add is counted on top until it is
//! measured again. The count only errs upwards: what is deleted comes back with the next measuring, which is done
//! before anything is refused because of it.
//!
//! What cannot be looked at, or lies deeper than a walk goes, makes the directory full: it could be of any size.
//!
//! Bounds: a directory is measured once a second at most, and by one task at a time; a walk ends at one file more
//! than any agent may have there. What others write is seen after [`FRESH`], and by how much they write meanwhile the
//! limit can be passed; by the writes of agents themselves it cannot, except where one shortens a file while
//! another write into it is under way, by that write.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aop_core::policy::{DirectoryGrant, DirectoryLimits};
use tokio::time::{Instant, sleep_until};

use super::desk::{Desk, Worker};
use super::walk::{self, Entry, Unreadable};

/// For how long a measuring is believed.
const FRESH: Duration = Duration::from_secs(10);
/// How long it takes until a directory is measured again, however full it is.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

/// What an operation adds to a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

impl Growth {
    pub(super) const FILE: Self = Self { bytes: 0, files: 1 };

    pub(super) const fn bytes(bytes: u64) -> Self {
        Self { bytes, files: 0 }
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            files: self.files.saturating_add(other.files),
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            files: self.files.saturating_sub(other.files),
        }
    }

    const fn fits(self, limits: &DirectoryLimits) -> bool {
        self.bytes <= limits.size_max_bytes && self.files <= limits.files_max
    }
}

/// The directories of a host in which agents may write, and where they work on files.
#[derive(Default)]
pub(crate) struct Rooms {
    rooms: Mutex<HashMap<PathBuf, Weak<Usage>>>,
    desk: Arc<Desk>,
}

impl Rooms {
    /// What a grant leaves of its directory; none for one that is only read.
    pub(crate) fn of(&self, grant: &DirectoryGrant) -> Option<Arc<Room>> {
        if !grant.writable {
            return None;
        }
        let mut table = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let usage = table.get(&grant.host).and_then(Weak::upgrade).unwrap_or_else(|| {
            if table.len() == table.capacity() {
                table.retain(|_, usage| usage.strong_count() > 0);
            }
            let usage = Arc::new(Usage::new(grant.host.clone()));
            table.insert(grant.host.clone(), Arc::downgrade(&usage));
            usage
        });
        usage.files_max.fetch_max(grant.limits.files_max, Ordering::Relaxed);
        Some(Arc::new(Room { usage, limits: grant.limits, guest: grant.guest.clone() }))
    }

    /// Where the guests of the host work on files.
    pub(crate) fn desk(&self) -> Arc<Desk> {
        Arc::clone(&self.desk)
    }
}

/// A directory under the limits of one grant.
#[derive(Debug)]
pub(crate) struct Room {
    usage: Arc<Usage>,
    limits: DirectoryLimits,
    /// What the guest calls it.
    guest: String,
}

/// What is in a directory, whoever may write there.
#[derive(Debug)]
struct Usage {
    path: PathBuf,
    /// The most of all grants.
    files_max: AtomicU64,
    tally: Mutex<Tally>,
    /// Who measures.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Tally {
    /// What was found, and what was added since.
    now: Growth,
    /// Added since the measuring that runs began.
    since: Growth,
    /// Of operations that are under way.
    pending: Growth,
    /// Operations that took something away.
    freed: u64,
    /// Those of them that the last measuring saw.
    freed_seen: u64,
    measured: Option<Instant>,
    /// What the last measuring could not look at, and so nobody knows how much it is.
    unreadable: Option<Unreadable>,
    /// Files that agents opened to write. One that has no name any more is found nowhere else.
    open: Vec<Weak<std::fs::File>>,
}

/// Room that an operation has while it is under way.
#[derive(Debug)]
pub(super) struct Taken {
    usage: Arc<Usage>,
    growth: Growth,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut tally = self.usage.tally();
        tally.pending = tally.pending.minus(self.growth);
    }
}

impl Room {
    /// Takes room for an operation, which has it until what is returned is dropped; what it adds stays counted.
    ///
    /// # Errors
    /// The rule, when there is too little.
    pub(super) async fn take(&self, growth: Growth, worker: &Worker) -> Result<Taken, String> {
        let mut is_measured = false;
        loop {
            let wait = match self.try_take(growth, is_measured) {
                Ok(taken) => return Ok(taken),
                Err(Some(wait)) => wait,
                Err(None) => return Err(self.rule()),
            };
            sleep_until(wait).await;
            self.usage.measure(wait, worker).await;
            is_measured = true;
        }
    }

    /// When to measure if there is too little room as far as is known; none if that is certain, which it is after a
    /// measuring for this operation.
    fn try_take(&self, growth: Growth, is_measured: bool) -> Result<Taken, Option<Instant>> {
        if growth == Growth::default() {
            // Also in a directory that others have filled.
            return Ok(Taken { usage: Arc::clone(&self.usage), growth });
        }
        let now = Instant::now();
        let mut tally = self.usage.tally();
        let Some(measured) = tally.measured.filter(|at| *at + FRESH > now) else {
            return Err(Some(now));
        };
        let after = tally.now.plus(growth);
        if tally.unreadable.is_none() && after.fits(&self.limits) {
            tally.now = after;
            tally.since = tally.since.plus(growth);
            tally.pending = tally.pending.plus(growth);
            return Ok(Taken { usage: Arc::clone(&self.usage), growth });
        }
        let again = measured + MEASURE_INTERVAL;
        let is_known = is_measured || (again > now && tally.freed == tally.freed_seen);
        Err((!is_known).then_some(again))
    }

    /// Says that an operation took something away, or did less than it had room for.
    pub(super) fn freed(&self) {
        self.usage.tally().freed += 1;
    }

    /// Says that a file is open for writing.
    pub(super) fn opened(&self, file: &Arc<std::fs::File>) {
        let mut tally = self.usage.tally();
        if tally.open.len() == tally.open.capacity() {
            tally.open.retain(|file| file.strong_count() > 0);
        }
        tally.open.push(Arc::downgrade(file));
    }

    /// Whether it is the same directory under the same grant.
    pub(super) fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }

    fn rule(&self) -> String {
        let Self { limits, guest, usage } = self;
        match &usage.tally().unreadable {
            Some(reason) => {
                format!("`{guest}` counts as full, since it cannot be measured: {reason}")
            }
            None => format!("`{guest}` is full: its grant has {limits} (`size_max`, `files_max`)"),
        }
    }
}

impl Usage {
    fn new(path: PathBuf) -> Self {
        Self { path, files_max: AtomicU64::new(0), tally: Mutex::default(), turn: Arc::default() }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measures the directory, unless somebody did after `wanted`. It is finished even when nobody waits for it any
    /// more, so that callers who give up cannot begin measurings without end.
    async fn measure(self: &Arc<Self>, wanted: Instant, worker: &Worker) {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if self.tally().measured.is_some_and(|at| at >= wanted) {
            return;
        }
        let usage = Arc::clone(self);
        let walk = move || {
            let _turn = turn;
            let (freed, pending, open) = {
                let mut tally = usage.tally();
                tally.since = Growth::default();
                tally.open.retain(|file| file.strong_count() > 0);
                (tally.freed, tally.pending, tally.open.clone())
            };
            let files_max = usage.files_max.load(Ordering::Relaxed).saturating_add(1);
            let (found, unreadable) = measure(&usage.path, files_max);
            let mut tally = usage.tally();
            tally.now = found.plus(nameless(&open)).plus(pending).plus(tally.since);
            tally.unreadable = unreadable;
            (tally.freed_seen, tally.measured) = (freed, Some(Instant::now()));
        };
        // Fails when the host stops, and then nobody writes.
        let _ = worker.walk(walk).await;
    }
}

/// What is in a directory and below: the lengths of files, also of those with several names for each of them. Ends
/// after so many files. With what could not be looked at, if there was such a thing.
fn measure(path: &Path, files_max: u64) -> (Growth, Option<Unreadable>) {
    let mut found = Growth::default();
    let see = |entry: &Entry<'_>| {
        if found.files >= files_max {
            return Ok(ControlFlow::Break(()));
        }
        found = found.plus(Growth { bytes: entry.length, files: 1 });
        Ok(ControlFlow::Continue(()))
    };
    let walked = match walk::open(path) {
        Ok(Some(directory)) => walk::walk(directory, see),
        Ok(None) => Ok(()),
        Err(unreadable) => Err(unreadable),
    };
    (found, walked.err())
}

/// What files have that are open and have no name any more.
fn nameless(open: &[Weak<std::fs::File>]) -> Growth {
    let files = open.iter().filter_map(Weak::upgrade);
    let metadata = files.filter_map(|file| file.metadata().ok());
    let nameless = metadata.filter(|metadata| metadata.nlink() == 0);
    nameless
        .map(|metadata| Growth { bytes: metadata.len(), files: 1 })
        .fold(Growth::default(), Growth::plus)
}

#[cfg(test)]
mod tests;

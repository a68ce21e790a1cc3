//! The audit log: an append-only, hash-chained file of JSON lines in the data directory.
//!
//! What bounds it: a queue of [`QUEUE_MAX`] events in memory, texts cut where they become a line, what repeats counted
//! together ([`aggregate`]), and files that are removed when there are too many, which the log itself says.
//!
//! Who notes an event never waits. A thread of its own writes what has come, syncs it to the disk, and then
//! takes what came meanwhile: so an event is on the disk within milliseconds, and a busy host syncs no more
//! often than its disk can. A crash of the host loses what waits in memory, and never leaves a log that does not
//! verify: an unfinished last line is cut off at the next start, which is written down.

mod aggregate;
mod files;
mod line;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use aop_core::audit::{Action, Actor, Outcome};
use aop_core::{Audit, AuditEvent, Measure, Sample};

use aggregate::Aggregate;
pub use files::audit_directory;
use line::Record;
pub use line::{AuditLine, ChainPlace, timestamp};
pub use verify::{Finding, Verdict, read, verify};
use writer::Writer;

/// Events that may wait for the disk: what a disk that stands still for a while must not lose, at 2 KiB each.
const QUEUE_MAX: usize = 4096;
/// Events that are written and synced together.
const BATCH_MAX: usize = 256;
/// How often it is looked whether what was counted has to be written.
const TICK: Duration = Duration::from_secs(1);

/// What bounds the log on disk.
#[derive(Debug, Clone, Copy)]
pub struct AuditConfig {
    /// A file that would be larger is continued in another. 16 MiB are some 50,000 lines.
    pub file_max_bytes: u64,
    /// Files that are kept; the oldest go. 64 of them are a gibibyte. At least 2: one is written, and one says what
    /// was before.
    pub files_max: usize,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { file_max_bytes: 16 << 20, files_max: 64 }
    }
}

/// The log of a host. Dropping it writes what waits.
pub struct AuditLog {
    shared: Arc<Shared>,
    /// None once it is closed.
    sender: RwLock<Option<SyncSender<Record>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    aggregate: Mutex<Aggregate>,
    noted: AtomicU64,
    written: AtomicU64,
    /// Events that found no place in the queue, or that the disk did not take, and that no line tells of yet.
    lost: AtomicU64,
    lost_in_total: AtomicU64,
    /// The last line on the disk.
    place: Mutex<Option<ChainPlace>>,
}

impl Shared {
    fn reach(&self, place: &ChainPlace) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place.clone());
    }

    fn lose(&self, events: u64) {
        self.lost.fetch_add(events, Ordering::Relaxed);
        self.lost_in_total.fetch_add(events, Ordering::Relaxed);
    }
}

impl AuditLog {
    /// Opens the log in a directory of its own, where it ended. With a place that was `kept` elsewhere, a log that is
    /// gone, or that was written anew, does not verify any more, whatever is written from now on.
    ///
    /// # Errors
    /// When the directory cannot be used. A host that cannot write down what is done should not do it.
    pub fn open(
        directory: &Path,
        config: AuditConfig,
        kept: Option<&ChainPlace>,
    ) -> io::Result<Self> {
        let writer = Writer::open(directory, config, kept)?;
        let shared = Arc::new(Shared::default());
        shared.reach(writer.place());
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let writing = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("aop-audit".to_owned())
            .spawn(move || write_all(&writing, &receiver, writer))?;
        let (sender, thread) = (RwLock::new(Some(sender)), Mutex::new(Some(thread)));
        Ok(Self { shared, sender, thread })
    }

    /// The last line on the disk, to be kept elsewhere. None of a log without lines.
    #[must_use]
    pub fn place(&self) -> Option<ChainPlace> {
        let place = self.shared.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.clone().filter(|place| place.seq > 0)
    }

    fn send(&self, record: Record) {
        let count = record.count;
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        if sender.as_ref().is_none_or(|sender| sender.try_send(record).is_err()) {
            self.shared.lose(count);
        }
    }

    /// Writes what waits, and takes nothing from then on. Blocks until it is on the disk.
    pub fn close(&self) {
        // At the end of the queue the thread ends.
        *self.sender.write().unwrap_or_else(PoisonError::into_inner) = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the audit log broke");
        }
    }
}

impl Audit for AuditLog {
    fn note(&self, event: AuditEvent<'_>) {
        self.shared.noted.fetch_add(1, Ordering::Relaxed);
        let (record, now) = (Record::new(event, SystemTime::now()), Instant::now());
        let mut aggregate = self.shared.aggregate.lock().unwrap_or_else(PoisonError::into_inner);
        let may_write = match event.outcome {
            // Whoever sends requests has as many of these as he likes.
            Outcome::Refused | Outcome::Failed => false,
            Outcome::Done => match event.tenant {
                // What the host does by itself follows its operator's files and has a line each.
                Some(tenant) if event.who != Actor::Host => aggregate.may_write(tenant, now),
                _ => true,
            },
        };
        let record = if may_write { Some(record) } else { aggregate.take(record, now) };
        drop(aggregate);
        if let Some(record) = record {
            self.send(record);
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl Measure for AuditLog {
    fn measure(&self) -> Vec<Sample> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &self.shared;
        vec![
            Sample::counter("audit_events", "Events that were noted", read(&shared.noted)),
            Sample::counter("audit_lines", "Lines of the audit log on disk", read(&shared.written)),
            Sample::counter(
                "audit_events_lost",
                "Events that the disk did not take in time",
                read(&shared.lost_in_total),
            ),
        ]
    }
}

/// Writes what comes, until nobody can send any more.
fn write_all(shared: &Shared, receiver: &Receiver<Record>, mut writer: Writer) {
    let mut is_failing = false;
    let mut is_open = true;
    while is_open {
        let mut batch = Vec::new();
        match receiver.recv_timeout(TICK) {
            Ok(record) => batch.push(record),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => is_open = false,
        }
        batch.extend(receiver.try_iter().take(BATCH_MAX));
        {
            let mut aggregate = shared.aggregate.lock().unwrap_or_else(PoisonError::into_inner);
            batch.extend(if is_open {
                aggregate.expire(Instant::now())
            } else {
                aggregate.drain()
            });
        }
        let lost = shared.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            batch.push(loss(lost));
        }
        if batch.is_empty() {
            continue;
        }
        match writer.write(&batch) {
            Ok(()) => {
                is_failing = false;
                shared.reach(writer.place());
                shared.written.fetch_add(batch.len() as u64, Ordering::Relaxed);
            }
            Err(failed) => {
                // The line that should have told of earlier losses did not: they still have to be told.
                let told = if lost > 0 { lost } else { 0 };
                shared.lost.fetch_add(told, Ordering::Relaxed);
                shared.lose(failed.events.saturating_sub(told));
                if !std::mem::replace(&mut is_failing, true) {
                    let error = failed.error;
                    tracing::error!(%error, "the audit log cannot be written: events are lost");
                }
            }
        }
    }
    tracing::info!(checkpoint = %writer.place(), "the audit log ends here");
}

fn loss(events: u64) -> Record {
    let event =
        AuditEvent { outcome: Outcome::Failed, ..AuditEvent::of_host(Action::AuditLose, "") };
    Record { count: events, ..Record::new(event, SystemTime::now()) }
}

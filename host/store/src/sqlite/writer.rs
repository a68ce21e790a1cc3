//! The thread that owns the writing connection, and its group commit.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aop_core::StoreError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::failed;

/// Writes that wait for the thread before further callers wait for room. It bounds memory; a caller
/// that waits is the backpressure.
const QUEUED_MAX: usize = 1024;

/// Writes of one transaction. Large enough that a flush is shared by everything that loads at once,
/// small enough that the first of a group does not wait long for the last.
const GROUP_MAX: usize = 256;

/// How long a checkpoint waits for readers.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(5);

type Queue = mpsc::Sender<Job>;

/// What the thread does.
enum Job {
    /// One write, together with others.
    Write(Box<dyn Write>),
    /// A checkpoint, after the writes that came before it.
    Checkpoint(oneshot::Sender<Result<(), StoreError>>),
}

pub(super) struct Writer {
    // Taken first, which ends the thread once the queue is empty.
    queue: Mutex<Option<Queue>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> io::Result<Self> {
        let (queue, writes) = mpsc::channel(QUEUED_MAX);
        let thread = thread::Builder::new()
            .name("aop-store-writer".to_owned())
            .spawn(move || run(&connection, writes))?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    /// Applies `work` in a transaction; it is durable once this answers. A caller that gives up
    /// before its turn leaves nothing behind.
    pub(super) async fn write<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let closed = || E::from(StoreError::Failed("the store is closed".to_owned()));
        let (reply, answer) = oneshot::channel();
        let pending = Pending { work: Some(work), outcome: None, reply };
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let queue = queue.ok_or_else(closed)?;
        queue.send(Job::Write(Box::new(pending))).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Writer {
    /// Merges the write-ahead log into the database and cuts it off, so that the log holds no older version of
    /// anything. A reader that is busy with one holds that up for the milliseconds it takes.
    pub(super) async fn checkpoint(&self) -> Result<(), StoreError> {
        let closed = || StoreError::Failed("the store is closed".to_owned());
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        queue.ok_or_else(closed)?.send(Job::Checkpoint(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Refuses further writes and waits for the queued ones, also when somebody else closes it at the
    /// same time. Blocks on the disk.
    pub(super) fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut running = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = running.take() {
            // A panic there was already reported by the panic hook, and every waiter was told.
            let _ = thread.join();
        }
    }
}

/// A write whose type of answer is erased, so that one queue carries all of them.
trait Write: Send {
    /// Whether nobody waits for it any more.
    fn abandoned(&self) -> bool;
    /// Does it inside the group's transaction; false when it failed.
    fn apply(&mut self, connection: &Connection) -> bool;
    /// Answers, given how the group's transaction ended.
    fn finish(self: Box<Self>, group: &Result<(), StoreError>);
}

struct Pending<F, T, E> {
    work: Option<F>,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Write for Pending<F, T, E>
where
    T: Send,
    E: From<StoreError> + Send,
    F: FnOnce(&Connection) -> Result<T, E> + Send,
{
    fn abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn apply(&mut self, connection: &Connection) -> bool {
        self.outcome = self.work.take().map(|work| work(connection));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn finish(self: Box<Self>, group: &Result<(), StoreError>) {
        let answer = match (self.outcome, group) {
            (Some(Err(error)), _) => Err(error),
            (_, Err(error)) => Err(error.clone().into()),
            (Some(answer), Ok(())) => answer,
            (None, Ok(())) => return,
        };
        // The caller may have given up meanwhile.
        let _ = self.reply.send(answer);
    }
}

fn run(connection: &Connection, mut jobs: mpsc::Receiver<Job>) {
    let mut next = jobs.blocking_recv();
    while let Some(job) = next.take() {
        match job {
            Job::Checkpoint(reply) => {
                // Nobody may wait any more.
                let _ = reply.send(checkpoint(connection));
            }
            Job::Write(first) => {
                let mut group = vec![first];
                while group.len() < GROUP_MAX && next.is_none() {
                    match jobs.try_recv() {
                        Ok(Job::Write(write)) => group.push(write),
                        Ok(other) => next = Some(other),
                        Err(_) => break,
                    }
                }
                write_group(connection, group);
            }
        }
        if next.is_none() {
            next = jobs.blocking_recv();
        }
    }
    // SQLite does this by itself only when the last connection closes, whoever's that is: a copy of
    // the database file alone must hold everything once the host has stopped.
    // Nobody is left to hear that it failed, and the next start makes up for it.
    let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
}

fn write_group(connection: &Connection, mut group: Vec<Box<dyn Write>>) {
    let outcome = commit(connection, &mut group);
    if outcome.is_err() && !connection.is_autocommit() {
        // What failed is reported already; if rolling back fails too, the next group says so.
        let _ = connection.execute_batch("ROLLBACK");
    }
    for write in group {
        write.finish(&outcome);
    }
}

fn checkpoint(connection: &Connection) -> Result<(), StoreError> {
    let run = || {
        connection.busy_timeout(CHECKPOINT_PATIENCE)?;
        let is_busy =
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        connection.busy_timeout(Duration::ZERO)?;
        is_busy
    };
    match run() {
        Ok(0) => Ok(()),
        Ok(_) => Err(StoreError::Failed("the store is busy: try again".to_owned())),
        Err(error) => Err(failed(&error)),
    }
}

/// Applies a group in one transaction. A write that fails is undone by itself.
fn commit(connection: &Connection, group: &mut [Box<dyn Write>]) -> Result<(), StoreError> {
    let batch = |sql: &str| connection.execute_batch(sql).map_err(|error| failed(&error));
    batch("BEGIN IMMEDIATE")?;
    for write in group.iter_mut().filter(|write| !write.abandoned()) {
        batch("SAVEPOINT one")?;
        if write.apply(connection) {
            batch("RELEASE one")?;
        } else if connection.is_autocommit() {
            // SQLite gives up a whole transaction on some failures, a full disk among them.
            return Err(StoreError::Failed(
                "the transaction was rolled back: try again".to_owned(),
            ));
        } else {
            batch("ROLLBACK TO one; RELEASE one")?;
        }
    }
    batch("COMMIT")
}

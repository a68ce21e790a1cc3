//! A few read-only connections, used on blocking threads.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use aop_core::StoreError;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::error::failed;

/// Reads that run at once. A read takes well under a millisecond; more connections would only hold
/// more page caches.
pub(super) const READERS_MAX: usize = 4;

pub(super) struct Readers {
    permits: Arc<Semaphore>,
    pool: Arc<Pool>,
}

struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        let pool = Arc::new(Pool { path, idle: Mutex::new(Vec::new()) });
        Self { permits: Arc::new(Semaphore::new(READERS_MAX)), pool }
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = |_| StoreError::Failed("the store is closed".to_owned());
        // The permit goes with the work: a caller that gives up does not make room for another read
        // while this one still runs.
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        let pool = Arc::clone(&self.pool);
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let connection = pool.take().map_err(|error| failed(&error))?;
            let answer = work(&connection);
            pool.give_back(connection);
            answer
        });
        task.await.map_err(|error| StoreError::Failed(format!("a read ended early: {error}")))?
    }
}

impl Pool {
    fn take(&self) -> Result<Connection, rusqlite::Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(connection) => Ok(connection),
            None => Connection::open_with_flags(
                &self.path,
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            ),
        }
    }

    fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

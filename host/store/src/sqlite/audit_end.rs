//! Where the audit log ends. The log says so itself; whoever takes it away, or its end, has to change this as well.

use std::path::Path;

use aop_core::StoreError;
use rusqlite::{Connection, OptionalExtension as _};

use super::SqliteStore;
use crate::error::failed;

impl SqliteStore {
    /// What [`note_audit_end`](Self::note_audit_end) noted last, also before a restart.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub async fn audit_end(&self) -> Result<Option<String>, StoreError> {
        self.readers.read(read).await
    }

    /// Remembers the last line of the audit log, durably.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written.
    pub async fn note_audit_end(&self, place: String) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                let sql = "INSERT INTO audit_end VALUES (1, ?1)
                           ON CONFLICT (one) DO UPDATE SET place = excluded.place";
                let done = connection.prepare_cached(sql).and_then(|mut row| row.execute([place]));
                done.map(|_| ()).map_err(|error| failed(&error))
            })
            .await
    }

    /// The same of a data directory whose host may run. None where there is no store, or one of a host that noted nothing.
    ///
    /// # Errors
    /// [`StoreError`] when the store is there and cannot be read.
    pub fn audit_end_in(directory: &Path) -> Result<Option<String>, StoreError> {
        let Some(connection) = Self::look_into(directory)? else { return Ok(None) };
        let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'audit_end')";
        let is_known = connection.query_row(sql, [], |row| row.get::<_, bool>(0));
        if is_known.map_err(|error| failed(&error))? { read(&connection) } else { Ok(None) }
    }
}

fn read(connection: &Connection) -> Result<Option<String>, StoreError> {
    let row = connection.query_row("SELECT place FROM audit_end", [], |row| row.get(0));
    row.optional().map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreConfig;

    #[tokio::test]
    async fn the_end_of_the_log_is_known_while_the_host_runs_and_after() {
        let directory = tempfile::tempdir().unwrap();
        let end = || SqliteStore::audit_end_in(directory.path()).unwrap();
        assert_eq!(end(), None, "there is no store");
        let store = SqliteStore::open(&StoreConfig::new(directory.path())).unwrap();
        assert_eq!((store.audit_end().await.unwrap(), end()), (None, None));
        for place in ["1:aa", "2:bb"] {
            store.note_audit_end(place.to_owned()).await.unwrap();
            assert_eq!(end().as_deref(), Some(place));
        }
        drop(store);
        assert_eq!(end().as_deref(), Some("2:bb"));
        let store = SqliteStore::open(&StoreConfig::new(directory.path())).unwrap();
        assert_eq!(store.audit_end().await.unwrap().as_deref(), Some("2:bb"));
    }
}

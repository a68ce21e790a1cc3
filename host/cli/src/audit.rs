//! The audit log of a data directory, whose end the host's store remembers too: whoever takes the log away, or writes it
//! anew, has to change both alike.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aop_access::audit::{AuditConfig, AuditLog, ChainPlace, audit_directory};
use aop_core::StoreError;
use aop_store::SqliteStore;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// How far the store may be behind: a host that is killed leaves it so, and `audit/head` says the rest.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// The log, and the task that keeps its end. Dropping it ends the task.
pub(crate) struct KeptLog {
    pub(crate) log: Arc<AuditLog>,
    store: Arc<SqliteStore>,
    keeping: JoinHandle<()>,
}

impl KeptLog {
    /// Opens the log of a data directory where it ended.
    pub(crate) async fn open(
        store: &Arc<SqliteStore>,
        data: &Path,
        config: AuditConfig,
    ) -> anyhow::Result<Self> {
        let kept = store.audit_end().await?.and_then(|text| text.parse().ok());
        let directory = audit_directory(data);
        let log = AuditLog::open(&directory, config, kept.as_ref())
            .with_context(|| format!("cannot open the audit log in {}", directory.display()))?;
        let log = Arc::new(log);
        let keeping = tokio::spawn(keep(log.clone(), store.clone()));
        Ok(Self { log, store: store.clone(), keeping })
    }

    /// Writes what waits, and keeps where it ends. To be called before the store closes.
    pub(crate) async fn close(&self) {
        self.keeping.abort();
        let log = self.log.clone();
        // It only fails when the process ends anyway.
        let _ = tokio::task::spawn_blocking(move || log.close()).await;
        if let Some(place) = self.log.place()
            && let Err(error) = self.store.note_audit_end(place.to_string()).await
        {
            tracing::warn!(%error, "the end of the audit log could not be kept in the store");
        }
    }
}

impl Drop for KeptLog {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

async fn keep(log: Arc<AuditLog>, store: Arc<SqliteStore>) {
    let mut every = interval(KEEP_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut kept, mut is_failing) = (None, false);
    loop {
        every.tick().await;
        let place = log.place();
        let Some(text) = place.as_ref().filter(|_| place != kept).map(ToString::to_string) else {
            continue;
        };
        match store.note_audit_end(text).await {
            Ok(()) => (kept, is_failing) = (place, false),
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "the end of the audit log cannot be kept in the store");
                }
            }
        }
    }
}

/// Where the store of a data directory says that its log ends.
pub(crate) fn kept_end(data: &Path) -> Result<Option<ChainPlace>, StoreError> {
    Ok(SqliteStore::audit_end_in(data)?.and_then(|text| text.parse().ok()))
}

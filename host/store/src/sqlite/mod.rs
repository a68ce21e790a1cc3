//! The durable store of one host, in one SQLite file.
//!
//! **Writes** go to one thread that owns the only writing connection. It applies whatever is queued
//! as one group in one transaction, each write in a savepoint of its own, and answers after the
//! commit: a thousand agents that load at once cost a few disk flushes instead of a thousand.
//! `synchronous = FULL` because a write is promised to be durable once its future resolves; `NORMAL`
//! may lose the last commits of a write-ahead log when the power fails. Grouping pays for it.
//!
//! **Reads** run on blocking threads over a few read-only connections; the write-ahead log lets them
//! go on while something is written.

mod access;
mod audit_end;
mod buckets;
mod decode;
mod migration;
mod readers;
mod tasks;
mod tokens;
mod write;
mod writer;

#[cfg(unix)]
use std::fs::Permissions;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aop_core::{
    AgentName, AgentRecord, BoxFuture, Digest, NewRevision, RevisionNumber, RevisionRecord,
    Settings, Store, StoreError, TenantName,
};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use self::readers::{READERS_MAX, Readers};
use self::writer::Writer;
use crate::OpenError;
use crate::bounds::{Ceilings, Waiting};
use crate::error::{describe, failed, is_damage};
use crate::lock::DataDirectoryLock;
use crate::turns::Turns;

/// Writes of one owner that are on their way. As many as share a flush well, and a small part of one group.
const WRITES_AT_ONCE: usize = 8;

/// Reads of buckets that one agent has at a time.
const READS_OF_AGENT: usize = 2;
/// Those of one tenant: all readers but one.
const READS_OF_TENANT: usize = READERS_MAX - 1;

const DATABASE_FILE: &str = "aop.sqlite";

/// After a checkpoint the write-ahead log is cut back to this size, so that one large import does
/// not hold the space for ever.
const LOG_KEPT_MAX_BYTES: u32 = 16 << 20;

/// Where the store is and how large it may grow.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The host's data directory; created when it does not exist.
    pub data_dir: PathBuf,
    /// The most the database may take on disk, without its write-ahead log. A revision takes about
    /// 2 kB, so ten revisions of 50,000 agents take 1 GiB; the state of agents has limits of its own,
    /// and pages that are half empty may double it. More than the default of 4 GiB means that something runs
    /// away, and it must not take the disk with it.
    pub size_max_bytes: u64,
    /// The most that all agents together may remember, in bytes with 128 for each key and 512 for each bucket.
    /// The default of 1 GiB leaves room for the agents themselves, so that state which grows cannot
    /// stop the host from loading one. The agents of one tenant may remember three quarters of it.
    pub state_max_bytes: u64,
    /// The same for one agent over all its conversations, or for what a tenant's agents share. With the default
    /// of 256 MiB, it takes several to fill the store.
    pub agent_state_max_bytes: u64,
    /// The most that the results of all tasks may take while they are kept, and three quarters of it those of one tenant's.
    /// The default of 512 MiB holds sixty-four of 8 MiB or thousands of common ones, and beside the state of agents leaves
    /// room for the agents themselves: a store that is full cannot even revoke a key.
    pub task_outcomes_max_bytes: u64,
}

impl StoreConfig {
    /// The defaults for a data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            size_max_bytes: 4 << 30,
            state_max_bytes: 1 << 30,
            agent_state_max_bytes: 256 << 20,
            task_outcomes_max_bytes: 512 << 20,
        }
    }
}

/// See the module's documentation. Dropping it finishes the queued writes and frees the directory.
pub struct SqliteStore {
    readers: Readers,
    writer: Arc<Writer>,
    ceilings: Ceilings,
    task_outcomes_max_bytes: u64,
    waiting: Waiting,
    turns: Arc<Turns>,
    /// What is on its way to the writer: of each tenant, and of all.
    rooms: Arc<Turns>,
    room_kib: Arc<Semaphore>,
    reads_of_agents: Arc<Turns>,
    reads_of_tenants: Arc<Turns>,
    _lock: DataDirectoryLock,
}

impl SqliteStore {
    /// Whether a data directory has a store already.
    #[must_use]
    pub fn is_in(directory: &Path) -> bool {
        directory.join(DATABASE_FILE).is_file()
    }

    /// Opens the store of a data directory, creating both when they do not exist, and brings its
    /// schema up to date. Blocks on the disk; call it before serving.
    ///
    /// # Errors
    /// [`OpenError`], in words that say what to do.
    pub fn open(config: &StoreConfig) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: config.data_dir.clone(), source };
        create_private(&config.data_dir).map_err(io)?;
        let lock = DataDirectoryLock::take(&config.data_dir)?;
        let path = config.data_dir.join(DATABASE_FILE);
        make_private(&path).map_err(io)?;
        let connection =
            connect(&path, config.size_max_bytes).map_err(|error| refused(&path, &error))?;
        check(&connection, &path)?;
        migration::run(&connection, &path)?;
        tasks::interrupt(&connection).map_err(|error| refused(&path, &error))?;
        let writer = Writer::start(connection).map_err(io)?;
        Ok(Self {
            readers: Readers::new(path),
            writer: Arc::new(writer),
            ceilings: Ceilings {
                all_max_bytes: config.state_max_bytes,
                agent_max_bytes: config.agent_state_max_bytes,
            },
            task_outcomes_max_bytes: config.task_outcomes_max_bytes,
            waiting: Waiting::new(),
            turns: Turns::new(WRITES_AT_ONCE),
            rooms: Turns::new(buckets::QUEUED_OF_TENANT_MAX_KIB),
            room_kib: Arc::new(Semaphore::new(buckets::QUEUED_MAX_KIB)),
            reads_of_agents: Turns::new(READS_OF_AGENT),
            reads_of_tenants: Turns::new(READS_OF_TENANT),
            _lock: lock,
        })
    }

    /// The settings of the revision of an agent that serves, in a data directory whose host may run. None where there is no
    /// store, or no such agent.
    ///
    /// # Errors
    /// [`StoreError`] when the store is there and cannot be read.
    pub fn settings_in(
        directory: &Path,
        tenant: &TenantName,
        name: &AgentName,
    ) -> Result<Option<Settings>, StoreError> {
        let Some(connection) = Self::look_into(directory)? else { return Ok(None) };
        let Some(agent) = decode::agent(&connection, tenant, name)? else { return Ok(None) };
        let revision = decode::revision(&connection, tenant, name, agent.active)?;
        Ok(revision.map(|revision| revision.settings))
    }

    /// Opens the store of a data directory for reading only, beside the host that may have it.
    fn look_into(directory: &Path) -> Result<Option<Connection>, StoreError> {
        if !Self::is_in(directory) {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(directory.join(DATABASE_FILE), flags);
        opened.map(Some).map_err(|error| failed(&error))
    }

    /// Refuses further writes, finishes the queued ones and merges the write-ahead log, so that the
    /// database file alone holds everything. For a process that ends while something still holds the
    /// store: dropping the store does the same.
    pub async fn close(&self) {
        let writer = Arc::clone(&self.writer);
        // It only fails when the process ends anyway.
        let _ = tokio::task::spawn_blocking(move || writer.close()).await;
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // Before the lock goes: the directory is ours until the last write is on disk.
        self.writer.close();
    }
}

/// Settings hold what operators give their agents, so only the host's own user may look.
fn create_private(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(directory)
}

/// In a directory that was there before, others may look for files. SQLite gives the files beside it the same mode.
fn make_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        let file = options.mode(0o600).open(path)?;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
    }
    #[cfg(not(unix))]
    options.open(path)?;
    Ok(())
}

fn connect(path: &Path, size_max_bytes: u64) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // What is deleted is overwritten: a tenant that went, and a secret that was replaced, are in no page any more.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT_MAX_BYTES)?;
    let page_bytes: u64 =
        connection.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0))?.into();
    let pages_max = u32::try_from(size_max_bytes / page_bytes).unwrap_or(u32::MAX);
    connection.pragma_update(None, "max_page_count", pages_max)?;
    Ok(connection)
}

fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let verdict: String = connection
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .map_err(|error| refused(path, &error))?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(OpenError::Damaged { path: path.to_owned(), reason: verdict })
    }
}

fn refused(path: &Path, error: &rusqlite::Error) -> OpenError {
    if is_damage(error) {
        OpenError::Damaged { path: path.to_owned(), reason: error.to_string() }
    } else {
        OpenError::Refused { path: path.to_owned(), reason: describe(error) }
    }
}

impl Store for SqliteStore {
    fn agents<'a>(
        &'a self,
        tenant: &'a TenantName,
    ) -> BoxFuture<'a, Result<Vec<AgentRecord>, StoreError>> {
        let tenant = tenant.clone();
        Box::pin(self.readers.read(move |connection| decode::agents(connection, &tenant)))
    }

    fn revisions<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a AgentName,
    ) -> BoxFuture<'a, Result<Vec<RevisionRecord>, StoreError>> {
        let (tenant, name) = (tenant.clone(), name.clone());
        Box::pin(self.readers.read(move |connection| decode::revisions(connection, &tenant, &name)))
    }

    fn append<'a>(
        &'a self,
        tenant: &'a TenantName,
        revisions: Vec<NewRevision>,
    ) -> BoxFuture<'a, Result<Vec<AgentRecord>, StoreError>> {
        let tenant = tenant.clone();
        Box::pin(
            self.writer.write(move |connection| write::append(connection, &tenant, &revisions)),
        )
    }

    fn activate<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a AgentName,
        number: RevisionNumber,
        pinned_against: Option<Digest>,
    ) -> BoxFuture<'a, Result<AgentRecord, StoreError>> {
        let (tenant, name) = (tenant.clone(), name.clone());
        Box::pin(self.writer.write(move |connection| {
            write::activate(connection, &tenant, &name, number, pinned_against)
        }))
    }

    fn remove<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a AgentName,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let (tenant, name) = (tenant.clone(), name.clone());
        Box::pin(self.writer.write(move |connection| write::remove(connection, &tenant, &name)))
    }

    fn digests(&self) -> BoxFuture<'_, Result<Vec<Digest>, StoreError>> {
        Box::pin(self.readers.read(decode::digests))
    }

    fn uploaded<'a>(
        &'a self,
        tenant: &'a TenantName,
        except: &'a AgentName,
    ) -> BoxFuture<'a, Result<Vec<Digest>, StoreError>> {
        let (tenant, except) = (tenant.clone(), except.clone());
        Box::pin(
            self.readers.read(move |connection| decode::uploaded(connection, &tenant, &except)),
        )
    }
}

#[cfg(test)]
mod tests;

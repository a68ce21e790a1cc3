use std::fs;
use std::sync::Arc;
use std::task::{Context, Waker};

use aop_core::{AgentId, AgentName, RevisionNumber, Store, StoreError, TenantName};
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use super::{SqliteStore, StoreConfig};
use crate::OpenError;
use crate::conformance::{self, revision};

fn tenant() -> TenantName {
    TenantName::default_tenant()
}

fn open(directory: &TempDir) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(&StoreConfig::new(directory.path()))
}

fn refusal(directory: &TempDir) -> String {
    open(directory).err().unwrap().to_string()
}

fn new_id() -> AgentId {
    AgentId(Uuid::now_v7())
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let directory = TempDir::new().unwrap();
    conformance::store(|| open(&directory).unwrap()).await;
}

#[tokio::test]
async fn what_was_answered_survives_a_crash() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory).unwrap();
    store.append(&tenant(), vec![revision("alpha", new_id(), "alpha")]).await.unwrap();
    // What a machine that stops now would find: the files as they are, nothing closed.
    let crashed = TempDir::new().unwrap();
    for file in fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), crashed.path().join(file.file_name())).unwrap();
    }
    let after = open(&crashed).unwrap();
    assert_eq!(after.agents(&tenant()).await.unwrap(), store.agents(&tenant()).await.unwrap());
    assert_eq!(after.agents(&tenant()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_clean_stop_leaves_everything_in_the_database_file() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory).unwrap();
    // Somebody looks at the database, which keeps SQLite from merging its log by itself.
    let onlooker = Connection::open(directory.path().join("aop.sqlite")).unwrap();
    let agents = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM agents", [], |row| row.get::<_, u32>(0)).unwrap()
    };
    assert_eq!(agents(&onlooker), 0);
    store.append(&tenant(), vec![revision("alpha", new_id(), "alpha")]).await.unwrap();
    let log = directory.path().join("aop.sqlite-wal");
    assert!(fs::metadata(&log).unwrap().len() > 0);
    drop(store);
    assert_eq!(fs::metadata(&log).unwrap().len(), 0);
    let store = open(&directory).unwrap();
    store.append(&tenant(), vec![revision("beta", new_id(), "beta")]).await.unwrap();
    store.close().await;
    assert_eq!(fs::metadata(&log).unwrap().len(), 0, "also while somebody holds the store");
    let late = store.append(&tenant(), vec![revision("gamma", new_id(), "gamma")]).await;
    assert!(matches!(late, Err(StoreError::Failed(_))), "{late:?}");
    let copied = TempDir::new().unwrap();
    fs::copy(directory.path().join("aop.sqlite"), copied.path().join("aop.sqlite")).unwrap();
    assert_eq!(open(&copied).unwrap().agents(&tenant()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_is_whole_or_absent() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory).unwrap();
    let (tenant, alpha) = (tenant(), AgentName::new("alpha").unwrap());
    let mut abandoned = store.append(&tenant, vec![revision("alpha", new_id(), "alpha")]);
    // One look puts it into the queue.
    let _ = abandoned.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    drop(abandoned);
    // A later write is behind it in the queue, so its fate is settled now.
    store.append(&tenant, vec![revision("beta", new_id(), "beta")]).await.unwrap();
    let known = store.agents(&tenant).await.unwrap().iter().any(|agent| agent.name == alpha);
    assert_eq!(store.revisions(&tenant, &alpha).await.unwrap().len(), usize::from(known));
}

#[test]
fn a_second_host_is_told_who_holds_the_directory() {
    let directory = TempDir::new().unwrap();
    let first = open(&directory).unwrap();
    let message = refusal(&directory);
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    assert!(message.contains("--data"), "{message}");
    drop(first);
    open(&directory).unwrap();
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    drop(open(&directory).unwrap());
    let raw = Connection::open(directory.path().join("aop.sqlite")).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    let message = refusal(&directory);
    assert!(
        message.contains("schema version 99") && message.contains("newer release"),
        "{message}"
    );
    let version: u32 = raw.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 99);
}

#[test]
fn a_damaged_store_is_refused_with_advice() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("aop.sqlite"), vec![0x5a; 8192]).unwrap();
    let message = refusal(&directory);
    assert!(message.contains("is damaged") && message.contains("backup"), "{message}");
}

#[tokio::test]
async fn damage_inside_the_file_is_found_when_it_is_opened() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory).unwrap();
    let many = (0..200).map(|index| revision(&format!("agent-{index}"), new_id(), "x")).collect();
    store.append(&tenant(), many).await.unwrap();
    drop(store);
    let path = directory.path().join("aop.sqlite");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let message = refusal(&directory);
    assert!(message.contains("is damaged"), "{message}");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let message =
        SqliteStore::open(&StoreConfig::new(file.join("data"))).err().unwrap().to_string();
    assert!(message.contains("file/data"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_new_data_directory_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("new/data");
    drop(SqliteStore::open(&StoreConfig::new(&data)).unwrap());
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_full_disk_is_reported_and_what_was_stored_stays() {
    let directory = TempDir::new().unwrap();
    let config = StoreConfig { size_max_bytes: 128 << 10, ..StoreConfig::new(directory.path()) };
    let store = SqliteStore::open(&config).unwrap();
    let mut stored = 0;
    let error = loop {
        let mut large =
            revision(&format!("agent-{stored}"), new_id(), &format!("component {stored}"));
        large.settings.description = Some("x".repeat(8 << 10));
        match store.append(&tenant(), vec![large]).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "the limit was never hit");
    };
    let message = error.to_string();
    assert!(message.contains("disk is full") && message.contains("size limit"), "{message}");
    assert_eq!(store.agents(&tenant()).await.unwrap().len(), stored);
    store.remove(&tenant(), &AgentName::new("agent-0").unwrap()).await.unwrap();
    store.append(&tenant(), vec![revision("small", new_id(), "small")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_write_does_not_take_its_group_along() {
    let directory = TempDir::new().unwrap();
    let store = Arc::new(open(&directory).unwrap());
    store.append(&tenant(), vec![revision("alpha", new_id(), "alpha")]).await.unwrap();
    let mut tasks = Vec::new();
    for index in 0..40 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let name = if index % 2 == 0 { "alpha".to_owned() } else { format!("agent-{index}") };
            store.append(&tenant(), vec![revision(&name, new_id(), "new")]).await
        }));
    }
    for (index, task) in tasks.into_iter().enumerate() {
        let answer = task.await.unwrap();
        if index % 2 == 0 {
            assert!(matches!(answer, Err(StoreError::Conflict)), "{index}");
        } else {
            assert_eq!(answer.unwrap()[0].active, RevisionNumber(1), "{index}");
        }
    }
    assert_eq!(store.agents(&tenant()).await.unwrap().len(), 21);
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_reads_the_store_wherever_it_is() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let set = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(directory.path(), 0o755);
    let path = directory.path().join("aop.sqlite");
    for _ in 0..2 {
        let store = SqliteStore::open(&StoreConfig::new(directory.path())).unwrap();
        store.note_audit_end("1:a".to_owned()).await.unwrap();
        for file in ["aop.sqlite", "aop.sqlite-wal", "aop.sqlite-shm"] {
            let mode = std::fs::metadata(directory.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        drop(store);
        // As an earlier version left it.
        set(&path, 0o644);
    }
}

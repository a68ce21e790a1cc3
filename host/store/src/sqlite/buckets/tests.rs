use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use aop_core::bucket::{
    Bucket, BucketError, BucketQuota, BucketScope, Buckets as _, PAGE_KEYS_MAX,
};
use aop_core::model::{SpentTokens, TokenLedger as _};
use aop_core::{AccessStore as _, AgentId, AgentName, Store as _, Tenant, TenantName};
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use super::super::{SqliteStore, StoreConfig};
use super::Place;
use crate::conformance::{self, revision, session};

const ROOMY: BucketQuota = BucketQuota {
    keys_max: 10_000,
    bytes_max: 16 << 20,
    agent_bytes_max: None,
    tenant_bytes_max: None,
};
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn open(directory: &TempDir) -> SqliteStore {
    SqliteStore::open(&StoreConfig::new(directory.path())).unwrap()
}

fn onlooker(directory: &TempDir) -> Connection {
    let connection = Connection::open(directory.path().join("aop.sqlite")).unwrap();
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    connection
}

fn agent() -> AgentId {
    AgentId(Uuid::now_v7())
}

fn tenant() -> TenantName {
    TenantName::default_tenant()
}

/// What the sums say and what they should say: the whole, and each bucket's keys and bytes.
fn sums(connection: &Connection) -> [(i64, i64); 2] {
    let pair =
        |sql: &str| connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    [
        pair(
            "SELECT (SELECT charged_bytes FROM state_total),
                (SELECT coalesce(sum(512 + bytes + 128 * keys), 0) FROM buckets)",
        ),
        pair(
            "SELECT (SELECT coalesce(sum(bytes * 100000 + keys), 0) FROM buckets),
                (SELECT coalesce(sum(100000 * (octet_length(key) + octet_length(value)) + 1), 0) FROM entries)",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_conform_and_their_sums_hold() {
    let directory = TempDir::new().unwrap();
    let with_tenant = async || {
        let store = open(&directory);
        let tenant = Tenant { name: TenantName::new("elsewhere").unwrap(), created_unix_ms: 0 };
        // The first time only.
        let _ = store.add_tenant(tenant).await;
        store
    };
    conformance::buckets(with_tenant).await;
    for (said, counted) in sums(&onlooker(&directory)) {
        assert_eq!(said, counted);
        assert!(said > 0);
    }
}

#[tokio::test]
async fn an_agent_takes_its_state_with_it() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let (going, staying) = (agent(), agent());
    let revisions = vec![revision("going", going, "a"), revision("staying", staying, "b")];
    store.append(&tenant(), revisions).await.unwrap();
    let entry = [("key".to_owned(), b"value".to_vec())];
    let of = |agent| Bucket { tenant: tenant(), scope: BucketScope::Agent(agent) };
    let all = [of(going), session(going, "s"), of(staying), session(staying, "s")];
    for bucket in &all {
        store.set(bucket, ROOMY, &entry).await.unwrap();
    }
    store.remove(&tenant(), &AgentName::new("going").unwrap()).await.unwrap();
    for (bucket, left) in all.iter().zip([false, false, true, true]) {
        assert_eq!(store.get(bucket, "key").await.unwrap().is_some(), left, "{bucket:?}");
    }
    for (said, counted) in sums(&onlooker(&directory)) {
        assert_eq!(said, counted);
    }
}

#[tokio::test]
async fn conversations_that_nobody_uses_are_forgotten() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let (agent, entry) = (agent(), [("key".to_owned(), b"value".to_vec())]);
    let of_agent = Bucket { tenant: tenant(), scope: BucketScope::Agent(agent) };
    store.set(&of_agent, ROOMY, &entry).await.unwrap();
    for index in 0..50 {
        store.set(&session(agent, &format!("old-{index}")), ROOMY, &entry).await.unwrap();
    }
    for name in ["read", "asked", "written", "new"] {
        store.set(&session(agent, name), ROOMY, &entry).await.unwrap();
    }
    let raw = onlooker(&directory);
    raw.execute(
        "UPDATE buckets SET touched_unix_ms = touched_unix_ms - ?1 WHERE session NOT LIKE 'new %'",
        [i64::try_from((DAY * 31).as_millis()).unwrap()],
    )
    .unwrap();
    store.get(&session(agent, "read"), "key").await.unwrap().unwrap();
    assert!(store.exists(&session(agent, "asked"), "key").await.unwrap());
    store.set(&session(agent, "written"), ROOMY, &entry).await.unwrap();
    assert_eq!(store.forget_sessions(DAY * 30).await.unwrap(), 50);
    for name in ["read", "asked", "written", "new"] {
        assert!(store.get(&session(agent, name), "key").await.unwrap().is_some(), "{name}");
    }
    assert!(store.get(&session(agent, "old-7"), "key").await.unwrap().is_none());
    assert!(store.get(&of_agent, "key").await.unwrap().is_some(), "it is of no conversation");
    for (said, counted) in sums(&raw) {
        assert_eq!(said, counted);
    }
}

#[tokio::test]
async fn one_agent_cannot_fill_the_store_with_conversations() {
    let directory = TempDir::new().unwrap();
    let config = StoreConfig {
        // Three quarters of it are the tenant's.
        state_max_bytes: 80_000,
        agent_state_max_bytes: 40_000,
        ..StoreConfig::new(directory.path())
    };
    let store = SqliteStore::open(&config).unwrap();
    let fill = async |agent: AgentId| {
        for index in 0..100 {
            let entry = [("key".to_owned(), vec![0; 3000])];
            if let Err(error) = store.set(&session(agent, &index.to_string()), ROOMY, &entry).await
            {
                return (index, error);
            }
        }
        panic!("the limit was never hit")
    };
    let (stored, error) = fill(agent()).await;
    assert_eq!(stored, 40_000 / (3000 + 3 + 128 + 512));
    assert!(matches!(&error, BucketError::Quota(message) if message.contains("40000")), "{error}");
    let (stored, error) = fill(agent()).await;
    assert_eq!(stored, 60_000 / (3000 + 3 + 128 + 512) - 10);
    assert!(
        matches!(&error, BucketError::Quota(message) if message.contains("no more room")),
        "{error}"
    );
    store.append(&tenant(), vec![revision("agent", agent(), "a")]).await.unwrap();
}

#[tokio::test]
async fn spent_tokens_add_up_and_go_with_their_day() {
    let directory = TempDir::new().unwrap();
    let (agent, tenant) = (agent(), tenant());
    let spent = |tokens| SpentTokens { tenant: tenant.clone(), agent, tokens };
    let store = open(&directory);
    store.spend(7, spent(100)).await.unwrap();
    store.spend(8, spent(3)).await.unwrap();
    store.spend(8, spent(4)).await.unwrap();
    drop(store);
    let store = open(&directory);
    assert_eq!(store.spent(8).await.unwrap(), [spent(7)]);
    assert_eq!(store.spent(7).await.unwrap(), [], "days before are forgotten");
}

#[tokio::test]
async fn one_write_forgets_a_few_conversations() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let (agent, entry) = (agent(), [("key".to_owned(), b"value".to_vec())]);
    for index in 0..40 {
        store.set(&session(agent, &index.to_string()), ROOMY, &entry).await.unwrap();
    }
    let raw = onlooker(&directory);
    let forgotten: Vec<_> = (0..4).map(|_| super::forget_some(&raw, i64::MAX).unwrap()).collect();
    assert_eq!(forgotten, [16, 16, 8, 0]);
}

/// Whether a future is not done yet.
fn waits<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

fn of_tenant(name: &str) -> Bucket {
    Bucket { tenant: TenantName::new(name).unwrap(), scope: BucketScope::Tenant }
}

/// A store with another tenant beside `default`.
async fn with_other(directory: &TempDir) -> SqliteStore {
    let store = open(directory);
    let other = Tenant { name: TenantName::new("other").unwrap(), created_unix_ms: 0 };
    store.add_tenant(other).await.unwrap();
    store
}

#[tokio::test]
async fn a_tenants_writes_on_their_way_are_bounded_in_bytes_and_hold_up_no_other() {
    let directory = TempDir::new().unwrap();
    let store = with_other(&directory).await;
    let agent = agent();
    // All of 4 MiB but one KiB.
    let owner = Place::from(&of_tenant("default")).of_tenant();
    let held = store.rooms.take(&owner, (4 << 10) - 1).await.unwrap();
    let bucket = session(agent, "s");
    let entry = |key: &str, bytes| [(key.to_owned(), vec![0; bytes])];
    store.set(&bucket, ROOMY, &entry("a", 1023)).await.unwrap();
    let large = entry("b", 1024);
    let mut waiting = pin!(store.set(&bucket, ROOMY, &large));
    assert!(waits(waiting.as_mut()));
    // The other tenant writes as much as one write may have meanwhile.
    let most: Vec<_> = (0..4).map(|n| (n.to_string(), vec![0; (1 << 20) - 1])).collect();
    store.set(&of_tenant("other"), ROOMY, &most).await.unwrap();
    assert_eq!(store.get(&bucket, "b").await.unwrap(), None);
    drop(held);
    waiting.await.unwrap();
    assert!(store.exists(&bucket, "b").await.unwrap());
}

#[tokio::test]
async fn what_all_tenants_write_is_bounded_in_bytes() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let bucket = session(agent(), "s");
    let held = store.room_kib.acquire_many(64 << 10).await.unwrap();
    let entry = [("a".to_owned(), vec![0])];
    let mut waiting = pin!(store.set(&bucket, ROOMY, &entry));
    assert!(waits(waiting.as_mut()));
    drop(held);
    waiting.await.unwrap();
}

#[tokio::test]
async fn one_write_is_bounded_whatever_a_bucket_may_hold() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let bucket = session(agent(), "s");
    let mut entries: Vec<_> = (0..4).map(|n| (n.to_string(), vec![0; 1 << 20])).collect();
    let refused = store.set(&bucket, ROOMY, &entries).await.unwrap_err();
    assert!(
        matches!(&refused, BucketError::Quota(said) if said.contains("4194308 bytes") && said.contains("4 MiB")),
        "{refused}"
    );
    // A key of one byte each.
    entries.iter_mut().for_each(|(_, value)| value.truncate((1 << 20) - 1));
    store.set(&bucket, ROOMY, &entries).await.unwrap();
    let keys: Vec<_> = (0..=4096).map(|n| format!("{n:01024}")).collect();
    let refused = store.delete(&bucket, &keys).await;
    assert!(matches!(refused, Err(BucketError::Quota(_))), "{refused:?}");
}

#[tokio::test]
async fn writes_that_wait_beyond_what_a_tenant_may_hold_are_refused() {
    let directory = TempDir::new().unwrap();
    let store = with_other(&directory).await;
    let bucket = session(agent(), "s");
    let owner = Place::from(&bucket).owner();
    let _turns = store.turns.take(&owner, 8).await.unwrap();
    let value = [("key".to_owned(), vec![0; (1 << 20) - 3])];
    let mut waiting: Vec<_> =
        (0..64).map(|_| Box::pin(store.set(&bucket, ROOMY, &value))).collect();
    assert!(waiting.iter_mut().all(|write| waits(write.as_mut())));
    let refused = store.set(&bucket, ROOMY, &value).await.unwrap_err();
    assert!(matches!(&refused, BucketError::Busy(said) if said.contains("64 MiB")), "{refused}");
    store.set(&of_tenant("other"), ROOMY, &value).await.unwrap();
    // What a caller that gave up held is there again.
    waiting.pop();
    let mut again = pin!(store.set(&bucket, ROOMY, &value));
    assert!(waits(again.as_mut()));
}

#[tokio::test]
async fn reads_of_one_tenant_take_turns_and_hold_up_no_other() {
    let directory = TempDir::new().unwrap();
    let store = with_other(&directory).await;
    let (bucket, other) = (session(agent(), "s"), of_tenant("other"));
    let value = [("key".to_owned(), b"value".to_vec())];
    store.set(&bucket, ROOMY, &value).await.unwrap();
    store.set(&other, ROOMY, &value).await.unwrap();
    // What the tenant's other agents read.
    let owner = Place::from(&bucket).of_tenant();
    let taken = store.reads_of_tenants.take(&owner, 3).await.unwrap();
    let mut reads = pin!(async {
        tokio::select! {
            found = store.get(&bucket, "key") => found.map(|value| value.is_some()),
            found = store.exists(&bucket, "key") => found,
            page = aop_core::bucket::Buckets::keys(&store, &bucket, None, 1) => page.map(|_| true),
        }
    });
    assert!(waits(reads.as_mut()));
    assert!(store.get(&other, "key").await.unwrap().is_some());
    assert!(store.exists(&other, "key").await.unwrap());
    assert!(waits(reads.as_mut()), "there is no turn for it yet");
    drop(taken);
    assert!(reads.await.unwrap());
    // An agent has two of its tenant's three.
    let _busy = store.reads_of_agents.take(&Place::from(&bucket).owner(), 2).await.unwrap();
    let mut read = pin!(store.exists(&bucket, "key"));
    assert!(waits(read.as_mut()));
    assert!(!store.exists(&of_tenant("default"), "key").await.unwrap());
}

#[tokio::test]
async fn a_page_has_a_thousand_keys_at_most() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let bucket = session(agent(), "s");
    let keys: Vec<_> = (0..=PAGE_KEYS_MAX).map(|number| format!("{number:04}")).collect();
    let entries: Vec<_> = keys.iter().map(|key| (key.clone(), Vec::new())).collect();
    store.set(&bucket, ROOMY, &entries).await.unwrap();
    let page = aop_core::bucket::Buckets::keys(&store, &bucket, None, u32::MAX).await.unwrap();
    assert_eq!(page.keys, keys[..1000]);
    let page = aop_core::bucket::Buckets::keys(&store, &bucket, page.next.as_deref(), u32::MAX)
        .await
        .unwrap();
    assert_eq!((page.keys.as_slice(), page.next), (&keys[1000..], None));
}

#[tokio::test]
async fn writes_of_one_agent_take_turns_and_hold_up_no_other() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let (busy, other) = (session(agent(), "s"), session(agent(), "s"));
    let owner = Place::from(&busy).owner();
    let taken = store.turns.take(&owner, 8).await.unwrap();
    let (entry, keys) = ([("key".to_owned(), b"value".to_vec())], ["key".to_owned()]);
    let mut waiting = pin!(async {
        tokio::select! {
            done = store.set(&busy, ROOMY, &entry) => done,
            done = store.swap(&busy, ROOMY, "other", None, Vec::new()) => done,
            done = store.delete(&busy, &keys) => done,
        }
    });
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("there was no turn for it"),
        done = store.set(&other, ROOMY, &entry) => done.unwrap(),
    }
    drop(taken);
    waiting.await.unwrap();
}

#[tokio::test]
async fn what_the_last_calls_of_a_deleted_tenant_write_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let gone = TenantName::new("gone").unwrap();
    let tenant = || Tenant { name: gone.clone(), created_unix_ms: 0 };
    store.add_tenant(tenant()).await.unwrap();
    let bucket = Bucket { tenant: gone.clone(), scope: BucketScope::Tenant };
    let entry = [("k".to_owned(), b"v".to_vec())];
    store.set(&bucket, ROOMY, &entry).await.unwrap();
    store.remove_tenant(&gone).await.unwrap();
    let late = store.set(&bucket, ROOMY, &entry).await.unwrap_err();
    assert!(matches!(&late, BucketError::Failed(reason) if reason.contains("tenant is gone")));
    let late = store.swap(&bucket, ROOMY, "k", None, b"v".to_vec()).await;
    assert!(matches!(late, Err(BucketError::Failed(_))), "{late:?}");
    store.add_tenant(tenant()).await.unwrap();
    assert_eq!(store.get(&bucket, "k").await.unwrap(), None);
    store.set(&bucket, ROOMY, &entry).await.unwrap();
}

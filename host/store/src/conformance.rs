//! What every implementation of [`Store`] does, as a suite: call [`store`] with a function that
//! opens the same store again, as a restart would; [`buckets()`] does the same for [`Buckets`](aop_core::bucket::Buckets). They panic
//! at the first difference.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is only ever called by tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use aop_core::{
    AgentId, AgentName, Digest, NewRevision, Origin, RevisionNumber, Settings, Store, StoreError,
    TenantName, ToolName,
};
use uuid::Uuid;

mod buckets;

pub use buckets::{buckets, session};

/// Runs the whole suite on an empty store. `reopen` closes nothing: every store it returned before
/// has been dropped by then.
///
/// # Panics
/// When the store does something else than [`Store`] documents.
pub async fn store<S: Store + 'static>(mut reopen: impl FnMut() -> S) {
    let store = reopen();
    appends_and_reads(&store).await;
    equal_revisions_add_nothing(&store).await;
    activates_and_pins(&store).await;
    conflicts_write_nothing(&store).await;
    keeps_the_newest_revisions(&store).await;
    tenants_are_apart(&store).await;
    let before = snapshot(&store).await;
    drop(store);
    let store = Arc::new(reopen());
    assert_eq!(snapshot(&*store).await, before, "a restart changes nothing");
    concurrent_appends(&store).await;
    removes(&*store).await;
}

/// A revision of an agent whose digest comes from `component`.
#[must_use]
pub fn revision(agent: &str, id: AgentId, component: &str) -> NewRevision {
    let tool = ToolName::new(&format!("{}_run", agent.replace('-', "_"))).unwrap();
    NewRevision {
        id,
        name: name(agent),
        origin: Origin::Api,
        digest: Digest::of(component.as_bytes()),
        settings: Settings::default(),
        published: BTreeMap::from([("run".to_owned(), vec![tool])]),
        kept: <dyn Store>::REVISIONS_KEPT,
        created_unix_ms: 1_700_000_000_000,
    }
}

fn name(text: &str) -> AgentName {
    AgentName::new(text).unwrap()
}

fn tenant() -> TenantName {
    TenantName::default_tenant()
}

fn fresh_id() -> AgentId {
    AgentId(Uuid::now_v7())
}

async fn snapshot(store: &dyn Store) -> String {
    let agents = store.agents(&tenant()).await.unwrap();
    let mut text = format!("{agents:?}");
    for agent in agents {
        text.push_str(&format!("{:?}", store.revisions(&tenant(), &agent.name).await.unwrap()));
    }
    text
}

async fn appends_and_reads(store: &dyn Store) {
    assert_eq!(store.agents(&tenant()).await.unwrap(), []);
    assert_eq!(store.revisions(&tenant(), &name("beta")).await.unwrap(), []);
    let mut first = revision("beta", fresh_id(), "beta 1");
    first.origin = Origin::File { path: "/agents/beta.wasm".into() };
    first.settings.description = Some("says \"hello\" to José 🦀".to_owned());
    let records = store
        .append(&tenant(), vec![first.clone(), revision("alpha", fresh_id(), "alpha 1")])
        .await
        .unwrap();
    assert_eq!(records[0].name, first.name, "answers come in the order given");
    assert_eq!(records[0].active, RevisionNumber(1));
    assert_eq!((records[0].id, &records[0].origin), (first.id, &first.origin));
    assert_eq!(records[0].published, first.published);
    let agents = store.agents(&tenant()).await.unwrap();
    assert_eq!(agents, [records[1].clone(), records[0].clone()], "agents come in name order");
    let revisions = store.revisions(&tenant(), &first.name).await.unwrap();
    assert_eq!(revisions.len(), 1);
    assert_eq!(revisions[0].settings, first.settings);
    assert_eq!(revisions[0].created_unix_ms, first.created_unix_ms);
    let second = store.append(&tenant(), vec![revision("beta", first.id, "beta 2")]).await.unwrap();
    assert_eq!(second[0].active, RevisionNumber(2));
    let numbers: Vec<u64> = store
        .revisions(&tenant(), &first.name)
        .await
        .unwrap()
        .iter()
        .map(|revision| revision.number.0)
        .collect();
    assert_eq!(numbers, [2, 1], "revisions come newest first");
}

async fn equal_revisions_add_nothing(store: &dyn Store) {
    let before = snapshot(store).await;
    let id = store.agents(&tenant()).await.unwrap()[1].id;
    let mut again = revision("beta", id, "beta 2");
    again.created_unix_ms += 1;
    assert_eq!(
        store.append(&tenant(), vec![again.clone()]).await.unwrap()[0].active,
        RevisionNumber(2)
    );
    assert_eq!(snapshot(store).await, before);
    again.settings.max_retries = 1;
    let changed = store.append(&tenant(), vec![again]).await.unwrap();
    assert_eq!(changed[0].active, RevisionNumber(3), "other settings are another revision");
}

async fn activates_and_pins(store: &dyn Store) {
    let beta = name("beta");
    let pin = Digest::of(b"what the file has");
    let record = store.activate(&tenant(), &beta, RevisionNumber(1), Some(pin)).await.unwrap();
    assert_eq!((record.active, record.pinned_against), (RevisionNumber(1), Some(pin)));
    assert_eq!(store.agents(&tenant()).await.unwrap()[1], record);
    let missing = store.activate(&tenant(), &beta, RevisionNumber(99), None).await;
    assert!(matches!(missing, Err(StoreError::Missing)));
    let missing = store.activate(&tenant(), &name("nobody"), RevisionNumber(1), None).await;
    assert!(matches!(missing, Err(StoreError::Missing)));
    let record =
        store.append(&tenant(), vec![revision("beta", record.id, "beta 4")]).await.unwrap();
    assert_eq!(
        record[0].active,
        RevisionNumber(4),
        "numbers go on from the newest, not from the active one"
    );
    assert_eq!(record[0].pinned_against, None, "a new revision ends the pin");
}

async fn conflicts_write_nothing(store: &dyn Store) {
    let before = snapshot(store).await;
    let good = revision("gamma", fresh_id(), "gamma 1");
    let other_id = revision("beta", fresh_id(), "beta 5");
    let conflict = store.append(&tenant(), vec![good, other_id]).await;
    assert!(matches!(conflict, Err(StoreError::Conflict)), "the stored agent has another id");
    let taken = store.agents(&tenant()).await.unwrap()[0].id;
    let conflict = store.append(&tenant(), vec![revision("gamma", taken, "gamma 1")]).await;
    assert!(matches!(conflict, Err(StoreError::Conflict)), "another agent has the id");
    assert_eq!(snapshot(store).await, before);
}

async fn keeps_the_newest_revisions(store: &dyn Store) {
    let id = fresh_id();
    let many = (0..15).map(|index| revision("many", id, &format!("many {index}"))).collect();
    store.append(&tenant(), many).await.unwrap();
    let numbers: Vec<u64> = store
        .revisions(&tenant(), &name("many"))
        .await
        .unwrap()
        .iter()
        .map(|revision| revision.number.0)
        .collect();
    assert_eq!(numbers.len(), <dyn Store>::REVISIONS_KEPT);
    assert_eq!((numbers[0], numbers[numbers.len() - 1]), (15, 6));
    let digests = store.digests().await.unwrap();
    assert!(digests.contains(&Digest::of(b"many 14")));
    assert!(!digests.contains(&Digest::of(b"many 0")), "what is forgotten is not referred to");
    let origin = Origin::File { path: "/agents/filed.wasm".into() };
    let filed = NewRevision { origin, ..revision("filed", fresh_id(), "filed 1") };
    store.append(&tenant(), vec![filed]).await.unwrap();
    let nobody = name("nobody");
    let uploaded = store.uploaded(&tenant(), &nobody).await.unwrap();
    assert!(
        uploaded.contains(&Digest::of(b"many 14")) && uploaded.contains(&Digest::of(b"many 5"))
    );
    assert!(!uploaded.contains(&Digest::of(b"many 0")));
    assert!(!uploaded.contains(&Digest::of(b"filed 1")), "it came from a file");
    let other = TenantName::new("other").unwrap();
    assert_eq!(store.uploaded(&other, &nobody).await.unwrap(), []);
    let others = store.uploaded(&tenant(), &name("many")).await.unwrap();
    assert!(!others.contains(&Digest::of(b"many 14")), "it was asked for the others'");
    let short = NewRevision { kept: 2, ..revision("many", id, "many 15") };
    store.append(&tenant(), vec![short]).await.unwrap();
    let left = store.revisions(&tenant(), &name("many")).await.unwrap();
    let numbers: Vec<u64> = left.iter().map(|revision| revision.number.0).collect();
    assert_eq!(numbers, [16, 15], "it made room");
}

async fn tenants_are_apart(store: &dyn Store) {
    let other = TenantName::new("other").unwrap();
    store.append(&other, vec![revision("beta", fresh_id(), "other beta")]).await.unwrap();
    assert_eq!(store.agents(&other).await.unwrap().len(), 1);
    store.remove(&other, &name("beta")).await.unwrap();
    assert_eq!(store.agents(&other).await.unwrap(), []);
    assert!(store.agents(&tenant()).await.unwrap().iter().any(|agent| agent.name == name("beta")));
}

async fn concurrent_appends<S: Store + 'static>(store: &Arc<S>) {
    let mut tasks = Vec::new();
    for index in 0..64 {
        let store = Arc::clone(store);
        tasks.push(tokio::spawn(async move {
            let agent = revision(&format!("crowd-{index}"), fresh_id(), &format!("crowd {index}"));
            store
                .append(&tenant(), vec![agent])
                .await
                .unwrap_or_else(|error| panic!("append {index}: {error}"))
        }));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap()[0].active, RevisionNumber(1));
    }
    let agents = store.agents(&tenant()).await.unwrap();
    assert_eq!(agents.iter().filter(|agent| agent.name.starts_with("crowd-")).count(), 64);
}

async fn removes(store: &dyn Store) {
    for agent in store.agents(&tenant()).await.unwrap() {
        store.remove(&tenant(), &agent.name).await.unwrap();
        assert_eq!(store.revisions(&tenant(), &agent.name).await.unwrap(), []);
    }
    assert_eq!(store.agents(&tenant()).await.unwrap(), []);
    assert_eq!(store.digests().await.unwrap(), []);
    store.remove(&tenant(), &name("nobody")).await.unwrap();
}

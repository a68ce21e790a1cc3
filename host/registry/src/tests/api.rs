//! Agents that are loaded through the API.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aop_core::quota::Quota;
use aop_core::{
    Catalog, CatalogError, LoadRequest, Origin, Resolve, RevisionNumber, Settings, State,
};

use super::{Host, agent, tenant};

#[tokio::test]
async fn it_is_loaded_replaced_rolled_back_and_unloaded() {
    let host = Host::scanned().await;
    let first = host.load("a", "fn run One.").await.unwrap();
    assert_eq!(
        (first.state, first.revision, &first.origin),
        (State::Active, Some(RevisionNumber(1)), &Origin::Api)
    );
    assert_eq!(host.resolved("a").as_deref(), Some("One."));
    let second = host.load("a", "fn run Two.").await.unwrap();
    assert_eq!((second.id, second.revision), (first.id, Some(RevisionNumber(2))));
    let host = host.restarted().await;
    assert_eq!(host.resolved("a").as_deref(), Some("Two."), "it lives in the data directory");
    assert_eq!(host.status("a").id, first.id);
    let back = host.registry.rollback(&tenant(), "a").await.unwrap();
    assert_eq!((back.revision, back.pinned), (Some(RevisionNumber(1)), false));
    let host = host.restarted().await;
    assert_eq!(host.resolved("a").as_deref(), Some("One."));
    host.registry.unload(&tenant(), "a").await.unwrap();
    assert!(host.registry.show(&tenant(), "a").is_none());
    assert!(host.resolved("a").is_none() && host.tools().is_empty() && host.found("").is_empty());
    assert_eq!(host.components(), 0, "nothing refers to them any more");
    let host = host.restarted().await;
    assert!(host.registry.list(&tenant()).is_empty());
    let again = host.load("a", "fn run One.").await.unwrap();
    assert_ne!(again.id, first.id);
}

#[tokio::test]
async fn unknown_agents_and_tenants_are_told_apart_from_failures() {
    let host = Host::scanned().await;
    for name in ["nobody", "Not A Name"] {
        assert!(matches!(
            host.registry.unload(&tenant(), name).await,
            Err(CatalogError::NoSuchAgent(_))
        ));
        assert!(matches!(
            host.registry.rollback(&tenant(), name).await,
            Err(CatalogError::NoSuchAgent(_))
        ));
        assert!(matches!(
            host.registry.revisions(&tenant(), name).await,
            Err(CatalogError::NoSuchAgent(_))
        ));
    }
    let other = aop_core::TenantName::new("other").unwrap();
    let request = LoadRequest {
        name: agent("a"),
        id: None,
        component: b"fn run".to_vec(),
        settings: Settings::default(),
        standing: None,
    };
    let refused = host.registry.load(&other, request).await.unwrap_err();
    assert!(refused.to_string().contains("no tenant `other`"), "{refused}");
}

#[tokio::test]
async fn a_name_owned_by_a_file_is_refused() {
    let host = Host::new();
    host.write("agents/a.wasm", "fn run File.");
    host.write("agents/bad.wasm", "broken");
    host.registry.scan().await.unwrap();
    for name in ["a", "bad"] {
        let loaded = host.load(name, "fn run Api.").await.unwrap_err();
        assert!(
            matches!(&loaded, CatalogError::OwnedByFile { path, .. } if path.ends_with(".wasm")),
            "{loaded}"
        );
        let unloaded = host.registry.unload(&tenant(), name).await.unwrap_err();
        assert!(matches!(unloaded, CatalogError::OwnedByFile { .. }), "{unloaded}");
    }
    assert_eq!(host.resolved("a").as_deref(), Some("File."));
}

#[tokio::test]
async fn a_file_waits_for_a_name_that_the_api_has() {
    let host = Host::watched().await;
    host.load("a", "fn run Api.").await.unwrap();
    host.write("agents/a.wasm", "fn run File.");
    host.until("the file is refused", |host| host.registry.list(&tenant()).len() == 2).await;
    let refused = host
        .registry
        .list(&tenant())
        .into_iter()
        .find(|status| status.state == State::Error)
        .unwrap();
    assert!(refused.error.unwrap().contains("aop agent unload a"));
    assert_eq!(host.status("a").origin, Origin::Api);
    let host = host.restarted().await;
    assert_eq!(host.resolved("a").as_deref(), Some("Api."), "over a restart, too");
    host.registry.watch();
    host.registry.unload(&tenant(), "a").await.unwrap();
    host.until("the file has the name", |host| host.resolved("a").as_deref() == Some("File."))
        .await;
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_or_what_served() {
    let host = Host::with(|config| config.component_max_bytes = 20);
    host.registry.scan().await.unwrap();
    let refused = host.load("a", "broken").await.unwrap_err();
    assert!(
        matches!(&refused, CatalogError::Rejected(reason) if reason.contains("not a component")),
        "{refused}"
    );
    assert!(host.registry.list(&tenant()).is_empty());
    let refused = host.load("a", &"x".repeat(21)).await.unwrap_err();
    assert!(refused.to_string().contains("larger than the 20 bytes"), "{refused}");
    host.load("a", "fn run One.").await.unwrap();
    host.load("a", "broken").await.unwrap_err();
    let status = host.status("a");
    assert_eq!((status.state, status.revision), (State::Error, Some(RevisionNumber(1))));
    assert!(status.error.unwrap().contains("not a component"));
    assert_eq!(host.resolved("a").as_deref(), Some("One."));
    host.load("a", "fn run Two.").await.unwrap();
    assert_eq!((host.status("a").state, host.status("a").error), (State::Active, None));
    host.prepare.host_failures.store(1, Ordering::SeqCst);
    let failed = host.load("b", "fn run").await.unwrap_err();
    assert!(matches!(failed, CatalogError::Internal(_)), "{failed}");
}

#[tokio::test]
async fn a_load_that_is_given_up_leaves_nothing() {
    let host = Host::scanned().await;
    let registry = Arc::clone(&host.registry);
    let request = LoadRequest {
        name: agent("a"),
        id: None,
        component: b"wait\nfn run".to_vec(),
        settings: Settings::default(),
        standing: None,
    };
    let task = tokio::spawn(async move { registry.load(&tenant(), request).await });
    host.prepare.until_waiting(1).await;
    assert_eq!(host.status("a").state, State::Init);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert!(host.registry.list(&tenant()).is_empty());
    assert_eq!(host.store().agents(&tenant()).await.unwrap(), []);
    host.own().collect_garbage().await;
    assert_eq!(host.components(), 0);
    host.load("a", "fn run").await.unwrap();
}

#[tokio::test]
async fn a_commit_is_not_given_up_halfway() {
    let host = Host::scanned().await;
    // Dropped at every point that it waits at: the agent is whole or absent afterwards.
    for polls in 1..40 {
        let name = format!("a{polls}");
        let request = LoadRequest {
            name: agent(&name),
            id: None,
            component: b"fn run".to_vec(),
            settings: Settings::default(),
            standing: None,
        };
        let tenant = tenant();
        let mut load = host.registry.load(&tenant, request);
        let mut left = polls;
        let finished = std::future::poll_fn(|context| {
            left -= 1;
            match load.as_mut().poll(context) {
                std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done.is_ok())),
                std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
                std::task::Poll::Pending => std::task::Poll::Pending,
            }
        });
        let finished = finished.await;
        drop(load);
        // Has the turn after it.
        let _ = host.registry.revisions(&tenant, &name).await;
        drop(host.own().turns.take(&agent(&name)).await);
        let serves = host.registry.resolve(&tenant, &name).is_some();
        let stored =
            host.store().agents(&tenant).await.unwrap().iter().any(|record| *record.name == *name);
        assert_eq!(serves, stored, "after {polls} polls");
        assert!(finished != Some(true) || serves);
        if finished == Some(true) {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_of_one_agent_follow_each_other_and_others_do_not_wait() {
    let host = Arc::new(Host::scanned().await);
    let load = |name: &'static str, component: &'static str| {
        let host = Arc::clone(&host);
        tokio::spawn(async move { host.load(name, component).await.unwrap() })
    };
    let slow = load("a", "wait\nfn run First.");
    host.prepare.until_waiting(1).await;
    let next = load("a", "fn run Second.");
    load("b", "fn run Other.").await.unwrap();
    assert!(!next.is_finished());
    assert_eq!(host.status("a").state, State::Init);
    host.prepare.gate.add_permits(1);
    assert_eq!(slow.await.unwrap().revision, Some(RevisionNumber(1)));
    assert_eq!(next.await.unwrap().revision, Some(RevisionNumber(2)));
    assert_eq!(host.resolved("a").as_deref(), Some("Second."));
}

#[tokio::test]
async fn garbage_is_not_collected_under_a_load() {
    let host = Arc::new(Host::scanned().await);
    let loading = Arc::clone(&host);
    let task = tokio::spawn(async move { loading.load("a", "wait\nfn run").await });
    host.prepare.until_waiting(1).await;
    host.own().collect_garbage().await;
    assert_eq!(host.components(), 1);
    host.prepare.gate.add_permits(1);
    task.await.unwrap().unwrap();
    host.own().collect_garbage().await;
    assert_eq!(host.components(), 1);
}

#[tokio::test]
async fn the_old_revision_lives_while_a_call_holds_it() {
    let host = Host::scanned().await;
    host.load("a", "fn run One.").await.unwrap();
    let route = host.registry.resolve(&tenant(), "a").unwrap();
    let call = route.revision.begin();
    assert_eq!((host.status("a").state, host.status("a").in_flight), (State::Busy, 1));
    host.load("a", "fn run Two.").await.unwrap();
    assert_eq!((host.status("a").state, host.status("a").in_flight), (State::Active, 0));
    assert_eq!(route.tool.description, "One.");
    let draining = |host: &Host| host.own().agents.counts().by_state[4];
    assert_eq!(draining(&host), 1);
    drop(call);
    drop(route);
    assert_eq!(draining(&host), 0);
}

#[tokio::test]
async fn draining_refuses_changes_and_gives_up_loads() {
    let host = Arc::new(Host::watched().await);
    host.load("a", "fn run One.").await.unwrap();
    let loading = Arc::clone(&host);
    let task = tokio::spawn(async move { loading.load("b", "wait\nfn run").await });
    host.prepare.until_waiting(1).await;
    host.registry.drain().await;
    assert!(matches!(task.await.unwrap(), Err(CatalogError::Draining)));
    assert!(matches!(host.load("c", "fn run").await, Err(CatalogError::Draining)));
    assert!(matches!(host.registry.unload(&tenant(), "a").await, Err(CatalogError::Draining)));
    assert!(matches!(host.registry.rollback(&tenant(), "a").await, Err(CatalogError::Draining)));
    assert_eq!(host.resolved("a").as_deref(), Some("One."), "and goes on serving");
}

#[tokio::test]
async fn an_agent_whose_component_is_lost_says_so() {
    let host = Host::scanned().await;
    let digest = host.load("a", "fn run One.").await.unwrap().digest.unwrap();
    std::fs::remove_file(host.path(&format!("data/components/{}.wasm", digest.hex()))).unwrap();
    let host = host.restarted().await;
    let status = host.status("a");
    assert_eq!((status.state, status.revision), (State::Error, None));
    assert!(status.error.unwrap().contains("load it again"));
    host.load("a", "fn run One.").await.unwrap();
    assert_eq!(host.status("a").state, State::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_the_host_failed_at_start_is_tried_again() {
    let host = Host::scanned().await;
    host.load("a", "fn run One.").await.unwrap();
    let host = host.restarted_failing(2).await;
    assert_eq!((host.status("a").state, host.resolved("a")), (State::Error, None));
    host.registry.watch();
    host.until_state("a", State::Active).await;
    assert_eq!(host.resolved("a").as_deref(), Some("One."));
    assert_eq!(host.prepare.prepared.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_failed_upload_is_not_tried_again_while_an_older_revision_serves() {
    let host = Host::scanned().await;
    host.load("a", "fn run One.").await.unwrap();
    host.prepare.host_failures.store(1, Ordering::SeqCst);
    assert!(matches!(host.load("a", "fn run Two.").await, Err(CatalogError::Internal(_))));
    let long_after = std::time::Instant::now() + super::PATIENCE;
    let due = host.own().agents.due_for_retry(long_after, super::PATIENCE / 2);
    assert!(due.stored.is_empty() && due.files.is_empty(), "{due:?}");
    assert_eq!(host.status("a").state, State::Error);
    assert_eq!(host.resolved("a").as_deref(), Some("One."));
}

fn limit_components(host: &Host, bytes: u64) {
    let quota = Quota { components_max_bytes: Some(bytes), ..Quota::default() };
    host.registry.common.parts.accounts.set_tenant(&tenant(), Some(quota));
}

#[tokio::test]
async fn components_of_a_tenant_fit_its_quota_and_room_comes_back() {
    let host = Host::new();
    // What the operator put into a directory is no upload.
    host.write("agents/file.wasm", "fn run Of the operator.");
    host.registry.scan().await.unwrap();
    limit_components(&host, 30);
    host.load("a", "fn run One.").await.unwrap();
    host.load("a", "fn run Two.").await.unwrap();
    let refused = host.load("b", "fn run Three.").await.unwrap_err();
    assert!(
        matches!(&refused, CatalogError::OverQuota(why) if why.contains("unload agents")),
        "{refused}"
    );
    assert!(host.registry.show(&tenant(), "b").is_none());
    assert_eq!(host.components(), 3, "what is refused is not kept");
    host.load("b", "fn run One.").await.unwrap();
    let host = host.restarted().await;
    limit_components(&host, 30);
    host.load("c", "fn run Three.").await.unwrap_err();
    host.registry.unload(&tenant(), "b").await.unwrap();
    host.load("c", "fn run Three.").await.unwrap_err();
    host.registry.unload(&tenant(), "a").await.unwrap();
    host.load("c", "fn run Three.").await.unwrap();
}

#[tokio::test]
async fn at_its_quota_a_tenant_can_replace_an_agent_and_old_revisions_make_room() {
    let host = Host::scanned().await;
    limit_components(&host, 33);
    let text = |number: u32| format!("fn run {number:03}.");
    let numbers = async || {
        let revisions = host.registry.revisions(&tenant(), "a").await.unwrap();
        revisions.iter().map(|revision| revision.number.0).collect::<Vec<_>>()
    };
    // Each has eleven bytes.
    for number in 1..=3 {
        host.load("a", &text(number)).await.unwrap();
    }
    assert_eq!(numbers().await, [3, 2, 1]);
    host.own().collect_garbage().await;
    host.load("a", &text(4)).await.unwrap();
    assert_eq!(numbers().await, [4, 3, 2]);
    host.own().collect_garbage().await;
    assert_eq!(host.components(), 3, "the quota holds");
    // What another agent needs is not taken from this one.
    host.load("b", &text(5)).await.unwrap_err();
    // What another agent has as well does not go with this one's revision.
    host.load("b", &text(2)).await.unwrap();
    host.own().collect_garbage().await;
    host.load("a", &text(6)).await.unwrap();
    assert_eq!(numbers().await, [5, 4]);
    host.own().collect_garbage().await;
    assert_eq!(host.components(), 3);
    // Down to the one that replaces all of them, and no further.
    host.load("a", &format!("{}{}", text(7), " ".repeat(11))).await.unwrap();
    assert_eq!(numbers().await, [6]);
    host.own().collect_garbage().await;
    host.load("a", &format!("{}{}", text(8), " ".repeat(12))).await.unwrap_err();
    assert_eq!(host.resolved("a").unwrap().trim(), "007.");
}

#[tokio::test]
async fn replacements_that_come_faster_than_collection_take_no_more_than_twice_the_quota() {
    let host = Arc::new(Host::scanned().await);
    limit_components(&host, 22);
    let loading = Arc::clone(&host);
    // A load that is under way keeps collection away.
    let task = tokio::spawn(async move { loading.load("w", "wait\nfn run").await });
    host.prepare.until_waiting(1).await;
    let mut refused = 0;
    for number in 0..9 {
        refused += u32::from(host.load("a", &format!("fn run {number}.")).await.is_err());
    }
    assert!(refused >= 7, "{refused} of nine");
    assert!(host.components() <= 3);
    host.prepare.gate.add_permits(1);
    task.await.unwrap().unwrap();
    host.own().collect_garbage().await;
    host.load("a", "fn run 9.").await.unwrap();
}

/// Lets a caller in until it does not.
struct Fickle(std::sync::atomic::AtomicBool);

impl aop_core::Authenticate for Fickle {
    fn authenticate(&self, _: aop_core::Presented<'_>) -> aop_core::Identified {
        unreachable!("nobody asks who it is")
    }

    fn holds(&self, _: &aop_core::Known) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_load_whose_caller_was_revoked_while_it_compiled_changes_nothing() {
    let host = Host::scanned().await;
    host.load("a", "fn run Before.").await.unwrap();
    let known = aop_core::Known {
        caller: aop_core::Caller::local(tenant()),
        bond: aop_core::Bond::Open,
        since_unix_ms: 0,
    };
    for name in ["a", "b"] {
        let fickle = Arc::new(Fickle(true.into()));
        let request = LoadRequest {
            name: agent(name),
            id: None,
            component: b"wait\nfn run After.".to_vec(),
            settings: Settings::default(),
            standing: Some(aop_core::Standing::of(known.clone(), fickle.clone())),
        };
        let registry = Arc::clone(&host.registry);
        let task = tokio::spawn(async move { registry.load(&tenant(), request).await });
        host.prepare.until_waiting(1).await;
        fickle.0.store(false, Ordering::SeqCst);
        host.prepare.gate.add_permits(1);
        assert!(matches!(task.await.unwrap(), Err(CatalogError::Lapsed)));
    }
    assert_eq!(host.resolved("a").as_deref(), Some("Before."));
    assert_eq!(host.status("a").error, None, "it says nothing of what serves");
    assert!(host.registry.show(&tenant(), "b").is_none());
    assert_eq!(host.store().agents(&tenant()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_failed_to_load_counts_until_it_is_gone() {
    let host = Arc::new(Host::scanned().await);
    limit_components(&host, 20);
    let loading = Arc::clone(&host);
    let task = tokio::spawn(async move { loading.load("a", "wait\nfn run").await });
    host.prepare.until_waiting(1).await;
    // The load that is under way keeps collection from these.
    assert!(matches!(host.load("b", "broken").await, Err(CatalogError::Rejected(_))));
    host.own().collect_garbage().await;
    assert!(matches!(host.load("b", "fn run").await, Err(CatalogError::OverQuota(_))));
    host.prepare.gate.add_permits(1);
    task.await.unwrap().unwrap();
    host.own().collect_garbage().await;
    host.load("b", "fn run").await.unwrap();
}

#[tokio::test]
async fn an_upload_may_not_have_more_held_for_it_unless_a_ceiling_says_so() {
    let host = Host::scanned().await;
    let settings = || Settings::from_toml("[state]\nsize_max = \"1GiB\"\n").unwrap();
    let refused = host.load_with("a", "fn run", settings()).await.unwrap_err();
    assert!(
        matches!(&refused, CatalogError::Refused { setting: "ceiling", reason } if reason.contains("`state.size_max`: 1GiB")),
        "{refused}"
    );
    let placed = LoadRequest {
        name: agent("placed"),
        id: Some(aop_core::AgentId(uuid::Uuid::now_v7())),
        component: b"fn run".to_vec(),
        settings: settings(),
        standing: None,
    };
    host.registry.load(&tenant(), placed).await.unwrap();
    let mut ceiling = aop_core::policy::Ceiling::default();
    ceiling.limits.state_max_bytes = 2 << 30;
    let ceilings = aop_core::policy::Ceilings { host: Some(ceiling), ..Default::default() };
    host.registry.set_ceilings(ceilings);
    host.load_with("a", "fn run", settings()).await.unwrap();
    // What was loaded is loaded again at the next start, whatever the ceilings of uploads are by then.
    let host = host.restarted().await;
    assert_eq!(host.status("a").state, State::Active);
}

//! Replicas that are placed, moved and removed.

use std::time::Duration;

use aop_core::cluster::ReportRoutes as _;
use aop_core::{
    CatalogError, Digest, ErrorCode, Measure, Settings, Tenancy as _, Tenant, TenantName,
};

use super::{FakeRegistry, FakeZone, Node, PATIENCE, some_id, tenant};

/// A tenant as it is when it ends.
fn made(name: &str) -> Tenant {
    Tenant { name: TenantName::new(name).unwrap(), created_unix_ms: 1 }
}

fn replicated(replicas: u32) -> Settings {
    Settings { replicas: Some(replicas), ..Settings::default() }
}

async fn zone_of(count: u8) -> Vec<Node> {
    let zone = FakeZone::new();
    let mut nodes = Vec::new();
    for number in 0..count {
        nodes.push(Node::start(&zone, number).await);
    }
    nodes
}

/// Waits until something holds of the nodes, looking every now and then. Whether it ever did.
async fn until(holds: impl Fn() -> bool) -> bool {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.is_ok()
}

/// Waits until that many nodes have the agent.
async fn until_held(nodes: &[Node], count: usize) {
    let have = || nodes.iter().map(|node| node.registry.has("agent"));
    let held = until(|| have().filter(|has| *has).count() == count).await;
    assert!(held, "{count} should have it: {:?}", have().collect::<Vec<_>>());
}

#[tokio::test]
async fn it_spreads_to_as_many_nodes_as_it_should_and_is_the_same_agent_everywhere() {
    let nodes = zone_of(4).await;
    nodes[0].registry.put("agent", some_id(), b"component", replicated(4));
    until_held(&nodes, 4).await;
    for node in &nodes {
        let held = node.registry.held.lock().unwrap();
        let revision = &held["agent"].revision;
        assert_eq!((revision.id, revision.digest), (some_id(), Digest::of(b"component")));
    }
    nodes[0].until_foreign("agent", 3).await;
    let status = &nodes[0].router.replicas()[0];
    assert_eq!((status.wanted, status.nodes.len()), (Some(4), 4));
}

#[tokio::test]
async fn a_node_that_goes_is_replaced_although_it_was_the_one_that_loaded_it() {
    let nodes = zone_of(4).await;
    nodes[0].registry.put("agent", some_id(), b"component", replicated(3));
    assert!(
        until(|| nodes[1..].iter().filter(|node| node.registry.has("agent")).count() >= 2).await
    );
    nodes[0].kill();
    nodes[0].zone.eject(&nodes[0].id);
    until_held(&nodes[1..], 3).await;
}

#[tokio::test]
async fn a_new_version_reaches_every_replica() {
    let nodes = zone_of(3).await;
    nodes[0].registry.put("agent", some_id(), b"component", replicated(3));
    until_held(&nodes, 3).await;
    nodes[1].registry.put("agent", some_id(), b"newer", replicated(3));
    let is_new = |node: &Node| {
        let held = node.registry.held.lock().unwrap();
        held["agent"].revision.digest == Digest::of(b"newer")
    };
    assert!(until(|| nodes.iter().all(is_new)).await, "an old one is left");
}

#[tokio::test]
async fn unloading_it_anywhere_unloads_it_everywhere() {
    let nodes = zone_of(3).await;
    nodes[0].registry.put("agent", some_id(), b"component", replicated(2));
    until_held(&nodes, 2).await;
    let outsider = nodes.iter().find(|node| !node.registry.has("agent"));
    let outsider = outsider.unwrap_or(&nodes[0]);
    outsider.until_foreign("agent", 2).await;
    let catalog = outsider.router.catalog(outsider.registry.clone());
    catalog.unload(&tenant(), "agent").await.unwrap();
    until_held(&nodes, 0).await;
    // What a node did because the zone wants it is written down.
    let noted = || {
        let noted = nodes[1..].iter().map(|node| node.noted.0.lock().unwrap().clone());
        noted.flatten().collect::<Vec<_>>()
    };
    let loaded = format!("agent.load default agent {}", Digest::of(b"component"));
    let expected = [loaded, "agent.unload default agent ".to_owned()];
    assert!(until(|| noted() == expected).await, "{:?}", noted());
    assert!(
        outsider.data.path().join("placements.json").exists(),
        "it is remembered over a restart"
    );
}

#[tokio::test]
async fn an_agent_that_no_live_node_has_is_shown_and_can_be_unloaded() {
    let nodes = zone_of(2).await;
    nodes[0].zone.change(&nodes[0].id, |member| {
        member.labels.insert("region".to_owned(), "eu".to_owned());
    });
    let mut settings = replicated(1);
    settings.placement.insert("region".to_owned(), "eu".to_owned());
    nodes[0].registry.put("agent", some_id(), b"component", settings);
    let mut nodes = nodes.into_iter();
    let (gone, left) = (nodes.next().unwrap(), nodes.next().unwrap());
    left.until_foreign("agent", 1).await;
    gone.kill();
    left.zone.eject(&gone.id);
    let shown = |node: &Node| -> Vec<_> {
        let replicas = node.router.replicas();
        replicas.iter().map(|replicas| (replicas.wanted, replicas.nodes.len())).collect()
    };
    assert!(until(|| shown(&left) == [(Some(1), 0)]).await, "{:?}", shown(&left));
    left.until_foreign("agent", 0).await;
    let failure = left.call("agent_echo", "{}").await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Unavailable, "{failure}");

    // After a restart, the record is all that is left of it.
    let zone = left.zone.clone();
    let (_, data) = left.stop();
    let registry = FakeRegistry::new();
    let left = Node::start_with(&zone, 1, registry, data).await;
    assert_eq!(shown(&left), [(Some(1), 0)]);
    let catalog = left.router.catalog(left.registry.clone());
    catalog.unload(&tenant(), "agent").await.unwrap();
    assert_eq!(shown(&left), []);
    let again = catalog.unload(&tenant(), "agent").await;
    assert!(matches!(again, Err(CatalogError::NoSuchAgent(_))), "{again:?}");
}

#[tokio::test]
async fn what_is_placed_of_a_tenant_goes_with_it_everywhere() {
    let nodes = zone_of(3).await;
    nodes[0].registry.put("agent", some_id(), b"component", replicated(2));
    until_held(&nodes, 2).await;
    nodes[0].router.end(&made("other")).await.unwrap();
    let record = |node: &Node| node.router.zone.get().unwrap().placer.records();
    let is_gone = |node: &Node| record(node).0.values().all(|record| record.is_gone);
    assert!(!is_gone(&nodes[0]), "another tenant's end is not its own");
    nodes[0].router.end(&made(tenant().as_str())).await.unwrap();
    assert!(is_gone(&nodes[0]));
    until_held(&nodes, 0).await;
}

#[tokio::test]
async fn what_a_file_put_on_a_node_is_unloaded_there_only() {
    let nodes = zone_of(2).await;
    let registry = &nodes[0].registry;
    let mut of_file = super::held(&super::name("agent"), some_id(), b"component", replicated(2));
    of_file.is_of_a_file = true;
    registry.components.lock().unwrap().insert(Digest::of(b"component"), b"component".to_vec());
    registry.held.lock().unwrap().insert(super::name("agent"), of_file);
    registry.changes.send_modify(|changes| *changes += 1);
    until_held(&nodes, 2).await;
    nodes[1].until_foreign("agent", 1).await;
    let catalog = nodes[1].router.catalog(nodes[1].registry.clone());
    let refused = catalog.unload(&tenant(), "agent").await.unwrap_err();
    assert!(matches!(refused, CatalogError::OwnedElsewhere { .. }), "{refused}");
    let refused = refused.to_string();
    assert!(refused.contains("file") && refused.contains(nodes[0].id.as_str()), "{refused}");
    assert!(nodes[1].registry.has("agent"), "nothing of it went");
}

#[tokio::test]
async fn labels_decide_who_may_hold_it() {
    let nodes = zone_of(4).await;
    for node in &nodes[2..] {
        node.zone.change(&node.id, |member| {
            member.labels.insert("region".to_owned(), "eu".to_owned());
        });
    }
    let mut settings = replicated(4);
    settings.placement.insert("region".to_owned(), "eu".to_owned());
    nodes[0].registry.put("agent", some_id(), b"component", settings);
    assert!(until(|| nodes[2..].iter().all(|node| node.registry.has("agent"))).await);
    assert!(!nodes[1].registry.has("agent"));
}

#[tokio::test]
async fn a_component_that_is_not_what_it_should_be_is_refused_and_counted() {
    let nodes = zone_of(2).await;
    nodes[0].registry.put("agent", some_id(), b"component", replicated(2));
    let digest = Digest::of(b"component");
    nodes[0].registry.components.lock().unwrap().insert(digest, b"something else".to_vec());
    let count = || {
        let samples = nodes[1].router.measure();
        samples.iter().find(|sample| sample.name == "component_mismatches").unwrap().value
    };
    assert!(until(|| count() >= 1.0).await);
    assert!(!nodes[1].registry.has("agent"));
}

/// A zone of two nodes with a replica each, and the second one stopped.
async fn with_one_away() -> (Node, (std::sync::Arc<super::FakeRegistry>, tempfile::TempDir)) {
    let mut nodes = zone_of(2).await;
    nodes[0].registry.put("agent", some_id(), b"component", replicated(2));
    until_held(&nodes, 2).await;
    let away = nodes.pop().unwrap().stop();
    (nodes.pop().unwrap(), away)
}

#[tokio::test]
async fn a_node_that_was_away_while_an_agent_was_unloaded_does_not_bring_it_back() {
    let (here, (registry, data)) = with_one_away().await;
    here.router.catalog(here.registry.clone()).unload(&tenant(), "agent").await.unwrap();
    until_held(std::slice::from_ref(&here), 0).await;
    let back = Node::start_with(&here.zone, 1, registry, data).await;
    let nodes = [here, back];
    until_held(&nodes, 0).await;
    let records = nodes[0].zone.documents.borrow().clone();
    for (node, document) in records.named("place") {
        let text = String::from_utf8_lossy(&document.bytes);
        assert!(text.contains(r#""is_gone":true"#), "{node}: {text}");
    }
}

#[tokio::test]
async fn a_node_that_was_away_while_an_agent_was_renewed_does_not_roll_it_back() {
    let (here, (registry, data)) = with_one_away().await;
    here.registry.put("agent", some_id(), b"newer", replicated(2));
    let mut documents = here.zone.documents.subscribe();
    let newer = Digest::of(b"newer").hex();
    let told = documents.wait_for(|documents| {
        let mut records = documents.named("place");
        records.any(|(_, document)| String::from_utf8_lossy(&document.bytes).contains(&newer))
    });
    drop(tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap());
    let back = Node::start_with(&here.zone, 1, registry, data).await;
    let nodes = [here, back];
    let has = |node: &Node, component: &[u8]| {
        let held = node.registry.held.lock().unwrap();
        held.get("agent").is_some_and(|held| held.revision.digest == Digest::of(component))
    };
    let is_new = |node: &Node| has(node, b"newer");
    assert!(until(|| !is_new(&nodes[0]) || is_new(&nodes[1])).await, "the old one is left");
    assert!(is_new(&nodes[0]), "the zone went back");
}

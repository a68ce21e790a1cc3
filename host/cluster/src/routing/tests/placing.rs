//! Replicas that are placed, moved and removed.

use std::time::Duration;

use aop_core::cluster::ReportRoutes as _;
use aop_core::{Digest, Measure, Settings, Tenancy as _, TenantName};

use super::{FakeZone, Node, PATIENCE, some_id, tenant};

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

/// Waits until that many nodes have the agent, looking whenever something changes somewhere.
async fn until_held(nodes: &[Node], count: usize) {
    let wait = async {
        while nodes.iter().filter(|node| node.registry.has("agent")).count() != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, wait).await;
    let have: Vec<_> = nodes.iter().map(|node| node.registry.has("agent")).collect();
    ended.unwrap_or_else(|_| panic!("{count} should have it: {have:?}"));
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
    let wait = async {
        while nodes[1..].iter().filter(|node| node.registry.has("agent")).count() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
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
    let wait = async {
        while !nodes.iter().all(is_new) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("an old one is left");
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
    assert!(
        outsider.data.path().join("placements.json").exists(),
        "it is remembered over a restart"
    );
}

#[tokio::test]
async fn what_is_placed_of_a_tenant_goes_with_it_everywhere() {
    let nodes = zone_of(3).await;
    nodes[0].registry.put("agent", some_id(), b"component", replicated(2));
    until_held(&nodes, 2).await;
    nodes[0].router.end(&TenantName::new("other").unwrap()).await.unwrap();
    let record = |node: &Node| node.router.zone.get().unwrap().placer.records();
    let is_gone = |node: &Node| record(node).0.values().all(|record| record.is_gone);
    assert!(!is_gone(&nodes[0]), "another tenant's end is not its own");
    nodes[0].router.end(&tenant()).await.unwrap();
    assert!(is_gone(&nodes[0]));
    until_held(&nodes, 0).await;
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
    let wait = async {
        while !nodes[2..].iter().all(|node| node.registry.has("agent")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
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
    let wait = async {
        while count() < 1.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
    assert!(!nodes[1].registry.has("agent"));
}

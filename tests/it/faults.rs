//! Five nodes, real processes, and what befalls them while calls go on: killed, frozen, restarted one after another,
//! slow. docs/faults.md has the table of all faults and the tests that hold them; those that need root are in
//! `tests/cluster/run`.

use std::collections::BTreeSet;
use std::time::Duration;

use aop_tests::load::{Called, faults};
use aop_tests::zone::{
    again, join_arguments, load, node_of, options, replicas, until_alive, until_replicas,
    until_same_registry, until_state, until_tool, zone,
};
use aop_tests::{CallFault, Host, HostOptions, Link, Load, eventually};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

const NODES: usize = 5;
/// Callers of each kind of tool: more than there are replicas.
const CALLERS: usize = 4;
/// Calls before and after something happens.
const SOME: usize = 40;

/// An agent on three nodes whose tool may be repeated.
const REPEATABLE: &str =
    "replicas = 3\nbalance = \"round_robin\"\n[tools.echo]\nidempotent = true\n";
/// The same for one whose tool runs once at most.
const ONCE: &str = "replicas = 3\nbalance = \"round_robin\"\n";

/// Calls of a tool that may be repeated.
fn repeatable(entries: &[&Host]) -> Load {
    Load::start(entries, CALLERS, "echo_echo", json!({ "text": "still here" }))
}

/// Calls of a tool that may not, long enough to be under way when something happens.
fn once(entries: &[&Host]) -> Load {
    Load::start(entries, CALLERS, "faults_sleep", json!({ "milliseconds": 50 }))
}

async fn both_agents(hosts: &[Host]) {
    load(&hosts[0], "echo", REPEATABLE, &[]).await;
    load(&hosts[0], "faults", ONCE, &[]).await;
    for host in hosts {
        for (agent, tool) in [("echo", "echo_echo"), ("faults", "faults_sleep")] {
            until_tool(host, tool).await;
            until_replicas(host, agent, 3).await;
        }
    }
}

fn none_failed(calls: &[Called]) {
    let failed = faults(calls);
    assert!(failed.is_empty(), "{} of {} calls failed: {failed:?}", failed.len(), calls.len());
}

/// Waits until a node knows so many replicas, or more while some are moved.
async fn until_at_least(host: &Host, agent: &str, count: usize) {
    eventually(&format!("{agent} has {count} replicas again"), || async {
        (replicas(host, agent).await.len() >= count).then_some(())
    })
    .await;
}

fn all_but(at: usize, hosts: &[Host]) -> Vec<&Host> {
    let others = hosts.iter().enumerate().filter(|(number, _)| *number != at);
    others.map(|(_, host)| host).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_k_of_k_and_one_replicas_fails_only_what_ran_there_and_cannot_be_repeated() {
    let mut hosts = zone(NODES).await;
    both_agents(&hosts).await;
    // Two of three replicas of the one that is never repeated; the calls enter at a node that lives on.
    let holders = replicas(&hosts[0], "faults").await;
    let mut victims = Vec::new();
    for (at, host) in hosts.iter().enumerate().skip(1) {
        if victims.len() < 2 && holders.contains(&node_of(host).await) {
            victims.push(at);
        }
    }
    assert_eq!(victims.len(), 2, "{holders:?}");
    let (safe, unsafe_) = (repeatable(&[&hosts[0]]), once(&[&hosts[0]]));
    let mut killed = Vec::new();
    for at in victims.into_iter().rev() {
        safe.goes_on_for(SOME).await;
        unsafe_.goes_on_for(SOME).await;
        let mut victim = hosts.remove(at);
        killed.push(node_of(&victim).await);
        victim.kill();
    }
    safe.goes_on_for(SOME).await;
    unsafe_.goes_on_for(SOME).await;
    for host in &hosts {
        until_alive([host], NODES - 2).await;
        until_at_least(host, "echo", 3).await;
        until_at_least(host, "faults", 3).await;
    }
    none_failed(&safe.stop().await);
    let calls = unsafe_.stop().await;
    let failed = faults(&calls);
    // Each caller has one call under way, so it can lose one with each node.
    assert!(failed.len() <= CALLERS * killed.len(), "{} of {}", failed.len(), calls.len());
    for CallFault { code, message } in failed {
        assert_eq!(code, "unavailable", "{message}");
        assert!(message.contains("whether it ran is not known"), "{message}");
        assert!(killed.iter().any(|node| message.contains(node.as_str())), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_of_five_is_ejected_and_its_calls_end_elsewhere_in_time() {
    let hosts = zone(NODES).await;
    let settings = format!("timeout = \"20s\"\n{REPEATABLE}");
    load(&hosts[0], "echo", &settings, &[]).await;
    for host in &hosts {
        until_tool(host, "echo_echo").await;
    }
    let holders = until_replicas(&hosts[0], "echo", 3).await;
    let (mut at, mut node) = (0, String::new());
    for (number, host) in hosts.iter().enumerate().skip(1) {
        let id = node_of(host).await;
        if holders.contains(&id) {
            (at, node) = (number, id);
        }
    }
    let others = all_but(at, &hosts);
    let calls = repeatable(&others);
    calls.goes_on_for(SOME).await;
    hosts[at].signal(Signal::STOP);
    for host in &others {
        until_state(host, &node, "silent").await;
    }
    calls.goes_on_for(SOME).await;
    hosts[at].signal(Signal::CONT);
    until_alive(&hosts, NODES).await;
    calls.goes_on_for(SOME).await;
    none_failed(&calls.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_call() {
    let mut hosts = zone(NODES).await;
    both_agents(&hosts).await;
    let all: Vec<_> = hosts.iter().collect();
    let loads = [repeatable(&all), once(&all)];
    let mut ended = Vec::new();
    for at in 0..NODES {
        let others = all_but(at, &hosts);
        for load in &loads {
            load.goes_on_for(SOME).await;
            // New calls enter elsewhere. Those that are under way here end here, and what others pass on goes on.
            load.enter_at(&others);
        }
        hosts[at].terminate();
        assert!(hosts[at].ended().await.0.success());
        let back = Host::start(again(&hosts[at])).await;
        ended.push(std::mem::replace(&mut hosts[at], back));
        until_alive(&hosts, NODES).await;
        for host in &hosts {
            for (agent, tool) in [("echo", "echo_echo"), ("faults", "faults_sleep")] {
                until_tool(host, tool).await;
                until_at_least(host, agent, 3).await;
            }
        }
        for load in &loads {
            load.enter_at(&hosts.iter().collect::<Vec<_>>());
        }
    }
    for load in loads {
        load.goes_on_for(SOME).await;
        let calls = load.stop().await;
        none_failed(&calls);
        assert!(calls.len() > SOME * NODES);
    }
    until_same_registry(&hosts.iter().collect::<Vec<_>>()).await;
}

/// A node that others reach over a link.
async fn behind_a_link(member: &Host) -> (Link, TempDir, Host) {
    let (link, data) = (Link::open(Duration::ZERO).await, TempDir::new().expect("a directory"));
    let config = format!(
        "[cluster]\nlisten = \"127.0.0.1:0\"\nadvertise = \"{}\"\ngossip_interval = \"200ms\"\n",
        link.address()
    );
    let join = join_arguments(member, 1).await;
    let join: Vec<_> = join.iter().map(String::as_str).collect();
    let place = Some(data.path().to_owned());
    let options = HostOptions { config: Some(config), data: place, ..options(&join) };
    // It serves once others have reached it, which they do when it is known where it listens.
    let starting = tokio::task::spawn_blocking(move || Host::spawn(options));
    let file = data.path().join("cluster/endpoint");
    let listens = eventually("it says where it listens", || async {
        std::fs::read_to_string(&file).ok()?.trim().parse().ok()
    });
    link.lead_to(listens.await);
    let host = starting.await.expect("it starts");
    eventually("it is ready", || async { host.is_ready().await.then_some(()) }).await;
    (link, data, host)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_node_is_shut_out_and_the_others_go_on_as_if_nothing_were() {
    let mut hosts = zone(NODES - 1).await;
    let (link, _data, slow) = behind_a_link(&hosts[0]).await;
    let node = node_of(&slow).await;
    hosts.push(slow);
    until_alive(&hosts, NODES).await;
    let settings = format!("timeout = \"30s\"\n{}", REPEATABLE.replace('3', "5"));
    load(&hosts[0], "echo", &settings, &[]).await;
    load(&hosts[1], "faults", "", &[]).await;
    until_replicas(&hosts[0], "echo", NODES).await;
    until_tool(&hosts[0], "faults_count").await;

    let calls = repeatable(&[&hosts[0]]);
    calls.goes_on_for(SOME).await;
    link.delay_calls(Duration::from_secs(4));
    let shut = async |host: &Host| host.metrics().await.value("aop_breakers_open").unwrap_or(0.0);
    eventually("its breaker opens", || async { (shut(&hosts[0]).await >= 1.0).then_some(()) })
        .await;
    let broken = async |host: &Host| {
        host.metrics().await.value("aop_forwarded_calls_broken").expect("it is counted")
    };
    let before = broken(&hosts[0]).await;
    // Another tool, on another node, while the breaker is open: it is nobody's business.
    let others = Load::start(&[&hosts[0]], CALLERS, "faults_count", json!({}));
    others.goes_on_for(10 * SOME).await;
    calls.goes_on_for(10 * SOME).await;
    // A fifth of the calls would be its turn. What is tried is those that find out whether it works again, and
    // what was under way when the breaker opened.
    let tried = broken(&hosts[0]).await - before;
    assert!(tried <= 10.0, "{tried} calls were given to a slow node");
    let states = aop_tests::zone::cluster(&hosts[0]).await;
    let members = states["members"].as_array().expect("there are members");
    let member = members.iter().find(|member| member["node"] == node.as_str());
    assert_eq!(member.expect("it is one")["state"], "alive", "slow is not silent");
    none_failed(&others.stop().await);

    link.delay_calls(Duration::ZERO);
    let served = async |host: &Host| host.metrics().await.value("aop_peer_calls_served");
    let so_far = served(&hosts[NODES - 1]).await;
    eventually("it gets calls again", || async {
        (served(&hosts[NODES - 1]).await > so_far && shut(&hosts[0]).await == 0.0).then_some(())
    })
    .await;
    none_failed(&calls.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_nodes_that_all_stop_and_start_again_have_lost_nothing() {
    let mut hosts = zone(NODES).await;
    both_agents(&hosts).await;
    let before: BTreeSet<_> = replicas(&hosts[0], "echo").await.into_iter().collect();
    for host in &hosts {
        host.terminate();
    }
    for host in &mut hosts {
        host.ended().await;
    }
    let mut back = Vec::new();
    for host in hosts.iter().rev() {
        back.push(Host::start(again(host)).await);
    }
    until_alive(&back, NODES).await;
    for host in &back {
        for (agent, tool) in [("echo", "echo_echo"), ("faults", "faults_sleep")] {
            until_tool(host, tool).await;
            until_replicas(host, agent, 3).await;
        }
        assert_eq!(host.mcp().call("echo_echo", json!({ "text": "x" })).await.value(), "x");
    }
    let after: BTreeSet<_> = replicas(&back[0], "echo").await.into_iter().collect();
    assert_eq!(after, before, "the same nodes are chosen again");
    until_same_registry(&back.iter().collect::<Vec<_>>()).await;
}

//! What a zone costs and gains: `cargo bench --bench zone [-- SECTION…]`.
//!
//! Sections: `forwarded` (a call on another node beside the same call where it is), `pair` (two nodes of a zone beside
//! two hosts of none), `waiting` (calls that wait in the host, on one to five nodes: equations 11 and 12 of the
//! paper), `kill` (the first calls after kill -9, and when failure detection notices). Everything is on loopback and
//! shares the cores with the load generator, `aop bench`. docs/benchmarks.md keeps the results.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use aop_tests::zone::{
    cluster, join_arguments, load, node_of, replicas, until_alive, until_replicas, until_tool,
};
use aop_tests::{AgentsDirectory, Host, HostOptions, aop_binary, eventually};
use serde_json::{Value, json};

/// Turns; each is shown, so that noise is seen.
const ROUNDS: usize = 3;
const HI: &str = r#"{"text":"hi"}"#;

/// As in production: nothing is faster than the defaults.
fn options(arguments: &[String]) -> HostOptions {
    let mut options = HostOptions {
        config: Some("[cluster]\nlisten = \"127.0.0.1:0\"\n".to_owned()),
        ..HostOptions::default()
    };
    options.arguments.extend(arguments.iter().cloned());
    options
}

async fn zone(count: usize) -> Vec<Host> {
    let first = Host::start(options(&[])).await;
    let join = join_arguments(&first, count).await;
    let mut hosts = vec![first];
    for _ in 1..count {
        hosts.push(Host::start(options(&join)).await);
    }
    until_alive(&hosts, count).await;
    hosts
}

/// What `aop bench` found.
#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
}

async fn bench(
    host: &Host,
    tool: &str,
    arguments: &str,
    connections: usize,
    calls: usize,
) -> Figures {
    let running = tokio::process::Command::new(aop_binary())
        .args(["bench", &host.url(""), tool, arguments, "--json"])
        .args(["-c", &connections.to_string(), "-n", &calls.to_string()])
        .stdin(Stdio::null())
        .output();
    let output = running.await.expect("aop runs");
    let report: Value = serde_json::from_slice(&output.stdout).expect("it reports JSON");
    assert_eq!(report["errors"], 0, "{report}");
    let number = |key: &str| report[key].as_f64().expect("a number");
    Figures { rate: number("calls_per_second"), p50_ms: number("p50_ms"), p99_ms: number("p99_ms") }
}

fn verdict(holds: bool) -> &'static str {
    if holds { "kept" } else { "MISSED" }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn forwarded() {
    println!("forwarded: echo at its own node and through another one, one connection");
    let hosts = zone(2).await;
    load(&hosts[1], "echo", "", &[]).await;
    for host in &hosts {
        until_tool(host, "echo_echo").await;
    }
    for host in &hosts {
        bench(host, "echo_echo", HI, 1, 3_000).await;
    }
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let here = bench(&hosts[1], "echo_echo", HI, 1, 10_000).await;
        let there = bench(&hosts[0], "echo_echo", HI, 1, 10_000).await;
        println!(
            "  round {round}: local p50 {:.3} ms, p99 {:.3} ms   forwarded p50 {:.3} ms, p99 {:.3} ms = {:.2} ×",
            here.p50_ms,
            here.p99_ms,
            there.p50_ms,
            there.p99_ms,
            there.p50_ms / here.p50_ms
        );
        ratios.push(there.p50_ms / here.p50_ms);
    }
    let ratio = median(ratios);
    println!("  goal ≤ 2 ×: {ratio:.2} ×, {}", verdict(ratio <= 2.0));
    for connections in [16, 64] {
        let here = bench(&hosts[1], "echo_echo", HI, connections, 60_000).await;
        let there = bench(&hosts[0], "echo_echo", HI, connections, 60_000).await;
        println!(
            "  c = {connections}: local {:.0}/s   forwarded {:.0}/s = {:.2} ×",
            here.rate,
            there.rate,
            there.rate / here.rate
        );
    }
}

async fn pair() {
    println!("pair: both hosts under load at once, each with its own echo");
    let agents = AgentsDirectory::new().with("echo");
    let served =
        |options: HostOptions| HostOptions { agents: vec![agents.path().to_owned()], ..options };
    let alone = [
        Host::start(served(HostOptions::default())).await,
        Host::start(served(HostOptions::default())).await,
    ];
    let first = Host::start(served(options(&[]))).await;
    let join = join_arguments(&first, 1).await;
    let zone = [first, Host::start(served(options(&join))).await];
    until_alive(&zone, 2).await;
    let both = async |hosts: &[Host; 2], calls| {
        let (one, two) = tokio::join!(
            bench(&hosts[0], "echo_echo", HI, 8, calls),
            bench(&hosts[1], "echo_echo", HI, 8, calls)
        );
        one.rate + two.rate
    };
    for hosts in [&alone, &zone] {
        both(hosts, 5_000).await;
    }
    let mut ratios = Vec::new();
    for round in 1..=2 * ROUNDS {
        // Whoever comes second meets a warmer machine, so the order changes.
        let (unclustered, clustered) = if round % 2 == 0 {
            (both(&alone, 40_000).await, both(&zone, 40_000).await)
        } else {
            let clustered = both(&zone, 40_000).await;
            (both(&alone, 40_000).await, clustered)
        };
        let ratio = clustered / unclustered;
        println!("  round {round}: {unclustered:.0}/s   in a zone {clustered:.0}/s = {ratio:.2} ×");
        ratios.push(ratio);
    }
    let ratio = median(ratios);
    println!("  goal ≥ 0.95 ×: {ratio:.2} ×, {}", verdict(ratio >= 0.95));
}

/// Calls that one node runs at one time, and how long each waits in the host.
const PLACES: usize = 32;
const WAIT_MS: usize = 100;

async fn waiting() {
    println!(
        "waiting: each call waits {WAIT_MS} ms, each node runs {PLACES} at a time, all enter at one node"
    );
    let hosts = zone(5).await;
    let arguments = json!({ "milliseconds": WAIT_MS }).to_string();
    let mut first = None;
    for count in 1..=hosts.len() {
        let settings = format!(
            "replicas = {count}\nbalance = \"least_connections\"\nconcurrency = {PLACES}\nqueue = 1000\n"
        );
        load(&hosts[0], "faults", &settings, &[]).await;
        eventually("the replicas are where they should be", || async {
            for host in &hosts {
                if replicas(host, "faults").await.len() != count {
                    return None;
                }
            }
            Some(())
        })
        .await;
        // A few more than there are places, so that none is empty.
        let connections = count * (PLACES + 4);
        bench(&hosts[0], "faults_sleep", &arguments, connections, connections).await;
        let calls = 100 * PLACES * count;
        let rate = bench(&hosts[0], "faults_sleep", &arguments, connections, calls).await.rate;
        let one = *first.get_or_insert(rate);
        let nodes = f64::from(u32::try_from(count).expect("few"));
        let scaled = rate / one;
        println!(
            "  n = {count}: {rate:.0}/s = {scaled:.2} × = {:.2} n; goal ≥ 0.9 n: {}",
            scaled / nodes,
            verdict(scaled >= 0.9 * nodes)
        );
        // What runs beyond its places says nothing of how places add up.
        let most = 1000 * PLACES * count / WAIT_MS;
        if rate > f64::from(u32::try_from(most).expect("few")) {
            println!("         more than the {most}/s that its places allow: they do not hold");
        }
    }
}

async fn kill() {
    println!(
        "kill: three nodes, two replicas, calls enter at the third while one replica is killed"
    );
    let mut hosts = zone(3).await;
    let settings = "replicas = 2\nbalance = \"round_robin\"\n[tools.echo]\nidempotent = true\n";
    load(&hosts[0], "echo", settings, &[]).await;
    let (mut ended, mut slowest, mut latest) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    for round in 1..=2 * ROUNDS {
        for host in &hosts {
            until_alive([host], 3).await;
            until_tool(host, "echo_echo").await;
        }
        let holders = until_replicas(&hosts[0], "echo", 2).await;
        let mut ids = Vec::new();
        for host in &hosts {
            ids.push(node_of(host).await);
        }
        let entry = ids.iter().position(|id| !holders.contains(id)).expect("one has none");
        let victim = ids.iter().position(|id| holders.contains(id)).expect("one has it");
        let mcp = hosts[entry].mcp();
        for _ in 0..50 {
            mcp.call("echo_echo", json!({ "text": "warm" })).await;
        }
        hosts[victim].kill();
        let killed = Instant::now();
        let mut worst = Duration::ZERO;
        for _ in 0..10 {
            let begun = Instant::now();
            assert_eq!(mcp.call("echo_echo", json!({ "text": "x" })).await.value(), "x");
            worst = worst.max(begun.elapsed());
        }
        eventually("it is ejected", || async {
            let status = cluster(&hosts[entry]).await;
            let members = status["members"].as_array()?;
            let found = members.iter().find(|member| member["node"] == *ids[victim]);
            found.is_none_or(|member| member["state"] != "alive").then_some(())
        })
        .await;
        let ejected = killed.elapsed();
        println!(
            "  round {round}: the slowest of the next ten calls {worst:.2?}, ejected after {ejected:.2?}"
        );
        (slowest, latest) = (slowest.max(worst), latest.max(ejected));
        let data = Some(hosts[victim].data().to_owned());
        let back = Host::start(HostOptions { data, ..options(&[]) }).await;
        ended.push(std::mem::replace(&mut hosts[victim], back));
    }
    let goals = (slowest <= Duration::from_millis(100), latest <= Duration::from_secs(5));
    println!("  goal ≤ 100 ms: {slowest:.2?}, {}", verdict(goals.0));
    println!("  goal ≤ 5 s: {latest:.2?}, {}", verdict(goals.1));
}

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wants = |section: &str| wanted.is_empty() || wanted.iter().any(|name| name == section);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        if wants("forwarded") {
            forwarded().await;
        }
        if wants("pair") {
            pair().await;
        }
        if wants("waiting") {
            waiting().await;
        }
        if wants("kill") {
            kill().await;
        }
    });
}

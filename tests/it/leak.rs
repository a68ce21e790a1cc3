//! Nothing is left behind: after many calls of every kind, no instance, no session, and no more
//! memory than after a tenth of them.
//!
//! `AOP_TEST_CALLS=100000 cargo test --release -p aop-tests leak` is the long run.

use aop_tests::{AgentsDirectory, Host, HostOptions};
use futures::StreamExt as _;
use serde_json::json;

/// Calls of the short run: enough to warm everything up and to see what grows by kilobytes.
const CALLS_DEFAULT: usize = 4000;
/// At one time.
const CONCURRENCY: usize = 16;

#[expect(clippy::disallowed_methods, reason = "how long a test runs is for whoever runs it to say")]
fn calls() -> usize {
    let wanted = std::env::var("AOP_TEST_CALLS").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(CALLS_DEFAULT)
}

/// One call of the mix. Every kind of end is in it.
async fn call(host: &Host, mcp: &aop_tests::Mcp, number: usize) {
    match number % 12 {
        0 => drop(mcp.call("faults_fail", json!({ "message": "no" })).await),
        1 => drop(mcp.call("faults_trap", json!({})).await),
        2 => drop(mcp.call("echo_echo", json!({ "text": 5 })).await),
        3 => drop(mcp.call("types_identity_strings", json!({ "value": vec!["a"; 50] })).await),
        4 => drop(mcp.call("asynchronous_numbers", json!({ "count": 10 })).await),
        5 => drop(mcp.request("tools/list", json!({})).await),
        6 => drop(mcp.request("tools/call", json!({ "name": "nobody", "arguments": {} })).await),
        7 => drop(mcp.post_bytes("{").header("mcp-method", "x").send().await),
        8 => drop(mcp.call("aop_discover", json!({ "query": "text" })).await),
        9 if number.is_multiple_of(5) => {
            let session = host.session().await;
            session.call("echo_echo", json!({ "text": "x" })).await;
            session.delete().await;
        }
        10 => {
            // Given up after a while: the guest is stopped, too.
            let call = mcp.call("faults_sleep", json!({ "milliseconds": 60_000 }));
            let _ = tokio::time::timeout(std::time::Duration::from_millis(2), call).await;
        }
        _ => drop(mcp.call("echo_echo", json!({ "text": "x".repeat(number % 1000) })).await),
    }
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let agents = AgentsDirectory::new()
        .with("echo")
        .with("types")
        .with("faults")
        .with("asynchronous")
        .with_settings("faults", "traceback = false\n");
    let mut options =
        HostOptions { agents: vec![agents.path().to_owned()], ..HostOptions::default() };
    options.arguments.extend(["--log-level".into(), "error".into()]);
    let host = Host::start(options).await;
    let mcp = host.mcp();
    let total = calls();
    let run = async |range: std::ops::Range<usize>| {
        let calls = futures::stream::iter(range.map(|number| call(&host, &mcp, number)));
        calls.buffer_unordered(CONCURRENCY).collect::<Vec<_>>().await;
        host.no_instances().await;
        host.metric("aop_mcp_sessions", 0.0).await;
        host.metric("aop_calls_open", 0.0).await;
        (host.resident_bytes(), host.metrics().await)
    };
    // The first tenth is the warm-up; a short one is not enough for the allocator to settle.
    let (before, metrics_before) = run(0..(total / 10).max(2000)).await;
    let (after, metrics_after) = run(0..total).await;
    let grown = after as f64 / before as f64;
    // 5 % is the contract of the long run; a short one is measured against noise.
    let allowed = if total >= 100_000 { 1.05 } else { 1.25 };
    assert!(grown <= allowed, "resident memory grew from {before} to {after} bytes ({grown:.3} ×)");
    assert_eq!(metrics_after.count(), metrics_before.count(), "no series was added by calling");
    let files = |metrics: &aop_tests::Scrape| {
        metrics.value("process_open_fds").expect("the host counts its files")
    };
    assert!(files(&metrics_after) <= files(&metrics_before) + 32.0, "files stay open");
}

//! SIGTERM: running calls finish, new ones are refused, and the host leaves with success.

use std::time::Duration;

use aop_tests::{AgentsDirectory, BOUND, Host, HostOptions, eventually, http_client, within};
use rustix::process::Signal;
use serde_json::{Value, json};

async fn sleeper(config: &str) -> (AgentsDirectory, Host) {
    let agents = AgentsDirectory::new()
        .with("faults")
        .with("echo")
        .with_settings("faults", "timeout = \"10m\"\n");
    let host = Host::start(HostOptions {
        agents: vec![agents.path().to_owned()],
        config: Some(config.into()),
        ..HostOptions::default()
    })
    .await;
    (agents, host)
}

#[tokio::test]
async fn a_running_call_finishes_and_new_ones_are_refused() {
    let (_agents, mut host) = sleeper("drain_grace = \"60s\"\n").await;
    let (mcp, other) = (host.mcp(), host.mcp());
    // A connection that is already open when the drain begins.
    assert_eq!(other.call("echo_echo", json!({ "text": "x" })).await.value(), "x");
    let call = mcp.call("faults_sleep", json!({ "milliseconds": 3000 }));
    let drain = async {
        host.metric("aop_instances_live", 1.0).await;
        host.terminate();
        eventually("it is not ready", || async {
            let ready = http_client().get(host.url("/readyz")).send().await.ok()?;
            (ready.status() == 503).then_some(())
        })
        .await;
        // Whether its connection is closed or the call is answered with a refusal, it does not run.
        eventually("new calls are refused", || async {
            let message = other.message(
                "tools/call",
                json!({ "name": "echo_echo", "arguments": { "text": "x" } }),
            );
            match other.post(&message).send().await {
                Err(_) => Some(()),
                Ok(response) => {
                    let refused = !response.status().is_success();
                    let text = response.text().await.unwrap_or_default();
                    (refused || text.contains("unavailable")).then_some(())
                }
            }
        })
        .await;
    };
    let (result, ()) = tokio::join!(call, drain);
    assert_eq!(result.value(), &Value::Null, "the running call finished");
    let (status, _) = within(BOUND, "the end of the host", host.ended()).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn an_idle_host_leaves_at_once_even_with_clients_connected() {
    let (_agents, mut host) = sleeper("drain_grace = \"10m\"\n").await;
    let session = host.session().await;
    let (_legacy, _modern) = (session.events().await, host.mcp().listen().await);
    let _idle = host.connect().await;
    host.terminate();
    let (status, _) = within(BOUND, "the end of an idle host", host.ended()).await;
    assert_eq!(status.code(), Some(0));
    // What the store wrote is in the database itself, so that a copy of that file is a backup.
    let log = std::fs::metadata(host.data().join("aop.sqlite-wal"));
    assert!(log.is_err() || log.is_ok_and(|log| log.len() == 0));
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_stopped() {
    let (_agents, mut host) = sleeper("drain_grace = \"300ms\"\n").await;
    let mcp = host.mcp();
    let request = mcp.message("tools/call", json!({ "name": "faults_spin", "arguments": {} }));
    let call = mcp.post(&request).send();
    let drain = async {
        host.metric("aop_instances_live", 1.0).await;
        host.terminate();
    };
    let (_, ()) = tokio::join!(call, drain);
    let (status, _) = within(BOUND, "the end of the host", host.ended()).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (_agents, mut host) = sleeper("drain_grace = \"10m\"\n").await;
    let mcp = host.mcp();
    let request = mcp.message("tools/call", json!({ "name": "faults_spin", "arguments": {} }));
    let call = mcp.post(&request).send();
    let drain = async {
        host.metric("aop_instances_live", 1.0).await;
        host.signal(Signal::INT);
        eventually("the host drains", || async {
            let ready = http_client().get(host.url("/readyz")).send().await;
            (!ready.is_ok_and(|ready| ready.status() == 200)).then_some(())
        })
        .await;
        host.signal(Signal::INT);
    };
    let (_, ()) =
        within(Duration::from_secs(30), "the drain", async { tokio::join!(call, drain) }).await;
    within(BOUND, "the end of the host", host.ended()).await;
}

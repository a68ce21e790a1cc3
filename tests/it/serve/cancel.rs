//! Whoever stops waiting stops the guest.

use aop_tests::{AgentsDirectory, Answer, Host};
use reqwest::Method;
use serde_json::{Value, json};

/// A host with a guest that runs for longer than any test.
async fn busy_host() -> (AgentsDirectory, Host) {
    let agents = AgentsDirectory::new()
        .with("faults")
        .with("asynchronous")
        .with_settings("faults", "timeout = \"10m\"\n")
        .with_settings("asynchronous", "timeout = \"10m\"\n");
    let host = Host::serve(agents.path()).await;
    (agents, host)
}

fn spin() -> Value {
    json!({ "name": "faults_spin", "arguments": {} })
}

/// Runs a request until the guest runs, then drops it.
async fn give_up<T: std::fmt::Debug>(host: &Host, request: impl Future<Output = T>) {
    tokio::select! {
        answer = request => panic!("a guest that never ends answered: {answer:?}"),
        () = host.metric("aop_instances_live", 1.0) => {}
    }
}

#[tokio::test]
async fn a_dropped_stateless_request_stops_the_guest() {
    let (_agents, host) = busy_host().await;
    let mcp = host.mcp();
    give_up(&host, mcp.request("tools/call", spin())).await;
    host.no_instances().await;
    give_up(
        &host,
        mcp.request(
            "tools/call",
            json!({ "name": "faults_sleep", "arguments": { "milliseconds": 600_000 } }),
        ),
    )
    .await;
    host.no_instances().await;
    give_up(
        &host,
        mcp.request(
            "tools/call",
            json!({ "name": "asynchronous_async_sleep", "arguments": { "milliseconds": 600_000 } }),
        ),
    )
    .await;
    host.no_instances().await;
    let cancelled = host.metrics().await.with("aop_calls", &[("code", "cancelled")]);
    assert_eq!(cancelled, Some(3.0));
}

#[tokio::test]
async fn a_dropped_request_with_progress_stops_the_guest() {
    let (_agents, host) = busy_host().await;
    let mcp = host.mcp();
    give_up(&host, mcp.call_with_progress("faults_spin", json!({}), "token")).await;
    host.no_instances().await;
}

#[tokio::test]
async fn a_dropped_request_of_a_session_stops_the_guest() {
    let (_agents, host) = busy_host().await;
    let session = host.session().await;
    give_up(&host, session.request("tools/call", spin())).await;
    host.no_instances().await;
    // The session goes on.
    let failed = session.call("faults_fail", json!({ "message": "no" })).await;
    assert_eq!(failed.code(), "guest_error");
}

#[tokio::test]
async fn a_cancelled_notification_stops_the_guest() {
    let (_agents, host) = busy_host().await;
    let session = host.session().await;
    let message = session.message("tools/call", spin());
    let call = session.post(&message).send();
    let cancel = async {
        host.metric("aop_instances_live", 1.0).await;
        let params = json!({ "requestId": message["id"], "reason": "changed my mind" });
        assert_eq!(session.notify("notifications/cancelled", params).await.status, 202);
        host.no_instances().await;
    };
    let (answer, ()) = tokio::join!(call, cancel);
    // The answer to a cancelled request may be an error or nothing at all, but no result.
    if let Ok(response) = answer {
        let answer = Answer::read(response).await;
        assert!(
            answer.messages.iter().all(|message| message.get("result").is_none()),
            "{}",
            answer.text
        );
    }
}

#[tokio::test]
async fn a_deleted_session_stops_its_guests() {
    let (_agents, host) = busy_host().await;
    let session = host.session().await;
    let message = session.message("tools/call", spin());
    let call = session.post(&message).send();
    let delete = async {
        host.metric("aop_instances_live", 1.0).await;
        assert!(session.delete().await < 300);
        host.no_instances().await;
    };
    let (_, ()) = tokio::join!(call, delete);
    host.metric("aop_mcp_sessions", 0.0).await;
    let late = session.http(Method::POST).header("content-type", "application/json");
    let late = late
        .body(session.message("ping", json!({})).to_string())
        .send()
        .await
        .expect("the host answers");
    assert_eq!(late.status(), 404, "a session that ended is not found");
}

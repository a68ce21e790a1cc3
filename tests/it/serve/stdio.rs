//! MCP over standard input and output.

use aop_tests::{AgentsDirectory, Stdio};
use serde_json::json;

#[tokio::test]
async fn a_session_over_pipes() {
    let agents = AgentsDirectory::new().with("echo");
    let mut stdio = Stdio::start(agents.path());
    let initialized = stdio.initialize().await;
    assert_eq!(initialized["protocolVersion"], "2025-11-25");
    let called = stdio
        .request("tools/call", json!({ "name": "echo_echo", "arguments": { "text": "x" } }))
        .await;
    assert_eq!(called["result"]["structuredContent"], json!({ "success": true, "result": "x" }));
    let unknown = stdio.request("tools/call", json!({ "name": "nobody", "arguments": {} })).await;
    assert_eq!(unknown["error"]["code"], -32602);
    stdio.close();
    assert_eq!(stdio.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_stateless_revision_over_pipes() {
    let agents = AgentsDirectory::new().with("echo");
    let mut stdio = Stdio::start(agents.path());
    let discovered = stdio.request_stateless("server/discover", json!({})).await;
    assert!(discovered["result"]["supportedVersions"].is_array(), "{discovered}");
    let params = json!({ "name": "echo_echo", "arguments": { "text": "x" } });
    let called = stdio.request_stateless("tools/call", params).await;
    assert_eq!(called["result"]["structuredContent"]["result"], "x");
    stdio.close();
    assert_eq!(stdio.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_end_of_input_stops_running_guests() {
    let agents =
        AgentsDirectory::new().with("faults").with_settings("faults", "timeout = \"10m\"\n");
    let mut stdio = Stdio::start(agents.path());
    stdio.initialize().await;
    stdio.begin("tools/call", json!({ "name": "faults_spin", "arguments": {} })).await;
    stdio.close();
    assert_eq!(stdio.ended().await.code(), Some(0), "it does not wait for ten minutes");
}

#[tokio::test]
async fn what_was_piped_in_is_answered_before_the_end() {
    let agents = AgentsDirectory::new().with("echo");
    let mut stdio = Stdio::start(agents.path());
    stdio.initialize().await;
    for number in 0..50 {
        stdio
            .begin(
                "tools/call",
                json!({ "name": "echo_echo", "arguments": { "text": number.to_string() } }),
            )
            .await;
    }
    stdio.close();
    let mut answers = 0;
    while let Some(message) = stdio.next().await {
        answers += usize::from(message["result"]["structuredContent"]["success"] == true);
    }
    assert_eq!(answers, 50);
}

#[tokio::test]
async fn a_cancelled_notification_stops_the_guest_over_pipes() {
    let agents = AgentsDirectory::new()
        .with("faults")
        .with("echo")
        .with_settings("faults", "timeout = \"10m\"\n");
    let mut stdio = Stdio::start(agents.path());
    stdio.initialize().await;
    let id = stdio.begin("tools/call", json!({ "name": "faults_spin", "arguments": {} })).await;
    let cancel = json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id, "reason": "enough" },
    });
    stdio.send(&cancel.to_string()).await;
    let called = stdio
        .request("tools/call", json!({ "name": "echo_echo", "arguments": { "text": "x" } }))
        .await;
    assert_eq!(called["result"]["structuredContent"]["result"], "x");
}

#[tokio::test]
async fn bad_lines_are_answered_and_survived() {
    let agents = AgentsDirectory::new().with("echo");
    let mut stdio = Stdio::start(agents.path());
    stdio.initialize().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let long = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "x".repeat(5 << 20));
    for line in ["not json", "{", "[]", "42", r#"{"jsonrpc":"1.0","id":1}"#, &deep, &long, ""] {
        stdio.send(line).await;
    }
    let called = stdio
        .request("tools/call", json!({ "name": "echo_echo", "arguments": { "text": "x" } }))
        .await;
    assert_eq!(called["result"]["structuredContent"]["result"], "x", "the server goes on");
}

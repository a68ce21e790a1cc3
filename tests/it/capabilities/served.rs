//! The same through a host in a process of its own, where nothing is played: agents that call each other,
//! remember across a restart, and are refused what their files do not grant.

use aop_tests::{AgentsDirectory, Host, HostOptions, Mcp};
use serde_json::{Value, json};

/// Agents `a` and `b`, of which `a` may call `b`, and a variable that it may see.
fn agents() -> AgentsDirectory {
    AgentsDirectory::new()
        .with_as("capabilities", "a")
        .with_settings("a", "[policy]\ntools = [\"b_*\"]\nhttp = [\"https://localhost.example\"]\n")
        .with_as("capabilities", "b")
        .with_as("config", "c")
        .with_settings("c", "[policy]\nenvironment = [\"AGENTS_SEE_THIS\"]\n")
}

async fn started(agents: &AgentsDirectory, data: &std::path::Path) -> Host {
    Host::start(HostOptions {
        agents: vec![agents.path().to_owned()],
        data: Some(data.to_owned()),
        environment: vec![
            ("AGENTS_SEE_THIS".to_owned(), "yes".to_owned()),
            ("AGENTS_DO_NOT".to_owned(), "secret".to_owned()),
        ],
        ..HostOptions::default()
    })
    .await
}

async fn value(mcp: &Mcp, tool: &str, arguments: Value) -> Value {
    mcp.call(tool, arguments).await.value().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_grants_what_the_files_of_its_agents_say() {
    let agents = agents();
    let data = tempfile::tempdir().expect("a directory can be made");
    let mut host = started(&agents, data.path()).await;
    let mcp = host.mcp();
    let found = value(&mcp, "a_discover", json!({ "query": "echo" })).await;
    assert_eq!(found[0], "b_echo");
    let echo = json!({ "tool": "b_echo", "arguments": "{\"n\":7}" });
    assert_eq!(value(&mcp, "a_call", echo).await, "7");
    let each = value(&mcp, "a_call_many", json!({ "tool": "b_echo", "count": 100 })).await;
    assert_eq!(each[99], json!({ "tag": "ok", "val": "99" }));
    let denied = mcp.call("b_call", json!({ "tool": "a_echo", "arguments": "{}" })).await;
    assert_eq!(denied.code(), "guest_error");
    assert!(denied.text().starts_with("permission_denied"), "{}", denied.text());
    assert!(host.log().contains("`tools` under `[policy]`"), "the operator is told the setting");

    let environment = value(&mcp, "c_environment", json!({})).await;
    assert_eq!(environment, json!([["AGENTS_SEE_THIS", "yes"]]));
    for authority in ["localhost.example", "127.0.0.1", "other.example"] {
        let fetched = mcp.call("a_fetch", json!({ "authority": authority, "path": "/" })).await;
        assert_eq!(fetched.code(), "guest_error", "{authority}: {}", fetched.text());
    }
    let model = mcp.call("a_complete", json!({ "text": "Hello", "image_bytes": 0 })).await;
    assert_eq!(model.text(), "denied: no model is bound to the agent");

    let entry = json!({ "bucket": "agent", "key": "k", "value": "kept" });
    assert_eq!(value(&mcp, "a_remember", entry).await, Value::Null);
    host.terminate();
    host.ended().await;
    let host = started(&agents, data.path()).await;
    let kept = json!({ "bucket": "agent", "key": "k" });
    assert_eq!(value(&host.mcp(), "a_recall", kept.clone()).await, "kept");
    assert_eq!(value(&host.mcp(), "b_recall", kept).await, Value::Null);
    let keys = value(&host.mcp(), "a_keys", json!({ "bucket": "agent" })).await;
    assert_eq!(keys, json!([1, 1]));
    assert_eq!(
        value(&host.mcp(), "a_race", json!({ "bucket": "agent", "key": "k" })).await,
        "theirs"
    );
    assert_eq!(
        value(&host.mcp(), "a_count", json!({ "bucket": "agent", "key": "n" })).await,
        "3 1"
    );
}

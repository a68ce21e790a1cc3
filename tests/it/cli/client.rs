//! The commands that talk to a running host.

use aop_tests::{AgentsDirectory, Aop, Host};
use serde_json::{Value, json};

use super::path;

#[tokio::test]
async fn tools_are_listed() {
    let agents = AgentsDirectory::new().with("echo").with("faults");
    let host = Host::serve(agents.path()).await;
    host.aop(&["tools"]).run().await.code(0).prints(&[
        "echo_echo",
        "faults_trap",
        "Execute `unreachable`.",
    ]);
    let tools = host.aop(&["tools", "--json"]).run().await.code(0).json();
    assert!(tools.to_string().contains("faults_spin"), "{tools}");
}

#[tokio::test]
async fn a_call_takes_json_or_pairs() {
    let agents = AgentsDirectory::new().with("types").with("echo");
    let host = Host::serve(agents.path()).await;
    let finished =
        host.aop(&["call", "echo_echo", r#"{"text": "hi"}"#, "--json"]).run().await.code(0);
    assert_eq!(finished.stdout, "{\"success\":true,\"result\":\"hi\"}\n");
    let finished = host.aop(&["call", "echo_echo", "text=hi there"]).run().await.code(0);
    assert_eq!(finished.stdout, "hi there\n");
    let finished = host
        .aop(&["call", "types_identity_u64", "value=18446744073709551615", "--json"])
        .run()
        .await;
    assert_eq!(finished.code(0).json()["result"], "18446744073709551615");
    // A string parameter takes what looks like a number as text.
    let finished = host
        .aop(&["call", "types_concat", "first=1", "second=2", "repeat_count=2", "--json"])
        .run()
        .await;
    assert_eq!(finished.code(0).json()["result"], "1212");
}

#[tokio::test]
async fn a_call_fails_with_the_right_exit_code() {
    let agents = AgentsDirectory::new().with("faults");
    let host = Host::serve(agents.path()).await;
    let envelope =
        host.aop(&["call", "faults_fail", "message=no", "--json"]).run().await.code(1).json();
    assert_eq!(envelope["code"], "guest_error");
    let envelope = host.aop(&["call", "faults_fail", "{}", "--json"]).run().await.code(1).json();
    assert_eq!(envelope["code"], "invalid_arguments");
    host.aop(&["call", "faults_fail", "message=no"])
        .run()
        .await
        .code(1)
        .complains(&["no", "guest_error"]);
    let finished = host.aop(&["call", "nobody", "{}"]).run().await.code(2);
    finished.complains(&["nobody"]);
    host.aop(&["call", "faults_fail", "{oops"]).run().await.code(2).complains(&["JSON"]);
}

#[tokio::test]
async fn a_host_that_is_not_there_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    for command in [&["tools"][..], &["call", "echo_echo"], &["agent", "list"]] {
        let finished = Aop::new(&[command, &["--url", &url]].concat()).run().await;
        assert!(matches!(finished.status.code(), Some(1 | 2)), "{finished:?}");
        finished.complains(&[&url, "aop serve"]);
    }
}

#[tokio::test]
async fn agents_are_loaded_shown_rolled_back_and_unloaded() {
    let agents = AgentsDirectory::new();
    let host = Host::serve(agents.path()).await;
    let echo = path("echo");
    let loaded =
        host.aop(&["agent", "load", &echo, "--name", "mine", "--json"]).run().await.code(0).json();
    assert_eq!(loaded["name"], "mine");
    assert_eq!(loaded["state"], "ACTIVE");
    let id = loaded["id"].clone();
    assert!(id.as_str().is_some_and(|id| id.as_bytes()[14] == b'7'), "a UUIDv7: {id}");
    assert_eq!(host.mcp().call("mine_echo", json!({ "text": "x" })).await.value(), "x");

    let loaded = host
        .aop(&["agent", "load", &path("types"), "--name", "mine", "--json"])
        .run()
        .await
        .code(0)
        .json();
    assert_eq!(loaded["revision"], 2);
    assert_eq!(loaded["id"], id, "the identity survives revisions");
    let shown = host.aop(&["agent", "show", "mine", "--json"]).run().await.code(0).json();
    assert_eq!(shown["revisions"].as_array().map(Vec::len), Some(2), "{shown}");

    let back = host.aop(&["agent", "rollback", "mine", "--json"]).run().await.code(0).json();
    assert_ne!(back["digest"], loaded["digest"]);
    assert_eq!(host.mcp().call("mine_echo", json!({ "text": "back" })).await.value(), "back");

    host.aop(&["agent", "list"]).run().await.code(0).prints(&["mine", "ACTIVE"]);
    let list = host.aop(&["agent", "list", "--json"]).run().await.code(0).json();
    assert_eq!(list["agents"].as_array().map(Vec::len), Some(1), "{list}");

    let _ = host.aop(&["agent", "unload", "mine"]).run().await.code(0);
    let gone = host.aop(&["agent", "show", "mine"]).run().await;
    assert!(matches!(gone.status.code(), Some(1 | 2)), "{gone:?}");
    gone.complains(&["mine", "aop agent list"]);
    assert!(
        !host.mcp().tool_names().await.contains(&"mine_echo".to_owned()),
        "removed agents are not callable"
    );
}

#[tokio::test]
async fn what_cannot_be_loaded_is_refused_and_changes_nothing() {
    let agents = AgentsDirectory::new().with("echo");
    let host = Host::serve(agents.path()).await;
    let refused = host.aop(&["agent", "load", &path("types"), "--name", "echo"]).run().await;
    assert!(matches!(refused.status.code(), Some(1 | 2)), "{refused:?}");
    refused.complains(&["echo.wasm"]);
    let refused = host.aop(&["agent", "unload", "echo"]).run().await;
    assert!(matches!(refused.status.code(), Some(1 | 2)), "{refused:?}");
    refused.complains(&["echo.wasm"]);

    let text = agents.path().join("notes.txt");
    std::fs::write(&text, "(component)").expect("a file can be written");
    let refused =
        host.aop(&["agent", "load", &text.display().to_string(), "--name", "text"]).run().await;
    assert!(matches!(refused.status.code(), Some(1 | 2)), "{refused:?}");
    refused.complains(&["text"]);
    let names: Vec<Value> = host.agent("text").await.into_iter().collect();
    assert!(names.iter().all(|agent| agent["revision"].is_null()), "{names:?}");
    assert_eq!(host.mcp().call("echo_echo", json!({ "text": "x" })).await.value(), "x");
}

#[tokio::test]
async fn bench_measures_both_eras() {
    let agents = AgentsDirectory::new().with("echo");
    let host = Host::serve(agents.path()).await;
    for protocol in ["2026-07-28", "2025-11-25"] {
        let url = host.url("");
        let arguments = [
            "bench",
            &url,
            "echo_echo",
            r#"{"text": "x"}"#,
            "-c",
            "4",
            "-n",
            "200",
            "--json",
            "--protocol",
            protocol,
        ];
        let report = Aop::new(&arguments).run().await.code(0).json();
        let text = report.to_string();
        for word in ["p50", "p95", "p99", "max", "errors"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_eq!(report["errors"], 0, "{text}");
    }
    host.metric("aop_mcp_sessions", 0.0).await;
    let calls = host.metrics().await.with("aop_calls", &[("agent", "echo"), ("code", "ok")]);
    assert!(calls >= Some(400.0), "{calls:?}");
}

//! `aop demo`: what a person sees first. It builds the examples, so it needs the machine's own Rust
//! toolchain; languages whose toolchains are missing are left out by it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use aop_tests::{BOUND, Mcp, PATIENCE, aop_binary, http_client, repository, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

/// Building the examples for the first time takes minutes on a small machine.
const BUILD_PATIENCE: Duration = Duration::from_secs(600);

#[tokio::test]
async fn the_demo_serves_the_examples_and_what_it_prints_works() {
    let before = kept();
    let mut demo = Command::new(aop_binary());
    demo.current_dir(repository())
        .args(["demo", "--listen", "127.0.0.1:0"])
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Shown when the test fails.
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let mut demo = demo.spawn().expect("aop starts");
    let mut lines = BufReader::new(demo.stdout.take().expect("standard output is piped")).lines();
    let mut shown = Vec::new();
    let command = within(BUILD_PATIENCE, "the demo's last words", async {
        while let Some(line) = lines.next_line().await.expect("standard output is text") {
            if line.contains(" call ") && line.contains("--url") {
                return line;
            }
            shown.push(line);
        }
        panic!("the demo ended:\n{}", shown.join("\n"));
    })
    .await;
    let shown = shown.join("\n");
    for text in ["textkit_summarize", "Dashboard", "mcpServers", "/mcp"] {
        assert!(shown.contains(text), "{text} is shown:\n{shown}");
    }
    // A person pastes the line into a shell.
    let pasted = Command::new("sh").current_dir(repository()).args(["-c", &command]).output();
    let pasted =
        within(BOUND, "the answer to the pasted line", pasted).await.expect("a shell starts");
    assert!(pasted.status.success(), "{command}:\n{}", String::from_utf8_lossy(&pasted.stderr));
    assert!(!pasted.stdout.is_empty(), "{command} answers");

    let url =
        shown.split_whitespace().find(|word| word.starts_with("http") && word.ends_with("/mcp"));
    check_examples(&url.expect("the endpoint is shown").replace("/mcp", "")).await;

    let pid = demo.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    kill_process(pid.expect("the demo runs"), Signal::INT).expect("the demo can be interrupted");
    let status =
        within(BOUND, "the end of the demo", demo.wait()).await.expect("it can be waited for");
    assert_eq!(status.code(), Some(0));
    assert_eq!(kept(), before, "the state of a demo without a port of its own is gone");
}

/// What demos left behind.
fn kept() -> BTreeSet<OsString> {
    let Ok(entries) = std::fs::read_dir(repository().join("target/demo")) else {
        return BTreeSet::new();
    };
    entries.map(|entry| entry.expect("a readable entry").file_name()).collect()
}

/// The examples do something that a person wants; whatever languages were built, all of it works.
async fn check_examples(url: &str) {
    let answer =
        http_client().get(format!("{url}/api/v1/agents")).send().await.expect("the demo answers");
    let list: Value = serde_json::from_str(&answer.text().await.expect("a list")).expect("JSON");
    let agents = list["agents"].as_array().expect("agents");
    for name in ["dates", "tabular", "textkit"] {
        assert!(agents.iter().any(|agent| agent["name"] == name), "{name}: {list}");
    }
    for agent in agents {
        let refused = agent["refused"].as_array().map_or(0, Vec::len);
        assert!(agent["state"] == "ACTIVE" && refused == 0, "{agent}");
    }
    let mcp = Mcp::new(format!("{url}/mcp"));
    for tool in mcp.tools().await {
        let described = tool["description"] != tool["signature"] && tool["description"].is_string();
        assert!(described, "{} says what it does", tool["name"]);
    }
    let day = mcp.call("dates_look_up", json!({ "date": "2026-11-20" })).await;
    assert_eq!((&day.value()["weekday"], &day.value()["iso_week"]), (&json!("friday"), &json!(47)));
    let table =
        mcp.call("tabular_convert", json!({ "data": "a,b\n1,2\n", "target_format": "json" })).await;
    assert!(table.value().as_str().is_some_and(|text| text.contains("\"a\"")), "{}", table.0);
    let data = json!({ "data": "fruit,price\napple,2\n" });
    let kept = mcp.call("tabular_dataset_open", data).await.value().clone();
    let more = json!({ "self": kept, "data": "price,fruit\n3,pear\n" });
    assert_eq!(mcp.call("tabular_dataset_append", more).await.value(), 2);
    let test = json!({ "column": "price", "test": { "tag": "greater_than", "val": "2" } });
    let dear = json!({ "self": kept, "selection": { "conditions": [test] } });
    let dear = mcp.call("tabular_dataset_query", dear).await;
    assert_eq!(dear.value()["rows"], json!([["pear", "3"]]), "{}", dear.0);
    let dropped = mcp.call("tabular_dataset_drop", json!({ "self": kept })).await;
    assert!(dropped.value().is_null(), "{}", dropped.0);
    let gone = mcp.call("tabular_dataset_describe", json!({ "self": kept })).await;
    assert_eq!(gone.code(), "invalid_arguments", "{}", gone.0);
    let hidden = mcp.call("textkit_redact", json!({ "text": "Mail ada@example.com." })).await;
    assert!(!hidden.text().contains("ada@"), "{}", hidden.0);
}

#[tokio::test]
async fn the_demo_says_when_its_port_is_taken() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let aop = aop_tests::Aop::new(&["demo", "--listen", &address]).directory(repository());
    let finished = aop.run().await;
    assert_ne!(finished.status.code(), Some(0));
    finished.complains(&[&address, "--listen"]);
}

#[tokio::test]
async fn the_demo_says_that_it_needs_a_checkout() {
    let elsewhere = aop_tests::AgentsDirectory::new();
    let copy = elsewhere.path().join("aop");
    // By another process: a program that this one has open for writing, be it in a child that another
    // test just forked, cannot be started.
    let copied = Command::new("cp").arg(aop_binary()).arg(&copy).status().await.expect("cp starts");
    assert!(copied.success(), "the binary can be copied");
    let output = Command::new(&copy)
        .current_dir(elsewhere.path())
        // Cargo tells a test, and so what it starts, where the checkout is.
        .env_remove("CARGO_MANIFEST_DIR")
        .args(["demo", "--listen", "127.0.0.1:0"])
        .kill_on_drop(true)
        .output();
    let output = within(PATIENCE, "the refusal", output).await.expect("aop starts");
    assert_ne!(output.status.code(), Some(0));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("checkout") || complaint.contains("repository"), "{complaint}");
}

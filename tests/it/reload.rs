//! A watched directory is hot, and what was loaded survives: swaps, broken files, rollbacks, restarts
//! and crashes.

mod durable;

use aop_tests::{AgentsDirectory, Host, eventually};
use serde_json::{Value, json};

/// A component whose only tool gives back a number.
fn number(number: u32) -> Vec<u8> {
    aop_tests::component(&format!(
        r#"(component
  (core module $m (func (export "get") (result i32) (i32.const {number})))
  (core instance $i (instantiate $m))
  (func (export "get") (result u32) (canon lift (core func $i "get"))))"#
    ))
}

/// The same with a tool more.
const TWO_TOOLS: &str = r#"(component
  (core module $m
    (func (export "get") (result i32) (i32.const 7))
    (func (export "other") (result i32) (i32.const 8)))
  (core instance $i (instantiate $m))
  (func (export "get") (result u32) (canon lift (core func $i "get")))
  (func (export "other") (result u32) (canon lift (core func $i "other"))))"#;

async fn get(host: &Host) -> Value {
    host.mcp().call("number_get", json!({})).await.value().clone()
}

/// Waits until the agent answers with a number.
async fn answers(host: &Host, expected: u32) {
    eventually(&format!("the agent answers {expected}"), || async {
        (get(host).await == expected).then_some(())
    })
    .await;
}

fn is_active(agent: &Value) -> bool {
    agent["state"] == "ACTIVE" && agent["error"].is_null()
}

#[tokio::test]
async fn files_are_added_replaced_and_removed() {
    let agents = AgentsDirectory::new();
    let host = Host::serve(agents.path()).await;
    assert!(host.agent("number").await.is_none());
    agents.put("number.wasm", &number(1));
    let added = host.agent_is("number", is_active).await;
    assert_eq!((get(&host).await, &added["revision"]), (json!(1), &json!(1)));
    assert_eq!(added["origin"]["kind"], "file");

    agents.put("number.wasm", &number(2));
    answers(&host, 2).await;
    let replaced = host.agent_is("number", is_active).await;
    assert_eq!((&replaced["revision"], &replaced["id"]), (&json!(2), &added["id"]));

    agents.remove("number.wasm");
    host.agent_is_gone("number").await;
    let gone =
        host.mcp().request("tools/call", json!({ "name": "number_get", "arguments": {} })).await;
    assert_eq!(gone.error_code(), -32602, "removed agents are not callable");
    host.no_instances().await;
}

#[tokio::test]
async fn a_file_that_is_written_slowly_is_loaded_once_it_is_whole() {
    use std::io::Write as _;
    let agents = AgentsDirectory::new();
    let host = Host::serve(agents.path()).await;
    let bytes = number(3);
    let mut file =
        std::fs::File::create(agents.path().join("number.wasm")).expect("a file can be made");
    for piece in bytes.chunks(16) {
        file.write_all(piece).expect("a file can be written");
        file.sync_data().expect("a file can be written");
    }
    host.agent_is("number", is_active).await;
    assert_eq!(get(&host).await, 3);
}

#[tokio::test]
async fn settings_are_hot_too() {
    let agents = AgentsDirectory::new().with("faults");
    let host = Host::serve(agents.path()).await;
    let sleep = json!({ "milliseconds": 200 });
    assert_eq!(host.mcp().call("faults_sleep", sleep.clone()).await.value(), &Value::Null);
    agents.put("faults.toml", b"timeout = \"50ms\"\n");
    host.agent_is("faults", |agent| agent["revision"] == 2 && is_active(agent)).await;
    assert_eq!(host.mcp().call("faults_sleep", sleep.clone()).await.code(), "deadline_exceeded");
    agents.put("faults.toml", b"timeout = 50\nmemroy = \"1MiB\"\n");
    let broken = host.agent_is("faults", |agent| agent["state"] == "ERROR").await;
    let error = broken["error"].as_str().expect("a reason");
    assert!(error.contains("timeout") && error.contains("memory"), "{error}");
    assert_eq!(
        host.mcp().call("faults_sleep", sleep.clone()).await.code(),
        "deadline_exceeded",
        "the old one serves"
    );
    agents.remove("faults.toml");
    host.agent_is("faults", is_active).await;
    assert_eq!(host.mcp().call("faults_sleep", sleep).await.value(), &Value::Null);
}

#[tokio::test]
async fn a_broken_file_leaves_the_old_revision_serving_and_says_why() {
    let agents = AgentsDirectory::new();
    agents.put("number.wasm", &number(1));
    let host = Host::serve(agents.path()).await;
    for (bytes, word) in [
        (&b"garbage"[..], "component"),
        (&aop_tests::component("(module)"), "component"),
        (b"", ""),
    ] {
        agents.put("number.wasm", bytes);
        let broken = host.agent_is("number", |agent| agent["state"] == "ERROR").await;
        let error = broken["error"].as_str().expect("a reason").to_owned();
        assert!(error.contains(word), "{error}");
        assert_eq!(get(&host).await, 1, "the old revision serves");
        host.aop(&["agent", "list"]).run().await.code(0).prints(&["number", "ERROR"]);
        agents.put("number.wasm", &number(1));
        host.agent_is("number", is_active).await;
    }
    let logged = host.log_lines().into_iter().any(|line| {
        line.to_string().contains("number")
            && matches!(line["level"].as_str(), Some("WARN" | "ERROR"))
    });
    assert!(logged, "the log says so, too");
    agents.put("number.wasm", &number(2));
    answers(&host, 2).await;
}

#[tokio::test]
async fn a_broken_file_from_the_start_is_shown_and_repaired() {
    let agents = AgentsDirectory::new().with("echo");
    agents.put("number.wasm", b"garbage");
    let host = Host::serve(agents.path()).await;
    host.agent_is("number", |agent| agent["state"] == "ERROR" && agent["id"].is_null()).await;
    assert_eq!(host.mcp().call("echo_echo", json!({ "text": "x" })).await.value(), "x");
    agents.put("number.wasm", &number(1));
    host.agent_is("number", is_active).await;
    assert_eq!(get(&host).await, 1);
}

#[tokio::test]
async fn while_a_component_compiles_the_old_revision_serves() {
    let agents = AgentsDirectory::new().with("echo");
    agents.put("number.wasm", &number(1));
    let host = Host::serve(agents.path()).await;
    // Seconds of work for the compiler.
    agents.put("number.wasm", &crate::hostile::bombs::huge_function(60_000));
    host.agent_is("number", |agent| agent["state"] == "INIT").await;
    let shown = host.agent("number").await.expect("it is listed");
    assert_eq!(
        (&shown["revision"], get(&host).await),
        (&json!(1), json!(1)),
        "the old revision serves"
    );
    assert_eq!(host.mcp().call("echo_echo", json!({ "text": "x" })).await.value(), "x");
    host.agent_is("number", |agent| agent["revision"] == 2 && is_active(agent)).await;
}

#[tokio::test]
async fn changes_of_the_list_reach_clients_of_both_eras() {
    let agents = AgentsDirectory::new();
    let host = Host::serve(agents.path()).await;
    let session = host.session().await;
    let (mut modern, mut legacy) = (host.mcp().listen().await, session.events().await);
    agents.put("number.wasm", &number(1));
    modern.next_of("notifications/tools/list_changed").await;
    legacy.next_of("notifications/tools/list_changed").await;
    host.agent_is("number", is_active).await;
    agents.put("number.wasm", &aop_tests::component(TWO_TOOLS));
    modern.next_of("notifications/tools/list_changed").await;
    legacy.next_of("notifications/tools/list_changed").await;
    eventually("the new tool is listed", || async {
        host.mcp().tool_names().await.contains(&"number_other".to_owned()).then_some(())
    })
    .await;
    agents.remove("number.wasm");
    modern.next_of("notifications/tools/list_changed").await;
    legacy.next_of("notifications/tools/list_changed").await;
}

#[tokio::test]
async fn a_running_call_survives_the_swap() {
    let agents = AgentsDirectory::new().with_as("faults", "worker");
    let host = Host::serve(agents.path()).await;
    let mcp = host.mcp();
    let call = mcp.call("worker_sleep", json!({ "milliseconds": 3000 }));
    let swap = async {
        host.metric("aop_instances_live", 1.0).await;
        agents.put(
            "worker.wasm",
            &std::fs::read(aop_tests::guest("echo")).expect("the guest can be read"),
        );
        host.agent_is("worker", |agent| agent["revision"] == 2 && is_active(agent)).await;
        assert_eq!(host.mcp().call("worker_echo", json!({ "text": "new" })).await.value(), "new");
        host.metrics().await.value("aop_instances_live")
    };
    let (result, live) = tokio::join!(call, swap);
    assert_eq!(result.value(), &Value::Null, "the call finished on the revision that it began on");
    assert_eq!(live, Some(1.0), "and ran while the new one served already");
    host.no_instances().await;
}

#[tokio::test]
async fn no_call_fails_while_its_agent_is_swapped() {
    let agents = AgentsDirectory::new();
    agents.put("number.wasm", &number(0));
    let host = Host::serve(agents.path()).await;
    let mcp = host.mcp();
    let swaps = async {
        for revision in 1..=5 {
            agents.put("number.wasm", &number(revision));
            answers(&host, revision).await;
        }
    };
    let calls = async {
        let mut last = 0;
        loop {
            let value = mcp.call("number_get", json!({})).await.value().as_u64().expect("a number");
            assert!(value >= last, "the agent never goes back");
            last = value;
        }
    };
    tokio::select! {
        () = swaps => {}
        () = calls => {}
    }
}

#[tokio::test]
async fn a_rollback_of_a_file_holds_until_the_file_changes() {
    let agents = AgentsDirectory::new();
    agents.put("number.wasm", &number(1));
    let host = Host::serve(agents.path()).await;
    let refused = host.aop(&["agent", "rollback", "number"]).run().await;
    assert_ne!(refused.status.code(), Some(0), "there is nothing to go back to");
    agents.put("number.wasm", &number(2));
    answers(&host, 2).await;
    let back = host.aop(&["agent", "rollback", "number", "--json"]).run().await.code(0).json();
    assert_eq!((&back["pinned"], get(&host).await), (&json!(true), json!(1)));
    // Another file changes; this one stays where it was put.
    agents.put("other.wasm", &number(9));
    host.agent_is("other", is_active).await;
    assert_eq!(get(&host).await, 1);
    agents.put("number.wasm", &number(3));
    answers(&host, 3).await;
    host.agent_is("number", |agent| agent["pinned"] == false).await;
}

#[tokio::test]
async fn names_stay_when_functions_are_added() {
    // An agent whose only tool is `run` is just the agent; with a second tool it would not be.
    let run = |functions: &str| {
        let (mut core, mut lifted) = (String::new(), String::new());
        for name in functions.split(' ') {
            core += &format!(r#"(func (export "{name}") (result i32) (i32.const 1))"#);
            lifted += &format!(
                r#"(func (export "{name}") (result u32) (canon lift (core func $i "{name}")))"#
            );
        }
        aop_tests::component(&format!(
            "(component (core module $m {core}) (core instance $i (instantiate $m)) {lifted})"
        ))
    };
    let agents = AgentsDirectory::new();
    agents.put("solo.wasm", &run("run"));
    let host = Host::serve(agents.path()).await;
    assert_eq!(host.mcp().call("solo", json!({})).await.value(), 1);
    agents.put("solo.wasm", &run("run more"));
    host.agent_is("solo", |agent| agent["revision"] == 2 && is_active(agent)).await;
    assert_eq!(
        host.mcp().call("solo", json!({})).await.value(),
        1,
        "what was published stays callable"
    );
    assert_eq!(host.mcp().call("solo_more", json!({})).await.value(), 1);
}

#[tokio::test]
async fn two_agents_never_own_one_tool_name() {
    let agents = AgentsDirectory::new()
        .with("echo")
        .with_as("echo", "parrot")
        .with_settings("parrot", "[tools.echo]\nname = \"echo_echo\"\n");
    let host = Host::serve(agents.path()).await;
    let list: Value = serde_json::from_str(&host.get("/api/v1/agents").await).expect("JSON");
    let states: Vec<_> =
        list["agents"].as_array().expect("agents").iter().map(|agent| &agent["state"]).collect();
    assert!(states.contains(&&json!("ACTIVE")) && states.contains(&&json!("ERROR")), "{list}");
    let error =
        list["agents"].as_array().expect("agents").iter().find_map(|agent| agent["error"].as_str());
    assert!(error.is_some_and(|error| error.contains("echo_echo")), "{list}");
    assert_eq!(host.mcp().call("echo_echo", json!({ "text": "x" })).await.value(), "x");
}

#[tokio::test]
async fn a_name_that_no_agent_can_have_is_told() {
    let agents = AgentsDirectory::new().with("echo").with_as("echo", "aop");
    let host = Host::serve(agents.path()).await;
    eventually("the log says why", || async { host.log().contains("reserved").then_some(()) })
        .await;
    assert_eq!(host.mcp().call("echo_echo", json!({ "text": "x" })).await.value(), "x");
}

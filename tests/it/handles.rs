//! Resources that agents export: callers hold handles, and nobody else's leads anywhere.

use aop_tests::{AgentsDirectory, Host, Mcp, STATELESS, ToolResult, guest};
use futures::future::join_all;
use serde_json::{Value, json};

/// A host with the fixture `handles`.
async fn host(settings: &str) -> (AgentsDirectory, Host) {
    let agents = AgentsDirectory::new().with("handles").with_settings("handles", settings);
    let host = Host::serve(agents.path()).await;
    (agents, host)
}

/// A handle of a new counter, in a conversation of its own.
async fn counter(mcp: &Mcp, start: u32) -> String {
    handle(&mcp.call("handles_counter_new", json!({ "start": start })).await)
}

#[track_caller]
fn handle(result: &ToolResult) -> String {
    result.value().as_str().expect("a handle is a string").to_owned()
}

async fn add(mcp: &Mcp, counter: &str, number: u32) -> ToolResult {
    mcp.call("handles_counter_add", json!({ "self": counter, "number": number })).await
}

/// A call that continues a conversation.
async fn within(mcp: &Mcp, session: &Value, tool: &str, arguments: Value) -> ToolResult {
    let params =
        json!({ "name": tool, "arguments": arguments, "_meta": { "aop/session": session } });
    ToolResult::of(&mcp.request("tools/call", params).await)
}

/// What everybody is told of a handle that leads nowhere.
#[track_caller]
fn leads_nowhere(result: &ToolResult) {
    assert_eq!(result.code(), "invalid_arguments");
    assert_eq!(result.envelope()["details"][0]["message"], NOWHERE);
}

const NOWHERE: &str = "no such handle: it was dropped, has expired, ended with its instance, or was never given to you; get a new one";

#[tokio::test]
async fn a_resource_lives_between_calls() {
    let (_agents, host) = host("").await;
    let mcp = host.mcp();
    let made = mcp.call("handles_counter_new", json!({ "start": 5 })).await;
    let counter = handle(&made);
    assert_eq!(made.text(), counter, "a model reads the handle as it is");
    assert_eq!(add(&mcp, &counter, 2).await.value(), 7);
    assert_eq!(add(&mcp, &counter, 3).await.value(), 10);
    host.metric("aop_handles_live", 1.0).await;
    host.metric("aop_handle_instances_live", 1.0).await;

    let full = add(&mcp, &counter, u32::MAX).await;
    assert_eq!((full.code(), full.text()), ("guest_error", "the counter is full"));
    let copy = handle(&mcp.call("handles_counter_copy", json!({ "self": counter })).await);
    assert_ne!(copy, counter);
    assert_eq!(add(&mcp, &copy, 1).await.value(), 11);
    let absorb = json!({ "self": counter, "other": copy });
    assert_eq!(mcp.call("handles_counter_absorb", absorb.clone()).await.value(), 21);
    leads_nowhere(&add(&mcp, &copy, 1).await);
    leads_nowhere(&mcp.call("handles_counter_absorb", absorb).await);
    let beside = json!({ "beside": counter });
    assert_eq!(mcp.call("handles_dropped", beside).await.value(), 1, "destructors run");

    let dropped = mcp.call("handles_counter_drop", json!({ "self": counter })).await;
    assert_eq!(dropped.value(), &Value::Null);
    leads_nowhere(&add(&mcp, &counter, 1).await);
    host.no_instances().await;
    host.metric("aop_handles_live", 0.0).await;
    host.metric("aop_handles_refused_total", 3.0).await;
}

#[tokio::test]
async fn a_conversation_shares_an_instance_and_its_resources_meet() {
    let (_agents, host) = host("").await;
    let mcp = host.mcp();
    let made = mcp.call("handles_counter_new", json!({ "start": 1 })).await;
    let session = made.0["_meta"]["aop/session"].clone();
    assert!(session.is_string(), "a handle begins a conversation: {}", made.0);
    let (one, stranger) = (handle(&made), counter(&mcp, 100).await);
    let made = within(&mcp, &session, "handles_counter_new", json!({ "start": 2 })).await;
    let two = handle(&made);
    let sum = mcp.call("handles_counter_sum", json!({ "of": [one, two, one] })).await;
    assert_eq!(add(&mcp, &handle(&sum), 0).await.value(), 4);
    host.metric("aop_handle_instances_live", 2.0).await;

    let apart = mcp.call("handles_counter_sum", json!({ "of": [one, stranger] })).await;
    assert_eq!(apart.code(), "invalid_arguments");
    assert!(apart.text().contains("different conversations"), "{}", apart.text());
    let twice = mcp.call("handles_counter_absorb", json!({ "self": one, "other": one })).await;
    assert!(twice.text().contains("more than once"), "{}", twice.text());
    let elsewhere = json!({ "self": stranger, "number": 1 });
    leads_nowhere(&within(&mcp, &session, "handles_counter_add", elsewhere).await);
    // A named conversation that does not exist begins with its first handle.
    let named = within(&mcp, &json!("mine"), "handles_counter_new", json!({ "start": 7 })).await;
    assert_eq!(named.0["_meta"]["aop/session"], "mine");
    assert_eq!(add(&mcp, &handle(&named), 1).await.value(), 8);
}

#[tokio::test]
async fn handles_stand_within_values_and_errors_give_none() {
    let (_agents, host) = host("").await;
    let mcp = host.mcp();
    let several = mcp.call("handles_several", json!({ "count": 3 })).await;
    let named = several.value().as_array().expect("a list").clone();
    assert_eq!(named[0], json!({ "name": "0" }));
    let second = named[2]["counter"].as_str().expect("a handle");
    assert_eq!(add(&mcp, second, 1).await.value(), 3);
    host.metric("aop_handles_live", 2.0).await;
    assert_eq!(mcp.call("handles_maybe", json!({})).await.code(), "guest_error");
    host.metric("aop_handle_instances_live", 1.0).await;
    let maybe = handle(&mcp.call("handles_maybe", json!({ "start": 4 })).await);
    assert_eq!(add(&mcp, &maybe, 1).await.value(), 5);
    assert_eq!(mcp.call("handles_plain", json!({})).await.value(), "plain");
    host.metric("aop_handle_instances_live", 2.0).await;

    let tools = mcp.tools().await;
    let named = |name: &str| tools.iter().find(|tool| tool["name"] == name).expect("it is listed");
    let input = &named("handles_counter_add")["inputSchema"]["properties"]["self"];
    assert_eq!(input["type"], "string");
    assert_eq!(
        input["description"],
        "A handle of a `counter`, as a tool of this agent returned it"
    );
    assert_eq!(
        named("handles_counter_new")["description"],
        "Make a counter that begins at a number."
    );
    let wrong = mcp.call("handles_counter_add", json!({ "self": 7, "number": "x" })).await;
    assert_eq!(wrong.envelope()["details"].as_array().map(Vec::len), Some(2), "{}", wrong.0);
}

#[tokio::test]
async fn forged_handles_all_get_one_answer() {
    let (_agents, host) = host("").await;
    let mcp = host.mcp();
    let counter = counter(&mcp, 1).await;
    let mut forged = vec![String::new(), "x".repeat(44), "a".repeat(100_000), STATELESS.to_owned()];
    for at in 0..counter.len() {
        let mut changed = counter.clone();
        let other = if &counter[at..=at] == "A" { "B" } else { "A" };
        changed.replace_range(at..=at, other);
        forged.push(changed);
    }
    for text in &forged {
        leads_nowhere(&add(&mcp, text, 1).await);
    }
    assert_eq!(add(&mcp, &counter, 1).await.value(), 2, "the real one is as it was");
    assert!(!host.log().contains(&counter), "nothing that opens a resource is logged");
}

#[tokio::test]
async fn what_breaks_an_instance_ends_its_handles_and_nobody_elses() {
    let (_agents, host) = host("timeout = \"2s\"\n").await;
    let mcp = host.mcp();
    let bystander = counter(&mcp, 1).await;
    for (tool, code) in
        [("handles_counter_crash", "guest_trapped"), ("handles_counter_spin", "deadline_exceeded")]
    {
        let counter = counter(&mcp, 1).await;
        let copy = handle(&mcp.call("handles_counter_copy", json!({ "self": counter })).await);
        assert_eq!(mcp.call(tool, json!({ "self": counter })).await.code(), code);
        leads_nowhere(&add(&mcp, &counter, 1).await);
        leads_nowhere(&add(&mcp, &copy, 1).await);
    }
    assert_eq!(add(&mcp, &bystander, 1).await.value(), 2);
    host.metric("aop_instances_live", 1.0).await;
}

#[tokio::test]
async fn calls_on_one_instance_run_one_after_another_and_a_crowd_is_refused() {
    let (_agents, host) = host("timeout = \"3s\"\n").await;
    let mcp = host.mcp();
    let busy = counter(&mcp, 0).await;
    let all = join_all((0..10).map(|_| add(&mcp, &busy, 1))).await;
    let mut values: Vec<_> = all.iter().map(|result| result.value().as_u64()).collect();
    values.sort_unstable();
    assert_eq!(values, (1..=10).map(Some).collect::<Vec<_>>());

    let spin = mcp.call("handles_counter_spin", json!({ "self": busy }));
    let crowd = async {
        host.metric("aop_executions_running", 1.0).await;
        join_all((0..40).map(|_| add(&mcp, &busy, 1))).await
    };
    let (_, crowd) = tokio::join!(spin, crowd);
    let refused = crowd.iter().filter(|result| result.code() == "resource_exhausted");
    assert!(refused.clone().count() >= 20, "most of a crowd is refused");
    assert!(refused.clone().all(|result| result.envelope()["retry_after_ms"].is_number()));
    host.no_instances().await;
}

#[tokio::test]
async fn a_flood_of_handles_meets_the_agents_bound_and_expiry_frees_it() {
    let (_agents, host) = host("[handles]\ninstances_max = 3\nidle = \"1s\"\n").await;
    let mcp = host.mcp();
    let made =
        join_all((0..20).map(|_| mcp.call("handles_counter_new", json!({ "start": 1 })))).await;
    let refused = made.iter().filter(|result| result.envelope()["success"] == false);
    assert!(refused.clone().count() >= 17, "three at one time");
    assert!(refused.clone().all(|result| result.code() == "resource_exhausted"));
    assert!(refused.clone().all(|result| result.text().contains("`[handles] instances_max`")));
    assert_eq!(mcp.call("handles_plain", json!({})).await.value(), "plain", "others go on");
    host.metric("aop_handle_instances_live", 0.0).await;
    host.metric("aop_handles_expired_total", 3.0).await;
    let kept =
        made.iter().find(|result| result.envelope()["success"] == true).expect("three were made");
    leads_nowhere(&add(&mcp, &handle(kept), 1).await);
    counter(&mcp, 1).await;
}

#[tokio::test]
async fn a_reload_and_an_unload_end_what_lives() {
    let (agents, host) = host("").await;
    let mcp = host.mcp();
    let before = counter(&mcp, 1).await;
    agents.put("handles.toml", b"description = \"another revision\"\n");
    host.agent_is("handles", |agent| agent["revision"] == 2).await;
    leads_nowhere(&add(&mcp, &before, 1).await);
    host.metric("aop_handle_instances_live", 0.0).await;
    let after = counter(&mcp, 1).await;
    assert_eq!(add(&mcp, &after, 1).await.value(), 2);
    agents.remove("handles.wasm");
    host.agent_is_gone("handles").await;
    host.no_instances().await;
    host.metric("aop_handles_live", 0.0).await;
}

#[tokio::test]
async fn inspect_and_run_know_resources() {
    let path = guest("handles");
    let path = path.to_str().expect("a path of this repository is text");
    let inspected = aop_tests::Aop::new(&["inspect", path]).run().await.code(0);
    inspected.prints(&[
        "handles_counter_new",
        "counter.new: func(start: u32) -> counter",
        "counter.add: func(self: borrow<counter>, number: u32)",
        "handles_counter_drop",
    ]);
    let ran = aop_tests::Aop::new(&["run", path, "counter.new", r#"{"start": 1}"#]).run().await;
    ran.code(0).prints(&["A"]);
}

use std::sync::Arc;

use aop_core::TaskState;
use http::StatusCode;
use serde_json::{Value, json};

use crate::tests::requests::{Client, call_message, stateless};
use crate::tests::{Answer, World, send};
use crate::{McpConfig, McpServer};

fn world() -> Arc<World> {
    let world = World::new();
    world.publish(&[
        "echo",
        "job",
        "job-ask",
        "job-hang",
        "job-large",
        "job-broken",
        "job-fail",
        "job-only",
    ]);
    world
}

fn capabilities() -> Value {
    json!({ "elicitation": {}, "extensions": { "io.modelcontextprotocol/tasks": {} } })
}

async fn ask(server: &McpServer, method: &str, mut params: Value) -> Answer {
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities();
    send(server, stateless(&json!(1), method, params)).await
}

async fn begin(server: &McpServer, tool: &str) -> String {
    let task = ask(server, "tools/call", json!({ "name": tool })).await.result();
    assert_eq!((&task["resultType"], &task["status"]), (&json!("task"), &json!("working")));
    assert_eq!((&task["ttlMs"], &task["pollIntervalMs"]), (&json!(86_400_000), &json!(1000)));
    let id = task["taskId"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 64, "256 random bits");
    id
}

async fn get(server: &McpServer, id: &str) -> Value {
    ask(server, "tasks/get", json!({ "taskId": id })).await.result()
}

async fn until(server: &McpServer, id: &str, status: &str) -> Value {
    loop {
        let task = get(server, id).await;
        if task["status"] == status {
            return task;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_task_is_kept_before_its_client_learns_of_it() {
    let world = world();
    let server = world.server();
    let id = begin(&server, "job-hang").await;
    assert_eq!(world.kept.lock().unwrap()[&id].state, TaskState::Working);
    assert_eq!(get(&server, &id).await["status"], "working");
    let id = begin(&server, "job").await;
    let task = until(&server, &id, "completed").await;
    assert_eq!(
        (&task["resultType"], &task["result"]["content"][0]["text"]),
        (&json!("complete"), &json!("done"))
    );
    assert!(task["createdAt"].as_str().unwrap().ends_with('Z'));
    assert!(task.get("requestState").is_none());
}

#[tokio::test]
async fn only_who_follows_tasks_gets_one() {
    let world = world();
    let server = world.server();
    let plain = send(&server, stateless(&json!(1), "tools/call", json!({ "name": "job" }))).await;
    assert_eq!(plain.result()["content"][0]["text"], "done");
    let other = ask(&server, "tools/call", json!({ "name": "echo" })).await;
    assert_eq!(other.result()["resultType"], "complete");
    let refused = send(&server, stateless(&json!(1), "tasks/get", json!({ "taskId": "x" }))).await;
    assert_eq!((refused.status, refused.error_code()), (StatusCode::BAD_REQUEST, Some(-32021)));
    // SEP-2663: in a session it is as if nothing had been declared.
    let client = Client::open_with(&server, capabilities()).await;
    let result = client.send(&call_message(1, "job", &json!({}))).await.result();
    assert_eq!(result["content"][0]["text"], "done", "{result}");
    let refused = client.send(&call_message(2, "job-only", &json!({}))).await;
    assert_eq!(refused.error_code(), Some(-32021));
}

#[tokio::test]
async fn cancelling_stops_the_call() {
    let world = world();
    let server = world.server();
    let id = begin(&server, "job-hang").await;
    world.until_hanging(1).await;
    let acknowledged = ask(&server, "tasks/cancel", json!({ "taskId": id })).await.result();
    assert_eq!(acknowledged, json!({ "resultType": "complete" }));
    world.until_hanging(0).await;
    until(&server, &id, "cancelled").await;
    ask(&server, "tasks/cancel", json!({ "taskId": id })).await;
    assert_eq!(get(&server, &id).await["status"], "cancelled");
}

#[tokio::test]
async fn a_task_asks_and_is_answered() {
    let server = world().server();
    let id = begin(&server, "job-ask").await;
    let task = until(&server, &id, "input_required").await;
    assert_eq!(task["inputRequests"]["user_name"]["method"], "elicitation/create");
    let asked_at = task["lastUpdatedAt"].as_str().unwrap().to_owned();
    assert!(asked_at.as_str() >= task["createdAt"].as_str().unwrap());
    // Times have milliseconds: the next one has to be another.
    let asked = std::time::Instant::now();
    while asked.elapsed() < std::time::Duration::from_millis(2) {
        tokio::task::yield_now().await;
    }
    for responses in
        [json!({}), json!({ "unknown": { "action": "accept" } }), json!({ "user_name": 7 })]
    {
        let params = json!({ "taskId": id, "inputResponses": responses });
        assert_eq!(
            ask(&server, "tasks/update", params).await.result(),
            json!({ "resultType": "complete" })
        );
        let task = get(&server, &id).await;
        assert_eq!(
            (&task["status"], &task["lastUpdatedAt"]),
            (&json!("input_required"), &json!(asked_at))
        );
    }
    let responses = json!({ "user_name": { "action": "accept", "content": { "user_name": "A" } } });
    ask(&server, "tasks/update", json!({ "taskId": id, "inputResponses": responses })).await;
    let task = until(&server, &id, "completed").await;
    assert_eq!(task["result"]["content"][0]["text"], r#"{"user_name":"A"}"#);
    assert!(task["lastUpdatedAt"].as_str().unwrap() > asked_at.as_str());
}

#[tokio::test]
async fn a_task_of_another_caller_does_not_exist() {
    let server = world().server();
    let id = begin(&server, "job-ask").await;
    let unknown = ask(&server, "tasks/get", json!({ "taskId": "0".repeat(64) })).await;
    assert_eq!(unknown.error_code(), Some(-32602));
    for (method, params) in [
        ("tasks/get", json!({ "taskId": id })),
        ("tasks/cancel", json!({ "taskId": id })),
        ("tasks/update", json!({ "taskId": id, "inputResponses": {} })),
    ] {
        let mut params = params;
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities();
        let again = params.clone();
        let request = stateless(&json!(1), method, params);
        let mut theirs = request;
        theirs.headers_mut().insert("test-subject", "somebody".parse().unwrap());
        let refused = send(&server, theirs).await;
        assert_eq!(refused.message()["error"], unknown.message()["error"], "{method}");
        let mut request = stateless(&json!(1), method, again);
        *request.uri_mut() = "/t/other/mcp".parse().unwrap();
        let refused = send(&server, request).await;
        assert_eq!(refused.message()["error"], unknown.message()["error"], "{method}");
    }
    until(&server, &id, "input_required").await;
}

#[tokio::test]
async fn tasks_are_bounded() {
    let world = world();
    let server = world.server_with(McpConfig { tasks_per_tenant_max: 2, ..McpConfig::default() });
    begin(&server, "job-hang").await;
    begin(&server, "job-hang").await;
    let refused = ask(&server, "tools/call", json!({ "name": "job-only" })).await;
    assert_eq!(refused.error_code(), Some(-32000));
    let at_once = ask(&server, "tools/call", json!({ "name": "job" })).await.result();
    assert_eq!(at_once["resultType"], "complete", "what may run without a task does: {at_once}");
    world.until_hanging(2).await;
}

#[tokio::test]
async fn a_task_that_nobody_runs_any_more_has_failed() {
    let world = world();
    let first = world.server();
    let id = begin(&first, "job-hang").await;
    // Another host over the same store, which ends what ran before, as after a restart.
    world.kept.lock().unwrap().get_mut(&id).unwrap().state = TaskState::Failed;
    let second = world.server();
    let task = get(&second, &id).await;
    assert_eq!(task["status"], "failed");
    assert!(task["error"]["message"].as_str().unwrap().contains("host stopped"), "{task}");
    world.kept.lock().unwrap().get_mut(&id).unwrap().expires_unix_ms = 1;
    let expired = ask(&second, "tasks/get", json!({ "taskId": id })).await;
    assert_eq!(expired.error_code(), Some(-32602));
}

/// What a client reads of a task that ended without a result.
fn reason(task: &Value) -> (&str, &Value) {
    assert_eq!(task["status"], "failed");
    let message = task["error"]["message"].as_str().unwrap();
    assert!(!message.contains("call the tool again"), "it ran already: {message}");
    (message, &task["error"]["data"]["code"])
}

#[tokio::test]
async fn a_result_that_cannot_be_kept_says_so() {
    let world = world();
    let server = world.server();
    *world.outcome_max_bytes.lock().unwrap() = Some(1 << 10);
    let id = begin(&server, "job-large").await;
    let task = until(&server, &id, "failed").await;
    let (message, code) = reason(&task);
    assert!(message.contains("could not be kept: the store failed: no room for it"), "{message}");
    assert_eq!(*code, "resource_exhausted");
    let id = begin(&server, "job").await;
    until(&server, &id, "completed").await;
}

#[tokio::test]
async fn an_end_that_cannot_be_kept_is_no_restart() {
    let world = world();
    let server = world.server();
    *world.outcome_max_bytes.lock().unwrap() = None;
    let id = begin(&server, "job").await;
    let task = until(&server, &id, "failed").await;
    let (message, code) = reason(&task);
    assert!(message.contains("could not be kept"), "{message}");
    assert_eq!(*code, "internal");
    assert_eq!(world.kept.lock().unwrap()[&id].state, TaskState::Working);
}

#[test]
fn what_is_kept_instead_of_a_result_is_small() {
    let error = super::unkept(aop_core::ErrorCode::ResourceExhausted, &"\u{e9}".repeat(1 << 20));
    let json = serde_json::to_string(&error).unwrap();
    assert!((512..=1024).contains(&json.len()), "{} bytes", json.len());
}

#[tokio::test]
async fn a_task_whose_agent_broke_is_failed_and_one_that_said_no_is_completed() {
    let world = world();
    let server = world.server();
    let id = begin(&server, "job-broken").await;
    let task = until(&server, &id, "failed").await;
    let error = &task["error"];
    assert_eq!((&error["code"], &error["message"]), (&json!(-32603), &json!("it crashed")));
    assert_eq!(error["data"]["code"], "guest_trapped");
    assert!(task.get("result").is_none());
    let id = begin(&server, "job-fail").await;
    let task = until(&server, &id, "completed").await;
    assert_eq!(task["result"]["isError"], true);
}

#[tokio::test]
async fn a_tool_that_must_be_a_task_refuses_whoever_cannot_follow_one() {
    let world = world();
    let server = world.server();
    let call = json!({ "name": "job-only" });
    let refused = send(&server, stateless(&json!(1), "tools/call", call)).await;
    assert_eq!((refused.status, refused.error_code()), (StatusCode::BAD_REQUEST, Some(-32021)));
    let required = &refused.message()["error"]["data"]["requiredCapabilities"];
    assert!(required["extensions"]["io.modelcontextprotocol/tasks"].is_object(), "{required}");
    let client = Client::open_with(&server, json!({})).await;
    let refused = client.send(&call_message(1, "job-only", &json!({}))).await;
    assert_eq!(refused.error_code(), Some(-32021), "in a session, too");
    assert_eq!(world.calls.load(std::sync::atomic::Ordering::Relaxed), 0, "nothing ran");
    let id = begin(&server, "job-only").await;
    until(&server, &id, "completed").await;
    let forwarded =
        json!({ "name": "aop_call", "arguments": { "tool": "job-only", "arguments": {} } });
    let waited = send(&server, stateless(&json!(1), "tools/call", forwarded)).await;
    assert_eq!(waited.result()["structuredContent"]["result"], "done");
}

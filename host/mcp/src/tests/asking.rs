//! Questions in the revisions with sessions: requests of the server within the stream of a call.

use std::sync::Arc;

use aop_core::{Listen as _, Offer, TenantName};
use axum::body::Body;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::World;
use super::requests::{Client, call_message};
use crate::tests::mounted;

fn everything() -> Value {
    json!({ "elicitation": { "form": {}, "url": {} }, "sampling": { "tools": {} }, "roots": {} })
}

fn world() -> Arc<World> {
    let world = World::new();
    world.publish(&["ask", "ask-both", "ask-page", "ask-twice", "echo", "log", "roots", "sample"]);
    world
}

/// The events of a response, as they come.
struct Events {
    body: Body,
    text: String,
}

impl Events {
    async fn open(client: &Client<'_>, message: &Value) -> Self {
        let response = mounted(client.server).oneshot(client.request(message)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Self { body: response.into_body(), text: String::new() }
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                let data = event.lines().find_map(|line| line.strip_prefix("data:")).map(str::trim);
                match data.filter(|data| !data.is_empty()) {
                    Some(data) => return Some(serde_json::from_str(data).unwrap()),
                    None => continue,
                }
            }
            let frame = self.body.frame().await?.unwrap();
            self.text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
        }
    }
}

async fn reply(client: &Client<'_>, question: &Value, result: Value) {
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": result });
    assert_eq!(client.send(&answer).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_call_asks_within_its_own_stream() {
    let server = world().server();
    let client = Client::open_with(&server, everything()).await;
    for (tool, method, result, expected) in [
        (
            "ask",
            "elicitation/create",
            json!({ "action": "accept", "content": { "user_name": "A" } }),
            r#"{"user_name":"A"}"#,
        ),
        ("ask", "elicitation/create", json!({ "action": "cancel" }), "dismissed"),
        ("ask-page", "elicitation/create", json!({ "action": "decline" }), "declined"),
        (
            "sample",
            "sampling/createMessage",
            json!({ "role": "assistant", "model": "m", "stopReason": "maxTokens", "content": { "type": "text", "text": "P" } }),
            r#"[Text("P")] Length m"#,
        ),
        (
            "roots",
            "roots/list",
            json!({ "roots": [{ "uri": "https://a.example" }, { "uri": "file:///a" }, { "uri": "a" }, { "uri": "" }] }),
            r#"[Root { uri: "file:///a", name: None }]"#,
        ),
    ] {
        let mut events = Events::open(&client, &call_message(1, tool, &json!({}))).await;
        let question = events.next().await.unwrap();
        assert_eq!(question["method"], method);
        reply(&client, &question, result).await;
        let answer = events.next().await.unwrap();
        assert_eq!(
            (&answer["id"], &answer["result"]["content"][0]["text"]),
            (&json!(1), &json!(expected))
        );
        assert!(events.next().await.is_none());
    }
}

#[tokio::test]
async fn questions_of_two_calls_do_not_mix() {
    let server = world().server();
    let client = Client::open_with(&server, everything()).await;
    let mut first = Events::open(&client, &call_message(1, "ask", &json!({}))).await;
    let mut second = Events::open(&client, &call_message(2, "ask-both", &json!({}))).await;
    let asked =
        [first.next().await.unwrap(), second.next().await.unwrap(), second.next().await.unwrap()];
    assert_ne!(asked[1]["id"], asked[2]["id"]);
    reply(&client, &asked[2], json!({ "action": "accept", "content": { "x": "2" } })).await;
    reply(&client, &asked[1], json!({ "action": "accept", "content": { "x": "1" } })).await;
    reply(&client, &asked[0], json!({ "action": "decline" })).await;
    assert_eq!(second.next().await.unwrap()["id"], 2);
    assert_eq!(first.next().await.unwrap()["result"]["content"][0]["text"], "declined");
}

#[tokio::test]
async fn a_client_that_says_no_or_nonsense_is_told_to_the_agent() {
    let server = world().server();
    let client = Client::open_with(&server, everything()).await;
    for (answer, expected) in [
        (json!({ "error": { "code": -1, "message": "User rejected" } }), "User rejected"),
        (json!({ "result": { "x": 1 } }), "does not answer"),
    ] {
        let mut events = Events::open(&client, &call_message(1, "ask", &json!({}))).await;
        let mut message = answer.clone();
        message["jsonrpc"] = json!("2.0");
        message["id"] = events.next().await.unwrap()["id"].clone();
        assert_eq!(client.send(&message).await.status, StatusCode::ACCEPTED);
        let answer = events.next().await.unwrap();
        assert_eq!(answer["result"]["isError"], true);
        assert!(
            answer["result"]["content"][0]["text"].as_str().unwrap().contains(expected),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_client_that_declared_nothing_is_not_asked() {
    let server = world().server();
    let client = Client::open(&server).await;
    for tool in ["ask", "ask-page", "sample"] {
        let result = client.send(&call_message(1, tool, &json!({}))).await.result();
        assert_eq!(result["isError"], true, "{tool}");
    }
}

#[tokio::test]
async fn a_question_ends_with_its_call() {
    let server = world().server();
    let client = Client::open_with(&server, everything()).await;
    let mut events = Events::open(&client, &call_message(1, "ask", &json!({}))).await;
    let question = events.next().await.unwrap();
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
    client.send(&cancel).await;
    while events.next().await.is_some() {}
    // An answer that comes too late harms nobody.
    reply(&client, &question, json!({ "action": "accept" })).await;
    let answer = client.send(&call_message(2, "echo", &json!({}))).await;
    assert_eq!(answer.result()["isError"], false);
}

#[tokio::test]
async fn log_lines_follow_the_level_of_the_session() {
    let server = world().server();
    let client = Client::open(&server).await;
    let lines = async |level: Option<&str>| {
        if let Some(level) = level {
            let set = json!({ "jsonrpc": "2.0", "id": 9, "method": "logging/setLevel", "params": { "level": level } });
            assert_eq!(client.send(&set).await.result(), json!({}));
        }
        let messages = client.send(&call_message(1, "log", &json!({}))).await.messages();
        let levels = messages.iter().filter_map(|message| message["params"]["level"].as_str());
        levels.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(None).await, [""; 0]);
    assert_eq!(lines(Some("warning")).await, ["warning", "critical"]);
    assert_eq!(lines(Some("debug")).await, ["debug", "warning", "critical"]);
    assert_eq!(lines(Some("emergency")).await, [""; 0]);
    let set = json!({ "jsonrpc": "2.0", "id": 9, "method": "logging/setLevel", "params": { "level": "loud" } });
    assert_eq!(client.send(&set).await.error_code(), Some(-32602));
}

#[tokio::test]
async fn a_session_is_told_of_the_resources_that_it_subscribed_to() {
    let world = world();
    let server = world.server();
    let client = Client::open(&server).await;
    let request = |id: i64, method: &str, uri: &str| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": { "uri": uri } });
    for uri in ["notes://a", "notes://b", "notes://c"] {
        assert_eq!(client.send(&request(1, "resources/subscribe", uri)).await.result(), json!({}));
    }
    for uri in ["nobody://a", "broken://a", "nonsense"] {
        let refused = client.send(&request(1, "resources/subscribe", uri)).await;
        assert_eq!(refused.error_code(), Some(-32002), "{uri}");
    }
    client.send(&request(2, "resources/unsubscribe", "notes://b")).await;
    let response = mounted(&server).oneshot(client.bare(Method::GET)).await.unwrap();
    let mut events = Events { body: response.into_body(), text: String::new() };
    let tenant = TenantName::default_tenant();
    for uri in ["notes://c", "notes://b", "notes://d"] {
        world.changes.offer_changed(&tenant, Offer::Resource(uri.to_owned()));
    }
    world.changes.offer_changed(&tenant, Offer::Prompts);
    world.changes.offer_changed(&tenant, Offer::Resources);
    let mut told = Vec::new();
    while told.len() < 3 {
        let message = events.next().await.unwrap();
        told.push(format!("{} {}", message["method"].as_str().unwrap(), message["params"]["uri"]));
    }
    assert_eq!(
        told,
        [
            "notifications/resources/list_changed null",
            "notifications/prompts/list_changed null",
            "notifications/resources/updated \"notes://c\"",
        ]
    );
    server.drain();
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn subscriptions_of_a_session_are_bounded() {
    let server = world().server();
    let client = Client::open(&server).await;
    let mut refused = 0;
    for index in 0..300 {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": { "uri": format!("notes://{index}") } });
        refused += usize::from(client.send(&message).await.error_code().is_some());
    }
    assert_eq!(refused, 300 - 256);
}

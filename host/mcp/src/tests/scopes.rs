//! What callers may do, and what of theirs others cannot reach.

use http::{HeaderValue, Method, Request, StatusCode, header};
use serde_json::{Value, json};

use super::World;
use super::requests::{Client, call, send, stateless};
use aop_core::{Tenant, TenantName};
use axum::body::Body;

/// A tenant as it is when it ends.
fn made(name: &str) -> Tenant {
    Tenant { name: TenantName::new(name).unwrap(), created_unix_ms: 1 }
}

fn with(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    request
}

#[tokio::test]
async fn a_method_needs_its_scope() {
    let server = World::new().server();
    let builtin = |name: &str, arguments: Value| call(name, &arguments);
    for (request, scope) in [
        (call("echo", &json!({})), "tools:call"),
        (builtin("aop_call", json!({ "tool": "echo", "arguments": {} })), "tools:call"),
        (stateless(&json!(1), "tools/list", json!({})), "tools:list"),
        (stateless(&json!(1), "resources/list", json!({})), "tools:list"),
        (stateless(&json!(1), "prompts/list", json!({})), "tools:list"),
        (stateless(&json!(1), "skills/list", json!({})), "tools:list"),
        (
            stateless(&json!(1), "skills/get", json!({ "uri": "skill://notes/a/SKILL.md" })),
            "tools:list",
        ),
        (
            stateless(&json!(1), "resources/directory/read", json!({ "uri": "skill://notes" })),
            "tools:list",
        ),
        (stateless(&json!(1), "resources/read", json!({ "uri": "notes://a" })), "tools:call"),
        (stateless(&json!(1), "prompts/get", json!({ "name": "notes" })), "tools:call"),
        (stateless(&json!(1), "tasks/get", json!({ "taskId": "x" })), "tools:call"),
        (stateless(&json!(1), "no/such", json!({})), "tools:call"),
    ] {
        let others = if scope == "tools:call" { "tools:list agents:write" } else { "tools:call" };
        let (method, path) = (request.method().clone(), request.uri().clone());
        let refused = send(&server, with(request, "test-scopes", others)).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{method} {path} {scope}");
        let challenge = refused.headers[header::WWW_AUTHENTICATE].to_str().unwrap();
        let expected = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
        assert_eq!(challenge, expected);
        assert_eq!(refused.message()["id"], 1);
    }
    let allowed = send(&server, with(call("echo", &json!({})), "test-scopes", "tools:call")).await;
    assert_eq!(allowed.status, StatusCode::OK);
    let list = stateless(&json!(1), "tools/list", json!({}));
    assert_eq!(send(&server, with(list, "test-scopes", "tools:list")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn searching_needs_what_listing_needs() {
    let server = World::new().server();
    for (name, arguments) in
        [("aop_discover", json!({ "query": "e" })), ("aop_describe", json!({ "tool": "echo" }))]
    {
        let refused =
            send(&server, with(call(name, &arguments), "test-scopes", "tools:call")).await;
        let result = refused.result();
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(result["isError"] == true && text.contains("tools:list"), "{text}");
        let both = with(call(name, &arguments), "test-scopes", "tools:call tools:list");
        assert_eq!(send(&server, both).await.result()["isError"], false);
    }
}

#[tokio::test]
async fn a_message_whose_method_cannot_be_told_runs_nothing_without_the_scope() {
    let server = World::new().server();
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"echo","arguments":{}}}"#;
    for message in [twice, r#"{"jsonrpc":"2.0","id":1,"method":7}"#, r#"{"jsonrpc":"2.0","id":1}"#]
    {
        let request = super::post("/mcp", message);
        let refused = send(&server, with(request, "test-scopes", "tools:list")).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{message}");
    }
}

#[tokio::test]
async fn a_session_belongs_to_whoever_opened_it() {
    let server = World::new().server();
    let client = Client::open(&server).await;
    for method in [Method::POST, Method::GET, Method::DELETE] {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} });
        let mut request = with(client.request(&message), "test-subject", "somebody");
        *request.method_mut() = method.clone();
        assert_eq!(send(&server, request).await.status, StatusCode::NOT_FOUND, "{method}");
    }
}

#[tokio::test]
async fn ending_a_tenant_ends_its_sessions_and_no_others() {
    use aop_core::Tenancy as _;
    let server = World::new().server();
    let client = Client::open(&server).await;
    server.end(&made("other")).await.unwrap();
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} });
    assert_eq!(send(&server, client.request(&message)).await.status, StatusCode::OK);
    server.end(&made("default")).await.unwrap();
    assert_eq!(send(&server, client.request(&message)).await.status, StatusCode::NOT_FOUND);
    assert_eq!(server.sessions_open(), 0);
}

//! What clients should not send: every case has its clear answer, and none is a 500.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aop_core::CallId;
use axum::body::Body;
use futures::StreamExt as _;
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;

use super::requests::{Client, call, call_message, stateless};
use super::{World, post, send};
use crate::McpConfig;
use crate::edge::Edge;

#[tokio::test]
async fn bodies_that_are_no_message_are_refused() {
    let server = World::new().server();
    let deep = |open: &str, close: &str| open.repeat(10_000) + &close.repeat(10_000);
    let parse = -32700;
    let invalid = -32600;
    for (body, code) in [
        (String::new(), parse),
        ("{".to_owned(), parse),
        ("nonsense".to_owned(), parse),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}}"#.to_owned(), parse),
        (deep("[", "]"), parse),
        (deep(r#"{"a":"#, "}"), parse),
        ("[]".to_owned(), invalid),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#.to_owned(), invalid),
        ("null".to_owned(), invalid),
        ("\"text\"".to_owned(), invalid),
        ("{}".to_owned(), invalid),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#.to_owned(), invalid),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#.to_owned(), invalid),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#.to_owned(), invalid),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#.to_owned(), invalid),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\ud800"}}"#
                .to_owned(),
            invalid,
        ),
    ] {
        let shown: String = body.chars().take(60).collect();
        let answer = send(&server, post("/mcp", body)).await;
        assert_eq!(
            (answer.status, answer.error_code()),
            (StatusCode::BAD_REQUEST, Some(code)),
            "{shown}: {}",
            answer.text
        );
    }
    let answer = send(&server, post("/mcp", vec![b'{', b'"', 0xff, b'"', b'}'])).await;
    assert_eq!((answer.status, answer.error_code()), (StatusCode::BAD_REQUEST, Some(parse)));
}

#[tokio::test]
async fn large_bodies_are_refused_with_and_without_a_length() {
    let server = World::new().server();
    let body = vec![b' '; 5 << 20];
    let mut announced = post("/mcp", Body::empty());
    announced.headers_mut().insert("content-length", HeaderValue::from(5_u64 << 20));
    let chunks = futures::stream::iter(
        body.chunks(1 << 16)
            .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
            .collect::<Vec<_>>(),
    );
    for request in [post("/mcp", body.clone()), announced, post("/mcp", Body::from_stream(chunks))]
    {
        let answer = send(&server, request).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(answer.error_code(), Some(-32600));
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let server = World::new().server();
    let broken = futures::stream::iter([Ok(b"{".to_vec()), Err(std::io::Error::other("reset"))]);
    assert_eq!(
        send(&server, post("/mcp", Body::from_stream(broken))).await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_refused() {
    let server = World::new()
        .server_with(McpConfig { body_timeout: Duration::from_secs(5), ..McpConfig::default() });
    let trickle = futures::stream::repeat(()).then(|()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, std::io::Error>(b" ".to_vec())
    });
    assert_eq!(
        send(&server, post("/mcp", Body::from_stream(trickle))).await.status,
        StatusCode::REQUEST_TIMEOUT
    );
}

#[tokio::test]
async fn wrong_headers_are_refused() {
    let server = World::new().server();
    let change = |name: &'static str, value: Option<&'static str>| {
        let mut request = call("echo", &json!({}));
        match value {
            Some(value) => {
                drop(request.headers_mut().insert(name, HeaderValue::from_static(value)))
            }
            None => drop(request.headers_mut().remove(name)),
        }
        request
    };
    for (name, value, status, code) in [
        ("content-type", None, StatusCode::UNSUPPORTED_MEDIA_TYPE, Some(-32600)),
        ("content-type", Some("text/plain"), StatusCode::UNSUPPORTED_MEDIA_TYPE, Some(-32600)),
        ("accept", None, StatusCode::NOT_ACCEPTABLE, Some(-32600)),
        ("accept", Some("application/json"), StatusCode::NOT_ACCEPTABLE, Some(-32600)),
        ("mcp-protocol-version", None, StatusCode::BAD_REQUEST, Some(-32020)),
        ("mcp-protocol-version", Some("2025-11-25"), StatusCode::BAD_REQUEST, Some(-32020)),
        ("mcp-method", None, StatusCode::BAD_REQUEST, Some(-32020)),
        ("mcp-method", Some("tools/list"), StatusCode::BAD_REQUEST, Some(-32020)),
        ("mcp-name", None, StatusCode::BAD_REQUEST, Some(-32020)),
        ("mcp-name", Some("other"), StatusCode::BAD_REQUEST, Some(-32020)),
    ] {
        let answer = send(&server, change(name, value)).await;
        assert_eq!(
            (answer.status, answer.error_code()),
            (status, code),
            "{name}: {value:?}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn incomplete_metadata_is_refused() {
    let server = World::new().server();
    let mut request = call("echo", &json!({}));
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "echo", "_meta": { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } } });
    *request.body_mut() = message.to_string().into();
    let answer = send(&server, request).await;
    assert_eq!(
        (answer.status, answer.error_code()),
        (StatusCode::BAD_REQUEST, Some(-32602)),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn an_unknown_revision_is_refused_by_name() {
    let server = World::new().server();
    let mut request = stateless(&json!(1), "tools/list", json!({}));
    request.headers_mut().insert("mcp-protocol-version", HeaderValue::from_static("2030-01-01"));
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2030-01-01",
        "io.modelcontextprotocol/clientCapabilities": {} } } });
    *request.body_mut() = message.to_string().into();
    let answer = send(&server, request).await;
    assert_eq!(
        (answer.status, answer.error_code()),
        (StatusCode::BAD_REQUEST, Some(-32022)),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn bad_sessions_are_refused() {
    let server = World::new().server();
    let client = Client::open(&server).await;
    for id in ["", "nobody", "\u{7f}"] {
        let Ok(id) = HeaderValue::from_str(id) else { continue };
        for method in [Method::POST, Method::GET, Method::DELETE] {
            let mut request = client.request(&call_message(1, "echo", &json!({})));
            request.headers_mut().insert("mcp-session-id", id.clone());
            *request.method_mut() = method;
            assert_eq!(send(&server, request).await.status, StatusCode::NOT_FOUND);
        }
    }
    let without =
        send(&server, post("/mcp", call_message(1, "echo", &json!({})).to_string())).await;
    assert_eq!(without.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn other_methods_and_requests_of_nobody_are_refused() {
    let server = World::new().server();
    let mut request = call("echo", &json!({}));
    *request.method_mut() = Method::PUT;
    let put = send(&server, request).await;
    assert_eq!(put.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(put.headers[http::header::ALLOW], "GET, POST, DELETE");
    let mut request = call("echo", &json!({}));
    *request.method_mut() = Method::GET;
    assert_eq!(send(&server, request).await.status, StatusCode::METHOD_NOT_ALLOWED);
    let request = call("echo", &json!({}));
    let nobody =
        tower::ServiceExt::oneshot(server.beside(axum::Router::new()), request).await.unwrap();
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_opens_a_session_keeps_no_place() {
    let server = World::new().server_with(McpConfig { sessions_max: 1, ..McpConfig::default() });
    let mut opening = Box::pin(send(&server, super::requests::initialize("2025-11-25")));
    // Polled once, then dropped.
    assert!(futures::poll!(opening.as_mut()).is_pending());
    drop(opening);
    while server.sessions_open() > 0 {
        tokio::task::yield_now().await;
    }
    Client::open(&server).await;
}

/// Counts lines of the log.
#[derive(Clone, Default)]
struct Told(Arc<AtomicU64>);

impl tracing::Subscriber for Told {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn answers_against_the_rules_are_all_counted_and_told_at_a_rate() {
    let edge = Edge::new(McpConfig::default(), World::new().parts());
    let told = Told::default();
    let _guard = tracing::subscriber::set_default(told.clone());
    for _ in 0..10_000 {
        edge.note_bad_content(CallId::begin(), "liar", "it lies");
    }
    assert_eq!(edge.counters.bad_content.get(), 10_000);
    let told = told.0.load(Ordering::Relaxed);
    assert!((100..5_000).contains(&told), "{told} lines of 10,000");
}

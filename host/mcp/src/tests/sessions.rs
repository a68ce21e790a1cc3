//! The revisions with sessions.

use std::time::Duration;

use aop_core::{Listen as _, Measure as _, TenantName};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use super::requests::{Client, call_message, initialize, stateless};
use super::{CALL_ID, World, send};
use crate::tests::mounted;
use crate::{McpConfig, McpServer};

fn sessions(server: &McpServer) -> f64 {
    server.measure().into_iter().find(|sample| sample.name == "mcp_sessions").unwrap().value
}

#[tokio::test]
async fn a_session_lists_and_calls_in_the_old_shape() {
    let world = World::new();
    for fast in [true, false] {
        let server = McpServer::with_fast_path(McpConfig::default(), world.parts(), fast);
        let client = Client::open(&server).await;
        let list = client
            .send(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }))
            .await
            .result();
        assert_eq!(list["tools"].as_array().unwrap().len(), 11);
        assert!(list.get("ttlMs").is_none() && list.get("resultType").is_none());
        let answer = client.send(&call_message(2, "number", &json!({}))).await;
        let result = answer.result();
        assert_eq!(answer.message()["id"], 2);
        assert!(result.get("resultType").is_none());
        assert_eq!(result["_meta"]["aop/call-id"], CALL_ID);
        assert_eq!(
            result["structuredContent"]["result"]["float"],
            json!(2.225_073_858_507_201e-308)
        );
        let ping = client.send(&json!({ "jsonrpc": "2.0", "id": 3, "method": "ping" })).await;
        assert_eq!(ping.result(), json!({}));
        let unknown = client.send(&call_message(4, "nobody", &json!({}))).await;
        assert_eq!(unknown.error_code(), Some(-32602));
        let listen =
            client.send(&json!({ "jsonrpc": "2.0", "id": 5, "method": "subscriptions/listen", "params": { "notifications": {} } })).await;
        assert_eq!(listen.error_code(), Some(-32601));
    }
}

#[tokio::test]
async fn older_and_newer_clients_are_offered_what_the_server_speaks() {
    let server = World::new().server();
    for (asked, offered) in [
        ("2025-06-18", "2025-06-18"),
        ("2024-11-05", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("9999", "2025-11-25"),
    ] {
        assert_eq!(send(&server, initialize(asked)).await.result()["protocolVersion"], offered);
    }
}

#[tokio::test]
async fn progress_of_a_session_comes_with_the_answer() {
    let server = World::new().server();
    let client = Client::open(&server).await;
    let mut message = call_message(1, "steps", &json!({}));
    message["params"]["_meta"] = json!({ "progressToken": 9 });
    let messages = client.send(&message).await.messages();
    let steps: Vec<_> =
        messages.iter().filter_map(|message| message["params"]["progress"].as_f64()).collect();
    assert_eq!(steps, [1.0, 2.0, 3.0]);
    assert_eq!(messages.last().unwrap()["result"]["isError"], false);
}

/// A call that never ends, on either path.
fn hang(id: i64, through_rmcp: bool) -> serde_json::Value {
    let mut message = call_message(id, "hang", &json!({}));
    if through_rmcp {
        message["params"]["_meta"] = json!({ "progressToken": id });
    }
    message
}

#[tokio::test]
async fn cancelling_deleting_and_leaving_stop_a_call() {
    let world = World::new();
    let server = world.server();
    for through_rmcp in [false, true] {
        let client = Client::open(&server).await;
        let waiting = || {
            tokio::spawn({
                let (router, request) = (mounted(&server), client.request(&hang(1, through_rmcp)));
                async move {
                    router
                        .oneshot(request)
                        .await
                        .unwrap()
                        .into_body()
                        .collect()
                        .await
                        .unwrap()
                        .to_bytes()
                }
            })
        };

        let call = waiting();
        world.until_hanging(1).await;
        let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
        assert_eq!(client.send(&cancel).await.status, StatusCode::ACCEPTED);
        world.until_hanging(0).await;
        assert!(call.await.unwrap().is_empty(), "a cancelled request is not answered");

        let call = waiting();
        world.until_hanging(1).await;
        call.abort();
        world.until_hanging(0).await;

        let call = waiting();
        world.until_hanging(1).await;
        assert_eq!(send(&server, client.bare(Method::DELETE)).await.status, StatusCode::NO_CONTENT);
        world.until_hanging(0).await;
        call.await.unwrap();
        let gone = client.send(&call_message(5, "echo", &json!({}))).await;
        assert_eq!(gone.status, StatusCode::NOT_FOUND);
    }
    assert!(sessions(&server) < 0.5);
}

#[tokio::test]
async fn an_id_runs_once_at_a_time() {
    let world = World::new();
    let server = world.server();
    let client = Client::open(&server).await;
    let call = tokio::spawn(mounted(&server).oneshot(client.request(&hang(1, false))));
    world.until_hanging(1).await;
    let again = client.send(&call_message(1, "echo", &json!({}))).await;
    assert_eq!(again.error_code(), Some(-32600), "{}", again.text);
    call.abort();
}

#[tokio::test]
async fn a_cancelled_request_keeps_its_id_until_it_ended() {
    let world = World::new();
    let server = world.server();
    let client = Client::open(&server).await;
    for through_rmcp in [false, true] {
        let call = tokio::spawn(mounted(&server).oneshot(client.request(&hang(1, through_rmcp))));
        world.until_hanging(1).await;
        let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
        assert_eq!(client.send(&cancel).await.status, StatusCode::ACCEPTED);
        // Nothing yielded since, so what was cancelled had no chance to end.
        let mut again = hang(1, through_rmcp);
        again["params"]["name"] = json!("echo");
        let again = client.send(&again).await;
        assert_eq!(again.error_code(), Some(-32600), "{}", again.text);
        world.until_hanging(0).await;
        call.await.unwrap().unwrap();
        while client.send(&call_message(1, "echo", &json!({}))).await.error_code().is_some() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn waiting_requests_of_a_session_are_bounded() {
    let world = World::new();
    let server = world.server_with(McpConfig { pending_max: 2, ..McpConfig::default() });
    let client = Client::open(&server).await;
    let calls: Vec<_> = (1..=2)
        .map(|id| tokio::spawn(mounted(&server).oneshot(client.request(&hang(id, id == 1)))))
        .collect();
    world.until_hanging(2).await;
    let refused = client.send(&call_message(3, "echo", &json!({}))).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.message()["id"], 3);
    for call in calls {
        call.abort();
    }
}

#[tokio::test]
async fn sessions_are_bounded_and_places_come_back() {
    let server = World::new().server_with(McpConfig { sessions_max: 3, ..McpConfig::default() });
    let client = Client::open(&server).await;
    Client::open(&server).await;
    // One place is never its tenant's.
    let refused = send(&server, initialize("2025-11-25")).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers.contains_key("retry-after"));
    send(&server, client.bare(Method::DELETE)).await;
    Client::open(&server).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_ends_and_one_that_listens_stays() {
    let idle = Duration::from_secs(60);
    let server =
        World::new().server_with(McpConfig { session_idle_timeout: idle, ..McpConfig::default() });
    let client = Client::open(&server).await;
    let listener = Client::open(&server).await;
    let stream = mounted(&server).oneshot(listener.bare(Method::GET)).await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    tokio::time::sleep(idle * 3).await;
    assert_eq!(
        client.send(&call_message(1, "echo", &json!({}))).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(listener.send(&call_message(1, "echo", &json!({}))).await.status, StatusCode::OK);
    drop(stream);
    tokio::time::sleep(idle * 3).await;
    assert!(sessions(&server) < 0.5);
}

#[tokio::test(start_paused = true)]
async fn a_change_reaches_every_session_once() {
    let world = World::new();
    let server = world.server();
    let clients = [Client::open(&server).await, Client::open(&server).await];
    // One change before the streams are open, one after.
    world.changes.tools_changed(&TenantName::default_tenant());
    let mut streams = Vec::new();
    for client in &clients {
        for _ in 0..2 {
            let response = mounted(&server).oneshot(client.bare(Method::GET)).await.unwrap();
            streams.push(tokio::spawn(response.into_body().collect()));
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.changes.tools_changed(&TenantName::default_tenant());
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.drain();
    let mut told = Vec::new();
    for stream in streams {
        let bytes = stream.await.unwrap().unwrap().to_bytes();
        told.push(
            String::from_utf8_lossy(&bytes).matches("notifications/tools/list_changed").count(),
        );
    }
    assert_eq!((told[0] + told[1], told[2] + told[3]), (2, 2), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_a_broken_stream_never_told_of_is_told_by_the_next() {
    let world = World::new();
    let server = world.server();
    let client = Client::open(&server).await;
    let broken = mounted(&server).oneshot(client.bare(Method::GET)).await.unwrap();
    world.changes.tools_changed(&TenantName::default_tenant());
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(broken);
    let response = mounted(&server).oneshot(client.bare(Method::GET)).await.unwrap();
    let stream = tokio::spawn(response.into_body().collect());
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.drain();
    let bytes = stream.await.unwrap().unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&bytes).contains("notifications/tools/list_changed"));
}

#[tokio::test]
async fn event_streams_are_bounded() {
    let server = World::new().server_with(McpConfig { streams_max: 1, ..McpConfig::default() });
    let client = Client::open(&server).await;
    let stream = mounted(&server).oneshot(client.bare(Method::GET)).await.unwrap();
    assert_eq!(
        send(&server, client.bare(Method::GET)).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    drop(stream);
    assert_eq!(
        mounted(&server).oneshot(client.bare(Method::GET)).await.unwrap().status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_session_belongs_to_its_tenant() {
    let server = World::new().server();
    let client = Client::open(&server).await;
    for method in [Method::POST, Method::GET, Method::DELETE] {
        let mut request = client.request(&call_message(1, "echo", &json!({})));
        *request.uri_mut() = "/t/other/mcp".parse().unwrap();
        *request.method_mut() = method;
        assert_eq!(send(&server, request).await.status, StatusCode::NOT_FOUND);
    }
    let mut request = client.request(&call_message(1, "echo", &json!({})));
    *request.uri_mut() = "/t/default/mcp".parse().unwrap();
    assert_eq!(send(&server, request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn draining_lets_a_running_call_finish_and_ends_its_session_with_it() {
    let world = World::new();
    let server = world.server();
    let busy = Client::open(&server).await;
    Client::open(&server).await;
    let call = tokio::spawn(mounted(&server).oneshot(busy.request(&hang(1, false))));
    world.until_hanging(1).await;
    server.drain();
    while sessions(&server) > 1.5 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*world.hanging.borrow(), 1);
    call.abort();
    while sessions(&server) > 0.5 {
        tokio::task::yield_now().await;
    }
}

/// Believes everybody until it does not.
#[derive(Default)]
pub(super) struct Fickle(pub(super) std::sync::atomic::AtomicBool);

impl aop_core::Authenticate for Fickle {
    fn authenticate(&self, _: aop_core::Presented<'_>) -> aop_core::Identified {
        aop_core::Identified::Now(Err(aop_core::AuthenticateError::Missing))
    }

    fn holds(&self, _: &aop_core::Known) -> bool {
        !self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Fickle {
    /// The standing of a client with a token.
    pub(super) fn standing(self: &std::sync::Arc<Self>) -> aop_core::Standing {
        let bond = aop_core::Bond::Token { expires_unix_ms: 0 };
        let known =
            aop_core::Known { caller: crate::tests::local("default"), bond, since_unix_ms: 0 };
        aop_core::Standing::of(known, self.clone())
    }
}

/// A body that is sent half gives whoever lost its credential, or its tenant, another caller's word.
#[tokio::test]
async fn what_was_revoked_while_its_body_came_is_not_answered() {
    let server = World::new().server();
    for ends in [false, true] {
        let fickle = std::sync::Arc::<Fickle>::default();
        let (message, ended) = (stateless(&json!(1), "tools/list", json!({})), fickle.clone());
        let (parts, body) = message.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = futures::stream::once(async move {
            tokio::task::yield_now().await;
            ended.0.store(ends, std::sync::atomic::Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(body)
        });
        let mut request = http::Request::from_parts(parts, axum::body::Body::from_stream(body));
        request.extensions_mut().insert(fickle.standing());
        let status = send(&server, request).await.status;
        assert_eq!(status, if ends { StatusCode::UNAUTHORIZED } else { StatusCode::OK });
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_the_credential_that_was_used_last() {
    let server = World::new().server();
    let (first, renewed) = (std::sync::Arc::<Fickle>::default(), std::sync::Arc::default());
    let mut open = initialize("2025-11-25");
    open.extensions_mut().insert(first.standing());
    let opened = send(&server, open).await;
    let client = Client { server: &server, session: opened.headers["mcp-session-id"].clone() };
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(client.send(&initialized).await.status, StatusCode::ACCEPTED);
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let with = |fickle: &std::sync::Arc<Fickle>| {
        let mut request = client.request(&ping);
        request.extensions_mut().insert(fickle.standing());
        request
    };
    assert_eq!(send(&server, with(&renewed)).await.status, StatusCode::OK);
    first.0.store(true, std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(sessions(&server) > 0.5, "the client has renewed its credential");
    let stream = mounted(&server).oneshot(client.bare(Method::GET)).await.unwrap();
    renewed.0.store(true, std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(sessions(&server) < 0.5);
    stream.into_body().collect().await.unwrap();
    let revoked = |sample: &aop_core::Sample| sample.name == "mcp_sessions_revoked";
    assert!(server.measure().iter().any(|sample| revoked(sample) && sample.value > 0.5));
    assert_eq!(client.send(&ping).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn no_tenant_has_all_sessions_or_streams() {
    let config = McpConfig { sessions_max: 9, streams_max: 9, ..McpConfig::default() };
    let server = World::new().server_with(config);
    let of = |tenant: &str| {
        let mut request = initialize("2025-11-25");
        *request.uri_mut() = format!("/t/{tenant}/mcp").parse().unwrap();
        request
    };
    let mut open = 0;
    while send(&server, of("greedy")).await.status == StatusCode::OK {
        open += 1;
    }
    assert_eq!(open, 8);
    assert_eq!(send(&server, of("other")).await.status, StatusCode::OK);
}

//! What a parent passes on to zones below it: for whom there is room, and what becomes of their answers.

use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Request, Response, StatusCode, header};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tower::ServiceExt as _;
use uuid::Uuid;

use super::super::testing::{HANG, zone_name};
use super::super::wire;
use super::attached::{EU, LAB, ask, attach, connections, refused, until, world_with_hidden};
use super::*;

const US: &str = "us.acme.example";

/// A body of which one byte is there, and the rest does not come.
fn slow() -> Body {
    let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]);
    Body::from_stream(first.chain(stream::pending()))
}

/// A call of a zone below, over its parent.
fn passed(child: &str, secret: Option<&str>, body: Body) -> Request<Body> {
    let request = Request::post(format!("/zone/v1/below/{child}/zone/v1/mcp"));
    let bearer = secret.map(|secret| format!("Bearer {secret}"));
    let request = bearer
        .into_iter()
        .fold(request, |request, value| request.header(header::AUTHORIZATION, value));
    let mut request = request.body(body).unwrap();
    wire::describe(request.headers_mut(), &aop_core::ToolName::new("writer_run").unwrap());
    request
}

fn arguments(arguments: &str) -> Body {
    let name = aop_core::ToolName::new("writer_run").unwrap();
    let passage =
        wire::Passage { deadline_ms: 60_000, hops: 3, via: vec![], budget: 5, trace: None };
    let arguments = serde_json::from_str(arguments).unwrap();
    Body::from(wire::write_call(&name, arguments, &passage).unwrap())
}

/// The token that a child gave to its parent.
fn token(world: &World) -> String {
    let book = world.at("acme.example").zone.authority().book();
    book.peers[&zone_name(EU)].token.as_ref().unwrap().secret().to_owned()
}

/// Sends as many as that, of which none ends by itself.
async fn begun(router: &Router, request: impl Fn(usize) -> Request<Body>) -> Vec<Sending> {
    let sent: Vec<_> =
        (0..700).map(|number| tokio::spawn(router.clone().oneshot(request(number)))).collect();
    for _ in 0..sent.len() {
        tokio::task::yield_now().await;
    }
    sent
}

type Sending = tokio::task::JoinHandle<Result<Response<Body>, std::convert::Infallible>>;

#[tokio::test(start_paused = true)]
async fn who_makes_tokens_up_keeps_out_neither_known_zones_nor_other_zones_below() {
    let world = World::hiding(&["acme.example", EU, US], &[EU, US], 5 * MINUTE);
    let uplinks = [EU, US].map(|zone| {
        world.at(zone).agents.add("writer", Some(&["world"]));
        attach(&world, zone)
    });
    until(|| [EU, US].iter().all(|zone| connections(&world, "acme.example", zone) == 1)).await;
    let (router, token) = (world.wires.router("acme.example").unwrap(), token(&world));
    let status = async |child, secret| {
        let sent = router.clone().oneshot(passed(child, secret, arguments("{}")));
        sent.await.unwrap().status()
    };
    assert_eq!(status(EU, Some(&token)).await, StatusCode::OK);
    // Each announces the largest body and sends one byte.
    let made_up = |number| {
        let mut request = passed(EU, Some(&format!("aopz_{number}")), slow());
        request.headers_mut().insert(header::CONTENT_LENGTH, (5 << 20).into());
        request
    };
    let sending = begun(&router, made_up).await;
    assert_eq!(status(EU, None).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(EU, Some("aopz_none")).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(EU, Some(&token)).await, StatusCode::OK);
    for secret in [None, Some(&*token)] {
        let large = arguments(&format!(r#"{{"text":"{}"}}"#, "a".repeat(1 << 20)));
        let sent = router.clone().oneshot(passed(US, secret, large)).await.unwrap();
        assert_ne!(sent.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    for one in sending {
        one.abort();
        let _ = one.await;
    }
    assert_eq!(status(EU, Some("aopz_none")).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(EU, None).await, StatusCode::OK);
    drop(uplinks);
}

#[tokio::test(start_paused = true)]
async fn a_zone_below_that_is_asked_much_by_known_zones_keeps_no_other_one_out() {
    let world = World::hiding(&["acme.example", EU, US], &[EU, US], 5 * MINUTE);
    let _uplink = attach(&world, EU);
    until(|| connections(&world, "acme.example", EU) == 1).await;
    let (router, token) = (world.wires.router("acme.example").unwrap(), token(&world));
    let first = router.clone().oneshot(passed(EU, Some(&token), arguments("{}"))).await.unwrap();
    assert_eq!(first.status(), StatusCode::OK);
    let _sending = begun(&router, |_| passed(EU, Some(&token), slow())).await;
    let busy = router.clone().oneshot(passed(EU, Some(&token), arguments("{}"))).await.unwrap();
    assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
    // It keeps no connection, which is what is said of it, rather than that there is no place.
    let other = router.clone().oneshot(passed(US, None, arguments("{}"))).await.unwrap();
    assert_eq!(other.status(), StatusCode::OK);
    let body = to_bytes(other.into_body(), 10_000).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("keeps no connection"));
}

#[tokio::test(start_paused = true)]
async fn strangers_take_no_places_of_known_zones_on_a_connection() {
    let world = world_with_hidden();
    let _uplink = attach(&world, EU);
    until(|| connections(&world, "acme.example", EU) == 1).await;
    let (router, token) = (world.wires.router("acme.example").unwrap(), token(&world));
    let send = |secret: Option<&str>, text: &str| {
        router.clone().oneshot(passed(EU, secret, arguments(text)))
    };
    // Only the zone below can tell whether a token is one.
    assert_eq!(send(Some("aopz_none"), "{}").await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(send(Some(&token), "{}").await.unwrap().status(), StatusCode::OK);
    let agents = &world.at(EU).agents;
    agents.ran.lock().unwrap().clear();
    let hanging: Vec<_> = (0..40).map(|_| tokio::spawn(send(None, HANG))).collect();
    until(|| agents.ran.lock().unwrap().len() >= 32).await;
    for secret in [None, Some("aopz_none")] {
        let refused = send(secret, "{}").await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(send(Some(&token), "{}").await.unwrap().status(), StatusCode::OK);
    super::attached::call(world.at("acme.example"), &format!("writer_run.{EU}"), "{}")
        .await
        .unwrap();
    for task in hanging {
        task.abort();
        let _ = task.await;
    }
    until(|| agents.stopped.load(Ordering::SeqCst) == 32).await;
    let answer = send(None, "{}").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let body = to_bytes(answer.into_body(), 10_000).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("\"success\":true"));
}

#[tokio::test(start_paused = true)]
async fn strangers_who_send_slowly_keep_no_zone_below_from_its_connection() {
    let world = world_with_hidden();
    let router = world.wires.router("acme.example").unwrap();
    let question = || Request::post("/zone/v1/resolve").body(slow()).unwrap();
    let _sending = begun(&router, |_| question()).await;
    let refused = router.clone().oneshot(question()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let parent = world.at("acme.example").zone.authority().zone().clone();
    let word = world.at(EU).zone.authority().attach(&parent, Uuid::new_v4()).unwrap();
    assert_eq!(ask(&world, "acme.example", EU, &word[0]).await, StatusCode::SWITCHING_PROTOCOLS);
}

/// A connection for a zone below, admitted, and its far end.
fn admitted(world: &World) -> (super::super::attached::Admitted, [tokio::io::DuplexStream; 2]) {
    let parent = &world.at("acme.example").zone;
    let words = world.at(EU).zone.authority().attach(parent.authority().zone(), Uuid::new_v4());
    let admitted = parent.admit(&zone_name(EU), &words.unwrap().join(",")).unwrap();
    let (near, far) = tokio::io::duplex(1 << 20);
    (admitted, [near, far])
}

#[tokio::test(start_paused = true)]
async fn connections_that_come_together_are_no_more_than_there_may_be() {
    let world = world_with_hidden();
    let parent = &world.at("acme.example").zone;
    let coming: Vec<_> = (0..12).map(|_| admitted(&world)).collect();
    let (mut kept, mut fars) = (0, Vec::new());
    for (admitted, [near, far]) in coming {
        kept += usize::from(parent.keep(&zone_name(EU), admitted, TokioIo::new(near)).await);
        fars.push(far);
    }
    assert_eq!((kept, connections(&world, "acme.example", EU)), (8, 8));
    assert_eq!(refused(&world, "zone_attachments_refused"), 4.0);
}

/// A parent of a zone below that answers with a body like that.
async fn answered(
    world: &World,
    body: impl Fn() -> Body + Clone + Send + 'static,
) -> Response<Body> {
    let (admitted, [near, far]) = admitted(world);
    let service = service_fn(move |_: Request<hyper::body::Incoming>| {
        let answer = Response::builder()
            .status(StatusCode::TOO_MANY_REQUESTS)
            .header(header::RETRY_AFTER, "7")
            .header(header::CONTENT_TYPE, "text/html")
            .header(header::WWW_AUTHENTICATE, "Basic")
            .header(header::SET_COOKIE, "a=b")
            .header(header::LOCATION, "http://elsewhere.example/")
            .body(body());
        async { answer }
    });
    let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(far), service);
    tokio::spawn(serving);
    let attached = &world.at("acme.example").zone.ways().attached;
    attached.keep(admitted, TokioIo::new(near)).await.unwrap();
    let question = Request::get(format!("/zone/v1/below/{EU}/.well-known/aop-zone.json"));
    let router = world.wires.router("acme.example").unwrap();
    router.oneshot(question.body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_passed_on_without_its_headers_and_within_its_bounds() {
    let world = world_with_hidden();
    let answer = answered(&world, || Body::from("{}")).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    let mut headers: Vec<_> =
        answer.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    headers.sort_unstable();
    let allowed: [(&str, &[u8]); 3] = [
        ("content-type", b"application/json"),
        ("retry-after", b"7"),
        ("x-content-type-options", b"nosniff"),
    ];
    assert_eq!(headers, allowed);
    assert_eq!(to_bytes(answer.into_body(), 100).await.unwrap(), "{}");

    let world = world_with_hidden();
    let max = super::super::well_known::DOCUMENT_MAX_BYTES;
    let answer = answered(&world, move || Body::from(vec![b' '; max + 1])).await;
    assert!(to_bytes(answer.into_body(), usize::MAX).await.is_err(), "too large");

    let world = world_with_hidden();
    let answer = answered(&world, slow).await;
    let begun = tokio::time::Instant::now();
    assert!(to_bytes(answer.into_body(), usize::MAX).await.is_err(), "too late");
    assert!(begun.elapsed() <= MINUTE);
}

#[tokio::test]
async fn over_its_connection_a_zone_serves_the_zone_protocol_and_nothing_else() {
    let world = world_with_hidden();
    let router = super::super::http::protocol(Arc::clone(&world.at(EU).zone));
    let status = async |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).body(Body::from("{}"));
        router.clone().oneshot(request.unwrap()).await.unwrap().status()
    };
    assert_eq!(status("GET", "/.well-known/aop-zone.json").await, StatusCode::OK);
    for path in [
        "/",
        "/mcp",
        "/metrics",
        "/api/v1/agents",
        "/v0.1/servers",
        "/.well-known/ai-catalog.json",
        "/.well-known/agent-card.json",
        &format!("/zone/v1/below/{LAB}"),
    ] {
        for method in ["GET", "POST"] {
            assert_eq!(status(method, path).await, StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
}

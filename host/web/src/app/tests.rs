use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::AppState;
use crate::Phase;
use crate::testing::{FakeCatalog, Zone, from_api, open_router, state};

async fn ask(state: &AppState, request: http::request::Builder) -> Response<Body> {
    open_router(state.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn json(response: Response<Body>) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

fn some_state() -> AppState {
    state(Arc::new(FakeCatalog::with([from_api("echo", 1)])))
}

#[tokio::test]
async fn healthz_answers_whatever_the_phase() {
    let state = some_state();
    for phase in [Phase::Loading, Phase::Ready, Phase::Draining] {
        state.readiness.set(phase);
        assert_eq!(ask(&state, Request::get("/healthz")).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn readyz_says_why_not() {
    let state = some_state();
    let response = ask(&state, Request::get("/readyz")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    assert!(json(response).await["message"].as_str().unwrap().contains("loading"));

    state.readiness.set(Phase::Ready);
    let response = ask(&state, Request::get("/readyz")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(json(response).await, json!({"ready": true}));

    state.readiness.set(Phase::Draining);
    let response = ask(&state, Request::get("/readyz")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(json(response).await["message"].as_str().unwrap().contains("draining"));
}

#[tokio::test]
async fn the_index_is_as_ready_as_readyz() {
    let state = some_state();
    let ready = async || json(ask(&state, Request::get("/")).await).await["ready"] == true;
    assert!(!ready().await);
    state.readiness.set(Phase::Ready);
    assert!(ready().await);
    state.readiness.lacks(Some("the state database is away".to_owned()));
    assert!(!ready().await);
    state.readiness.lacks(None);
    assert!(ready().await);
    state.readiness.set(Phase::Draining);
    assert!(!ready().await);
}

#[tokio::test]
async fn metrics_are_openmetrics_text() {
    let response = ask(&some_state(), Request::get("/metrics")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = text(response).await;
    assert!(text.contains("aop_uptime_seconds ") && text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn unknown_paths_are_a_json_404() {
    let response = ask(&some_state(), Request::get("/nowhere")).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let body = json(response).await;
    assert_eq!(body["code"], "not_found");
    assert!(body["message"].as_str().unwrap().contains("/nowhere"), "{body}");
}

#[tokio::test]
async fn wrong_methods_are_a_json_405_that_names_the_right_ones() {
    let state = some_state();
    for (path, allowed) in [
        ("/healthz", "GET,HEAD"),
        ("/metrics", "GET,HEAD"),
        ("/api/v1/agents/echo", "GET,HEAD,PUT,DELETE"),
        ("/api/v1/agents/echo/rollback", "POST"),
    ] {
        let response = ask(&state, Request::patch(path)).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(response.headers()[header::ALLOW], allowed, "{path}");
        assert_eq!(json(response).await["code"], "method_not_allowed", "{path}");
    }
}

#[tokio::test]
async fn the_index_links_to_what_exists() {
    // In a zone: a host alone has none to show.
    let state = AppState { cluster: Arc::new(Zone), ..some_state() };
    let response = ask(&state, Request::get("/")).await;
    let body = json(response).await;
    assert_eq!(body["name"], "test <host>");
    for link in body["links"].as_array().unwrap() {
        let href = link["href"].as_str().unwrap();
        // MCP's route is merged in by the binary.
        if !matches!(href, "/mcp" | "/readyz") {
            assert_eq!(ask(&state, Request::get(href)).await.status(), StatusCode::OK, "{href}");
        }
    }
}

#[tokio::test]
async fn another_router_can_be_merged_in() {
    let other = axum::Router::new().route("/mcp", axum::routing::post(|| async { "mcp" }));
    let app = open_router(some_state()).merge(other);
    let response = app.oneshot(Request::post("/mcp").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(text(response).await, "mcp");
}

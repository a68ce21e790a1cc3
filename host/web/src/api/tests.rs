use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use aop_core::cluster::{ServerState, ServerStatus};
use aop_core::{AgentName, Caller, Observe as _, Scope, Scopes, TenantName};
use axum::Router;
use axum::body::Body;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::routes;
use crate::testing::{
    FakeCatalog, Log, Zone, agent, from_api, from_file, open_router, record, state,
};
use crate::uploads::{UPLOADS_MAX, UPLOADS_WAITING_MAX};
use crate::{AppState, router};

const BOUNDARY: &str = "b0undary";

fn document() -> Value {
    serde_json::from_str(include_str!("openapi.json")).unwrap()
}

/// Checks an answer against the document: the status must be listed and the body must fit its schema.
async fn check(operation: &str, response: Response<Body>) -> (StatusCode, Value) {
    let document = document();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let operations = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap().values());
    let operation =
        operations.into_iter().find(|candidate| candidate["operationId"] == operation).unwrap();
    let mut answer = operation["responses"]
        .get(status.as_str())
        .unwrap_or_else(|| &operation["responses"]["default"]);
    if let Some(reference) = answer.get("$ref") {
        answer = document.pointer(reference.as_str().unwrap().strip_prefix('#').unwrap()).unwrap();
    }
    let Some(schema) = answer.pointer("/content/application~1json/schema") else {
        assert!(
            answer.is_object() && body.is_empty(),
            "{status} is not in the document, or has a body"
        );
        return (status, Value::Null);
    };
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let mistake = jsonschema::draft202012::new(&schema).unwrap().validate(&body).err();
    assert!(mistake.is_none(), "{mistake:?}\n{body}");
    (status, body)
}

async fn ask(app: &Router, request: Request<Body>) -> Response<Body> {
    app.clone().oneshot(request).await.unwrap()
}

fn plain(method: Method, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

fn multipart(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let head =
            format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

fn put(name: &str, body: impl Into<Body>) -> Request<Body> {
    Request::put(format!("/api/v1/agents/{name}"))
        .header(header::CONTENT_TYPE, format!("multipart/form-data; boundary={BOUNDARY}"))
        .body(body.into())
        .unwrap()
}

fn some_catalog() -> Arc<FakeCatalog> {
    Arc::new(FakeCatalog::with([from_api("echo", 3), from_file("owned")]))
}

#[tokio::test]
async fn agents_are_listed_and_shown_with_revisions_and_figures() {
    let state = state(some_catalog());
    let (tenant, echo) = (TenantName::default_tenant(), agent("echo"));
    state.metrics.started(&tenant, &echo);
    state.metrics.finished(&record(&tenant, Some(&echo), 5, None), true);
    let app = open_router(state);

    let (status, body) =
        check("listAgents", ask(&app, plain(Method::GET, "/api/v1/agents")).await).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["agents"][1]["name"], "owned");

    let (status, body) =
        check("showAgent", ask(&app, plain(Method::GET, "/api/v1/agents/echo")).await).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["agent"]["name"], "echo");
    assert_eq!(body["revisions"].as_array().unwrap().len(), 3);
    assert_eq!(body["revisions"][0]["serving"], true);
    assert_eq!(body["stats"]["calls"], 1);
    assert!(body["stats"]["p99_ms"].as_f64().unwrap() > 4.9, "{body}");

    let (status, body) =
        check("showAgent", ask(&app, plain(Method::GET, "/api/v1/agents/owned")).await).await;
    assert_eq!((status, &body["stats"]["p50_ms"]), (StatusCode::OK, &Value::Null));
}

#[tokio::test]
async fn tools_are_listed() {
    let app = open_router(state(some_catalog()));
    let (status, body) =
        check("listTools", ask(&app, plain(Method::GET, "/api/v1/tools")).await).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["tools"][0]["name"], "echo_run");
    assert_eq!(body["tools"][0]["inputSchema"], json!({"type": "object"}));
}

#[tokio::test]
async fn an_upload_creates_an_agent_and_then_revisions_of_it() {
    let catalog = some_catalog();
    let app = open_router(state(Arc::clone(&catalog)));
    let first =
        multipart(&[("component", b"\0asm\r\n--b0undar"), ("settings", b"timeout = \"5s\"\n")]);
    let (status, body) = check("loadAgent", ask(&app, put("new", first)).await).await;
    assert_eq!((status, &body["revision"]), (StatusCode::CREATED, &json!(1)));
    let second = multipart(&[("component", b"other")]);
    let (status, body) = check("loadAgent", ask(&app, put("new", second)).await).await;
    assert_eq!((status, &body["revision"]), (StatusCode::OK, &json!(2)));

    let loaded = catalog.loaded.lock().unwrap();
    assert_eq!(loaded[0].component, b"\0asm\r\n--b0undar");
    assert_eq!(loaded[0].settings.limits.timeout.as_secs(), 5);
    assert_eq!(loaded[1].settings, aop_core::Settings::default());
}

#[tokio::test]
async fn uploads_that_cannot_be_loaded_say_why() {
    let catalog = some_catalog();
    let app = open_router(state(Arc::clone(&catalog)));
    let good: &[u8] = b"component";
    let large = vec![b'#'; (256 << 10) + 1];
    for (request, status, code, part) in [
        (put("aop", multipart(&[("component", good)])), 422, "invalid_arguments", "reserved"),
        (
            put("Echo", multipart(&[("component", good)])),
            422,
            "invalid_arguments",
            "not a valid agent name",
        ),
        (put("x", multipart(&[])), 422, "invalid_arguments", "`component` is missing"),
        (
            put("x", multipart(&[("component", good), ("component", good)])),
            422,
            "invalid_arguments",
            "twice",
        ),
        (put("x", multipart(&[("file", good)])), 422, "invalid_arguments", "unknown field `file`"),
        (
            put("x", multipart(&[("component", good), ("settings", b"timeot = 1\nmemory = 3\n")])),
            422,
            "invalid_arguments",
            "line 2",
        ),
        (
            put("x", multipart(&[("component", good), ("settings", b"\xff")])),
            422,
            "invalid_arguments",
            "UTF-8",
        ),
        (
            put("x", multipart(&[("component", good), ("settings", &large)])),
            413,
            "too_large",
            "settings",
        ),
        (put("x", multipart(&[("component", b"broken")])), 422, "rejected", "not a component"),
        (put("owned", multipart(&[("component", good)])), 409, "owned_by_file", "owned.wasm"),
        (put("x", "no multipart at all"), 400, "bad_request", "cannot be read"),
        (
            put("x", multipart(&[("component", good)])[..60].to_vec()),
            400,
            "bad_request",
            "cannot be read",
        ),
        (
            plain(Method::PUT, "/api/v1/agents/x"),
            415,
            "unsupported_media_type",
            "multipart/form-data",
        ),
    ] {
        let (actual, body) = check("loadAgent", ask(&app, request).await).await;
        assert_eq!((actual.as_u16(), body["code"].as_str().unwrap()), (status, code), "{body}");
        assert!(body["message"].as_str().unwrap().contains(part), "{part}: {body}");
    }
    assert!(catalog.loaded.lock().unwrap().is_empty());
}

#[tokio::test]
async fn uploads_have_a_size_limit_whether_or_not_they_announce_it() {
    let catalog = some_catalog();
    let app = open_router(AppState { upload_max_bytes: 1000, ..state(Arc::clone(&catalog)) });
    let body = multipart(&[("component", &[0; 1000])]);
    let mut announced = put("x", body.clone());
    announced.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
    for request in [announced, put("x", body)] {
        let (status, body) = check("loadAgent", ask(&app, request).await).await;
        assert_eq!((status, &body["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large")));
        assert!(body["message"].as_str().unwrap().contains("1000 bytes"), "{body}");
    }
    let (status, _) =
        check("loadAgent", ask(&app, put("x", multipart(&[("component", &[0; 800])]))).await).await;
    assert_eq!(status, StatusCode::CREATED);
}

#[tokio::test]
async fn an_upload_grants_nothing_unless_the_operator_lets_it() {
    let catalog = some_catalog();
    let granting: [&[u8]; 2] = [
        b"[policy]\ndirectories = [\"read / as /host\"]\n",
        b"[model]\nprovider = \"openai\"\nname = \"m\"\n",
    ];
    for settings in granting {
        let upload = || put("x", multipart(&[("component", b"\0asm"), ("settings", settings)]));
        let app = open_router(state(Arc::clone(&catalog)));
        let (status, body) = check("loadAgent", ask(&app, upload()).await).await;
        assert_eq!((status, &body["code"]), (StatusCode::FORBIDDEN, &json!("permission_denied")));
        assert!(body["message"].as_str().unwrap().contains("uploads_may_grant"), "{body}");
        assert!(catalog.loaded.lock().unwrap().is_empty());
    }
    let app = open_router(AppState { uploads_may_grant: true, ..state(Arc::clone(&catalog)) });
    let upload = put("x", multipart(&[("component", b"\0asm"), ("settings", granting[0])]));
    let (status, _) = check("loadAgent", ask(&app, upload).await).await;
    assert_eq!(status, StatusCode::CREATED);
    assert!(catalog.loaded.lock().unwrap()[0].settings.grant_anything());
}

#[tokio::test]
async fn an_upload_that_names_secrets_is_for_who_may_manage_them() {
    let catalog = some_catalog();
    let log = Arc::new(Log::default());
    let state =
        AppState { uploads_may_grant: true, audit: log.clone(), ..state(Arc::clone(&catalog)) };
    let router = router(state);
    let app = |scopes: Scopes| {
        let caller = Caller { scopes, ..Caller::local(TenantName::default_tenant()) };
        router.clone().layer(axum::Extension(caller))
    };
    let upload = |headers: &str| {
        let settings = format!(
            "[policy]\nhttp = [{{ permit = \"https://attacker.example/*\", headers = {{ X = \"{headers}\" }} }}]\n"
        );
        put("x", multipart(&[("component", b"\0asm"), ("settings", settings.as_bytes())]))
    };
    let writer = Scopes::NONE.with(Scope::AgentsWrite);
    let answer = ask(&app(writer), upload("Bearer {secret:ANY}")).await;
    let (status, body) = check("loadAgent", answer).await;
    assert_eq!((status, &body["code"]), (StatusCode::FORBIDDEN, &json!("permission_denied")));
    assert!(body["message"].as_str().unwrap().contains("tenant:admin"), "{body}");
    assert!(catalog.loaded.lock().unwrap().is_empty());
    let (status, _) = check("loadAgent", ask(&app(writer), upload("plain")).await).await;
    assert_eq!(status, StatusCode::CREATED, "a header without a secret is like any grant");
    let admin = writer.with(Scope::TenantAdmin);
    let answer = ask(&app(admin), upload("Bearer {secret:ANY}")).await;
    assert_eq!(check("loadAgent", answer).await.0, StatusCode::OK);
    let lines = log.lines.lock().unwrap();
    assert_eq!(*lines, ["policy.refuse refused x", "agent.load done x", "agent.load done x"]);
}

#[tokio::test]
async fn a_load_whose_client_goes_away_is_made_and_noted() {
    let catalog =
        Arc::new(FakeCatalog { loads_allowed: Semaphore::new(0), ..FakeCatalog::default() });
    let log = Arc::new(Log::default());
    let app = open_router(AppState { audit: log.clone(), ..state(Arc::clone(&catalog)) });
    tokio::select! {
        _ = ask(&app, put("x", multipart(&[("component", b"component")]))) => unreachable!("it is held"),
        () = catalog.began.notified() => {}
    }
    catalog.loads_allowed.add_permits(1);
    log.noted.notified().await;
    assert_eq!(*log.lines.lock().unwrap(), ["agent.load done x"]);
    assert_eq!(catalog.loaded.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn settings_of_nothing_but_mistakes_are_refused_in_a_page() {
    let app = open_router(state(some_catalog()));
    let keys = (0..25_000).fold(String::new(), |text, n| text + &format!("k{n}=1\n"));
    let long = format!("{}=1", "k".repeat(200_000));
    for settings in [keys, long] {
        let fields = multipart(&[("component", b"\0asm"), ("settings", settings.as_bytes())]);
        let (status, body) = check("loadAgent", ask(&app, put("x", fields)).await).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        let message = body["message"].as_str().unwrap();
        assert!(message.lines().count() <= 101, "{message}");
        assert!(message.len() < 100_000, "{}", message.len());
    }
}

#[tokio::test]
async fn changes_of_an_agent_that_does_not_exist_leave_no_line_in_the_audit_log() {
    let log = Arc::new(Log::default());
    let app = open_router(AppState { audit: log.clone(), ..state(some_catalog()) });
    let (status, _) =
        check("unloadAgent", ask(&app, plain(Method::DELETE, "/api/v1/agents/nope")).await).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(log.lines.lock().unwrap().is_empty());
    let (status, _) =
        check("unloadAgent", ask(&app, plain(Method::DELETE, "/api/v1/agents/echo")).await).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(*log.lines.lock().unwrap(), ["agent.unload done echo"]);
}

#[tokio::test]
async fn what_asks_for_a_join_token_is_small() {
    let zone = open_router(AppState { cluster: Arc::new(Zone), ..state(some_catalog()) });
    let request = Request::post("/api/v1/cluster/join-tokens")
        .header(header::CONTENT_TYPE, "application/json")
        .body(format!("{{\"uses\": 1{} }}", " ".repeat(8 << 10)).into())
        .unwrap();
    let (status, body) = check("makeJoinToken", ask(&zone, request).await).await;
    assert_eq!((status, &body["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large")));
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_never_ends_is_given_up() {
    let app = open_router(state(some_catalog()));
    let (status, body) = check("loadAgent", ask(&app, put("x", Body::new(Endless))).await).await;
    assert_eq!((status, &body["code"]), (StatusCode::REQUEST_TIMEOUT, &json!("deadline_exceeded")));
}

#[tokio::test]
async fn only_so_many_uploads_of_a_tenant_are_worked_on_at_once_and_only_so_many_wait() {
    // The last place of the host is not for the tenant that has all others.
    const OF_TENANT: usize = UPLOADS_MAX - 1;
    let catalog =
        Arc::new(FakeCatalog { loads_allowed: Semaphore::new(0), ..FakeCatalog::default() });
    let state = state(Arc::clone(&catalog));
    let account = state.accounts.tenant(&TenantName::default_tenant());
    let app = open_router(state);
    let uploads: Vec<_> = (0..OF_TENANT + UPLOADS_WAITING_MAX as usize + 1)
        .map(|number| {
            let request = put(&format!("agent{number}"), multipart(&[("component", b"component")]));
            let app = app.clone();
            tokio::spawn(async move { app.oneshot(request).await.unwrap() })
        })
        .collect();
    while !uploads.iter().any(tokio::task::JoinHandle::is_finished)
        || catalog.loading.load(Ordering::SeqCst) < OF_TENANT
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(catalog.loading.load(Ordering::SeqCst), OF_TENANT);
    catalog.loads_allowed.add_permits(uploads.len());
    let mut refused = Vec::new();
    for upload in uploads {
        let response = upload.await.unwrap();
        if response.status() != StatusCode::CREATED {
            refused.push(response);
        }
    }
    let response = refused.pop().unwrap();
    assert!(refused.is_empty());
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    let (status, body) = check("loadAgent", response).await;
    assert_eq!(
        (status, &body["code"]),
        (StatusCode::TOO_MANY_REQUESTS, &json!("resource_exhausted"))
    );
    assert_eq!(account.places.held(), 0, "uploads take no places of calls");
}

#[tokio::test]
async fn a_tenant_sees_what_it_uses() {
    let state = state(some_catalog());
    let tenant = TenantName::default_tenant();
    let quota = aop_core::quota::Quota { calls_per_second: Some(7), ..Default::default() };
    state.accounts.set_tenant(&tenant, Some(quota));
    let echo = state.accounts.payer(&tenant, &agent("echo"));
    echo.begin(std::time::Instant::now(), false).unwrap();
    let app = open_router(state.clone());
    let (status, body) =
        check("showUsage", ask(&app, plain(Method::GET, "/api/v1/usage")).await).await;
    assert_eq!((status, &body["tenant"]), (StatusCode::OK, &json!("default")));
    let calls =
        json!({ "quota": "calls_per_second", "limit": 7, "here": 7, "used": 1, "refused": 0 });
    assert_eq!(body["quotas"][0], calls);
    let (_, body) =
        check("showAgent", ask(&app, plain(Method::GET, "/api/v1/agents/echo")).await).await;
    assert_eq!(body["quotas"][0]["quota"], "calls_per_second");
    assert_eq!(body["quotas"][0]["limit"], Value::Null, "an agent has its own");
}

#[tokio::test]
async fn agents_are_unloaded_with_their_figures() {
    let state = state(some_catalog());
    let (tenant, echo) = (TenantName::default_tenant(), agent("echo"));
    state.metrics.finished(&record(&tenant, Some(&echo), 5, None), false);
    let app = open_router(state.clone());
    let (status, _) =
        check("unloadAgent", ask(&app, plain(Method::DELETE, "/api/v1/agents/echo")).await).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(state.metrics.stats(&tenant, "echo").calls, 0);
    let (status, body) =
        check("unloadAgent", ask(&app, plain(Method::DELETE, "/api/v1/agents/echo")).await).await;
    assert_eq!((status, &body["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
    let (status, body) =
        check("unloadAgent", ask(&app, plain(Method::DELETE, "/api/v1/agents/owned")).await).await;
    assert_eq!((status, &body["code"]), (StatusCode::CONFLICT, &json!("owned_by_file")));
}

#[tokio::test]
async fn agents_are_rolled_back() {
    let app = open_router(state(some_catalog()));
    for (name, status, code) in [
        ("echo", 200, None),
        ("owned", 409, Some("no_earlier_revision")),
        ("x", 404, Some("not_found")),
    ] {
        let request = plain(Method::POST, &format!("/api/v1/agents/{name}/rollback"));
        let (actual, body) = check("rollBackAgent", ask(&app, request).await).await;
        assert_eq!((actual.as_u16(), body["code"].as_str()), (status, code), "{body}");
    }
}

#[tokio::test]
async fn a_draining_host_says_when_to_come_back() {
    let catalog = FakeCatalog { draining: true, ..FakeCatalog::with([from_api("echo", 1)]) };
    let app = open_router(state(Arc::new(catalog)));
    let response = ask(&app, plain(Method::DELETE, "/api/v1/agents/echo")).await;
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    let (status, body) = check("unloadAgent", response).await;
    assert_eq!((status, &body["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("unavailable")));
}

#[tokio::test]
async fn hostile_names_are_not_found() {
    let app = open_router(state(some_catalog()));
    for name in ["..%2f..%2fetc", "%00", "a%20b", &"x".repeat(5000)] {
        let response = ask(&app, plain(Method::GET, &format!("/api/v1/agents/{name}"))).await;
        let (status, body) = check("showAgent", response).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{name}");
        assert!(body["message"].as_str().unwrap().len() < 300);
    }
    let response = ask(&app, plain(Method::GET, "/api/v1/agents/%ff")).await;
    assert_eq!(check("showAgent", response).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn callers_that_are_not_authenticated_see_nothing() {
    // The routes without a gate in front.
    let app = router(state(some_catalog()));
    for (operation, request) in [
        ("listAgents", plain(Method::GET, "/api/v1/agents")),
        ("showAgent", plain(Method::GET, "/api/v1/agents/echo")),
        ("loadAgent", put("x", multipart(&[("component", b"c")]))),
        ("unloadAgent", plain(Method::DELETE, "/api/v1/agents/echo")),
        ("rollBackAgent", plain(Method::POST, "/api/v1/agents/echo/rollback")),
        ("listTools", plain(Method::GET, "/api/v1/tools")),
        ("listKeys", plain(Method::GET, "/api/v1/keys")),
        ("revokeKey", plain(Method::DELETE, "/api/v1/keys/aaaaaaaaaaaa")),
        ("listSecrets", plain(Method::GET, "/api/v1/secrets")),
        ("deleteSecret", plain(Method::DELETE, "/api/v1/secrets/a")),
        ("showTenant", plain(Method::GET, "/api/v1/tenants/a")),
        ("deleteTenant", plain(Method::DELETE, "/api/v1/tenants/a")),
    ] {
        let (status, body) = check(operation, ask(&app, request).await).await;
        assert_eq!(
            (status, &body["code"]),
            (StatusCode::UNAUTHORIZED, &json!("unauthenticated")),
            "{operation}"
        );
    }
}

#[tokio::test]
async fn the_document_has_exactly_the_paths_and_methods_that_are_served() {
    let app = open_router(state(some_catalog()));
    let response = ask(&app, plain(Method::GET, "/api/v1/openapi.json")).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    let served: Value =
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(served, document());

    let documented: BTreeMap<_, BTreeSet<_>> = served["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, operations)| {
            let methods = operations.as_object().unwrap().keys().filter(|key| *key != "parameters");
            (path.clone(), methods.map(|method| method.to_uppercase()).collect())
        })
        .collect();
    let mut routed = BTreeMap::new();
    for (path, _) in routes(0) {
        let response = ask(&app, plain(Method::TRACE, &path.replace("{name}", "echo"))).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allow = response.headers()[header::ALLOW].to_str().unwrap().to_owned();
        let methods =
            allow.split(',').filter(|method| *method != "HEAD").map(str::to_owned).collect();
        routed.insert(path.to_owned(), methods);
    }
    assert_eq!(documented, routed);
}

fn json_to(method: Method, path: &str, body: &Value) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header(header::CONTENT_TYPE, "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

/// One byte now and then must not hold a connection: whoever may send bodies could hold all of them.
#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_given_up() {
    let app = open_router(state(some_catalog()));
    for (operation, method, path) in [
        ("createKey", Method::POST, "/api/v1/keys"),
        ("rotateKey", Method::POST, "/api/v1/keys/aaaaaaaaaaaa/rotate"),
        ("setSecret", Method::PUT, "/api/v1/secrets/a"),
        ("createTenant", Method::POST, "/api/v1/tenants"),
        ("makeJoinToken", Method::POST, "/api/v1/cluster/join-tokens"),
        ("evictNode", Method::POST, "/api/v1/cluster/evictions"),
        ("rotateClusterKey", Method::POST, "/api/v1/cluster/key-rotations"),
    ] {
        let began = tokio::time::Instant::now();
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let response = ask(&app, request.body(Body::new(Trickle::default())).unwrap()).await;
        let (status, body) = check(operation, response).await;
        let code = &body["code"];
        assert_eq!((status, code), (StatusCode::REQUEST_TIMEOUT, &json!("deadline_exceeded")));
        let took = began.elapsed().as_secs();
        assert!((30..=31).contains(&took), "{operation}: {took} s");
    }
}

/// A body of one space every 0.8 s.
#[derive(Default)]
struct Trickle(Option<Pin<Box<tokio::time::Sleep>>>);

impl hyper::body::Body for Trickle {
    type Data = hyper::body::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        let pause = std::time::Duration::from_millis(800);
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        std::task::ready!(sleep.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(Some(Ok(Frame::data(Self::Data::from_static(b" ")))))
    }
}

/// Believes whoever asks until it does not.
#[derive(Default)]
struct Fickle(std::sync::atomic::AtomicBool);

impl aop_core::Authenticate for Fickle {
    fn authenticate(&self, _: aop_core::Presented<'_>) -> aop_core::Identified {
        aop_core::Identified::Now(Err(aop_core::AuthenticateError::Missing))
    }

    fn holds(&self, _: &aop_core::Known) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

/// A body whose sender loses its credential before the last byte.
struct Revoking(Option<Vec<u8>>, Arc<Fickle>);

impl hyper::body::Body for Revoking {
    type Data = hyper::body::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        self.1.0.store(true, Ordering::Relaxed);
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes.into()))))
    }
}

#[tokio::test]
async fn what_was_revoked_while_its_body_came_changes_nothing() {
    let catalog = some_catalog();
    let (state, log) = (state(catalog.clone()), Arc::new(Log::default()));
    let admin = state.admin.clone();
    let app = router(AppState { audit: log.clone(), cluster: Arc::new(Zone), ..state });
    let by = aop_core::Caller::local(TenantName::default_tenant());
    let key = json!({ "name": "ci", "scopes": ["tools:call"] }).to_string().into_bytes();
    let tenant = json!({ "name": "acme" }).to_string().into_bytes();
    let tokens = json!({ "uses": 1, "lifetime_s": 60 }).to_string().into_bytes();
    let agent = multipart(&[("component", b"\0asm")]);
    let kind = "application/json".to_owned();
    let form = format!("multipart/form-data; boundary={BOUNDARY}");
    for (operation, method, path, kind, body) in [
        ("createKey", Method::POST, "/api/v1/keys", &kind, key),
        ("setSecret", Method::PUT, "/api/v1/secrets/a", &kind, b"v".to_vec()),
        ("createTenant", Method::POST, "/api/v1/tenants", &kind, tenant),
        ("makeJoinToken", Method::POST, "/api/v1/cluster/join-tokens", &kind, tokens),
        ("loadAgent", Method::PUT, "/api/v1/agents/x", &form, agent),
    ] {
        let ask = async |revokes: bool| {
            let fickle = Arc::<Fickle>::default();
            let bond = aop_core::Bond::Open;
            let known = aop_core::Known { caller: by.clone(), bond, since_unix_ms: 1 };
            let request = Request::builder().method(method.clone()).uri(path);
            let request = request.header(header::CONTENT_TYPE, kind);
            let body = match revokes {
                true => Body::new(Revoking(Some(body.clone()), fickle.clone())),
                false => Body::from(body.clone()),
            };
            let mut request = request.body(body).unwrap();
            request.extensions_mut().insert(aop_core::Standing::of(known, fickle));
            check(operation, app.clone().oneshot(request).await.unwrap()).await
        };
        let (status, body) = ask(true).await;
        let code = &body["code"];
        assert_eq!((status, code), (StatusCode::UNAUTHORIZED, &json!("unauthenticated")));
        assert!(admin.keys(&by).await.unwrap().is_empty() || operation != "createKey");
        assert!(admin.secrets(&by).await.unwrap().is_empty() || operation != "setSecret");
        assert!(admin.tenants().await.unwrap().is_empty() || operation != "createTenant");
        assert!(catalog.loaded.lock().unwrap().is_empty());
        let (status, body) = ask(false).await;
        assert!(status.is_success(), "{operation}: {status} {body}");
    }
}

#[tokio::test]
async fn an_agent_with_the_name_of_a_shared_one_is_new() {
    let owner = TenantName::new("acme").unwrap();
    let source = aop_core::Source::Tenant(owner);
    let origin = aop_core::Origin::Elsewhere { source, places: Vec::new() };
    let shared = aop_core::AgentStatus { origin, ..from_api("kit", 1) };
    let app = open_router(state(Arc::new(FakeCatalog::with([shared]))));
    let response = ask(&app, put("kit", multipart(&[("component", b"c")]))).await;
    let (status, _) = check("loadAgent", response).await;
    assert_eq!(status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_packed_body_is_refused_and_a_wrong_word_is_named() {
    let app = open_router(state(some_catalog()));
    let mut packed = json_to(Method::POST, "/api/v1/keys", &json!({}));
    packed.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    let (status, body) = check("createKey", ask(&app, packed).await).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{body}");
    let mut packed = put("x", multipart(&[("component", b"c")]));
    packed.headers_mut().insert(header::CONTENT_ENCODING, "zstd".parse().unwrap());
    let (status, body) = check("loadAgent", ask(&app, packed).await).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{body}");
    let wrong = json!({ "name": "x", "scopes": ["tools:cal"] });
    let (status, body) =
        check("createKey", ask(&app, json_to(Method::POST, "/api/v1/keys", &wrong)).await).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    let message = body["message"].as_str().unwrap();
    assert!(message.contains("tools:cal") && message.contains("tools:call"), "{message}");
}

#[tokio::test]
async fn keys_are_created_listed_rotated_and_revoked() {
    let app = open_router(state(some_catalog()));
    let new = json!({ "name": "ci", "scopes": ["tools:call"], "expires_in_seconds": 60 });
    let response = ask(&app, json_to(Method::POST, "/api/v1/keys", &new)).await;
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    let (status, created) = check("createKey", response).await;
    assert_eq!((status, &created["text"]), (StatusCode::CREATED, &json!("aop_x_y")));
    let id = created["key"]["id"].as_str().unwrap().to_owned();
    let (_, listed) = check("listKeys", ask(&app, plain(Method::GET, "/api/v1/keys")).await).await;
    assert_eq!(listed["keys"][0]["id"], *id);
    assert!(!listed.to_string().contains("aop_x"), "{listed}");
    let rotate = |id: &str| {
        let body = json!({ "overlap_seconds": 5 });
        json_to(Method::POST, &format!("/api/v1/keys/{id}/rotate"), &body)
    };
    let (status, _) = check("rotateKey", ask(&app, rotate(&id)).await).await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, _) = check("rotateKey", ask(&app, rotate("bbbbbbbbbbbb")).await).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let path = format!("/api/v1/keys/{id}");
    let (status, revoked) = check("revokeKey", ask(&app, plain(Method::DELETE, &path)).await).await;
    assert_eq!((status, &revoked["revoked_unix_ms"]), (StatusCode::OK, &json!(2)));
    let (status, _) =
        check("revokeKey", ask(&app, plain(Method::DELETE, "/api/v1/keys/x")).await).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn requests_for_keys_and_tenants_that_cannot_be_say_why() {
    let app = open_router(state(some_catalog()));
    let no_json = plain(Method::POST, "/api/v1/keys");
    let cases = [
        ("createKey", no_json, 415, "unsupported_media_type"),
        (
            "createKey",
            json_to(Method::POST, "/api/v1/keys", &json!({ "name": "x" })),
            422,
            "invalid_arguments",
        ),
        (
            "createKey",
            json_to(Method::POST, "/api/v1/keys", &json!({ "name": "x", "scopes": ["root"] })),
            422,
            "invalid_arguments",
        ),
        (
            "createTenant",
            json_to(Method::POST, "/api/v1/tenants", &json!({ "name": "A b" })),
            422,
            "invalid_arguments",
        ),
        ("showTenant", plain(Method::GET, "/api/v1/tenants/A%20b"), 404, "not_found"),
        ("setSecret", plain(Method::PUT, "/api/v1/secrets/1"), 422, "invalid_arguments"),
    ];
    for (operation, request, status, code) in cases {
        let (actual, body) = check(operation, ask(&app, request).await).await;
        assert_eq!((actual.as_u16(), &body["code"]), (status, &json!(code)), "{operation}: {body}");
    }
    let long = json!({ "name": "x".repeat(9000), "scopes": ["tools:call"] });
    let (status, _) =
        check("createKey", ask(&app, json_to(Method::POST, "/api/v1/keys", &long)).await).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn secrets_are_set_listed_and_deleted_and_never_shown() {
    let app = open_router(state(some_catalog()));
    let put = |name: &str, value: Vec<u8>| {
        let request = Request::put(format!("/api/v1/secrets/{name}"));
        request.body(Body::from(value)).unwrap()
    };
    let (status, body) =
        check("setSecret", ask(&app, put("token", b"hunter2".to_vec())).await).await;
    assert_eq!((status, body), (StatusCode::OK, json!({ "name": "token", "updated_unix_ms": 3 })));
    let (status, _) = check("setSecret", ask(&app, put("token", vec![b'x'; 17 << 10])).await).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _) = check("setSecret", ask(&app, put("token", b"\xff".to_vec())).await).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (_, body) =
        check("listSecrets", ask(&app, plain(Method::GET, "/api/v1/secrets")).await).await;
    assert_eq!(body["secrets"][0]["name"], "token");
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        let request = plain(Method::DELETE, "/api/v1/secrets/token");
        assert_eq!(check("deleteSecret", ask(&app, request).await).await.0, status);
    }
}

#[tokio::test]
async fn tenants_are_created_listed_shown_and_deleted() {
    let app = open_router(state(some_catalog()));
    for status in [StatusCode::CREATED, StatusCode::CONFLICT] {
        let request = json_to(Method::POST, "/api/v1/tenants", &json!({ "name": "acme" }));
        assert_eq!(check("createTenant", ask(&app, request).await).await.0, status);
    }
    let (_, body) =
        check("listTenants", ask(&app, plain(Method::GET, "/api/v1/tenants")).await).await;
    assert_eq!(body["tenants"][0]["name"], "acme");
    let shown = ask(&app, plain(Method::GET, "/api/v1/tenants/acme")).await;
    let (_, body) = check("showTenant", shown).await;
    assert_eq!((&body["keys"], &body["secrets"]), (&json!(0), &json!(0)));
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        let request = plain(Method::DELETE, "/api/v1/tenants/acme");
        assert_eq!(check("deleteTenant", ask(&app, request).await).await.0, status);
    }
}

#[tokio::test]
async fn every_route_of_the_document_says_what_it_needs() {
    use crate::gate::{Need, ROUTES, needs};
    let document = document();
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if method == "parameters" {
                continue;
            }
            let method = method.to_uppercase().parse::<Method>().unwrap();
            let said = match needs(&method, &path.replace("{name}", "x")) {
                Need::Nothing => json!([]),
                Need::Caller => json!([{ "bearer": [] }, {}]),
                Need::Scope(scope) => json!([{ "bearer": [scope.as_str()] }, {}]),
                Need::OtherMethod => Value::Null,
            };
            assert_eq!(operation["security"], said, "{method} {path}");
            described.insert((method.to_string(), path.replace("{name}", "{}")));
        }
    }
    // What the gate lets through and the document does not describe is not of the admin API.
    for (methods, path, _) in ROUTES.iter().filter(|(_, path, _)| path.starts_with("/api/")) {
        for method in *methods {
            assert!(
                described.contains(&(method.to_string(), (*path).to_owned())),
                "{method} {path}"
            );
        }
    }
}

/// A host that mounts two servers, one of which does not answer.
struct Servers;

impl aop_core::cluster::ReportServers for Servers {
    fn servers(&self) -> Vec<ServerStatus> {
        let up = ServerStatus {
            name: AgentName::new("calc").unwrap(),
            tenant: TenantName::default_tenant(),
            transport: "streamable-http".to_owned(),
            place: "http://127.0.0.1:9000/mcp".to_owned(),
            state: ServerState::Up,
            for_ms: 5,
            server: Some("calc 1".to_owned()),
            protocol: Some("2026-07-28".to_owned()),
            tools: 2,
            calls_running: 1,
            error: None,
            retry_in_ms: None,
            notes: vec!["`x` is left out".to_owned()],
        };
        let down = ServerStatus {
            state: ServerState::Down,
            server: None,
            protocol: None,
            error: Some("cannot connect".to_owned()),
            retry_in_ms: Some(900),
            ..up.clone()
        };
        vec![up, down]
    }
}

#[tokio::test]
async fn mounted_servers_are_shown_by_a_host_alone_too() {
    let app = open_router(AppState { servers: Arc::new(Servers), ..state(some_catalog()) });
    let request = plain(Method::GET, "/api/v1/cluster/servers");
    let (status, body) = check("listServers", ask(&app, request).await).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["servers"][1]["error"], "cannot connect");
}

/// A body that sends nothing and never ends.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_zone_is_shown_and_gives_tokens_and_a_host_alone_says_what_to_do() {
    let alone = open_router(state(some_catalog()));
    let zone = open_router(AppState { cluster: Arc::new(Zone), ..state(some_catalog()) });
    let token = |body: &'static str| {
        Request::post("/api/v1/cluster/join-tokens")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .unwrap()
    };
    let path = "/api/v1/cluster";
    let (status, body) = check("showCluster", ask(&alone, plain(Method::GET, path)).await).await;
    assert_eq!((status, &body["code"]), (StatusCode::CONFLICT, &json!("no_zone")));
    let (status, body) = check("showCluster", ask(&zone, plain(Method::GET, path)).await).await;
    assert_eq!((status, &body["zone"]), (StatusCode::OK, &json!("zone.internal")));

    let good = token(r#"{"lifetime_s": 60, "uses": 1}"#);
    let (status, body) = check("makeJoinToken", ask(&zone, good).await).await;
    assert_eq!((status, &body["token"]), (StatusCode::CREATED, &json!("aop1_x")));
    for bad in [r#"{"lifetime_s": 60, "uses": 0}"#, r#"{"lifetime_s": 60}"#, "nonsense"] {
        let (status, _) = check("makeJoinToken", ask(&zone, token(bad)).await).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }
}

#[tokio::test]
async fn a_node_is_evicted_and_the_key_rotated_by_request_and_not_by_nonsense() {
    let alone = open_router(state(some_catalog()));
    let zone = open_router(AppState { cluster: Arc::new(Zone), ..state(some_catalog()) });
    let post = |path: &'static str, body: String| {
        Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .unwrap()
    };
    let node = aop_core::NodeId::of_public_key(b"key");
    let evict = |body| post("/api/v1/cluster/evictions", body);
    let good = || format!(r#"{{"node": "{node}"}}"#);
    let (status, body) = check("evictNode", ask(&zone, evict(good())).await).await;
    assert_eq!((status, &body["was_member"]), (StatusCode::OK, &json!(true)));
    let (status, _) = check("evictNode", ask(&alone, evict(good())).await).await;
    assert_eq!(status, StatusCode::CONFLICT);
    for bad in [r#"{"node": "../x"}"#, "{}", "nonsense"] {
        let (status, _) = check("evictNode", ask(&zone, evict(bad.to_owned())).await).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }
    let rotate = |body: &str| post("/api/v1/cluster/key-rotations", body.to_owned());
    let good = r#"{"overlap_s": 60}"#;
    let (status, body) = check("rotateClusterKey", ask(&zone, rotate(good)).await).await;
    assert_eq!((status, &body["retires_unix_s"]), (StatusCode::CREATED, &json!(60)));
    let (status, _) = check("rotateClusterKey", ask(&alone, rotate(good)).await).await;
    assert_eq!(status, StatusCode::CONFLICT);
    for bad in [r#"{"overlap_s": 0}"#, r#"{"overlap_s": -1}"#, "nonsense"] {
        let (status, _) = check("rotateClusterKey", ask(&zone, rotate(bad)).await).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }
}

//! Mounts against servers that are written by hand, so that they can do what no library lets them.

#![expect(clippy::result_large_err, reason = "servers of tests answer a few requests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aop_core::cluster::{ReportServers as _, ServerState, ServerStatus};
use aop_core::{
    AgentName, CallContext, Caller, ErrorCode, Executable, Failure, ForeignAgent, Output, Publish,
    RefusedAgent, Shown, Source, TenantName, ToolName,
};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;

/// What a server answers to a method: a result, or an HTTP answer of its own.
type Answer = Arc<dyn Fn(&HeaderMap, &Value) -> Result<Value, Response> + Send + Sync>;

/// A server that dies with its handle.
struct Served {
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(answer: Answer) -> Served {
    serve_at("127.0.0.1:0", answer).await
}

async fn serve_at(address: &str, answer: Answer) -> Served {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let app = Router::new().route("/mcp", post(handle)).with_state(answer);
    let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    Served { url, task }
}

async fn handle(
    State(answer): State<Answer>,
    headers: HeaderMap,
    axum::Json(message): axum::Json<Value>,
) -> Response {
    let Some(id) = message.get("id").cloned() else { return StatusCode::ACCEPTED.into_response() };
    match answer(&headers, &message) {
        Ok(result) => {
            axum::Json(json!({ "jsonrpc": "2.0", "id": id, "result": result })).into_response()
        }
        Err(response) => response,
    }
}

/// A well-behaved server of 2026-07-28 with the tools that `tools` lists now.
fn behaved(
    tools: impl Fn() -> Value + Send + Sync + 'static,
    call: impl Fn(&HeaderMap, &Value) -> Result<Value, Response> + Send + Sync + 'static,
) -> Answer {
    Arc::new(move |headers, message| match message["method"].as_str() {
        Some("server/discover") => Ok(json!({
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": { "tools": {} },
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "fake", "version": "1" } },
            "instructions": "Adds.",
            "ttlMs": 0,
            "cacheScope": "private",
        })),
        Some("tools/list") => Ok(json!({
            "resultType": "complete",
            "tools": tools(),
            "ttlMs": 60_000,
            "cacheScope": "private",
        })),
        Some("tools/call") => call(headers, &message["params"]),
        _ => Err(StatusCode::NOT_FOUND.into_response()),
    })
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "description": "d", "inputSchema": { "type": "object" } })
}

fn text(text: &str) -> Value {
    json!({ "resultType": "complete", "content": [{ "type": "text", "text": text }] })
}

/// What is published now.
#[derive(Default)]
struct Registry(watch::Sender<Vec<ForeignAgent>>);

impl Publish for Registry {
    fn publish(&self, source: &Source, agents: Vec<ForeignAgent>) -> Vec<RefusedAgent> {
        assert_eq!(*source, Source::Server("fake".to_owned()));
        self.0.send_replace(agents);
        Vec::new()
    }
}

impl Registry {
    /// Waits until these tools are published.
    async fn until(&self, tools: &[&str]) -> Option<ForeignAgent> {
        let mut seen = self.0.subscribe();
        let names = |agents: &Vec<ForeignAgent>| -> Vec<String> {
            let all = agents.iter().flat_map(|agent| &agent.revision.tools);
            all.map(|tool| tool.name.to_string()).collect()
        };
        let found = seen.wait_for(|agents| names(agents) == tools);
        let found = tokio::time::timeout(Duration::from_secs(60), found).await;
        found.expect("it is published").unwrap().first().cloned()
    }
}

fn config(url: &str) -> MountConfig {
    MountConfig {
        name: AgentName::new("fake").unwrap(),
        tenant: TenantName::default_tenant(),
        transport: MountTransport::Http { url: url.to_owned(), bearer: None },
        prefix: false,
        timeout: Duration::from_secs(30),
        calls_max: 8,
        tools_max: 100,
        answer_max_bytes: 1000,
        refresh: Duration::from_secs(1),
    }
}

fn mounted(config: MountConfig) -> (Mounts, Arc<Registry>) {
    let (mounts, registry) = (Mounts::new(vec![config]), Arc::new(Registry::default()));
    let publish: Arc<dyn Publish> = registry.clone();
    mounts.start(&publish);
    (mounts, registry)
}

/// Waits until the server is found to be down, and says how it stands.
async fn down(mounts: &Mounts) -> ServerStatus {
    for _ in 0..6000 {
        let status = mounts.servers().remove(0);
        if status.state == ServerState::Down {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is not down: {:?}", mounts.servers());
}

async fn call(agent: &ForeignAgent, within: Duration) -> Result<Output, Failure> {
    execute(&*agent.revision.executable, within).await
}

async fn execute(executable: &dyn Executable, within: Duration) -> Result<Output, Failure> {
    let context = CallContext::alone(
        Caller::local(TenantName::default_tenant()),
        AgentName::new("fake").unwrap(),
        ToolName::new("add").unwrap(),
        Instant::now() + within,
    );
    let arguments =
        executable.validate(0, r#"{"a": 1}"#).unwrap_or_else(|_| panic!("it is an object"));
    executable.execute(0, &arguments, &Arc::new(context)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_a_connection_that_had_ended_did_not_run() {
    let server = serve(behaved(|| json!([tool("add")]), |_, _| Ok(text("3")))).await;
    let config = config(&server.url);
    let connect::Connection { service, client, .. } = connect::connect(&config).await.unwrap();
    let mount = Arc::new(hold::Mount::new(config, Arc::default()));
    let session = hold::Session { peer: service.peer().clone(), reports: client.reports };
    mount.put_session(Some(Arc::new(session)));
    let add = call::Remote { name: "add".into(), shape: call::Shape::Content };
    let mounted = call::Mounted::new(Arc::downgrade(&mount), vec![add]);
    execute(&mounted, SOON).await.unwrap();
    service.cancel().await.unwrap();
    let failure = execute(&mounted, SOON).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Unavailable);
    assert!(!failure.executed && failure.retry_after.is_some(), "{failure:?}");
}

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_published_called_and_come_back() {
    let tools = Arc::new(Mutex::new(json!([tool("add")])));
    let listed = tools.clone();
    let answer = behaved(
        move || listed.lock().unwrap().clone(),
        |_, params| Ok(text(&format!("{} {}", params["name"], params["arguments"]))),
    );
    let server = serve(answer.clone()).await;
    let (mounts, registry) = mounted(config(&server.url));
    let agent = registry.until(&["add"]).await.unwrap();
    let output = call(&agent, SOON).await.unwrap();
    assert_eq!(output.shown, Shown::Content);
    assert!(output.json.get().contains(r#"\"add\" {\"a\":1}"#), "{}", output.json);
    let status = mounts.servers().remove(0);
    assert_eq!((status.state, status.tools), (ServerState::Up, 1));
    assert_eq!(status.server.as_deref(), Some("fake 1"));
    assert_eq!(status.protocol.as_deref(), Some("2026-07-28"));

    // A change that nobody reported, past the time for which the list may be cached.
    *tools.lock().unwrap() = json!([tool("add"), tool("sub")]);
    registry.until(&["add", "sub"]).await;

    // It dies: its tools go, and a call that still leads there says so at once.
    let address = server.url["http://".len()..].trim_end_matches("/mcp").to_owned();
    drop(server);
    registry.until(&[]).await;
    let status = down(&mounts).await;
    assert!(status.error.unwrap().contains("cannot connect"));
    let failure = call(&agent, SOON).await.unwrap_err();
    assert_eq!((failure.code, failure.executed), (ErrorCode::Unavailable, false));
    assert!(failure.retry_after.is_some());

    let _server = serve_at(&address, answer).await;
    let agent = registry.until(&["add", "sub"]).await.unwrap();
    assert!(call(&agent, SOON).await.is_ok());
    mounts.stop().await;
    registry.until(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_answers_is_bounded_and_kept_apart() {
    let answers = [
        (
            json!({ "resultType": "complete", "isError": true, "content": [{ "type": "text", "text": "no" }] }),
            ErrorCode::GuestError,
        ),
        (text(&"x".repeat(2000)), ErrorCode::BadOutput),
        (
            json!({ "resultType": "input_required", "inputRequests": {}, "requestState": "s" }),
            ErrorCode::BadOutput,
        ),
        (json!({ "resultType": "complete", "tools": [] }), ErrorCode::BadOutput),
    ];
    let turn = AtomicUsize::new(0);
    let expected: Vec<_> = answers.iter().map(|(_, code)| *code).collect();
    let server = serve(behaved(
        || json!([tool("add")]),
        move |_, _| Ok(answers[turn.fetch_add(1, Ordering::SeqCst)].0.clone()),
    ))
    .await;
    let (_mounts, registry) = mounted(config(&server.url));
    let agent = registry.until(&["add"]).await.unwrap();
    for code in expected {
        let failure = call(&agent, SOON).await.unwrap_err();
        assert_eq!((failure.code, failure.executed), (code, true), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_http_says_whether_the_tool_may_have_run() {
    let statuses = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::TEMPORARY_REDIRECT];
    let turn = AtomicUsize::new(0);
    let server = serve(behaved(
        || json!([tool("add")]),
        move |_, _| {
            let status = statuses[turn.fetch_add(1, Ordering::SeqCst)];
            Err((status, [("location", "http://127.0.0.1:1/elsewhere")], "no").into_response())
        },
    ))
    .await;
    let (_mounts, registry) = mounted(config(&server.url));
    let agent = registry.until(&["add"]).await.unwrap();
    for _ in 0..2 {
        let failure = call(&agent, SOON).await.unwrap_err();
        assert_eq!((failure.code, failure.executed), (ErrorCode::Unavailable, true), "{failure}");
        assert!(!failure.message.contains("elsewhere"), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_into_its_header_and_is_asked_for() {
    let server = serve(Arc::new(|headers, message| {
        if headers.get("x-key").is_none_or(|key| key != "s3cret") {
            let challenge = [("www-authenticate", "Bearer")];
            return Err((StatusCode::UNAUTHORIZED, challenge).into_response());
        }
        behaved(|| json!([tool("add")]), |_, _| Ok(text("ok")))(headers, message)
    }))
    .await;
    let bearer = |token| Some(Bearer::new(Some("x-key"), token).unwrap());
    let with = |token| MountConfig {
        transport: MountTransport::Http { url: server.url.clone(), bearer: bearer(token) },
        ..config("")
    };
    let (mounts, _) = mounted(with("other"));
    let error = down(&mounts).await.error.unwrap();
    assert!(error.contains("token_env"), "{error}");
    let (_mounts, registry) = mounted(with("s3cret"));
    assert!(call(&registry.until(&["add"]).await.unwrap(), SOON).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_lists_end() {
    // A list that never ends, one that is too long, and answers that are none.
    let endless = json!({ "resultType": "complete", "tools": [], "nextCursor": "again", "ttlMs": 0, "cacheScope": "private" });
    let many: Vec<_> = (0..10_001).map(|n| tool(&format!("t{n}"))).collect();
    let many =
        json!({ "resultType": "complete", "tools": many, "ttlMs": 0, "cacheScope": "private" });
    // What is in no schema counts as well, over all pages.
    let mut large = tool("large");
    large["_meta"] = json!({ "example.com/filler": "x".repeat(1 << 20) });
    let mut large =
        json!({ "resultType": "complete", "tools": [large], "ttlMs": 0, "cacheScope": "private" });
    large["nextCursor"] = json!("again");
    for (list, expected) in [
        (endless, "pages"),
        (many, "more than 10000 tools"),
        (large, "list of tools has more than"),
        (text("x"), "list of tools"),
    ] {
        let server = serve(Arc::new(move |headers, message| match message["method"].as_str() {
            Some("tools/list") => Ok(list.clone()),
            _ => behaved(|| json!([]), |_, _| Ok(json!({})))(headers, message),
        }))
        .await;
        let (mounts, _) = mounted(config(&server.url));
        let error = down(&mounts).await.error.unwrap();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_url_is_in_no_error() {
    let (mounts, _) = mounted(config("http://127.0.0.1:1/mcp?key=s3cret"));
    let status = down(&mounts).await;
    assert!(
        status.error.as_deref().is_some_and(|why| why.contains("cannot connect")),
        "{status:?}"
    );
    assert!(!format!("{status:?}").contains("s3cret"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_program_is_tried_again() {
    let transport = MountTransport::Stdio {
        program: "/nonexistent/program".to_owned(),
        arguments: Vec::new(),
        environment: Vec::new(),
        directory: None,
    };
    let (mounts, _) = mounted(MountConfig { transport, ..config("") });
    let status = down(&mounts).await;
    assert!(status.error.unwrap().contains("cannot start `/nonexistent/program`"));
    assert!(status.retry_in_ms.is_some());
}

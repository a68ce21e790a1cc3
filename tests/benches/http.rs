//! The whole path over HTTP beside a plain server: `cargo bench --bench http`.
//!
//! The baseline is the least that could do the same work: axum, one JSON POST, the same fresh wasm
//! call, no MCP, no validation beyond decoding, no metrics, no tracing. Both serve from a process of
//! their own, under the same load generator (`aop bench`), in turns. A section of its own (`many`) times
//! batches. docs/benchmarks.md keeps the results.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and may panic")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aop_core::quota::Payer;
use aop_core::{
    AgentName, Artifact, CallContext, Caller, Digest, Executable, GuestLine, GuestLog,
    Prepare as _, Settings, TenantName, ToolName,
};
use aop_runtime::{Runtime, RuntimeConfig, WorkerProgram};
use aop_tests::{AgentsDirectory, Host, aop_binary, guest};
use axum::extract::State;
use axum::routing::post;
use axum::serve::ListenerExt as _;
use serde_json::json;

/// Calls per measurement at one connection; more connections get more calls.
const CALLS: usize = 20_000;
/// Turns; the table shows each, so that noise is seen.
const ROUNDS: usize = 3;

/// What `aop` itself allocates with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct NoLog;

impl GuestLog for NoLog {
    fn line(&self, _: GuestLine<'_>) {}
}

/// The same wasm call without the host around it.
async fn plain(State(echo): State<Arc<dyn Executable>>, body: String) -> String {
    let context = Arc::new(CallContext::alone(
        Caller::local(TenantName::default_tenant()),
        AgentName::new("echo").unwrap(),
        ToolName::new("echo").unwrap(),
        Instant::now() + Duration::from_secs(30),
    ));
    let arguments = echo.validate(0, &body).ok().unwrap();
    let output = echo.execute(0, &arguments, &context).await.unwrap();
    format!("{{\"result\":{}}}", output.json.get())
}

/// Serves the baseline until it is killed.
fn baseline() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let worker = WorkerProgram {
            program: aop_binary().to_owned(),
            arguments: vec!["compile-worker".to_owned()],
        };
        let config = RuntimeConfig::new(directory.path().join("cache"), worker);
        let wasm = Runtime::new(config, Arc::new(NoLog)).unwrap();
        let path = guest("echo");
        let digest = Digest::of(&std::fs::read(&path).unwrap());
        let artifact = Artifact { path: &path, digest };
        let prepared =
            wasm.prepare(artifact, Arc::new(Settings::default()), &Payer::nobody()).await.unwrap();
        let app = axum::Router::new().route("/", post(plain)).with_state(prepared.executable);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        axum::serve(listener, app).await.unwrap();
    });
}

struct Baseline {
    process: Child,
    address: SocketAddr,
}

impl Baseline {
    fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg("baseline")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { address: line.trim().parse().unwrap(), process }
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Calls per second and the median in milliseconds.
#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    p50_ms: f64,
}

fn load(url: &str, connections: usize, options: &[&str]) -> Figures {
    let calls = CALLS * if connections == 1 { 1 } else { 4 };
    let output = Command::new(aop_binary())
        .args(["bench", url, "echo_echo", r#"{"text":"hi"}"#, "--json"])
        .args(["-c", &connections.to_string(), "-n", &calls.to_string()])
        .args(options)
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["errors"], 0, "{report}");
    Figures {
        rate: report["calls_per_second"].as_f64().unwrap(),
        p50_ms: report["p50_ms"].as_f64().unwrap(),
    }
}

fn compare(host: &str, plain: &str, connections: usize) {
    for round in 1..=ROUNDS {
        let baseline = load(plain, connections, &["--plain"]);
        let modern = load(host, connections, &[]);
        let sessions = load(host, connections, &["--protocol", "2025-11-25"]);
        let ratio = |figures: Figures| {
            format!(
                "{:>8.0}/s ({:.2} ×, p50 {:.3} ms = {:.2} ×)",
                figures.rate,
                figures.rate / baseline.rate,
                figures.p50_ms,
                figures.p50_ms / baseline.p50_ms
            )
        };
        println!(
            "  c = {connections:<3} round {round}: plain {:>8.0}/s, p50 {:.3} ms   2026-07-28 {}   2025-11-25 {}",
            baseline.rate,
            baseline.p50_ms,
            ratio(modern),
            ratio(sessions)
        );
    }
}

/// A hundred calls in one beside one call alone: what the batch adds to its slowest member.
async fn many(host: &Host) {
    const BATCH: usize = 100;
    println!("many: aop_call_many with {BATCH} calls beside one of them alone, medians of {TRIES}");
    let mcp = host.mcp();
    for (what, tool, arguments) in [
        ("echo", "echo_echo", json!({ "text": "hi" })),
        ("waits 100 ms in the host", "faults_sleep", json!({ "milliseconds": 100 })),
    ] {
        let one = json!({ "tool": tool, "arguments": arguments });
        let batch = json!({ "calls": vec![one; BATCH] });
        let (mut alone, mut together) = (Vec::new(), Vec::new());
        for _ in 0..TRIES {
            let begun = Instant::now();
            let answer = mcp.call(tool, arguments.clone()).await;
            alone.push(begun.elapsed());
            assert_eq!(answer.envelope()["success"], true);
            let begun = Instant::now();
            let answer = mcp.call("aop_call_many", batch.clone()).await;
            together.push(begun.elapsed());
            let results = answer.value()["results"].as_array().unwrap();
            assert_eq!(results.len(), BATCH);
            // Refusals are quicker than calls.
            assert!(results.iter().all(|result| result["success"] == true), "{results:?}");
        }
        let (alone, together) = (median(alone), median(together));
        println!("  {what}: alone {alone:?}, {BATCH} together {together:?}");
    }
}

/// Batches per measurement.
const TRIES: usize = 50;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    if std::env::args().any(|argument| argument == "baseline") {
        return baseline();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let agents = AgentsDirectory::new().with("echo").with("faults");
    let host = runtime.block_on(Host::serve(agents.path()));
    let wanted = |section: &str| {
        let named: Vec<_> =
            std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
        named.is_empty() || named.iter().any(|name| name == section)
    };
    if wanted("many") {
        runtime.block_on(many(&host));
    }
    if !wanted("http") {
        return;
    }
    let baseline = Baseline::start();
    println!("http: the same fresh wasm call, plain and through the host");
    let plain = format!("http://{}/", baseline.address);
    for connections in [1, 16, 64] {
        compare(&host.url(""), &plain, connections);
    }
}

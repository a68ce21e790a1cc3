//! What many agents, one large agent and one pipe cost:
//! `cargo bench -p aop-tests --bench scale [-- SECTION…]`.
//!
//! Sections: `agents` (1,000), `ten-thousand` (10,000, only when named: the first run compiles for
//! minutes), `python`, `stdio`, `search`. Components, compiled code and state stay below
//! `target/tmp/scale`, so that a second run starts warm. docs/benchmarks.md keeps the results.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and may panic")]

mod measure;

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aop_core::{
    AgentName, Digest, Hints, Query, Search as _, Settings, TaskUse, TenantName, Tool, ToolName,
};
use aop_store::ToolIndex;
use aop_tests::{Host, HostOptions, Mcp, aop_binary, guest, http_client, repository};
use measure::{Bench, Latencies};
use serde_json::json;

/// What `aop` itself allocates with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn scratch(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scale").join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// Different components that do the same: `echo` with a number in a custom section.
fn write_agents(directory: &Path, count: usize) {
    let echo = std::fs::read(guest("echo")).unwrap();
    for number in 0..count {
        let mut bytes = echo.clone();
        // Section 0, 11 bytes: the length of the name, the name, the number.
        bytes.extend_from_slice(b"\0\x0b\x06number");
        bytes.extend_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
        let path = directory.join(format!("agent-{number:05}.wasm"));
        if std::fs::read(&path).ok().as_ref() != Some(&bytes) {
            std::fs::write(path, bytes).unwrap();
        }
    }
}

/// A host with its start measured.
async fn start(agents: &Path, data: &Path) -> (Host, Duration) {
    // Built before the clock starts.
    aop_binary();
    let options = HostOptions {
        agents: vec![agents.to_owned()],
        data: Some(data.to_owned()),
        ..HostOptions::default()
    };
    let started = Instant::now();
    let host = Host::spawn(options);
    while !host.is_ready().await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (host, started.elapsed())
}

async fn stop(mut host: Host) {
    host.terminate();
    host.ended().await;
}

/// Proportional set size: shared pages are divided among those who map them.
fn proportional_bytes(host: &Host) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", host.pid())).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn memory(name: &str, host: &Host) {
    let (resident, proportional) = (host.resident_bytes() >> 20, proportional_bytes(host) >> 20);
    println!("  {name:<44} RSS {resident:>5} MiB   PSS {proportional:>5} MiB");
}

/// Durations of one request after another.
async fn requests(count: usize, request: impl AsyncFn(usize)) -> Latencies {
    let mut durations = Vec::with_capacity(count);
    for number in 0..count {
        let started = Instant::now();
        request(number).await;
        durations.push(started.elapsed());
    }
    Latencies::sorted(durations)
}

async fn call_echo(mcp: &Mcp, number: usize) {
    let tool = format!("agent-{number:05}_echo");
    let result = mcp.call(&tool, json!({ "text": "hi" })).await;
    assert_eq!(result.value(), "hi", "{tool}");
}

async fn agents(count: usize) {
    println!("agents: {count} different components, from a warm cache, beside a host without any");
    let directory = scratch(&format!("agents-{count}"));
    let (components, data) = (directory.join("components"), directory.join("data"));
    std::fs::create_dir_all(&components).unwrap();
    write_agents(&components, count);
    let (host, first) = start(&components, &data).await;
    println!("  start with what was compiled before        {first:>10.2?}");
    stop(host).await;

    let (empty, ready) = start(&scratch("no-agents"), &scratch("no-agents-data")).await;
    println!("  ready without agents                       {ready:>10.2?}");
    memory("without agents", &empty);
    let http = http_client();
    let health = || async { drop(http.get(empty.url("/healthz")).send().await.unwrap()) };
    requests(500, async |_| health().await).await;
    requests(2_000, async |_| health().await).await.row("GET /healthz, same client");
    stop(empty).await;

    let (host, ready) = start(&components, &data).await;
    println!("  ready with {count:>6} agents                   {ready:>10.2?}");
    memory("ready", &host);
    let mcp = host.mcp();
    requests(500, async |_| drop(mcp.request("tools/list", json!({})).await)).await;
    let list = async |_| drop(mcp.request("tools/list", json!({})).await);
    requests(2_000, list).await.row("tools/list, a page of 100");
    requests(count, async |number| call_echo(&mcp, number).await).await.row("first call of each");
    requests(2_000, async |number| call_echo(&mcp, number % count).await).await.row("second call");
    memory("after a call of each", &host);
    stop(host).await;
}

async fn python() {
    println!("python: the 18 MB calculator of examples/, from the cache");
    let path = repository().join("target/agents/calculator.wasm");
    let Ok(bytes) = std::fs::read(&path) else {
        return println!("  skipped: build it with `examples/build --only python`");
    };
    let data = scratch("python");
    let arguments = r#"{"expression":"12 * (3 + 4)"}"#;
    let compiled = Instant::now();
    Bench::at(&data).file(&path, "evaluate", arguments, Settings::default()).await;
    println!("  loaded, compiled if it was not before      {:>10.2?}", compiled.elapsed());
    let mut loads = Vec::new();
    let mut digests = Vec::new();
    for _ in 0..20 {
        let bench = Bench::at(&data);
        let started = Instant::now();
        bench.file(&path, "evaluate", arguments, Settings::default()).await;
        loads.push(started.elapsed());
        let started = Instant::now();
        std::hint::black_box(Digest::of(&bytes));
        digests.push(started.elapsed());
    }
    Latencies::sorted(digests).row("of that, SHA-256 of the file");
    Latencies::sorted(loads).row("loaded from the cache");
    let bench = Bench::at(&data);
    let python = bench.file(&path, "evaluate", arguments, Settings::default()).await;
    let echo = bench.echo().await;
    Latencies::of(&echo, 2_000).await.row("fresh sandbox, Rust `echo`");
    Latencies::of(&python, 200).await;
    Latencies::of(&python, 1_000).await.row("fresh sandbox, Python");
}

/// Requests that are sent before the first answer is read.
const PIPELINED: usize = 64;

struct Pipe {
    input: BufWriter<ChildStdin>,
    output: BufReader<ChildStdout>,
    line: String,
}

impl Pipe {
    fn send(&mut self, id: usize) {
        let call = r#"{"name":"echo_echo","arguments":{"text":"hi"}}"#;
        let request =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{call}}}"#);
        writeln!(self.input, "{request}").unwrap();
    }

    fn receive(&mut self) {
        self.line.clear();
        self.output.read_line(&mut self.line).unwrap();
        assert!(self.line.contains(r#""isError":false"#), "{}", self.line);
    }

    /// Calls per second with so many on their way at a time.
    fn rate(&mut self, calls: u32, pipelined: usize) -> f64 {
        let calls = calls as usize;
        let started = Instant::now();
        let mut sent = 0;
        for received in 0..calls {
            // Refilled when half is answered, as a client does that writes what it has in one go.
            if sent - received <= pipelined / 2 {
                while sent < calls && sent - received < pipelined {
                    self.send(sent);
                    sent += 1;
                }
                self.input.flush().unwrap();
            }
            self.receive();
        }
        calls as f64 / started.elapsed().as_secs_f64()
    }
}

fn stdio() {
    println!("stdio: `aop serve --stdio`, 2025-11-25, {PIPELINED} calls on their way at a time");
    let agents = aop_tests::AgentsDirectory::new().with("echo");
    let data = tempfile::tempdir().unwrap();
    let mut process = Command::new(aop_binary())
        .args(["serve", "--stdio", "--agents"])
        .arg(agents.path())
        .arg("--data")
        .arg(data.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut pipe = Pipe {
        input: BufWriter::new(process.stdin.take().unwrap()),
        output: BufReader::new(process.stdout.take().unwrap()),
        line: String::new(),
    };
    let hello = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}"#;
    let initialize =
        format!(r#"{{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{hello}}}"#);
    writeln!(pipe.input, "{initialize}").unwrap();
    pipe.input.flush().unwrap();
    pipe.output.read_line(&mut pipe.line).unwrap();
    writeln!(pipe.input, r#"{{"jsonrpc":"2.0","method":"notifications/initialized"}}"#).unwrap();
    pipe.rate(5_000, PIPELINED);
    for round in 1..=3 {
        let (alone, pipelined) = (pipe.rate(10_000, 1), pipe.rate(50_000, PIPELINED));
        println!("  round {round}: one at a time {alone:>8.0}/s   pipelined {pipelined:>8.0}/s");
    }
    drop(pipe);
    process.wait().unwrap();
}

/// Words in the order of how often texts use them, as natural ones do (Zipf).
struct Vocabulary(u64);

impl Vocabulary {
    const WORDS: u64 = 4_000;

    fn next(&mut self) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn word(&mut self) -> String {
        const SYLLABLES: [&str; 8] = ["ba", "ce", "di", "fo", "gu", "ha", "ki", "lo"];
        // The square of an even choice prefers low numbers.
        let even = self.next() % (Self::WORDS * Self::WORDS);
        let mut rank = Self::WORDS - even.isqrt() - 1;
        let mut word = String::from("w");
        for _ in 0..4 {
            word.push_str(SYLLABLES[(rank % 8) as usize]);
            rank /= 8;
        }
        word
    }

    fn words(&mut self, count: usize) -> String {
        (0..count).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }

    fn tool(&mut self, agent: &AgentName, number: usize) -> Arc<Tool> {
        let schema = |text: String| serde_json::value::RawValue::from_string(text).unwrap();
        let (first, second) = (self.word(), self.word());
        let properties = json!({
            first: { "type": "string", "description": self.words(6) },
            second: { "type": "integer", "description": self.words(6) },
        });
        let name = format!("{}_{}_{number}", agent.as_str().replace('-', "_"), self.word());
        Arc::new(Tool {
            name: ToolName::new(&name).unwrap(),
            title: None,
            description: format!("The function that every tool has. {}", self.words(20)),
            input_schema: schema(json!({ "properties": properties }).to_string()),
            output_schema: None,
            signature: String::new(),
            hints: Hints::default(),
            task: TaskUse::default(),
            headers: Vec::new(),
            converses: false,
            takes_handles: false,
            function: 0,
        })
    }
}

fn search() {
    println!(
        "search: ranked full text, queries of one to four words, a catalogue of 100 beside it"
    );
    let tenant = TenantName::default_tenant();
    for tools in [100, 10_000] {
        let mut vocabulary = Vocabulary(0x9e37_79b9_7f4a_7c15);
        let index = ToolIndex::new();
        let started = Instant::now();
        for number in 0..tools / 5 {
            let agent = AgentName::new(&format!("agent-{number}")).unwrap();
            let tools: Vec<_> = (0..5).map(|tool| vocabulary.tool(&agent, tool)).collect();
            index.publish(&tenant, &agent, &tools).unwrap();
        }
        println!("  {tools:>6} tools indexed in                    {:>10.2?}", started.elapsed());
        let mut durations = Vec::new();
        for number in 0..2_000 {
            let mut text = vocabulary.words(1 + number % 4);
            if number % 10 == 0 {
                // What a person types: with a word that every tool has.
                text.push_str(" function");
            }
            let query = Query { text, agent: None, limit: 20 };
            let started = Instant::now();
            index.search(&tenant, &query).unwrap();
            durations.push(started.elapsed());
        }
        Latencies::sorted(durations).row(&format!("{tools} tools, words of real texts"));
        let query = Query { text: "function".to_owned(), agent: None, limit: 20 };
        let worst = (0..200).map(|_| {
            let started = Instant::now();
            index.search(&tenant, &query).unwrap();
            started.elapsed()
        });
        Latencies::sorted(worst.collect())
            .row(&format!("{tools} tools, a word that all of them have"));
    }
}

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wants = |section: &str| wanted.is_empty() || wanted.iter().any(|name| name == section);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        if wants("agents") {
            agents(1_000).await;
        }
        if wanted.iter().any(|name| name == "ten-thousand") {
            agents(10_000).await;
        }
        if wants("python") {
            python().await;
        }
        if wants("stdio") {
            stdio();
        }
        if wants("search") {
            search();
        }
    });
}

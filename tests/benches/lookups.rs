//! What the time of an answer tells about other tenants: `cargo bench --bench lookups`.
//!
//! For each way to name something, a client of one tenant asks for what nobody has, and for what another tenant has, in random
//! order on one connection; a second name that nobody has is the control. Each pair is held together with the test of Mann
//! and Whitney, which sees any shift of the distribution and needs no assumption about its shape: `z` is about
//! normal where there is none. docs/threat-model.md keeps the results.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and may panic")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use aop_tests::{AgentsDirectory, Aop, Host, HostOptions, Mcp};
use serde_json::{Value, json};

/// Requests of each of the three kinds.
const ASKED: usize = 10_000;
/// Beyond this, one of 15,000 comparisons without a difference would be.
const Z_MAX: f64 = 4.0;

/// What is asked for.
struct Lookup {
    name: &'static str,
    /// What nobody has, another such, and what another tenant has.
    requests: [Vec<u8>; 3],
}

/// A connection to the host, with which requests are timed.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: vec![0; 64 << 10] }
    }

    /// How long an answer took, in nanoseconds, and how long it was: what differs in length differs for everybody to see.
    fn ask(&mut self, request: &[u8]) -> (u64, usize) {
        let started = Instant::now();
        self.stream.write_all(request).unwrap();
        let mut length = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[length..]).unwrap();
            assert!(read > 0, "the host closed the connection");
            length += read;
            if is_whole(&self.buffer[..length]) {
                let elapsed = started.elapsed();
                return (u64::try_from(elapsed.as_nanos()).unwrap(), length);
            }
        }
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&answer[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) => answer.len() == head + 4 + length.trim().parse::<usize>().unwrap(),
        None => answer.ends_with(b"0\r\n\r\n"),
    }
}

/// Two samples, held together: how far the sum of ranks is from what it would be if both were of one distribution, in standard
/// deviations. Nanoseconds are hardly ever equal, so ties do not matter.
fn z(one: &[u64], other: &[u64]) -> f64 {
    let mut all: Vec<_> = one.iter().map(|time| (*time, true)).collect();
    all.extend(other.iter().map(|time| (*time, false)));
    all.sort_unstable();
    let ranks = (1..).zip(&all).filter(|(_, (_, is_one))| *is_one).map(|(rank, _)| f64::from(rank));
    let (n, m) = (one.len() as f64, other.len() as f64);
    let u = ranks.sum::<f64>() - n * (n + 1.0) / 2.0;
    -(u - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt()
}

fn median(times: &[u64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2] as f64 / 1000.0
}

impl Lookup {
    /// Whether nobody could tell.
    fn measure(&self, address: SocketAddr) -> bool {
        let mut connection = Connection::open(address);
        let mut times = [const { Vec::new() }; 3];
        // A generator of Marsaglia's: the order only has to follow nothing that the host does.
        let mut random = 0x9e37_79b9_u32;
        for round in 0..ASKED + ASKED / 10 {
            let mut order = [0, 1, 2];
            for last in (1..3).rev() {
                random ^= random << 13;
                random ^= random >> 17;
                random ^= random << 5;
                order.swap(last, random as usize % (last + 1));
            }
            let lengths = order.map(|kind| {
                let (time, length) = connection.ask(&self.requests[kind]);
                // The first ones find everything cold.
                if round >= ASKED / 10 {
                    times[kind].push(time);
                }
                length
            });
            assert!(
                lengths.iter().all(|length| *length == lengths[0]),
                "{}: {lengths:?}",
                self.name
            );
        }
        let [absent, control, foreign] = &times;
        let (chance, found) = (z(absent, control), z(absent, foreign));
        println!(
            "  {:<34} nobody's {:>7.2} µs   another's {:>7.2} µs   z {found:>6.2}   control z {chance:>6.2}",
            self.name,
            median(absent),
            median(foreign),
        );
        found.abs() < Z_MAX.max(2.0 * chance.abs())
    }
}

/// A client of a tenant.
struct Client {
    mcp: Mcp,
    key: String,
    host: String,
}

impl Client {
    async fn of(host: &Host, admin: &str, tenant: &str) -> Self {
        let create = ["key", "create", "bench", "--tenant", tenant, "--scope", "tools:call"];
        let more = ["--scope", "tools:list", "--scope", "agents:write"];
        let created = host.aop(&[&create[..], &more].concat()).env("AOP_KEY", admin).run().await;
        let key = created.code(0).stdout.trim().to_owned();
        let mcp = Mcp::new(host.url("/mcp")).with_key(&key);
        Self { mcp, key, host: host.address().to_string() }
    }

    fn request(&self, line: &str, headers: &str, body: &str) -> Vec<u8> {
        let (host, key, length) = (&self.host, &self.key, body.len());
        format!(
            "{line} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n{headers}content-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }

    fn get(&self, path: &str) -> Vec<u8> {
        self.request(&format!("GET {path}"), "", "")
    }

    /// A message of MCP; `name` is what its headers repeat.
    fn message(&self, method: &str, name: &str, params: Value) -> Vec<u8> {
        let mut message = self.mcp.message(method, params);
        // Of one length, whichever it is.
        message["id"] = 1.into();
        message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = tasks();
        let headers = format!(
            "content-type: application/json\r\naccept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\nmcp-name: {name}\r\n"
        );
        self.request("POST /mcp", &headers, &message.to_string())
    }

    fn call(&self, tool: &str, arguments: Value) -> Vec<u8> {
        self.message("tools/call", tool, json!({ "name": tool, "arguments": arguments }))
    }
}

/// What a client says that follows tasks.
fn tasks() -> Value {
    json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } })
}

/// A task and a handle of a client.
async fn held(client: &Client) -> (String, String) {
    let mut message = client
        .mcp
        .message("tools/call", json!({ "name": "jobs_echo", "arguments": { "text": "x" } }));
    message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = tasks();
    let task: Value = client.mcp.post(&message).send().await.unwrap().json().await.unwrap();
    let task = task["result"]["taskId"].as_str().unwrap().to_owned();
    let made = client.mcp.call("handles_counter_new", json!({ "start": 1 })).await;
    (task, made.value().as_str().unwrap().to_owned())
}

/// Changes the end of a random text: one that nobody has.
fn like(text: &str, with: char) -> String {
    let mut like: String = text.chars().take(text.len() - 6).collect();
    like.extend(std::iter::repeat_n(with, 6));
    like
}

async fn lookups(host: &Host, admin: &str) -> Vec<Lookup> {
    let (own, other) =
        (Client::of(host, admin, "acme").await, Client::of(host, admin, "other").await);
    let (task, handle) = held(&other).await;
    let tool = |name: &str| own.call(name, json!({ "text": "x" }));
    let agent = |name: &str| own.get(&format!("/api/v1/agents/{name}"));
    let tenant = |name: &str| own.get(&format!("/t/{name}/api/v1/agents"));
    let search = |text: &str| own.call("aop_discover", json!({ "query": text }));
    let describe = |name: &str| own.call("aop_describe", json!({ "tool": name }));
    let get_task = |id: &str| own.message("tasks/get", id, json!({ "taskId": id }));
    let add =
        |handle: &str| own.call("handles_counter_add", json!({ "self": handle, "number": 1 }));
    let of = |name, requests| Lookup { name, requests };
    vec![
        of("tools/call of a tool", ["absent_echo", "ansent_echo", "secret_echo"].map(tool)),
        of("aop_describe of a tool", ["absent_echo", "ansent_echo", "secret_echo"].map(describe)),
        of("aop_discover of a word", ["absent", "ansent", "secret"].map(search)),
        of("GET /api/v1/agents/NAME", ["absent", "ansent", "secret"].map(agent)),
        of("GET /t/TENANT/…", ["absen", "ansen", "other"].map(tenant)),
        of("tasks/get of an id", [&*like(&task, '0'), &*like(&task, '1'), &*task].map(get_task)),
        of("a call with a handle", [&*like(&handle, 'A'), &*like(&handle, 'B'), &*handle].map(add)),
    ]
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let own = AgentsDirectory::new().with("echo").with("handles");
    let other = AgentsDirectory::new()
        .with("handles")
        .with_as("echo", "secret")
        .with_as("echo", "jobs")
        .with_settings("jobs", "[tools.echo]\ntask = \"optional\"\n");
    let agents =
        |directory: &AgentsDirectory| format!("agents = [\"{}\"]", directory.path().display());
    let data = tempfile::tempdir().unwrap();
    let lookups = runtime.block_on(async {
        let path = data.path().display().to_string();
        let create = ["key", "create", "bench", "--admin", "--offline", "--data", &path];
        let admin = Aop::new(&create).run().await.code(0).stdout.trim().to_owned();
        let host = Host::start(HostOptions {
            data: Some(data.path().to_owned()),
            config: Some(format!(
                "[tenants.acme]\n{}\n[tenants.other]\n{}\n",
                agents(&own),
                agents(&other)
            )),
            ..HostOptions::default()
        })
        .await;
        let lookups = lookups(&host, &admin).await;
        (host, lookups)
    });
    let (host, lookups) = lookups;
    println!("lookups: what nobody has beside what another tenant has, {ASKED} requests each");
    let told: Vec<_> = lookups
        .iter()
        .filter(|lookup| !lookup.measure(host.address()))
        .map(|lookup| lookup.name)
        .collect();
    if told.is_empty() {
        println!("  nothing tells them apart");
    } else {
        println!("  told apart: {}", told.join(", "));
    }
}

//! Calls that go on while one node after the other is killed, frozen or cut off:
//! `cargo bench --bench chaos [-- --minutes N]`, ten minutes by default; CI runs one minute with
//! `cargo test --bench chaos -- --minutes 1`.
//!
//! Five nodes, each in a network namespace of its own, so that a node can be cut off like one whose cable is pulled:
//! packets vanish, nobody is told. One agent with two replicas (k = 1), whose tool may be repeated. Every 20 s one
//! node fails in one of three ways and recovers before the next one does. Callers are like those of any service with
//! several addresses: they enter at one node after the other, avoid one that did not answer for a while, and repeat a
//! call that failed at another node within its deadline. What the report calls an attempt is one request to one node;
//! what is judged is the call.
//!
//! Needs root and `ip`; without them it says so and exits with 3. The report is `target/tmp/chaos.md`.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark says what it measured")]

#[path = "chaos/network.rs"]
mod network;
#[path = "chaos/report.rs"]
mod report;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aop_tests::zone::{cluster, load, replicas, until_alive, until_tool};
use aop_tests::{Aop, CallFault, Host, HostOptions, Mcp, eventually};
use network::Network;
use report::{Event, Report};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

const NODES: usize = 5;
/// From the beginning of one fault to that of the next.
const PERIOD: Duration = Duration::from_secs(20);
/// How long a fault goes on after everybody noticed it.
const HELD: Duration = Duration::from_secs(4);
/// Callers, and how often each calls: 320 calls/s, which ten minutes turn into more than 100,000 whatever happens.
const CALLERS: usize = 16;
const PACE: Duration = Duration::from_millis(50);
/// How long a call may take, with all its attempts.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long one attempt may take, and how long a node that did not answer is avoided.
const ATTEMPT_MAX: Duration = Duration::from_secs(4);
const AVOIDED: Duration = Duration::from_secs(5);
/// The pause before another attempt.
const PAUSE: Duration = Duration::from_millis(50);
const GOAL: f64 = 0.9999;
const SETTINGS: &str =
    "timeout = \"5s\"\nreplicas = 2\nbalance = \"round_robin\"\n[tools.echo]\nidempotent = true\n";

/// How a node fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    Frozen,
    CutOff,
}

const FAULTS: [Fault; 3] = [Fault::Killed, Fault::Frozen, Fault::CutOff];

/// A call that ended, after `attempts`.
#[derive(Debug, Clone)]
struct Call {
    began: Duration,
    took: Duration,
    attempts: u32,
    outcome: Result<(), CallFault>,
}

/// Where calls enter, shared by the callers.
struct Entries {
    begun: Instant,
    urls: Vec<String>,
    key: String,
    /// Milliseconds since the beginning until which each is avoided.
    avoided_until_ms: Vec<AtomicU64>,
    turn: AtomicU64,
    stop: AtomicBool,
    /// Requests that were answered with a failure or not at all, by code.
    failed_attempts: Mutex<std::collections::BTreeMap<String, u64>>,
}

impl Entries {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The next one that is not avoided; any when all are.
    fn next(&self) -> usize {
        let mut at = 0;
        for _ in 0..self.urls.len() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            at = usize::try_from(turn).unwrap_or_default() % self.urls.len();
            if self.avoided_until_ms[at].load(Ordering::Relaxed) <= self.now_ms() {
                break;
            }
        }
        at
    }

    fn note(&self, at: usize, fault: &CallFault) {
        if fault.code == CallFault::NO_ANSWER {
            let until = self.now_ms() + u64::try_from(AVOIDED.as_millis()).unwrap_or_default();
            self.avoided_until_ms[at].store(until, Ordering::Relaxed);
        }
        let mut failed = self.failed_attempts.lock().unwrap_or_else(PoisonError::into_inner);
        *failed.entry(fault.code.clone()).or_default() += 1;
    }

    /// One call, at as many nodes as its deadline lets it try.
    async fn call(&self, clients: &[Mcp]) -> Call {
        let began = Instant::now();
        let mut attempts = 0;
        let outcome = loop {
            attempts += 1;
            let at = self.next();
            let left = DEADLINE.saturating_sub(began.elapsed()).min(ATTEMPT_MAX);
            let attempt = clients[at].try_call("echo_echo", json!({ "text": "chaos" }));
            let fault = match tokio::time::timeout(left, attempt).await {
                Ok(Ok(value)) if value == "chaos" => break Ok(()),
                Ok(Ok(value)) => break Err(fault("wrong_answer", &value.to_string())),
                Ok(Err(fault)) => fault,
                Err(_) => fault(CallFault::NO_ANSWER, "none in time"),
            };
            self.note(at, &fault);
            if began.elapsed() + PAUSE >= DEADLINE {
                break Err(fault);
            }
            tokio::time::sleep(PAUSE).await;
        };
        Call { began: began - self.begun, took: began.elapsed(), attempts, outcome }
    }

    async fn call_until_stopped(self: Arc<Self>) -> Vec<Call> {
        let client = |url: &String| Mcp::new(url.clone()).with_key(&self.key);
        let clients: Vec<_> = self.urls.iter().map(client).collect();
        let mut calls = Vec::new();
        let mut ticks = tokio::time::interval(PACE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            calls.push(self.call(&clients).await);
        }
        calls
    }
}

fn fault(code: &str, message: &str) -> CallFault {
    CallFault { code: code.to_owned(), message: message.to_owned() }
}

/// The zone, and what befalls it.
struct Chaos {
    network: Network,
    /// Opens all of them: hosts that others than this machine reach are closed.
    key: String,
    hosts: Vec<Host>,
    ids: Vec<String>,
    /// Kept until the end: their data directories live on in the nodes that came after them.
    ended: Vec<Host>,
    /// Of the first node.
    data: TempDir,
}

impl Chaos {
    fn options(&self, number: usize) -> HostOptions {
        let config = format!("[cluster]\nlisten = \"{}:8100\"\n", self.network.address(number));
        let listen = format!("{}:8000", self.network.address(number));
        HostOptions {
            listen: Some(listen.parse().expect("an address")),
            config: Some(config),
            // Until it has the zone's key, which it waits for before it serves.
            arguments: vec!["--allow-unauthenticated".to_owned()],
            within: Some(self.network.namespace(number)),
            key: Some(self.key.clone()),
            ..HostOptions::default()
        }
    }

    async fn start(network: Network) -> Self {
        let data = tempfile::tempdir().expect("a directory can be made");
        let place = data.path().display().to_string();
        let create = ["key", "create", "chaos", "--admin", "--offline", "--data", &place];
        let key = Aop::new(&create).run().await.code(0).stdout.trim().to_owned();
        let (hosts, ids, ended) = (Vec::new(), Vec::new(), Vec::new());
        let mut chaos = Self { network, key, hosts, ids, ended, data };
        let place = Some(chaos.data.path().to_owned());
        let first = Host::start(HostOptions { data: place, ..chaos.options(0) }).await;
        let join = aop_tests::zone::join_arguments(&first, NODES).await;
        chaos.hosts.push(first);
        for number in 1..NODES {
            let mut options = chaos.options(number);
            options.arguments.extend(join.clone());
            chaos.hosts.push(Host::start(options).await);
        }
        until_alive(&chaos.hosts, NODES).await;
        for host in &chaos.hosts {
            chaos.ids.push(aop_tests::zone::node_of(host).await);
        }
        load(&chaos.hosts[0], "echo", SETTINGS, &[]).await;
        chaos.until_whole().await;
        chaos
    }

    /// Everybody lives and the agent is where it should be, or still on a node more.
    async fn until_whole(&self) {
        until_alive(&self.hosts, NODES).await;
        for host in &self.hosts {
            until_tool(host, "echo_echo").await;
            eventually("the agent has its replicas", || async {
                (replicas(host, "echo").await.len() >= 2).then_some(())
            })
            .await;
        }
    }

    /// A node that has the agent, two times of three; any of the others else.
    async fn victim(&self, round: usize) -> usize {
        let holders = replicas(&self.hosts[0], "echo").await;
        let wants_holder = round % 3 != 2;
        let fits = |at: &usize| holders.contains(&self.ids[*at]) == wants_holder;
        (0..NODES).map(|at| (at + round) % NODES).find(fits).unwrap_or(round % NODES)
    }

    /// Until all others see a node gone.
    async fn until_ejected(&self, victim: usize) -> Duration {
        let begun = Instant::now();
        for (_, host) in self.hosts.iter().enumerate().filter(|(at, _)| *at != victim) {
            eventually("a node is ejected", || async {
                let status = cluster(host).await;
                let members = status["members"].as_array()?;
                let found = members.iter().find(|member| member["node"] == *self.ids[victim]);
                found.is_none_or(|member| member["state"] != "alive").then_some(())
            })
            .await;
        }
        begun.elapsed()
    }

    async fn one(&mut self, round: usize, begun: Instant) -> Event {
        let (fault, victim) = (FAULTS[round % FAULTS.len()], self.victim(round).await);
        let at = begun.elapsed();
        let data = self.hosts[victim].data().to_owned();
        match fault {
            Fault::Killed => self.hosts[victim].kill(),
            Fault::Frozen => self.hosts[victim].signal(Signal::STOP),
            Fault::CutOff => self.network.cut(victim),
        }
        let ejected = self.until_ejected(victim).await;
        tokio::time::sleep(HELD).await;
        let recovering = Instant::now();
        match fault {
            Fault::Killed => {
                let options = HostOptions { data: Some(data), ..self.options(victim) };
                let back = Host::start(options).await;
                self.ended.push(std::mem::replace(&mut self.hosts[victim], back));
            }
            Fault::Frozen => self.hosts[victim].signal(Signal::CONT),
            Fault::CutOff => self.network.mend(victim),
        }
        self.until_whole().await;
        Event { fault, victim, at, ejected, recovered: recovering.elapsed(), over: begun.elapsed() }
    }
}

async fn run(minutes: u64, network: Network) -> bool {
    let mut chaos = Chaos::start(network).await;
    let begun = Instant::now();
    let entries = Arc::new(Entries {
        begun,
        urls: chaos.hosts.iter().map(|host| host.url("/mcp")).collect(),
        key: chaos.key.clone(),
        avoided_until_ms: chaos.hosts.iter().map(|_| AtomicU64::new(0)).collect(),
        turn: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        failed_attempts: Mutex::default(),
    });
    let callers: Vec<_> =
        (0..CALLERS).map(|_| tokio::spawn(Arc::clone(&entries).call_until_stopped())).collect();
    let (length, mut events) = (Duration::from_secs(60 * minutes), Vec::new());
    // The first fault after some seconds of quiet, the last one with time to recover.
    let mut next = begun + PERIOD / 4;
    while next + PERIOD / 2 < begun + length {
        tokio::time::sleep_until(next.into()).await;
        let event = chaos.one(events.len(), begun).await;
        println!("{event}");
        events.push(event);
        next = (next + PERIOD).max(Instant::now() + PERIOD / 10);
    }
    tokio::time::sleep_until((begun + length).into()).await;
    entries.stop.store(true, Ordering::Relaxed);
    let mut calls = Vec::new();
    for caller in callers {
        calls.extend(caller.await.expect("a caller never panics"));
    }
    let failed = entries.failed_attempts.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Report { minutes, calls, events, failed_attempts: failed }.write()
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == "--minutes");
    let minutes = at.map_or(Some(10), |at| arguments.get(at + 1)?.parse().ok());
    let Some(minutes @ 1..) = minutes else {
        println!("--minutes wants a number of minutes, 1 or more");
        return ExitCode::from(2);
    };
    let network = match Network::new(NODES) {
        Ok(network) => network,
        Err(reason) => {
            println!("skipped: chaos: {reason}");
            return ExitCode::from(3);
        }
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    if runtime.block_on(run(minutes, network)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

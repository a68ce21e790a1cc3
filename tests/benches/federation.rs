//! What it costs to find an agent of another zone: `cargo bench --bench federation`.
//!
//! Four hosts: `x.a` looks names of `c.b.a` up, from the pinned zone `a` down through `b.a`. Every zone is reached through
//! a proxy in user space that delays what it forwards, 10 ms each way, so that a round trip takes 20 ms as between
//! two cities. The caches are cold because every record lives for one second; the connections stay.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::path::Path;
use std::time::Duration;

use aop_tests::{AgentsDirectory, Aop, Host, HostOptions, Link, eventually, guest, http_client};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;

/// One way over a link.
const DELAY: Duration = Duration::from_millis(10);
/// Lookups with cold caches.
const COLD: usize = 60;
/// Lookups with a warm cache.
const CACHED: usize = 5000;

struct Zone {
    host: Host,
    link: Link,
    data: TempDir,
}

async fn zone(name: &str, agents: &Path) -> Zone {
    let (data, link) = (TempDir::new().expect("a directory"), Link::open(DELAY).await);
    aop(&["zone", "keygen", "--data", &data.path().display().to_string()]).await;
    let config = format!(
        "[zone]\nname = \"{name}\"\nttl = \"1s\"\nendpoints = [\"http://{}\"]\nprivate_networks = [\"127.0.0.0/8\"]\n",
        link.address()
    );
    std::fs::write(data.path().join("zone.toml"), &config).expect("it can be written");
    let host = Host::start(HostOptions {
        agents: vec![agents.to_owned()],
        data: Some(data.path().to_owned()),
        config: Some(config),
        ..HostOptions::default()
    })
    .await;
    link.lead_to(host.address());
    Zone { host, link, data }
}

impl Zone {
    fn url(&self) -> String {
        format!("http://{}", self.link.address())
    }

    async fn command(&self, arguments: &[&str]) {
        let data = self.data.path().display().to_string();
        let config = self.data.path().join("zone.toml").display().to_string();
        aop(&[arguments, &["--data", &data, "--config", &config]].concat()).await;
    }
}

async fn aop(arguments: &[&str]) {
    let ran = Aop::new(arguments).run().await;
    assert!(ran.status.success(), "{arguments:?}: {}", ran.stderr);
}

async fn resolve(host: &Host, name: &str) -> Value {
    let url = host.url(&format!("/api/v1/zone/names/{name}"));
    let answer = http_client().get(url).send().await.expect("the host answers");
    answer.json().await.expect("it answers with JSON")
}

/// Milliseconds in the resolver, and questions to other zones.
fn figures(outcome: &Value) -> (f64, usize) {
    let steps = outcome["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let asked = steps.iter().filter(|step| step["step"] == "ask").count();
    (outcome["ms"].as_f64().expect("it was timed"), asked)
}

fn report(what: &str, mut ms: Vec<f64>) {
    ms.sort_by(f64::total_cmp);
    let at = |percent: usize| ms[(ms.len() * percent / 100).min(ms.len() - 1)];
    println!("{what:<44} n {:>5}   p50 {:>8.3} ms   p99 {:>8.3} ms", ms.len(), at(50), at(99));
}

async fn run() {
    let agents = AgentsDirectory::new();
    agents.put("echo.toml", b"[export]\nto = [\"world\"]\n");
    agents.put("echo.wasm", &std::fs::read(guest("echo")).expect("there is a guest"));
    let none = AgentsDirectory::new();
    let (top, middle) = (zone("z.a", none.path()).await, zone("b.z.a", none.path()).await);
    let (bottom, asking) = (zone("c.b.z.a", agents.path()).await, zone("x.z.a", none.path()).await);
    top.command(&["zone", "delegate", "b.z.a", "--at", &middle.url()]).await;
    top.command(&["zone", "delegate", "x.z.a", "--at", &asking.url()]).await;
    middle.command(&["zone", "delegate", "c.b.z.a", "--at", &bottom.url()]).await;
    asking.command(&["zone", "peer", "--parent", &top.url()]).await;
    let name = "echo.c.b.z.a";
    eventually("the name is found", || async {
        (resolve(&asking.host, name).await["found"] == "agent").then_some(())
    })
    .await;

    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    while cold.len() < COLD {
        sleep(Duration::from_millis(1100)).await;
        let outcome = resolve(&asking.host, name).await;
        assert_eq!(outcome["found"], "agent", "{outcome}");
        let (ms, asked) = figures(&outcome);
        if asked == 3 {
            cold.push(ms);
        }
    }
    // The name lives for a second: what is looked up within it is cached.
    while warm.len() < CACHED {
        let outcome = resolve(&asking.host, name).await;
        let (ms, asked) = figures(&outcome);
        if asked == 0 {
            warm.push(ms);
        }
    }
    report("cached exact resolve", warm);
    report("cold caches, 3 levels, 20 ms per link", cold);
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(run());
}

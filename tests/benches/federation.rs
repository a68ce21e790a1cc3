//! What it costs to find an agent of another zone: `cargo bench --bench federation`.
//!
//! Four hosts: `x.a` looks names of `c.b.a` up, from the pinned zone `a` down through `b.a`. Every zone is reached through
//! a proxy in user space that delays what it forwards, 10 ms each way, so that a round trip takes 20 ms as between
//! two cities. The caches are cold because every record lives for one second; the connections stay.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aop_tests::{AgentsDirectory, Aop, Host, HostOptions, eventually, guest, http_client};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

/// One way over a link.
const DELAY: Duration = Duration::from_millis(10);
/// Lookups with cold caches.
const COLD: usize = 60;
/// Lookups with a warm cache.
const CACHED: usize = 5000;

/// Forwards connections to an address that is known later, and delays every byte.
struct Link {
    address: SocketAddr,
    target: Arc<OnceLock<SocketAddr>>,
}

impl Link {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let target: Arc<OnceLock<SocketAddr>> = Arc::default();
        let towards = Arc::clone(&target);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Some(target) = towards.get() else { continue };
                let Ok(far) = TcpStream::connect(target).await else { continue };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                pump(near_read, far_write);
                pump(far_read, near_write);
            }
        });
        Self { address, target }
    }
}

fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let piece = (Instant::now() + DELAY, buffer[..count].to_vec());
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((due, piece)) = receiver.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
}

struct Zone {
    host: Host,
    link: Link,
    data: TempDir,
}

async fn zone(name: &str, agents: &Path) -> Zone {
    let (data, link) = (TempDir::new().expect("a directory"), Link::open().await);
    aop(&["zone", "keygen", "--data", &data.path().display().to_string()]).await;
    let config = format!(
        "[zone]\nname = \"{name}\"\nttl = \"1s\"\nendpoints = [\"http://{}\"]\nprivate_networks = [\"127.0.0.0/8\"]\n",
        link.address
    );
    std::fs::write(data.path().join("zone.toml"), &config).expect("it can be written");
    let host = Host::start(HostOptions {
        agents: vec![agents.to_owned()],
        data: Some(data.path().to_owned()),
        config: Some(config),
        ..HostOptions::default()
    })
    .await;
    link.target.set(host.address()).expect("it is set once");
    Zone { host, link, data }
}

impl Zone {
    fn url(&self) -> String {
        format!("http://{}", self.link.address)
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

//! A host in a process of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Aop, Mcp, PATIENCE, Raw, Scrape, Session, aop_binary, eventually, http_client};

/// How a host is started.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Directories of agents.
    pub agents: Vec<PathBuf>,
    /// Where it listens; a free port when none.
    pub listen: Option<SocketAddr>,
    /// The data directory; a new one when none.
    pub data: Option<PathBuf>,
    /// Text of the configuration file.
    pub config: Option<String>,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Variables in its environment.
    pub environment: Vec<(String, String)>,
    /// The network namespace it runs in, if not this process's own.
    pub within: Option<String>,
    /// The key that opens it, if it is closed.
    pub key: Option<String>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            agents: Vec::new(),
            listen: None,
            data: None,
            config: None,
            arguments: vec!["--log-format".into(), "json".into()],
            environment: Vec::new(),
            within: None,
            key: None,
        }
    }
}

/// A running `aop serve`. Killed when dropped.
pub struct Host {
    child: Child,
    address: SocketAddr,
    data: PathBuf,
    key: Option<String>,
    log: Arc<Mutex<String>>,
    /// Lines of standard output after the address.
    rest: Option<BufReader<ChildStdout>>,
    /// What lives as long as the host.
    _kept: Vec<TempDir>,
}

impl Host {
    /// Serves a directory of agents, and waits until it is ready.
    pub async fn serve(agents: &Path) -> Self {
        Self::start(HostOptions { agents: vec![agents.to_owned()], ..HostOptions::default() }).await
    }

    /// Starts a host and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(options: HostOptions) -> Self {
        let host = Self::spawn(options);
        eventually("the host is ready", || async { host.is_ready().await.then_some(()) }).await;
        host
    }

    /// Starts a host and waits until it listens.
    ///
    /// # Panics
    /// When it does not listen.
    #[must_use]
    pub fn spawn(options: HostOptions) -> Self {
        let mut kept = Vec::new();
        let mut directory = |prefix| {
            let directory = TempDir::with_prefix(prefix).expect("a directory can be made");
            let path = directory.path().to_owned();
            kept.push(directory);
            path
        };
        let data = options.data.unwrap_or_else(|| directory("aop-data-"));
        let home = directory("aop-home-");
        let mut command = match &options.within {
            None => Command::new(aop_binary()),
            Some(namespace) => {
                // It becomes the host: the process id is the host's own.
                let mut command = Command::new("/usr/sbin/ip");
                command.args(["netns", "exec", namespace]).arg(aop_binary());
                command
            }
        };
        command.env_clear().env("HOME", &home).env("NO_COLOR", "1").current_dir(&home);
        let listen = options.listen.map_or_else(|| "127.0.0.1:0".to_owned(), |at| at.to_string());
        command.args(["serve", "--listen", &listen, "--data"]).arg(&data);
        for agents in &options.agents {
            command.arg("--agents").arg(agents);
        }
        if let Some(text) = &options.config {
            let config = home.join("aop.toml");
            std::fs::write(&config, text).expect("the configuration can be written");
            command.arg("--config").arg(config);
        }
        command.args(&options.arguments).envs(options.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("aop starts");
        let log = record(child.stderr.take().expect("standard error is piped"));
        let mut rest = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut line = String::new();
        rest.read_line(&mut line).expect("standard output can be read");
        let Some(address) = address_in(&line) else {
            let status = child.wait();
            panic!("the host printed no address but {line:?} ({status:?}):\n{}", text(&log));
        };
        Self { child, address, data, key: options.key, log, rest: Some(rest), _kept: kept }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether `/readyz` says so.
    pub async fn is_ready(&self) -> bool {
        let answer = http_client().get(self.url("/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// The body of a GET, which must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub async fn get(&self, path: &str) -> String {
        let mut request = http_client().get(self.url(path));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await.expect("the host answers");
        let status = answer.status();
        let body = answer.text().await.expect("the body can be read");
        assert!(status.is_success(), "GET {path}: {status} {body}");
        body
    }

    /// The metrics now.
    pub async fn metrics(&self) -> Scrape {
        Scrape::parse(&self.get("/metrics").await)
    }

    /// Waits until no guest is alive.
    pub async fn no_instances(&self) {
        eventually("no instance is left", || async {
            (self.metrics().await.value("aop_instances_live") == Some(0.0)).then_some(())
        })
        .await;
    }

    /// Waits until a metric has a value.
    pub async fn metric(&self, name: &str, value: f64) {
        eventually(&format!("{name} is {value}"), || async {
            (self.metrics().await.value(name) == Some(value)).then_some(())
        })
        .await;
    }

    /// A client of the stateless revision.
    #[must_use]
    pub fn mcp(&self) -> Mcp {
        let mcp = Mcp::new(self.url("/mcp"));
        match &self.key {
            Some(key) => mcp.with_key(key),
            None => mcp,
        }
    }

    /// A client of the revision with sessions.
    pub async fn session(&self) -> Session {
        Session::open(&self.url("/mcp"), "2025-11-25").await
    }

    /// A plain connection.
    pub async fn connect(&self) -> Raw {
        Raw::connect(self.address).await
    }

    /// A subcommand of `aop` against this host.
    #[must_use]
    pub fn aop(&self, arguments: &[&str]) -> Aop {
        let url = self.url("");
        let aop = Aop::new(&[arguments, &["--url", &url]].concat());
        match &self.key {
            Some(key) => aop.env("AOP_KEY", key),
            None => aop,
        }
    }

    /// An agent as `aop agent list` has it, if it is there.
    ///
    /// # Panics
    /// When the host does not answer.
    pub async fn agent(&self, name: &str) -> Option<Value> {
        let list: Value =
            serde_json::from_str(&self.get("/api/v1/agents").await).expect("the list is JSON");
        let agents = list["agents"].as_array().expect("the list has agents").clone();
        agents.into_iter().find(|agent| agent["name"] == name)
    }

    /// Waits until an agent is as it should be.
    pub async fn agent_is(&self, name: &str, right: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("the agent {name} is as it should be"), || async {
            self.agent(name).await.filter(|agent| right(agent))
        })
        .await
    }

    /// Waits until an agent is gone.
    pub async fn agent_is_gone(&self, name: &str) {
        eventually(&format!("the agent {name} is gone"), || async {
            self.agent(name).await.is_none().then_some(())
        })
        .await;
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        text(&self.log)
    }

    /// The log's lines, which must be JSON each.
    ///
    /// # Panics
    /// When one is not.
    #[must_use]
    pub fn log_lines(&self) -> Vec<Value> {
        let log = self.log();
        // The last line may still be on its way.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let parse = |line: &str| match serde_json::from_str(line) {
            Ok(value) => value,
            Err(error) => panic!("{error} in the log line {line}"),
        };
        whole.lines().map(parse).collect()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the host is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a child has a process id");
        kill_process(pid, signal).expect("the host can be signalled");
    }

    /// Asks it to drain.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for its end. What it still wrote to standard output is returned with how it ended.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(&mut self) -> (ExitStatus, String) {
        let started = std::time::Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the host can be waited for") {
                break status;
            }
            assert!(started.elapsed() < PATIENCE, "the host did not end");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        let mut rest = String::new();
        if let Some(mut stdout) = self.rest.take() {
            stdout.read_to_string(&mut rest).expect("standard output can be read");
        }
        (status, rest)
    }

    /// Kills it as a crash would.
    ///
    /// # Panics
    /// When it does not die.
    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        self.child.wait().expect("the host can be waited for");
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("the host lives");
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        let kibibytes: u64 =
            line.trim().trim_end_matches(" kB").parse().expect("the kernel writes numbers");
        kibibytes << 10
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let skip = log.len().saturating_sub(LOG_SHOWN_BYTES);
            eprintln!(
                "--- log of the host at {}\n{}",
                self.address,
                &log[log.ceil_char_boundary(skip)..]
            );
        }
    }
}

/// How much of a host's log a failed test shows.
const LOG_SHOWN_BYTES: usize = 16 << 10;

/// Reads a pipe to its end on a thread of its own, so that the child never waits for a reader.
fn record(mut pipe: impl std::io::Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let record = Arc::clone(&text);
    std::thread::spawn(move || {
        let (mut chunk, mut pending) = ([0; 8192], Vec::new());
        while let Ok(count @ 1..) = pipe.read(&mut chunk) {
            pending.extend_from_slice(&chunk[..count]);
            // Only whole lines are surely whole characters.
            if let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') {
                let lines: Vec<u8> = pending.drain(..=end).collect();
                record
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_str(&String::from_utf8_lossy(&lines));
            }
        }
        record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(&String::from_utf8_lossy(&pending));
    });
    text
}

fn text(log: &Mutex<String>) -> String {
    log.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The address in the one line that a host prints, with or without a scheme around it.
fn address_in(line: &str) -> Option<SocketAddr> {
    line.split_whitespace()
        .map(|word| word.trim_start_matches("http://").trim_end_matches('/'))
        .find_map(|word| word.parse().ok())
}

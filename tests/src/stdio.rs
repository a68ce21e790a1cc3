//! A client over standard input and output: `aop serve --stdio` in a process of its own.

use std::path::Path;
use std::process::{ExitStatus, Stdio as Pipe};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::command::isolate;
use crate::{PATIENCE, STATELESS, aop_binary, within};

/// A server behind pipes. Killed when dropped.
#[derive(Debug)]
pub struct Stdio {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    next_id: u64,
    _home: TempDir,
}

impl Stdio {
    /// Starts a server for a directory of agents.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(agents: &Path) -> Self {
        let home = TempDir::with_prefix("aop-home-").expect("a directory can be made");
        let mut command = Command::new(aop_binary());
        isolate(&mut command, home.path());
        command.args(["serve", "--stdio", "--agents"]).arg(agents);
        command.arg("--data").arg(home.path().join("data"));
        command.stdin(Pipe::piped()).stdout(Pipe::piped()).stderr(Pipe::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("aop starts");
        let output = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
        Self { input: child.stdin.take(), child, output, next_id: 1, _home: home }
    }

    /// Writes a line as it is.
    pub async fn send(&mut self, line: &str) {
        let input = self.input.as_mut().expect("standard input is open");
        // A server that went away is found when its answer is missing.
        let _ = input.write_all(format!("{line}\n").as_bytes()).await;
        let _ = input.flush().await;
    }

    /// The next message; none when the server ended.
    ///
    /// # Panics
    /// When standard output carries anything but messages.
    pub async fn next(&mut self) -> Option<Value> {
        let line = within(PATIENCE, "a message", self.output.next_line())
            .await
            .expect("standard output is text")?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// Opens a session of the revision before the stateless one.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn initialize(&mut self) -> Value {
        let client = json!({ "name": "aop-tests", "version": "1" });
        let params =
            json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
        let answer = self.request("initialize", params).await;
        self.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// Sends a request without waiting for its answer. Its id.
    pub async fn begin(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(&message.to_string()).await;
        id
    }

    /// Sends a request and waits for its answer; notifications in between are dropped.
    ///
    /// # Panics
    /// When the server ends before.
    pub async fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params).await;
        loop {
            match self.next().await {
                Some(message) if message["id"] == id => return message,
                Some(_) => {}
                None => panic!("the server ended:\n{}", self.complaint().await),
            }
        }
    }

    /// Sends a request of the stateless revision.
    ///
    /// # Panics
    /// When `params` is not an object.
    pub async fn request_stateless(&mut self, method: &str, mut params: Value) -> Value {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": STATELESS,
            "io.modelcontextprotocol/clientInfo": { "name": "aop-tests", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        self.request(method, params).await
    }

    /// Closes the server's standard input.
    pub fn close(&mut self) {
        self.input = None;
    }

    /// The server's process id.
    ///
    /// # Panics
    /// When it ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the server runs")
    }

    /// Waits for the server's end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(&mut self) -> ExitStatus {
        within(PATIENCE, "the server ends", self.child.wait()).await.expect("it can be waited for")
    }

    async fn complaint(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // What cannot be read is not shown.
            let _ = stderr.read_to_string(&mut text).await;
        }
        text
    }
}

//! `aop dev`: what an author sees while the source changes.

use std::process::Stdio;

use aop_tests::{BOUND, Mcp, PATIENCE, aop_binary, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use super::Source;

/// A running `aop dev`, and what it shows.
struct Dev {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

/// Reads on until a line has a text.
async fn until<R: AsyncRead + Unpin>(lines: &mut Lines<BufReader<R>>, text: &str) -> String {
    let mut seen = Vec::new();
    let search = async {
        while let Some(line) = lines.next_line().await.expect("the output is text") {
            if line.contains(text) {
                return Some(line);
            }
            seen.push(line);
        }
        None
    };
    let found = within(PATIENCE, text, search).await;
    assert!(found.is_some(), "no {text:?} in:\n{}", seen.join("\n"));
    found.unwrap_or_default()
}

impl Dev {
    fn start(source: &Source) -> Self {
        let mut command = Command::new(aop_binary());
        command
            .args(["dev", "--listen", "127.0.0.1:0"])
            .current_dir(source.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", source.path().join(".home"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("aop starts");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let stderr = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        Self { child, stdout, stderr }
    }

    async fn shows(&mut self, text: &str) -> String {
        until(&mut self.stdout, text).await
    }

    async fn complains(&mut self, text: &str) -> String {
        until(&mut self.stderr, text).await
    }

    async fn interrupt(mut self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("it runs"), Signal::INT).expect("it can be interrupted");
        let status = within(BOUND, "its end", self.child.wait()).await.expect("it can be awaited");
        assert_eq!(status.code(), Some(0));
    }
}

#[tokio::test]
async fn a_change_is_built_and_served_and_a_broken_one_is_shown() {
    let source = Source::new();
    let mut dev = Dev::start(&source);
    dev.shows("built sums").await;
    dev.shows("sums_answer").await;
    let line = dev.shows("/mcp").await;
    let url = line.split_whitespace().find(|word| word.starts_with("http"));
    let mcp = Mcp::new(url.expect("it says where").to_owned());
    dev.shows("revision 1 serves").await;
    assert_eq!(mcp.call("sums_answer", json!({})).await.value(), &json!(1));
    dev.shows("✓ sums_answer").await;
    mcp.call("sums_answer", json!({ "much": 1 })).await;
    dev.shows("✗ sums_answer").await;
    dev.shows("invalid_arguments").await;

    source.answers(2);
    dev.shows("app.py changed").await;
    dev.shows("revision 2 serves").await;
    assert_eq!(mcp.call("sums_answer", json!({})).await.value(), &json!(2));

    source.write("app.py", b"broken\n");
    dev.complains("the first line is broken").await;
    dev.complains("keeps serving").await;
    assert_eq!(mcp.call("sums_answer", json!({})).await.value(), &json!(2));

    // The settings are part of the source.
    source.answers(3);
    dev.shows("revision 3 serves").await;
    source.write("sums.toml", b"[tools.answer]\nname = \"tell\"\n");
    dev.shows("sums.toml changed").await;
    dev.shows("revision 4 serves").await;
    assert_eq!(mcp.call("tell", json!({})).await.value(), &json!(3));

    // And so is its name.
    source.write("pyproject.toml", b"[project]\nname = \"counts\"\n");
    dev.shows("built counts").await;
    dev.shows("revision 1 serves").await;
    assert_eq!(mcp.call("counts_answer", json!({})).await.value(), &json!(3));
    dev.interrupt().await;
}

#[tokio::test]
async fn an_agent_that_does_not_build_yet_is_waited_for() {
    let source = Source::new();
    source.write("app.py", b"broken\n");
    let mut dev = Dev::start(&source);
    dev.complains("the first line is broken").await;
    dev.complains("waiting for a change").await;
    source.answers(5);
    dev.shows("revision 1 serves").await;
    dev.interrupt().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let source = Source::new();
    let finished = source.aop(&["dev", "--listen", &address]).run().await.code(1);
    finished.complains(&[&address, "--listen"]);
}

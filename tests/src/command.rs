//! One run of the `aop` command line, in an environment that holds nothing of the machine's.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::{PATIENCE, aop_binary, target_directory};

/// A command to be run.
#[derive(Debug)]
pub struct Aop {
    command: Command,
    input: Option<Vec<u8>>,
}

/// A command that ran.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// Where commands keep what they compile, shared by all tests so that each guest is compiled once.
fn shared_home() -> PathBuf {
    target_directory().join("tmp").join("home")
}

/// Hides the machine from a child process: no `AOP_…`, no home, no colour.
pub(crate) fn isolate(command: &mut Command, home: &Path) {
    command.env_clear().env("HOME", home).env("NO_COLOR", "1").env("PATH", "/usr/bin:/bin");
}

impl Aop {
    /// `aop` with arguments.
    ///
    /// # Panics
    /// When the home of the commands cannot be made.
    #[must_use]
    pub fn new(arguments: &[&str]) -> Self {
        let home = shared_home();
        std::fs::create_dir_all(&home).expect("the home of the commands can be made");
        let mut command = Command::new(aop_binary());
        isolate(&mut command, &home);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Self { command, input: None }
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// In another directory.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// With something on its standard input.
    #[must_use]
    pub fn input(mut self, bytes: &[u8]) -> Self {
        self.command.stdin(Stdio::piped());
        self.input = Some(bytes.to_owned());
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    pub async fn run(mut self) -> Finished {
        let mut child = self.command.spawn().expect("aop starts");
        let input = child.stdin.take().zip(self.input.take());
        let feed = async move {
            if let Some((mut stdin, bytes)) = input {
                // A command that does not read its input closes it.
                let _ = stdin.write_all(&bytes).await;
            }
        };
        let ended = async { tokio::join!(child.wait_with_output(), feed).0 };
        let output = match tokio::time::timeout(PATIENCE, ended).await {
            Ok(output) => output.expect("the output can be read"),
            Err(_) => panic!("{:?} did not end", self.command),
        };
        Finished {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Finished {
    /// Checks the exit code.
    ///
    /// # Panics
    /// When it is another one.
    #[must_use]
    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(expected),
            "exit code\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is not exactly one JSON value.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => {
                panic!("{error}\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr)
            }
        }
    }

    /// Checks that every text is in standard error.
    ///
    /// # Panics
    /// When one is not.
    #[track_caller]
    pub fn complains(&self, texts: &[&str]) {
        for text in texts {
            assert!(self.stderr.contains(text), "no {text:?} in standard error:\n{}", self.stderr);
        }
    }

    /// Checks that every text is in standard output.
    ///
    /// # Panics
    /// When one is not.
    #[track_caller]
    pub fn prints(&self, texts: &[&str]) {
        for text in texts {
            assert!(self.stdout.contains(text), "no {text:?} in standard output:\n{}", self.stdout);
        }
    }
}

//! Mounted servers that are programs.

use std::process::Stdio;

use rmcp::service::RoleClient;
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::config::{MountConfig, MountTransport};
use super::connect::{MESSAGE_MAX_BYTES, printable};

/// What is kept of one line that a program writes to its standard error, in bytes.
const LINE_MAX_BYTES: u64 = 4 << 10;

/// A running program with all that it started. Ends when this is dropped.
pub(super) struct Process {
    child: Child,
}

type Pipes = AsyncRwTransport<RoleClient, ChildStdout, ChildStdin>;

impl Process {
    /// Starts the program of a mount.
    ///
    /// # Errors
    /// Why it cannot be, for the operator.
    pub(super) fn start(config: &MountConfig) -> Result<(Self, Pipes), String> {
        let MountTransport::Stdio { program, arguments, environment, directory } =
            &config.transport
        else {
            return Err("it is no program".to_owned());
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // Launchers (npx, uvx) start the server itself as another process, which must end with them.
        #[cfg(unix)]
        command.process_group(0);
        if let Some(directory) = directory {
            command.current_dir(directory);
        }
        let mut child =
            command.spawn().map_err(|error| format!("cannot start `{program}`: {error}"))?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("its standard streams are not open".to_owned());
        };
        tokio::spawn(log(errors, config.name.to_string()));
        let pipes = AsyncRwTransport::new(output, input).with_max_line_length(MESSAGE_MAX_BYTES);
        Ok((Self { child }, pipes))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok())
            && let Some(group) = rustix::process::Pid::from_raw(id)
        {
            // It fails when all of them ended by themselves.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.start_kill();
    }
}

/// Puts what a program says beside its answers into the log.
async fn log(errors: ChildStderr, server: String) {
    let mut reader = BufReader::new(errors);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A longer line comes in pieces.
        match (&mut reader).take(LINE_MAX_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                tracing::debug!(server, "{}", printable(text.trim_end()));
            }
        }
    }
}

//! From a component's bytes to code that can be mapped: the cache, and the worker that fills it.
//!
//! Compiling is the worst attack found on such a host: 717 bytes cost 10 s and 2.3 GB. So it happens
//! in a child process that limits itself ([`worker`]), one at a time, in fair turn between tenants and their agents by
//! the time that it takes, and the host maps only what that worker wrote. What was compiled is kept by digest and engine version ([`cache`]).

mod cache;
#[cfg(test)]
mod tests;
pub mod worker;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aop_core::fair::{Party, Permits};
use aop_core::{Artifact, Digest, PrepareError};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

pub(crate) use cache::{Cache, Entry};
use worker::{Derived, Outcome, Request};

/// The worker's answer is the derived interface as JSON. A component is refused long before its
/// interface gets this big; more than this means that the worker has run wild.
const ANSWER_MAX_BYTES: u64 = 64 << 20;
/// What is kept of the worker's standard error for the operator's log: its end.
const STDERR_MAX_BYTES: usize = 4 << 10;

/// mimalloc, the allocator of our binary, reserves a gigabyte of address space at its first use, which
/// would be half of what the worker may have. Other allocators ignore it.
const ALLOCATOR_RESERVE: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "64M");

/// What a turn probably takes, in milliseconds: components are of Rust more often than of Python.
const TURN_MS: u64 = 500;

/// What compiling one component may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// CPU time of the worker, over all its threads. SpiderMonkey's 12 MB take 40 s on two cores.
    pub cpu_max: Duration,
    /// Wall time of the worker: a machine under load needs longer than its CPU time.
    pub wall_max: Duration,
    /// Address space of the worker. Measured peaks: 1.2 GB for Python's 18 MB.
    pub memory_max_bytes: u64,
    /// Size of the component.
    pub component_max_bytes: u64,
    /// Size of the compiled code. Python's 18 MB become 35 MB.
    pub code_max_bytes: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            cpu_max: Duration::from_secs(120),
            wall_max: Duration::from_secs(300),
            memory_max_bytes: 2 << 30,
            component_max_bytes: 64 << 20,
            code_max_bytes: 512 << 20,
        }
    }
}

/// The program that compiles: named explicitly, never guessed from the current process.
#[derive(Debug, Clone)]
pub struct WorkerProgram {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments; the request is appended as the last one, for [`worker::main`].
    pub arguments: Vec<String>,
}

/// Compiles through the cache.
pub(crate) struct Compiler {
    cache: Cache,
    program: WorkerProgram,
    limits: CompileLimits,
    one_at_a_time: Permits,
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
}

impl Compiler {
    /// Removes what was compiled of a component.
    pub(crate) async fn forget(&self, digest: Digest) {
        self.cache.forget(digest).await;
    }

    pub(crate) fn new(cache: Cache, program: WorkerProgram, limits: CompileLimits) -> Self {
        Self {
            cache,
            program,
            limits,
            one_at_a_time: Permits::new(1, TURN_MS),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// Finds the compiled component, or has it compiled when it is the party's turn.
    pub(crate) async fn compile(
        &self,
        artifact: Artifact<'_>,
        party: Party,
    ) -> Result<Entry, PrepareError> {
        if let Some(entry) = self.cache.get(artifact.digest).await {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(entry);
        }
        let mut turn = Permits::acquire(&self.one_at_a_time, party).await;
        // Somebody may have compiled the same bytes while this one waited.
        if let Some(entry) = self.cache.get(artifact.digest).await {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(entry);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let started = std::time::Instant::now();
        let compiled = self.compile_now(artifact).await;
        turn.spend(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        if compiled.is_ok() {
            tracing::info!(
                digest = %artifact.digest,
                seconds = started.elapsed().as_secs_f64(),
                "compiled a component"
            );
        }
        compiled
    }

    async fn compile_now(&self, artifact: Artifact<'_>) -> Result<Entry, PrepareError> {
        let output = self.cache.reserve().map_err(internal)?;
        let derived = self.run_worker(artifact, output.path()).await?;
        self.cache.put(artifact.digest, &derived, output).await.map_err(internal)
    }

    async fn run_worker(
        &self,
        artifact: Artifact<'_>,
        output: &std::path::Path,
    ) -> Result<Derived, PrepareError> {
        let request = Request {
            component: artifact.path.to_owned(),
            digest: artifact.digest,
            output: output.to_owned(),
            cpu_max_seconds: self.limits.cpu_max.as_secs().max(1),
            memory_max_bytes: self.limits.memory_max_bytes,
            component_max_bytes: self.limits.component_max_bytes,
            code_max_bytes: self.limits.code_max_bytes,
        };
        let mut child = Command::new(&self.program.program)
            .args(&self.program.arguments)
            .arg(serde_json::to_string(&request).map_err(internal)?)
            .env_clear()
            .env(ALLOCATOR_RESERVE.0, ALLOCATOR_RESERVE.1)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                internal(format!("cannot start {}: {error}", self.program.program.display()))
            })?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(internal("the compile worker has no pipes"));
        };
        let finished = tokio::time::timeout(self.limits.wall_max, async {
            let (answer, complaint) = tokio::try_join!(answer(stdout), last_words(stderr))?;
            Ok((child.wait().await?, answer, complaint))
        })
        .await;
        let Ok(finished) = finished else {
            return Err(PrepareError::TooCostly(format!(
                "compiling took longer than {} s and was stopped: make the component smaller, or raise `compile.wall`",
                self.limits.wall_max.as_secs()
            )));
        };
        let (status, answer, complaint) =
            finished.map_err(|error: std::io::Error| internal(error))?;
        match serde_json::from_slice::<Outcome>(&answer) {
            Ok(Outcome::Compiled(derived)) if status.success() => Ok(*derived),
            Ok(Outcome::Refused { reason }) => Err(PrepareError::NotAComponent(reason)),
            Ok(Outcome::Failed { reason }) => Err(internal(reason)),
            _ => Err(self.explain_death(status, &String::from_utf8_lossy(&complaint))),
        }
    }

    /// The worker died without an answer: almost always on one of its limits.
    fn explain_death(&self, status: std::process::ExitStatus, complaint: &str) -> PrepareError {
        use std::os::unix::process::ExitStatusExt as _;
        tracing::warn!(%status, complaint = complaint.trim(), "the compile worker died");
        let cpu_signals = [rustix::process::Signal::XCPU, rustix::process::Signal::KILL];
        let signal = status.signal();
        if cpu_signals.iter().any(|s| signal == Some(s.as_raw())) {
            PrepareError::TooCostly(format!(
                "compiling took more than {} s of CPU time and was stopped: make the component smaller, or raise `compile.cpu`",
                self.limits.cpu_max.as_secs()
            ))
        } else if status.success() {
            internal("the compile worker gave no answer")
        } else {
            PrepareError::TooCostly(format!(
                "compiling needed more than {} MiB of memory or broke the compiler ({status}) and was stopped: make the component smaller, or raise `compile.memory`",
                self.limits.memory_max_bytes >> 20
            ))
        }
    }
}

/// Reads the worker's answer.
async fn answer(stdout: impl AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    stdout.take(ANSWER_MAX_BYTES + 1).read_to_end(&mut answer).await?;
    if answer.len() as u64 > ANSWER_MAX_BYTES {
        let reason = format!("the compile worker answered more than {ANSWER_MAX_BYTES} bytes");
        return Err(std::io::Error::other(reason));
    }
    Ok(answer)
}

/// Reads all that the worker complains, so that it never waits for a reader, and keeps the end.
async fn last_words(mut stderr: impl AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut piece = [0; STDERR_MAX_BYTES];
    loop {
        let length = stderr.read(&mut piece).await?;
        if length == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(&piece[..length]);
        kept.drain(..kept.len().saturating_sub(STDERR_MAX_BYTES));
    }
}

fn internal(error: impl std::fmt::Display) -> PrepareError {
    PrepareError::Internal(error.to_string())
}

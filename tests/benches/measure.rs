//! What the benchmarks measure with: calls in the process, and percentiles.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aop_core::quota::Payer;
use aop_core::{
    AgentName, Artifact, CallContext, Caller, Digest, Executable, Failure, GuestLine, GuestLog,
    Output, Prepare as _, Settings, TenantName, ToolName,
};
use aop_runtime::{Runtime, RuntimeConfig, WorkerProgram};
use aop_tests::{aop_binary, guest};

/// Longer than anything that is measured takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const HI: &str = r#"{"text":"hi"}"#;

struct NoLog;

impl GuestLog for NoLog {
    fn line(&self, _: GuestLine<'_>) {}
}

/// One function of one agent.
#[derive(Clone)]
pub(crate) struct Function {
    executable: Arc<dyn Executable>,
    index: usize,
    arguments: &'static str,
    pub(crate) payer: Arc<Payer>,
}

impl Function {
    pub(crate) async fn call(&self, timeout: Duration) -> Result<Output, Failure> {
        self.call_until(Instant::now() + timeout).await
    }

    /// As a host calls: what the timeout counts from is the arrival.
    pub(crate) async fn call_until(&self, deadline: Instant) -> Result<Output, Failure> {
        let context = Arc::new(CallContext {
            payer: Arc::clone(&self.payer),
            ..CallContext::alone(
                Caller::local(TenantName::default_tenant()),
                AgentName::new("bench").unwrap(),
                ToolName::new("bench").unwrap(),
                deadline,
            )
        });
        let arguments = self.executable.validate(self.index, self.arguments).ok().unwrap();
        self.executable.execute(self.index, &arguments, &context).await
    }
}

/// A runtime without a host around it.
pub(crate) struct Bench(Runtime);

impl Bench {
    /// Compiled code is kept in `directory`.
    pub(crate) fn at(directory: &Path) -> Self {
        let worker = WorkerProgram {
            program: aop_binary().to_owned(),
            arguments: vec!["compile-worker".to_owned()],
        };
        let config = RuntimeConfig::new(directory.join("cache"), worker);
        Self(Runtime::new(config, Arc::new(NoLog)).unwrap())
    }

    /// A function of a component in a file.
    pub(crate) async fn file(
        &self,
        path: &Path,
        name: &str,
        arguments: &'static str,
        settings: Settings,
    ) -> Function {
        let digest = Digest::of(&std::fs::read(path).unwrap());
        let (artifact, payer) = (Artifact { path, digest }, Payer::nobody());
        let prepared = self.0.prepare(artifact, Arc::new(settings), &payer).await.unwrap();
        let mut functions = prepared.interface.functions.iter();
        let index = functions.position(|function| function.name == name).unwrap();
        Function { executable: prepared.executable, index, arguments, payer }
    }

    /// The function that returns its argument.
    pub(crate) async fn echo(&self) -> Function {
        self.file(&guest("echo"), "echo", HI, Settings::default()).await
    }
}

/// Sorted durations, read by percentile.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// Of calls one after another.
    pub(crate) async fn of(function: &Function, calls: usize) -> Self {
        let mut durations = Vec::with_capacity(calls);
        for _ in 0..calls {
            let started = Instant::now();
            function.call(PATIENCE).await.unwrap();
            durations.push(started.elapsed());
        }
        Self::sorted(durations)
    }

    pub(crate) fn sorted(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        Self(durations)
    }

    pub(crate) fn at(&self, percentile: usize) -> Duration {
        self.0[(self.0.len() * percentile / 100).min(self.0.len() - 1)]
    }

    /// Prints a line of the table.
    pub(crate) fn row(&self, name: &str) {
        let (p50, p99, max) = (self.at(50), self.at(99), self.at(100));
        println!("  {name:<44} p50 {p50:>10.2?}   p99 {p99:>10.2?}   max {max:>10.2?}");
    }
}

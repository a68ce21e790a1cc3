//! A runtime inside the test, for components that attack it: nothing else runs in it, so what is
//! left behind after a call is that call's.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aop_core::quota::Payer;
use aop_core::{
    AgentName, Artifact, CallContext, Caller, Digest, Executable, Failure, GuestLine, GuestLog,
    Interface, Measure as _, Output, Prepare as _, PrepareError, Progress, Settings, TenantName,
    ToolName,
};
use aop_runtime::{CompileLimits, Runtime, RuntimeConfig, WorkerProgram};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{PATIENCE, aop_binary, component, eventually, within};

/// A runtime with a data directory of its own.
pub struct Sandbox {
    runtime: Runtime,
    log: Arc<RecordedLog>,
    directory: TempDir,
}

/// The lines that guests wrote.
#[derive(Debug, Default)]
pub struct RecordedLog(Mutex<Vec<String>>);

impl GuestLog for RecordedLog {
    fn line(&self, line: GuestLine<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.text.to_owned());
    }
}

impl RecordedLog {
    /// Every line so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A component that can be called.
pub struct Loaded {
    /// What it exports.
    pub interface: Arc<Interface>,
    /// How it is called.
    pub executable: Arc<dyn Executable>,
    settings: Settings,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// Instances that may live at once: far fewer than a host's, because address space is reserved for
    /// each and many tests run in one process.
    pub const INSTANCES_MAX: u32 = 128;

    /// With the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(CompileLimits::default())
    }

    /// With other limits on compiling.
    ///
    /// # Panics
    /// When the runtime does not start.
    #[must_use]
    pub fn with_limits(compile_limits: CompileLimits) -> Self {
        let directory = TempDir::with_prefix("aop-sandbox-").expect("a directory can be made");
        let worker = WorkerProgram {
            program: aop_binary().to_owned(),
            arguments: vec!["compile-worker".into()],
        };
        let log = Arc::new(RecordedLog::default());
        let config = RuntimeConfig {
            compile_limits,
            instances_max: Self::INSTANCES_MAX,
            ..RuntimeConfig::new(directory.path().join("cache"), worker)
        };
        let runtime = Runtime::new(config, Arc::clone(&log) as Arc<dyn GuestLog>)
            .expect("the runtime starts");
        Self { runtime, log, directory }
    }

    /// What guests wrote.
    #[must_use]
    pub fn log(&self) -> &RecordedLog {
        &self.log
    }

    /// Where compiled components are kept.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// Loads bytes.
    ///
    /// # Errors
    /// As the runtime says.
    ///
    /// # Panics
    /// When it says nothing within [`PATIENCE`].
    pub async fn load_bytes(
        &self,
        bytes: &[u8],
        settings: Settings,
    ) -> Result<Loaded, PrepareError> {
        let path = self.directory.path().join(format!("{}.wasm", Uuid::now_v7()));
        std::fs::write(&path, bytes).expect("the component can be written");
        self.load_file(&path, Digest::of(bytes), settings).await
    }

    /// Loads a file.
    ///
    /// # Errors
    /// As the runtime says.
    ///
    /// # Panics
    /// When it says nothing within [`PATIENCE`].
    pub async fn load_file(
        &self,
        path: &Path,
        digest: Digest,
        settings: Settings,
    ) -> Result<Loaded, PrepareError> {
        let (artifact, payer) = (Artifact { path, digest }, Payer::nobody());
        let preparing = self.runtime.prepare(artifact, Arc::new(settings.clone()), &payer);
        let prepared = within(PATIENCE, "the component is loaded or refused", preparing).await?;
        Ok(Loaded { interface: prepared.interface, executable: prepared.executable, settings })
    }

    /// Loads a component written as text.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn load(&self, text: &str, settings: Settings) -> Loaded {
        match self.load_bytes(&component(text), settings).await {
            Ok(loaded) => loaded,
            Err(error) => panic!("refused: {error}\n{text}"),
        }
    }

    /// A number that the runtime keeps about itself.
    ///
    /// # Panics
    /// When there is none of that name.
    #[must_use]
    pub fn sample(&self, name: &str) -> f64 {
        let samples = self.runtime.measure();
        samples
            .iter()
            .find(|sample| sample.name == name)
            .expect("the runtime keeps that number")
            .value
    }

    /// Waits until no instance is alive.
    pub async fn is_empty(&self) {
        eventually("no instance is left", || async {
            (self.sample("instances_live") == 0.0).then_some(())
        })
        .await;
    }
}

impl Loaded {
    /// Calls the function of that name under the timeout of the settings.
    ///
    /// # Errors
    /// As the call fails.
    ///
    /// # Panics
    /// When there is no such function, the arguments do not fit, or no answer comes.
    pub async fn call(&self, function: &str, arguments: &str) -> Result<Output, Failure> {
        self.call_with(function, arguments, None).await
    }

    /// The same, with a sink for progress.
    ///
    /// # Errors
    /// As the call fails.
    ///
    /// # Panics
    /// When there is no such function, the arguments do not fit, or no answer comes.
    pub async fn call_with(
        &self,
        function: &str,
        arguments: &str,
        progress: Option<Arc<dyn Progress>>,
    ) -> Result<Output, Failure> {
        let index =
            self.interface.functions.iter().position(|candidate| candidate.name == function);
        let index = index.expect("the function is exported");
        let arguments = match self.executable.validate(index, arguments) {
            Ok(arguments) => arguments,
            Err(violations) => panic!("{violations:?}"),
        };
        let context = Arc::new(CallContext { progress, ..context(self.settings.limits.timeout) });
        within(PATIENCE, "an answer", self.executable.execute(index, &arguments, &context)).await
    }
}

/// A call of nobody in particular that must be over in time.
fn context(timeout: Duration) -> CallContext {
    let caller = Caller::local(TenantName::new("default").expect("a tenant"));
    let agent = AgentName::new("hostile").expect("an agent");
    let tool = ToolName::new("hostile_run").expect("a tool");
    CallContext::alone(caller, agent, tool, Instant::now() + timeout)
}

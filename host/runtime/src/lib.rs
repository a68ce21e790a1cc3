//! Components, run: the only crate that knows wasmtime.
//!
//! [`Runtime`] turns component bytes and settings into tools that can be called (`Prepare`). A
//! component is compiled once, in a bounded child process ([`worker`]), kept sealed on disk and
//! mapped from there. Every call gets an instance of its own in microseconds, from a pool of mapped
//! slots, and is stopped at its deadline whatever it does:
//!
//! - a ticker on a thread of its own interrupts running guests every millisecond ([`ticker`]),
//! - guests that compute for longer queue for cores − 1 permits ([`lane`]),
//! - a deadline-first future drops the whole instance when its time is up ([`deadline`]).
//!
//! What a guest can import is in [`capability`], one file each. How values cross is in `codec`, what
//! a component exports is found by `derive` (inside the worker).

mod aside;
mod binding;
mod capability;
mod codec;
mod compile;
mod component;
mod deadline;
mod derive;
mod engine;
mod executable;
mod failure;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod guest;
mod handles;
mod lane;
mod limiter;
mod state;
mod stream;
mod ticker;
mod warm;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aop_core::fair::Parts;
use aop_core::quota::{CodeHeld, Payer};
use aop_core::{
    Artifact, BoxFuture, Digest, GuestLog, Measure, NodeId, Prepare, PrepareError, Prepared,
    Sample, Settings, Tenancy, Tenant,
};

use capability::files::Rooms;
use compile::{Cache, Compiler};
use component::{Linked, Linkers};
use engine::{Engines, Model, ON_DEMAND_INSTANCES_MAX};
use executable::{Agent, Shared};
use handles::Handles;
use lane::Lane;
use ticker::Ticker;
use uuid::Uuid;
use warm::Shelf;

pub use compile::worker;
pub use compile::{CompileLimits, WorkerProgram};
pub use handles::HandleBounds;

/// How a runtime is set up.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Where compiled components are kept; made if it does not exist.
    pub cache_directory: PathBuf,
    /// The program that compiles.
    pub worker: WorkerProgram,
    /// What compiling one component may cost.
    pub compile_limits: CompileLimits,
    /// Instances that may live at once, of each model. Address space is reserved for all of them (about 16 GiB
    /// each), memory only for those that live. Half as many may idle between calls of their agents.
    pub instances_max: u32,
    /// What the compiled components may take on disk. Those that were unused for longest go first,
    /// and are compiled again when they are needed. Of all processes that share a cache, the smallest
    /// bound counts.
    pub cache_max_bytes: u64,
    /// How many of those may live on for handles.
    pub handles: HandleBounds,
    /// What stands in handles for this host until it is in a zone ([`Runtime::join`]).
    pub node: Uuid,
    /// The environment of the host. An agent sees the variables that its policy names, and no other.
    pub environment: Arc<BTreeMap<String, String>>,
}

impl RuntimeConfig {
    /// The default of `cache_max_bytes`: 200 Python agents of 35 MB, or 10,000 Rust agents of 0.8 MB,
    /// which is as many as a host is made for.
    pub const CACHE_MAX_BYTES: u64 = 8 << 30;

    /// Instances that may live at once by default: a thousand waiting agents and as many again, well
    /// below the kernel's 65,530 memory maps.
    pub const INSTANCES_MAX: u32 = 2048;

    /// The defaults for a cache directory and a worker.
    #[must_use]
    pub fn new(cache_directory: PathBuf, worker: WorkerProgram) -> Self {
        Self {
            cache_directory,
            worker,
            compile_limits: CompileLimits::default(),
            instances_max: Self::INSTANCES_MAX,
            cache_max_bytes: Self::CACHE_MAX_BYTES,
            handles: HandleBounds::default(),
            node: Uuid::new_v4(),
            environment: Arc::default(),
        }
    }
}

/// The runtime cannot work on this machine or with this configuration.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// wasmtime refused its configuration.
    #[error("cannot start the wasm engine: {0}")]
    Engine(String),
    /// The cache directory or a thread could not be made.
    #[error("{0}")]
    Io(String),
    /// The compile worker was used wrongly.
    #[error("compile worker: {0}")]
    Worker(String),
}

impl RuntimeError {
    fn engine(error: wasmtime::Error) -> Self {
        Self::Engine(format!("{error:#}"))
    }
}

impl From<std::io::Error> for RuntimeError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// Prepares and runs components.
pub struct Runtime {
    linkers: Linkers,
    compiler: Compiler,
    shared: Arc<Shared>,
    /// Components that some agent uses, by digest: agents that share bytes share code.
    linked: Mutex<HashMap<Digest, Weak<Linked>>>,
}

impl Runtime {
    /// Maps the pool, links the capabilities and starts the ticker.
    ///
    /// # Errors
    /// [`RuntimeError`] when the machine cannot give what the configuration asks for.
    pub fn new(config: RuntimeConfig, log: Arc<dyn GuestLog>) -> Result<Self, RuntimeError> {
        let engines = Engines::new(config.instances_max)?;
        let linkers = Linkers::new(engines.clone())?;
        let compiling = [Model::Sequential.compiling()?, Model::Concurrent.compiling()?];
        let (directory, bytes_max) = (&config.cache_directory, config.cache_max_bytes);
        let cache = Cache::open(directory, bytes_max, &compiling).map_err(|error| {
            RuntimeError::Io(format!(
                "cannot use the cache directory {}: {error}",
                directory.display()
            ))
        })?;
        Ok(Self {
            linkers,
            compiler: Compiler::new(cache, config.worker, config.compile_limits),
            shared: Arc::new(Shared {
                lane: Lane::for_this_machine(),
                ticker: Ticker::start(engines)?,
                log,
                live: Arc::new(AtomicUsize::new(0)),
                shelf: Shelf::new(config.instances_max),
                handles: Handles::new(config.node, config.handles, config.instances_max),
                environment: config.environment,
                rooms: Rooms::default(),
                on_demand: Parts::new(ON_DEMAND_INSTANCES_MAX),
            }),
            linked: Mutex::default(),
        })
    }

    /// This host is a node of a zone from now on: new handles name it, so that the other nodes know where they lead.
    pub fn join(&self, node: &NodeId) {
        self.shared.handles.join(node.in_handles());
    }

    async fn link(
        &self,
        artifact: Artifact<'_>,
        payer: &Payer,
    ) -> Result<Arc<Linked>, PrepareError> {
        if let Some(linked) = self.find(artifact.digest) {
            return Ok(linked);
        }
        let entry = self.compiler.compile(artifact, payer.party()).await?;
        let linked = Arc::new(Linked::load(&self.linkers, entry)?);
        let mut table = self.table();
        if table.len() == table.capacity() {
            // Before it grows, so that the sweep is paid for by the insertions since the last one.
            table.retain(|_, linked| linked.strong_count() > 0);
        }
        table.insert(artifact.digest, Arc::downgrade(&linked));
        Ok(linked)
    }

    fn find(&self, digest: Digest) -> Option<Arc<Linked>> {
        self.table().get(&digest).and_then(Weak::upgrade)
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Weak<Linked>>> {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prepare for Runtime {
    fn prepare<'a>(
        &'a self,
        artifact: Artifact<'a>,
        settings: Arc<Settings>,
        payer: &'a Arc<Payer>,
    ) -> BoxFuture<'a, Result<Prepared, PrepareError>> {
        Box::pin(async move {
            let linked = self.link(artifact, payer).await?;
            let interface = Arc::clone(&linked.interface);
            let code = CodeHeld::take(Arc::clone(payer), linked.code_bytes)
                .map_err(|refusal| PrepareError::OverQuota(refusal.message))?;
            let agent = Agent::new(linked, settings, Arc::clone(&self.shared), code);
            Ok(Prepared { interface, executable: Arc::new(agent) })
        })
    }

    fn forget(&self, digest: Digest) -> BoxFuture<'_, ()> {
        Box::pin(self.compiler.forget(digest))
    }
}

impl Tenancy for Runtime {
    fn begin(&self, _: &Tenant) {}

    fn end<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<(), String>> {
        self.shared.handles.forget(&tenant.name);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Measure for Runtime {
    fn measure(&self) -> Vec<Sample> {
        let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let (hits, misses) = (&self.compiler.hits, &self.compiler.misses);
        let mut samples = vec![
            Sample::gauge(
                "instances_live",
                "Wasm instances that live now, warm ones included",
                count(self.shared.live.load(Ordering::Relaxed)),
            ),
            Sample::gauge(
                "executions_running",
                "Executions that run now",
                count(self.shared.ticker.count()),
            ),
            Sample::gauge(
                "lane_waiting",
                "Executions that wait for their turn to compute",
                self.shared.lane.waiting().into(),
            ),
            Sample::gauge(
                "components_mapped",
                "Compiled components in memory",
                count(self.table().values().filter(|linked| linked.strong_count() > 0).count()),
            ),
            Sample::counter(
                "compile_cache_hits",
                "Components found compiled",
                hits.load(Ordering::Relaxed),
            ),
            Sample::counter(
                "compile_cache_misses",
                "Components that were compiled",
                misses.load(Ordering::Relaxed),
            ),
        ];
        samples.extend(self.shared.handles.measure());
        samples
    }
}

//! The registry over a real store, real files and real file-system events, with a compiler that
//! understands a toy language: a component is lines of `fn NAME [DESCRIPTION]`, or one of the words
//! `broken`, `costly` and `host-failure`; `wait` makes it wait for the test.

mod api;
mod files;
mod foreign;
mod names;
mod scale;
mod signed;
mod tenants;
mod watching;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aop_core::interface::Function;
use aop_core::quota::{Accounts, Payer, Quota};
use aop_core::supply::{Provenance, Vouch};
use aop_core::{
    AgentName, AgentStatus, Arguments, Artifact, BoxFuture, CallContext, Catalog, Executable,
    Failure, Interface, Listen, LoadRequest, NoAudit, Offer, Output, Prepare, PrepareError,
    Prepared, Resolve, Search, Settings, State, Store, TenantName, Violation,
};
use aop_store::{SqliteStore, StoreConfig, ToolIndex};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::{Parts, Registry, RegistryConfig};

/// Long enough for the slowest machine; nothing waits for it unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

struct FakePrepare {
    /// Components with `wait` take one permit each.
    gate: Semaphore,
    waiting: AtomicUsize,
    prepared: AtomicUsize,
    /// Failures of the host that are still to come.
    host_failures: AtomicUsize,
    began: tokio::sync::watch::Sender<usize>,
}

impl FakePrepare {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: Semaphore::new(0),
            waiting: AtomicUsize::new(0),
            prepared: AtomicUsize::new(0),
            host_failures: AtomicUsize::new(0),
            began: tokio::sync::watch::Sender::new(0),
        })
    }

    /// Waits until that many components wait at the gate.
    async fn until_waiting(&self, count: usize) {
        let mut began = self.began.subscribe();
        let wait = began.wait_for(|waiting| *waiting >= count);
        tokio::time::timeout(PATIENCE, wait).await.expect("nothing waits").unwrap();
    }
}

struct Waiting<'a>(&'a FakePrepare);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let left = self.0.waiting.fetch_sub(1, Ordering::SeqCst) - 1;
        self.0.began.send_replace(left);
    }
}

impl Prepare for FakePrepare {
    fn prepare<'a>(
        &'a self,
        artifact: Artifact<'a>,
        _settings: Arc<Settings>,
        _payer: &'a Arc<Payer>,
    ) -> BoxFuture<'a, Result<Prepared, PrepareError>> {
        Box::pin(async move {
            let bytes =
                fs::read(artifact.path).expect("the bytes are kept before they are prepared");
            assert_eq!(aop_core::Digest::of(&bytes), artifact.digest);
            let text = String::from_utf8_lossy(&bytes);
            if text.contains("wait") {
                let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
                let _waiting = Waiting(self);
                self.began.send_replace(waiting);
                self.gate.acquire().await.unwrap().forget();
            }
            self.prepared.fetch_add(1, Ordering::SeqCst);
            let host_failure = |left: usize| left.checked_sub(1);
            if self
                .host_failures
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, host_failure)
                .is_ok()
            {
                return Err(PrepareError::Internal("the compiler cannot be started".to_owned()));
            }
            interface(&text).map(|interface| Prepared {
                interface: Arc::new(interface),
                executable: Arc::new(FakeExecutable),
            })
        })
    }

    fn forget(&self, _: aop_core::Digest) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

fn interface(text: &str) -> Result<Interface, PrepareError> {
    let mut interface = Interface::default();
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        match words.next() {
            Some("fn") => interface.functions.push(Function {
                interface: None,
                name: words.next().unwrap().to_owned(),
                parameters: Vec::new(),
                result: None,
                is_async: false,
                docs: words.next().map(str::to_owned),
                signature: line.to_owned(),
            }),
            Some("about") => interface.metadata.description = words.next().map(str::to_owned),
            Some("costly") => {
                return Err(PrepareError::TooCostly("compiling takes too much memory".to_owned()));
            }
            Some("wait" | "") => {}
            _ => return Err(PrepareError::NotAComponent("this is not a component".to_owned())),
        }
    }
    Ok(interface)
}

/// Believes bundles that read `by NAME`.
#[derive(Default)]
struct FakeVouch {
    required: std::sync::atomic::AtomicBool,
}

impl Vouch for FakeVouch {
    fn unsigned(&self) -> Result<(), String> {
        if self.required.load(Ordering::SeqCst) {
            return Err("this host runs signed components only".to_owned());
        }
        Ok(())
    }

    fn signed(&self, component: &[u8], bundle: &str) -> Result<Provenance, String> {
        assert!(!component.is_empty(), "the component itself is checked");
        let identity =
            bundle.strip_prefix("by ").ok_or("the signature is not believed")?.to_owned();
        Ok(Provenance { identity, ..Provenance::default() })
    }
}

struct FakeExecutable;

impl Executable for FakeExecutable {
    fn validate(&self, _function: usize, _arguments: &str) -> Result<Arguments, Vec<Violation>> {
        Ok(Arguments(Box::new(())))
    }

    fn execute<'a>(
        &'a self,
        _function: usize,
        _arguments: &'a Arguments,
        _context: &'a Arc<CallContext>,
    ) -> BoxFuture<'a, Result<Output, Failure>> {
        unreachable!("the registry calls nothing")
    }
}

#[derive(Default)]
struct Told(tokio::sync::watch::Sender<usize>);

impl Listen for Told {
    fn tools_changed(&self, _: &TenantName) {
        self.0.send_modify(|times| *times += 1);
    }

    fn offer_changed(&self, _: &TenantName, _: Offer) {
        unreachable!("the fakes offer nothing but tools")
    }
}

/// A host and its directories; the registry can be restarted.
struct Host {
    directory: TempDir,
    prepare: Arc<FakePrepare>,
    told: Arc<Told>,
    vouch: Arc<FakeVouch>,
    search: Arc<ToolIndex>,
    store: Mutex<Arc<dyn Store>>,
    registry: Arc<Registry>,
}

fn tenant() -> TenantName {
    TenantName::default_tenant()
}

fn agent(name: &str) -> AgentName {
    AgentName::new(name).unwrap()
}

fn config(directory: &Path) -> RegistryConfig {
    let directories = vec![directory.join("agents"), directory.join("more")];
    RegistryConfig {
        settle: Duration::from_millis(10),
        rescan: Duration::from_millis(200),
        retry_after_host_failure: Duration::from_millis(200),
        ..RegistryConfig::new(directory.join("data"), directories)
    }
}

impl Host {
    /// With two empty directories of agents; nothing is scanned yet.
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(adjust: impl FnOnce(&mut RegistryConfig)) -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("agents")).unwrap();
        fs::create_dir(directory.path().join("more")).unwrap();
        let mut config = config(directory.path());
        adjust(&mut config);
        let (prepare, told) = (FakePrepare::new(), Arc::new(Told::default()));
        let (search, vouch) = (Arc::new(ToolIndex::new()), Arc::default());
        let (store, registry) = open(config, &prepare, &told, &search, &vouch);
        Self { directory, prepare, told, vouch, search, store: Mutex::new(store), registry }
    }

    async fn scanned() -> Self {
        let host = Self::new();
        host.registry.scan().await.unwrap();
        host
    }

    async fn watched() -> Self {
        let host = Self::scanned().await;
        host.registry.watch();
        host
    }

    /// Stops the host and starts it over the same directories, scanned.
    async fn restarted(self) -> Self {
        self.restarted_failing(0).await
    }

    /// The same, and the new host itself fails that often.
    async fn restarted_failing(self, host_failures: usize) -> Self {
        self.registry.drain().await;
        let Self { directory, registry, store, vouch, .. } = self;
        drop((registry, store));
        let (prepare, told) = (FakePrepare::new(), Arc::new(Told::default()));
        prepare.host_failures.store(host_failures, Ordering::SeqCst);
        let search = Arc::new(ToolIndex::new());
        let (store, registry) = open(config(directory.path()), &prepare, &told, &search, &vouch);
        registry.scan().await.unwrap();
        Self { directory, prepare, told, vouch, search, store: Mutex::new(store), registry }
    }

    /// The agents of the one tenant that most tests have.
    fn own(&self) -> Arc<crate::registry::OfTenant> {
        self.registry.common.of(&tenant()).expect("it is always there")
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store.lock().unwrap())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Writes a file as careful programs do: beside its place, then renamed.
    fn write(&self, file: &str, text: &str) {
        let (place, beside) = (self.path(file), self.path("beside"));
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, place).unwrap();
    }

    async fn load(
        &self,
        name: &str,
        component: &str,
    ) -> Result<AgentStatus, aop_core::CatalogError> {
        self.load_with(name, component, Settings::default()).await
    }

    async fn load_with(
        &self,
        name: &str,
        component: &str,
        settings: Settings,
    ) -> Result<AgentStatus, aop_core::CatalogError> {
        let request = LoadRequest {
            name: agent(name),
            id: None,
            component: component.as_bytes().to_vec(),
            settings,
            standing: None,
        };
        self.registry.load(&tenant(), request).await
    }

    fn status(&self, name: &str) -> AgentStatus {
        self.registry.show(&tenant(), name).unwrap_or_else(|| panic!("no agent {name}"))
    }

    /// The description of the tool that a name leads to.
    fn resolved(&self, tool: &str) -> Option<String> {
        self.registry.resolve(&tenant(), tool).map(|route| route.tool.description.clone())
    }

    fn tools(&self) -> Vec<String> {
        self.registry.tools(&tenant()).tools.iter().map(|tool| tool.name.to_string()).collect()
    }

    fn found(&self, text: &str) -> Vec<String> {
        let query = aop_core::Query { text: text.to_owned(), agent: None, limit: 100 };
        self.search
            .search(&tenant(), &query)
            .unwrap()
            .iter()
            .map(|hit| hit.tool.to_string())
            .collect()
    }

    fn times_told(&self) -> usize {
        *self.told.0.borrow()
    }

    /// Waits until the listener was told that often.
    async fn until_told(&self, times: usize) {
        let mut told = self.told.0.subscribe();
        let wait = told.wait_for(|told| *told >= times);
        tokio::time::timeout(PATIENCE, wait).await.expect("the listener was not told").unwrap();
    }

    fn components(&self) -> usize {
        fs::read_dir(self.path("data/components")).unwrap().count()
    }

    /// Waits until something holds, looking whenever a status changed.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let mut changes = self.registry.changes();
        let wait = async {
            while !holds(self) {
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("never happened: {what}; there is {:#?}", self.registry.list(&tenant()));
        }
    }

    async fn until_state(&self, name: &str, state: State) {
        let what = format!("{name} is {state:?}");
        self.until(&what, |host| {
            host.registry.show(&tenant(), name).is_some_and(|status| status.state == state)
        })
        .await;
    }
}

fn open(
    config: RegistryConfig,
    prepare: &Arc<FakePrepare>,
    told: &Arc<Told>,
    search: &Arc<ToolIndex>,
    vouch: &Arc<FakeVouch>,
) -> (Arc<dyn Store>, Arc<Registry>) {
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(&StoreConfig::new(&config.data_dir)).unwrap());
    let listener: Arc<dyn Listen> = Arc::clone(told) as Arc<dyn Listen>;
    let parts = Parts {
        prepare: Arc::clone(prepare) as Arc<dyn Prepare>,
        store: Arc::clone(&store),
        search: Arc::clone(search) as Arc<dyn Search>,
        audit: Arc::new(NoAudit),
        listeners: vec![listener],
        accounts: Accounts::new(&Quota::default(), Quota::default(), 1_000),
        vouch: vouch.clone(),
    };
    (store, Registry::open(config, parts).unwrap())
}

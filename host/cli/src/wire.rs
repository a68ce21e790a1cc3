//! Puts the host together: every crate is made here, and they meet only through the traits of
//! `aop-core`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use anyhow::Context as _;
use aop_access::Access;
use aop_access::audit::AuditLog;
use aop_cluster::federation;
use aop_cluster::membership::IdentityDirectory;
use aop_cluster::routing;
use aop_core::audit::Action;
use aop_core::federation::Federation;
use aop_core::quota::Accounts;
use aop_core::{
    AccessStore as _, Audit as _, AuditEvent, Caller, Invoke, Library, Measure, Observe, Publish,
    Resolve, Services, Tenancy, TenantName,
};
use aop_dispatch::Dispatcher;
use aop_mcp::{Beside, Changes, McpParts, McpServer, Mounts};
use aop_registry::{Parts, Registry, RegistryConfig};
use aop_runtime::{Runtime, RuntimeConfig, WorkerProgram};
use aop_services::GuestLogs;
use aop_store::{OpenError, SqliteStore, StoreConfig, ToolIndex};
use aop_web::{
    AppState, Gate, Gated, Guard, GuardConfig, Guarded, Metrics, Phase, ProtectedResource,
    Readiness, Server,
};
use axum::Router;
use tempfile::TempDir;
use tower::Layer as _;

use crate::access::Gatekeeper;
use crate::audit::KeptLog;
use crate::cluster::{Routes, Zone};
use crate::config::Config;
use crate::mounts;
use crate::services::{self, Forgetting, HostSecrets, Outside};
use crate::state::{Remembering, Watching};
use crate::supply;
use crate::zone::OwnZone;

/// A host that serves nothing yet.
pub(crate) struct Host {
    pub(crate) audit: Arc<AuditLog>,
    kept_log: KeptLog,
    pub(crate) mcp: McpServer,
    pub(crate) server: Server,
    pub(crate) readiness: Readiness,
    pub(crate) registry: Arc<Registry>,
    pub(crate) zone: Arc<Zone>,
    dispatcher: Arc<Dispatcher>,
    store: Arc<SqliteStore>,
    remembering: Remembering,
    /// None of a host that remembers by itself.
    _watching: Option<Watching>,
    outside: Outside,
    mounts: Arc<Mounts>,
    session_retention: Duration,
    /// None until the host loads.
    forgetting: OnceLock<Forgetting>,
    federated: OwnZone,
    app: AppState,
    gatekeeper: Gatekeeper,
    /// Held so that it goes away with the host.
    _temporary: Option<TempDir>,
}

/// Where a host keeps its state.
pub(crate) struct State {
    store: Arc<SqliteStore>,
    /// Of the store and the components.
    directory: PathBuf,
    compiled: PathBuf,
    temporary: Option<TempDir>,
}

impl State {
    /// Opens the data directory and locks it.
    pub(crate) fn open(config: &Config) -> anyhow::Result<Self> {
        let directory = config.data_directory()?;
        let store = SqliteStore::open(&store_config(config, &directory))?;
        let compiled = compiled_directory(&directory);
        Ok(Self { store: Arc::new(store), directory, compiled, temporary: None })
    }

    /// Whether whoever calls has to authenticate.
    pub(crate) async fn authenticates(&self, config: &Config) -> anyhow::Result<bool> {
        let access = &config.access;
        Ok(access.required || !access.issuers.is_empty() || self.store.had_keys().await?)
    }

    /// The same for a host on stdin and stdout. Each client starts one of those, so when another
    /// holds the default directory, this one forgets its state at its end instead of failing. The
    /// compiled code is shared all the same.
    pub(crate) fn open_for_stdio(config: &Config) -> anyhow::Result<Self> {
        let error = match Self::open(config) {
            Err(error) if config.data.is_none() => error,
            opened => return opened,
        };
        let Some(OpenError::Locked { holder, .. }) = error.downcast_ref::<OpenError>() else {
            return Err(error);
        };
        tracing::warn!(
            holder,
            "the data directory is in use: what this host remembers ends with it"
        );
        let temporary = tempfile::tempdir().context("cannot make a temporary directory")?;
        let directory = temporary.path().to_owned();
        let store = SqliteStore::open(&store_config(config, &directory))?;
        let compiled = compiled_directory(&config.data_directory()?);
        Ok(Self { store: Arc::new(store), directory, compiled, temporary: Some(temporary) })
    }
}

impl Host {
    /// Makes every part and connects them.
    pub(crate) async fn open(
        config: &Config,
        state: State,
        bound: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let remembering = Remembering::open(&config.services, &state.store).await?;
        let kept_log = KeptLog::open(&state.store, &state.directory, config.audit).await?;
        let audit = kept_log.log.clone();
        let router = routing::Router::new();
        let guest_logs = Arc::new(GuestLogs::default());
        let secrets: Arc<HostSecrets> = Arc::default();
        let (outside, mounts) = ways_out(config, &state.store, &secrets)?;
        let agents = Agents::open(config, &state, (&router, &audit, &guest_logs, &outside))?;
        let Agents { registry, library, accounts, metrics, .. } = &agents;
        let gate: Arc<federation::Gate> = Arc::default();
        // Agents call other zones' tools as clients do.
        let invoke = Arc::downgrade(&gate) as Weak<dyn Invoke>;
        let services = |_| agents.services(invoke, &remembering, &outside, &audit);
        let dispatcher = dispatcher(registry.clone(), metrics.clone(), accounts.clone(), services);
        gate.open(dispatcher.clone());
        let ground = (registry, library, &outside.network);
        let federated =
            OwnZone::open(&config.zone, &state.directory, bound, ground, (&gate, &router))?;
        let zone = agents.zone(config, &state.directory, (&router, &dispatcher), &audit);
        let mcp = agents.mcp(config, gate, federated.federation(), &state.store);
        let server = Server::new(config.web.server.clone());
        metrics.watch(accounts.clone());
        let measures: [Arc<dyn Measure>; 4] =
            [dispatcher.clone(), Arc::new(mcp.clone()), Arc::new(server.clone()), zone.clone()];
        measures.into_iter().for_each(|measure| metrics.register(measure));
        outside.register(metrics);
        metrics.register(mounts.clone());
        federated.register(metrics);
        remembering.register(metrics);
        let tenancies = agents.tenancies(&mcp, (&dispatcher, &router), (&remembering, &outside));
        let gatekeeper =
            Gatekeeper::open(config, state.store.clone(), audit.clone(), tenancies).await?;
        zone.share(gatekeeper.access.clone());
        let access = Arc::new(gatekeeper.access.clone());
        secrets.open(access.clone());
        metrics.register(access.clone());
        let readiness = Readiness::new();
        let watching = remembering.shared().map(|shared| shared.watch(&readiness));
        let around =
            Around { router: &router, zone: &zone, mounts: &mounts, federated: &federated };
        let app = agents.app_state(config, access, around, (&audit, &readiness));
        Ok(Self {
            audit,
            kept_log,
            mcp,
            server,
            readiness,
            registry: registry.clone(),
            zone,
            dispatcher,
            store: state.store,
            remembering,
            _watching: watching,
            outside,
            mounts,
            session_retention: config.services.session_retention,
            forgetting: OnceLock::new(),
            federated,
            app,
            gatekeeper,
            _temporary: state.temporary,
        })
    }

    /// Everything that is served on the one port.
    pub(crate) fn app(
        &self,
        config: &Config,
        bound: SocketAddr,
    ) -> anyhow::Result<Guarded<Gated<Beside<Router>>>> {
        let guard = Guard::new(&GuardConfig {
            bound,
            allowed_hosts: [config.web.allowed_hosts.as_slice(), self.federated.hosts()].concat(),
            allowed_origins: config.web.allowed_origins.clone(),
        })?;
        let authenticate = Arc::new(self.gatekeeper.access.clone());
        let resource = self.app.resource.clone();
        let connections_max = config.web.server.connections_max;
        let entrance = Gate::new(authenticate, self.audit.clone(), resource, connections_max);
        self.app.metrics.register(Arc::new(entrance.clone()));
        let routes = self.federated.serve(aop_web::router(self.app.clone()));
        Ok(guard.layer(entrance.layer(self.mcp.beside(routes))))
    }

    /// Who a client on standard input is: whoever started the host.
    pub(crate) fn local_caller() -> Caller {
        Caller::local(TenantName::default_tenant())
    }

    /// Loads what is there and follows it from then on.
    pub(crate) async fn load(&self) -> anyhow::Result<()> {
        // Before agents serve: what they spent today counts from their first call on.
        self.outside.models.restore().await;
        self.forgetting
            .get_or_init(|| Forgetting::start(self.remembering.clone(), self.session_retention));
        self.audit.note(AuditEvent::of_host(Action::HostStart, env!("CARGO_PKG_VERSION")));
        self.registry.scan().await?;
        self.registry.watch();
        self.zone.loaded();
        self.federated.tend(&self.registry);
        let publish: Arc<dyn Publish> = self.registry.clone();
        self.mounts.start(&publish);
        self.readiness.set(Phase::Ready);
        Ok(())
    }

    /// Refuses new work and waits for what runs, at most `grace`.
    pub(crate) async fn drain(&self, grace: Duration) {
        self.readiness.set(Phase::Draining);
        // Others stop sending calls before this host refuses them.
        self.zone.drain().await;
        self.mcp.drain();
        let others = async { tokio::join!(self.registry.drain(), self.federated.drain(grace)) };
        let (all_ended, _) = tokio::join!(self.dispatcher.drain(grace), others);
        if !all_ended {
            tracing::warn!(?grace, "stopped calls: a longer `drain_grace` lets them finish");
        }
        self.mounts.stop().await;
        self.audit.note(AuditEvent::of_host(Action::HostStop, ""));
        self.zone.leave().await;
        self.gatekeeper.access.note_uses_now().await;
        self.kept_log.close().await;
        // Connections that linger hold it, and the process does not wait for those.
        self.store.close().await;
    }
}

/// What serves the agents.
struct Agents {
    registry: Arc<Registry>,
    runtime: Arc<Runtime>,
    library: Library,
    accounts: Arc<Accounts>,
    changes: Arc<Changes>,
    metrics: Arc<Metrics>,
}

impl Agents {
    fn open(
        config: &Config,
        state: &State,
        (router, audit, guest_logs, outside): (
            &Arc<routing::Router>,
            &Arc<AuditLog>,
            &Arc<GuestLogs>,
            &Outside,
        ),
    ) -> anyhow::Result<Self> {
        let runtime_config = runtime_config(config, state.compiled.clone(), outside)?;
        let runtime = Arc::new(Runtime::new(runtime_config, guest_logs.clone())?);
        let (index, changes, metrics) =
            (Arc::new(ToolIndex::new()), Arc::new(Changes::new()), Arc::new(Metrics::new()));
        let accounts = accounts(config);
        let registry = Registry::open(
            RegistryConfig {
                data_dir: state.directory.clone(),
                model_providers: Some(services::nameable(outside.models.names())),
                ..config.registry.clone()
            },
            Parts {
                prepare: router.prepare(runtime.clone()),
                store: state.store.clone(),
                search: index.clone(),
                audit: audit.clone(),
                listeners: vec![changes.clone()],
                vouch: Arc::new(supply::signatures(&config.supply)?),
                accounts: accounts.clone(),
            },
        )?;
        let library = Library::new(registry.clone(), index);
        let measures: [Arc<dyn Measure>; 5] =
            [runtime.clone(), registry.clone(), guest_logs.clone(), audit.clone(), router.clone()];
        measures.into_iter().for_each(|measure| metrics.register(measure));
        Ok(Self { registry, runtime, library, accounts, changes, metrics })
    }

    /// The zone, of which nothing runs yet.
    fn zone(
        &self,
        config: &Config,
        directory: &Path,
        (router, dispatcher): (&Arc<routing::Router>, &Arc<Dispatcher>),
        audit: &Arc<AuditLog>,
    ) -> Arc<Zone> {
        let routes = Routes {
            router: Arc::clone(router),
            invoke: dispatcher.clone(),
            registry: Arc::clone(&self.registry),
            runtime: Arc::clone(&self.runtime),
            accounts: Arc::clone(&self.accounts),
            directory: directory.join("cluster"),
            component_max_bytes: config.registry.component_max_bytes,
            audit: audit.clone(),
        };
        let identity = IdentityDirectory::of_data(directory);
        let names = (config.cluster.membership(), config.zone.name.clone());
        Arc::new(Zone::new(identity, names, routes))
    }

    fn mcp(
        &self,
        config: &Config,
        invoke: Arc<dyn Invoke>,
        federation: Option<Arc<dyn Federation>>,
        store: &Arc<SqliteStore>,
    ) -> McpServer {
        let parts = McpParts {
            catalog: self.registry.clone(),
            invoke,
            federation,
            library: self.library.clone(),
            changes: self.changes.clone(),
            tasks: Some(store.clone()),
        };
        McpServer::new(config.mcp.clone(), parts)
    }

    /// Who keeps something of tenants. Calls end first, then what they called, then what those remember. What the zone
    /// places goes before what is here, which it would bring back.
    fn tenancies(
        &self,
        mcp: &McpServer,
        (dispatcher, router): (&Arc<Dispatcher>, &Arc<routing::Router>),
        (remembering, outside): (&Remembering, &Outside),
    ) -> Vec<Arc<dyn Tenancy>> {
        let mut tenancies: Vec<Arc<dyn Tenancy>> = vec![
            Arc::new(mcp.clone()),
            dispatcher.clone(),
            router.clone(),
            self.registry.clone(),
            self.metrics.clone(),
            self.runtime.clone(),
            outside.models.clone(),
            self.accounts.clone(),
        ];
        if let Some(shared) = remembering.shared() {
            tenancies.push(shared.clone());
        }
        tenancies
    }

    fn services(
        &self,
        invoke: Weak<dyn Invoke>,
        remembering: &Remembering,
        outside: &Outside,
        audit: &Arc<AuditLog>,
    ) -> Services {
        Services {
            invoke,
            library: self.library.clone(),
            models: outside.models.clone(),
            buckets: remembering.buckets(),
            egress: outside.egress.clone(),
            audit: audit.clone(),
            listeners: vec![self.changes.clone()],
            witness: None,
        }
    }

    fn app_state(
        &self,
        config: &Config,
        access: Arc<Access>,
        around: Around<'_>,
        (audit, readiness): (&Arc<AuditLog>, &Readiness),
    ) -> AppState {
        AppState {
            catalog: around.router.catalog(self.registry.clone()),
            cluster: around.zone.clone(),
            servers: around.mounts.clone(),
            federation: around.federated.federation(),
            accounts: self.accounts.clone(),
            audit: audit.clone(),
            resource: ProtectedResource {
                name: config.server_name.clone(),
                issuers: access.issuers(),
                public_url: config.access.public_url.clone(),
            },
            admin: access,
            metrics: self.metrics.clone(),
            readiness: readiness.clone(),
            server_name: config.server_name.clone(),
            upload_max_bytes: config.web.upload_max_bytes,
            uploads_may_grant: config.web.uploads_may_grant,
        }
    }
}

/// What is beyond this host.
struct Around<'a> {
    router: &'a Arc<routing::Router>,
    zone: &'a Arc<Zone>,
    mounts: &'a Arc<Mounts>,
    federated: &'a OwnZone,
}

/// What calls of agents go out by, and the servers that are mounted; neither shows agents the other's credentials.
fn ways_out(
    config: &Config,
    store: &Arc<SqliteStore>,
    secrets: &Arc<HostSecrets>,
) -> anyhow::Result<(Outside, Arc<Mounts>)> {
    let mut outside = Outside::open(&config.services, Some(store.clone()), secrets.clone())?;
    let servers = &config.cluster.servers;
    let mounts = Mounts::new(mounts::mounts(servers, &outside.environment)?);
    outside.hide_from_agents(config);
    Ok((outside, Arc::new(mounts)))
}

/// A dispatcher whose calls reach its own services: `services` makes them around it.
pub(crate) fn dispatcher(
    resolve: Arc<dyn Resolve>,
    observe: Arc<dyn Observe>,
    accounts: Arc<Accounts>,
    services: impl FnOnce(Weak<dyn Invoke>) -> Services,
) -> Arc<Dispatcher> {
    Arc::new_cyclic(|dispatcher: &Weak<Dispatcher>| {
        Dispatcher::new(resolve, observe, accounts, Some(services(dispatcher.clone())))
            .with_content_rule(aop_mcp::check_content)
    })
}

/// The accounts of a host with the quotas of its configuration.
fn accounts(config: &Config) -> Arc<Accounts> {
    let quota = &config.quota;
    let accounts = Accounts::new(&quota.node, quota.tenant.clone(), config.instances_max);
    for (tenant, quota) in &quota.tenants {
        accounts.set_tenant(tenant, Some(quota.clone()));
    }
    accounts
}

fn runtime_config(
    config: &Config,
    compiled: PathBuf,
    outside: &Outside,
) -> anyhow::Result<RuntimeConfig> {
    Ok(RuntimeConfig {
        compile_limits: config.compile,
        instances_max: config.instances_max,
        handles: config.handles,
        cache_max_bytes: config.cache_max_bytes,
        environment: outside.environment.clone(),
        ..RuntimeConfig::new(compiled, compile_worker()?)
    })
}

fn store_config(config: &Config, directory: &Path) -> StoreConfig {
    StoreConfig {
        state_max_bytes: config.services.state_max_bytes,
        agent_state_max_bytes: config.services.agent_state_max_bytes,
        task_outcomes_max_bytes: config.services.task_results_max_bytes,
        ..StoreConfig::new(directory)
    }
}

/// Where compiled code is below a data directory.
pub(crate) fn compiled_directory(data: &Path) -> PathBuf {
    data.join("cache")
}

/// This program as the compile worker.
pub(crate) fn compile_worker() -> anyhow::Result<WorkerProgram> {
    // The link leads to the running binary even after an upgrade replaced its file, and the worker
    // must be of the same release as the host.
    let running = PathBuf::from("/proc/self/exe");
    let program = if running.exists() {
        running
    } else {
        std::env::current_exe().context("cannot find the path of this program")?
    };
    Ok(WorkerProgram { program, arguments: vec!["compile-worker".to_owned()] })
}

//! The registry as a whole: opening it, the first scan, and draining it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use aop_core::fair::Permits;
use aop_core::policy::Ceilings;
use aop_core::policy::ceiling::Excess;
use aop_core::quota::{Accounts, Payer};
use aop_core::supply::Vouch;
use aop_core::{
    AgentName, Audit, BoxFuture, Digest, Listen, Origin, Prepare, Search, Settings, Source, Store,
    Tenancy, Tenant, TenantName,
};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agents::{Agents, Changed};
use crate::commit::Work;
use crate::components::Components;
use crate::reconcile::{Forget, Reconciler};
use crate::turn::Turns;
use crate::{RegistryConfig, RegistryError};

/// Components that are read into memory at once: with the largest ones, 256 MiB.
const READS_MAX: usize = 4;

/// Looks that the first scan waits for files which are still being written. Longer than that, and
/// the watch has them once they are done.
const FIRST_LOOKS_MAX: usize = 10;

/// What the registry stands on.
pub struct Parts {
    /// Makes components callable.
    pub prepare: Arc<dyn Prepare>,
    /// Remembers agents. Its data directory is the registry's.
    pub store: Arc<dyn Store>,
    /// Finds tools.
    pub search: Arc<dyn Search>,
    /// Where it is written down what became of files; changes through the API are whoever served those's to tell.
    pub audit: Arc<dyn Audit>,
    /// Knows who may sign components.
    pub vouch: Arc<dyn Vouch>,
    /// Hold agents to their quotas.
    pub accounts: Arc<Accounts>,
    /// Are told when the set of tools changed.
    pub listeners: Vec<Arc<dyn Listen>>,
}

/// The agents of this host. See the crate's documentation.
pub struct Registry {
    pub(crate) common: Arc<Common>,
}

/// What the agents of all tenants have in common.
pub(crate) struct Common {
    pub(crate) config: RegistryConfig,
    /// Those of the configuration at first; the operator may change them.
    ceilings: RwLock<Ceilings>,
    pub(crate) parts: Parts,
    pub(crate) components: Arc<Components>,
    pub(crate) reads: Semaphore,
    pub(crate) prepares: Permits,
    pub(crate) loads: AtomicU64,
    pub(crate) load_failures: AtomicU64,
    /// Whether components may lie around that nothing refers to.
    pub(crate) garbage: AtomicBool,
    /// Held from counting agents until one more is counted.
    pub(crate) counting: Mutex<()>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) changes: Arc<watch::Sender<u64>>,
    tenants: RwLock<BTreeMap<TenantName, Arc<OfTenant>>>,
    /// Whether agents are loaded, and whether the directories are followed: what a tenant that begins later catches up with.
    phase: Mutex<Phase>,
}

/// A tenant leaves one in so many of the agents that the host still could hold, for the next one: as of places.
const TENANT_LEAVES: usize = 9;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Opened,
    Scanned,
    Watching,
}

/// The agents of one tenant. Nothing in it knows of another tenant.
pub(crate) struct OfTenant {
    pub(crate) tenant: TenantName,
    pub(crate) common: Arc<Common>,
    /// The directories whose agents are this tenant's.
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) turns: Arc<Turns>,
    /// The directories deserve another look.
    pub(crate) look_again: Arc<Notify>,
    /// Cancelled when the tenant ends or the host drains.
    pub(crate) stop: CancellationToken,
    /// What runs for it.
    pub(crate) tasks: TaskTracker,
    /// Held from looking at what is shared until the others have it, so that an older look never comes last.
    pub(crate) sharing: Mutex<()>,
    /// Who pays for calls of agents that run elsewhere, as long as these are here: what their calls used is not forgotten from
    /// one to the next.
    pub(crate) payers: Mutex<BTreeMap<Source, Vec<Arc<Payer>>>>,
    reconciler: Mutex<Reconciler>,
}

impl Common {
    /// What of an agent's settings is over a ceiling.
    pub(crate) fn excesses(&self, tenant: &TenantName, settings: &Settings) -> Vec<Excess> {
        let ceilings = self.ceilings.read().unwrap_or_else(PoisonError::into_inner);
        ceilings.excesses(tenant, settings)
    }

    /// What of uploaded settings is over what uploads may say.
    pub(crate) fn excesses_of_upload(
        &self,
        tenant: &TenantName,
        settings: &Settings,
    ) -> Vec<Excess> {
        let ceilings = self.ceilings.read().unwrap_or_else(PoisonError::into_inner);
        ceilings.excesses_of_upload(tenant, settings)
    }
}

impl Registry {
    /// Opens the registry of a data directory. No agent is loaded yet: [`Registry::scan`] does that. There is the tenant
    /// `default`, and each that has a directory; others [begin](Tenancy::begin).
    ///
    /// # Errors
    /// [`RegistryError::Io`] when the data directory cannot be used.
    pub fn open(mut config: RegistryConfig, parts: Parts) -> Result<Arc<Self>, RegistryError> {
        for directory in config.agent_dirs.values_mut().flatten() {
            // The store refers to agents by their path, whatever the host's working directory is.
            *directory = std::path::absolute(&directory)
                .map_err(|error| RegistryError::io(directory.clone(), &error))?;
        }
        let components = Arc::new(Components::open(&config.data_dir)?);
        let prepares_max = u32::try_from(config.prepares_max).unwrap_or(u32::MAX);
        let prepares = Permits::new(prepares_max, 1);
        let tenants: BTreeSet<_> = config.agent_dirs.keys().cloned().collect();
        let common = Arc::new(Common {
            ceilings: RwLock::new(config.ceilings.clone()),
            config,
            parts,
            components,
            reads: Semaphore::new(READS_MAX),
            prepares,
            loads: AtomicU64::new(0),
            load_failures: AtomicU64::new(0),
            garbage: AtomicBool::new(true),
            counting: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            changes: Arc::new(watch::Sender::new(0)),
            tenants: RwLock::default(),
            phase: Mutex::new(Phase::Opened),
        });
        for tenant in tenants.into_iter().chain([TenantName::default_tenant()]) {
            common.begin(&tenant);
        }
        Ok(Arc::new(Self { common }))
    }

    /// Holds settings against other ceilings from the next load on, and tries again what the old ones refused. What serves
    /// goes on; the agents that could not be loaded any more are answered, with what of their settings is over one.
    pub fn set_ceilings(&self, ceilings: Ceilings) -> Vec<(TenantName, AgentName, String)> {
        let own = self.common.all();
        let held = own.iter().flat_map(|own| own.agents.held());
        let over = held.filter_map(|held| {
            let revision = held.revision;
            let excesses = ceilings.excesses(&revision.tenant, &revision.settings);
            let excesses: Vec<_> = excesses.iter().map(ToString::to_string).collect();
            let is_over = !excesses.is_empty();
            is_over.then(|| (revision.tenant.clone(), revision.agent.clone(), excesses.join("; ")))
        });
        let over = over.collect();
        *self.common.ceilings.write().unwrap_or_else(PoisonError::into_inner) = ceilings;
        // After that: whatever began before and is refused by the old ones is tried again.
        for own in &own {
            own.agents.ceilings_changed();
            own.look_again.notify_one();
        }
        over
    }

    /// Loads everything that is there, of every tenant: agents of the API from the data directory, the others from
    /// their files. Returns once each serves or has failed; a failure is in its status, not here.
    ///
    /// # Errors
    /// [`RegistryError::Store`] when the store cannot be read.
    pub async fn scan(&self) -> Result<(), RegistryError> {
        self.common.enter(Phase::Scanned);
        let mut scans = JoinSet::new();
        for own in self.common.all() {
            scans.spawn(async move { own.scan().await });
        }
        let mut outcome = Ok(());
        while let Some(scanned) = scans.join_next().await {
            let broke = |error: tokio::task::JoinError| RegistryError::Host(error.to_string());
            outcome = outcome.and(scanned.map_err(broke)?);
        }
        outcome
    }

    /// Follows the directories from now on, until the registry is drained or dropped: what is added,
    /// changed or removed there is loaded, replaced or unloaded.
    pub fn watch(&self) {
        self.common.enter(Phase::Watching);
        self.common.all().iter().for_each(OfTenant::start_watching);
    }

    /// The tenants that it has agents of, or may have, in name order.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantName> {
        self.common.all().iter().map(|own| own.tenant.clone()).collect()
    }

    /// Ticks whenever the status of some agent changes, from a load that begins to one that fails.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.common.changes.subscribe()
    }

    /// Refuses changes from now on, gives up loads that have not committed, and returns once the
    /// others have. Agents go on serving.
    pub async fn drain(&self) {
        self.common.stop.cancel();
        self.common.tasks.close();
        self.common.tasks.wait().await;
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.common.stop.cancel();
        // Each holds what all have in common.
        self.common.tenants.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Common {
    /// The agents of a tenant; none when there is no such tenant. On the path of every call.
    pub(crate) fn of(&self, tenant: &TenantName) -> Option<Arc<OfTenant>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }

    /// Those of every tenant.
    pub(crate) fn all(&self) -> Vec<Arc<OfTenant>> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.values().cloned().collect()
    }

    /// How many agents a tenant may have now: what the others leave, and where there are others, never all of that.
    pub(crate) fn agents_max_of(&self, own: &OfTenant) -> usize {
        let left = self.agents_left_to(own);
        let part = left - left.div_ceil(TENANT_LEAVES);
        if self.all().len() > 1 { part.max(left.min(1)) } else { left }
    }

    /// How many it may have from files, which the operator put there: what the others leave. Who comes later takes none of
    /// them away.
    pub(crate) fn agents_left_to(&self, own: &OfTenant) -> usize {
        let all = self.all();
        let others = all.iter().filter(|other| other.tenant != own.tenant);
        let held: usize = others.map(|other| other.agents.len()).sum();
        self.config.agents_max.saturating_sub(held)
    }

    fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// A tenant exists from now on.
    fn begin(self: &Arc<Self>, tenant: &TenantName) {
        let own = {
            let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
            if tenants.contains_key(tenant) {
                return;
            }
            let own = Arc::new(OfTenant::new(tenant.clone(), Arc::clone(self)));
            tenants.insert(tenant.clone(), Arc::clone(&own));
            own
        };
        own.receive_shared();
        let phase = *self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if phase == Phase::Opened {
            return;
        }
        let scanning = Arc::clone(&own);
        own.spawn(async move {
            if let Err(error) = scanning.scan().await {
                tracing::error!(tenant = %scanning.tenant, %error, "the agents of a tenant are not loaded");
            }
            if phase == Phase::Watching {
                scanning.start_watching();
            }
        });
    }

    /// Takes a tenant out of service, with everything of it in the store and in the index.
    async fn end(&self, tenant: &TenantName) -> Result<(), String> {
        let Some(own) = self.of(tenant) else { return Ok(()) };
        if !own.directories.is_empty() {
            return Err(format!(
                "agents of `{tenant}` come from directories: take them out of `[tenants.{tenant}]` in aop.toml and start the host again"
            ));
        }
        own.stop.cancel();
        own.tasks.close();
        own.tasks.wait().await;
        let components = own.components().await.map_err(|error| error.to_string())?;
        for name in own.agents.names_of_api_agents() {
            let _turn = own.turns.take(&name).await;
            own.unload(&name, Forget::Yes).await.map_err(|error| error.to_string())?;
        }
        // What others have there goes from its index, too.
        own.announce(own.agents.offer_nothing(), Changed::default());
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).remove(tenant);
        own.collect_garbage().await;
        let left = self.parts.store.digests().await.map_err(|error| error.to_string())?;
        for digest in components.iter().filter(|digest| !left.contains(digest)) {
            self.parts.prepare.forget(*digest).await;
        }
        Ok(())
    }
}

impl Tenancy for Registry {
    fn begin(&self, tenant: &Tenant) {
        self.common.begin(&tenant.name);
    }

    fn end<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.common.end(&tenant.name))
    }
}

impl OfTenant {
    fn new(tenant: TenantName, common: Arc<Common>) -> Self {
        let directories = common.config.agent_dirs.get(&tenant).cloned().unwrap_or_default();
        let agents = Arc::new(Agents::new(Arc::clone(&common.changes)));
        let stop = common.stop.child_token();
        Self {
            tenant,
            directories,
            agents,
            turns: Arc::default(),
            look_again: Arc::default(),
            stop,
            tasks: TaskTracker::new(),
            sharing: Mutex::default(),
            payers: Mutex::default(),
            reconciler: Mutex::default(),
            common,
        }
    }

    /// Every component that some revision of the tenant refers to.
    async fn components(&self) -> Result<BTreeSet<Digest>, RegistryError> {
        let mut digests = BTreeSet::new();
        for record in self.common.parts.store.agents(&self.tenant).await? {
            let revisions = self.common.parts.store.revisions(&self.tenant, &record.name).await?;
            digests.extend(revisions.iter().map(|revision| revision.digest));
        }
        Ok(digests)
    }

    /// Runs a task of the tenant, which the end of either waits for.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.common.tasks.spawn(self.tasks.track_future(task))
    }

    fn start_watching(self: &Arc<Self>) {
        let own = Arc::clone(self);
        self.spawn(async move { own.watch().await });
    }

    async fn scan(self: &Arc<Self>) -> Result<(), RegistryError> {
        let records = self.common.parts.store.agents(&self.tenant).await?;
        let is_watched = |path: &PathBuf| {
            path.parent().is_some_and(|parent| self.directories.iter().any(|d| d == parent))
        };
        {
            let mut reconciler = self.reconciler();
            for record in &records {
                if let Origin::File { path } = &record.origin
                    && is_watched(path)
                {
                    reconciler.expect(record.name.clone(), path.clone());
                }
            }
        }
        self.agents.restore(records, |record| match &record.origin {
            Origin::Api => true,
            Origin::File { path } => is_watched(path),
            Origin::Elsewhere { .. } => false,
        });
        let stored = self.agents.names_of_api_agents();
        let mut look = self.look().await?;
        let stored = stored.into_iter().map(Work::Stored);
        self.run(stored.chain(std::mem::take(&mut look.work)).collect()).await;
        for _ in 1..FIRST_LOOKS_MAX {
            if !look.unsettled || self.stop.is_cancelled() {
                break;
            }
            tokio::time::sleep(self.common.config.settle).await;
            look = self.look().await?;
            self.run(std::mem::take(&mut look.work)).await;
        }
        self.serve_unreadable().await;
        self.collect_garbage().await;
        Ok(())
    }

    pub(crate) fn reconciler(&self) -> MutexGuard<'_, Reconciler> {
        self.reconciler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the store expects in a directory that cannot be read at start serves as it did before.
    async fn serve_unreadable(self: &Arc<Self>) {
        for (name, origin) in self.agents.untried() {
            let Origin::File { path } = &origin else { continue };
            let Some(reason) = self.reconciler().why_unreadable(path) else { continue };
            let error = RegistryError::Host(format!(
                "the directory of {} cannot be read: {reason}",
                path.display()
            ));
            let turn = self.turns.take(&name).await;
            let begun = self.agents.begin(&name, origin);
            let ready = self.fall_back(turn, begun, error).await;
            // A failure is in the status of the agent.
            let _ = self.commit(ready.into_iter().collect()).await;
        }
    }

    /// Removes components that nothing refers to, unless a load is under way; then at the next
    /// occasion.
    pub(crate) async fn collect_garbage(&self) {
        if !self.common.garbage.swap(false, Ordering::Relaxed) {
            return;
        }
        match self.common.components.collect(&*self.common.parts.store).await {
            Ok(Some(removed)) if removed > 0 => {
                tracing::debug!(removed, "removed unused components")
            }
            Ok(Some(_)) => {}
            Ok(None) => self.common.garbage.store(true, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "unused components could not be removed"),
        }
    }
}

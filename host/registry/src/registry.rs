//! The registry as a whole: opening it, the first scan, and draining it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aop_core::fair::Permits;
use aop_core::quota::Accounts;
use aop_core::{Audit, Listen, Origin, Prepare, Search, Store};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agents::Agents;
use crate::commit::Work;
use crate::components::Components;
use crate::reconcile::Reconciler;
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
    /// Hold agents to their quotas.
    pub accounts: Arc<Accounts>,
    /// Are told when the set of tools changed.
    pub listeners: Vec<Arc<dyn Listen>>,
}

/// The agents of this host. See the crate's documentation.
pub struct Registry {
    pub(crate) shared: Arc<Shared>,
}

/// What the registry's tasks have in common.
pub(crate) struct Shared {
    pub(crate) config: RegistryConfig,
    pub(crate) parts: Parts,
    pub(crate) agents: Arc<Agents>,
    pub(crate) components: Arc<Components>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) reads: Semaphore,
    pub(crate) prepares: Permits,
    /// The directories deserve another look.
    pub(crate) look_again: Arc<Notify>,
    pub(crate) loads: AtomicU64,
    pub(crate) load_failures: AtomicU64,
    /// Whether components may lie around that nothing refers to.
    pub(crate) garbage: AtomicBool,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    reconciler: Mutex<Reconciler>,
}

impl Registry {
    /// Opens the registry of a data directory. No agent is loaded yet: [`Registry::scan`] does that.
    ///
    /// # Errors
    /// [`RegistryError::Io`] when the data directory cannot be used.
    pub fn open(mut config: RegistryConfig, parts: Parts) -> Result<Arc<Self>, RegistryError> {
        for directory in &mut config.agent_dirs {
            // The store refers to agents by their path, whatever the host's working directory is.
            *directory = std::path::absolute(&directory)
                .map_err(|error| RegistryError::io(directory.clone(), &error))?;
        }
        let components = Arc::new(Components::open(&config.data_dir)?);
        let prepares_max = u32::try_from(config.prepares_max).unwrap_or(u32::MAX);
        let prepares = Permits::new(prepares_max, 1);
        let shared = Arc::new(Shared {
            config,
            parts,
            agents: Arc::default(),
            components,
            turns: Arc::default(),
            reads: Semaphore::new(READS_MAX),
            prepares,
            look_again: Arc::default(),
            loads: AtomicU64::new(0),
            load_failures: AtomicU64::new(0),
            garbage: AtomicBool::new(true),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            reconciler: Mutex::default(),
        });
        Ok(Arc::new(Self { shared }))
    }

    /// Loads everything that is there: agents of the API from the data directory, the others from
    /// their files. Returns once each serves or has failed; a failure is in its status, not here.
    ///
    /// # Errors
    /// [`RegistryError::Store`] when the store cannot be read.
    pub async fn scan(&self) -> Result<(), RegistryError> {
        let shared = &self.shared;
        let records = shared.parts.store.agents(&shared.config.tenant).await?;
        let directories = &shared.config.agent_dirs;
        let is_watched = |path: &PathBuf| {
            path.parent().is_some_and(|parent| directories.iter().any(|d| d == parent))
        };
        {
            let mut reconciler = shared.reconciler();
            for record in &records {
                if let Origin::File { path } = &record.origin
                    && is_watched(path)
                {
                    reconciler.expect(record.name.clone(), path.clone());
                }
            }
        }
        shared.agents.restore(records, |record| match &record.origin {
            Origin::Api => true,
            Origin::Elsewhere { .. } => false,
            Origin::File { path } => is_watched(path),
        });
        let stored = shared.agents.names_of_api_agents();
        let mut look = shared.look().await?;
        let stored = stored.into_iter().map(Work::Stored);
        shared.run(stored.chain(std::mem::take(&mut look.work)).collect()).await;
        for _ in 1..FIRST_LOOKS_MAX {
            if !look.unsettled || shared.stop.is_cancelled() {
                break;
            }
            tokio::time::sleep(shared.config.settle).await;
            look = shared.look().await?;
            shared.run(std::mem::take(&mut look.work)).await;
        }
        shared.serve_unreadable().await;
        shared.collect_garbage().await;
        Ok(())
    }

    /// Follows the directories from now on, until the registry is drained or dropped: what is added,
    /// changed or removed there is loaded, replaced or unloaded.
    pub fn watch(&self) {
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move { shared.watch().await });
    }

    /// Ticks whenever the status of some agent changes, from a load that begins to one that fails.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.agents.changes()
    }

    /// Refuses changes from now on, gives up loads that have not committed, and returns once the
    /// others have. Agents go on serving.
    pub async fn drain(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Shared {
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
        if !self.garbage.swap(false, Ordering::Relaxed) {
            return;
        }
        match self.components.collect(&*self.parts.store).await {
            Ok(Some(removed)) if removed > 0 => {
                tracing::debug!(removed, "removed unused components")
            }
            Ok(Some(_)) => {}
            Ok(None) => self.garbage.store(true, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "unused components could not be removed"),
        }
    }
}

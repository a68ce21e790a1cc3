//! Makes loads real: names are claimed, the store is written, the revisions are published, whoever
//! listens is told. In this order, and as a task of its own, so that it happens whole even when
//! whoever asked for it goes away.
//!
//! Loads that are ready at the same time commit together: a thousand agents at start cost a few
//! transactions.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use aop_core::audit::Action;
use aop_core::interface::Refusal;
use aop_core::{
    AgentId, AgentName, AgentRecord, NewRevision, Offer, Origin, RefusedAgent, Revision, Tool,
    ToolName,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::RegistryError;
use crate::agents::{Changed, Serving, Settled};
use crate::load::{Draft, Ready, Write};
use crate::reconcile::{Change, Forget};
use crate::registry::OfTenant;

/// Loads that commit in one transaction. A commit is a flush of the disk, so a few dozen would do;
/// more keep the names of too many agents waiting for the last of them.
const BATCH_MAX: usize = 256;

/// Something to do for one agent.
pub(crate) enum Work {
    /// Its file changed.
    File(Change),
    /// It is in the data directory, and nothing of it serves: the host starts, or failed then.
    Stored(AgentName),
}

impl OfTenant {
    /// Does what the agents need, at once where they are different ones. Returns when all of it is
    /// done; dropping it leaves whole agents undone.
    pub(crate) async fn run(self: &Arc<Self>, work: Vec<Work>) {
        let (ready, mut arrived) = mpsc::channel(BATCH_MAX);
        let mut tasks = JoinSet::new();
        for item in work {
            let (own, ready) = (Arc::clone(self), ready.clone());
            tasks.spawn(async move {
                if let Some(Some(loaded)) = own.stop.run_until_cancelled(own.load(item)).await {
                    // The receiver outlives the tasks.
                    let _ = ready.send(loaded).await;
                }
            });
        }
        drop(ready);
        let mut batch = Vec::new();
        while arrived.recv_many(&mut batch, BATCH_MAX).await > 0 {
            // Failures are in the status of their agents.
            let _ = self.commit(std::mem::take(&mut batch)).await;
        }
    }

    async fn load(self: &Arc<Self>, item: Work) -> Option<Ready> {
        match item {
            Work::File(Change::Load(name, found)) => self.load_file(&name, &found).await,
            Work::Stored(name) => self.load_stored(&name).await,
            Work::File(Change::Gone(name, forget)) => {
                self.unload_file(name, forget).await;
                None
            }
        }
    }

    /// Commits loads. The last error, when some failed; each is also in the status of its agent.
    pub(crate) async fn commit(self: &Arc<Self>, batch: Vec<Ready>) -> Result<(), RegistryError> {
        let own = Arc::clone(self);
        let task = self.spawn(async move { own.commit_all(batch).await });
        task.await.map_err(|error| RegistryError::Host(format!("a load ended early: {error}")))?
    }

    async fn commit_all(&self, mut batch: Vec<Ready>) -> Result<(), RegistryError> {
        let mut outcome = Ok(());
        let mut changed = Changed::default();
        while !batch.is_empty() {
            let (claimed, mut refused) = claim(batch);
            let (stored, failed) = self.write(claimed).await;
            refused.extend(failed);
            for (ready, record) in stored {
                changed |= self.publish(ready, record);
            }
            batch = Vec::new();
            for (ready, error) in refused {
                outcome = Err(error.clone());
                batch.extend(self.after_refusal(ready, error).await);
            }
        }
        self.announce(self.agents.settle(), changed);
        self.share();
        outcome
    }

    async fn after_refusal(&self, ready: Ready, error: RegistryError) -> Option<Ready> {
        let Ready { begun, draft, turn, .. } = ready;
        match (&draft.origin, &draft.write) {
            (Origin::File { .. }, Write::Append) => {
                return self.fall_back(turn, begun, error).await;
            }
            (_, Write::Activate { .. }) => self.refuse_unshown(begun, &error),
            _ => self.refuse(begun, &error, Some(&draft.digest)),
        }
        None
    }

    /// Writes a batch to the store: what was appended in one transaction, or, when that fails, each
    /// by itself, so that one bad revision does not keep the others out.
    async fn write(
        &self,
        batch: Vec<Ready>,
    ) -> (Vec<(Ready, AgentRecord)>, Vec<(Ready, RegistryError)>) {
        let (appends, others): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|ready| matches!(ready.draft.write, Write::Append));
        let (mut stored, mut failed) = (Vec::new(), Vec::new());
        let revisions: Vec<_> = appends.iter().map(|ready| self.new_revision(ready)).collect();
        let together = match revisions.is_empty() {
            true => Ok(Vec::new()),
            false => self.common.parts.store.append(&self.tenant, revisions).await,
        };
        match together {
            Ok(records) => stored.extend(appends.into_iter().zip(records)),
            Err(error) if appends.len() == 1 => {
                failed.extend(appends.into_iter().map(|ready| (ready, error.clone().into())));
            }
            Err(_) => {
                for ready in appends {
                    self.write_one(ready, &mut stored, &mut failed).await;
                }
            }
        }
        for ready in others {
            self.write_one(ready, &mut stored, &mut failed).await;
        }
        (stored, failed)
    }

    async fn write_one(
        &self,
        ready: Ready,
        stored: &mut Vec<(Ready, AgentRecord)>,
        failed: &mut Vec<(Ready, RegistryError)>,
    ) {
        let (store, tenant) = (&self.common.parts.store, &self.tenant);
        let written = match &ready.draft.write {
            Write::Nothing(record) => Ok(Some((**record).clone())),
            Write::Activate { number, pinned_against } => {
                store.activate(tenant, ready.begun.name(), *number, *pinned_against).await.map(Some)
            }
            Write::Append => {
                let revision = self.new_revision(&ready);
                store.append(tenant, vec![revision]).await.map(|records| records.into_iter().next())
            }
        };
        match written {
            Ok(Some(record)) => stored.push((ready, record)),
            Ok(None) => {
                failed.push((ready, RegistryError::Host("the store gave no answer".to_owned())))
            }
            Err(error) => failed.push((ready, error.into())),
        }
    }

    fn new_revision(&self, ready: &Ready) -> NewRevision {
        let name = ready.begun.name();
        let known = self.agents.record(name).map(|record| record.id);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        NewRevision {
            id: known.or(ready.draft.id).unwrap_or_else(|| AgentId(Uuid::now_v7())),
            name: name.clone(),
            origin: ready.draft.origin.clone(),
            digest: ready.draft.digest,
            settings: (*ready.draft.settings).clone(),
            published: ready.draft.set.published.clone(),
            kept: ready.draft.kept,
            created_unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// What clients see changed.
    fn publish(&self, ready: Ready, record: AgentRecord) -> Changed {
        // Turn and component are held until it is published.
        let Ready { begun, draft, despite, turn: _turn } = ready;
        let name = begun.name().clone();
        self.note_new_revision(&name, &draft, &record);
        draft.payer.set_agent(&draft.settings.quota, &draft.settings.limits);
        let revision = Arc::new(Revision {
            tenant: self.tenant.clone(),
            agent: name.clone(),
            id: record.id,
            number: record.active,
            digest: draft.digest,
            settings: Arc::clone(&draft.settings),
            tools: draft.set.tools.clone(),
            features: draft.set.features.clone(),
            executable: Arc::clone(&draft.prepared.executable),
            payer: Arc::clone(&draft.payer),
            in_flight: 0.into(),
        });
        let serving = Serving {
            revision: Arc::clone(&revision),
            description: description(&draft),
            routes: routes(&draft),
            refused: draft.set.refused,
            warnings: draft.set.warnings,
            provenance: draft.provenance,
        };
        tell_of(&revision, &serving);
        let changed = begun.publish(record, serving, despite.as_ref());
        if changed.tools {
            self.index(&name, &revision.tools);
        }
        self.common.loads.fetch_add(1, Ordering::Relaxed);
        // An eleventh revision pushes the oldest one out of the store.
        self.common.garbage.store(true, Ordering::Relaxed);
        changed
    }

    /// A file is gone, so its agent goes.
    async fn unload_file(self: &Arc<Self>, name: AgentName, forget: Forget) {
        let turn = self.turns.take(&name).await;
        let came_back = !self.reconciler().is_gone(&name);
        if came_back || self.agents.origin(&name) == Some(Origin::Api) {
            return;
        }
        let own = Arc::clone(self);
        let task = self.spawn(async move {
            let _turn = turn;
            let unloaded = own.unload(&name, forget).await;
            own.note_file(Action::AgentUnload, &name, &unloaded);
            unloaded
        });
        match task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "an agent was unloaded but could not be forgotten")
            }
            Err(error) => tracing::error!(%error, "unloading an agent ended early"),
        }
    }

    /// Takes an agent out of service. Whoever calls this has its turn.
    pub(crate) async fn unload(
        &self,
        name: &AgentName,
        forget: Forget,
    ) -> Result<(), RegistryError> {
        let forgotten = match forget {
            Forget::Yes => self.common.parts.store.remove(&self.tenant, name).await,
            Forget::No => Ok(()),
        };
        if forgotten.is_ok() && forget == Forget::Yes {
            self.agents.forget(name);
            self.common.garbage.store(true, Ordering::Relaxed);
        }
        // An agent of the API that could not be forgotten would come back at the next start.
        if forgotten.is_err() && self.agents.origin(name) == Some(Origin::Api) {
            return forgotten.map_err(RegistryError::from);
        }
        self.announce(self.agents.unload(name), Changed::default());
        self.share();
        self.look_again.notify_one();
        forgotten.map_err(RegistryError::from)
    }

    /// Makes what agents that run elsewhere changed known, together with what else changed.
    pub(crate) fn announce(&self, settled: Settled, mut changed: Changed) {
        for (name, tools) in &settled.tools {
            self.index(name, tools);
        }
        changed |= settled.changed;
        self.tell_listeners(changed);
        for RefusedAgent { agent, reason, .. } in &settled.refused {
            tracing::warn!(agent_name = %agent, reason, "an agent that runs elsewhere is refused");
        }
    }

    fn index(&self, name: &AgentName, tools: &[Arc<Tool>]) {
        if let Err(error) = self.common.parts.search.publish(&self.tenant, name, tools) {
            tracing::error!(agent_name = %name, %error, "the agent cannot be found by searching");
        }
    }

    fn tell_listeners(&self, changed: Changed) {
        let tenant = &self.tenant;
        for listener in &self.common.parts.listeners {
            if changed.tools {
                listener.tools_changed(tenant);
            }
            if changed.offers {
                listener.offer_changed(tenant, Offer::Resources);
                listener.offer_changed(tenant, Offer::Prompts);
            }
        }
    }
}

/// Tells the operator what of a component became no tool, and what may not work everywhere: nobody else sees a file being
/// loaded.
fn tell_of(revision: &Revision, serving: &Serving) {
    let agent = &revision.agent;
    for Refusal { function, reason } in &serving.refused {
        tracing::warn!(agent_name = %agent, function, reason, "a function is no tool");
    }
    for warning in &serving.warnings {
        tracing::warn!(agent_name = %agent, "{warning}");
    }
}

/// Claims the names of a batch, in name order, so that of two new agents that want the same one it
/// is always the same that gets it.
fn claim(mut batch: Vec<Ready>) -> (Vec<Ready>, Vec<(Ready, RegistryError)>) {
    batch.sort_by(|a, b| a.begun.name().cmp(b.begun.name()));
    let (mut claimed, mut refused) = (Vec::new(), Vec::new());
    for mut ready in batch {
        match ready.begun.claim(ready.draft.set.published.values().flatten()) {
            Ok(()) => claimed.push(ready),
            Err(error) => refused.push((ready, error)),
        }
    }
    (claimed, refused)
}

fn description(draft: &Draft) -> String {
    let metadata = &draft.prepared.interface.metadata;
    let said = draft.settings.description.as_ref();
    said.or(metadata.description.as_ref())
        .or(metadata.world_docs.as_ref())
        .cloned()
        .unwrap_or_default()
}

/// Every name that leads to a tool: the one it is listed as and its aliases.
fn routes(draft: &Draft) -> Vec<(ToolName, Arc<Tool>)> {
    let mut routes = Vec::new();
    for tool in &draft.set.tools {
        let function = draft.prepared.interface.functions.get(tool.function);
        let published = function.and_then(|function| draft.set.published.get(&function.path()));
        for alias in published.into_iter().flatten().filter(|alias| **alias != tool.name) {
            routes.push((alias.clone(), Arc::clone(tool)));
        }
        routes.push((tool.name.clone(), Arc::clone(tool)));
    }
    routes
}

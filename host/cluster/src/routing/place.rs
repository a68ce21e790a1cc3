//! Makes the placements so: remembers what was loaded and unloaded in the zone, pulls what belongs here, unloads
//! what does not.
//!
//! Nothing is in a hurry and nothing storms: a node does one thing at a time, only what it has wanted for a while,
//! and what failed is tried again later and later. A replica goes only once all chosen nodes serve the agent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aop_core::{
    AgentName, Audit, AuditEvent, Catalog, CatalogError, Digest, Held, Holdings, LoadRequest,
    NodeId, TenantName, audit,
};
use bytes::Bytes;
use tokio::sync::Notify;

use super::kept::{self, Kept};
use super::placement::{
    Action, Have, Key, Placement, Placements, REVISION_MAX, Site, chosen, plan,
};
use super::{Counters, RoutingParts, add, attempt};
use crate::membership::{CatalogueAgent, Documents, Member, Members, View};

/// The document by which nodes tell each other of placements.
const DOCUMENT: &str = "place";
/// The file in the data directory.
const FILE: &str = "placements.json";
/// How long something is wanted before it is pulled: whoever changes its mind does so within a few rounds of gossip.
const PULL_AFTER: Duration = Duration::from_secs(1);
/// How long a replica must be superfluous before it is unloaded.
const UNLOAD_AFTER: Duration = Duration::from_secs(15);
/// First pause after something failed; each further one is twice as long.
const RETRY_MIN: Duration = Duration::from_secs(5);
/// Longest pause.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// See the module's documentation.
pub(super) struct Placer {
    node: NodeId,
    members: Arc<dyn Members>,
    holdings: Arc<dyn Holdings>,
    catalog: Arc<dyn Catalog>,
    component_max_bytes: u64,
    audit: Arc<dyn Audit>,
    file: PathBuf,
    state: Mutex<State>,
    /// Held while the others are told and it is written down, so that what is newer is never written over.
    publishing: tokio::sync::Mutex<()>,
    /// Something changed that others should hear of.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct State {
    records: Placements,
    /// The version of each placed agent that this node last had as a replica: another one was loaded by somebody since.
    applied: BTreeMap<Key, (Digest, Digest)>,
    /// Placed agents that a file of this node owns.
    of_files: BTreeSet<Key>,
    /// Since when each thing is wanted.
    wanted: HashMap<Key, (Action, Instant)>,
    /// What failed how often, and when it is tried again.
    failed: HashMap<Key, (u32, Instant)>,
    /// Which state of whose document was taken in.
    taken_in: HashMap<NodeId, Digest>,
    /// What the zone's agents were when this node stopped; until it was compared with what this node has now.
    before: Option<Placements>,
    /// What the others were told.
    published: Option<Bytes>,
    /// What is in the file.
    written: Option<Bytes>,
}

/// Something to do.
pub(super) struct Job {
    pub(super) placement: Placement,
    pub(super) action: Action,
    /// Who has the component.
    pub(super) holders: Vec<NodeId>,
    /// What this node had of the agent when this was decided, whether or not the zone places it.
    had: Option<(Digest, Digest)>,
}

impl Placer {
    pub(super) fn open(parts: &RoutingParts) -> Self {
        let file = parts.data_dir.join(FILE);
        let kept = kept::read(&file);
        let mut state = State { applied: kept.applied.into_iter().collect(), ..State::default() };
        for record in kept.records {
            state.records.merge(record);
        }
        state.before = Some(state.records.clone());
        Self {
            node: parts.members.node().clone(),
            members: parts.members.clone(),
            holdings: parts.holdings.clone(),
            catalog: parts.catalog.clone(),
            component_max_bytes: parts.component_max_bytes,
            audit: parts.audit.clone(),
            file,
            state: Mutex::new(state),
            publishing: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn records(&self) -> Placements {
        self.state().records.clone()
    }

    /// Whether the zone decides where an agent lives.
    pub(super) fn is_placed(&self, tenant: &TenantName, agent: &AgentName) -> bool {
        let key = (tenant.clone(), agent.clone());
        self.state().records.0.get(&key).is_some_and(|record| !record.is_gone)
    }

    /// Every agent of a tenant is gone, because the tenant is.
    pub(super) async fn bury_all(&self, tenant: &TenantName) {
        let of_tenant = |(key, record): (&Key, &Placement)| {
            (key.0 == *tenant && !record.is_gone).then(|| key.clone())
        };
        let keys: Vec<_> = self.state().records.0.iter().filter_map(of_tenant).collect();
        for key in keys {
            self.bury(&key).await;
        }
    }

    /// An agent was unloaded: from everywhere.
    pub(super) async fn bury(&self, key: &Key) {
        {
            let mut state = self.state();
            let Some(record) = state.records.0.get(key).filter(|record| !record.is_gone) else {
                return;
            };
            let gone = Placement {
                revision: record.revision.saturating_add(1),
                node: self.node.clone(),
                is_gone: true,
                changed_unix_ms: unix_now_ms(),
                ..record.clone()
            };
            state.records.merge(gone);
        }
        self.publish().await;
        self.changed.notify_one();
    }

    /// Takes in what the others know. Whether that was news.
    pub(super) fn take_in(&self, documents: &Documents) -> bool {
        let mut state = self.state();
        let mut is_news = state.records.forget(unix_now_ms());
        for (node, document) in documents.named(DOCUMENT) {
            if *node == self.node || state.taken_in.get(node) == Some(&document.version.digest) {
                continue;
            }
            state.taken_in.insert(node.clone(), document.version.digest);
            match serde_json::from_slice::<Vec<Placement>>(&document.bytes) {
                Ok(records) => {
                    for record in records {
                        if record.revision >= REVISION_MAX {
                            tracing::warn!(%node, agent_name = %record.agent, revision = record.revision, "another node's placement is not taken in: no agent is placed so often");
                            continue;
                        }
                        is_news |= state.records.merge(record);
                    }
                }
                Err(error) => {
                    tracing::warn!(%node, %error, "another node's placements make no sense");
                }
            }
        }
        is_news
    }

    /// Sees what was loaded here since the last look, and what files took away. Whether that was news.
    pub(super) fn notice(&self, held: &[Held]) -> bool {
        let mut state = self.state();
        state.recall(held);
        let mut is_news = false;
        let mut of_files = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for held in held {
            let revision = &held.revision;
            let key = (revision.tenant.clone(), revision.agent.clone());
            seen.insert(key.clone());
            if revision.settings.replicas.is_some() {
                if held.is_of_a_file {
                    of_files.insert(key.clone());
                }
                is_news |= state.notice(&key, held, &self.node);
            } else if state.applied.remove(&key).is_some() {
                // Loaded again, to live here only.
                is_news |= state.end(&key, &self.node);
            }
        }
        let removed: Vec<_> = state.of_files.difference(&seen).cloned().collect();
        for key in removed {
            state.applied.remove(&key);
            is_news |= state.end(&key, &self.node);
        }
        state.of_files = of_files;
        is_news
    }

    /// Tells the others, and remembers it over a restart.
    pub(super) async fn publish(&self) {
        let _publishing = self.publishing.lock().await;
        let (told, kept) = {
            let mut state = self.state();
            let records: Vec<_> = state.records.0.values().cloned().collect();
            let applied = state.applied.iter().map(|(key, version)| (key.clone(), *version));
            let kept = Kept { applied: applied.collect(), records };
            if kept.records.is_empty() && kept.applied.is_empty() && state.written.is_none() {
                return;
            }
            // Plain data: writing it cannot fail.
            let told = Bytes::from(serde_json::to_vec(&kept.records).unwrap_or_default());
            let kept = Bytes::from(serde_json::to_vec(&kept).unwrap_or_default());
            let told = (state.published.as_ref() != Some(&told)).then_some(told);
            let kept = (state.written.as_ref() != Some(&kept)).then_some(kept);
            state.published = told.clone().or_else(|| state.published.take());
            state.written = kept.clone().or_else(|| state.written.take());
            (told, kept)
        };
        if let Some(bytes) = told
            && let Err(error) = self.members.publish(DOCUMENT, bytes)
        {
            tracing::warn!(%error, "the zone cannot be told where agents belong");
        }
        if let Some(text) = kept {
            kept::write(&self.file, text.into()).await;
        }
    }

    /// The most urgent thing that is due, if any; everything else waits for its turn.
    pub(super) fn due<'a>(
        &self,
        view: &View,
        agents: impl Iterator<Item = (&'a Member, &'a CatalogueAgent)>,
        held: &[Held],
        now: Instant,
    ) -> Option<Job> {
        // A node that leaves moves nothing; and what it has must be there when it comes back.
        if view.member(&self.node).is_none_or(|own| own.draining) {
            return None;
        }
        let mut offered: BTreeMap<Key, Vec<(&Member, &CatalogueAgent)>> = BTreeMap::new();
        for (member, agent) in agents {
            let key = (agent.tenant.clone(), agent.name.clone());
            offered.entry(key).or_default().push((member, agent));
        }
        let sites: Vec<_> = view.members.values().map(site).collect();
        let mut state = self.state();
        let state = &mut *state;
        let mut due: Option<Job> = None;
        let mut wanted = HashMap::new();
        for (key, placement) in &state.records.0 {
            let offers = offered.get(key).map_or(&[][..], Vec::as_slice);
            let version = placement.version();
            let serve =
                offers.iter().filter(|(_, agent)| (agent.digest, agent.settings) == version);
            let serving: Vec<_> = serve.clone().map(|(member, _)| member.id.clone()).collect();
            let fixed =
                serve.filter(|(_, agent)| agent.is_of_a_file).map(|(member, _)| member.id.clone());
            let chosen = chosen(placement, &sites, &fixed.collect::<Vec<_>>());
            let action = plan(placement, &self.node, &chosen, &serving, have(key, held));
            if action == Action::Nothing {
                continue;
            }
            // Who may not serve it any more, for want of a label, may have it still.
            let all = || view.members.keys().cloned().collect();
            let holders = if serving.is_empty() { all() } else { serving };
            let before = state.wanted.get(key).filter(|(before, _)| *before == action);
            let since = before.map_or(now, |(_, since)| *since);
            wanted.insert(key.clone(), (action, since));
            let patience = match action {
                Action::Unload if placement.is_gone => Duration::ZERO,
                Action::Unload => UNLOAD_AFTER,
                Action::Pull | Action::Nothing => PULL_AFTER,
            };
            let may_retry = state.failed.get(key).is_none_or(|(_, until)| *until <= now);
            if due.is_none() && may_retry && now.duration_since(since) >= patience {
                let had = had(key, held);
                due = Some(Job { placement: placement.clone(), action, holders, had });
            }
        }
        state.wanted = wanted;
        due
    }

    /// Does one thing.
    pub(super) async fn run(&self, job: Job, peers: &super::peers::Peers, counters: &Counters) {
        let Job { placement, action, holders, had } = job;
        let key = placement.key();
        let done = match action {
            Action::Nothing => Ok(()),
            Action::Pull => self.pull(&placement, had, &holders, peers, counters).await,
            Action::Unload if !self.still_has(&key, had) => Ok(()),
            Action::Unload => {
                let unloaded = self.catalog.unload(&placement.tenant, &placement.agent).await;
                if unloaded.is_ok() {
                    self.note(audit::Action::AgentUnload, &placement, "");
                }
                match unloaded {
                    Ok(()) | Err(CatalogError::NoSuchAgent(_)) => {
                        tracing::info!(agent_name = %placement.agent, "unloaded a replica that belongs elsewhere, or nowhere");
                        self.state().applied.remove(&key);
                        Ok(())
                    }
                    Err(error) => Err(error.to_string()),
                }
            }
        };
        let mut state = self.state();
        match done {
            Ok(()) => {
                state.failed.remove(&key);
            }
            Err(reason) => {
                let times = state.failed.get(&key).map_or(0, |(times, _)| *times);
                let pause = RETRY_MIN.saturating_mul(1 << times.min(16)).min(RETRY_MAX);
                tracing::warn!(agent_name = %placement.agent, reason, retry_in = ?pause, "a replica could not be placed here");
                state.failed.insert(key, (times + 1, Instant::now() + pause));
            }
        }
    }

    async fn pull(
        &self,
        placement: &Placement,
        had: Option<(Digest, Digest)>,
        holders: &[NodeId],
        peers: &super::peers::Peers,
        counters: &Counters,
    ) -> Result<(), String> {
        let component = match self.holdings.component(placement.digest).await {
            Some(bytes) => bytes,
            None => self.fetch(placement.digest, holders, peers, counters).await?,
        };
        // Fetching takes a while.
        if !self.still_has(&placement.key(), had) {
            return Ok(());
        }
        let (name, id) = (placement.agent.clone(), Some(placement.id));
        let settings = placement.settings.clone();
        let request = LoadRequest { name, id, component, settings, standing: None };
        self.catalog.load(&placement.tenant, request).await.map_err(|error| error.to_string())?;
        self.note(audit::Action::AgentLoad, placement, &placement.digest.to_string());
        self.state().applied.insert(placement.key(), placement.version());
        tracing::info!(agent_name = %placement.agent, digest = %placement.digest, "loaded a replica");
        Ok(())
    }

    fn note(&self, action: audit::Action, placement: &Placement, subject: &str) {
        self.audit.note(AuditEvent {
            tenant: Some(&placement.tenant),
            agent: Some(&placement.agent),
            detail: "as the zone places it",
            ..AuditEvent::of_host(action, subject)
        });
    }

    /// Whether nobody changed the agent on this node since; if somebody did, what to do is decided anew.
    fn still_has(&self, key: &Key, had: Option<(Digest, Digest)>) -> bool {
        self::had(key, &self.holdings.held()) == had
    }

    /// The component, from the first node that has it as it should be.
    async fn fetch(
        &self,
        digest: Digest,
        holders: &[NodeId],
        peers: &super::peers::Peers,
        counters: &Counters,
    ) -> Result<Vec<u8>, String> {
        for node in holders.iter().filter(|node| **node != self.node) {
            match attempt::pull(peers, node, digest, self.component_max_bytes).await {
                Ok(bytes) if Digest::of(&bytes) == digest => {
                    counters.pulls.fetch_add(1, Ordering::Relaxed);
                    return Ok(bytes.into());
                }
                Ok(_) => {
                    add(&counters.mismatches);
                    tracing::error!(%node, %digest, "a node sent another component than the one asked for: it is refused");
                }
                Err(reason) => {
                    add(&counters.pull_failures);
                    tracing::warn!(%node, %digest, reason, "a component could not be had from a node");
                }
            }
        }
        Err(format!("no live node has component {digest} as it should be"))
    }
}

impl State {
    /// At the first look after a start: what this node has is what it had when it stopped, not something that
    /// somebody loaded since, whatever the zone went on to meanwhile.
    fn recall(&mut self, held: &[Held]) {
        let Some(before) = self.before.take() else { return };
        for held in held {
            let revision = &held.revision;
            let key = (revision.tenant.clone(), revision.agent.clone());
            let version = (revision.digest, revision.settings.digest());
            // A file may have brought back what was unloaded; nothing else can while a node is off.
            let is_old = |record: &Placement| {
                record.version() == version && !(record.is_gone && held.is_of_a_file)
            };
            if before.0.get(&key).is_some_and(is_old) {
                self.applied.insert(key, version);
            }
        }
    }

    /// One agent with replicas that serves here.
    fn notice(&mut self, key: &Key, held: &Held, node: &NodeId) -> bool {
        let settings = &held.revision.settings;
        let version = (held.revision.digest, settings.digest());
        let known = self.records.0.get(key);
        if known.is_some_and(|record| !record.is_gone && record.version() == version) {
            self.applied.insert(key.clone(), version);
            return false;
        }
        // What this node had already, while the zone went on to another one.
        if known.is_some() && self.applied.get(key) == Some(&version) {
            return false;
        }
        let record = Placement {
            tenant: key.0.clone(),
            agent: key.1.clone(),
            id: held.revision.id,
            revision: known.map_or(1, |known| known.revision.saturating_add(1)),
            node: node.clone(),
            digest: held.revision.digest,
            settings: (**settings).clone(),
            is_gone: false,
            changed_unix_ms: unix_now_ms(),
        };
        self.applied.insert(key.clone(), version);
        self.failed.remove(key);
        self.records.merge(record)
    }

    /// A placed agent is not placed any more.
    fn end(&mut self, key: &Key, node: &NodeId) -> bool {
        let Some(record) = self.records.0.get(key).filter(|record| !record.is_gone) else {
            return false;
        };
        let gone = Placement {
            revision: record.revision.saturating_add(1),
            node: node.clone(),
            is_gone: true,
            changed_unix_ms: unix_now_ms(),
            ..record.clone()
        };
        self.records.merge(gone)
    }
}

fn site(member: &Member) -> Site {
    Site {
        node: member.id.clone(),
        capacity: member.capacity,
        labels: member.labels.clone(),
        is_draining: member.draining,
    }
}

/// What this node has of a placed agent. One that was loaded to live here only is none of the zone's business.
fn have(key: &Key, held: &[Held]) -> Option<Have> {
    let found = held.iter().find(|held| {
        let revision = &held.revision;
        revision.settings.replicas.is_some()
            && (&revision.tenant, &revision.agent) == (&key.0, &key.1)
    })?;
    let version = (found.revision.digest, found.revision.settings.digest());
    Some(Have { version, is_of_a_file: found.is_of_a_file })
}

/// Component and settings of an agent on this node.
fn had(key: &Key, held: &[Held]) -> Option<(Digest, Digest)> {
    let of = |held: &&Held| (&held.revision.tenant, &held.revision.agent) == (&key.0, &key.1);
    let found = held.iter().find(of)?;
    Some((found.revision.digest, found.revision.settings.digest()))
}

fn unix_now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

//! The table of agents that everyone else sees: what serves, what is being loaded, what failed, who
//! owns which tool name.
//!
//! Two locks. `names` is on the path of every call and holds nothing but tool names and where they
//! lead; it is written for moments, when a revision is published or goes. `table` has everything
//! else. Whoever takes both takes `table` first.

mod begun;
mod changed;
mod foreign;
mod names;
mod status;

use std::collections::BTreeMap;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};
use std::time::Instant;

use aop_core::interface::{Feature, Refusal};
use aop_core::lifecycle::next;
use aop_core::supply::Provenance;
use aop_core::{
    AgentName, AgentRecord, Digest, Event, Origin, Revision, Route, State, Tool, ToolList, ToolName,
};
use tokio::sync::watch;

pub(crate) use self::begun::{About, Begun, CEILING, report};
pub(crate) use self::changed::Changed;
use self::foreign::Foreign;
pub(crate) use self::foreign::Settled;
use self::names::{Names, Owned, lead_names_to};
pub(crate) use self::status::Counts;
use crate::source::Unusable;

/// See the module's documentation.
pub(crate) struct Agents {
    names: RwLock<Names>,
    table: Mutex<Table>,
    list: RwLock<Option<Arc<ToolList>>>,
    /// Of the agents of all tenants.
    changes: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct Table {
    agents: BTreeMap<AgentName, Agent>,
    /// What the store knows, agents that are not loaded included.
    records: BTreeMap<AgentName, AgentRecord>,
    /// Those that run elsewhere.
    foreign: Foreign,
    /// Files that cannot become agents.
    unusable: Vec<Unusable>,
    /// Replaced revisions whose calls still run.
    draining: Vec<Draining>,
    /// Grows with every change of the set of tools.
    generation: u64,
    /// Grows whenever an agent goes, and may leave a name that another one waits for.
    released: u64,
    /// Grows whenever settings are held against other ceilings.
    ceilings: u64,
}

struct Agent {
    origin: Origin,
    serving: Option<Serving>,
    /// The newest attempt to load it, unless that is what serves.
    attempt: Option<Attempt>,
    /// The tool names it owns.
    names: Vec<ToolName>,
    /// What its file had when it was last read, loadable or not.
    file_digest: Option<Digest>,
}

/// A published revision and what is said of it.
pub(crate) struct Serving {
    pub(crate) revision: Arc<Revision>,
    pub(crate) description: String,
    pub(crate) refused: Vec<Refusal>,
    pub(crate) warnings: Vec<String>,
    pub(crate) provenance: Option<Provenance>,
    /// Tool names and aliases.
    pub(crate) routes: Vec<(ToolName, Arc<Tool>)>,
}

#[derive(Debug, Clone)]
struct Attempt {
    state: State,
    error: Option<String>,
    retry: Retry,
}

/// What makes another attempt at the same file worthwhile.
#[derive(Debug, Clone, Copy)]
enum Retry {
    /// Nothing.
    Never,
    /// An agent went, since `released` had this value.
    NamesReleased(u64),
    /// Time, since the host failed then.
    After(Instant),
    /// The ceilings changed, since `ceilings` had this value.
    CeilingsChanged(u64),
}

/// Agents that deserve another attempt.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// From their files.
    pub(crate) files: Vec<AgentName>,
    /// From the data directory.
    pub(crate) stored: Vec<AgentName>,
}

struct Draining {
    agent: AgentName,
    digest: Digest,
    number: u64,
    state: State,
    revision: Weak<Revision>,
}

impl Agents {
    /// No agents yet. `changes` ticks whenever a status changes.
    pub(crate) fn new(changes: Arc<watch::Sender<u64>>) -> Self {
        Self { names: RwLock::default(), table: Mutex::default(), list: RwLock::default(), changes }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn names_mut(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Where a tool name leads. On the path of every call.
    pub(crate) fn resolve(&self, tool: &str) -> Option<Route> {
        self.names().get(tool)?.route.clone()
    }

    /// The agents whose serving revision offers a feature, in name order.
    pub(crate) fn offering(&self, feature: Feature) -> Vec<AgentName> {
        let table = self.table();
        let offering = table.revisions().filter(|r| r.features.contains_key(&feature));
        let mut names: Vec<_> = offering.map(|revision| revision.agent.clone()).collect();
        names.sort();
        names
    }

    /// Takes over what the store knows. `expected` agents are about to load: they are shown, and
    /// nobody else gets their names meanwhile.
    pub(crate) fn restore(
        &self,
        records: Vec<AgentRecord>,
        expected: impl Fn(&AgentRecord) -> bool,
    ) {
        let mut table = self.table();
        let mut names = self.names_mut();
        for record in records {
            if expected(&record) && !table.agents.contains_key(&record.name) {
                let mut agent = Agent::new(record.origin.clone());
                for name in record.published.values().flatten() {
                    let entry = names.entry(name.clone());
                    let owned =
                        entry.or_insert_with(|| Owned { agent: record.name.clone(), route: None });
                    if owned.agent == record.name && !agent.names.contains(name) {
                        agent.names.push(name.clone());
                    }
                }
                table.agents.insert(record.name.clone(), agent);
            }
            table.records.insert(record.name.clone(), record);
        }
    }

    /// What the store knows of an agent.
    pub(crate) fn record(&self, name: &AgentName) -> Option<AgentRecord> {
        self.table().records.get(name).cloned()
    }

    /// The store forgot an agent.
    pub(crate) fn forget(&self, name: &AgentName) {
        self.table().records.remove(name);
    }

    /// Where an agent comes from.
    pub(crate) fn origin(&self, name: &AgentName) -> Option<Origin> {
        self.table().agents.get(name).map(|agent| agent.origin.clone())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.table().agents.len()
    }

    /// What calls of an agent find, here or elsewhere.
    pub(crate) fn current(&self, name: &str) -> Option<Arc<Revision>> {
        self.table().current(name).cloned()
    }

    /// What an agent of this host serves with.
    pub(crate) fn serving(&self, name: &str) -> Option<Arc<Revision>> {
        let table = self.table();
        table.agents.get(name)?.serving.as_ref().map(|serving| Arc::clone(&serving.revision))
    }

    /// What an agent's file had when it was last read.
    pub(crate) fn file_digest(&self, name: &AgentName) -> Option<Digest> {
        self.table().agents.get(name)?.file_digest
    }

    pub(crate) fn set_file_digest(&self, name: &AgentName, digest: Digest) {
        if let Some(agent) = self.table().agents.get_mut(name) {
            agent.file_digest = Some(digest);
        }
    }

    /// Agents of which nothing has been tried yet.
    pub(crate) fn untried(&self) -> Vec<(AgentName, Origin)> {
        let table = self.table();
        let untried = table
            .agents
            .iter()
            .filter(|(_, agent)| agent.attempt.is_none() && agent.serving.is_none());
        untried.map(|(name, agent)| (name.clone(), agent.origin.clone())).collect()
    }

    /// Every agent that was loaded through the API.
    pub(crate) fn names_of_api_agents(&self) -> Vec<AgentName> {
        let table = self.table();
        let of_api = table.agents.iter().filter(|(_, agent)| agent.origin == Origin::Api);
        of_api.map(|(name, _)| name.clone()).collect()
    }

    /// Replaces the list of files that cannot become agents; those that were not on it before.
    pub(crate) fn set_unusable(&self, unusable: Vec<Unusable>) -> Vec<Unusable> {
        let mut table = self.table();
        if table.unusable == unusable {
            return Vec::new();
        }
        let new = unusable.iter().filter(|file| !table.unusable.contains(file)).cloned().collect();
        table.unusable = unusable;
        drop(table);
        self.changed();
        new
    }

    /// Publishes a revision of an agent that [`Begun`] an attempt: from here on calls find it, and
    /// only it. What of it clients see changed.
    fn publish(&self, name: &AgentName, record: AgentRecord, serving: Serving) -> Changed {
        let mut guard = self.table();
        let table = &mut *guard;
        let before = table.current(name).cloned();
        let Some(agent) = table.agents.get_mut(name) else { return Changed::default() };
        agent.origin = record.origin.clone();
        agent.attempt = None;
        let kept: Vec<ToolName> = {
            let published = record.published.values().flatten().cloned();
            published.chain(serving.routes.iter().map(|(name, _)| name.clone())).collect()
        };
        {
            let mut names = self.names_mut();
            table.foreign.hide(name, Some(agent), &mut names);
            lead_names_to(&mut names, name, agent, kept, Some(&serving));
        }
        let changed = {
            let before = before.as_ref();
            let tools = before.map_or(&[][..], |before| &before.tools);
            let offered = before.is_some_and(|before| !before.features.is_empty());
            Changed {
                tools: !looks_the_same(tools, &serving.revision.tools),
                offers: offered || !serving.revision.features.is_empty(),
            }
        };
        let revision = &serving.revision;
        log(name, Some(&revision.digest), Some(revision.number.0), State::Active);
        let replaced = agent.serving.replace(serving);
        table.records.insert(name.clone(), record);
        if let Some(replaced) = replaced {
            table.drain(name, replaced);
        }
        self.note_change(guard, changed.tools);
        changed
    }

    /// Takes an agent out: calls do not find it any more, or where it runs elsewhere; running ones finish. What
    /// of it clients saw changed.
    pub(crate) fn unload(&self, name: &AgentName) -> Settled {
        let mut guard = self.table();
        let table = &mut *guard;
        let Some(mut agent) = table.agents.remove(name) else { return Settled::default() };
        // Between the two, a name that another node serves too would lead nowhere.
        let mut settled = {
            let mut names = self.names_mut();
            lead_names_to(&mut names, name, &mut agent, Vec::new(), None);
            table.settle(&mut names)
        };
        table.released += 1;
        if let Some(serving) = agent.serving {
            let now = table.current(name).map_or(&[][..], |now| &now.tools);
            settled.replaced(name, &serving.revision, now);
            table.drain(name, serving);
        }
        self.note_change(guard, settled.changed.tools);
        settled
    }

    /// The tools in name order; the same list until they change.
    pub(crate) fn tools(&self) -> Arc<ToolList> {
        if let Some(list) = &*self.list.read().unwrap_or_else(PoisonError::into_inner) {
            return Arc::clone(list);
        }
        // The table stays locked, so that a change cannot come between building and keeping.
        let table = self.table();
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = &*list {
            return Arc::clone(list);
        }
        let mut tools: Vec<Arc<Tool>> =
            table.revisions().flat_map(|revision| revision.tools.iter().cloned()).collect();
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        let built = Arc::new(ToolList { generation: table.generation, tools });
        *list = Some(Arc::clone(&built));
        built
    }

    /// Settings are held against other ceilings from now on: what was refused may not be any more.
    pub(crate) fn ceilings_changed(&self) {
        self.table().ceilings += 1;
    }

    /// Agents whose failure may have passed. One that is in the data directory is due once, and only
    /// while nothing of it serves: what failed of another was told to whoever sent it.
    pub(crate) fn due_for_retry(&self, now: Instant, after: std::time::Duration) -> Due {
        let mut table = self.table();
        let (released, ceilings) = (table.released, table.ceilings);
        let is_due = |agent: &Agent| match agent.attempt.as_ref().map(|attempt| attempt.retry) {
            Some(Retry::NamesReleased(then)) => released != then,
            Some(Retry::After(failed)) => now.duration_since(failed) >= after,
            Some(Retry::CeilingsChanged(then)) => ceilings != then,
            Some(Retry::Never) | None => false,
        };
        let mut due = Due::default();
        for (name, agent) in table.agents.iter_mut().filter(|(_, agent)| is_due(agent)) {
            match (&agent.origin, &mut agent.attempt) {
                (Origin::File { .. }, _) => due.files.push(name.clone()),
                (Origin::Api, Some(attempt)) if agent.serving.is_none() => {
                    attempt.retry = Retry::Never;
                    due.stored.push(name.clone());
                }
                (Origin::Api | Origin::Elsewhere { .. }, _) => {}
            }
        }
        due
    }

    /// Notes which replaced revisions have finished their last call.
    pub(crate) fn sweep(&self) {
        self.table().sweep();
    }

    fn note_change(&self, mut table: MutexGuard<'_, Table>, tools_changed: bool) {
        if tools_changed {
            table.generation += 1;
            *self.list.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        drop(table);
        self.changed();
    }
}

impl Agent {
    const fn new(origin: Origin) -> Self {
        Self { origin, serving: None, attempt: None, names: Vec::new(), file_digest: None }
    }
}

impl Table {
    /// What calls of an agent find.
    fn current(&self, name: &str) -> Option<&Arc<Revision>> {
        let local = self.agents.get(name).and_then(|agent| agent.serving.as_ref());
        local
            .map(|serving| &serving.revision)
            .or_else(|| self.foreign.get(name).map(|visible| &visible.agent.revision))
    }

    /// Everything that calls find.
    fn revisions(&self) -> impl Iterator<Item = &Arc<Revision>> {
        let local = self.agents.values().filter_map(|agent| agent.serving.as_ref());
        let foreign = self.foreign.visible().map(|(_, visible)| &visible.agent.revision);
        local.map(|serving| &serving.revision).chain(foreign)
    }

    fn drain(&mut self, name: &AgentName, replaced: Serving) {
        let revision = replaced.revision;
        let busy = if revision.in_flight.load(std::sync::atomic::Ordering::Relaxed) > 0 {
            State::Busy
        } else {
            State::Active
        };
        let state = next(busy, Event::Replaced);
        log(name, Some(&revision.digest), Some(revision.number.0), state);
        self.draining.push(Draining {
            agent: name.clone(),
            digest: revision.digest,
            number: revision.number.0,
            state,
            revision: Arc::downgrade(&revision),
        });
        drop(revision);
        self.sweep();
    }

    fn sweep(&mut self) {
        self.draining.retain(|draining| {
            let lives = draining.revision.strong_count() > 0;
            if !lives {
                let state = next(draining.state, Event::Drained);
                log(&draining.agent, Some(&draining.digest), Some(draining.number), state);
            }
            lives
        });
    }
}

/// Whether clients would see the same tools.
fn looks_the_same(before: &[Arc<Tool>], after: &[Arc<Tool>]) -> bool {
    let same = |(a, b): (&Arc<Tool>, &Arc<Tool>)| {
        a.name == b.name
            && a.title == b.title
            && a.description == b.description
            && a.input_schema.get() == b.input_schema.get()
            && match (&a.output_schema, &b.output_schema) {
                (Some(a), Some(b)) => a.get() == b.get(),
                (a, b) => a.is_none() && b.is_none(),
            }
            && a.signature == b.signature
            && a.hints == b.hints
    };
    before.len() == after.len() && before.iter().zip(after).all(same)
}

/// Tells the log where a revision stands.
fn log(agent: &AgentName, digest: Option<&Digest>, revision: Option<u64>, state: State) {
    let digest = digest.map(tracing::field::display);
    match state {
        State::Init | State::Registered => {
            tracing::debug!(agent_name = %agent, digest, revision, state = state.as_str(), "agent changed state");
        }
        _ => {
            tracing::info!(agent_name = %agent, digest, revision, state = state.as_str(), "agent changed state")
        }
    }
}

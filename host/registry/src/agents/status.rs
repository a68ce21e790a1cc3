//! What people and metrics see of the table.

use std::sync::atomic::Ordering;

use aop_core::lifecycle::next;
use aop_core::{AgentName, AgentRecord, AgentStatus, Event, Origin, State};

use super::{Agent, Agents, Serving};
use crate::source::Unusable;

/// How many agents and tools there are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// In the order of [`State::ALL`].
    pub(crate) by_state: [u64; State::ALL.len()],
    pub(crate) tools: u64,
}

impl Agents {
    /// Every agent in name order, files that cannot become agents included where they have a name.
    pub(crate) fn list(&self) -> Vec<AgentStatus> {
        let mut table = self.table();
        table.sweep();
        let agents =
            table.agents.iter().map(|(name, agent)| agent.status(name, table.records.get(name)));
        let mut list: Vec<_> =
            agents.chain(table.unusable.iter().filter_map(unusable_status)).collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// One agent.
    pub(crate) fn status(&self, name: &str) -> Option<AgentStatus> {
        let table = self.table();
        match table.agents.get_key_value(name) {
            Some((name, agent)) => Some(agent.status(name, table.records.get(name))),
            None => table
                .unusable
                .iter()
                .filter_map(unusable_status)
                .find(|status| &*status.name == name),
        }
    }

    /// For metrics.
    pub(crate) fn counts(&self) -> Counts {
        let mut table = self.table();
        table.sweep();
        let mut counts = Counts::default();
        let mut count = |state: State| counts.by_state[position(state)] += 1;
        table.agents.values().map(Agent::state).for_each(&mut count);
        table.draining.iter().map(|draining| draining.state).for_each(&mut count);
        let serving = table.agents.values().filter_map(|agent| agent.serving.as_ref());
        counts.tools = serving.map(|serving| serving.revision.tools.len() as u64).sum();
        counts
    }
}

fn position(state: State) -> usize {
    State::ALL.iter().position(|known| *known == state).unwrap_or(0)
}

impl Serving {
    fn state(&self) -> State {
        let busy = self.revision.in_flight.load(Ordering::Relaxed) > 0;
        if busy { next(State::Active, Event::Invoked) } else { State::Active }
    }
}

impl Agent {
    fn state(&self) -> State {
        match (&self.attempt, &self.serving) {
            (Some(attempt), _) => attempt.state,
            (None, Some(serving)) => serving.state(),
            // The store knows it and its turn to load has not come yet.
            (None, None) => State::Init,
        }
    }

    fn status(&self, name: &AgentName, record: Option<&AgentRecord>) -> AgentStatus {
        let serving = self.serving.as_ref();
        let revision = serving.map(|serving| &serving.revision);
        AgentStatus {
            name: name.clone(),
            id: record.map(|record| record.id),
            state: self.state(),
            revision: revision.map(|revision| revision.number),
            digest: revision.map(|revision| revision.digest),
            origin: self.origin.clone(),
            pinned: record.is_some_and(|record| record.pinned_against.is_some()),
            description: serving.map(|serving| serving.description.clone()).unwrap_or_default(),
            tools: revision
                .map(|revision| revision.tools.iter().map(|tool| tool.name.clone()).collect())
                .unwrap_or_default(),
            refused: serving.map(|serving| serving.refused.clone()).unwrap_or_default(),
            error: self.attempt.as_ref().and_then(|attempt| attempt.error.clone()),
            warnings: serving.map(|serving| serving.warnings.clone()).unwrap_or_default(),
            in_flight: revision.map_or(0, |revision| revision.in_flight.load(Ordering::Relaxed)),
            concurrency: revision.map_or(0, |revision| revision.settings.limits.concurrency),
        }
    }
}

fn unusable_status(file: &Unusable) -> Option<AgentStatus> {
    Some(AgentStatus {
        name: file.name.clone()?,
        id: None,
        state: next(State::Init, Event::Failed),
        revision: None,
        digest: None,
        origin: Origin::File { path: file.path.clone() },
        pinned: false,
        description: String::new(),
        tools: Vec::new(),
        refused: Vec::new(),
        error: Some(file.reason.clone()),
        warnings: Vec::new(),
        in_flight: 0,
        concurrency: 0,
    })
}

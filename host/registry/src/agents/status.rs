//! What people and metrics see of the table.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aop_core::lifecycle::next;
use aop_core::{
    AgentName, AgentRecord, AgentStatus, Event, ForeignAgent, Held, Origin, Source, State, Tool,
    ToolName,
};

use super::{Agent, Agents, Serving, Table};
use crate::source::Unusable;

/// How many agents and tools there are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// In the order of [`State::ALL`].
    pub(crate) by_state: [u64; State::ALL.len()],
    pub(crate) tools: u64,
}

impl Counts {
    /// These and those.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.by_state.iter_mut().zip(other.by_state) {
            *mine += theirs;
        }
        self.tools += other.tools;
    }
}

impl Agents {
    /// Every agent in name order, files that cannot become agents included where they have a name.
    pub(crate) fn list(&self) -> Vec<AgentStatus> {
        let mut table = self.table();
        table.sweep();
        let agents =
            table.agents.iter().map(|(name, agent)| agent.status(name, table.records.get(name)));
        let unusable = table.unusable.iter().filter_map(unusable_status);
        let mut list: Vec<_> = agents.chain(unusable).chain(table.foreign_statuses()).collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// One agent.
    pub(crate) fn status(&self, name: &str) -> Option<AgentStatus> {
        let table = self.table();
        match table.agents.get_key_value(name) {
            Some((name, agent)) => Some(agent.status(name, table.records.get(name))),
            None => {
                let unusable = table.unusable.iter().filter_map(unusable_status);
                unusable.chain(table.foreign_statuses()).find(|status| &*status.name == name)
            }
        }
    }

    /// What serves here, in name order.
    pub(crate) fn held(&self) -> Vec<Held> {
        let table = self.table();
        let serving = table.agents.values().filter_map(|agent| {
            let serving = agent.serving.as_ref()?;
            let is_alias = |(name, tool): &&(ToolName, Arc<Tool>)| *name != tool.name;
            Some(Held {
                revision: Arc::clone(&serving.revision),
                aliases: serving.routes.iter().filter(is_alias).cloned().collect(),
                description: serving.description.clone(),
                is_of_a_file: matches!(agent.origin, Origin::File { .. }),
            })
        });
        serving.collect()
    }

    /// For metrics.
    pub(crate) fn counts(&self) -> Counts {
        let mut table = self.table();
        table.sweep();
        let mut counts = Counts::default();
        let mut count = |state: State| counts.by_state[position(state)] += 1;
        table.agents.values().map(Agent::state).for_each(&mut count);
        table.draining.iter().map(|draining| draining.state).for_each(&mut count);
        counts.tools = table.revisions().map(|revision| revision.tools.len() as u64).sum();
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
            component: revision.and_then(|revision| revision.settings.component.clone()),
            provenance: serving.and_then(|serving| serving.provenance.clone()),
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

impl Table {
    /// Agents that run elsewhere, those that were refused included.
    fn foreign_statuses(&self) -> impl Iterator<Item = AgentStatus> {
        let visible = self.foreign.visible().map(|(name, visible)| {
            let ForeignAgent { revision, description, places, .. } = &visible.agent;
            let busy = match &visible.source {
                // How busy another tenant's agent is tells of that tenant.
                Source::Tenant(_) => 0,
                _ => revision.in_flight.load(Ordering::Relaxed),
            };
            AgentStatus {
                id: Some(revision.id),
                state: if busy > 0 { State::Busy } else { State::Active },
                revision: Some(revision.number),
                digest: Some(revision.digest),
                description: description.clone(),
                tools: revision.tools.iter().map(|tool| tool.name.clone()).collect(),
                in_flight: busy,
                concurrency: revision.settings.limits.concurrency,
                ..nothing(
                    name.clone(),
                    State::Active,
                    Origin::Elsewhere { source: visible.source.clone(), places: places.clone() },
                )
            }
        });
        let refused = self.foreign.refused().map(|(name, source, reason)| AgentStatus {
            error: Some(reason.to_owned()),
            ..nothing(
                name.clone(),
                next(State::Init, Event::Failed),
                Origin::Elsewhere { source: source.clone(), places: Vec::new() },
            )
        });
        visible.chain(refused)
    }
}

fn unusable_status(file: &Unusable) -> Option<AgentStatus> {
    Some(AgentStatus {
        error: Some(file.reason.clone()),
        ..nothing(
            file.name.clone()?,
            next(State::Init, Event::Failed),
            Origin::File { path: file.path.clone() },
        )
    })
}

/// Of an agent of which nothing more is known.
const fn nothing(name: AgentName, state: State, origin: Origin) -> AgentStatus {
    AgentStatus {
        name,
        id: None,
        state,
        revision: None,
        digest: None,
        component: None,
        provenance: None,
        origin,
        pinned: false,
        description: String::new(),
        tools: Vec::new(),
        refused: Vec::new(),
        error: None,
        warnings: Vec::new(),
        in_flight: 0,
        concurrency: 0,
    }
}

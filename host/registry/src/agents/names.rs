//! Who owns which tool name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use aop_core::{AgentName, Route, ToolName};

use super::{Agent, Agents, Serving};
use crate::RegistryError;

/// Every name that somebody owns.
pub(super) type Names = HashMap<ToolName, Owned>;

/// Who owns a name, and where it leads while that agent serves it.
pub(super) struct Owned {
    pub(super) agent: AgentName,
    pub(super) route: Option<Route>,
}

impl Agents {
    /// Reserves names for an agent, all or none; those that it did not own before. What another tenant shares gives its names
    /// up: nobody can take a name from a tenant by sharing an agent that has it. Settling then says that it is refused.
    pub(super) fn claim<'a>(
        &self,
        name: &AgentName,
        wanted: impl Iterator<Item = &'a ToolName> + Clone,
    ) -> Result<Vec<ToolName>, RegistryError> {
        let mut guard = self.table();
        let table = &mut *guard;
        let mut names = self.names_mut();
        for tool in wanted.clone() {
            let owner = names.get(tool).map(|owned| owned.agent.clone());
            if let Some(owner) = owner.filter(|owner| owner != name) {
                table.foreign.give_way(&owner, &table.agents, &mut names);
            }
        }
        let mut taken = wanted.clone().filter_map(|tool| {
            let owner = &names.get(tool)?.agent;
            (owner != name).then(|| (tool.clone(), owner.clone()))
        });
        if let Some((tool, owner)) = taken.next() {
            return Err(RegistryError::NameTaken { tool, owner });
        }
        drop(taken);
        let mut new = Vec::new();
        for tool in wanted {
            if !names.contains_key(tool) {
                names.insert(tool.clone(), Owned { agent: name.clone(), route: None });
                new.push(tool.clone());
            }
        }
        if let Some(agent) = table.agents.get_mut(name) {
            agent.names.extend(new.iter().cloned());
        }
        Ok(new)
    }
}

/// Makes an agent own exactly `kept`, each leading where `serving` says.
pub(super) fn lead_names_to(
    names: &mut Names,
    name: &AgentName,
    agent: &mut Agent,
    kept: Vec<ToolName>,
    serving: Option<&Serving>,
) {
    for old in std::mem::take(&mut agent.names) {
        if names.get(&old).is_some_and(|owned| owned.agent == *name) {
            names.remove(&old);
        }
    }
    for kept in kept {
        // A name from its past that went to another agent while it was away stays there.
        if let Entry::Vacant(vacant) = names.entry(kept.clone()) {
            vacant.insert(Owned { agent: name.clone(), route: None });
            agent.names.push(kept);
        }
    }
    let Some(serving) = serving else { return };
    for (tool_name, tool) in &serving.routes {
        if let Some(owned) = names.get_mut(tool_name).filter(|owned| owned.agent == *name) {
            let revision = Arc::clone(&serving.revision);
            owned.route = Some(Route { revision, tool: Arc::clone(tool) });
        }
    }
}

//! Agents that run elsewhere, settled among those of this host: which of them calls find, and why the others
//! are refused.
//!
//! Everything that was offered is kept, so that what was refused gets in once the reason passes. Settling goes
//! over the offers, not over their tools: an agent that stays as it is costs one look.

use std::collections::BTreeMap;
use std::sync::Arc;

use aop_core::{AgentName, ForeignAgent, RefusedAgent, Revision, Route, Source, Tool, ToolName};

use super::names::{Names, Owned};
use super::{Agent, Agents, Changed, Table, looks_the_same};
use crate::RegistryError;

/// What was offered, what is visible of it, and why the rest is not.
#[derive(Default)]
pub(super) struct Foreign {
    offers: BTreeMap<Source, Vec<ForeignAgent>>,
    visible: BTreeMap<AgentName, Visible>,
    refused: BTreeMap<(AgentName, Source), String>,
    /// Those that were hidden since agents were settled last.
    gave_way: Vec<AgentName>,
}

/// A foreign agent that calls find.
pub(super) struct Visible {
    pub(super) source: Source,
    pub(super) agent: ForeignAgent,
}

/// What clients see differently after agents were settled.
#[derive(Default)]
pub(crate) struct Settled {
    pub(crate) changed: Changed,
    /// The agents whose tools changed, with what they have now.
    pub(crate) tools: Vec<(AgentName, Vec<Arc<Tool>>)>,
    /// Newly refused.
    pub(crate) refused: Vec<RefusedAgent>,
}

impl Foreign {
    pub(super) fn visible(&self) -> impl Iterator<Item = (&AgentName, &Visible)> {
        self.visible.iter()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Visible> {
        self.visible.get(name)
    }

    /// Refused agents with whose they are and why.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&AgentName, &Source, &str)> {
        self.refused.iter().map(|((name, source), reason)| (name, source, reason.as_str()))
    }

    /// Takes an agent's names away, for one of this host that is about to own them.
    pub(super) fn hide(&mut self, name: &AgentName, local: Option<&Agent>, names: &mut Names) {
        if let Some(hidden) = self.visible.remove(name) {
            hidden.withdraw(name, local, names);
        }
    }

    /// Hides an agent whose names one of this tenant's own wants, if another tenant shares it.
    pub(super) fn give_way(
        &mut self,
        name: &AgentName,
        local: &BTreeMap<AgentName, Agent>,
        names: &mut Names,
    ) {
        if matches!(self.visible.get(name), Some(Visible { source: Source::Tenant(_), .. })) {
            self.hide(name, local.get(name), names);
            self.gave_way.push(name.clone());
        }
    }

    /// The agents that should be visible: of several with one name the first, and none that this host serves.
    fn desired(
        &self,
        local: &BTreeMap<AgentName, Agent>,
        refused: &mut BTreeMap<(AgentName, Source), String>,
    ) -> BTreeMap<AgentName, (Source, ForeignAgent)> {
        let mut desired: BTreeMap<AgentName, (Source, ForeignAgent)> = BTreeMap::new();
        for (source, agents) in &self.offers {
            for agent in agents {
                let name = &agent.revision.agent;
                let serving = local.get(name).and_then(|local| local.serving.as_ref());
                if let Some(serving) = serving {
                    if let Some(reason) = clash(source, agent, serving) {
                        refused.insert((name.clone(), source.clone()), reason);
                    }
                } else if let Some((first, _)) = desired.get(name) {
                    let reason =
                        format!("{first} has an agent of that name already: rename one of the two");
                    refused.insert((name.clone(), source.clone()), reason);
                } else {
                    desired.insert(name.clone(), (source.clone(), agent.clone()));
                }
            }
        }
        desired
    }
}

/// What is wrong when this host serves an agent of that name itself; nothing for a replica of the same.
fn clash(source: &Source, agent: &ForeignAgent, serving: &super::Serving) -> Option<String> {
    let name = &agent.revision.agent;
    match source {
        Source::Nodes if agent.revision.digest == serving.revision.digest => None,
        Source::Nodes => Some(format!(
            "{} serves another component as `{name}` than this node: load the same on both, or rename one",
            agent.places.join(", ")
        )),
        other => Some(format!("this host has an agent `{name}`: rename it or what {other} has")),
    }
}

impl Visible {
    fn routes(&self) -> impl Iterator<Item = (&ToolName, &Arc<Tool>)> + Clone {
        routes(&self.agent)
    }

    /// Makes the names lead here.
    fn lead(&self, name: &AgentName, names: &mut Names) {
        for (tool_name, tool) in self.routes() {
            let route =
                Route { revision: Arc::clone(&self.agent.revision), tool: Arc::clone(tool) };
            names.insert(tool_name.clone(), Owned { agent: name.clone(), route: Some(route) });
        }
    }

    /// Gives the names up. A local agent that owns some of them too, because it is being loaded, keeps those.
    fn withdraw(&self, name: &AgentName, local: Option<&Agent>, names: &mut Names) {
        for (tool_name, _) in self.routes() {
            let Some(owned) = names.get_mut(tool_name).filter(|owned| owned.agent == *name) else {
                continue;
            };
            if local.is_some_and(|local| local.names.contains(tool_name)) {
                owned.route = None;
            } else {
                names.remove(tool_name);
            }
        }
    }
}

fn routes(agent: &ForeignAgent) -> impl Iterator<Item = (&ToolName, &Arc<Tool>)> + Clone {
    let tools = agent.revision.tools.iter().map(|tool| (&tool.name, tool));
    tools.chain(agent.aliases.iter().map(|(name, tool)| (name, tool)))
}

impl Table {
    /// Makes visible what can be of what was offered, and says what that changed.
    pub(super) fn settle(&mut self, names: &mut Names) -> Settled {
        let mut refused = BTreeMap::new();
        let desired = self.foreign.desired(&self.agents, &mut refused);
        let mut settled = Settled::default();
        let gone = |name: &AgentName| !desired.contains_key(name);
        let leaving: Vec<_> = self.foreign.visible.keys().filter(|n| gone(n)).cloned().collect();
        for name in leaving {
            if let Some(left) = self.foreign.visible.remove(&name) {
                left.withdraw(&name, self.agents.get(&name), names);
                settled.note(&name, &left.agent.revision.tools, &[], has_features(Some(&left)));
            }
        }
        for (name, (source, agent)) in desired {
            let before = self.foreign.visible.get_mut(&name);
            let is_same = |before: &Visible| {
                before.source == source && Arc::ptr_eq(&before.agent.revision, &agent.revision)
            };
            if let Some(same) = before.filter(|before| is_same(before)) {
                same.agent = agent;
                continue;
            }
            self.replace(name, Visible { source, agent }, names, &mut settled, &mut refused);
        }
        for name in std::mem::take(&mut self.foreign.gave_way) {
            let is_served = self.agents.get(&name).is_some_and(|local| local.serving.is_some());
            if !is_served && !self.foreign.visible.contains_key(&name) {
                settled.changed.tools = true;
                settled.tools.push((name, Vec::new()));
            }
        }
        settled.refused = newly_refused(&self.foreign, &refused);
        self.foreign.refused = refused;
        settled
    }

    fn replace(
        &mut self,
        name: AgentName,
        next: Visible,
        names: &mut Names,
        settled: &mut Settled,
        refused: &mut BTreeMap<(AgentName, Source), String>,
    ) {
        let before = self.foreign.visible.remove(&name);
        let mut offers = has_features(before.as_ref());
        if let Some(before) = &before {
            before.withdraw(&name, self.agents.get(&name), names);
        }
        let tools_before = before.as_ref().map_or(&[][..], |before| &before.agent.revision.tools);
        let taken = next.routes().find_map(|(tool, _)| {
            let owner = &names.get(tool)?.agent;
            (*owner != name).then(|| (tool.clone(), owner.clone()))
        });
        if let Some((tool, owner)) = taken {
            let reason = RegistryError::NameTaken { tool, owner }.to_string();
            refused.insert((name.clone(), next.source), reason);
            settled.note(&name, tools_before, &[], offers);
            return;
        }
        next.lead(&name, names);
        offers |= has_features(Some(&next));
        settled.note(&name, tools_before, &next.agent.revision.tools, offers);
        self.foreign.visible.insert(name, next);
    }
}

fn is_the_same(before: &[ForeignAgent], after: &[ForeignAgent]) -> bool {
    let same = |(a, b): (&ForeignAgent, &ForeignAgent)| {
        Arc::ptr_eq(&a.revision, &b.revision) && a.places == b.places
    };
    before.len() == after.len() && before.iter().zip(after).all(same)
}

fn has_features(visible: Option<&Visible>) -> bool {
    visible.is_some_and(|visible| !visible.agent.revision.features.is_empty())
}

/// Refused now and not before.
fn newly_refused(
    foreign: &Foreign,
    refused: &BTreeMap<(AgentName, Source), String>,
) -> Vec<RefusedAgent> {
    let is_new =
        |key: &(AgentName, Source), reason: &String| foreign.refused.get(key) != Some(reason);
    let new = refused.iter().filter(|(key, reason)| is_new(key, reason));
    new.filter_map(|((agent, source), reason)| {
        let offer = foreign.offers.get(source)?.iter().find(|a| a.revision.agent == *agent)?;
        let tenant = offer.revision.tenant.clone();
        Some(RefusedAgent { tenant, agent: agent.clone(), reason: reason.clone() })
    })
    .collect()
}

impl Settled {
    /// An agent of this host went, and clients see `now` instead.
    pub(super) fn replaced(&mut self, name: &AgentName, gone: &Revision, now: &[Arc<Tool>]) {
        // What settling said of it started from nothing.
        self.tools.retain(|(changed, _)| changed != name);
        self.changed.tools = !self.tools.is_empty();
        self.note(name, &gone.tools, now, !gone.features.is_empty());
    }

    fn note(&mut self, name: &AgentName, before: &[Arc<Tool>], after: &[Arc<Tool>], offers: bool) {
        let tools = !looks_the_same(before, after);
        self.changed |= Changed { tools, offers };
        if tools {
            self.tools.push((name.clone(), after.to_vec()));
        }
    }
}

impl Agents {
    /// Makes `offers` all that a source has.
    pub(crate) fn offer(&self, source: &Source, offers: Vec<ForeignAgent>) -> Settled {
        let mut table = self.table();
        let before = table.foreign.offers.get(source).map_or(&[][..], Vec::as_slice);
        // Whoever follows the changes may publish after each of them.
        if is_the_same(before, &offers) {
            return Settled::default();
        }
        if offers.is_empty() {
            table.foreign.offers.remove(source);
        } else {
            table.foreign.offers.insert(source.clone(), offers);
        }
        let settled = table.settle(&mut self.names_mut());
        self.note_change(table, settled.changed.tools);
        settled
    }

    /// Nobody has anything any more.
    pub(crate) fn offer_nothing(&self) -> Settled {
        let mut table = self.table();
        table.foreign.offers.clear();
        let settled = table.settle(&mut self.names_mut());
        self.note_change(table, settled.changed.tools);
        settled
    }

    /// Whether a source has anything here.
    pub(crate) fn has_of(&self, source: &Source) -> bool {
        self.table().foreign.offers.contains_key(source)
    }

    /// Looks again at what was refused, after agents of this host changed.
    pub(crate) fn settle(&self) -> Settled {
        let mut table = self.table();
        if table.foreign.offers.is_empty() {
            return Settled::default();
        }
        let settled = table.settle(&mut self.names_mut());
        self.note_change(table, settled.changed.tools);
        settled
    }
}

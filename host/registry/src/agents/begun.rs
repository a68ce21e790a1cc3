//! An attempt to load an agent, from INIT to its end. Dropping it undoes it.

use std::sync::Arc;
use std::time::Instant;

use aop_core::lifecycle::next;
use aop_core::{AgentName, AgentRecord, Digest, Event, Origin, State, ToolName};

use super::{Agent, Agents, Attempt, Changed, Retry, Serving, log};
use crate::RegistryError;

/// An attempt under way. The agent's turn is held meanwhile, so there is one at a time.
pub(crate) struct Begun {
    agents: Arc<Agents>,
    name: AgentName,
    /// What is shown again when this one is dropped; none for an agent that did not exist.
    before: Option<(Origin, Option<Attempt>)>,
    /// Names that the agent owns only because of this attempt.
    claimed: Vec<ToolName>,
    /// Of the table when it began, before its settings were held against any ceiling.
    ceilings: u64,
    /// Whether the end was reported.
    is_over: bool,
}

/// What a refusal by a ceiling names as its setting.
pub(crate) const CEILING: &str = "ceiling";

/// What an attempt was about, for the log.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) name: &'a AgentName,
    pub(crate) digest: Option<&'a Digest>,
}

impl Agents {
    /// Begins an attempt. The agent is INIT; what served before still does.
    pub(crate) fn begin(self: &Arc<Self>, name: &AgentName, origin: Origin) -> Begun {
        let mut table = self.table();
        let before =
            table.agents.get(name).map(|agent| (agent.origin.clone(), agent.attempt.clone()));
        let agent = table.agents.entry(name.clone()).or_insert_with(|| Agent::new(origin.clone()));
        agent.origin = origin;
        agent.attempt = Some(Attempt { state: State::Init, error: None, retry: Retry::Never });
        let ceilings = table.ceilings;
        drop(table);
        log(name, None, None, State::Init);
        self.changed();
        Begun {
            agents: Arc::clone(self),
            name: name.clone(),
            before,
            claimed: Vec::new(),
            ceilings,
            is_over: false,
        }
    }

    fn set_attempt(&self, name: &AgentName, attempt: Option<Attempt>) {
        if let Some(agent) = self.table().agents.get_mut(name) {
            agent.attempt = attempt;
        }
        self.changed();
    }

    fn advance(&self, name: &AgentName, event: Event) -> State {
        let mut table = self.table();
        let attempt = table.agents.get_mut(name).and_then(|agent| agent.attempt.as_mut());
        let state = attempt.map_or(State::Terminated, |attempt| {
            attempt.state = next(attempt.state, event);
            attempt.state
        });
        drop(table);
        self.changed();
        state
    }

    fn release(&self, name: &AgentName, claimed: &[ToolName]) {
        let mut table = self.table();
        let mut names = self.names_mut();
        for tool in claimed {
            if names.get(tool).is_some_and(|owned| owned.agent == *name) {
                names.remove(tool);
            }
        }
        if let Some(agent) = table.agents.get_mut(name) {
            agent.names.retain(|name| !claimed.contains(name));
        }
        if !claimed.is_empty() {
            table.released += 1;
        }
    }
}

impl Begun {
    /// The agent.
    pub(crate) const fn name(&self) -> &AgentName {
        &self.name
    }

    /// It is compiled and its tools are derived.
    pub(crate) fn prepared(&self, digest: &Digest) {
        let state = self.agents.advance(&self.name, Event::Prepared);
        log(&self.name, Some(digest), None, state);
    }

    /// Reserves its tool names.
    pub(crate) fn claim<'a>(
        &mut self,
        wanted: impl Iterator<Item = &'a ToolName> + Clone,
    ) -> Result<(), RegistryError> {
        self.claimed.extend(self.agents.claim(&self.name, wanted)?);
        Ok(())
    }

    /// It serves. What of it clients see changed. With `despite`, what serves is an
    /// older revision, and the newest could not be loaded for that reason.
    pub(crate) fn publish(
        mut self,
        record: AgentRecord,
        serving: Serving,
        despite: Option<&RegistryError>,
    ) -> Changed {
        self.is_over = true;
        let changed = self.agents.publish(&self.name, record, serving);
        if let Some(error) = despite {
            self.agents.set_attempt(&self.name, Some(self.failed_attempt(error)));
        }
        changed
    }

    /// What serves is what the file asks for: there was nothing to do.
    pub(crate) fn unchanged(mut self) {
        self.is_over = true;
        self.agents.set_attempt(&self.name, None);
    }

    /// It failed and is shown as ERROR with the reason.
    pub(crate) fn fail(mut self, error: &RegistryError, digest: Option<&Digest>) {
        self.is_over = true;
        self.agents.release(&self.name, &self.claimed);
        report(About { name: &self.name, digest }, error);
        self.agents.set_attempt(&self.name, Some(self.failed_attempt(error)));
    }

    fn failed_attempt(&self, error: &RegistryError) -> Attempt {
        let retry = match error {
            RegistryError::NameTaken { .. } => Retry::NamesReleased(self.agents.table().released),
            RegistryError::Refused { setting: CEILING, .. } => {
                Retry::CeilingsChanged(self.ceilings)
            }
            error if error.is_of_the_host() => Retry::After(Instant::now()),
            _ => Retry::Never,
        };
        let state = next(State::Init, Event::Failed);
        Attempt { state, error: Some(error.to_string()), retry }
    }
}

/// Tells the log why an attempt failed.
pub(crate) fn report(about: About<'_>, error: &RegistryError) {
    let digest = about.digest.map(tracing::field::display);
    let state = State::Error.as_str();
    tracing::warn!(agent_name = %about.name, digest, state, %error, "agent could not be loaded");
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.agents.release(&self.name, &self.claimed);
        match self.before.take() {
            None => {
                self.agents.table().agents.remove(&self.name);
                self.agents.changed();
            }
            Some((origin, attempt)) => {
                if let Some(agent) = self.agents.table().agents.get_mut(&self.name) {
                    agent.origin = origin;
                }
                self.agents.set_attempt(&self.name, attempt);
            }
        }
    }
}

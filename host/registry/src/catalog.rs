//! What the registry is to the other crates: the catalogue, the resolver, and its numbers.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use aop_core::interface::Feature;
use aop_core::{
    AgentName, AgentStatus, BoxFuture, Catalog, CatalogError, FeatureRoute, ForeignAgent,
    LoadRequest, Measure, Origin, Publish, RefusedAgent, Resolve, RevisionStatus, Route, Sample,
    Source, State, TenantName, ToolList,
};

use crate::RegistryError;
use crate::agents::{Changed, Counts};
use crate::load::{Ready, Write};
use crate::reconcile::Forget;
use crate::registry::{OfTenant, Registry};
use crate::source::too_large;
use crate::turn::Turn;

impl Resolve for Registry {
    fn resolve(&self, tenant: &TenantName, tool: &str) -> Option<Route> {
        self.common.of(tenant)?.agents.resolve(tool)
    }

    fn resolve_feature(
        &self,
        tenant: &TenantName,
        agent: &str,
        feature: Feature,
    ) -> Option<FeatureRoute> {
        let revision = self.common.of(tenant)?.agents.current(agent)?;
        let function = *revision.features.get(&feature)?;
        Some(FeatureRoute { revision, function })
    }
}

impl Registry {
    /// The agents of the tenant that asks. A tenant that does not exist has none.
    fn of(&self, tenant: &TenantName, agent: &str) -> Result<Arc<OfTenant>, CatalogError> {
        self.common.of(tenant).ok_or_else(|| CatalogError::NoSuchAgent(agent.to_owned()))
    }
}

impl Catalog for Registry {
    fn list(&self, tenant: &TenantName) -> Vec<AgentStatus> {
        self.common.of(tenant).map(|own| own.agents.list()).unwrap_or_default()
    }

    fn show(&self, tenant: &TenantName, name: &str) -> Option<AgentStatus> {
        self.common.of(tenant)?.agents.status(name)
    }

    fn revisions<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<RevisionStatus>, CatalogError>> {
        Box::pin(async move { self.of(tenant, name)?.revisions(name).await })
    }

    fn load<'a>(
        &'a self,
        tenant: &'a TenantName,
        request: LoadRequest,
    ) -> BoxFuture<'a, Result<AgentStatus, CatalogError>> {
        Box::pin(async move {
            let no_tenant =
                || CatalogError::Rejected(format!("this host has no tenant `{tenant}`"));
            self.common.of(tenant).ok_or_else(no_tenant)?.load_upload(request).await
        })
    }

    fn unload<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), CatalogError>> {
        Box::pin(async move { self.of(tenant, name)?.unload_upload(name).await })
    }

    fn rollback<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<AgentStatus, CatalogError>> {
        Box::pin(async move { self.of(tenant, name)?.rollback(name).await })
    }

    fn tools(&self, tenant: &TenantName) -> Arc<ToolList> {
        self.common.of(tenant).map(|own| own.agents.tools()).unwrap_or_default()
    }

    fn offering(&self, tenant: &TenantName, feature: Feature) -> Vec<AgentName> {
        self.common.of(tenant).map(|own| own.agents.offering(feature)).unwrap_or_default()
    }
}

impl Publish for Registry {
    fn publish(&self, source: &Source, agents: Vec<ForeignAgent>) -> Vec<RefusedAgent> {
        let mut by_tenant: BTreeMap<TenantName, Vec<ForeignAgent>> = BTreeMap::new();
        for agent in agents {
            by_tenant.entry(agent.revision.tenant.clone()).or_default().push(agent);
        }
        let mut refused = Vec::new();
        // A tenant of which the source has nothing any more is told so.
        for own in self.common.all() {
            let agents = by_tenant.remove(&own.tenant).unwrap_or_default();
            if !agents.is_empty() || own.agents.has_of(source) {
                refused.extend(own.take_from(source, agents));
            }
        }
        for (tenant, agents) in by_tenant {
            let reason = format!("this host has no tenant `{tenant}`");
            refused.extend(agents.into_iter().map(|agent| refusal(agent, reason.clone())));
        }
        refused
    }
}

fn refusal(agent: ForeignAgent, reason: String) -> RefusedAgent {
    let revision = &agent.revision;
    RefusedAgent { tenant: revision.tenant.clone(), agent: revision.agent.clone(), reason }
}

impl OfTenant {
    /// Makes `agents` all that a source has for this tenant.
    pub(crate) fn take_from(
        &self,
        source: &Source,
        mut agents: Vec<ForeignAgent>,
    ) -> Vec<RefusedAgent> {
        let room = self.common.agents_max_of(self).saturating_sub(self.agents.len());
        let reason = self.too_many_agents();
        let too_many = agents.drain(room.min(agents.len())..);
        let mut refused: Vec<_> = too_many.map(|agent| refusal(agent, reason.clone())).collect();
        self.hold_payers(source, &agents);
        let settled = self.agents.offer(source, agents);
        refused.extend(settled.refused.iter().cloned());
        self.announce(settled, Changed::default());
        refused
    }

    /// Why one more agent is refused.
    fn too_many_agents(&self) -> String {
        let (agents_max, own) = (self.common.config.agents_max, self.common.agents_max_of(self));
        let part = if own < agents_max {
            format!(", {own} of them now of this tenant")
        } else {
            String::new()
        };
        format!("the host holds at most {agents_max} agents{part}: unload some, or raise the limit")
    }

    /// Keeps the accounts of agents that run elsewhere. Those that another tenant shares have their owner's.
    fn hold_payers(&self, source: &Source, agents: &[ForeignAgent]) {
        if matches!(source, Source::Tenant(_)) {
            return;
        }
        let payer = |agent: &ForeignAgent| {
            let revision = &agent.revision;
            let payer = self.common.parts.accounts.payer(&revision.tenant, &revision.agent);
            // A replica here keeps its own limits. Where calls that enter here are balanced over others, a place of
            // this node may not be what a call waits for that runs on another one: two nodes could wait for each other.
            let own = self.agents.serving(revision.agent.as_str());
            if own.is_none_or(|own| own.settings.balance.is_some()) {
                payer.set_agent(&revision.settings.quota, &revision.settings.limits);
            }
            payer
        };
        let held: Vec<_> = agents.iter().map(payer).collect();
        let mut payers = self.payers.lock().unwrap_or_else(PoisonError::into_inner);
        // The new ones are there before the old ones go.
        if held.is_empty() {
            payers.remove(source);
        } else {
            payers.insert(source.clone(), held);
        }
    }

    async fn revisions(&self, name: &str) -> Result<Vec<RevisionStatus>, CatalogError> {
        let name = match self.existing(name) {
            // Its owner keeps them.
            Err(CatalogError::OwnedElsewhere { .. }) => return Ok(Vec::new()),
            existing => existing?,
        };
        let serving = self.agents.serving(&name).map(|revision| revision.number);
        let records = self
            .common
            .parts
            .store
            .revisions(&self.tenant, &name)
            .await
            .map_err(RegistryError::from)?;
        let status = |record: aop_core::RevisionRecord| RevisionStatus {
            number: record.number,
            digest: record.digest,
            created_unix_ms: record.created_unix_ms,
            serving: serving == Some(record.number),
        };
        Ok(records.into_iter().map(status).collect())
    }

    async fn load_upload(
        self: &Arc<Self>,
        request: LoadRequest,
    ) -> Result<AgentStatus, CatalogError> {
        if request.component.len() as u64 > self.common.config.component_max_bytes {
            return Err(too_large("component", self.common.config.component_max_bytes).into());
        }
        let name = request.name.clone();
        let turn = self.turn(&name).await?;
        self.refuse_if_a_file_owns(&name)?;
        let begun = {
            // Until it is counted, so that of two at once the second one sees the first.
            let _turn = self.common.counting.lock().unwrap_or_else(PoisonError::into_inner);
            let has_room = || self.agents.len() < self.common.agents_max_of(self);
            if self.agents.origin(&name).is_none() && !has_room() {
                return Err(CatalogError::Rejected(self.too_many_agents()));
            }
            self.agents.begin(&name, Origin::Api)
        };
        let standing = request.standing.clone();
        let lapsed = || standing.is_some_and(|standing| !standing.holds());
        match self.stop.run_until_cancelled(self.draft_of_upload(&begun, request)).await {
            None => Err(CatalogError::Draining),
            // Compiling takes a while, and it waits for its turn before.
            Some(Ok(_)) if lapsed() => {
                self.refuse_unshown(begun, &RegistryError::Lapsed);
                Err(CatalogError::Lapsed)
            }
            Some(Ok(draft)) => self.finish(Ready { begun, draft, despite: None, turn }).await,
            Some(Err(error)) => {
                self.refuse(begun, &error, None);
                Err(error.into())
            }
        }
    }

    async fn unload_upload(self: &Arc<Self>, name: &str) -> Result<(), CatalogError> {
        let name = self.existing(name)?;
        let turn = self.turn(&name).await?;
        self.refuse_if_a_file_owns(&name)?;
        self.existing(&name)?;
        let own = Arc::clone(self);
        let task = self.spawn(async move {
            let _turn = turn;
            own.unload(&name, Forget::Yes).await?;
            own.collect_garbage().await;
            Ok(())
        });
        let done: Result<(), RegistryError> =
            task.await.map_err(|error| RegistryError::Host(error.to_string()))?;
        done.map_err(CatalogError::from)
    }

    async fn rollback(self: &Arc<Self>, name: &str) -> Result<AgentStatus, CatalogError> {
        let name = self.existing(name)?;
        let turn = self.turn(&name).await?;
        let origin =
            self.agents.origin(&name).ok_or_else(|| CatalogError::NoSuchAgent(name.to_string()))?;
        let none_earlier = || CatalogError::NoEarlierRevision(name.clone());
        let active = self.agents.record(&name).ok_or_else(none_earlier)?.active;
        let revisions = self
            .common
            .parts
            .store
            .revisions(&self.tenant, &name)
            .await
            .map_err(RegistryError::from)?;
        let earlier =
            revisions.iter().find(|revision| revision.number < active).ok_or_else(none_earlier)?;
        let pinned_against = match &origin {
            Origin::Api | Origin::Elsewhere { .. } => None,
            // A file that was not read since the start is taken to be its newest revision.
            Origin::File { .. } => self
                .agents
                .file_digest(&name)
                .or_else(|| revisions.first().map(|newest| newest.digest)),
        };
        let write = Write::Activate { number: earlier.number, pinned_against };
        let begun = self.agents.begin(&name, origin.clone());
        let draft = self.draft_of_revision(&begun, earlier.number, origin, write);
        match self.stop.run_until_cancelled(draft).await {
            None => Err(CatalogError::Draining),
            Some(Ok(draft)) => self.finish(Ready { begun, draft, despite: None, turn }).await,
            Some(Err(error)) => {
                self.refuse_unshown(begun, &error);
                Err(error.into())
            }
        }
    }

    async fn finish(self: &Arc<Self>, ready: Ready) -> Result<AgentStatus, CatalogError> {
        let name = ready.begun.name().clone();
        self.commit(vec![ready]).await?;
        self.agents.status(&name).ok_or_else(|| CatalogError::NoSuchAgent(name.to_string()))
    }

    async fn turn(&self, name: &AgentName) -> Result<Turn, CatalogError> {
        self.stop.run_until_cancelled(self.turns.take(name)).await.ok_or(CatalogError::Draining)
    }

    /// An agent of this tenant, on this host.
    fn existing(&self, name: &str) -> Result<AgentName, CatalogError> {
        let unknown = || CatalogError::NoSuchAgent(name.to_owned());
        let name = AgentName::new(name).map_err(|_| unknown())?;
        if self.agents.origin(&name).is_some() {
            return Ok(name);
        }
        match self.agents.status(&name).map(|status| status.origin) {
            Some(Origin::Elsewhere { source, places }) => {
                let places = if places.is_empty() { source.to_string() } else { places.join(", ") };
                Err(CatalogError::OwnedElsewhere { name, places })
            }
            _ => Err(unknown()),
        }
    }

    fn refuse_if_a_file_owns(&self, name: &AgentName) -> Result<(), CatalogError> {
        match self.agents.origin(name) {
            Some(Origin::File { path }) => Err(CatalogError::OwnedByFile {
                name: name.clone(),
                path: path.display().to_string(),
            }),
            _ => Ok(()),
        }
    }
}

impl Measure for Registry {
    fn measure(&self) -> Vec<Sample> {
        const BY_STATE: [(&str, &str); State::ALL.len()] = [
            ("agents_init", "Agents whose first revision is being loaded, or a newer one"),
            ("agents_registered", "Agents that are loaded and not yet published"),
            ("agents_active", "Agents that serve and are idle"),
            ("agents_busy", "Agents with calls in flight"),
            ("agents_draining", "Replaced revisions with calls in flight"),
            ("agents_error", "Agents whose newest revision could not be loaded"),
            ("agents_terminated", "Replaced revisions that are gone and not yet forgotten"),
        ];
        let mut counts = Counts::default();
        for own in self.common.all() {
            counts.add(&own.agents.counts());
        }
        let mut samples: Vec<_> = BY_STATE
            .iter()
            .zip(counts.by_state)
            .map(|((name, help), count)| Sample::gauge(name, help, count))
            .collect();
        samples.push(Sample::gauge("tools", "Tools that clients see", counts.tools));
        let loads = self.common.loads.load(Ordering::Relaxed);
        samples.push(Sample::counter("agent_loads", "Revisions that were published", loads));
        let failures = self.common.load_failures.load(Ordering::Relaxed);
        samples.push(Sample::counter("agent_load_failures", "Loads that failed", failures));
        samples
    }
}

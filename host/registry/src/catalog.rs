//! What the registry is to the other crates: the catalogue, the resolver, and its numbers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aop_core::interface::Feature;
use aop_core::{
    AgentName, AgentStatus, BoxFuture, Catalog, CatalogError, FeatureRoute, ForeignAgent,
    LoadRequest, Measure, Origin, Publish, RefusedAgent, Resolve, RevisionStatus, Route, Sample,
    Source, State, TenantName, ToolList,
};

use crate::RegistryError;
use crate::agents::Changed;
use crate::load::{Ready, Write};
use crate::reconcile::Forget;
use crate::registry::{Registry, Shared};
use crate::source::too_large;
use crate::turn::Turn;

impl Resolve for Registry {
    fn resolve(&self, tenant: &TenantName, tool: &str) -> Option<Route> {
        if *tenant == self.shared.config.tenant { self.shared.agents.resolve(tool) } else { None }
    }

    fn resolve_feature(
        &self,
        tenant: &TenantName,
        agent: &str,
        feature: Feature,
    ) -> Option<FeatureRoute> {
        if *tenant != self.shared.config.tenant {
            return None;
        }
        let revision = self.shared.agents.current(agent)?;
        let function = *revision.features.get(&feature)?;
        Some(FeatureRoute { revision, function })
    }
}

impl Catalog for Registry {
    fn list(&self, tenant: &TenantName) -> Vec<AgentStatus> {
        if *tenant == self.shared.config.tenant { self.shared.agents.list() } else { Vec::new() }
    }

    fn show(&self, tenant: &TenantName, name: &str) -> Option<AgentStatus> {
        if *tenant == self.shared.config.tenant { self.shared.agents.status(name) } else { None }
    }

    fn revisions<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<RevisionStatus>, CatalogError>> {
        Box::pin(self.shared.revisions(tenant, name))
    }

    fn load<'a>(
        &'a self,
        tenant: &'a TenantName,
        request: LoadRequest,
    ) -> BoxFuture<'a, Result<AgentStatus, CatalogError>> {
        Box::pin(self.shared.load_upload(tenant, request))
    }

    fn unload<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), CatalogError>> {
        Box::pin(self.shared.unload_upload(tenant, name))
    }

    fn rollback<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<AgentStatus, CatalogError>> {
        Box::pin(self.shared.rollback(tenant, name))
    }

    fn tools(&self, tenant: &TenantName) -> Arc<ToolList> {
        if *tenant == self.shared.config.tenant {
            self.shared.agents.tools()
        } else {
            Arc::default()
        }
    }

    fn offering(&self, tenant: &TenantName, feature: Feature) -> Vec<AgentName> {
        if *tenant == self.shared.config.tenant {
            self.shared.agents.offering(feature)
        } else {
            Vec::new()
        }
    }
}

impl Publish for Registry {
    fn publish(&self, source: &Source, mut agents: Vec<ForeignAgent>) -> Vec<RefusedAgent> {
        let tenant = &self.shared.config.tenant;
        let others = agents.extract_if(.., |agent| agent.revision.tenant != *tenant);
        let mut refused: Vec<_> = others
            .map(|agent| RefusedAgent {
                tenant: agent.revision.tenant.clone(),
                agent: agent.revision.agent.clone(),
                reason: format!("this host has no tenant `{}`", agent.revision.tenant),
            })
            .collect();
        let room = self.shared.config.agents_max.saturating_sub(self.shared.agents.len());
        refused.extend(agents.drain(room.min(agents.len())..).map(|agent| RefusedAgent {
            tenant: agent.revision.tenant.clone(),
            agent: agent.revision.agent.clone(),
            reason: format!(
                "the host holds at most {} agents: unload some, or raise the limit",
                self.shared.config.agents_max
            ),
        }));
        let settled = self.shared.agents.offer(source, agents);
        refused.extend(settled.refused.iter().cloned());
        self.shared.announce(settled, Changed::default());
        refused
    }
}

impl Shared {
    async fn revisions(
        &self,
        tenant: &TenantName,
        name: &str,
    ) -> Result<Vec<RevisionStatus>, CatalogError> {
        let name = match self.existing(tenant, name) {
            // Its owner keeps them.
            Err(CatalogError::OwnedElsewhere { .. }) => return Ok(Vec::new()),
            existing => existing?,
        };
        let serving = self.agents.serving(&name).map(|revision| revision.number);
        let records =
            self.parts.store.revisions(tenant, &name).await.map_err(RegistryError::from)?;
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
        tenant: &TenantName,
        request: LoadRequest,
    ) -> Result<AgentStatus, CatalogError> {
        if *tenant != self.config.tenant {
            return Err(CatalogError::Rejected(format!("this host has no tenant `{tenant}`")));
        }
        if request.component.len() as u64 > self.config.component_max_bytes {
            return Err(too_large("component", self.config.component_max_bytes).into());
        }
        let name = request.name.clone();
        let turn = self.turn(&name).await?;
        self.refuse_if_a_file_owns(&name)?;
        let agents_max = self.config.agents_max;
        if self.agents.origin(&name).is_none() && self.agents.len() >= agents_max {
            let reason = format!(
                "the host holds at most {agents_max} agents: unload some, or raise the limit"
            );
            return Err(CatalogError::Rejected(reason));
        }
        let begun = self.agents.begin(&name, Origin::Api);
        match self.stop.run_until_cancelled(self.draft_of_upload(&begun, request)).await {
            None => Err(CatalogError::Draining),
            Some(Ok(draft)) => self.finish(Ready { begun, draft, despite: None, turn }).await,
            Some(Err(error)) => {
                self.refuse(begun, &error, None);
                Err(error.into())
            }
        }
    }

    async fn unload_upload(
        self: &Arc<Self>,
        tenant: &TenantName,
        name: &str,
    ) -> Result<(), CatalogError> {
        let name = self.existing(tenant, name)?;
        let turn = self.turn(&name).await?;
        self.refuse_if_a_file_owns(&name)?;
        self.existing(tenant, &name)?;
        let shared = Arc::clone(self);
        let task = self.tasks.spawn(async move {
            let _turn = turn;
            shared.unload(&name, Forget::Yes).await?;
            shared.collect_garbage().await;
            Ok(())
        });
        let done: Result<(), RegistryError> =
            task.await.map_err(|error| RegistryError::Host(error.to_string()))?;
        done.map_err(CatalogError::from)
    }

    async fn rollback(
        self: &Arc<Self>,
        tenant: &TenantName,
        name: &str,
    ) -> Result<AgentStatus, CatalogError> {
        let name = self.existing(tenant, name)?;
        let turn = self.turn(&name).await?;
        let origin =
            self.agents.origin(&name).ok_or_else(|| CatalogError::NoSuchAgent(name.to_string()))?;
        let none_earlier = || CatalogError::NoEarlierRevision(name.clone());
        let active = self.agents.record(&name).ok_or_else(none_earlier)?.active;
        let revisions =
            self.parts.store.revisions(tenant, &name).await.map_err(RegistryError::from)?;
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
                self.refuse_rollback(begun, &error);
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

    /// An agent of this host.
    fn existing(&self, tenant: &TenantName, name: &str) -> Result<AgentName, CatalogError> {
        let unknown = || CatalogError::NoSuchAgent(name.to_owned());
        let name = AgentName::new(name).map_err(|_| unknown())?;
        if *tenant != self.config.tenant {
            return Err(unknown());
        }
        if self.agents.origin(&name).is_some() {
            return Ok(name);
        }
        match self.agents.status(&name).map(|status| status.origin) {
            Some(Origin::Elsewhere { places, .. }) => {
                Err(CatalogError::OwnedElsewhere { name, places: places.join(", ") })
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
        let counts = self.shared.agents.counts();
        let mut samples: Vec<_> = BY_STATE
            .iter()
            .zip(counts.by_state)
            .map(|((name, help), count)| Sample::gauge(name, help, count))
            .collect();
        samples.push(Sample::gauge("tools", "Tools that clients see", counts.tools));
        let loads = self.shared.loads.load(Ordering::Relaxed);
        samples.push(Sample::counter("agent_loads", "Revisions that were published", loads));
        let failures = self.shared.load_failures.load(Ordering::Relaxed);
        samples.push(Sample::counter("agent_load_failures", "Loads that failed", failures));
        samples
    }
}

//! What stands around this host's own parts: preparing agents with replicas, refusing those that are placed elsewhere,
//! and unloading what lives on other nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use aop_core::interface::Feature;
use aop_core::quota::Payer;
use aop_core::{
    AgentName, AgentStatus, Artifact, BoxFuture, Catalog, CatalogError, Digest, LoadRequest,
    Prepare, PrepareError, Prepared, RevisionStatus, Settings, Tenancy, Tenant, TenantName,
    ToolList,
};

use super::Router;
use super::forward::Balanced;
use super::placement::has_labels;

/// Nodes that a refusal names.
const NODES_NAMED_MAX: usize = 5;

impl Router {
    /// Prepares agents so that those whose settings balance their calls over replicas do, and that calls with handles
    /// of other replicas get there. All others stay as they are, and their calls cost nothing more.
    #[must_use]
    pub fn prepare(self: &Arc<Self>, inner: Arc<dyn Prepare>) -> Arc<dyn Prepare> {
        Arc::new(PrepareBalanced { router: Arc::clone(self), inner })
    }

    /// The catalogue of a host whose agents may live on other nodes too: unloading a placed agent unloads it
    /// everywhere, from whichever node.
    #[must_use]
    pub fn catalog(self: &Arc<Self>, inner: Arc<dyn Catalog>) -> Arc<dyn Catalog> {
        Arc::new(ZoneCatalog { router: Arc::clone(self), inner })
    }
}

impl Router {
    /// What the operator says of this node, in a zone or not: agents that are placed elsewhere are refused from now on.
    /// Only the first one counts.
    pub fn label(&self, labels: BTreeMap<String, String>) {
        let _ = self.labels.set(labels);
    }

    /// Placement is a hard constraint for every way in which an agent comes to this node: files, the API, restarts and
    /// the zone. Here is the one place that they all pass, before anything can be called.
    pub(super) fn check_labels(&self, settings: &Settings) -> Result<(), PrepareError> {
        let Some(own) = self.labels.get() else { return Ok(()) };
        if has_labels(own, &settings.placement) {
            return Ok(());
        }
        let written = |labels: &BTreeMap<String, String>| {
            let each: Vec<_> =
                labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            if each.is_empty() { "none".to_owned() } else { each.join(", ") }
        };
        let fitting = self.nodes_with(&settings.placement);
        let advice = if fitting.is_empty() {
            "no live node of the zone has them: start one with these `[cluster.labels]`, or change `[placement]`"
                .to_owned()
        } else {
            format!("load it on a node that has them: {}", fitting.join(", "))
        };
        Err(PrepareError::Unlinkable(format!(
            "`[placement]` asks for nodes with the labels {}, and this node has {}: {advice}",
            written(&settings.placement),
            written(own),
        )))
    }

    /// Live nodes that an agent may be placed on; not where they are, since tenants hear of this.
    fn nodes_with(&self, asked: &BTreeMap<String, String>) -> Vec<String> {
        let Some(zone) = self.zone.get() else { return Vec::new() };
        let view = zone.members.view();
        let view = view.borrow();
        let fitting =
            view.members.values().filter(|node| !node.draining && has_labels(&node.labels, asked));
        fitting.take(NODES_NAMED_MAX).map(|node| node.id.to_string()).collect()
    }
}

/// What the zone should have of a tenant ends with it: other nodes unload it, and nothing brings it back for the next
/// tenant of the name.
impl Tenancy for Router {
    fn begin(&self, _: &Tenant) {}

    fn end<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            if let Some(zone) = self.zone.get() {
                zone.placer.bury_all(&tenant.name).await;
            }
            Ok(())
        })
    }
}

struct PrepareBalanced {
    router: Arc<Router>,
    inner: Arc<dyn Prepare>,
}

impl Prepare for PrepareBalanced {
    fn prepare<'a>(
        &'a self,
        artifact: Artifact<'a>,
        settings: Arc<Settings>,
        payer: &'a Arc<Payer>,
    ) -> BoxFuture<'a, Result<Prepared, PrepareError>> {
        Box::pin(async move {
            self.router.check_labels(&settings)?;
            let prepared = self.inner.prepare(artifact, Arc::clone(&settings), payer).await?;
            // Handles lead to the replica that gave them out, whichever node is asked.
            if settings.balance.is_none() && prepared.interface.resources.is_empty() {
                return Ok(prepared);
            }
            let balanced = Balanced {
                router: Arc::clone(&self.router),
                local: prepared.executable,
                interface: Arc::clone(&prepared.interface),
                digest: artifact.digest,
                settings_digest: settings.digest(),
                settings,
            };
            Ok(Prepared { executable: Arc::new(balanced), interface: prepared.interface })
        })
    }

    fn forget(&self, digest: Digest) -> BoxFuture<'_, ()> {
        self.inner.forget(digest)
    }
}

struct ZoneCatalog {
    router: Arc<Router>,
    inner: Arc<dyn Catalog>,
}

impl Catalog for ZoneCatalog {
    fn list(&self, tenant: &TenantName) -> Vec<AgentStatus> {
        self.inner.list(tenant)
    }

    fn show(&self, tenant: &TenantName, name: &str) -> Option<AgentStatus> {
        self.inner.show(tenant, name)
    }

    fn revisions<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<RevisionStatus>, CatalogError>> {
        self.inner.revisions(tenant, name)
    }

    fn load<'a>(
        &'a self,
        tenant: &'a TenantName,
        request: LoadRequest,
    ) -> BoxFuture<'a, Result<AgentStatus, CatalogError>> {
        self.inner.load(tenant, request)
    }

    fn unload<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), CatalogError>> {
        Box::pin(async move {
            let placer = self.router.zone.get().map(|zone| &zone.placer);
            let agent = AgentName::new(name).ok();
            let is_placed = match (placer, &agent) {
                (Some(placer), Some(agent)) => placer.is_placed(tenant, agent),
                _ => false,
            };
            // Files bring back what is unloaded, and what is here may be a replica of theirs.
            if let (true, Some(name)) = (is_placed, &agent)
                && let Some(places) = self.router.files_elsewhere(tenant, name)
            {
                return Err(CatalogError::OwnedElsewhere { name: name.clone(), places });
            }
            match self.inner.unload(tenant, name).await {
                // It lives on other nodes only, or on none.
                Err(CatalogError::OwnedElsewhere { .. } | CatalogError::NoSuchAgent(_))
                    if is_placed => {}
                unloaded => unloaded?,
            }
            if let (true, Some(placer), Some(agent)) = (is_placed, placer, agent) {
                placer.bury(&(tenant.clone(), agent)).await;
            }
            Ok(())
        })
    }

    fn rollback<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<AgentStatus, CatalogError>> {
        self.inner.rollback(tenant, name)
    }

    fn tools(&self, tenant: &TenantName) -> Arc<ToolList> {
        self.inner.tools(tenant)
    }

    fn offering(&self, tenant: &TenantName, feature: Feature) -> Vec<AgentName> {
        self.inner.offering(tenant, feature)
    }
}

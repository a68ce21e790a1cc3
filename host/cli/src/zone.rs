//! Makes the zone of a host, when its configuration names one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};

use anyhow::Context as _;
use aop_cluster::federation::authority::{Authority, Presence, ZoneFiles, system_clock};
use aop_cluster::federation::export::{Exports, Local};
use aop_cluster::federation::record::Endpoint;
use aop_cluster::federation::{
    self, FullName, Gate, Imports, Tending, Zone, ZoneHandle, ZoneParts,
};
use aop_cluster::routing::NameOwners;
use aop_core::federation::Federation;
use aop_core::{AgentId, AgentName, Catalog as _, Library, TenantName, ToolList};
use aop_registry::Registry;
use aop_services::{Network, Zones};
use aop_web::Metrics;
use axum::Router;

use crate::config::ZoneConfig;

/// The zone of a host that belongs to one.
#[derive(Default)]
pub(crate) struct OwnZone {
    handle: Option<ZoneHandle>,
    hosts: Vec<String>,
    imports: Vec<FullName>,
    /// None until the host has loaded.
    tending: OnceLock<Tending>,
}

impl OwnZone {
    /// Opens the zone that a configuration names, if it does. `gate` runs its calls, and from now on finds those of
    /// other zones.
    pub(crate) fn open(
        config: &ZoneConfig,
        data: &Path,
        bound: Option<SocketAddr>,
        (registry, library, network): (&Arc<Registry>, &Library, &Network),
        (gate, router): (&Arc<Gate>, &Arc<aop_cluster::routing::Router>),
    ) -> anyhow::Result<Self> {
        let Some(name) = config.name.clone() else { return Ok(Self::default()) };
        let presence = Presence {
            zone: name.clone(),
            endpoints: endpoints(config, bound)?,
            ttl: config.ttl,
            negative_ttl: config.negative_ttl,
        };
        let local = Box::new(OwnAgents(registry.clone(), Arc::downgrade(router)));
        let exports = Exports::new(name.clone(), config.ttl, local, registry.clone());
        let authority = Authority::open(presence, ZoneFiles::new(data), system_clock(), exports)
            .with_context(|| format!("cannot serve the zone {name}"))?;
        let zone = ZoneHandle(Zone::new(ZoneParts {
            authority: Arc::new(authority),
            transport: Arc::new(Zones::new(network.clone(), config.private_networks.clone())),
            owners: Arc::new(NameOwners(Arc::downgrade(router))),
            invoke: gate.clone(),
            library: library.clone(),
        }));
        router.answer_names(Arc::new(zone.clone()));
        gate.federate(zone.clone());
        tracing::info!(zone = %name, "serving a zone");
        Ok(Self {
            handle: Some(zone),
            hosts: hosts(config),
            imports: config.imports.clone(),
            tending: OnceLock::new(),
        })
    }

    /// For the edges.
    pub(crate) fn federation(&self) -> Option<Arc<dyn Federation>> {
        self.handle.clone().map(|zone| Arc::new(zone) as Arc<dyn Federation>)
    }

    pub(crate) fn register(&self, metrics: &Metrics) {
        if let Some(zone) = &self.handle {
            metrics.register(zone.0.clone());
        }
    }

    /// What other zones ask, beside what is served already.
    pub(crate) fn serve(&self, app: Router) -> Router {
        match &self.handle {
            Some(zone) => app.merge(federation::router(Arc::clone(&zone.0))),
            None => app,
        }
    }

    /// The hosts that requests of other zones name.
    pub(crate) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Follows keys, peers and imports from now on.
    pub(crate) fn tend(&self, registry: &Arc<Registry>) {
        if let Some(zone) = &self.handle {
            let imports = Imports::new(self.imports.clone(), registry.clone());
            self.tending.get_or_init(|| Tending::start(&zone.0, imports));
        }
    }
}

/// The agents of this host and of the other nodes of its zone, as what can be exported.
struct OwnAgents(Arc<Registry>, Weak<aop_cluster::routing::Router>);

impl Local for OwnAgents {
    fn tenants(&self) -> Vec<TenantName> {
        self.0.tenants()
    }

    fn tools(&self, tenant: &TenantName) -> Arc<ToolList> {
        self.0.tools(tenant)
    }

    fn description(&self, tenant: &TenantName, agent: &AgentName) -> String {
        self.0.show(tenant, agent).map(|status| status.description).unwrap_or_default()
    }

    fn oldest(&self, tenant: &TenantName, agent: &AgentName) -> Option<AgentId> {
        self.1.upgrade()?.oldest(tenant, agent)
    }
}

fn endpoints(config: &ZoneConfig, bound: Option<SocketAddr>) -> anyhow::Result<Vec<Endpoint>> {
    let of = |url: &str| Endpoint { url: url.trim_end_matches('/').to_owned(), weight: 1 };
    if !config.endpoints.is_empty() {
        return Ok(config.endpoints.iter().map(|url| of(url)).collect());
    }
    let bound = bound.context(
        "a zone must be reached: set `[zone] endpoints`, because this host listens nowhere",
    )?;
    Ok(vec![of(&format!("http://{bound}"))])
}

/// The hosts of its endpoints.
fn hosts(config: &ZoneConfig) -> Vec<String> {
    let host = |url: &String| {
        let uri = url.parse::<http::Uri>().ok()?;
        uri.authority().map(ToString::to_string)
    };
    config.endpoints.iter().filter_map(host).collect()
}

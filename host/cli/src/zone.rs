//! Makes the zone of a host, when its configuration names one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use anyhow::Context as _;
use aop_cluster::federation::authority::{Authority, Presence, ZoneFiles, system_clock};
use aop_cluster::federation::export::{Exports, Local};
use aop_cluster::federation::record::Endpoint;
use aop_cluster::federation::{
    self, FullName, Gate, Imports, OpenUplink, Tending, Uplink, UplinkStream, Zone, ZoneHandle,
    ZoneParts,
};
use aop_cluster::routing::NameOwners;
use aop_core::federation::{Federation, TransportError};
use aop_core::{AgentId, AgentName, BoxFuture, Catalog as _, Library, TenantName, ToolList};
use aop_registry::Registry;
use aop_services::{Network, Zones};
use aop_web::Metrics;
use axum::Router;
use axum::body::Bytes;

use crate::config::{Reach, ZoneConfig};

/// The zone of a host that belongs to one.
#[derive(Default)]
pub(crate) struct OwnZone {
    handle: Option<ZoneHandle>,
    hosts: Vec<String>,
    imports: Vec<FullName>,
    /// None until the host has loaded.
    tending: OnceLock<Tending>,
    /// How to its parent, for a zone that cannot be reached itself.
    way: Option<Arc<Zones>>,
    uplink: OnceLock<Uplink>,
}

/// The way to a parent.
struct Way(Arc<Zones>);

impl OpenUplink for Way {
    fn open(
        &self,
        request: http::Request<Bytes>,
        time: Duration,
    ) -> BoxFuture<'_, Result<Box<dyn UplinkStream>, TransportError>> {
        Box::pin(async move {
            let stream = self.0.upgrade(request, time).await?;
            Ok(Box::new(stream) as Box<dyn UplinkStream>)
        })
    }
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
        let ways = Arc::new(Zones::new(network.clone(), config.private_networks.clone()));
        let zone = ZoneHandle(Zone::new(ZoneParts {
            authority: Arc::new(authority),
            transport: ways.clone(),
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
            way: (config.reach == Reach::Parent).then_some(ways),
            uplink: OnceLock::new(),
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
            if let Some(way) = &self.way {
                self.uplink.get_or_init(|| Uplink::start(&zone.0, Arc::new(Way(way.clone()))));
            }
        }
    }

    /// Takes nothing more over a connection to the parent, and lets what is under way there finish.
    pub(crate) async fn drain(&self, grace: Duration) {
        if let Some(uplink) = self.uplink.get() {
            uplink.stop(grace).await;
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
    if config.reach == Reach::Parent {
        // Below those of its parent, which may change.
        return Ok(Vec::new());
    }
    let bound = bound.context(
        "a zone must be reached: set `[zone] endpoints`, because this host listens nowhere",
    )?;
    Ok(vec![of(&format!("http://{bound}"))])
}

/// The hosts of its endpoints.
fn hosts(config: &ZoneConfig) -> Vec<String> {
    if config.reach == Reach::Parent {
        // They are its parent's.
        return Vec::new();
    }
    let host = |url: &String| {
        let uri = url.parse::<http::Uri>().ok()?;
        uri.authority().map(ToString::to_string)
    };
    config.endpoints.iter().filter_map(host).collect()
}

//! A tool on any node is callable on every node.
//!
//! How it fits together, and where to read it:
//!
//! 1. `directory` says what this node offers, and turns what the others offer into agents of the registry.
//! 2. `forward` is how a call of such an agent runs: `replicas` chooses a node (`pick`, `breaker`), `attempt` sends
//!    the call there over `peers`, `serve` runs it there, `wire` is its form in between.
//! 3. `placement` says where replicas belong, `place` makes it so: it pulls components, loads and unloads.
//! 4. `joined` is the task that ties these to the view of the zone.
//!
//! The [`Router`] exists on every host, because agents are prepared through it before anybody knows whether there
//! is a zone. Until [`Router::join`] it does nothing, and an agent without replicas never meets it: its calls cost
//! exactly what they cost on a lone host.
//!
//! Members are trusted as a whole: the caller and the tenant of a passed-on call are what the sending node says.

mod attempt;
mod breaker;
mod directory;
mod forward;
mod joined;
mod kept;
mod local;
mod names;
pub(crate) mod peers;
mod pick;
mod place;
mod placement;
mod replicas;
mod report;
mod serve;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use aop_core::{AgentId, AgentName, Audit, Catalog, Holdings, Invoke, NodeId, Publish, TenantName};
use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::names::{AnswerNames, NameOwners};

use self::attempt::Ended;
use self::directory::{Owned, Sets};
use self::joined::Joined;
use self::peers::Peers;
use self::place::Placer;
use self::replicas::ReplicaSet;
use self::serve::PeerServer;
use crate::membership::{Members, ServeHttp2};

/// What a host passes calls on with. See the module's documentation.
#[derive(Default)]
pub struct Router {
    zone: OnceLock<Zone>,
    server: OnceLock<Arc<PeerServer>>,
    names: Arc<OnceLock<Arc<dyn AnswerNames>>>,
    sets: ArcSwap<Sets>,
    owned: ArcSwap<Owned>,
    counters: Counters,
    /// What the operator says of this node; none when nobody said.
    labels: OnceLock<BTreeMap<String, String>>,
    stop: CancellationToken,
}

/// What there is once the host is in a zone.
struct Zone {
    node: NodeId,
    members: Arc<dyn Members>,
    peers: Arc<Peers>,
    placer: Arc<Placer>,
}

/// What routing stands on, once there is a zone.
pub struct RoutingParts {
    /// The zone.
    pub members: Arc<dyn Members>,
    /// The agents of this host.
    pub holdings: Arc<dyn Holdings>,
    /// Loads and unloads replicas: the registry itself, not [`Router::catalog`].
    pub catalog: Arc<dyn Catalog>,
    /// Takes the agents of the others.
    pub publish: Arc<dyn Publish>,
    /// Ticks when an agent of this host changed.
    pub changes: watch::Receiver<u64>,
    /// Where placements are remembered.
    pub data_dir: PathBuf,
    /// The largest component that is pulled.
    pub component_max_bytes: u64,
    /// Where it is written down what the zone loads and unloads here.
    pub audit: Arc<dyn Audit>,
}

/// What is counted.
#[derive(Default)]
struct Counters {
    forwarded: AtomicU64,
    busy: AtomicU64,
    broken: AtomicU64,
    pulls: AtomicU64,
    pull_failures: AtomicU64,
    mismatches: AtomicU64,
}

impl Counters {
    fn note(&self, ended: &Ended) {
        self.forwarded.fetch_add(1, Ordering::Relaxed);
        match ended {
            Ended::Answered(_) => {}
            Ended::Busy(_) => add(&self.busy),
            Ended::Broken(_) => add(&self.broken),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Router {
    /// A router of a host that is in no zone yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The oldest id that an agent has on any live node.
    #[must_use]
    pub fn oldest(&self, tenant: &TenantName, agent: &AgentName) -> Option<AgentId> {
        let key = (tenant.clone(), agent.clone());
        self.owned.load().get(&key).map(|owned| owned.oldest)
    }

    /// What serves the connections of other nodes: runs their calls with `invoke`, and hands out components.
    pub fn serve(
        &self,
        invoke: Arc<dyn Invoke>,
        holdings: Arc<dyn Holdings>,
    ) -> Arc<dyn ServeHttp2> {
        let names = Arc::clone(&self.names);
        let server = || Arc::new(PeerServer::new(invoke, holdings, names, self.stop.clone()));
        self.server.get_or_init(server).clone()
    }

    /// Resolves names of other zones for the other nodes of this one from now on. Only the first one counts.
    pub fn answer_names(&self, names: Arc<dyn AnswerNames>) {
        let _ = self.names.set(names);
    }

    /// Begins to route: the host is in a zone now. A host joins once in its life; a second time changes nothing.
    pub fn join(self: &Arc<Self>, parts: RoutingParts) {
        self.zone.get_or_init(|| {
            let peers = Arc::new(Peers::new(parts.members.clone()));
            let placer = Arc::new(Placer::open(&parts));
            let (node, members) = (parts.members.node().clone(), parts.members.clone());
            let joined =
                Joined::new(Arc::clone(self), parts, Arc::clone(&peers), Arc::clone(&placer));
            let stop = self.stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(joined.run()).await });
            Zone { node, members, peers, placer }
        });
    }

    /// Stops routing: connections of other nodes end once their calls have, and nothing is placed any more.
    pub fn leave(&self) {
        self.stop.cancel();
    }

    fn peers(&self) -> Option<&Peers> {
        self.zone.get().map(|zone| &*zone.peers)
    }

    fn node(&self) -> Option<&NodeId> {
        self.zone.get().map(|zone| &zone.node)
    }

    fn is_here(&self, node: &NodeId) -> bool {
        self.node() == Some(node)
    }

    /// The other nodes on which a file owns an agent, for people.
    fn files_elsewhere(&self, tenant: &TenantName, agent: &AgentName) -> Option<String> {
        let owned = self.owned.load();
        let files = &owned.get(&(tenant.clone(), agent.clone()))?.files;
        let nodes: Vec<_> =
            files.iter().filter(|node| !self.is_here(node)).map(ToString::to_string).collect();
        (!nodes.is_empty()).then(|| format!("as a file on node {}", nodes.join(", ")))
    }

    /// The replicas of an agent.
    fn set(&self, tenant: &TenantName, agent: &AgentName) -> Option<Arc<ReplicaSet>> {
        self.sets.load().get(tenant)?.get(agent).cloned()
    }
}

#[cfg(test)]
mod tests;

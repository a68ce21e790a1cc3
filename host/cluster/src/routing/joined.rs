//! The task of a node in a zone: keeps what it offers, what it routes to and what it places in step with what
//! the members say.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aop_core::{ForeignAgent, Held, Source};
use bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;

use super::directory::{Catalogues, Gathered, Route, Sets, catalogue, gather, owned};
use super::peers::Peers;
use super::place::Placer;
use super::placement::{Key, Placement};
use super::{Router, RoutingParts};
use crate::membership::{Documents, Member, View};

/// How often what only time changes is looked at: idle connections, and placements that wait.
const TICK: Duration = Duration::from_millis(500);

/// See the module's documentation.
pub(super) struct Joined {
    router: Arc<Router>,
    parts: RoutingParts,
    peers: Arc<Peers>,
    placer: Arc<Placer>,
    catalogues: Catalogues,
    routes: BTreeMap<Key, Route>,
    /// What is being placed. One thing at a time.
    placing: Option<AbortOnDropHandle<()>>,
}

impl Joined {
    pub(super) fn new(
        router: Arc<Router>,
        parts: RoutingParts,
        peers: Arc<Peers>,
        placer: Arc<Placer>,
    ) -> Self {
        Self {
            router,
            parts,
            peers,
            placer,
            catalogues: Catalogues::default(),
            routes: BTreeMap::new(),
            placing: None,
        }
    }

    /// Runs until it is dropped, or the membership ends.
    pub(super) async fn run(mut self) {
        let mut views = self.parts.members.view();
        let mut documents = self.parts.members.documents();
        let mut changes = self.parts.changes.clone();
        let placer = Arc::clone(&self.placer);
        let mut tick = tokio::time::interval(TICK);
        let mut is_news = true;
        loop {
            let held = self.parts.holdings.held();
            // Only what is looked at counts as seen.
            let view = match is_news {
                true => Arc::clone(&views.borrow_and_update()),
                false => Arc::clone(&views.borrow()),
            };
            if is_news {
                let documents = Arc::clone(&documents.borrow_and_update());
                self.update(&view, &documents, &held).await;
            }
            self.place(&view, &held);
            let ended = tokio::select! {
                changed = views.changed() => changed.is_err(),
                changed = documents.changed() => changed.is_err(),
                changed = changes.changed() => changed.is_err(),
                () = placer.changed.notified() => false,
                _ = tick.tick() => {
                    let view = Arc::clone(&views.borrow());
                    self.peers.tend(|node| view.member(node).is_some(), Instant::now());
                    is_news = false;
                    continue;
                }
            };
            if ended {
                return;
            }
            is_news = true;
        }
    }

    async fn update(&mut self, view: &View, documents: &Documents, held: &[Held]) {
        self.peers.tend(|node| view.member(node).is_some(), Instant::now());
        self.placer.take_in(documents);
        self.placer.notice(held);
        self.placer.publish().await;
        self.catalogues.read(documents);
        let own = catalogue(held);
        match own.to_bytes() {
            Ok(bytes) => {
                let published = self.parts.members.publish(Member::CATALOGUE, Bytes::from(bytes));
                if let Err(error) = published {
                    tracing::error!(%error, "the zone cannot be told what this node offers");
                }
            }
            Err(error) => tracing::error!(%error, "the zone cannot be told what this node offers"),
        }
        self.catalogues.set_own(&view.node, own);
        self.route(view);
    }

    /// Publishes what the zone's agents are now.
    fn route(&mut self, view: &View) {
        let records = self.placer.records();
        let gathered = gather(self.catalogues.agents(view), &records);
        let mut before = std::mem::take(&mut self.routes);
        let mut routes = BTreeMap::new();
        let (mut sets, mut foreign) = (Sets::default(), Vec::new());
        for (key, gathered) in gathered {
            let known = before.remove(&key).filter(|route| route.is_of(gathered.agent));
            let route = known.unwrap_or_else(|| {
                if !gathered.others.is_empty() {
                    let (called, others) = (&gathered.nodes, &gathered.others);
                    tracing::warn!(agent_name = %key.1, ?called, ?others, "nodes serve different versions of an agent: calls go to one of them");
                }
                Route::new(&self.router, &gathered)
            });
            route.set.set_places(&gathered.places);
            let agents: &mut HashMap<_, _> = sets.entry(key.0.clone()).or_default();
            agents.insert(key.1.clone(), Arc::clone(&route.set));
            foreign.extend(elsewhere(&route, &gathered, view));
            routes.insert(key, route);
        }
        // A placed agent that no live node has keeps its tools: calls are told that nobody takes them, instead of that
        // there are none.
        for (key, route) in before {
            let version = (route.set.version.digest, route.set.version.settings);
            let is_placed = |record: &Placement| !record.is_gone && record.version() == version;
            if records.0.get(&key).is_some_and(is_placed) && !routes.contains_key(&key) {
                route.set.set_places(&[]);
                sets.entry(key.0.clone())
                    .or_default()
                    .insert(key.1.clone(), Arc::clone(&route.set));
                foreign.push(route.foreign(&[]));
                routes.insert(key, route);
            }
        }
        self.routes = routes;
        self.router.sets.store(Arc::new(sets));
        self.router.owned.store(Arc::new(owned(self.catalogues.agents(view))));
        // Refused ones are logged and shown by the registry.
        let _ = self.parts.publish.publish(&Source::Nodes, foreign);
    }

    /// Begins the next thing that is due, unless one is under way.
    fn place(&mut self, view: &View, held: &[Held]) {
        if self.placing.as_ref().is_some_and(|placing| !placing.is_finished()) {
            return;
        }
        let agents = self.catalogues.agents(view);
        let Some(job) = self.placer.due(view, agents, held, Instant::now()) else { return };
        let (placer, peers) = (Arc::clone(&self.placer), Arc::clone(&self.peers));
        let router = Arc::clone(&self.router);
        self.placing = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            placer.run(job, &peers, &router.counters).await;
            placer.changed.notify_one();
        })));
    }
}

/// The agent for the registry, when another node than this one has it.
fn elsewhere(route: &Route, gathered: &Gathered<'_>, view: &View) -> Option<ForeignAgent> {
    let others: Vec<_> =
        gathered.nodes.iter().filter(|node| **node != view.node).cloned().collect();
    (!others.is_empty()).then(|| route.foreign(&others))
}

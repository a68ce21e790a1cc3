//! Gossip: who lives, and what each node says of itself, by chitchat (scuttlebutt reconciliation with
//! a phi failure detector; the paper's sections 6.2 and 7.6).
//!
//! Each node writes only its own keys, and its own counter orders them: the version vector V_i\[j\] of
//! the paper, without its clocks. A round talks to three random peers.
//!
//! What bounds it, and what chitchat leaves to us:
//! - values are at most 1 kB ([`keys`]), since a very large one would stop its node's later ones;
//! - a digest must fit a datagram, or chitchat panics: dead nodes are forgotten after 15 minutes;
//! - when chitchat ends all the same, it is started anew as a new generation;
//! - a restarted node leaves its old life behind: [`roster`] keeps the newest only;
//! - it authenticates nobody: [`transport`] does.

pub(crate) mod codec;
pub(crate) mod contacts;
pub(crate) mod keys;
pub(crate) mod roster;
#[cfg(test)]
mod tests;
pub(crate) mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aop_core::{Generation, NodeId};
use chitchat::transport::Transport;
use chitchat::{Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::contacts::Contacts;
use self::keys::{Keys, Said};
use self::roster::{Life, Roster};
use crate::ZoneName;
use crate::membership::{Member, MembershipError, View};
use crate::quota::Neighbour;

/// How long a dead node is remembered. Longer than restarts and short outages take, and short enough
/// that even a node that restarts every second leaves fewer lives than a digest holds.
const DEAD_GRACE: Duration = Duration::from_secs(15 * 60);
/// Intervals of heartbeats that the failure detector remembers per node. More would cost 8 kB per peer
/// and make it slower to learn.
const SAMPLES: usize = 100;
/// How many times its usual interval a node may be silent. With rounds of 500 ms a death is noticed after
/// 2.5 s among three nodes and 4.5 s among a hundred, and losing every fiftieth message ejects nobody.
const PHI: f64 = 8.0;
/// How often per round this node looks for what arrived: so much of a round is lost at most.
const LOOKS_PER_ROUND: u32 = 10;
/// How long deleted keys are kept, so that everybody hears of it.
const TOMBSTONE_GRACE: Duration = Duration::from_secs(60 * 60);
/// The pause before a chitchat that ended is started anew.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How long a goodbye may take to reach everybody: a few round trips.
const GOODBYE: Duration = Duration::from_millis(500);

/// What gossip is told once.
#[derive(Debug, Clone)]
pub(crate) struct GossipConfig {
    pub(crate) zone: ZoneName,
    pub(crate) node: NodeId,
    pub(crate) endpoint: SocketAddr,
    /// Between two rounds.
    pub(crate) interval: Duration,
}

/// What this node says of itself and hears of others.
pub(crate) struct Gossip {
    config: GossipConfig,
    own: watch::Sender<Keys>,
    view: watch::Sender<Arc<View>>,
    roster: Mutex<Roster>,
    /// Nodes that others know of and this one has not heard.
    hearsay: Mutex<BTreeSet<NodeId>>,
    contacts: Arc<Contacts>,
    /// Nodes of which nothing is believed any more.
    evicted: watch::Sender<BTreeSet<NodeId>>,
    /// Whether this node itself was.
    is_alone: AtomicBool,
    restarts: AtomicU64,
    partitions: AtomicU64,
    /// Asks for a round with everybody now.
    tell: Notify,
    told: Notify,
}

impl Gossip {
    pub(crate) fn new(config: GossipConfig, own: Keys, contacts: Arc<Contacts>) -> Self {
        let alone = View::alone(member(&config, Generation(0), &own));
        Self {
            own: watch::Sender::new(own),
            view: watch::Sender::new(Arc::new(alone)),
            roster: Mutex::default(),
            hearsay: Mutex::default(),
            contacts,
            evicted: watch::Sender::default(),
            is_alone: AtomicBool::new(false),
            restarts: AtomicU64::new(0),
            partitions: AtomicU64::new(0),
            tell: Notify::new(),
            told: Notify::new(),
            config,
        }
    }

    /// Changes what this node says of itself; others hear of it in the next round.
    pub(crate) fn say<T>(&self, change: impl FnOnce(&mut Keys) -> T) -> T {
        let mut result = None;
        self.own.send_if_modified(|keys| {
            let before = keys.clone();
            result = Some(change(keys));
            *keys != before
        });
        // `send_if_modified` calls its function exactly once.
        #[expect(clippy::unwrap_used, reason = "it was just set")]
        result.unwrap()
    }

    /// Tells everybody at once what has changed, and waits for as long as that takes.
    pub(crate) async fn tell_everybody(&self) {
        let told = self.told.notified();
        self.tell.notify_one();
        // Nobody answers when gossip has not begun or has ended.
        let _ = tokio::time::timeout(GOODBYE, told).await;
    }

    /// Forgets nodes, and believes nothing of them any more, whoever says it.
    pub(crate) fn ignore(&self, evicted: BTreeSet<NodeId>) {
        self.evicted.send_if_modified(|current| {
            let is_new = *current != evicted;
            *current = evicted;
            is_new
        });
    }

    /// Sees nobody but itself any more: this node was evicted.
    pub(crate) fn leave_alone(&self) {
        self.is_alone.store(true, Ordering::SeqCst);
        let own = self.with_roster(|roster| {
            let known = roster.nodes().find(|known| known.life.node == self.config.node);
            known.map(|known| known.life.clone())
        });
        self.take_in(own.into_iter().collect());
    }

    /// Every other node that is known, as quotas see it; none when this one was evicted.
    pub(crate) fn neighbours(&self) -> Option<Vec<Neighbour>> {
        if self.is_alone.load(Ordering::SeqCst) {
            return None;
        }
        let is_other = |node: &NodeId| *node != self.config.node;
        let mut neighbours: Vec<_> = self.with_roster(|roster| {
            let others = roster.nodes().filter(|known| is_other(&known.life.node));
            let seen = |known: &roster::Known| Neighbour {
                node: known.life.node.clone(),
                heard: known.life.live.then_some(known.heard),
                has_left: known.life.said.left,
                said: known.life.said.quotas.clone(),
            };
            others.map(seen).collect()
        });
        let hearsay = self.hearsay.lock().unwrap_or_else(PoisonError::into_inner);
        neighbours.extend(hearsay.iter().filter(|node| is_other(node)).map(|node| Neighbour {
            node: node.clone(),
            heard: None,
            has_left: false,
            said: BTreeMap::new(),
        }));
        Some(neighbours)
    }

    /// Where this node is reached.
    pub(crate) fn endpoint(&self) -> SocketAddr {
        self.config.endpoint
    }

    /// Where a live member is reached.
    pub(crate) fn endpoint_of(&self, node: &NodeId) -> Result<SocketAddr, MembershipError> {
        let view = self.view.borrow();
        let member = view.member(node).ok_or_else(|| MembershipError::UnknownNode(node.clone()))?;
        Ok(member.endpoint)
    }

    /// Whether a member was seen at an address lately, or the operator names it.
    pub(crate) fn knows(&self, endpoint: SocketAddr) -> bool {
        self.contacts.all().contains(&endpoint)
    }

    pub(crate) fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Looks at every known node.
    pub(crate) fn with_roster<T>(&self, look: impl FnOnce(&Roster) -> T) -> T {
        look(&self.roster.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often chitchat had to be started anew, and how often a partition was suspected.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.restarts.load(Ordering::Relaxed), self.partitions.load(Ordering::Relaxed))
    }

    /// Gossips until `stop`. `generation` answers the next one of this node.
    pub(crate) async fn run(
        &self,
        transport: &dyn Transport,
        generation: impl Fn() -> Result<Generation, MembershipError>,
        stop: CancellationToken,
    ) {
        while !stop.is_cancelled() {
            match self.live(transport, &generation, &stop).await {
                Ok(()) => return,
                Err(error) => {
                    self.restarts.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(reason = format!("{error:#}"), "gossip ended and starts anew");
                    tokio::select! {
                        () = tokio::time::sleep(RESTART_PAUSE) => {}
                        () = stop.cancelled() => return,
                    }
                }
            }
        }
    }

    /// One life of chitchat.
    async fn live(
        &self,
        transport: &dyn Transport,
        generation: &impl Fn() -> Result<Generation, MembershipError>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let config = self.chitchat_config(generation()?);
        let mut own = self.own.subscribe();
        let mut evicted = self.evicted.subscribe();
        let keys = own.borrow_and_update().clone();
        let handle =
            chitchat::spawn_chitchat(config, keys.into_iter().collect(), transport).await?;
        let chitchat = handle.chitchat();
        let mut changes = chitchat.lock().await.live_nodes_watcher();
        // chitchat tells of changes once per round; what arrives in between is looked for.
        let mut look = tokio::time::interval(self.config.interval / LOOKS_PER_ROUND);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = 0;
        let mut ended = std::pin::pin!(handle.termination_watcher());
        let mut round = tokio::time::interval(self.config.interval);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = &mut ended => {
                    ended?;
                    anyhow::bail!("chitchat stopped by itself");
                }
                () = stop.cancelled() => break,
                _ = changes.changed() => {}
                _ = own.changed() => {}
                _ = evicted.changed() => {}
                () = self.tell.notified() => {
                    let keys = own.borrow_and_update().clone();
                    self.tell_all(&handle, &keys).await;
                    continue;
                }
                _ = look.tick() => {
                    let now = handle.with_chitchat(|chitchat| fingerprint(chitchat)).await;
                    if std::mem::replace(&mut seen, now) == now {
                        continue;
                    }
                }
                _ = round.tick() => {
                    let live = self.with_roster(|roster| roster.live_endpoints(&self.config.node));
                    for address in self.contacts.due(live, Instant::now()) {
                        handle.gossip(address)?;
                    }
                }
            }
            let keys = own.borrow_and_update().clone();
            let lives = handle
                .with_chitchat(|chitchat| {
                    write(chitchat, &keys);
                    lives(chitchat)
                })
                .await;
            self.take_in(lives);
        }
        handle.initiate_shutdown()?;
        Ok(())
    }

    async fn tell_all(&self, handle: &ChitchatHandle, keys: &Keys) {
        handle.with_chitchat(|chitchat| write(chitchat, keys)).await;
        for address in self.with_roster(|roster| roster.live_endpoints(&self.config.node)) {
            // It only fails when chitchat has ended, which the loop notices.
            let _ = handle.gossip(address);
        }
        // Three messages per peer: two to learn what it misses, one with it.
        tokio::time::sleep(GOODBYE / 2).await;
        self.told.notify_waiters();
    }

    fn take_in(&self, mut lives: Vec<Life>) {
        let now = Instant::now();
        let evicted = self.evicted.borrow().clone();
        let is_alone = self.is_alone.load(Ordering::SeqCst);
        lives.retain(|life| {
            if life.node == self.config.node || is_alone {
                return life.node == self.config.node;
            }
            let is_evicted = evicted.contains(&life.node);
            if is_evicted {
                self.contacts.forget(life.endpoint);
            }
            !is_evicted
        });
        let mut hearsay: BTreeSet<_> =
            lives.iter().filter(|life| !life.said.left).map(|life| life.node.clone()).collect();
        let view = {
            let mut roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
            let (before, doubled) = (roster.partition(now).is_some(), roster.doubled());
            roster.update(lives, &self.config.node, now);
            for (node, endpoints) in roster.doubled() {
                if !doubled.contains_key(&node) {
                    tracing::error!(
                        %node,
                        ?endpoints,
                        "a node lives more than once: its data directory was copied. Stop the copy, remove the directory `cluster` of its data, and let it join with a token"
                    );
                }
            }
            if let Some(suspected) = roster.partition(now).filter(|_| !before) {
                self.partitions.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    silent = ?suspected.silent,
                    "several nodes fell silent together: the network between them and this node may be cut"
                );
            }
            self.contacts.saw(roster.live_endpoints(&self.config.node));
            hearsay.retain(|node| !roster.nodes().any(|known| known.life.node == *node));
            *self.hearsay.lock().unwrap_or_else(PoisonError::into_inner) = hearsay;
            roster.view(&self.config.node)
        };
        self.view.send_if_modified(|current| {
            let is_new = **current != view;
            if is_new {
                *current = Arc::new(view);
            }
            is_new
        });
    }

    fn chitchat_config(&self, generation: Generation) -> ChitchatConfig {
        let GossipConfig { zone, node, endpoint, interval } = &self.config;
        ChitchatConfig {
            chitchat_id: ChitchatId::new(node.as_str(), generation.0, *endpoint),
            cluster_id: zone.to_string(),
            gossip_interval: *interval,
            listen_addr: *endpoint,
            // Contacts do what seeds would, also for nodes that are long dead.
            seed_nodes: Vec::new(),
            failure_detector_config: FailureDetectorConfig {
                phi_threshold: PHI,
                sampling_window_size: SAMPLES,
                max_interval: *interval * 10,
                initial_interval: *interval / 2,
                dead_node_grace_period: DEAD_GRACE,
            },
            marked_for_deletion_grace_period: TOMBSTONE_GRACE,
            catchup_callback: None,
            extra_liveness_predicate: None,
        }
    }
}

/// Writes this node's keys into chitchat; what did not change costs nothing.
fn write(chitchat: &mut Chitchat, keys: &Keys) {
    let state = chitchat.self_node_state();
    let gone: Vec<_> = state
        .key_values()
        .filter(|(key, _)| !keys.contains_key(*key))
        .map(|(key, _)| key.to_owned())
        .collect();
    for key in gone {
        state.delete(&key);
    }
    for (key, value) in keys {
        state.set(key, value);
    }
}

/// Differs whenever what some node says has changed. Heartbeats are left out: they always do.
fn fingerprint(chitchat: &Chitchat) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (id, state) in chitchat.node_states() {
        (id, state.max_version()).hash(&mut hasher);
    }
    hasher.finish()
}

/// Every life that chitchat knows.
fn lives(chitchat: &Chitchat) -> Vec<Life> {
    let live: std::collections::HashSet<_> = chitchat.live_nodes().collect();
    let read = |(id, state): (&ChitchatId, &chitchat::NodeState)| {
        Some(Life {
            node: id.node_id.parse().ok()?,
            generation: Generation(id.generation_id),
            endpoint: id.gossip_advertise_addr,
            heartbeat: state.heartbeat().into(),
            version: state.max_version(),
            live: live.contains(id),
            said: Said::read(state.key_values()),
        })
    };
    chitchat.node_states().iter().filter_map(read).collect()
}

/// This node before it heard of any other.
fn member(config: &GossipConfig, generation: Generation, keys: &Keys) -> Member {
    let said = Said::read(keys.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    Member {
        id: config.node.clone(),
        generation,
        endpoint: config.endpoint,
        load: said.load,
        capacity: said.capacity,
        labels: said.labels,
        draining: said.draining,
        holds_authority: said.holds_authority,
        documents: BTreeMap::new(),
        version: 0,
    }
}

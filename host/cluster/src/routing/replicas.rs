//! The nodes on which one agent lives, what this node knows of each, and the choice among them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use aop_core::bucket::SessionId;
use aop_core::settings::Balance;
use aop_core::{AgentName, Digest, NodeId, RevisionNumber, TenantName, ToolName};
use arc_swap::ArcSwap;
use uuid::Uuid;

use super::attempt::Function;
use super::breaker::{Breaker, BreakerState};
use super::pick::{Dice, Sight, average, pick};
use super::placement::score;

/// An agent on some nodes.
pub(super) struct ReplicaSet {
    pub(super) tenant: TenantName,
    pub(super) agent: AgentName,
    pub(super) version: Version,
    /// How many there should be; none for an agent that lives where it was loaded.
    pub(super) wanted: Option<u32>,
    pub(super) balance: Option<Balance>,
    /// What can be called.
    pub(super) functions: Vec<Function>,
    replicas: ArcSwap<Vec<Arc<Replica>>>,
    turn: AtomicU64,
}

/// What replicas have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) revision: RevisionNumber,
    pub(super) digest: Digest,
    pub(super) settings: Digest,
}

impl Version {
    /// Whether agents of both versions are replicas of each other. Nodes count revisions each for themselves.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        (self.digest, self.settings) == (other.digest, other.settings)
    }
}

/// The agent on one node.
pub(super) struct Replica {
    pub(super) node: NodeId,
    capacity: AtomicU32,
    in_flight: AtomicU32,
    /// The bits of an `f64`: microseconds, 0 before the first answer.
    latency_us: AtomicU64,
    breakers: Mutex<HashMap<ToolName, Breaker>>,
}

/// Where a replica is, from the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) node: NodeId,
    pub(super) capacity: u32,
}

/// A call on its way to a replica. Dropped without an outcome, it says nothing of the node.
pub(super) struct Attempt {
    pub(super) replica: Arc<Replica>,
    tool: ToolName,
    began: Instant,
    is_reported: bool,
}

impl ReplicaSet {
    pub(super) fn new(
        (tenant, agent): (TenantName, AgentName),
        version: Version,
        wanted: Option<u32>,
        balance: Option<Balance>,
        functions: Vec<Function>,
    ) -> Self {
        Self {
            tenant,
            agent,
            version,
            wanted,
            balance,
            functions,
            replicas: ArcSwap::default(),
            turn: AtomicU64::new(0),
        }
    }

    /// Where it lives now. What is known of nodes that stay is kept.
    pub(super) fn set_places(&self, places: &[Place]) {
        let before = self.replicas.load();
        let replica = |place: &Place| {
            let known = before.iter().find(|replica| replica.node == place.node);
            let replica = known.cloned().unwrap_or_else(|| Arc::new(Replica::new(&place.node)));
            replica.capacity.store(place.capacity, Ordering::Relaxed);
            replica
        };
        let now: Vec<_> = places.iter().map(replica).collect();
        let same = before.iter().map(|r| &r.node).eq(now.iter().map(|r| &r.node));
        if !same {
            self.replicas.store(Arc::new(now));
        }
    }

    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.replicas.load().iter().map(|replica| replica.node.clone()).collect()
    }

    /// Breakers that are not closed.
    pub(super) fn breakers(&self, now: Instant) -> Vec<(NodeId, ToolName, BreakerState)> {
        let mut shown = Vec::new();
        for replica in self.replicas.load().iter() {
            for (tool, breaker) in replica.breakers().iter() {
                let state = breaker.state(now);
                if state != BreakerState::Closed {
                    shown.push((replica.node.clone(), tool.clone(), state));
                }
            }
        }
        shown.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        shown
    }

    /// Chooses who gets a call of a tool, among those that were not tried, and begins it. Calls of a session go to
    /// the same replica for as long as it lives.
    pub(super) fn choose(
        &self,
        tool: &ToolName,
        tried: &[NodeId],
        session: Option<&SessionId>,
        now: Instant,
    ) -> Option<Attempt> {
        let all = self.replicas.load();
        let mut candidates = admitted(&all, tool, now);
        candidates.retain(|replica| !tried.contains(&replica.node));
        let chosen = match session {
            Some(session) => candidates
                .into_iter()
                .max_by_key(|replica| score(&replica.node, session.as_str().as_bytes(), 1))?,
            None => {
                let sights: Vec<_> = candidates.iter().map(|replica| replica.sight()).collect();
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                let dice = Dice { turn, random: random() };
                candidates[pick(self.balance.unwrap_or(Balance::Latency), &sights, dice)?]
            }
        };
        Some(Attempt::begin(Arc::clone(chosen), tool, now))
    }

    /// Begins a call on the one replica that a handle names, if it is one, whatever is known of it.
    pub(super) fn at(
        &self,
        pinned: Option<Uuid>,
        tool: &ToolName,
        now: Instant,
    ) -> Option<Attempt> {
        let all = self.replicas.load();
        let replica = all.iter().find(|replica| Some(replica.node.in_handles()) == pinned)?;
        Some(Attempt::begin(Arc::clone(replica), tool, now))
    }

    /// Whether some node that was not tried has it.
    pub(super) fn has_others(&self, tried: &[NodeId], than: &NodeId) -> bool {
        let all = self.replicas.load();
        all.iter().any(|replica| replica.node != *than && !tried.contains(&replica.node))
    }
}

/// The replicas whose breakers let a call through. At most half are shut out: when more break at one time, it is
/// rarely their fault, and those that are due soonest are tried.
fn admitted<'a>(all: &'a [Arc<Replica>], tool: &ToolName, now: Instant) -> Vec<&'a Arc<Replica>> {
    let mut shut: Vec<(Instant, &Arc<Replica>)> = Vec::new();
    let mut admitted = Vec::with_capacity(all.len());
    for replica in all {
        let breakers = replica.breakers();
        match breakers.get(tool).filter(|breaker| !breaker.admits(now)).and_then(Breaker::opens_at)
        {
            None => admitted.push(replica),
            Some(at) => shut.push((at, replica)),
        }
    }
    let shut_max = all.len() / 2;
    if shut.len() > shut_max {
        shut.sort_by_key(|(at, _)| *at);
        admitted.extend(shut.drain(..shut.len() - shut_max).map(|(_, replica)| replica));
    }
    admitted
}

impl Replica {
    fn new(node: &NodeId) -> Self {
        Self {
            node: node.clone(),
            capacity: AtomicU32::new(1),
            in_flight: AtomicU32::new(0),
            latency_us: AtomicU64::new(0),
            breakers: Mutex::default(),
        }
    }

    fn breakers(&self) -> MutexGuard<'_, HashMap<ToolName, Breaker>> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn latency(&self) -> Option<f64> {
        let bits = self.latency_us.load(Ordering::Relaxed);
        (bits != 0).then(|| f64::from_bits(bits))
    }

    fn sight(&self) -> Sight {
        Sight {
            capacity: self.capacity.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            latency_us: self.latency(),
        }
    }
}

impl Attempt {
    fn begin(replica: Arc<Replica>, tool: &ToolName, now: Instant) -> Self {
        replica.in_flight.fetch_add(1, Ordering::Relaxed);
        // A breaker that never failed is not kept.
        if let Some(breaker) = replica.breakers().get_mut(tool) {
            breaker.begin(now);
        }
        Self { replica, tool: tool.clone(), began: now, is_reported: false }
    }

    /// The node answered, whatever the agent said.
    pub(super) fn answered(mut self, now: Instant) {
        self.is_reported = true;
        let micros = now.duration_since(self.began).as_secs_f64() * 1e6;
        // Two that end at one time may lose one value of the average; it is an average.
        let latency = average(self.replica.latency(), micros.max(1.0));
        self.replica.latency_us.store(latency.to_bits(), Ordering::Relaxed);
        self.replica.breakers().remove(&self.tool);
    }

    /// The node failed.
    pub(super) fn failed(mut self, now: Instant) {
        self.is_reported = true;
        let mut breakers = self.replica.breakers();
        breakers.entry(self.tool.clone()).or_default().failed(now);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.replica.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.is_reported
            && let Some(breaker) = self.replica.breakers().get_mut(&self.tool)
        {
            breaker.abandoned(Instant::now());
        }
    }
}

/// Enough randomness for choosing: a fresh UUID's.
fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::breaker::{FAILURES_MAX, OPEN_MIN};
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::of_public_key(&[number])
    }

    fn set(balance: Option<Balance>, nodes: u8) -> ReplicaSet {
        let version = Version {
            revision: RevisionNumber(1),
            digest: Digest::of(b"c"),
            settings: Digest::of(b"s"),
        };
        let owner = (TenantName::default_tenant(), AgentName::new("a").unwrap());
        let set = ReplicaSet::new(owner, version, None, balance, Vec::new());
        set.set_places(&places(nodes));
        set
    }

    fn places(nodes: u8) -> Vec<Place> {
        (0..nodes).map(|number| Place { node: node(number), capacity: 1 }).collect()
    }

    fn tool() -> ToolName {
        ToolName::new("a_x").unwrap()
    }

    fn choose(set: &ReplicaSet, now: Instant) -> Attempt {
        set.choose(&tool(), &[], None, now).unwrap()
    }

    #[test]
    fn what_was_tried_is_not_tried_again() {
        let (set, now) = (set(Some(Balance::RoundRobin), 3), Instant::now());
        let mut tried = Vec::new();
        while let Some(attempt) = set.choose(&tool(), &tried, None, now) {
            assert!(!tried.contains(&attempt.replica.node));
            tried.push(attempt.replica.node.clone());
        }
        assert_eq!(tried.len(), 3);
    }

    #[test]
    fn a_failing_node_is_shut_out_but_never_more_than_half() {
        let (set, now) = (set(Some(Balance::RoundRobin), 4), Instant::now());
        let fail = |node: &NodeId| {
            for _ in 0..FAILURES_MAX {
                let others: Vec<_> = set.nodes().into_iter().filter(|n| n != node).collect();
                set.choose(&tool(), &others, None, now).unwrap().failed(now);
            }
        };
        let chosen = || -> std::collections::BTreeSet<_> {
            (0..100).map(|_| choose(&set, now).replica.node.clone()).collect()
        };
        fail(&node(0));
        assert!(!chosen().contains(&node(0)) && chosen().len() == 3);
        assert_eq!(set.breakers(now), [(node(0), tool(), BreakerState::Open)]);
        fail(&node(1));
        fail(&node(2));
        assert_eq!(chosen().len(), 2);
        let other = ToolName::new("a_y").unwrap();
        assert!(set.choose(&other, &[node(1), node(2), node(3)], None, now).is_some(), "per tool");
        let later = now + OPEN_MIN + Duration::from_millis(1);
        let trial = set.choose(&tool(), &[node(1), node(2), node(3)], None, later).unwrap();
        trial.answered(later);
        assert!(set.breakers(later).iter().all(|(shut, ..)| *shut != node(0)));
    }

    #[test]
    fn a_lone_replica_is_always_tried() {
        let (set, now) = (set(None, 1), Instant::now());
        for _ in 0..10 {
            choose(&set, now).failed(now);
        }
    }

    #[test]
    fn a_session_stays_where_it_is_while_others_come_and_go() {
        let (set, now) = (set(None, 5), Instant::now());
        let session = SessionId::new("talk").unwrap();
        let at = || set.choose(&tool(), &[], Some(&session), now).unwrap().replica.node.clone();
        let home = at();
        assert!((0..20).all(|_| at() == home));
        let mut fewer = places(5);
        fewer.retain(|place| place.node == home || place.node == node(0));
        set.set_places(&fewer);
        assert_eq!(at(), home);
    }

    #[test]
    fn what_is_known_of_a_node_survives_a_change_of_the_others() {
        let (set, now) = (set(Some(Balance::LeastConnections), 2), Instant::now());
        let running = choose(&set, now);
        let busy = running.replica.node.clone();
        set.set_places(&places(3));
        assert!((0..20).all(|_| choose(&set, now).replica.node != busy));
        drop(running);
        assert!((0..20).any(|_| choose(&set, now).replica.node == busy));
    }
}

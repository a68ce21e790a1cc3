//! Every node that gossip knows, how it stands, and since when: pure, with the time passed in.
//!
//! chitchat knows lives of nodes; a node that restarted leaves its old life behind. The roster knows
//! nodes, each by its newest life.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use aop_core::cluster::{MemberState, SuspectedPartition};
use aop_core::{Generation, NodeId};
use tokio::time::Instant;

use super::keys::Said;
use crate::membership::{Member, View};

/// Nodes that fall silent within this time of each other fell silent together: the failure detector
/// takes up to 5 s, and its samples differ per node.
const TOGETHER: Duration = Duration::from_secs(10);
/// How many must, for a partition to be suspected. One alone has more likely died.
const PARTITION_MIN: usize = 2;

/// For how long news of an old life may still arrive after a new one of the same node was seen: it ends, and is told on for a
/// few rounds. What goes on for longer is no old life.
const OVERLAP: Duration = Duration::from_secs(15);

/// One life of a node, as gossip has it.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) node: NodeId,
    pub(crate) generation: Generation,
    pub(crate) endpoint: SocketAddr,
    /// Grows while it lives.
    pub(crate) heartbeat: u64,
    /// Grows with what it says.
    pub(crate) version: u64,
    /// What the failure detector thinks.
    pub(crate) live: bool,
    pub(crate) said: Said,
}

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) life: Life,
    pub(crate) state: MemberState,
    /// When news of it arrived last.
    pub(crate) heard: Instant,
    /// Since when it is silent.
    pub(crate) silent_since: Option<Instant>,
}

/// Every node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roster {
    nodes: BTreeMap<NodeId, Known>,
    /// Every life that is live, also where a node has several.
    lives: BTreeMap<(NodeId, Generation, SocketAddr), Heard>,
}

/// What was heard of a life.
#[derive(Debug, Clone, Copy)]
struct Heard {
    first: Instant,
    heartbeat: u64,
    /// When the heartbeat grew last.
    news: Instant,
}

impl Roster {
    /// Takes in what gossip has now. Nodes that it forgot are gone.
    pub(crate) fn update(&mut self, lives: Vec<Life>, me: &NodeId, now: Instant) {
        self.listen(&lives, now);
        let mut newest: BTreeMap<NodeId, Life> = BTreeMap::new();
        for life in lives {
            // A life that this node has not heard to be live yet does not hide one that is.
            let rank = |life: &Life| (life.live, life.generation);
            if newest.get(&life.node).is_none_or(|other| rank(other) < rank(&life)) {
                newest.insert(life.node.clone(), life);
            }
        }
        // A node that was never live here is hearsay, not silent.
        newest.retain(|node, life| life.live || life.said.left || self.nodes.contains_key(node));
        self.nodes.retain(|node, _| newest.contains_key(node));
        for (node, life) in newest {
            let old = self.nodes.get(&node);
            let is_news = node == *me
                || old.is_none_or(|old| {
                    old.life.generation != life.generation || life.heartbeat > old.life.heartbeat
                });
            let heard = if is_news { now } else { old.map_or(now, |old| old.heard) };
            let state = if life.said.left {
                MemberState::Left
            } else if !life.live {
                MemberState::Silent
            } else if life.said.draining {
                MemberState::Draining
            } else {
                MemberState::Alive
            };
            let silent_since = (state == MemberState::Silent)
                .then(|| old.and_then(|old| old.silent_since).unwrap_or(now));
            self.nodes.insert(node, Known { life, state, heard, silent_since });
        }
    }

    fn listen(&mut self, lives: &[Life], now: Instant) {
        let before = std::mem::take(&mut self.lives);
        for life in lives.iter().filter(|life| life.live) {
            let key = (life.node.clone(), life.generation, life.endpoint);
            let heartbeat = life.heartbeat;
            let heard = match before.get(&key) {
                Some(heard) if heartbeat > heard.heartbeat => {
                    Heard { heartbeat, news: now, ..*heard }
                }
                Some(heard) => *heard,
                None => Heard { first: now, heartbeat, news: now },
            };
            self.lives.insert(key, heard);
        }
    }

    /// Nodes that live more than once at the same time, and where: somebody runs a copy of a data directory. A node that
    /// starts again has two lives for a moment, of which the old one is not heard of any more.
    pub(crate) fn doubled(&self) -> BTreeMap<NodeId, BTreeSet<SocketAddr>> {
        let mut doubled = BTreeMap::new();
        let lives: Vec<_> = self.lives.iter().collect();
        for of_node in lives.chunk_by(|((a, ..), _), ((b, ..), _)| a == b) {
            let Some(newest) = of_node.iter().map(|(_, heard)| heard.first).max() else { continue };
            let goes_on = of_node.iter().filter(|(_, heard)| heard.news > newest + OVERLAP);
            let at: Vec<_> = goes_on.map(|((node, _, endpoint), _)| (node, *endpoint)).collect();
            if let [(node, _), _, ..] = at.as_slice() {
                let endpoints = at.iter().map(|(_, endpoint)| *endpoint).collect();
                doubled.insert((*node).clone(), endpoints);
            }
        }
        doubled
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Known> {
        self.nodes.values()
    }

    /// Who is live and has not left.
    pub(crate) fn view(&self, me: &NodeId) -> View {
        let members = self
            .nodes
            .values()
            .filter(|known| matches!(known.state, MemberState::Alive | MemberState::Draining))
            .map(|known| (known.life.node.clone(), known.life.member()))
            .collect();
        View { node: me.clone(), members }
    }

    /// Whether several nodes fell silent together, none of which said goodbye.
    pub(crate) fn partition(&self, now: Instant) -> Option<SuspectedPartition> {
        let mut silent: Vec<_> = self
            .nodes
            .values()
            .filter(|known| !known.life.said.draining)
            .filter_map(|known| Some((known.silent_since?, &known.life.node)))
            .collect();
        silent.sort();
        // The longest run of nodes of which each fell silent soon after the one before.
        let mut best: &[(Instant, &NodeId)] = &[];
        for group in silent.chunk_by(|(a, _), (b, _)| b.duration_since(*a) <= TOGETHER) {
            if group.len() > best.len() {
                best = group;
            }
        }
        if best.len() < PARTITION_MIN {
            return None;
        }
        let (since, _) = best.first()?;
        let mut nodes: Vec<_> = best.iter().map(|(_, node)| (*node).clone()).collect();
        nodes.sort();
        let for_ms = u64::try_from(now.duration_since(*since).as_millis()).unwrap_or(u64::MAX);
        Some(SuspectedPartition { silent: nodes, for_ms })
    }

    /// Addresses of live members other than this node.
    pub(crate) fn live_endpoints(&self, me: &NodeId) -> HashSet<SocketAddr> {
        self.nodes
            .values()
            .filter(|known| known.life.live && known.life.node != *me)
            .map(|known| known.life.endpoint)
            .collect()
    }
}

impl Life {
    fn member(&self) -> Member {
        Member {
            id: self.node.clone(),
            generation: self.generation,
            endpoint: self.endpoint,
            load: self.said.load,
            capacity: self.said.capacity,
            labels: self.said.labels.clone(),
            draining: self.said.draining,
            holds_authority: self.said.holds_authority,
            documents: self.said.documents.clone(),
            version: self.version,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::of_public_key(&[number])
    }

    fn life(number: u8, generation: u64, live: bool) -> Life {
        Life {
            node: node(number),
            generation: Generation(generation),
            endpoint: ([127, 0, 0, number], 8100).into(),
            heartbeat: 1,
            version: 1,
            live,
            said: Said::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_has_a_beginning_and_ends_with_news() {
        let (mut roster, me) = (Roster::default(), node(0));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        roster.update(vec![life(0, 1, true), life(1, 1, true)], &me, at(0));
        roster.update(vec![life(0, 1, true), life(1, 1, false)], &me, at(5));
        roster.update(vec![life(0, 1, true), life(1, 1, false)], &me, at(9));
        let known = roster.nodes().find(|known| known.life.node == node(1)).unwrap();
        assert_eq!((known.heard, known.silent_since), (at(0), Some(at(5))));
        let again = Life { heartbeat: 2, ..life(1, 1, true) };
        roster.update(vec![life(0, 1, true), again], &me, at(10));
        let known = roster.nodes().find(|known| known.life.node == node(1)).unwrap();
        assert_eq!((known.heard, known.silent_since), (at(10), None));
        assert_eq!(known.state, MemberState::Alive);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_lives_twice_is_noticed_and_one_that_starts_again_is_not() {
        let (mut roster, me) = (Roster::default(), node(0));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let beats = |generation, port, heartbeat| Life {
            heartbeat,
            endpoint: ([127, 0, 0, 1], port).into(),
            ..life(1, generation, true)
        };
        // It starts again: its old life is heard of for a moment, and stays until it counts as dead.
        for second in 0..40 {
            let lives = vec![beats(1, 1, second.min(12)), beats(2, 2, second)];
            roster.update(if second < 10 { lives[..1].to_vec() } else { lives }, &me, at(second));
            assert!(roster.doubled().is_empty(), "after {second} s");
        }
        // A copy of it, of the same generation.
        for second in 40..60 {
            let lives = vec![beats(2, 2, second), beats(2, 3, second)];
            roster.update(lives, &me, at(second));
        }
        let endpoints = [2, 3].map(|port| ([127, 0, 0, 1], port).into());
        assert_eq!(roster.doubled(), [(node(1), endpoints.into())].into());
        roster.update(vec![beats(2, 2, 60)], &me, at(60));
        assert!(roster.doubled().is_empty(), "it was stopped");
    }

    #[tokio::test(start_paused = true)]
    async fn one_silent_node_died_and_two_together_are_a_partition() {
        let (mut roster, me) = (Roster::default(), node(0));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let lives = |silent: &[u8]| {
            (0..6).map(|number| life(number, 1, !silent.contains(&number))).collect::<Vec<_>>()
        };
        roster.update(lives(&[]), &me, at(0));
        roster.update(lives(&[1]), &me, at(10));
        assert_eq!(roster.partition(at(10)), None);
        // Much later: another one died.
        roster.update(lives(&[1, 2]), &me, at(100));
        assert_eq!(roster.partition(at(100)), None);
        roster.update(lives(&[1, 2, 3]), &me, at(104));
        let suspected = roster.partition(at(106)).unwrap();
        let mut expected = vec![node(2), node(3)];
        expected.sort();
        assert_eq!(suspected, SuspectedPartition { silent: expected, for_ms: 6000 });
        roster.update(lives(&[]), &me, at(200));
        assert_eq!(roster.partition(at(200)), None, "it healed");
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_goodbye_is_neither_silent_nor_a_member() {
        let (mut roster, me) = (Roster::default(), node(0));
        let goodbye = |number| {
            let said = Said { left: true, draining: true, ..Said::default() };
            Life { said, ..life(number, 1, false) }
        };
        roster.update(vec![life(0, 1, true), goodbye(1), goodbye(2)], &me, Instant::now());
        assert_eq!(roster.partition(Instant::now()), None);
        assert_eq!(roster.view(&me).members.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_are_only_heard_of_are_not_silent() {
        let (mut roster, me) = (Roster::default(), node(0));
        let lives = vec![life(0, 1, true), life(1, 1, false), life(2, 1, false)];
        roster.update(lives, &me, Instant::now());
        assert_eq!(roster.nodes().count(), 1);
        assert_eq!(roster.partition(Instant::now()), None);
    }

    proptest! {
        #[test]
        fn a_node_is_there_once_by_its_newest_live_life(lives in prop::collection::vec((0_u8..5, 0_u64..5, any::<bool>()), 0..30)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _guard = runtime.enter();
            let mut roster = Roster::default();
            let all: Vec<_> = lives.iter().map(|(n, g, live)| life(*n, *g, *live)).collect();
            roster.update(all, &node(0), Instant::now());
            for known in roster.nodes() {
                let of_node = lives.iter().filter(|(n, ..)| node(*n) == known.life.node);
                let newest = of_node.filter(|(_, _, live)| *live).map(|(_, g, _)| *g).max();
                prop_assert_eq!(Some(known.life.generation.0), newest);
            }
            for member in roster.view(&node(0)).members.values() {
                prop_assert!(lives.contains(&(
                    (0..5).find(|n| node(*n) == member.id).unwrap(), member.generation.0, true)));
            }
        }
    }
}

//! Where replicas belong: records that say what should live in the zone, how records of different nodes become
//! one, and which nodes are chosen. Everything here is pure and every node computes the same from the same.

use std::collections::BTreeMap;

use aop_core::{AgentId, AgentName, Digest, NodeId, Settings, TenantName};
use serde::{Deserialize, Serialize};

/// Most records that are kept: as many as a host holds agents by default, halved.
pub(super) const PLACEMENTS_MAX: usize = 10_000;
/// How long it is remembered that an agent was unloaded, in milliseconds: a node that was away for less learns of
/// it and unloads its replica; one that comes back later brings the agent back.
pub(super) const TOMBSTONE_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// No agent is placed so often that its records count this far: a record from another node that says so is a
/// mistake, and nothing could come after it.
pub(super) const REVISION_MAX: u64 = 1 << 53;

/// Which agent.
pub(super) type Key = (TenantName, AgentName);

/// What should live in the zone: the placement record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placement {
    pub(super) tenant: TenantName,
    pub(super) agent: AgentName,
    /// The identity that every replica has.
    pub(super) id: AgentId,
    /// Counts the placements of the agent; of two records the higher one holds.
    pub(super) revision: u64,
    /// Where it was loaded. Of two records with one revision the higher node's holds.
    pub(super) node: NodeId,
    /// The component.
    pub(super) digest: Digest,
    /// The settings, which say how many replicas and where.
    pub(super) settings: Settings,
    /// Whether it was unloaded.
    pub(super) is_gone: bool,
    /// When it was loaded or unloaded, in milliseconds since the Unix epoch. Orders nothing.
    pub(super) changed_unix_ms: u64,
}

impl Placement {
    pub(super) fn key(&self) -> Key {
        (self.tenant.clone(), self.agent.clone())
    }

    /// What its replicas have in common: component and settings.
    pub(super) fn version(&self) -> (Digest, Digest) {
        (self.digest, self.settings.digest())
    }

    fn replaces(&self, other: &Self) -> bool {
        (self.revision, &self.node) > (other.revision, &other.node)
    }
}

/// The records of the zone, one per agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Placements(pub(super) BTreeMap<Key, Placement>);

impl Placements {
    /// Takes in a record; whether that changed anything. The order in which records arrive, and how often, does
    /// not matter.
    pub(super) fn merge(&mut self, record: Placement) -> bool {
        let key = record.key();
        let is_news = match self.0.get(&key) {
            Some(known) => record.replaces(known),
            None => self.0.len() < PLACEMENTS_MAX,
        };
        if is_news {
            self.0.insert(key, record);
        }
        is_news
    }

    /// Forgets what was unloaded long ago.
    pub(super) fn forget(&mut self, now_unix_ms: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|_, record| {
            !record.is_gone
                || now_unix_ms < record.changed_unix_ms.saturating_add(TOMBSTONE_KEPT_MS)
        });
        self.0.len() != before
    }
}

/// A node that may hold replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) node: NodeId,
    pub(super) capacity: u32,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) is_draining: bool,
}

/// Whether a node has every label that a placement asks for.
pub(super) fn has_labels(
    labels: &BTreeMap<String, String>,
    asked: &BTreeMap<String, String>,
) -> bool {
    asked.iter().all(|(label, value)| labels.get(label) == Some(value))
}

/// The nodes that should hold a placed agent, by rendezvous hashing over those that may: when one goes, only what
/// it held moves. `fixed` ones hold it whatever is chosen, because a file puts it there, and count.
pub(super) fn chosen(placement: &Placement, sites: &[Site], fixed: &[NodeId]) -> Vec<NodeId> {
    let wanted = placement.settings.replicas.unwrap_or(1) as usize;
    let key = format!("{}/{}", placement.tenant, placement.agent);
    let may_hold =
        |site: &&Site| !site.is_draining && has_labels(&site.labels, &placement.settings.placement);
    let mut ranked: Vec<_> = sites
        .iter()
        .filter(may_hold)
        .map(|site| {
            let rank = score(&site.node, key.as_bytes(), site.capacity);
            (fixed.contains(&site.node), rank, &site.node)
        })
        .collect();
    ranked.sort_by(|a, b| b.cmp(a));
    ranked.into_iter().take(wanted).map(|(.., node)| node.clone()).collect()
}

/// The rank of a node for a key. With a capacity twice as large it is first twice as often (weighted rendezvous
/// hashing: `-weight / ln(hash)`).
#[expect(clippy::cast_precision_loss, reason = "a hash of 53 bits is as good as one of 64")]
pub(super) fn score(node: &NodeId, key: &[u8], capacity: u32) -> u64 {
    let mut text = Vec::with_capacity(NodeId::LENGTH + 1 + key.len());
    text.extend_from_slice(node.as_str().as_bytes());
    text.push(b'/');
    text.extend_from_slice(key);
    let digest = Digest::of(&text);
    let hash =
        digest.as_bytes().iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte));
    // Strictly between 0 and 1.
    let fraction = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let rank = f64::from(capacity.max(1)) / -fraction.ln();
    // Positive floats order as their bits do.
    rank.to_bits()
}

/// What this node has of a placed agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Have {
    /// Component and settings.
    pub(super) version: (Digest, Digest),
    /// Whether a file put it there.
    pub(super) is_of_a_file: bool,
}

/// What this node should do about a placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Nothing,
    /// Get the component from a node that has it, and load it.
    Pull,
    /// It belongs elsewhere, or nowhere any more.
    Unload,
}

/// Decides for one node. `serving` are the nodes that serve this version now.
pub(super) fn plan(
    placement: &Placement,
    node: &NodeId,
    chosen: &[NodeId],
    serving: &[NodeId],
    have: Option<Have>,
) -> Action {
    let may_unload = have.is_some_and(|have| !have.is_of_a_file);
    if placement.is_gone {
        return if may_unload { Action::Unload } else { Action::Nothing };
    }
    let has_it = have.is_some_and(|have| have.version == placement.version());
    let has_other_file = have.is_some_and(|have| have.is_of_a_file) && !has_it;
    match (chosen.contains(node), has_it) {
        // A file holds the name on this node; that is the operator's to solve.
        (true, false) if has_other_file => Action::Nothing,
        (true, false) => Action::Pull,
        // The last copy elsewhere must be there before the one here goes.
        (false, _) if may_unload && !chosen.is_empty() => {
            let all_serve = chosen.iter().all(|node| serving.contains(node));
            if all_serve { Action::Unload } else { Action::Nothing }
        }
        _ => Action::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::of_public_key(&[number])
    }

    fn placement(replicas: u32) -> Placement {
        Placement {
            tenant: TenantName::default_tenant(),
            agent: AgentName::new("writer").unwrap(),
            id: AgentId(uuid::Uuid::nil()),
            revision: 1,
            node: node(0),
            digest: Digest::of(b"component"),
            settings: Settings { replicas: Some(replicas), ..Settings::default() },
            is_gone: false,
            changed_unix_ms: 0,
        }
    }

    fn sites(count: u8) -> Vec<Site> {
        (0..count)
            .map(|number| Site {
                node: node(number),
                capacity: 1,
                labels: BTreeMap::new(),
                is_draining: false,
            })
            .collect()
    }

    #[test]
    fn a_node_that_goes_moves_only_what_it_held() {
        let (placement, all) = (placement(3), sites(9));
        let before = chosen(&placement, &all, &[]);
        assert_eq!(before.len(), 3);
        for gone in &all {
            let left: Vec<_> = all.iter().filter(|site| site.node != gone.node).cloned().collect();
            let after = chosen(&placement, &left, &[]);
            let stayed = before.iter().filter(|node| after.contains(node)).count();
            assert_eq!(stayed, if before.contains(&gone.node) { 2 } else { 3 });
        }
    }

    #[test]
    fn labels_are_a_hard_constraint_and_draining_nodes_get_nothing() {
        let mut placement = placement(5);
        placement.settings.placement.insert("region".to_owned(), "eu".to_owned());
        let mut all = sites(6);
        for number in [1, 2, 3] {
            all[number].labels.insert("region".to_owned(), "eu".to_owned());
        }
        all[3].is_draining = true;
        let mut found = chosen(&placement, &all, &[]);
        found.sort();
        let mut expected = vec![node(1), node(2)];
        expected.sort();
        assert_eq!(found, expected, "fewer replicas rather than one in the wrong place");
    }

    #[test]
    fn what_a_file_put_somewhere_counts() {
        let (placement, all) = (placement(2), sites(9));
        let plain = chosen(&placement, &all, &[]);
        let other = all.iter().map(|site| &site.node).find(|node| !plain.contains(node)).unwrap();
        let found = chosen(&placement, &all, std::slice::from_ref(other));
        assert!(found.contains(other) && found.len() == 2);
    }

    #[test]
    fn capacity_weighs() {
        let mut all = sites(4);
        all[2].capacity = 3;
        let firsts = (0..600).filter(|number| {
            let agent = AgentName::new(&format!("a{number}")).unwrap();
            chosen(&Placement { agent, ..placement(1) }, &all, &[]) == [node(2)]
        });
        let count = firsts.count();
        assert!((240..360).contains(&count), "half of them: {count}");
    }

    #[test]
    fn nothing_is_unloaded_before_all_chosen_nodes_serve() {
        let placement = placement(2);
        let have = Some(Have { version: placement.version(), is_of_a_file: false });
        let chosen = [node(1), node(2)];
        let plan = |serving: &[NodeId], have| plan(&placement, &node(0), &chosen, serving, have);
        assert_eq!(plan(&[node(0), node(1)], have), Action::Nothing);
        assert_eq!(plan(&[node(0), node(1), node(2)], have), Action::Unload);
        let of_file = have.map(|have| Have { is_of_a_file: true, ..have });
        assert_eq!(plan(&[node(0), node(1), node(2)], of_file), Action::Nothing);
        assert_eq!(plan(&[], None), Action::Nothing);
    }

    #[test]
    fn a_chosen_node_pulls_until_it_has_the_version() {
        let placement = placement(1);
        let plan = |have| plan(&placement, &node(1), &[node(1)], &[], have);
        assert_eq!(plan(None), Action::Pull);
        let old = Have { version: (Digest::of(b"old"), Digest::of(b"")), is_of_a_file: false };
        assert_eq!(plan(Some(old)), Action::Pull);
        assert_eq!(plan(Some(Have { version: placement.version(), ..old })), Action::Nothing);
    }

    #[test]
    fn a_tombstone_unloads_and_is_forgotten_in_the_end() {
        let gone = Placement { is_gone: true, revision: 2, ..placement(2) };
        let have = Some(Have { version: gone.version(), is_of_a_file: false });
        assert_eq!(plan(&gone, &node(1), &[node(1)], &[], have), Action::Unload);
        let mut records = Placements::default();
        records.merge(placement(2));
        assert!(records.merge(gone) && !records.merge(placement(2)), "it does not come back");
        assert!(!records.forget(TOMBSTONE_KEPT_MS - 1) && records.forget(TOMBSTONE_KEPT_MS));
    }

    proptest! {
        #[test]
        fn merging_is_a_join(
            records in prop::collection::vec((0..3u64, 0..3u8, 0..2u8, any::<bool>()), 0..12),
            seed in any::<u64>(),
        ) {
            let record = |(revision, from, agent, is_gone): (u64, u8, u8, bool)| Placement {
                agent: AgentName::new(&format!("a{agent}")).unwrap(),
                revision,
                node: node(from),
                // One node makes one record of a revision.
                is_gone: is_gone && (revision + u64::from(from)) % 2 == 0,
                ..placement(2)
            };
            let mut seen = std::collections::BTreeSet::new();
            let records: Vec<_> = records
                .into_iter()
                .filter(|(revision, from, agent, _)| seen.insert((*revision, *from, *agent)))
                .map(record)
                .collect();
            let merged = |order: &[Placement]| {
                let mut all = Placements::default();
                for record in order.iter().chain(order) {
                    all.merge(record.clone());
                }
                all
            };
            let mut shuffled = records.clone();
            shuffled.sort_by_key(|record| score(&record.node, &(seed ^ record.revision).to_le_bytes(), 1));
            prop_assert_eq!(merged(&records), merged(&shuffled));
        }
    }
}

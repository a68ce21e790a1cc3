//! The live members of the zone at one moment. Immutable: whoever needs it holds an `Arc` for as
//! long as it decides something, and a new one is published when something changes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use aop_core::{Digest, Generation, NodeId};

/// How busy a node is, in percent, in steps of [`Load::STEP`]: gossip carries a change of step, not
/// every call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load(u8);

impl Load {
    /// The step, in percent.
    pub const STEP: u8 = 10;

    /// Rounds to the nearest step; more than 100 % is 100 %.
    #[must_use]
    pub fn of_percent(percent: u32) -> Self {
        let percent = u8::try_from(percent.min(100)).unwrap_or(100);
        Self((percent + Self::STEP / 2) / Self::STEP * Self::STEP)
    }

    /// In percent.
    #[must_use]
    pub const fn percent(self) -> u8 {
        self.0
    }
}

/// Which state of a document a node has: `serial` grows with every change of the node's, `digest` is
/// that of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DocumentVersion {
    /// Grows with every change.
    pub serial: u64,
    /// Of the bytes.
    pub digest: Digest,
}

/// A node that takes part in the zone now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub id: NodeId,
    /// Which life of it.
    pub generation: Generation,
    /// Where other nodes reach it.
    pub endpoint: SocketAddr,
    /// How busy it is.
    pub load: Load,
    /// How much it takes compared with others; what `weighted` balancing goes by.
    pub capacity: u32,
    /// What its operator says of it; what `placement` asks for.
    pub labels: BTreeMap<String, String>,
    /// It finishes its calls and takes no new ones.
    pub draining: bool,
    /// It can let nodes into the zone.
    pub holds_authority: bool,
    /// The documents that it publishes, by name; its catalogue is [`Member::CATALOGUE`].
    pub documents: BTreeMap<String, DocumentVersion>,
    /// How many changes of it are known, the paper's V_i\[j\].
    pub version: u64,
}

impl Member {
    /// The name of the document that is a node's catalogue.
    pub const CATALOGUE: &str = "cat";

    /// The state of its catalogue; none before it published one.
    #[must_use]
    pub fn catalogue(&self) -> Option<DocumentVersion> {
        self.documents.get(Self::CATALOGUE).copied()
    }
}

/// The zone at one moment, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// This node.
    pub node: NodeId,
    /// Live members that have not left, each once, in the order of their ids; this node included.
    /// Draining ones are here: they still answer for what they hold.
    pub members: BTreeMap<NodeId, Member>,
}

impl View {
    /// The view of a node that knows nobody.
    #[must_use]
    pub fn alone(member: Member) -> Self {
        Self { node: member.id.clone(), members: BTreeMap::from([(member.id.clone(), member)]) }
    }

    /// A live member.
    #[must_use]
    pub fn member(&self, id: &NodeId) -> Option<&Member> {
        self.members.get(id)
    }

    /// Every live member but this node.
    pub fn others(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.id != self.node)
    }

    /// The paper's registry state of the zone (section 6.2) in one digest: over the catalogues of all
    /// members. Nodes that see the same agents have the same.
    #[must_use]
    pub fn registry_digest(&self) -> Digest {
        let mut text = String::new();
        for member in self.members.values() {
            if let Some(DocumentVersion { serial, digest }) = member.catalogue() {
                // The generation is left out: a restart changes no agent.
                text.push_str(&format!("{};{serial};{digest}\n", member.id));
            }
        }
        Digest::of(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_has_few_values_and_never_lies_by_more_than_half_a_step() {
        for percent in 0..=100 {
            let load = Load::of_percent(percent).percent();
            assert_eq!(load % Load::STEP, 0);
            assert!(u32::from(load).abs_diff(percent) <= u32::from(Load::STEP / 2), "{percent}");
        }
        assert_eq!(Load::of_percent(5000).percent(), 100);
    }
}

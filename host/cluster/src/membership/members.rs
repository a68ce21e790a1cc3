//! What the rest of the zone's code stands on. [`Membership`](super::Membership) implements it; tests
//! fake it.

use std::collections::BTreeMap;
use std::sync::Arc;

use aop_core::NodeId;
use bytes::Bytes;
use tokio::sync::watch;

use super::{Connect, DocumentVersion, Load, MembershipError, View};

/// The most bytes of one document: 10,000 tools with their schemas.
pub const DOCUMENT_MAX_BYTES: usize = 32 << 20;

/// A document of a node, whole and checked against its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Which state of it.
    pub version: DocumentVersion,
    /// The bytes.
    pub bytes: Bytes,
}

/// The documents of the live members that this node has, by name and node. One that changed keeps its
/// old state here until the new one has arrived; those of members that are gone are gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents(pub BTreeMap<String, BTreeMap<NodeId, Document>>);

impl Documents {
    /// Who published a document of this name, and what.
    pub fn named(&self, name: &str) -> impl Iterator<Item = (&NodeId, &Document)> {
        self.0.get(name).into_iter().flatten()
    }
}

/// The zone, for those who route calls through it.
pub trait Members: Connect {
    /// This node.
    fn node(&self) -> &NodeId;

    /// The live members, from now on.
    fn view(&self) -> watch::Receiver<Arc<View>>;

    /// What they published, from now on.
    fn documents(&self) -> watch::Receiver<Arc<Documents>>;

    /// Publishes a document of this node, in place of the one of this name. Every member will have it
    /// within seconds. Publishing the same bytes again changes nothing.
    ///
    /// # Errors
    /// [`MembershipError::TooLarge`] above [`DOCUMENT_MAX_BYTES`].
    fn publish(&self, name: &'static str, bytes: Bytes)
    -> Result<DocumentVersion, MembershipError>;

    /// Says how busy this node is; others hear of it when the step changes, at most once a second.
    fn set_load(&self, load: Load);
}

//! What all nodes of a zone have alike beyond who belongs to it: each publishes what it knows as a
//! document, and merges what the others publish. Nobody is in charge, so it works on both sides of a partition
//! and is one again afterwards.
//!
//! A change is published within [`LOOK_INTERVAL`], reaches the others within a few rounds of gossip and the
//! wait before a fetch, which together stay below 5 s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aop_core::{BoxFuture, Digest, NodeId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::members::Members;

/// How often this node looks whether something of its own changed: a comparison of two numbers.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// The pause after a document could not be merged, because the disk is full, say.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Something that all nodes have alike. Merging is commutative, associative and idempotent, so that who hears what
/// first does not matter.
pub trait Agreed: Send + Sync {
    /// The name of its document.
    fn name(&self) -> &'static str;

    /// Differs whenever [`document`](Self::document) does.
    fn version(&self) -> u64;

    /// What this node knows. The same bytes on nodes that know the same.
    ///
    /// # Errors
    /// Why it cannot be read now.
    fn document(&self) -> BoxFuture<'_, Result<Vec<u8>, String>>;

    /// Takes in what another node knows.
    ///
    /// # Errors
    /// Why it makes no sense, or cannot be kept now.
    fn merge<'a>(&'a self, document: &'a [u8]) -> BoxFuture<'a, Result<(), String>>;
}

/// Agrees with the others until `stop`.
pub(super) async fn run(
    members: Arc<dyn Members>,
    agreed: Arc<dyn Agreed>,
    stop: CancellationToken,
) {
    let mut documents = members.documents();
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    let mut taken_in: BTreeMap<NodeId, Digest> = BTreeMap::new();
    let mut failed: BTreeMap<Digest, Instant> = BTreeMap::new();
    let mut published = None;
    loop {
        let now = documents.borrow_and_update().clone();
        taken_in.retain(|node, _| now.named(agreed.name()).any(|(other, _)| other == node));
        failed.retain(|_, until| *until > Instant::now());
        for (node, document) in now.named(agreed.name()) {
            let digest = document.version.digest;
            let is_known = node == members.node() || taken_in.get(node) == Some(&digest);
            if is_known || failed.contains_key(&digest) {
                continue;
            }
            match agreed.merge(&document.bytes).await {
                Ok(()) => {
                    taken_in.insert(node.clone(), digest);
                }
                Err(reason) => {
                    tracing::warn!(%node, document = agreed.name(), reason, "what another node knows could not be taken in");
                    failed.insert(digest, Instant::now() + RETRY_PAUSE);
                }
            }
        }
        let version = agreed.version();
        if published != Some(version) {
            match agreed.document().await {
                Ok(bytes) => {
                    // Tried again with the next change: until then it would be too large again.
                    published = Some(version);
                    if let Err(error) = members.publish(agreed.name(), bytes.into()) {
                        tracing::error!(%error, document = agreed.name(), "the zone cannot be told what this node knows");
                    }
                }
                Err(reason) => {
                    tracing::warn!(
                        document = agreed.name(),
                        reason,
                        "what this node knows cannot be read"
                    );
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = documents.changed() => if changed.is_err() { return },
            _ = look.tick() => {}
        }
    }
}

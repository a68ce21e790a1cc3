//! Who belongs to the zone is agreed on by a document of every node: the authorities that count and the
//! nodes that were evicted, merged by all with what the others publish, and durable before it counts.
//! A change reaches every node within a few rounds of gossip.
//!
//! A node that learns that it was evicted ends its membership, and remembers it for its next start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aop_core::{Digest, NodeId};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::documents::DocumentStore;
use super::gossip::contacts::Contacts;
use super::gossip::{Gossip, keys};
use super::identity::Identity;
use super::identity::trust::TrustDocument;
use super::join::{Standing, TO_COME_BACK};
use super::members::Documents;
use super::peer::Connector;
use super::{MembershipError, join, unix_now};

/// The document's name.
const DOCUMENT: &str = "trust";
/// How often a node looks whether an authority stops to count, and one that is alone whether it was evicted.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What agreeing stands on.
#[derive(Clone)]
pub(super) struct Belonging {
    pub(super) identity: Arc<Identity>,
    pub(super) connector: Connector,
    pub(super) gossip: Arc<Gossip>,
    pub(super) documents: Arc<DocumentStore>,
    pub(super) contacts: Arc<Contacts>,
    /// Whether the zone has another key that leads nowhere from those that this node knows.
    pub(super) is_locked_out: Arc<AtomicBool>,
    pub(super) stop: CancellationToken,
}

impl Belonging {
    /// Evicts a node. Whether it was not before.
    ///
    /// # Errors
    /// [`MembershipError::Refused`] with the reason, [`MembershipError::File`] when it cannot be remembered.
    pub(super) async fn evict(&self, node: &NodeId) -> Result<bool, MembershipError> {
        if node == self.identity.id() {
            return Err(MembershipError::Refused(
                "a node does not evict itself: stop it, or ask another member to".to_owned(),
            ));
        }
        let (me, now) = (self.identity.id().clone(), unix_now());
        let is_new = self.identity.change_trust(|trust| {
            trust.forget(now);
            trust.evict(node.clone(), me, now)
        })?;
        if is_new {
            tracing::warn!(%node, "evicted a node from the zone");
            // Before this node cuts its own connections with it, so that it learns why.
            self.publish()?;
            self.gossip.tell_everybody().await;
            self.apply();
        }
        Ok(is_new)
    }

    /// Agrees with the others until `stop`.
    pub(super) async fn run(self) {
        let mut taken_in = BTreeMap::new();
        let (mut trust, mut documents) = (self.identity.trust(), self.documents.published());
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            trust.mark_unchanged();
            let published = documents.borrow_and_update().clone();
            if let Err(error) = self.take_in(&published, &mut taken_in) {
                tracing::error!(%error, "who belongs to the zone cannot be remembered");
            }
            if let Err(error) = self.publish() {
                tracing::error!(%error, "the zone cannot be told who belongs to it");
            }
            self.apply();
            let is_evicted = trust.borrow().is_evicted(self.identity.id());
            if is_evicted {
                self.end();
                return;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = documents.changed() => if changed.is_err() { return },
                _ = trust.changed() => {}
                _ = look.tick() => {
                    if self.standing().await == Standing::Evicted {
                        self.end();
                        return;
                    }
                }
            }
        }
    }

    /// How this node stands with its zone, asked for only while it hears nobody.
    pub(super) async fn standing(&self) -> Standing {
        let is_alone = self.gossip.view().borrow().others().next().is_none();
        let standing = match is_alone {
            true => join::standing(&self.identity, &self.connector, &self.contacts).await,
            false => Standing::Fine,
        };
        let is_locked_out = standing == Standing::LockedOut;
        if is_locked_out && !self.is_locked_out.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "this node is cut off: the nodes of its zone have certificates of a key that it does not know, which was made while it was away: {TO_COME_BACK}"
            );
        }
        self.is_locked_out.store(is_locked_out, Ordering::Relaxed);
        standing
    }

    /// Ends this node's membership, because the zone did.
    pub(super) fn end(&self) {
        tracing::error!("{}", MembershipError::Evicted);
        let me = self.identity.id().clone();
        // Who did it is not known to one that was only refused.
        let noted = self.identity.change_trust(|trust| trust.evict(me.clone(), me, unix_now()));
        if let Err(error) = noted.map(drop).and_then(|()| self.identity.remember_evicted()) {
            tracing::warn!(%error, "that this node was evicted is not remembered over a restart");
        }
        self.gossip.leave_alone();
        self.stop.cancel();
    }

    fn take_in(
        &self,
        documents: &Documents,
        taken_in: &mut BTreeMap<NodeId, Digest>,
    ) -> Result<(), MembershipError> {
        let now = unix_now();
        let mut news = Vec::new();
        let mut read_now = BTreeMap::new();
        for (node, document) in documents.named(DOCUMENT) {
            let digest = document.version.digest;
            if node == self.identity.id() || taken_in.get(node) == Some(&digest) {
                continue;
            }
            read_now.insert(node.clone(), digest);
            match TrustDocument::read(&document.bytes) {
                Ok(read) => news.push(read),
                Err(error) => {
                    tracing::warn!(%node, %error, "who another node believes to belong to the zone makes no sense");
                }
            }
        }
        taken_in.retain(|node, _| documents.named(DOCUMENT).any(|(other, _)| other == node));
        self.identity.change_trust(|trust| {
            news.iter().for_each(|read| trust.merge(read, now));
            trust.forget(now);
            Ok(())
        })?;
        // Not before it is on the disk: what could not be kept is read again.
        taken_in.extend(read_now);
        Ok(())
    }

    fn publish(&self) -> Result<(), MembershipError> {
        let bytes = Bytes::from(self.identity.trust().borrow().to_bytes());
        let (version, is_new) = self.documents.publish(DOCUMENT, bytes);
        if is_new {
            let value = keys::write_version(version);
            self.gossip.say(|own| keys::set(own, &keys::document_key(DOCUMENT), value))?;
        }
        Ok(())
    }

    fn apply(&self) {
        let trust = self.identity.trust().borrow().clone();
        let evicted: BTreeSet<_> = trust.evicted().map(|evicted| evicted.node).collect();
        self.gossip.ignore(evicted);
    }
}

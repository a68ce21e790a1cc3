//! Whom a node believes to be of its zone: the authorities whose signature counts, and the nodes whose
//! keys count no more.
//!
//! Both are sets that only grow and that every node merges with what the others publish (see
//! `membership/belonging`), so it does not matter who hears what first. A new authority is
//! believed because the one before signed it, and that signature is inside its certificate: a node
//! that has not heard of a rotation yet believes certificates of the new authority all the same. When
//! the ones before stop to count is in there too.
//!
//! Authorities that count no more are remembered for one reason: a node that was away while the key was rotated more
//! than once knows by their signatures, one after the other, that the zone it comes back to is its own.
//!
//! What bounds it: an evicted key is remembered for as long as its certificate could be renewed, and a
//! few authorities count at one time, and a few more are remembered.

use std::collections::BTreeMap;
use std::path::Path;

use aop_core::cluster::EvictedNode;
use aop_core::{Digest, NodeId};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authority::{CERTIFICATE_LIFE, authority_zone};
use super::endorsement::Endorsement;
use super::tls::RENEWAL_GRACE;
use super::{certificate, files};
use crate::ZoneName;
use crate::membership::MembershipError;

/// The version of the document.
const FORMAT: u32 = 1;
/// How long an evicted key is remembered, in seconds: no node renews its certificate after that.
const EVICTED_KEPT_S: u64 = RENEWAL_GRACE.as_secs() + 2 * CERTIFICATE_LIFE.as_secs();
/// Evicted keys that are remembered: ten times a zone.
const EVICTED_MAX: usize = 2000;
/// Authorities that count beside the newest: one, and those of rotations that were begun on two nodes at
/// one time.
const OLDER_MAX: usize = 3;
/// Authorities that are remembered though they count no more: rotations that a node may miss. With those that count
/// they fit into the answer to a node that joins.
const PAST_MAX: usize = 12;

/// An authority's certificate, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) certificate: CertificateDer<'static>,
    /// Its public key as DER, and the bare 32 bytes of it.
    pub(crate) public_key: Vec<u8>,
    bare_key: Vec<u8>,
    endorsement: Option<Endorsement>,
}

impl Root {
    /// Reads the certificate of an authority of a zone.
    ///
    /// # Errors
    /// [`MembershipError::Certificate`].
    pub(crate) fn read(der: &CertificateDer<'_>, zone: &ZoneName) -> Result<Self, MembershipError> {
        let wrong = || {
            MembershipError::Certificate(format!("the certificate is not that of the zone {zone}"))
        };
        if authority_zone(der)? != *zone {
            return Err(wrong());
        }
        let (_, read) = X509Certificate::from_der(der).map_err(|_| wrong())?;
        Ok(Self {
            certificate: der.clone().into_owned(),
            public_key: read.public_key().raw.to_vec(),
            bare_key: read.public_key().subject_public_key.data.to_vec(),
            endorsement: Endorsement::of(&read),
        })
    }

    /// What identifies it.
    pub(crate) fn fingerprint(&self) -> Digest {
        Digest::of(&self.certificate)
    }

    /// When an authority that follows this one is made: later than this one, whatever the clock says.
    pub(crate) fn made_after(&self, now: u64) -> u64 {
        now.max(self.rank().0 + 1)
    }

    /// Of two authorities the one with the higher rank is the newer one.
    fn rank(&self) -> (u64, Digest) {
        (
            self.endorsement.as_ref().map_or(0, |endorsement| endorsement.made_unix_s),
            self.fingerprint(),
        )
    }

    /// Whether another one signed it.
    pub(crate) fn is_endorsed_by(&self, other: &Self, zone: &ZoneName) -> bool {
        self.endorsement
            .as_ref()
            .is_some_and(|endorsement| endorsement.is_by(&other.bare_key, zone, &self.public_key))
    }
}

/// That a node does not belong to the zone any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Eviction {
    /// The node that was told to.
    pub(crate) by: NodeId,
    /// Seconds since the Unix epoch.
    pub(crate) at_unix_s: u64,
}

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trust {
    zone: ZoneName,
    newest: Root,
    older: Vec<Root>,
    /// Those that count no more, the newest first.
    past: Vec<Root>,
    evicted: BTreeMap<NodeId, Eviction>,
}

/// As it is stored, and published to the other nodes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TrustDocument {
    format: u32,
    /// Certificates in Base64.
    authorities: Vec<String>,
    /// Certificates in Base64 of those that count no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    past: Vec<String>,
    evicted: BTreeMap<NodeId, Eviction>,
}

impl Trust {
    /// Of a zone with one authority.
    pub(crate) fn new(zone: ZoneName, authority: Root) -> Self {
        Self {
            zone,
            newest: authority,
            older: Vec::new(),
            past: Vec::new(),
            evicted: BTreeMap::new(),
        }
    }

    /// Reads the file; what `authority` is counts when there is none yet.
    ///
    /// # Errors
    /// [`MembershipError::Damaged`]: to go on without it would let evicted nodes in.
    pub(crate) fn open(
        path: &Path,
        zone: ZoneName,
        authority: &CertificateDer<'_>,
    ) -> Result<Self, MembershipError> {
        let authority = Root::read(authority, &zone)?;
        let Some(text) = files::read(path)? else { return Ok(Self::new(zone, authority)) };
        let read = || -> Result<Self, MembershipError> {
            let document = TrustDocument::read(text.as_bytes())?;
            let mut roots = document.roots(&zone)?.into_iter();
            let first = roots
                .next()
                .ok_or_else(|| MembershipError::Malformed("it names no authority".to_owned()))?;
            let mut trust = Self::new(zone.clone(), first);
            roots.for_each(|root| trust.insert(root));
            trust.remember(document.past(&zone)?);
            trust.evicted = document.evicted;
            Ok(trust)
        };
        read().map_err(|error| MembershipError::damaged(path, error))
    }

    /// The authority that signs now.
    pub(crate) fn newest(&self) -> &Root {
        &self.newest
    }

    /// All that count, the newest first.
    pub(crate) fn authorities(&self) -> impl Iterator<Item = &Root> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    /// Whether a join token is of this zone, as far as this node knows its authorities, past ones included.
    pub(crate) fn has_fingerprint(&self, fingerprint: Digest) -> bool {
        self.authorities().chain(&self.past).any(|root| root.fingerprint() == fingerprint)
    }

    /// What leads to the newest authority: those before it, the newest first.
    pub(crate) fn lineage(&self) -> impl Iterator<Item = &Root> {
        self.older.iter().chain(&self.past)
    }

    /// Whether signatures lead from an authority that counts here to another one, over others in between. Then both
    /// are of one zone, whatever it is called.
    pub(crate) fn leads_to(
        &self,
        authority: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
    ) -> bool {
        let between = between.iter().take(OLDER_MAX + PAST_MAX);
        let read = |der| Root::read(der, &self.zone).ok();
        let mut others: Vec<_> = between.chain([authority]).filter_map(read).collect();
        let mut reached: Vec<_> = self.authorities().cloned().collect();
        loop {
            if reached.iter().any(|root| root.certificate == *authority) {
                return true;
            }
            let is_next = |root: &Root| {
                reached.iter().any(|known| {
                    root.certificate == known.certificate || root.is_endorsed_by(known, &self.zone)
                })
            };
            let Some(next) = others.iter().position(is_next) else { return false };
            reached.push(others.swap_remove(next));
        }
    }

    /// When an authority stops to count, in seconds since the Unix epoch: as the newer ones say.
    fn retires(&self, root: &Root) -> Option<u64> {
        self.authorities()
            .filter(|newer| newer.rank() > root.rank())
            .filter_map(|newer| newer.endorsement.as_ref())
            .map(|endorsement| endorsement.others_retire_unix_s)
            .min()
    }

    /// When the next authority stops to count.
    pub(crate) fn next_retirement(&self) -> Option<u64> {
        self.older.iter().filter_map(|root| self.retires(root)).min()
    }

    /// Whether another authority may count.
    pub(crate) const fn has_room(&self) -> bool {
        self.older.len() < OLDER_MAX
    }

    /// The authority that signed a node's certificate, if it counts.
    pub(crate) fn issuer_of(&self, leaf: &CertificateDer<'_>) -> Option<&Root> {
        self.authorities().find(|root| certificate::is_signed_by(leaf, &root.bare_key))
    }

    /// A certificate that the other side sent after its own, when it is that of a newer authority than this
    /// node knows.
    pub(crate) fn endorsed(&self, others: &[CertificateDer<'_>]) -> Option<Root> {
        let root = Root::read(others.last()?, &self.zone).ok()?;
        let is_endorsed = self.authorities().any(|known| root.is_endorsed_by(known, &self.zone));
        (is_endorsed && !self.knows(&root)).then_some(root)
    }

    fn knows(&self, root: &Root) -> bool {
        self.authorities().any(|known| known.certificate == root.certificate)
    }

    /// Takes in an authority that one of the known ones signed. Whether it is new.
    pub(crate) fn adopt(&mut self, root: Root) -> bool {
        let is_endorsed = self.authorities().any(|known| root.is_endorsed_by(known, &self.zone));
        if self.knows(&root) || !is_endorsed || !self.has_room() {
            return false;
        }
        self.insert(root);
        true
    }

    fn insert(&mut self, root: Root) {
        if root.rank() > self.newest.rank() {
            self.older.push(std::mem::replace(&mut self.newest, root));
        } else {
            self.older.push(root);
        }
        self.older.sort_by_key(|root| std::cmp::Reverse(root.rank()));
    }

    /// Remembers authorities that count no more.
    fn remember(&mut self, roots: Vec<Root>) {
        for root in roots {
            if !self.past.iter().any(|known| known.certificate == root.certificate) {
                self.past.push(root);
            }
        }
        self.past.sort_by_key(|root| std::cmp::Reverse(root.rank()));
        self.past.truncate(PAST_MAX);
    }

    pub(crate) fn is_evicted(&self, node: &NodeId) -> bool {
        self.evicted.contains_key(node)
    }

    /// Every evicted node.
    pub(crate) fn evicted(&self) -> impl Iterator<Item = EvictedNode> {
        self.evicted.iter().map(|(node, eviction)| EvictedNode {
            node: node.clone(),
            by: eviction.by.clone(),
            at_unix_s: eviction.at_unix_s,
        })
    }

    /// Evicts a node. Whether it was not before.
    ///
    /// # Errors
    /// [`MembershipError::Refused`] when there are too many.
    pub(crate) fn evict(
        &mut self,
        node: NodeId,
        by: NodeId,
        at_unix_s: u64,
    ) -> Result<bool, MembershipError> {
        if self.is_evicted(&node) {
            return Ok(false);
        }
        if self.evicted.len() >= EVICTED_MAX {
            return Err(MembershipError::Refused(format!(
                "{EVICTED_MAX} evicted nodes are remembered, each for {} days: stop the node instead, and rotate the zone's key with `aop cluster rotate-key`",
                EVICTED_KEPT_S / (24 * 60 * 60)
            )));
        }
        self.evicted.insert(node, Eviction { by, at_unix_s });
        Ok(true)
    }

    /// Takes in what another node knows.
    pub(crate) fn merge(&mut self, document: &TrustDocument, now: u64) {
        // Each may be signed by one that comes with it.
        let roots = document.roots(&self.zone).unwrap_or_default();
        for root in roots.iter().rev().chain(&roots) {
            self.adopt(root.clone());
        }
        // The newest first, so that each is signed for by one that is known: it signed that one.
        for root in document.past(&self.zone).unwrap_or_default() {
            let signed = |later: &Root| later.is_endorsed_by(&root, &self.zone);
            let is_before_a_known_one = self.authorities().chain(&self.past).any(signed);
            if is_before_a_known_one && !self.knows(&root) {
                self.remember(vec![root]);
            }
        }
        for (node, eviction) in &document.evicted {
            let is_recent = eviction.at_unix_s.saturating_add(EVICTED_KEPT_S) > now;
            let has_room = self.evicted.len() < EVICTED_MAX;
            match self.evicted.get_mut(node) {
                // All nodes keep the same of two.
                Some(known)
                    if (eviction.at_unix_s, &eviction.by) < (known.at_unix_s, &known.by) =>
                {
                    *known = eviction.clone();
                }
                None if is_recent && has_room => {
                    self.evicted.insert(node.clone(), eviction.clone());
                }
                _ => {}
            }
        }
    }

    /// Forgets what does not count any more.
    pub(crate) fn forget(&mut self, now: u64) {
        let gone: Vec<_> = self
            .older
            .iter()
            .filter(|root| self.retires(root).is_some_and(|retires| retires <= now))
            .map(Root::fingerprint)
            .collect();
        let is_gone = |root: &Root| gone.contains(&root.fingerprint());
        let (gone, left) = std::mem::take(&mut self.older).into_iter().partition(is_gone);
        self.older = left;
        self.remember(gone);
        self.evicted.retain(|_, eviction| eviction.at_unix_s.saturating_add(EVICTED_KEPT_S) > now);
    }

    /// As it is stored and published. The same on all nodes that know the same.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let text = |root: &Root| STANDARD.encode(&root.certificate);
        let document = TrustDocument {
            format: FORMAT,
            authorities: self.authorities().map(text).collect(),
            past: self.past.iter().map(text).collect(),
            evicted: self.evicted.clone(),
        };
        // Texts and numbers: writing them cannot fail.
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

impl TrustDocument {
    /// Reads what another node published.
    ///
    /// # Errors
    /// [`MembershipError::Malformed`], also for a format of a later release.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, MembershipError> {
        let read: Self = serde_json::from_slice(bytes)
            .map_err(|error| MembershipError::Malformed(error.to_string()))?;
        if read.format != FORMAT {
            return Err(MembershipError::Malformed(format!("it has the format {}", read.format)));
        }
        Ok(read)
    }

    fn roots(&self, zone: &ZoneName) -> Result<Vec<Root>, MembershipError> {
        read_roots(&self.authorities, OLDER_MAX + 1, zone)
    }

    fn past(&self, zone: &ZoneName) -> Result<Vec<Root>, MembershipError> {
        read_roots(&self.past, PAST_MAX, zone)
    }
}

fn read_roots(texts: &[String], max: usize, zone: &ZoneName) -> Result<Vec<Root>, MembershipError> {
    let read = |text: &String| {
        let der =
            STANDARD.decode(text).map_err(|error| MembershipError::Malformed(error.to_string()))?;
        Root::read(&der.into(), zone)
    };
    texts.iter().take(max).map(read).collect()
}

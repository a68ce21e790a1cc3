//! Who this node is: its key, its certificate, its zone and its generation, in the directory
//! `cluster` of the data directory.
//!
//! ```text
//! node.key         the node's key; its id is derived from it            (mode 0600)
//! node.crt         its certificate, 24 h, renewed at half of its life
//! authority.crt    the zone's certificate
//! authority.key    the zone's key, on the nodes that hold it            (mode 0600)
//! trust.json       which authorities count, and which nodes were evicted
//! generation       the last generation
//! evicted          only in a node that learnt that it was: it joins anew, as another node
//! ```
//!
//! `trust.json` is what counts: of a rotation of the zone's key, everything before it is written does not
//! matter, and everything after is made up for at the next start.

mod authority;
mod certificate;
mod directory;
mod endorsement;
pub(super) mod files;
#[cfg(test)]
mod tests;
pub(super) mod tls;
pub(super) mod trust;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aop_core::{Generation, NodeId};
use arc_swap::ArcSwap;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, PublicKeyData as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

pub(crate) use self::authority::{Authority, Request};
use self::authority::{authority_zone, pem_of};
pub(crate) use self::certificate::NodeCertificate;
pub use self::directory::IdentityDirectory;
use self::directory::read_certificate;
pub(crate) use self::tls::{Protocol, Tls};
use self::trust::Root;
pub(crate) use self::trust::Trust;
use super::MembershipError;
use crate::ZoneName;

/// Fills a buffer with unpredictable bytes.
pub(super) fn random(bytes: &mut [u8]) -> Result<(), MembershipError> {
    rustls::crypto::ring::default_provider().secure_random.fill(bytes).map_err(|_| {
        MembershipError::Certificate("this machine gives no random numbers".to_owned())
    })
}

/// The key of a node, before or after it belongs to a zone.
pub(crate) struct NodeKey {
    directory: IdentityDirectory,
    pair: KeyPair,
}

impl NodeKey {
    /// The node's key; made at its first start.
    pub(crate) fn open(directory: &IdentityDirectory) -> Result<Self, MembershipError> {
        files::make_directory(&directory.0)?;
        let path = directory.node_key();
        let pair = match files::read(&path)? {
            Some(pem) => {
                files::check_private(&path)?;
                KeyPair::from_pem(&pem).map_err(|error| MembershipError::damaged(&path, error))?
            }
            None => {
                let pair = KeyPair::generate_for(&PKCS_ED25519)?;
                files::write_private(&path, pair.serialize_pem().as_bytes())?;
                pair
            }
        };
        Ok(Self { directory: directory.clone(), pair })
    }

    pub(crate) fn id(&self) -> NodeId {
        NodeId::of_public_key(&self.pair.subject_public_key_info())
    }

    /// Asks for a certificate: signed with the key, so that nobody asks for another's.
    pub(crate) fn request(&self) -> Result<Vec<u8>, MembershipError> {
        Ok(CertificateParams::default().serialize_request(&self.pair)?.der().to_vec())
    }

    /// Makes this the first node of a zone.
    pub(crate) fn found(self, zone: &ZoneName, now: u64) -> Result<Identity, MembershipError> {
        let key = self.directory.authority_key();
        let authority = Authority::found(zone, &key, now)?;
        let path = self.directory.authority_certificate();
        files::write_private(&path, pem_of(&authority).as_bytes())?;
        self.identity(now)
    }

    /// Makes this a member with what a zone answered: its authority, those before it, and the certificate.
    ///
    /// # Errors
    /// [`MembershipError::OtherZone`] and [`MembershipError::TokenOfOtherZone`] when this data directory belongs to
    /// another zone: its tenants and keys would come along, unasked.
    pub(crate) fn adopt(
        self,
        authority: CertificateDer<'static>,
        lineage: &[CertificateDer<'static>],
        certificate: &CertificateDer<'static>,
        now: u64,
    ) -> Result<Identity, MembershipError> {
        let zone = authority_zone(&authority)?;
        self.check(certificate, &zone)?;
        match self.directory.trust()? {
            Some((held, _)) if held != zone => {
                return Err(MembershipError::OtherZone {
                    held: held.to_string(),
                    wanted: zone.to_string(),
                });
            }
            Some((held, trust)) if !trust.leads_to(&authority, lineage) => {
                return Err(MembershipError::TokenOfOtherZone {
                    held: held.to_string(),
                    directory: self.directory.0.clone(),
                });
            }
            _ => {}
        }
        // What was trusted when this node was a member before counts no more.
        files::remove(&self.directory.trust_file())?;
        let path = self.directory.node_certificate();
        files::write_private(&path, pem_of(certificate).as_bytes())?;
        let path = self.directory.authority_certificate();
        files::write_private(&path, pem_of(&authority).as_bytes())?;
        self.identity(now)
    }

    /// The identity that the files make, when they make one.
    pub(crate) fn resume(self, now: u64) -> Result<Result<Identity, Self>, MembershipError> {
        if self.directory.has_zone() { self.identity(now).map(Ok) } else { Ok(Err(self)) }
    }

    fn identity(self, now: u64) -> Result<Identity, MembershipError> {
        let (zone, mut trust) = self.directory.trust()?.ok_or(MembershipError::NoAuthority)?;
        trust.forget(now);
        self.directory.settle(&trust)?;
        let authority = self.authority(&zone, &trust);
        let path = self.directory.node_certificate();
        let certificate = match read_certificate(&path)? {
            Some(certificate) => certificate,
            // Only whoever holds the zone's key can be here without one.
            None => {
                let certificate = authority.sign(&Request::read(&self.request()?)?, now)?;
                files::write_private(&path, pem_of(&certificate).as_bytes())?;
                certificate
            }
        };
        self.check(&certificate, &zone).map_err(|error| MembershipError::damaged(&path, error))?;
        let trust = Arc::new(trust);
        let state =
            ArcSwap::from_pointee(Credentials::new(&self.pair, authority, &trust, certificate)?);
        Ok(Identity {
            id: self.id(),
            zone,
            key: self,
            state,
            trust: watch::Sender::new(trust),
            renewed: watch::Sender::new(()),
            changing: Mutex::new(()),
        })
    }

    fn authority(&self, zone: &ZoneName, trust: &Trust) -> Authority {
        let certificate = trust.newest().certificate.clone();
        Authority::new(zone.clone(), certificate, self.directory.authority_key())
    }

    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        zone: &ZoneName,
    ) -> Result<(), MembershipError> {
        let read = NodeCertificate::read(certificate)?;
        if read.node != self.id() || read.zone != *zone {
            return Err(MembershipError::Certificate(
                "the certificate is not that of this node".to_owned(),
            ));
        }
        Ok(())
    }
}

/// What a certificate and those that count give: TLS, and when it ends.
struct Credentials {
    tls: Arc<Tls>,
    certificate: NodeCertificate,
    leaf: CertificateDer<'static>,
    authority: Authority,
    /// Whether the authority that signs now signed the certificate.
    is_of_newest: bool,
}

impl Credentials {
    fn new(
        pair: &KeyPair,
        authority: Authority,
        trust: &Arc<Trust>,
        leaf: CertificateDer<'static>,
    ) -> Result<Self, MembershipError> {
        let certificate = NodeCertificate::read(&leaf)?;
        let key = PrivateKeyDer::try_from(pair.serialize_der())
            .map_err(|error| MembershipError::Certificate(error.to_owned()))?;
        let issuer = trust.issuer_of(&leaf).unwrap_or(trust.newest());
        let is_of_newest = trust.issuer_of(&leaf) == Some(trust.newest());
        let chain = vec![leaf.clone(), issuer.certificate.clone()];
        let certified = CertifiedKey::from_der(chain, key, &tls::provider())?;
        let tls = Arc::new(Tls::new(&certificate.zone, trust, &Arc::new(certified))?);
        Ok(Self { tls, certificate, leaf, authority, is_of_newest })
    }
}

/// A node of a zone.
pub(crate) struct Identity {
    id: NodeId,
    zone: ZoneName,
    key: NodeKey,
    state: ArcSwap<Credentials>,
    trust: watch::Sender<Arc<Trust>>,
    renewed: watch::Sender<()>,
    /// Held while the files change.
    changing: Mutex<()>,
}

impl Identity {
    pub(crate) fn id(&self) -> &NodeId {
        &self.id
    }

    pub(crate) fn zone(&self) -> &ZoneName {
        &self.zone
    }

    /// The authority that signs now.
    pub(crate) fn authority(&self) -> Authority {
        self.state.load().authority.clone()
    }

    /// Whose certificates count, from now on.
    pub(crate) fn trust(&self) -> watch::Receiver<Arc<Trust>> {
        self.trust.subscribe()
    }

    /// Changes with every new certificate.
    #[cfg(test)]
    pub(crate) fn renewals(&self) -> watch::Receiver<()> {
        self.renewed.subscribe()
    }

    /// Ends when a node was evicted.
    pub(crate) async fn until_evicted(&self, node: &NodeId) {
        // It only fails when this identity is gone.
        let _ = self.trust().wait_for(|trust| trust.is_evicted(node)).await;
    }

    /// TLS with the newest certificate.
    pub(crate) fn tls(&self) -> Arc<Tls> {
        self.state.load().tls.clone()
    }

    /// When the certificate begins and ends, in seconds since the Unix epoch.
    pub(crate) fn validity(&self) -> (u64, u64) {
        let state = self.state.load();
        (state.certificate.begins, state.certificate.ends)
    }

    /// Whether the certificate is of an authority that was followed by another one.
    pub(crate) fn is_outdated(&self) -> bool {
        !self.state.load().is_of_newest
    }

    /// Asks for a new certificate.
    pub(crate) fn request(&self) -> Result<Vec<u8>, MembershipError> {
        self.key.request()
    }

    /// Takes a new certificate into use, and the authority that signed it if this node has not heard of it.
    pub(crate) fn renew(
        &self,
        leaf: CertificateDer<'static>,
        authority: &CertificateDer<'_>,
    ) -> Result<(), MembershipError> {
        self.key.check(&leaf, &self.zone)?;
        let root = Root::read(authority, &self.zone)?;
        self.change_trust(|trust| {
            trust.adopt(root);
            Ok(())
        })?;
        let _turn = self.changing();
        let trust = self.trust.borrow().clone();
        if trust.issuer_of(&leaf).is_none() {
            return Err(MembershipError::Certificate(
                "the certificate is of an authority that this node does not know".to_owned(),
            ));
        }
        let pem = pem_of(&leaf);
        let state =
            Credentials::new(&self.key.pair, self.key.authority(&self.zone, &trust), &trust, leaf)?;
        files::write_private(&self.key.directory.node_certificate(), pem.as_bytes())?;
        self.state.store(Arc::new(state));
        self.renewed.send_replace(());
        Ok(())
    }

    /// Changes whom this node trusts. It counts, and is durable, when this returns.
    pub(crate) fn change_trust<T>(
        &self,
        change: impl FnOnce(&mut Trust) -> Result<T, MembershipError>,
    ) -> Result<T, MembershipError> {
        let _turn = self.changing();
        let before = self.trust.borrow().clone();
        let mut trust = (*before).clone();
        let changed = change(&mut trust)?;
        if trust == *before {
            return Ok(changed);
        }
        let directory = &self.key.directory;
        files::write_private(&directory.trust_file(), &trust.to_bytes())?;
        let trust = Arc::new(trust);
        let authority = self.key.authority(&self.zone, &trust);
        let leaf = self.state.load().leaf.clone();
        let state = Credentials::new(&self.key.pair, authority, &trust, leaf)?;
        self.state.store(Arc::new(state));
        self.trust.send_replace(trust.clone());
        // It counts already: what cannot be done here is done at the next start.
        if let Err(error) = directory.settle(&trust) {
            tracing::error!(%error, "the zone's new key is not in its place yet: restart this host when that is mended");
        }
        Ok(changed)
    }

    /// Makes a new authority in place of the one that is held here. Certificates of the one before count for
    /// `overlap` more. Answers when it stops to count, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`MembershipError::NoAuthority`] without its key, [`MembershipError::Refused`] while certificates of an
    /// earlier one still count, unless it shall be made `again`; and when too many count already.
    pub(crate) fn rotate(
        &self,
        now: u64,
        overlap: Duration,
        again: bool,
    ) -> Result<u64, MembershipError> {
        let directory = &self.key.directory;
        self.change_trust(|trust| {
            if let Some(retires) = trust.next_retirement().filter(|_| !again || !trust.has_room()) {
                let after = retires.saturating_sub(now).max(1);
                let advice = if again {
                    "no more count at one time: try again after that"
                } else {
                    "try again after that, or at once with --again and a short --overlap when that key is in the wrong hands"
                };
                return Err(MembershipError::Refused(format!(
                    "the zone's key was rotated lately, and certificates of the one before count for {after} s more: {advice}"
                )));
            }
            let made = trust.newest().made_after(now);
            let retires = made.saturating_add(overlap.as_secs());
            let authority = self.key.authority(&self.zone, trust);
            let next = authority.succeed(&directory.next_authority_key(), made, retires)?;
            trust.adopt(Root::read(&next, &self.zone)?);
            Ok(retires)
        })
    }

    /// Remembers that this node was evicted, for its next start.
    pub(crate) fn remember_evicted(&self) -> Result<(), MembershipError> {
        files::write_private(&self.key.directory.evicted(), b"")
    }

    fn changing(&self) -> std::sync::MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next generation of this node, stored before anybody hears of it.
    pub(crate) fn next_generation(&self, now: u64) -> Result<Generation, MembershipError> {
        let path = self.key.directory.file("generation");
        let last = match files::read(&path)? {
            None => None,
            Some(text) => Some(Generation(
                text.trim().parse().map_err(|error| MembershipError::damaged(&path, error))?,
            )),
        };
        let next = Generation::after(last, now);
        files::write_private(&path, next.to_string().as_bytes())?;
        Ok(next)
    }
}

//! Who this node is: its key, its certificate, its zone and its generation, in the directory
//! `cluster` of the data directory.
//!
//! ```text
//! node.key         the node's key; its id is derived from it            (mode 0600)
//! node.crt         its certificate, 24 h, renewed at half of its life
//! authority.crt    the zone's certificate
//! authority.key    the zone's key, on the nodes that hold it            (mode 0600)
//! generation       the last generation
//! ```

mod authority;
mod certificate;
pub(super) mod files;
#[cfg(test)]
mod tests;
pub(super) mod tls;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aop_core::{Generation, NodeId};
use arc_swap::ArcSwap;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, PublicKeyData as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

pub(crate) use self::authority::{Authority, Request};
use self::authority::{Imported, authority_zone, pem_of};
pub(crate) use self::certificate::NodeCertificate;
pub(crate) use self::tls::{Protocol, Tls};
use super::MembershipError;
use crate::ZoneName;

/// Fills a buffer with unpredictable bytes.
pub(super) fn random(bytes: &mut [u8]) -> Result<(), MembershipError> {
    rustls::crypto::ring::default_provider().secure_random.fill(bytes).map_err(|_| {
        MembershipError::Certificate("this machine gives no random numbers".to_owned())
    })
}

/// The files of an identity.
#[derive(Debug, Clone)]
pub struct IdentityDirectory(PathBuf);

impl IdentityDirectory {
    /// The directory below a host's data directory.
    #[must_use]
    pub fn of_data(data: &Path) -> Self {
        Self(data.join("cluster"))
    }

    /// Whether the host of this data directory belongs to a zone.
    #[must_use]
    pub fn has_zone(&self) -> bool {
        self.authority_certificate().exists()
    }

    /// The zone's key and certificate as PEM: all that is needed to let nodes in.
    ///
    /// # Errors
    /// [`MembershipError::NoAuthority`] when the key is not here.
    pub fn export_authority(&self) -> Result<String, MembershipError> {
        let certificate =
            read_certificate(&self.authority_certificate())?.ok_or(MembershipError::NoAuthority)?;
        let zone = authority_zone(&certificate)?;
        Authority::new(zone, certificate, self.authority_key()).export()
    }

    /// Puts the zone's key, from a file that [`export_authority`](Self::export_authority) filled, where
    /// this host's node finds it. A running one uses it at once. Answers the zone.
    ///
    /// # Errors
    /// [`MembershipError::OtherZone`] when the host belongs to another zone,
    /// [`MembershipError::Exposed`] when others can read the file.
    pub fn import_authority(&self, from: &Path) -> Result<ZoneName, MembershipError> {
        let imported = Imported::read(from)?;
        files::make_directory(&self.0)?;
        match read_certificate(&self.authority_certificate())? {
            Some(held) if held != imported.certificate => {
                return Err(MembershipError::OtherZone {
                    held: authority_zone(&held)?.to_string(),
                    wanted: imported.zone.to_string(),
                });
            }
            Some(_) => {}
            None => files::write_private(
                &self.authority_certificate(),
                pem_of(&imported.certificate).as_bytes(),
            )?,
        }
        imported.write_key(&self.authority_key())?;
        Ok(imported.zone)
    }

    /// A file of membership that is no part of the identity.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn node_key(&self) -> PathBuf {
        self.0.join("node.key")
    }

    fn node_certificate(&self) -> PathBuf {
        self.0.join("node.crt")
    }

    fn authority_certificate(&self) -> PathBuf {
        self.0.join("authority.crt")
    }

    fn authority_key(&self) -> PathBuf {
        self.0.join("authority.key")
    }
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
        self.identity(authority, now)
    }

    /// Makes this a member with what a zone answered.
    pub(crate) fn adopt(
        self,
        authority: CertificateDer<'static>,
        certificate: &CertificateDer<'static>,
        now: u64,
    ) -> Result<Identity, MembershipError> {
        self.check(certificate, &authority_zone(&authority)?)?;
        let path = self.directory.node_certificate();
        files::write_private(&path, pem_of(certificate).as_bytes())?;
        let path = self.directory.authority_certificate();
        files::write_private(&path, pem_of(&authority).as_bytes())?;
        self.identity(authority, now)
    }

    /// The identity that the files make, when they make one.
    pub(crate) fn resume(self, now: u64) -> Result<Result<Identity, Self>, MembershipError> {
        match read_certificate(&self.directory.authority_certificate())? {
            Some(authority) => self.identity(authority, now).map(Ok),
            None => Ok(Err(self)),
        }
    }

    fn identity(
        self,
        authority: CertificateDer<'static>,
        now: u64,
    ) -> Result<Identity, MembershipError> {
        let zone = authority_zone(&authority)?;
        let authority = Authority::new(zone.clone(), authority, self.directory.authority_key());
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
        let state = ArcSwap::from_pointee(Credentials::new(&self.pair, &authority, certificate)?);
        Ok(Identity { id: self.id(), zone, authority, key: self, state })
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

/// What a certificate gives: TLS, and when it ends.
struct Credentials {
    tls: Arc<Tls>,
    certificate: NodeCertificate,
}

impl Credentials {
    fn new(
        pair: &KeyPair,
        authority: &Authority,
        certificate: CertificateDer<'static>,
    ) -> Result<Self, MembershipError> {
        let read = NodeCertificate::read(&certificate)?;
        let key = PrivateKeyDer::try_from(pair.serialize_der())
            .map_err(|error| MembershipError::Certificate(error.to_owned()))?;
        let chain = vec![certificate, authority.certificate().clone()];
        let certified = CertifiedKey::from_der(chain, key, &tls::provider())?;
        let tls = Tls::new(&read.zone, authority.certificate(), &Arc::new(certified))?;
        Ok(Self { tls: Arc::new(tls), certificate: read })
    }
}

/// A node of a zone.
pub(crate) struct Identity {
    id: NodeId,
    zone: ZoneName,
    authority: Authority,
    key: NodeKey,
    state: ArcSwap<Credentials>,
}

impl Identity {
    pub(crate) fn id(&self) -> &NodeId {
        &self.id
    }

    pub(crate) fn zone(&self) -> &ZoneName {
        &self.zone
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
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

    /// Asks for a new certificate.
    pub(crate) fn request(&self) -> Result<Vec<u8>, MembershipError> {
        self.key.request()
    }

    /// Takes a new certificate into use.
    pub(crate) fn renew(
        &self,
        certificate: CertificateDer<'static>,
    ) -> Result<(), MembershipError> {
        self.key.check(&certificate, &self.zone)?;
        let pem = pem_of(&certificate);
        let state = Credentials::new(&self.key.pair, &self.authority, certificate)?;
        files::write_private(&self.key.directory.node_certificate(), pem.as_bytes())?;
        self.state.store(Arc::new(state));
        Ok(())
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

fn read_certificate(path: &Path) -> Result<Option<CertificateDer<'static>>, MembershipError> {
    files::read(path)?
        .map(|text| {
            CertificateDer::from_pem_slice(text.as_bytes())
                .map_err(|error| MembershipError::damaged(path, error))
        })
        .transpose()
}

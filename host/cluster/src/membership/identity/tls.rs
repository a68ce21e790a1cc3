//! TLS between the nodes of a zone: version 1.3, both sides prove who they are.
//!
//! What a connection is for is its ALPN protocol, so that everything shares one port. Without a
//! certificate of the zone only [`Protocol::Join`] can be spoken; the handshake fails for all others
//! before one byte of theirs is read.
//!
//! Names play no part: a node is found by its address and known by its key. Sessions are not
//! resumed, so that every connection is checked in full against the certificates of its moment.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aop_core::{Digest, NodeId};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
};

use super::certificate::NodeCertificate;
use super::trust::{Root, Trust};
use crate::ZoneName;
use crate::membership::MembershipError;

/// How long after its end a certificate still proves who asks for a new one. Whoever was away for
/// longer joins again with a token.
pub(crate) const RENEWAL_GRACE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// What a connection between nodes is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    /// A stranger with a token asks to become a member.
    Join,
    /// A node whose certificate may have ended asks for a new one.
    Renew,
    /// A stream of gossip, one way.
    Gossip,
    /// Questions between members, one after another.
    Ask,
    /// HTTP/2: calls.
    Http2,
}

impl Protocol {
    const ALL: [Self; 5] = [Self::Join, Self::Renew, Self::Gossip, Self::Ask, Self::Http2];

    /// Its ALPN name. The number is the version of what is spoken inside: two adjacent releases work in
    /// one zone.
    pub(crate) const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Join => b"aop-join/1",
            Self::Renew => b"aop-renew/1",
            Self::Gossip => b"aop-gossip/1",
            Self::Ask => b"aop-ask/1",
            Self::Http2 => b"h2",
        }
    }

    /// The protocol that a client asks for: the first that is known here.
    pub(crate) fn of_alpn<'a>(mut names: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        names.find_map(|name| Self::ALL.into_iter().find(|protocol| protocol.alpn() == name))
    }
}

/// The TLS of one node at one moment of its certificate.
#[derive(Debug)]
pub(crate) struct Tls {
    client: [Arc<ClientConfig>; 4],
    server: [Arc<ServerConfig>; 5],
}

impl Tls {
    pub(crate) fn new(
        zone: &ZoneName,
        trust: &Arc<Trust>,
        certified: &Arc<CertifiedKey>,
    ) -> Result<Self, MembershipError> {
        let provider = provider();
        let roots = Arc::new(roots(trust, None)?);
        let members = Members { zone: zone.clone(), trust: trust.clone() };
        let servers = Arc::new(VerifyServer {
            roots: roots.clone(),
            members: members.clone(),
            provider: provider.clone(),
        });
        let client = |protocol: Protocol| -> Result<_, MembershipError> {
            let mut config = ClientConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .dangerous()
                .with_custom_certificate_verifier(servers.clone())
                .with_client_cert_resolver(Arc::new(Always(certified.clone())));
            finish_client(&mut config, protocol);
            Ok(Arc::new(config))
        };
        let server = |protocol: Protocol| -> Result<_, MembershipError> {
            let builder = ServerConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[&rustls::version::TLS13])?;
            let builder = match protocol {
                Protocol::Join => builder.with_no_client_auth(),
                _ => builder.with_client_cert_verifier(Arc::new(VerifyClient {
                    inner: web_pki(roots.clone(), provider.clone())
                        .map_err(|error| MembershipError::Certificate(error.to_string()))?,
                    members: members.clone(),
                    provider: provider.clone(),
                    is_renewal: protocol == Protocol::Renew,
                })),
            };
            let mut config = builder.with_cert_resolver(Arc::new(Always(certified.clone())));
            config.alpn_protocols = vec![protocol.alpn().to_vec()];
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            Ok(Arc::new(config))
        };
        Ok(Self {
            client: [
                client(Protocol::Renew)?,
                client(Protocol::Gossip)?,
                client(Protocol::Ask)?,
                client(Protocol::Http2)?,
            ],
            server: [
                server(Protocol::Join)?,
                server(Protocol::Renew)?,
                server(Protocol::Gossip)?,
                server(Protocol::Ask)?,
                server(Protocol::Http2)?,
            ],
        })
    }

    /// To speak a protocol with a member; joining is for those who are none yet, see [`join_client`].
    pub(crate) fn client(&self, protocol: Protocol) -> Arc<ClientConfig> {
        let index = match protocol {
            Protocol::Join | Protocol::Renew => 0,
            Protocol::Gossip => 1,
            Protocol::Ask => 2,
            Protocol::Http2 => 3,
        };
        self.client[index].clone()
    }

    /// To answer a protocol.
    pub(crate) fn server(&self, protocol: Protocol) -> Arc<ServerConfig> {
        self.server[protocol as usize].clone()
    }
}

/// To ask a zone for membership: the other side must belong to the zone whose authority's certificate
/// has this fingerprint. It is checked before the token is sent.
pub(crate) fn join_client(fingerprint: Digest) -> Result<Arc<ClientConfig>, MembershipError> {
    let provider = provider();
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(VerifyZone { fingerprint, provider }))
        .with_no_client_auth();
    finish_client(&mut config, Protocol::Join);
    Ok(Arc::new(config))
}

fn finish_client(config: &mut ClientConfig, protocol: Protocol) {
    config.alpn_protocols = vec![protocol.alpn().to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
}

/// The cryptography: ring, as everywhere in this host.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Presents the one certificate that a node has.
struct Always(Arc<CertifiedKey>);

impl fmt::Debug for Always {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Always")
    }
}

impl rustls::client::ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl rustls::server::ResolvesServerCert for Always {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Whose certificates count.
#[derive(Debug, Clone)]
struct Members {
    zone: ZoneName,
    trust: Arc<Trust>,
}

impl Members {
    /// Refuses a certificate that is not of a node of the zone.
    fn read(&self, certificate: &CertificateDer<'_>) -> Result<NodeCertificate, Error> {
        NodeCertificate::read(certificate)
            .ok()
            .filter(|certificate| certificate.zone == self.zone)
            .ok_or(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    /// Refuses a node that was evicted.
    fn admit(&self, node: &NodeId) -> Result<(), Error> {
        if self.trust.is_evicted(node) {
            return Err(Error::InvalidCertificate(CertificateError::Revoked));
        }
        Ok(())
    }

    /// With the newer authority that the other side belongs to, when this node has not heard of it.
    fn newer_roots(&self, others: &[CertificateDer<'_>]) -> Result<Option<RootCertStore>, Error> {
        self.trust.endorsed(others).map(|root| roots(&self.trust, Some(root))).transpose()
    }
}

fn roots(trust: &Trust, newer: Option<Root>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for root in trust.authorities().chain(&newer) {
        roots.add(root.certificate.clone())?;
    }
    Ok(roots)
}

fn web_pki(
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    WebPkiClientVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| Error::General(error.to_string()))
}

/// Both verifiers of servers speak TLS 1.3 only.
macro_rules! tls13_signatures_only {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("TLS 1.2 is not spoken between nodes".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

/// Accepts servers that are nodes of the zone.
#[derive(Debug)]
struct VerifyServer {
    roots: Arc<RootCertStore>,
    members: Members,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for VerifyServer {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let newer = self.members.newer_roots(others)?;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(certificate)?,
            newer.as_ref().unwrap_or(&self.roots),
            &[],
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        self.members.admit(&self.members.read(certificate)?.node)?;
        Ok(ServerCertVerified::assertion())
    }

    tls13_signatures_only!();
}

/// Accepts servers of the zone whose authority a token names; the authority's certificate is the last
/// that they send.
#[derive(Debug)]
struct VerifyZone {
    fingerprint: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for VerifyZone {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = others
            .last()
            .filter(|authority| Digest::of(authority) == self.fingerprint)
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(certificate)?,
            &roots,
            &[],
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        NodeCertificate::read(certificate).map_err(|_| {
            Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        })?;
        Ok(ServerCertVerified::assertion())
    }

    tls13_signatures_only!();
}

/// Accepts clients that are nodes of the zone.
#[derive(Debug)]
struct VerifyClient {
    inner: Arc<dyn ClientCertVerifier>,
    members: Members,
    provider: Arc<CryptoProvider>,
    /// Whether a certificate that has ended is still accepted, and an evicted node told that it is.
    is_renewal: bool,
}

impl ClientCertVerifier for VerifyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let read = self.members.read(certificate)?;
        // Within the grace the certificate is judged as of its last moment.
        let late = now.as_secs().saturating_sub(read.ends);
        let now = if self.is_renewal && (1..=RENEWAL_GRACE.as_secs()).contains(&late) {
            UnixTime::since_unix_epoch(Duration::from_secs(read.ends))
        } else {
            now
        };
        if !self.is_renewal {
            self.members.admit(&read.node)?;
        }
        // What else it sent can only say that there is a newer authority.
        match self.members.newer_roots(others)? {
            Some(roots) => web_pki(Arc::new(roots), self.provider.clone())?.verify_client_cert(
                certificate,
                &[],
                now,
            ),
            None => self.inner.verify_client_cert(certificate, &[], now),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

//! The authority of a zone: the key whose signature makes a node a member.
//!
//! The first node of a zone makes it. It is a PEM file of mode 0600, read only when something is to
//! be signed, so that a copy put there by `aop cluster ca import` works at once, and so that the key
//! is in memory only while it is needed. Several nodes may hold it; it never travels over a network.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aop_core::{Digest, NodeId};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519,
    PublicKey, PublicKeyData as _, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::certificate::spiffe_name;
use super::endorsement::Endorsement;
use super::files;
use crate::ZoneName;
use crate::membership::MembershipError;

/// How long a node's certificate holds: an evicted or stolen one ends by itself within a day.
pub(crate) const CERTIFICATE_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// How far certificates reach back, so that a node whose clock is behind accepts them: clocks that
/// are more than two hours apart show in every log.
const BACKDATED: Duration = Duration::from_secs(2 * 60 * 60);
/// How long the authority's own certificate holds.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Random bytes of a serial number; RFC 5280 allows 20 octets.
const SERIAL_BYTES: usize = 16;

/// A request for a certificate, signed with the key that it is for.
#[derive(Debug)]
pub(crate) struct Request {
    /// The node that has the key.
    pub(crate) node: NodeId,
    key: PublicKey,
}

impl Request {
    /// Reads a request and checks that its key signed it.
    ///
    /// # Errors
    /// [`MembershipError::Refused`].
    pub(crate) fn read(der: &[u8]) -> Result<Self, MembershipError> {
        let read = CertificateSigningRequestParams::from_der(&der.into()).map_err(|error| {
            MembershipError::Refused(format!("the certificate request is malformed: {error}"))
        })?;
        let node = NodeId::of_public_key(&read.public_key.subject_public_key_info());
        Ok(Self { node, key: read.public_key })
    }
}

/// The authority of one zone, as far as this data directory has it.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    zone: ZoneName,
    certificate: CertificateDer<'static>,
    key: PathBuf,
}

impl Authority {
    /// Makes the authority of a new zone. Answers its certificate; the key is written to `key`.
    pub(crate) fn found(
        zone: &ZoneName,
        key: &Path,
        now: u64,
    ) -> Result<CertificateDer<'static>, MembershipError> {
        let pair = KeyPair::generate_for(&PKCS_ED25519)?;
        let certificate = self_signed(zone, &pair, now, None)?;
        files::write_private(key, pair.serialize_pem().as_bytes())?;
        Ok(certificate)
    }

    /// Makes the authority that comes after this one. Answers its certificate, which this one's signature is
    /// in; the key is written to `key`.
    ///
    /// # Errors
    /// [`MembershipError::NoAuthority`] without this one's key.
    pub(crate) fn succeed(
        &self,
        key: &Path,
        made_unix_s: u64,
        others_retire_unix_s: u64,
    ) -> Result<CertificateDer<'static>, MembershipError> {
        let (old, pair) = (self.key()?, KeyPair::generate_for(&PKCS_ED25519)?);
        let endorsement = Endorsement::sign(
            &old,
            &self.zone,
            &pair.subject_public_key_info(),
            made_unix_s,
            others_retire_unix_s,
        )?;
        let certificate = self_signed(&self.zone, &pair, made_unix_s, Some(&endorsement))?;
        files::write_private(key, pair.serialize_pem().as_bytes())?;
        Ok(certificate)
    }

    pub(crate) fn new(zone: ZoneName, certificate: CertificateDer<'static>, key: PathBuf) -> Self {
        Self { zone, certificate, key }
    }

    /// The authority's certificate.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What identifies the zone in a join token.
    pub(crate) fn fingerprint(&self) -> Digest {
        Digest::of(&self.certificate)
    }

    /// Whether this node can sign: it has the key, and not that of an authority before this one.
    pub(crate) fn is_held(&self) -> bool {
        self.key.exists() && !matches!(self.key(), Err(MembershipError::NoAuthority))
    }

    /// Signs a certificate for the key of a request. Whatever else the request asks for is ignored: the
    /// name follows from the key.
    ///
    /// # Errors
    /// [`MembershipError::NoAuthority`] without the zone's key.
    pub(crate) fn sign(
        &self,
        request: &Request,
        now: u64,
    ) -> Result<CertificateDer<'static>, MembershipError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(request.node.as_str());
        let uri = spiffe_name(&self.zone, &request.node);
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(serial()?);
        (params.not_before, params.not_after) = validity(now, CERTIFICATE_LIFE)?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, self.key()?)?;
        Ok(params.signed_by(&request.key, &issuer)?.into())
    }

    fn key(&self) -> Result<KeyPair, MembershipError> {
        let pem = files::read(&self.key)?.ok_or(MembershipError::NoAuthority)?;
        files::check_private(&self.key)?;
        let key =
            KeyPair::from_pem(&pem).map_err(|error| MembershipError::damaged(&self.key, error))?;
        // Since the zone's key was rotated on another node, this one is of no use.
        if is_key_of(&key, &self.certificate) { Ok(key) } else { Err(MembershipError::NoAuthority) }
    }

    /// Certificate and key as one PEM text, for a backup or for another node.
    ///
    /// # Errors
    /// [`MembershipError::NoAuthority`] without the key.
    pub(crate) fn export(&self) -> Result<String, MembershipError> {
        let key = self.key()?.serialize_pem();
        Ok(pem_of(&self.certificate) + &key)
    }
}

/// An authority that is read from what [`Authority::export`] made.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) zone: ZoneName,
    key: KeyPair,
}

impl Imported {
    /// Reads an export.
    ///
    /// # Errors
    /// [`MembershipError::Exposed`] when others can read the file, [`MembershipError::Certificate`] when
    /// it is no export.
    pub(crate) fn read(from: &Path) -> Result<Self, MembershipError> {
        let text = files::read(from)?.ok_or_else(|| {
            MembershipError::file("read", from, std::io::ErrorKind::NotFound.into())
        })?;
        files::check_private(from)?;
        let wrong = |reason: &str| {
            MembershipError::Certificate(format!(
                "{} is no file that `aop cluster ca export` made: {reason}",
                from.display()
            ))
        };
        let certificate = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|_| wrong("no certificate is in it"))?;
        let zone = authority_zone(&certificate)?;
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
            .ok()
            .and_then(|key| KeyPair::try_from(&key).ok())
            .ok_or_else(|| wrong("no private key is in it"))?;
        if !is_key_of(&key, &certificate) {
            return Err(wrong("its key does not belong to its certificate"));
        }
        Ok(Self { certificate, zone, key })
    }

    /// Stores the key.
    pub(crate) fn write_key(&self, path: &Path) -> Result<(), MembershipError> {
        files::write_private(path, self.key.serialize_pem().as_bytes())
    }
}

fn self_signed(
    zone: &ZoneName,
    pair: &KeyPair,
    now: u64,
    endorsement: Option<&Endorsement>,
) -> Result<CertificateDer<'static>, MembershipError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(&format!("AOP zone {zone}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{zone}").try_into()?)];
    params.serial_number = Some(serial()?);
    params.custom_extensions = endorsement.map(Endorsement::extension).into_iter().collect();
    (params.not_before, params.not_after) = validity(now, AUTHORITY_LIFE)?;
    Ok(params.self_signed(pair)?.into())
}

/// Whether a key file is that of an authority.
pub(super) fn is_key_file_of(
    path: &Path,
    certificate: &CertificateDer<'_>,
) -> Result<bool, MembershipError> {
    let pem = files::read(path)?.unwrap_or_default();
    Ok(KeyPair::from_pem(&pem).is_ok_and(|key| is_key_of(&key, certificate)))
}

fn is_key_of(key: &KeyPair, certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| {
        certificate.public_key().raw == key.subject_public_key_info().as_slice()
    })
}

/// The zone that a certificate is the authority of: the one URI in it, `spiffe://ZONE`.
pub(crate) fn authority_zone(der: &CertificateDer<'_>) -> Result<ZoneName, MembershipError> {
    let wrong = || MembershipError::Certificate("the certificate is not that of a zone".to_owned());
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| wrong())?;
    let names = certificate.subject_alternative_name().ok().flatten().ok_or_else(wrong)?;
    let [GeneralName::URI(name)] = names.value.general_names.as_slice() else {
        return Err(wrong());
    };
    let zone = name.strip_prefix("spiffe://").filter(|_| certificate.is_ca()).ok_or_else(wrong)?;
    zone.parse().map_err(|_| wrong())
}

/// A certificate as PEM.
pub(crate) fn pem_of(certificate: &CertificateDer<'_>) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", certificate.to_vec()), config)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn serial() -> Result<SerialNumber, MembershipError> {
    let mut bytes = [0; SERIAL_BYTES];
    super::random(&mut bytes)?;
    // Positive, as RFC 5280 wants it.
    bytes[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&bytes))
}

fn validity(now: u64, life: Duration) -> Result<(OffsetDateTime, OffsetDateTime), MembershipError> {
    let at = |seconds: u64| {
        i64::try_from(seconds)
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .ok_or_else(|| {
                MembershipError::Certificate("the clock of this machine is wrong".to_owned())
            })
    };
    Ok((at(now.saturating_sub(BACKDATED.as_secs()))?, at(now.saturating_add(life.as_secs()))?))
}

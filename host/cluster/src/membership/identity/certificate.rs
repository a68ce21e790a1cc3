//! What a certificate of a node says: which node of which zone, and until when.
//!
//! The name is a URI in SPIFFE form, `spiffe://ZONE/node/ID`. The id is derived from the key, so a
//! certificate whose name and key disagree was not made by this code and is refused.

use aop_core::NodeId;
use ring::signature::{ED25519, UnparsedPublicKey};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::ZoneName;
use crate::membership::MembershipError;

/// A node's certificate, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeCertificate {
    pub(crate) node: NodeId,
    pub(crate) zone: ZoneName,
    /// Seconds since the Unix epoch.
    pub(crate) begins: u64,
    /// Seconds since the Unix epoch.
    pub(crate) ends: u64,
}

/// The name of a node in its certificate.
pub(crate) fn spiffe_name(zone: &ZoneName, node: &NodeId) -> String {
    format!("spiffe://{zone}/node/{node}")
}

/// Whether an authority's key, 32 bytes of Ed25519, signed a certificate.
pub(super) fn is_signed_by(der: &CertificateDer<'_>, authority: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| {
        let signed = certificate.tbs_certificate.as_ref();
        UnparsedPublicKey::new(&ED25519, authority)
            .verify(signed, &certificate.signature_value.data)
            .is_ok()
    })
}

impl NodeCertificate {
    /// Reads a certificate; who signed it is somebody else's question.
    pub(crate) fn read(der: &CertificateDer<'_>) -> Result<Self, MembershipError> {
        let wrong = |what: &str| MembershipError::Certificate(format!("the certificate {what}"));
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| wrong("cannot be read"))?;
        let names = certificate
            .subject_alternative_name()
            .ok()
            .flatten()
            .ok_or_else(|| wrong("names no node"))?;
        let [GeneralName::URI(name)] = names.value.general_names.as_slice() else {
            return Err(wrong("must have exactly one name, that of a node"));
        };
        let (zone, node) = name
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.split_once("/node/"))
            .ok_or_else(|| wrong("names no node"))?;
        let node: NodeId = node.parse().map_err(|_| wrong("names no node"))?;
        if node != NodeId::of_public_key(certificate.public_key().raw) {
            return Err(wrong("names a node that its key does not belong to"));
        }
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        Ok(Self {
            node,
            zone: zone.parse().map_err(|_| wrong("names no zone"))?,
            begins: seconds(certificate.validity().not_before.timestamp()),
            ends: seconds(certificate.validity().not_after.timestamp()),
        })
    }
}

//! What an authority's certificate says of the one before: an extension with that one's signature over the
//! new key, so that whoever believes the old authority believes the new one.

use rcgen::{CustomExtension, KeyPair, SigningKey as _};
use ring::signature::{ED25519, UnparsedPublicKey};
use x509_parser::der_parser::oid::Oid;
use x509_parser::prelude::X509Certificate;

use crate::ZoneName;
use crate::membership::MembershipError;

/// Names the extension: an arc that nobody else uses (X.667, a number of our own below `2.25`).
const OID: [u64; 3] = [2, 25, 0x0a0f_7a6f_6e65_0001];
/// What is signed begins with this, so that a signature serves no other end.
const CONTEXT: &[u8] = b"aop zone authority 1\0";
const SIGNATURE_BYTES: usize = 64;
const CONTENT_BYTES: usize = SIGNATURE_BYTES + 8 + 8;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endorsement {
    signature: [u8; SIGNATURE_BYTES],
    /// When the authority was made, in seconds since the Unix epoch.
    pub(super) made_unix_s: u64,
    /// When all earlier ones stop to count, in seconds since the Unix epoch.
    pub(super) others_retire_unix_s: u64,
}

impl Endorsement {
    /// Signs a new authority's key with the old one's.
    pub(super) fn sign(
        old: &KeyPair,
        zone: &ZoneName,
        new_public_key: &[u8],
        made_unix_s: u64,
        others_retire_unix_s: u64,
    ) -> Result<Self, MembershipError> {
        let text = signed_text(zone, new_public_key, made_unix_s, others_retire_unix_s);
        let signature = old.sign(&text)?.try_into().map_err(|_| {
            MembershipError::Certificate(
                "the zone's key makes signatures of another kind".to_owned(),
            )
        })?;
        Ok(Self { signature, made_unix_s, others_retire_unix_s })
    }

    /// What a certificate has of it.
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Option<Self> {
        let oid = Oid::from(&OID).ok()?;
        let content = certificate.get_extension_unique(&oid).ok().flatten()?.value;
        let content: &[u8; CONTENT_BYTES] = content.try_into().ok()?;
        let (signature, rest) = content.split_first_chunk::<SIGNATURE_BYTES>()?;
        let (made, rest) = rest.split_first_chunk::<8>()?;
        let retire = rest.first_chunk::<8>()?;
        Some(Self {
            signature: *signature,
            made_unix_s: u64::from_be_bytes(*made),
            others_retire_unix_s: u64::from_be_bytes(*retire),
        })
    }

    /// As it is put into a certificate.
    pub(super) fn extension(&self) -> CustomExtension {
        let (made, retire) =
            (self.made_unix_s.to_be_bytes(), self.others_retire_unix_s.to_be_bytes());
        let content = [&self.signature[..], &made, &retire].concat();
        CustomExtension::from_oid_content(&OID, content)
    }

    /// Whether the key `old`, 32 bytes, signed this for the public key of the certificate that it is in.
    pub(super) fn is_by(&self, old: &[u8], zone: &ZoneName, new_public_key: &[u8]) -> bool {
        let text = signed_text(zone, new_public_key, self.made_unix_s, self.others_retire_unix_s);
        UnparsedPublicKey::new(&ED25519, old).verify(&text, &self.signature).is_ok()
    }
}

fn signed_text(zone: &ZoneName, new_public_key: &[u8], made: u64, retire: u64) -> Vec<u8> {
    let zone = zone.to_string();
    let length = u64::try_from(zone.len()).unwrap_or(u64::MAX).to_be_bytes();
    let (made, retire) = (made.to_be_bytes(), retire.to_be_bytes());
    [CONTEXT, &length[..], zone.as_bytes(), &made[..], &retire[..], new_public_key].concat()
}

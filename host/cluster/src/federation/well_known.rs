//! `/.well-known/aop-zone.json`: how a zone that is not known yet says who it is, and how one that is says that its
//! keys changed.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::authority::Authority;
use super::export::Asker;
use super::key::Thumbprint;
use super::name::ZoneName;
use super::record::{self, Apex, RecordError, Verified};

/// The largest document: an apex signed by four keys, in both forms, and its tags.
pub const DOCUMENT_MAX_BYTES: usize = 128 << 10;

/// What is read of the document. What is not signed only steers where a search goes.
#[derive(Debug, Deserialize)]
struct Document {
    zone: ZoneName,
    proof: Vec<String>,
    #[serde(default)]
    exports: Vec<String>,
}

/// A zone as it says who it is.
#[derive(Debug, Clone, Serialize)]
pub struct Introduction {
    /// What it says of itself.
    pub apex: Apex,
    /// Its keys, the newest last.
    pub keys: Vec<Thumbprint>,
    /// Words that what it exports is found by.
    pub exports: Vec<String>,
}

/// Reads the document of a zone. Without `trusted`, whoever reads it takes its word for its keys, as an operator does
/// who then pins them; with it, one of those keys must have signed.
///
/// # Errors
/// [`RecordError`].
pub fn read(
    bytes: &[u8],
    trusted: Option<&[Thumbprint]>,
    now_s: u64,
) -> Result<Introduction, RecordError> {
    let malformed = |what: String| RecordError::Malformed(what);
    if bytes.len() > DOCUMENT_MAX_BYTES {
        return Err(malformed("the document is too large".to_owned()));
    }
    let document: Document =
        serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    record::check_tags(&document.exports)?;
    let is_trusted = |kid: &Thumbprint| trusted.is_none_or(|trusted| trusted.contains(kid));
    let mut refused = malformed("nobody signed it".to_owned());
    for jws in document.proof.iter().take(super::key::KEYS_MAX) {
        match record::verify_apex(jws, &document.zone, is_trusted, now_s) {
            Ok(Verified { body: apex, .. }) => {
                let keys = apex.keys.iter().map(|key| key.thumbprint().clone()).collect();
                return Ok(Introduction { apex, keys, exports: document.exports });
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Writes the document.
///
/// # Errors
/// [`RecordError`] when the zone cannot say who it is.
pub fn write(authority: &Authority, asker: Asker<'_>) -> Result<Value, RecordError> {
    let proof = authority.apex()?;
    let apex = authority.apex_body();
    let jwk = |key: &super::key::PublicKey| {
        let mut jwk = json!(key);
        jwk["kid"] = json!(key.thumbprint());
        jwk["alg"] = json!("EdDSA");
        jwk["use"] = json!("sig");
        jwk
    };
    let keys: Vec<_> = apex.keys.iter().map(jwk).collect();
    Ok(json!({
        "zone": apex.zone,
        "apex": apex,
        "proof": proof.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "jwks": { "keys": keys },
        "exports": authority.tags(asker),
    }))
}

//! What zones say, signed: one compact JWS (RFC 7515) with EdDSA (RFC 8037), whose `typ` names what it holds.
//!
//! | `typ` | body | signed by |
//! |---|---|---|
//! | `aop-apex-1` | [`Apex`]: a zone's keys and endpoints | each of the zone's keys, so that any pin holds |
//! | `aop-delegation-1` | [`Delegation`]: who a child is | the parent |
//! | `aop-agent-1` | [`Agent`]: an exported agent | its zone |
//! | `aop-nx-1` | [`Absent`]: there is no such name, for you | the zone that would have it |
//! | `aop-attach-1` | [`Attach`]: whose a connection to a parent is | the child |
//!
//! There is no choice in the header: exactly these members, one algorithm, one version. What says anything else
//! (another version, `crit`, an embedded key) is refused before its signature is looked at. That is also why this is
//! not a general JOSE library: they read algorithms from what they check, and check time against the system's
//! clock; `ring`, which TLS stands on already, does the cryptography.
//!
//! A record has two times: its `ttl` bounds how long it is fresh, its `exp` how long it may be believed at all, which
//! is what an outage can last.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aop_core::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::key::{KEYS_MAX, PublicKey, Thumbprint, ZoneKey};
use super::name::{FullName, ZoneName};

/// The largest record: an apex with four keys and sixteen long URLs takes 6 KiB.
pub const RECORD_MAX_BYTES: usize = 16 << 10;
/// Endpoints of a zone or an agent.
pub const ENDPOINTS_MAX: usize = 16;
/// Longest URL.
pub const URL_MAX_BYTES: usize = 512;
/// Tags that a child may be found by.
pub const TAGS_MAX: usize = 256;
/// Longest tag.
pub const TAG_MAX_BYTES: usize = 64;
/// How far two zones' clocks may be apart, in seconds.
pub const SKEW_S: u64 = 60;
/// The longest that any record may be believed, in seconds: a weekend. Longer ones are refused, so that a stolen
/// key is worth little once it is retired.
pub const LIFE_MAX_S: u64 = 3 * 24 * 60 * 60;
/// How long a signed record is handed out before it is signed anew, in seconds: a crowd that asks for one name costs
/// one signature, and a copy is never older when it leaves its zone.
pub const SIGNED_AGE_MAX_S: u64 = 60;
/// How long a zone's word to its parent may be used, in seconds: clocks may be a minute apart.
pub const ATTACH_LIFE_S: u64 = 120;
/// The longest that a name counts as absent, in seconds.
pub const ABSENT_MAX_S: u32 = 30;

/// Why a record is not believed. The first word of each names it in traces and logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Too large, not a JWS, or a body that breaks a rule.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Another kind of record, or another version.
    #[error("version: the record is `{0}`, and `{1}` is expected")]
    Kind(String, &'static str),
    /// Signed by a key that nobody vouched for.
    #[error("key: no trusted key of {zone} has the thumbprint {kid}")]
    UnknownKey {
        /// Who is said to have signed.
        zone: String,
        /// With what.
        kid: String,
    },
    /// The signature is not that key's over these bytes.
    #[error("signature: it is not the signature of these bytes")]
    Signature,
    /// Its time is over, or has not come.
    #[error("{}", wrong_time(*from, *to, *now))]
    Time {
        /// Its beginning.
        from: u64,
        /// Its end.
        to: u64,
        /// Now.
        now: u64,
    },
    /// It is about something that its signer has no say over.
    #[error("bailiwick: {0}")]
    Bailiwick(String),
    /// A newer one was seen.
    #[error("replayed: a newer record of {0} was seen already")]
    Replayed(String),
}

/// A record that begins later than it is here says more about clocks than about the record.
fn wrong_time(from: u64, to: u64, now: u64) -> String {
    if now < from {
        let ahead = from - now;
        return format!(
            "early: the record is not valid yet: it begins in {ahead} s by the clock of this machine: check the clocks of both zones"
        );
    }
    format!("expired: the record holds from {from} to {to} (Unix seconds), and it is {now}")
}

/// Where a zone or an agent is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The base URL; what follows it is in the zone protocol.
    pub url: String,
    /// How large its share is among the others; 0 is used when no other answers.
    #[serde(default = "one")]
    pub weight: u16,
}

impl Endpoint {
    /// The endpoint at a URL that an operator wrote, with a share like every other's.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] for a URL that no record may hold.
    pub fn new(url: &str) -> Result<Self, RecordError> {
        let endpoint = Self { url: url.trim_end_matches('/').to_owned(), weight: one() };
        check_endpoints(std::slice::from_ref(&endpoint))?;
        Ok(endpoint)
    }
}

const fn one() -> u16 {
    1
}

/// What a zone says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apex {
    /// The zone.
    pub zone: ZoneName,
    /// Grows with every change of what it says.
    pub serial: u64,
    /// How long its records are fresh, in seconds.
    pub ttl: u32,
    /// How long a name counts as absent, in seconds.
    pub neg_ttl: u32,
    /// Whose signatures are the zone's.
    pub keys: Vec<PublicKey>,
    /// Where it answers.
    pub endpoints: Vec<Endpoint>,
    /// When it was signed, in Unix seconds.
    pub iat: u64,
    /// Until when it may be believed, in Unix seconds.
    pub exp: u64,
}

/// What a parent says of a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// The parent.
    pub zone: ZoneName,
    /// The child, somewhere below it.
    pub child: ZoneName,
    /// A key of the child: it signs the child's apex.
    pub key_thumbprint: Thumbprint,
    /// Where the child answers.
    pub endpoints: Vec<Endpoint>,
    /// Words that what the child exports is found by.
    pub exports: Vec<String>,
    /// How long it is fresh, in seconds.
    pub ttl: u32,
    /// When it was signed, in Unix seconds.
    pub iat: u64,
    /// Until when it may be believed, in Unix seconds.
    pub exp: u64,
}

/// What a zone says of an agent that it exports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// The agent's full name.
    pub name: FullName,
    /// Its revision.
    pub version: u64,
    /// The digest of the document that describes its tools.
    pub descriptor_sha256: Digest,
    /// Where it is called.
    pub endpoints: Vec<Endpoint>,
    /// How long it is fresh, in seconds.
    pub ttl: u32,
    /// When it was signed, in Unix seconds.
    pub iat: u64,
    /// Until when it may be believed, in Unix seconds.
    pub exp: u64,
}

/// A zone has no such name for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// The zone.
    pub zone: ZoneName,
    /// The name.
    pub name: FullName,
    /// For how long, in seconds.
    pub ttl: u32,
    /// When it was signed, in Unix seconds.
    pub iat: u64,
    /// Until when it may be believed, in Unix seconds.
    pub exp: u64,
}

/// A zone asks its parent to reach it through the connection that this comes over. Good once, and for that parent only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// The zone.
    pub zone: ZoneName,
    /// Its parent.
    pub to: ZoneName,
    /// Which process of the zone: a later connection of one stands in for its earlier one.
    pub node: Uuid,
    /// No other word has it.
    pub id: Uuid,
    /// The key that signs this.
    pub key: PublicKey,
    /// When it was signed, in Unix seconds.
    pub iat: u64,
    /// Until when it may be used, in Unix seconds.
    pub exp: u64,
}

/// A body that can be signed.
pub trait Record: Serialize + DeserializeOwned {
    /// Names it and its version.
    const TYP: &'static str;
    /// Whose signature it must carry.
    fn signer(&self) -> ZoneName;
    /// From when to when it may be believed, in Unix seconds.
    fn life(&self) -> (u64, u64);
    /// What the type alone cannot say.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] or [`RecordError::Bailiwick`].
    fn check(&self) -> Result<(), RecordError>;
}

macro_rules! record {
    ($name:ident, $typ:literal, $signer:expr, $check:expr) => {
        impl Record for $name {
            const TYP: &'static str = $typ;
            fn signer(&self) -> ZoneName {
                let signer: fn(&Self) -> ZoneName = $signer;
                signer(self)
            }
            fn life(&self) -> (u64, u64) {
                (self.iat, self.exp)
            }
            fn check(&self) -> Result<(), RecordError> {
                let check: fn(&Self) -> Result<(), RecordError> = $check;
                check(self)
            }
        }
    };
}

record!(Apex, "aop-apex-1", |apex| apex.zone.clone(), |apex| {
    check_endpoints(&apex.endpoints)?;
    must((1..=KEYS_MAX).contains(&apex.keys.len()), "an apex has 1 to 4 keys")
});
record!(Delegation, "aop-delegation-1", |delegation| delegation.zone.clone(), |delegation| {
    check_endpoints(&delegation.endpoints)?;
    check_tags(&delegation.exports)?;
    if delegation.child.is_below(&delegation.zone) {
        return Ok(());
    }
    Err(RecordError::Bailiwick(format!("{} is not below {}", delegation.child, delegation.zone)))
});
record!(Agent, "aop-agent-1", |agent| agent.name.zone(), |agent| check_endpoints(&agent.endpoints));
record!(Absent, "aop-nx-1", |absent| absent.zone.clone(), |absent| {
    if absent.name.is_within(&absent.zone) {
        return Ok(());
    }
    Err(RecordError::Bailiwick(format!("{} is not within {}", absent.name, absent.zone)))
});

record!(Attach, "aop-attach-1", |attach| attach.zone.clone(), |attach| {
    must(attach.exp.saturating_sub(attach.iat) <= ATTACH_LIFE_S, "it could be used for too long")?;
    if attach.zone.is_below(&attach.to) {
        return Ok(());
    }
    Err(RecordError::Bailiwick(format!("{} is not below {}", attach.zone, attach.to)))
});

fn must(holds: bool, rule: &str) -> Result<(), RecordError> {
    if holds { Ok(()) } else { Err(RecordError::Malformed(rule.to_owned())) }
}

/// # Errors
/// [`RecordError::Malformed`].
pub(super) fn check_endpoints(endpoints: &[Endpoint]) -> Result<(), RecordError> {
    must((1..=ENDPOINTS_MAX).contains(&endpoints.len()), "there are 1 to 16 endpoints")?;
    let is_url = |endpoint: &Endpoint| {
        let uri = endpoint.url.parse::<http::Uri>();
        endpoint.url.len() <= URL_MAX_BYTES
            && uri.is_ok_and(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https"))
                    && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                    && uri.query().is_none()
            })
    };
    must(endpoints.iter().all(is_url), "an endpoint is an http or https URL without user or query")
}

/// # Errors
/// [`RecordError::Malformed`].
pub(super) fn check_tags(tags: &[String]) -> Result<(), RecordError> {
    let is_tag = |tag: &String| {
        (1..=TAG_MAX_BYTES).contains(&tag.len())
            && tag.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    must(tags.len() <= TAGS_MAX && tags.iter().all(is_tag), "tags are up to 256 single words")
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: Thumbprint,
}

/// A record whose signature, time and rules were checked.
#[derive(Debug, Clone)]
pub struct Verified<T> {
    /// What it says.
    pub body: T,
    /// The JWS, to be passed on as part of a proof.
    pub jws: Arc<str>,
    /// Who signed it.
    pub kid: Thumbprint,
}

/// Signs a record.
///
/// # Errors
/// [`RecordError::Malformed`] for one that nobody would accept.
pub fn sign<T: Record>(body: &T, key: &ZoneKey) -> Result<Arc<str>, RecordError> {
    body.check()?;
    let malformed = |error: serde_json::Error| RecordError::Malformed(error.to_string());
    let kid = key.public().thumbprint().clone();
    let header = Header { alg: "EdDSA".to_owned(), typ: T::TYP.to_owned(), kid };
    let header = serde_json::to_vec(&header).map_err(malformed)?;
    let payload = serde_json::to_vec(body).map_err(malformed)?;
    let mut jws = URL_SAFE_NO_PAD.encode(header);
    jws.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut jws);
    let signature = key.sign(jws.as_bytes());
    jws.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut jws);
    must(jws.len() <= RECORD_MAX_BYTES, "the record is too large")?;
    Ok(jws.into())
}

/// Keys by thumbprint that may sign for one zone.
pub type Keys = BTreeMap<Thumbprint, PublicKey>;

/// Reads a record of `signer`, signed by one of its keys. `now_s` is the time in Unix seconds.
///
/// # Errors
/// [`RecordError`].
pub fn verify<T: Record>(
    jws: &str,
    signer: &ZoneName,
    keys: &Keys,
    now_s: u64,
) -> Result<Verified<T>, RecordError> {
    let (body, kid) = open(jws, |kid, _| keys.get(kid).cloned(), signer)?;
    checked(body, jws, kid, signer, now_s)
}

/// Reads the apex of a zone, which carries its own keys, when one that is trusted signed it: `is_trusted` says
/// which thumbprints are.
///
/// # Errors
/// [`RecordError`].
pub fn verify_apex(
    jws: &str,
    zone: &ZoneName,
    is_trusted: impl Fn(&Thumbprint) -> bool,
    now_s: u64,
) -> Result<Verified<Apex>, RecordError> {
    // The thumbprint is the digest of the key, so a key that is found by it is the one that is trusted.
    let find = |kid: &Thumbprint, apex: &Apex| {
        let own = apex.keys.iter().find(|key| key.thumbprint() == kid);
        own.filter(|_| is_trusted(kid)).cloned()
    };
    let (body, kid) = open(jws, find, zone)?;
    checked(body, jws, kid, zone, now_s)
}

/// Reads whose a connection is, when a key that is trusted signed it, which comes along.
///
/// # Errors
/// [`RecordError`].
pub fn verify_attach(
    jws: &str,
    zone: &ZoneName,
    is_trusted: impl Fn(&Thumbprint) -> bool,
    now_s: u64,
) -> Result<Verified<Attach>, RecordError> {
    let find = |kid: &Thumbprint, attach: &Attach| {
        (attach.key.thumbprint() == kid && is_trusted(kid)).then(|| attach.key.clone())
    };
    let (body, kid) = open(jws, find, zone)?;
    checked(body, jws, kid, zone, now_s)
}

fn open<T: Record>(
    jws: &str,
    find: impl Fn(&Thumbprint, &T) -> Option<PublicKey>,
    signer: &ZoneName,
) -> Result<(T, Thumbprint), RecordError> {
    let malformed = |what: &dyn fmt::Display| RecordError::Malformed(what.to_string());
    must(jws.len() <= RECORD_MAX_BYTES, "the record is too large")?;
    let (signed, signature) = jws.rsplit_once('.').ok_or_else(|| malformed(&"not a JWS"))?;
    let (header, payload) = signed.split_once('.').ok_or_else(|| malformed(&"not a JWS"))?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|error| malformed(&error));
    let header: Header =
        serde_json::from_slice(&decode(header)?).map_err(|error| malformed(&error))?;
    must(header.alg == "EdDSA", "the algorithm is not EdDSA")?;
    if header.typ != T::TYP {
        return Err(RecordError::Kind(header.typ.chars().take(64).collect(), T::TYP));
    }
    let body: T = serde_json::from_slice(&decode(payload)?).map_err(|error| malformed(&error))?;
    let key = find(&header.kid, &body).ok_or_else(|| RecordError::UnknownKey {
        zone: signer.to_string(),
        kid: header.kid.to_string(),
    })?;
    if !key.verifies(signed.as_bytes(), &decode(signature)?) {
        return Err(RecordError::Signature);
    }
    Ok((body, header.kid))
}

fn checked<T: Record>(
    body: T,
    jws: &str,
    kid: Thumbprint,
    signer: &ZoneName,
    now: u64,
) -> Result<Verified<T>, RecordError> {
    if body.signer() != *signer {
        let reason = format!("{signer} cannot speak for {}", body.signer());
        return Err(RecordError::Bailiwick(reason));
    }
    body.check()?;
    let (from, to) = body.life();
    must(to.saturating_sub(from) <= LIFE_MAX_S, "it would be believed for too long")?;
    if from > now + SKEW_S || now >= to {
        return Err(RecordError::Time { from, to, now });
    }
    Ok(Verified { body, jws: jws.into(), kid })
}

#[cfg(test)]
mod tests;

//! Access tokens: this host as an OAuth 2.1 resource server (RFC 9068 tokens of configured issuers).
//!
//! What a token says is believed once its signature, issuer, audience and times are checked. The algorithm comes from
//! the allow-list and the kind of the key, never from the token alone: `none` does not exist here, a shared secret
//! (HS256) is never accepted, and a key of the issuer is used for its own kind of algorithm only. A token names
//! its key by `kid`, which is looked up among the issuer's and nothing else; `jku`, `x5u` and `jwk` in a header
//! mean nothing. Tokens for other purposes (`typ`) are refused.
//!
//! Verified tokens are remembered by their hash until they expire, or the issuer's keys change or have to be fetched again,
//! in a bounded cache.

mod keyset;
mod signature;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aop_core::{Bond, Caller, Scope, Scopes, Subject, TenantName};
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use quick_cache::sync::Cache;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

#[cfg(any(test, fuzzing))]
pub(crate) use self::keyset::check_document;
pub use self::keyset::{Fetch, check_url};
use self::keyset::{Keyset, KeysetError};
use crate::access::Vouched;

/// The longest token: a header of 16 KiB would fit no common proxy.
pub(crate) const TOKEN_MAX_BYTES: usize = 16 << 10;
/// Verified tokens that are remembered: a few hundred bytes each.
const VERIFIED_MAX: usize = 16_384;
/// The longest subject that is taken; OpenID Connect allows 255.
const SUBJECT_MAX_BYTES: usize = 255;
/// How far the clocks of issuer and host may be apart.
const LEEWAY: Duration = Duration::from_secs(60);
/// What `typ` may be: RFC 9068, and what issuers sent before it. Case does not matter.
const TYPES: [&str; 3] = ["at+jwt", "application/at+jwt", "jwt"];

/// Tokens of limited addresses whose signatures are checked at one time. One takes a tenth of a millisecond, so that all
/// of a flood waits in line for one thread.
const DOUBTED_MAX: usize = 1;

/// The algorithms that may be allowed. All are asymmetric.
pub const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// Whom to believe, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// The issuer, exactly as in `iss`.
    pub issuer: String,
    /// What `aud` must name, one of them.
    pub audiences: Vec<String>,
    /// Where its keys are; none to find them by its metadata.
    pub jwks_url: Option<String>,
    /// Of [`ALGORITHMS`].
    pub algorithms: Vec<String>,
    /// For which tenant its tokens speak.
    pub tenant: TenantRule,
    /// The claim that holds scopes: text separated by spaces, or a list. A dot leads into an object.
    pub scope_claim: String,
    /// Which values of that claim mean which scopes. Empty: each of `tools:call` to `tenant:admin` means itself.
    pub scopes: BTreeMap<String, Scopes>,
    /// What every token of it may do besides.
    pub grant: Scopes,
}

/// For which tenant a token speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantRule {
    /// Always this one.
    Fixed(TenantName),
    /// The one that a claim names. A dot leads into an object.
    Claim(String),
}

/// Why a token was refused. For the log; whoever sent it is not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("it is no token that this host could read")]
    Malformed,
    #[error("it has more than {TOKEN_MAX_BYTES} bytes")]
    TooLarge,
    #[error("its algorithm or type is not allowed")]
    NotAllowed,
    #[error("its issuer is not configured")]
    UnknownIssuer,
    #[error("its issuer has no such key")]
    UnknownKey,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    Early,
    #[error("it is not valid: {0}")]
    Invalid(String),
    #[error("its claims name no tenant that it could speak for")]
    NoTenant,
    #[error("the keys of its issuer cannot be had: {0}")]
    Unavailable(String),
}

/// Every issuer that is believed.
pub(crate) struct Tokens {
    issuers: Vec<Arc<Issuer>>,
    verified: Cache<[u8; 32], Arc<Verified>>,
    doubted: Semaphore,
}

/// What is held of where a token comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repute {
    Good,
    /// It sent too many invalid credentials.
    Doubted,
}

/// A token that was checked.
struct Verified {
    caller: Caller,
    issuer: Arc<Issuer>,
    keys: u64,
    expires_unix_ms: u64,
}

impl Verified {
    fn known(&self) -> Vouched {
        let bond = Bond::Token { expires_unix_ms: self.expires_unix_ms };
        Vouched { caller: self.caller.clone(), bond }
    }
}

struct Issuer {
    config: IssuerConfig,
    algorithms: Vec<Algorithm>,
    keyset: Arc<Keyset>,
}

#[derive(Deserialize)]
struct Claims {
    exp: f64,
    nbf: Option<f64>,
    sub: String,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
struct Claimed {
    iss: String,
}

impl Tokens {
    /// Believes these issuers. `fetch` gets their keys.
    pub(crate) fn new(configs: Vec<IssuerConfig>, fetch: &Arc<dyn Fetch>) -> Self {
        signature::install();
        let issuers = configs.into_iter().map(|config| {
            let allowed = config.algorithms.iter().filter_map(|name| name.parse().ok());
            let algorithms = allowed.filter(|algorithm| signature::is_supported(*algorithm));
            Arc::new(Issuer {
                algorithms: algorithms.collect(),
                keyset: Arc::new(Keyset::new(&config, fetch.clone())),
                config,
            })
        });
        let (verified, doubted) = (Cache::new(VERIFIED_MAX), Semaphore::new(DOUBTED_MAX));
        Self { issuers: issuers.collect(), verified, doubted }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// The issuers, for whoever wants a token.
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().map(|issuer| issuer.config.issuer.as_str())
    }

    /// What a token that was verified before is good for.
    pub(crate) fn known(&self, token: &str, now_unix_ms: u64) -> Option<Vouched> {
        let hash = hash(token);
        let verified = self.verified.get(&hash)?;
        let is_good = now_unix_ms < verified.expires_unix_ms
            // Nobody else asks the issuer again while every token is remembered.
            && verified.issuer.keyset.fresh_generation(now_unix_ms) == Some(verified.keys);
        if !is_good {
            self.verified.remove(&hash);
            return None;
        }
        Some(verified.known())
    }

    /// Whether a token could be a good one, as far as that can be told without a signature: its issuer is configured and
    /// has such a key, or may be asked for it now.
    pub(crate) fn may_be_good(&self, token: &str, now_unix_ms: u64) -> bool {
        self.read(token).is_ok_and(|(header, issuer)| {
            issuer.admits(&header)
                && issuer.keyset.could_have(header.kid.as_deref(), header.alg, now_unix_ms)
        })
    }

    /// Verifies a token.
    pub(crate) async fn verify(
        &self,
        token: &str,
        standing: Repute,
        now_unix_ms: u64,
    ) -> Result<Vouched, TokenError> {
        let (header, issuer) = self.read(token)?;
        let turns = (standing == Repute::Doubted).then_some(&self.doubted);
        let verified = issuer.verify(token, &header, turns, now_unix_ms).await?;
        let known = verified.known();
        self.verified.insert(hash(token), Arc::new(verified));
        Ok(known)
    }

    /// The header of a token, and whose it claims to be.
    fn read(&self, token: &str) -> Result<(Header, &Arc<Issuer>), TokenError> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(TokenError::TooLarge);
        }
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        // Not believed yet: it only says whose key has to have signed it.
        let claimed: Claimed = jsonwebtoken::dangerous::insecure_decode_claims(token)
            .map_err(|_| TokenError::Malformed)?;
        let issuer = self.issuers.iter().find(|issuer| issuer.config.issuer == claimed.iss);
        Ok((header, issuer.ok_or(TokenError::UnknownIssuer)?))
    }
}

impl Issuer {
    /// Whether a token with this header is an access token with an algorithm that is allowed.
    fn admits(&self, header: &Header) -> bool {
        let is_access_token = header
            .typ
            .as_ref()
            .is_none_or(|typ| TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ)));
        self.algorithms.contains(&header.alg) && is_access_token
    }

    /// With `turns`, waits for one of them before it checks the signature.
    async fn verify(
        self: &Arc<Self>,
        token: &str,
        header: &Header,
        turns: Option<&Semaphore>,
        now_unix_ms: u64,
    ) -> Result<Verified, TokenError> {
        if !self.admits(header) {
            return Err(TokenError::NotAllowed);
        }
        let (key, keys) =
            self.keyset.key(header.kid.as_deref(), header.alg, now_unix_ms).await.map_err(
                |error| match error {
                    KeysetError::Unknown => TokenError::UnknownKey,
                    KeysetError::Unavailable(reason) => TokenError::Unavailable(reason),
                },
            )?;
        let mut validation = Validation::new(header.alg);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_audience(&self.config.audiences);
        // Against the time of this request, below.
        validation.validate_exp = false;
        let turn = match turns {
            Some(turns) => turns.acquire().await.ok(),
            None => None,
        };
        let decoded = decode::<Claims>(token, &key, &validation);
        drop(turn);
        let claims = decoded.map_err(|error| TokenError::Invalid(error.to_string()))?.claims;
        let expires_unix_ms = check_times(&claims, now_unix_ms)?;
        let caller = self.caller(&claims)?;
        Ok(Verified { caller, issuer: self.clone(), keys, expires_unix_ms })
    }

    fn caller(&self, claims: &Claims) -> Result<Caller, TokenError> {
        if claims.sub.is_empty() || claims.sub.len() > SUBJECT_MAX_BYTES {
            return Err(TokenError::Invalid("its subject is empty or too long".to_owned()));
        }
        let tenant = match &self.config.tenant {
            TenantRule::Fixed(tenant) => tenant.clone(),
            TenantRule::Claim(path) => {
                let named = lookup(&claims.others, path).and_then(Value::as_str);
                let tenant = named.and_then(|name| TenantName::new(name).ok());
                tenant.ok_or(TokenError::NoTenant)?
            }
        };
        let mut scopes = self.config.grant;
        for value in words(lookup(&claims.others, &self.config.scope_claim)) {
            scopes = self.meaning(value).iter().fold(scopes, Scopes::with);
        }
        let subject = Subject::Token {
            issuer: self.config.issuer.as_str().into(),
            subject: claims.sub.as_str().into(),
        };
        Ok(Caller { tenant, subject, scopes })
    }

    /// What one value of the claim with the scopes means.
    fn meaning(&self, value: &str) -> Scopes {
        if !self.config.scopes.is_empty() {
            return self.config.scopes.get(value).copied().unwrap_or_default();
        }
        // Many issuers let a client ask for any scope: the one over all tenants must be mapped on purpose.
        match value.parse() {
            Ok(Scope::ClusterAdmin) | Err(_) => Scopes::NONE,
            Ok(scope) => Scopes::NONE.with(scope),
        }
    }
}

/// When the token expires, in milliseconds since the Unix epoch, the leeway included.
fn check_times(claims: &Claims, now_unix_ms: u64) -> Result<u64, TokenError> {
    let leeway_ms = u64::try_from(LEEWAY.as_millis()).unwrap_or(u64::MAX);
    let expires = unix_ms(claims.exp).saturating_add(leeway_ms);
    if expires <= now_unix_ms {
        return Err(TokenError::Expired);
    }
    if claims.nbf.is_some_and(|nbf| unix_ms(nbf) > now_unix_ms.saturating_add(leeway_ms)) {
        return Err(TokenError::Early);
    }
    Ok(expires)
}

/// A `NumericDate` (RFC 7519, section 2).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts saturate, which is what is wanted"
)]
fn unix_ms(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}

fn hash(token: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("aop 2026 a verified token");
    hasher.update(token.as_bytes()).finalize().into()
}

/// A claim, by its name or by a path of names with dots. A name with dots of its own comes first.
fn lookup<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    lookup(claims.get(first)?.as_object()?, rest)
}

/// The words of a claim: of a text, or a list of texts.
fn words(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;

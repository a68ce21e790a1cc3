//! The public keys of an issuer: fetched when they are first needed, kept, and fetched again when they are old or a token
//! names one that is not among them.
//!
//! What bounds it: one fetch at a time and one per [`FETCH_PAUSE`], however many tokens name unknown keys; documents of
//! bounded size; a bounded number of keys; nothing but `https` unless the issuer is this machine. A fetch is a task of its
//! own: whoever caused it may go away, and the others that wait get what it fetches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aop_core::BoxFuture;
use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::Instrument as _;

use super::IssuerConfig;

/// The least time between two fetches: what a flood of tokens with invented keys can cause.
const FETCH_PAUSE: Duration = Duration::from_secs(30);
/// How long keys are used before they are fetched again: a key that its issuer took back is gone by then.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// How long keys are used while the issuer cannot be reached.
const STALE_MAX: Duration = Duration::from_secs(60 * 60);
/// How long one fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest document that an issuer may answer with: fifty keys with their certificates.
const DOCUMENT_MAX_BYTES: usize = 256 << 10;
/// Keys of one issuer that are kept; they publish two to four.
const KEYS_MAX: usize = 64;
/// The longest name of a key.
const KID_MAX_BYTES: usize = 256;

/// Gets the documents of issuers.
pub trait Fetch: Send + Sync {
    /// The body of a successful answer to `GET url`, at most `max_bytes` of it; a longer one is an error. Follows no
    /// redirect.
    ///
    /// # Errors
    /// Why there is none, for the log.
    fn get<'a>(&'a self, url: &'a str, max_bytes: usize) -> BoxFuture<'a, Result<Vec<u8>, String>>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeysetError {
    Unknown,
    Unavailable(String),
}

/// See the module's documentation.
pub(super) struct Keyset {
    issuer: String,
    jwks_url: Option<String>,
    fetch: Arc<dyn Fetch>,
    keys: ArcSwap<Vec<Named>>,
    /// Grows whenever the keys are other ones.
    generation: AtomicU64,
    /// When they were fetched, in milliseconds since the Unix epoch; 0 before that.
    fetched_unix_ms: AtomicU64,
    /// One fetch at a time; when the last one began, whatever came of it.
    turn: Mutex<Option<u64>>,
}

#[derive(Clone)]
struct Named {
    kid: Option<String>,
    algorithm: Option<KeyAlgorithm>,
    key: DecodingKey,
    /// As it was published, to see whether anything changed.
    published: Value,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// Keys are read one by one: one of an unknown kind does not hide the others.
#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

impl Keyset {
    pub(super) fn new(config: &IssuerConfig, fetch: Arc<dyn Fetch>) -> Self {
        Self {
            issuer: config.issuer.clone(),
            jwks_url: config.jwks_url.clone(),
            fetch,
            keys: ArcSwap::default(),
            generation: AtomicU64::new(0),
            fetched_unix_ms: AtomicU64::new(0),
            turn: Mutex::default(),
        }
    }

    /// The generation of the keys; none when they are so old that their issuer has to be asked whether they are still its.
    pub(super) fn fresh_generation(&self, now_unix_ms: u64) -> Option<u64> {
        let is_fresh = self.age(now_unix_ms).is_some_and(|age| age < FRESH);
        is_fresh.then(|| self.generation())
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The key of this name, for this algorithm, and the generation that it belongs to.
    pub(super) async fn key(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
        now_unix_ms: u64,
    ) -> Result<(DecodingKey, u64), KeysetError> {
        if kid.is_some_and(|kid| kid.len() > KID_MAX_BYTES) {
            return Err(KeysetError::Unknown);
        }
        let age = self.age(now_unix_ms);
        if age.is_some_and(|age| age < FRESH)
            && let Some(found) = self.find(kid, algorithm)
        {
            return Ok(found);
        }
        let refreshed = self.refresh(now_unix_ms).await;
        let is_usable = self.age(now_unix_ms).is_some_and(|age| age < STALE_MAX);
        match (self.find(kid, algorithm).filter(|_| is_usable), refreshed) {
            (Some(found), _) => Ok(found),
            (None, Err(reason)) => Err(KeysetError::Unavailable(reason)),
            (None, Ok(())) => Err(KeysetError::Unknown),
        }
    }

    /// Whether there is a key of this name, or may be: the keys are old, or its issuer may be asked again by now. Asks
    /// nobody.
    pub(super) fn could_have(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        now_unix_ms: u64,
    ) -> bool {
        let is_fresh = self.age(now_unix_ms).is_some_and(|age| age < FRESH);
        !is_fresh
            || self.find(kid, algorithm).is_some()
            || self.turn.try_lock().is_ok_and(|last| is_over(*last, now_unix_ms))
    }

    fn age(&self, now_unix_ms: u64) -> Option<Duration> {
        let fetched = self.fetched_unix_ms.load(Ordering::Acquire);
        (fetched > 0).then(|| Duration::from_millis(now_unix_ms.saturating_sub(fetched)))
    }

    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<(DecodingKey, u64)> {
        // Before the keys: a change in between makes what is found look older than it is, which is checked again.
        let generation = self.generation();
        let keys = self.keys.load();
        let fits = |named: &&Named| {
            named.key.family() == algorithm.family()
                && named.algorithm.is_none_or(|said| said == KeyAlgorithm::from(algorithm))
        };
        let found = match kid {
            Some(kid) => keys.iter().filter(fits).find(|named| named.kid.as_deref() == Some(kid)),
            // Without a name there must be no doubt.
            None => {
                let mut fitting = keys.iter().filter(fits);
                fitting.next().filter(|_| fitting.next().is_none())
            }
        };
        found.map(|named| (named.key.clone(), generation))
    }

    /// Fetches the keys, unless that was tried just before: then what came of it stands.
    async fn refresh(self: &Arc<Self>, now_unix_ms: u64) -> Result<(), String> {
        let own = Arc::clone(self);
        let task = async move { own.refresh_now(now_unix_ms).await };
        let refreshed = tokio::spawn(task.in_current_span()).await;
        refreshed.unwrap_or_else(|error| Err(format!("fetching them ended early: {error}")))
    }

    async fn refresh_now(&self, now_unix_ms: u64) -> Result<(), String> {
        let mut last = self.turn.lock().await;
        if !is_over(*last, now_unix_ms) {
            let was_fetched = self.age(now_unix_ms).is_some_and(|age| age < FRESH);
            return if was_fetched { Ok(()) } else { Err("the last try failed".to_owned()) };
        }
        *last = Some(now_unix_ms);
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.fetch_keys()).await;
        let keys = fetched.unwrap_or_else(|_| Err("it did not answer in time".to_owned()));
        let keys = keys.inspect_err(|reason| {
            tracing::warn!(issuer = self.issuer, reason, "the keys of an issuer cannot be fetched");
        })?;
        let same = {
            let known = self.keys.load();
            known.iter().map(|named| &named.published).eq(keys.iter().map(|named| &named.published))
        };
        if !same {
            self.keys.store(Arc::new(keys));
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        self.fetched_unix_ms.store(now_unix_ms.max(1), Ordering::Release);
        Ok(())
    }

    async fn fetch_keys(&self) -> Result<Vec<Named>, String> {
        let url = match &self.jwks_url {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        check_url(&url)?;
        let document = self.fetch.get(&url, DOCUMENT_MAX_BYTES).await?;
        read(&document).map_err(|error| format!("{url} is no set of keys: {error}"))
    }

    /// Where the issuer says that its keys are (OpenID Connect Discovery, RFC 8414).
    async fn discover(&self) -> Result<String, String> {
        check_url(&self.issuer)?;
        let mut reason = String::new();
        for url in metadata_urls(&self.issuer) {
            let document = match self.fetch.get(&url, DOCUMENT_MAX_BYTES).await {
                Ok(document) => document,
                Err(error) => {
                    reason = error;
                    continue;
                }
            };
            let metadata: Metadata = serde_json::from_slice(&document)
                .map_err(|error| format!("{url} is no metadata of an issuer: {error}"))?;
            // Both standards ask for it: another issuer's document must not be taken for this one's.
            if metadata.issuer != self.issuer {
                return Err(format!("{url} is the metadata of another issuer"));
            }
            return Ok(metadata.jwks_uri);
        }
        Err(reason)
    }
}

/// Whether the pause after the last fetch is over.
fn is_over(last_unix_ms: Option<u64>, now_unix_ms: u64) -> bool {
    let pause_ms = u64::try_from(FETCH_PAUSE.as_millis()).unwrap_or(u64::MAX);
    last_unix_ms.is_none_or(|last| now_unix_ms >= last.saturating_add(pause_ms))
}

/// The keys in a document that can check signatures here.
fn read(document: &[u8]) -> serde_json::Result<Vec<Named>> {
    let published: Published = serde_json::from_slice(document)?;
    Ok(published.keys.into_iter().take(KEYS_MAX).filter_map(Named::read).collect())
}

/// Reads a document as fetching it does: no key of it is a shared secret.
#[cfg(any(test, fuzzing))]
pub(crate) fn check_document(document: &[u8]) {
    let keys = read(document).unwrap_or_default();
    assert!(keys.len() <= KEYS_MAX);
    assert!(keys.iter().all(|named| named.key.family() != jsonwebtoken::AlgorithmFamily::Hmac));
}

impl Named {
    /// Reads a published key; none for one that cannot check signatures here.
    fn read(published: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(published.clone()).ok()?;
        let common = &jwk.common;
        let is_for_signatures =
            common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature)
                && common
                    .key_operations
                    .as_ref()
                    .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        // A shared secret in a public document is none.
        let is_public = key.family() != jsonwebtoken::AlgorithmFamily::Hmac;
        (is_for_signatures && is_public).then(|| Self {
            kid: common.key_id.clone(),
            algorithm: common.key_algorithm,
            key,
            published,
        })
    }
}

/// OpenID Connect appends its well-known path, RFC 8414 puts it in front of the issuer's own.
fn metadata_urls(issuer: &str) -> Vec<String> {
    let base = issuer.trim_end_matches('/');
    let mut urls = vec![format!("{base}/.well-known/openid-configuration")];
    if let Ok(uri) = base.parse::<http::Uri>()
        && let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority())
    {
        let path = uri.path().trim_end_matches('/');
        urls.push(format!("{scheme}://{authority}/.well-known/oauth-authorization-server{path}"));
    }
    urls
}

/// Keys that anybody on the way could replace are worth nothing.
///
/// # Errors
/// What is wrong with it.
pub fn check_url(url: &str) -> Result<(), String> {
    let uri: http::Uri = url.parse().map_err(|_| format!("`{url}` is not a URL"))?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>();
    let is_here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") if !host.is_empty() => Ok(()),
        Some("http") if is_here => Ok(()),
        _ => Err(format!("`{url}` is not https: only an issuer on this machine may do without")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_where_both_standards_put_it() {
        assert_eq!(
            metadata_urls("https://i.example/realms/a/"),
            [
                "https://i.example/realms/a/.well-known/openid-configuration",
                "https://i.example/.well-known/oauth-authorization-server/realms/a",
            ]
        );
        assert_eq!(
            metadata_urls("https://i.example")[1],
            "https://i.example/.well-known/oauth-authorization-server"
        );
    }

    #[test]
    fn only_this_machine_does_without_https() {
        for url in
            ["https://i.example/x", "http://127.0.0.1:9/x", "http://localhost/x", "http://[::1]:1/"]
        {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        for url in
            ["http://i.example/x", "file:///etc/passwd", "", "http://127.0.0.1.evil.example/"]
        {
            assert!(check_url(url).is_err(), "{url}");
        }
    }
}

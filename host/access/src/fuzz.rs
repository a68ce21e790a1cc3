//! What the fuzz targets of `tests/fuzz` run in this crate. Each checks what must hold for any input and panics where it
//! does not. In no build of the host: only in that of a fuzzer, and in the tests, which repeat every input that was kept.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a panic is how a target says that it found something"
)]

use std::cell::LazyCell;
use std::sync::Arc;

use aop_core::{KeyRecord, Scope, TenantName};
use serde_json::Value;

use crate::audit::{self, AuditConfig, AuditLog, ChainPlace};
use crate::key::{self, Keys};
use crate::testing::{Issuer, issuer_config};
use crate::token::{Repute, Tokens, check_document};
use crate::{ALGORITHMS, Fetch};

/// What the target takes for now, in seconds since the Unix epoch.
const NOW_S: u64 = 1_800_000_000;

/// An audit log that anybody may have written: verifying and reading it ends, and the host can go on with it.
pub fn audit(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("00000000000000000001.jsonl");
    std::fs::write(&path, bytes).expect("it can be written");
    let before = audit::verify(directory.path(), None, None).expect("it can be read");
    let mut lines = 0;
    audit::read(directory.path(), |_| lines += 1).expect("it can be read");
    assert_eq!(lines, before.lines);
    drop(
        AuditLog::open(directory.path(), AuditConfig::default(), None)
            .expect("it can be continued"),
    );
    let after = audit::verify(directory.path(), None, None).expect("it can be read");
    assert!(after.intact || !before.intact, "{before:?} {after:?}");
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(place) = text.parse::<ChainPlace>()
    {
        assert_eq!(place.to_string().parse(), Ok(place));
    }
}

/// An issuer, whoever believes it, and one key: made once, since making keys takes longer than reading tokens.
struct World {
    issuer: Arc<Issuer>,
    tokens: Tokens,
    keys: Keys,
    runtime: tokio::runtime::Runtime,
}

thread_local! {
    static WORLD: LazyCell<World> = const { LazyCell::new(World::new) };
}

impl World {
    fn new() -> Self {
        let issuer = Issuer::new();
        let fetch: Arc<dyn Fetch> = issuer.clone();
        let tokens = Tokens::new(vec![issuer_config()], &fetch);
        let keys = Keys::default();
        let (id, text) = key::generate();
        let key = aop_core::ApiKey {
            subject: id.clone(),
            id,
            tenant: TenantName::default_tenant(),
            name: String::new(),
            scopes: Default::default(),
            created_unix_ms: 0,
            expires_unix_ms: None,
            revoked_unix_ms: None,
            last_used_unix_ms: None,
        };
        keys.restore(vec![KeyRecord { key, hash: key::hash(text.expose()).into() }]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Self { issuer, tokens, keys, runtime }
    }

    /// Nobody signed the text, so nothing in it counts.
    fn forged(&self, text: &str) {
        let verified =
            self.runtime.block_on(self.tokens.verify(text, Repute::Doubted, NOW_S * 1000));
        assert!(verified.is_err(), "{verified:?}");
        assert!(self.tokens.known(text, NOW_S * 1000).is_none());
        assert!(self.keys.find(text, NOW_S * 1000).is_err());
        assert!(key::looks_like_one(text) || !text.starts_with("aop_"));
    }

    /// An issuer that is believed signs whatever the text says.
    fn signed(&self, header: &Value, claims: &Value) {
        let token = self.issuer.sign(header, claims);
        let Ok(known) =
            self.runtime.block_on(self.tokens.verify(&token, Repute::Good, NOW_S * 1000))
        else {
            return;
        };
        let algorithm = header["alg"].as_str().unwrap();
        assert!(ALGORITHMS.contains(&algorithm), "{algorithm}");
        let caller = &known.caller;
        let tenant = claims.get("org.tenant").unwrap_or(&claims["org"]["tenant"]);
        assert_eq!(tenant.as_str(), Some(caller.tenant.as_str()));
        assert!(!caller.scopes.has(Scope::ClusterAdmin), "nobody mapped it");
        assert!(!claims["sub"].as_str().unwrap().is_empty());
        assert!(claims["exp"].as_f64().unwrap() > (NOW_S - 60) as f64);
        assert_eq!(self.tokens.known(&token, NOW_S * 1000).as_ref(), Some(&known));
        // What was signed counts as a whole or not at all.
        let (body, signature) = token.rsplit_once('.').unwrap();
        let cut = format!("{}.{signature}", &body[..body.len() - 1]);
        assert!(
            self.runtime.block_on(self.tokens.verify(&cut, Repute::Good, NOW_S * 1000)).is_err()
        );
    }
}

/// Credentials: keys and tokens as they come, tokens that an issuer signed whatever they say (a header and claims, a line
/// each), and the keys that an issuer publishes.
pub fn token(text: &str) {
    WORLD.with(|world| {
        world.forged(text);
        let mut lines = text.splitn(2, '\n').map(serde_json::from_str::<Value>);
        if let (Some(Ok(header)), Some(Ok(claims))) = (lines.next(), lines.next()) {
            world.signed(&header, &claims);
        }
    });
    check_document(text.as_bytes());
}

#[cfg(test)]
mod tests;

//! What the fuzz targets of `tests/fuzz` run in this crate. Each checks what must hold for any input and panics where it
//! does not. In no build of the host: only in that of a fuzzer, and in the tests, which repeat every input that was kept.
#![allow(clippy::expect_used, reason = "a panic is how a target says that it found something")]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;

use crate::federation::key::ZoneKey;
use crate::federation::message::{ResolveAnswer, ResolveRequest, SearchRequest};
use crate::federation::record::{Absent, Agent, Apex, Delegation, Keys, Record, sign, verify};
use crate::federation::well_known;
use crate::membership::token::JoinToken;
use crate::{FullName, ZoneName};

const NOW_S: u64 = 1_800_000_000;

static KEY: LazyLock<ZoneKey> = LazyLock::new(|| ZoneKey::fleeting().expect("there is chance"));
static ZONE: LazyLock<ZoneName> = LazyLock::new(|| "acme.example".parse().expect("it is a name"));

fn record<T: Record + DeserializeOwned>(text: &str) {
    let keys: Keys = [(KEY.public().thumbprint().clone(), KEY.public().clone())].into();
    drop(verify::<T>(text, &ZONE, &keys, NOW_S));
    if let Ok(body) = serde_json::from_str::<T>(text)
        && let Ok(jws) = sign(&body, &KEY)
    {
        drop(verify::<T>(&jws, &ZONE, &keys, NOW_S));
        assert!(verify::<T>(&jws, &ZONE, &Keys::new(), NOW_S).is_err(), "no key, no record");
    }
}

/// What other zones say: names, documents and records. A record is read, also when one of our keys signs whatever it says,
/// and what was signed here is believed here or refused for its time.
pub fn zone(text: &str) {
    record::<Apex>(text);
    record::<Delegation>(text);
    record::<Agent>(text);
    record::<Absent>(text);
    if let Ok(introduction) = well_known::read(text.as_bytes(), None, NOW_S) {
        assert!(!introduction.keys.is_empty());
    }
    if let Ok(name) = text.parse::<ZoneName>() {
        assert_eq!(name.as_str().parse(), Ok(name.clone()));
        assert!(name.is_within(&name) && !name.is_below(&name));
    }
    if let Ok(name) = text.parse::<FullName>() {
        assert!(name.is_within(&name.zone()), "{}", name.as_str());
    }
    drop(serde_json::from_str::<ResolveRequest>(text));
    drop(serde_json::from_str::<ResolveAnswer>(text));
    drop(serde_json::from_str::<SearchRequest>(text));
}

/// Invitations to join a zone, as they are typed and as what is in them: one that is read can be written and read again.
pub fn token(text: &str) {
    for text in [text, &format!("aop1_{}", URL_SAFE_NO_PAD.encode(text))] {
        if let Ok(token) = JoinToken::read(text) {
            assert_eq!(JoinToken::read(&token.write()).ok(), Some(token));
        }
    }
}

#[cfg(test)]
mod tests;

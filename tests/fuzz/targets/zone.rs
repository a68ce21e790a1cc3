//! What other zones say: names, documents and records. A record is read, also when one of our keys signs whatever it says, and what
//! was signed here is believed here or refused for its time.
#![no_main]

use std::sync::LazyLock;

use aop_cluster::federation::key::ZoneKey;
use aop_cluster::federation::message::{ResolveAnswer, ResolveRequest, SearchRequest};
use aop_cluster::federation::record::{Absent, Agent, Apex, Delegation, Keys, Record, sign, verify};
use aop_cluster::federation::well_known;
use aop_cluster::{FullName, ZoneName};
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;

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

fuzz_target!(|text: &str| {
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
});

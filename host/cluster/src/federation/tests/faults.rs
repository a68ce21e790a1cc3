//! Peers that lie, and parents that are gone.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::super::book::{Book, Peer, Relation};
use super::super::key::ZoneKey;
use super::super::record::{self, Agent, Delegation, RecordError};
use super::super::resolver::{Found, ResolveError};
use super::super::testing::{EPOCH_S, Fault, World, endpoint, zone_name};
use super::{MINUTE, found, resolve, world};

/// What a zone answers, changed.
fn lie(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Fault {
    Fault::Lie(Box::new(move |body: Bytes| {
        let mut value: Value = serde_json::from_slice(&body).unwrap();
        change(&mut value);
        serde_json::to_vec(&value).unwrap().into()
    }))
}

/// A zone that signs what it likes, with a key that its parent vouches for.
struct Liar {
    world: World,
    key: ZoneKey,
    /// The same key, for who signs outside of the zone.
    parent: ZoneKey,
}

impl Liar {
    /// `victim` asks `mid`, whose key is `key`.
    fn new() -> Self {
        let (key, copy) = twins();
        let (parent, parent_copy) = twins();
        let mut world = World::of(&[], 5 * MINUTE);
        let peer = |zone: &str, relation, key: &ZoneKey| Peer {
            relation,
            endpoints: vec![endpoint(zone)],
            keys: vec![key.public().thumbprint().clone()],
            exports: vec![],
            token: None,
            accepts: None,
        };
        let pinned =
            Book { peers: [(zone_name("top"), peer("top", Relation::Other, &parent))].into() };
        world.add("victim.test", vec![ZoneKey::fleeting().unwrap()], pinned);
        let below =
            Book { peers: [(zone_name("mid.top"), peer("mid.top", Relation::Child, &key))].into() };
        world.add("top", vec![parent_copy], below);
        world.add("mid.top", vec![copy], Book::default());
        world.at("mid.top").agents.add("writer", Some(&["world"]));
        Self { world, key, parent }
    }

    fn agent(&self, name: &str) -> Agent {
        Agent {
            name: name.parse().unwrap(),
            version: 1,
            descriptor_sha256: aop_core::Digest::of(b"x"),
            endpoints: vec![endpoint("evil")],
            ttl: 300,
            iat: EPOCH_S,
            exp: EPOCH_S + 3600,
        }
    }

    /// What the victim makes of an outcome that `zone` gives.
    async fn outcome(&self, zone: &str, outcome: Value) -> RecordError {
        let fault = lie(move |answer| answer["results"] = json!([outcome.clone()]));
        self.world.wires.breaks(zone, fault);
        match resolve(self.world.at("victim.test"), "writer.mid.top").await {
            Err(ResolveError::Refused { error, .. }) => error,
            other => panic!("it was believed: {other:?}"),
        }
    }
}

/// One key twice.
fn twins() -> (ZoneKey, ZoneKey) {
    let key = ZoneKey::fleeting().unwrap();
    let twin = key.twin();
    (key, twin)
}

fn answer(record: &str) -> Value {
    json!({ "kind": "answer", "links": [], "record": record, "reach": "world", "cached": false })
}

fn refused(world: &World, name: &str) -> f64 {
    use aop_core::Measure as _;
    let samples = world.at("victim.test").zone.measure();
    samples.iter().find(|sample| sample.name == name).unwrap().value
}

#[tokio::test(start_paused = true)]
async fn a_bad_signature_is_refused_and_counted() {
    let liar = Liar::new();
    let rogue = ZoneKey::fleeting().unwrap();
    let jws = record::sign(&liar.agent("writer.mid.top"), &rogue).unwrap();
    let error = liar.outcome("mid.top", answer(&jws)).await;
    assert!(matches!(error, RecordError::UnknownKey { .. }), "{error}");

    let good = record::sign(&liar.agent("writer.mid.top"), &liar.key).unwrap();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[10] ^= 1;
    let bad = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes));
    let error = liar.outcome("mid.top", answer(&bad)).await;
    assert_eq!(error, RecordError::Signature);
    assert_eq!(refused(&liar.world, "zone_records_bad_signature"), 2.0);
}

#[tokio::test(start_paused = true)]
async fn an_expired_record_is_refused_and_counted() {
    let liar = Liar::new();
    let old = Agent { iat: EPOCH_S - 7200, exp: EPOCH_S - 3600, ..liar.agent("writer.mid.top") };
    let error = liar.outcome("mid.top", answer(&record::sign(&old, &liar.key).unwrap())).await;
    assert!(matches!(error, RecordError::Time { .. }), "{error}");
    assert_eq!(refused(&liar.world, "zone_records_expired"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn who_speaks_of_what_is_not_its_own_is_refused_and_counted() {
    let liar = Liar::new();
    // An agent of another zone, signed with a good key.
    let jws = record::sign(&liar.agent("writer.else.top"), &liar.key).unwrap();
    let error = liar.outcome("mid.top", answer(&jws)).await;
    assert!(matches!(error, RecordError::Bailiwick(_)), "{error}");
    // A referral to a zone that does not contain the name, and one to itself.
    let delegation = |child: &str| Delegation {
        zone: zone_name("mid.top"),
        child: zone_name(child),
        key_thumbprint: liar.key.public().thumbprint().clone(),
        endpoints: vec![endpoint("evil")],
        exports: vec![],
        ttl: 300,
        iat: EPOCH_S,
        exp: EPOCH_S + 3600,
    };
    let referral = |jws: &str| json!({ "kind": "referral", "delegation": jws });
    let jws = record::sign(&delegation("other.mid.top"), &liar.key).unwrap();
    let error = liar.outcome("mid.top", referral(&jws)).await;
    assert!(matches!(error, RecordError::Bailiwick(_)), "{error}");
    // A loop: what would lead back up is no delegation at all.
    assert!(record::sign(&delegation("top"), &liar.key).is_err());
    assert!(record::sign(&delegation("mid.top"), &liar.key).is_err());
    // The parent's own delegation, given by the child: signed by another zone.
    let stolen =
        record::sign(&Delegation { zone: zone_name("top"), ..delegation("mid.top") }, &liar.parent);
    let error = liar.outcome("mid.top", referral(&stolen.unwrap())).await;
    assert!(matches!(error, RecordError::UnknownKey { .. }), "{error}");
    assert!(refused(&liar.world, "zone_records_out_of_bailiwick") >= 2.0);
}

#[tokio::test(start_paused = true)]
async fn a_replayed_delegation_is_refused_and_counted() {
    let liar = Liar::new();
    assert_eq!(found(liar.world.at("victim.test"), "writer.mid.top").await, "writer.mid.top");
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(found(liar.world.at("victim.test"), "writer.mid.top").await, "writer.mid.top");
    tokio::time::advance(Duration::from_secs(600)).await;
    // The parent vouched for a key that was stolen since; the thief brings that word back.
    let old = Delegation {
        zone: zone_name("top"),
        child: zone_name("mid.top"),
        key_thumbprint: liar.key.public().thumbprint().clone(),
        endpoints: vec![endpoint("evil")],
        exports: vec![],
        ttl: 300,
        iat: EPOCH_S,
        exp: EPOCH_S + 24 * 3600,
    };
    let jws = record::sign(&old, &liar.parent).unwrap();
    let error = liar.outcome("top", json!({ "kind": "referral", "delegation": &*jws })).await;
    assert!(matches!(error, RecordError::Replayed(_)), "{error}");
    assert_eq!(refused(&liar.world, "zone_records_replayed"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_an_end_and_nonsense_are_refused_and_counted() {
    let liar = Liar::new();
    let node = liar.world.at("victim.test");
    liar.world.wires.breaks("mid.top", Fault::Endless);
    assert!(found(node, "writer.mid.top").await.contains("too large"));
    for nonsense in ["", "{}", "[]", "\u{0}", r#"{"zone":"mid.top","apex":[],"results":[]}"#] {
        liar.world.wires.breaks("mid.top", Fault::Lie(Box::new(move |_| nonsense.into())));
        let error = found(node, "writer.mid.top").await;
        assert!(error.starts_with("error the answer of mid.top is not believed"), "{error}");
    }
    assert!(refused(&liar.world, "zone_records_malformed") >= 5.0);
    liar.world.wires.breaks("mid.top", lie(|answer| answer["zone"] = json!("top")));
    assert!(found(node, "writer.mid.top").await.contains("not believed"));
    liar.world.wires.breaks("mid.top", lie(|answer| answer["apex"] = json!([])));
    assert!(found(node, "writer.mid.top").await.contains("not believed"));
}

#[tokio::test(start_paused = true)]
async fn a_dead_parent_leaves_what_is_known_marked_as_old() {
    let world = world();
    let (node, name) = (world.at("eu.acme.example"), "writer.us.globex.example");
    found(node, name).await;
    for zone in ["example", "globex.example", "us.globex.example"] {
        world.wires.breaks(zone, Fault::Down);
    }
    let fresh = resolve(node, name).await.unwrap();
    assert!(!fresh.is_stale);
    tokio::time::advance(10 * MINUTE).await;
    let old = resolve(node, name).await.unwrap();
    assert!(old.is_stale);
    assert!(matches!(old.resolved.found, Found::Agent(_)));
    let unknown = resolve(node, "other.us.globex.example").await.unwrap_err();
    assert!(matches!(unknown, ResolveError::Unreachable { .. }), "{unknown}");
    // Until the record itself expires.
    tokio::time::advance(Duration::from_secs(24 * 3600)).await;
    assert!(resolve(node, name).await.is_err());
    for zone in ["example", "globex.example", "us.globex.example"] {
        world.wires.heals(zone);
    }
    assert!(!resolve(node, name).await.unwrap().is_stale);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_zone_lets_one_lookup_wait_and_the_others_have_what_is_known() {
    let world = world();
    let (node, name) = (world.at("eu.acme.example"), "writer.us.globex.example");
    found(node, name).await;
    tokio::time::advance(10 * MINUTE).await;
    let before = world.wires.total();
    *world.wires.delay.lock().unwrap() = Duration::from_secs(20);
    let stale_after = async || {
        let began = tokio::time::Instant::now();
        assert!(resolve(node, name).await.unwrap().is_stale);
        began.elapsed()
    };
    assert!(stale_after().await >= Duration::from_secs(1));
    for _ in 0..20 {
        assert_eq!(stale_after().await, Duration::ZERO);
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.wires.total() - before, 2, "one question behind all of them");
    *world.wires.delay.lock().unwrap() = Duration::ZERO;
    assert_eq!(stale_after().await, Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!resolve(node, name).await.unwrap().is_stale, "it was asked meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_lie_is_no_outage() {
    let world = world();
    let (node, name) = (world.at("eu.acme.example"), "writer.us.globex.example");
    found(node, name).await;
    tokio::time::advance(10 * MINUTE).await;
    world.wires.breaks("us.globex.example", lie(|answer| answer["results"] = json!([])));
    let error = resolve(node, name).await.unwrap_err();
    assert!(matches!(error, ResolveError::Refused { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn keys_change_without_a_moment_without() {
    let [old, new, other, top] = [(); 4].map(|()| ZoneKey::fleeting().unwrap());
    let peer = |zone: &str, relation, key: &ZoneKey| Peer {
        relation,
        endpoints: vec![endpoint(zone)],
        keys: vec![key.public().thumbprint().clone()],
        exports: vec![],
        token: None,
        accepts: None,
    };
    // Whom the parent vouches for, and which keys the child has.
    for (vouched, keys, is_believed) in [
        (&old, vec![&old], true),
        (&old, vec![&old, &new], true),
        (&new, vec![&old, &new], true),
        (&new, vec![&new], true),
        (&old, vec![&new], false),
        (&other, vec![&old, &new], false),
    ] {
        let mut world = World::of(&[], 5 * MINUTE);
        let book = |zone: &str, peer: Peer| Book { peers: [(zone_name(zone), peer)].into() };
        let pinned = book("top", peer("top", Relation::Other, &top));
        world.add("victim.test", vec![ZoneKey::fleeting().unwrap()], pinned);
        let below = book("mid.top", peer("mid.top", Relation::Child, vouched));
        world.add("top", vec![top.twin()], below);
        let keys = keys.into_iter().map(ZoneKey::twin).collect();
        world.add("mid.top", keys, Book::default());
        world.at("mid.top").agents.add("writer", Some(&["world"]));
        let answer = found(world.at("victim.test"), "writer.mid.top").await;
        assert_eq!(answer == "writer.mid.top", is_believed, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_its_parent_lets_go_is_forgotten_however_often_it_is_asked() {
    let liar = Liar::new();
    let victim = liar.world.at("victim.test");
    assert_eq!(found(victim, "writer.mid.top").await, "writer.mid.top");
    liar.world.at("top").zone.authority().replace_book(Book::default());
    // It keeps telling everybody how fresh it is.
    for number in 0..20 {
        tokio::time::advance(Duration::from_secs(30)).await;
        found(victim, &format!("other-{number}.mid.top")).await;
    }
    assert_eq!(found(victim, "writer.mid.top").await, "absent");
}

#[tokio::test(start_paused = true)]
async fn what_was_believed_by_a_key_goes_with_that_key() {
    let liar = Liar::new();
    let victim = liar.world.at("victim.test");
    assert_eq!(found(victim, "writer.mid.top").await, "writer.mid.top");
    let mut book = Book::clone(&victim.zone.authority().book());
    let other = ZoneKey::fleeting().unwrap().public().thumbprint().clone();
    book.peers.get_mut(&zone_name("top")).unwrap().keys = vec![other];
    victim.zone.authority().replace_book(book.clone());
    assert!(found(victim, "writer.mid.top").await.contains("not believed"));
    // Words that others are found by change nothing.
    let epoch = victim.zone.authority().epoch();
    book.peers.get_mut(&zone_name("top")).unwrap().exports = vec!["word".to_owned()];
    victim.zone.authority().replace_book(book);
    assert_eq!(victim.zone.authority().epoch(), epoch);
}

#[tokio::test(start_paused = true)]
async fn the_times_of_copies_do_not_add_up() {
    let world = World::of(&["a", "w.a", "x.a", "y.a"], 5 * MINUTE);
    world.at("y.a").agents.add("writer", Some(&["world"]));
    let name = "writer.y.a";
    assert_eq!(found(world.at("x.a"), name).await, name);
    tokio::time::sleep(Duration::from_millis(1)).await;
    // Its parent keeps a copy for the others, which is four minutes old when the next one takes it.
    tokio::time::advance(4 * MINUTE).await;
    let copied = resolve(world.at("w.a"), name).await.unwrap();
    assert_eq!(world.at("w.a").zone.counters().parent_hits.get(), 1);
    assert!(copied.resolved.times.ttl <= 2 * MINUTE, "{:?}", copied.resolved.times);
}

//! Zones that nobody reaches but through a connection that they keep to their parent.

use std::sync::atomic::Ordering;

use aop_core::federation::{ExchangeLimits, Federation as _, TransportError, ZoneQuery};
use aop_core::{BoxFuture, Call, ErrorCode, Failure, Invoke as _, Output, Target};
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::super::book::Book;
use super::super::key::ZoneKey;
use super::super::name::ZoneName;
use super::super::record;
use super::super::relay::{PROOF, PROTOCOL};
use super::super::testing::{Fault, HANG, Wires, caller, zone_name};
use super::super::uplink::{OpenUplink, Uplink, UplinkStream};
use super::*;

pub(super) const EU: &str = "eu.acme.example";
pub(super) const LAB: &str = "lab.eu.acme.example";
const ZONES: [&str; 6] =
    ["example", "acme.example", EU, LAB, "globex.example", "us.globex.example"];

impl Wires {
    /// Sends a request over a connection of its own, with HTTP/1.1 at both ends.
    async fn send(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<hyper::body::Incoming>, TransportError> {
        let host = request.uri().authority().unwrap().to_string();
        let router = self.router(&host);
        let router =
            router.ok_or_else(|| TransportError::Unreachable("nobody answers".to_owned()))?;
        let (near, far) = tokio::io::duplex(64 << 10);
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            router.clone().oneshot(request.map(Body::new))
        });
        let serving = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(far), service)
            .with_upgrades();
        tokio::spawn(serving);
        let connection = hyper::client::conn::http1::handshake(TokioIo::new(near)).await;
        let (mut sender, connection) = connection.unwrap();
        tokio::spawn(connection.with_upgrades());
        Ok(sender.send_request(request.map(Full::new)).await.unwrap())
    }
}

impl OpenUplink for Wires {
    fn open(
        &self,
        request: Request<Bytes>,
        _: Duration,
    ) -> BoxFuture<'_, Result<Box<dyn UplinkStream>, TransportError>> {
        Box::pin(async move {
            let response = self.send(request).await?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Err(TransportError::Broken(response.status().to_string()));
            }
            let upgraded = hyper::upgrade::on(response).await.unwrap();
            Ok(Box::new(TokioIo::new(upgraded)) as Box<dyn UplinkStream>)
        })
    }
}

/// A world in which one zone is behind its parent, and another one behind that.
pub(super) fn world_with_hidden() -> World {
    let world = World::hiding(&ZONES, &[EU, LAB], 5 * MINUTE);
    for zone in ZONES {
        world.at(zone).agents.add("writer", Some(&["world"]));
        world.at(zone).agents.add("inner", Some(&["parent"]));
        world.at(zone).agents.add("hidden", None);
    }
    world
}

pub(super) fn attach(world: &World, zone: &str) -> Uplink {
    Uplink::start(&world.at(zone).zone, world.wires.clone())
}

pub(super) fn connections(world: &World, parent: &str, child: &str) -> usize {
    world.at(parent).zone.ways().attached.count(&zone_name(child))
}

/// Waits, in the model's time.
pub(super) async fn until(holds: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not come");
}

pub(super) async fn call(node: &Node, name: &str, arguments: &str) -> Result<Output, Failure> {
    let call = Call::new(caller(), Target::Tool(name), arguments, std::time::Instant::now());
    node.gate.invoke(call).await.result
}

#[tokio::test(start_paused = true)]
async fn a_zone_behind_its_parent_is_found_called_and_searched_like_any_other() {
    let world = world_with_hidden();
    let _uplinks = [attach(&world, EU), attach(&world, LAB)];
    until(|| connections(&world, "acme.example", EU) == 1 && connections(&world, EU, LAB) == 1)
        .await;
    for from in ZONES {
        for to in [EU, LAB, "us.globex.example"] {
            let name = format!("writer.{to}");
            assert_eq!(found(world.at(from), &name).await, name, "from {from}");
            assert_eq!(found(world.at(from), &format!("hidden.{to}")).await, "absent");
            assert_eq!(found(world.at(from), to).await, format!("zone {to}"));
            call(world.at(from), &format!("writer_run.{to}"), "{}").await.unwrap();
        }
    }
    // The token that the child gave its parent counts over the connection, too; nobody else has one.
    let inner = format!("inner.{EU}");
    assert_eq!(found(world.at("acme.example"), &inner).await, inner);
    assert_eq!(found(world.at("us.globex.example"), &inner).await, "absent");
    let query = ZoneQuery { text: "run".to_owned(), zone: "acme.example".to_owned(), limit: 50 };
    let found = handle(world.at("us.globex.example")).discover(&caller(), query).await.unwrap();
    assert_eq!(found.zones, ["acme.example", EU, LAB], "{found:?}");
    assert!(found.failed.is_empty());
    for zone in [EU, LAB] {
        assert!(
            found.tools.iter().any(|hit| hit.name == format!("writer_run.{zone}")),
            "{found:?}"
        );
        assert_eq!(world.wires.count(zone), 0);
    }
    let counters = world.at("acme.example").zone.counters();
    assert!(counters.relayed.get() > 0);
    let status = handle(world.at(EU)).status();
    assert_eq!(status["uplink"]["connected"], true);
    assert_eq!(status["endpoints"][0]["url"], format!("http://acme.example/zone/v1/below/{EU}"));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_gone_is_unavailable_and_comes_back_by_itself() {
    let world = world_with_hidden();
    let uplink = attach(&world, EU);
    let (near, far) = (world.at("acme.example"), world.at("us.globex.example"));
    until(|| connections(&world, "acme.example", EU) == 1).await;
    let name = format!("writer_run.{EU}");
    for from in [near, far] {
        call(from, &name, "{}").await.unwrap();
    }
    // The connection breaks, as when the parent starts again: the child makes another one.
    near.zone.ways().attached.review(&Book::default());
    assert_eq!(connections(&world, "acme.example", EU), 0);
    for from in [near, far] {
        let failure = call(from, &name, "{}").await.unwrap_err();
        assert_eq!((failure.code, failure.executed), (ErrorCode::Unavailable, false), "{failure}");
        assert!(failure.message.contains("keeps no connection"), "{failure}");
    }
    // Something in front of another node that says that it cannot tell: the call may have run there.
    let between = Fault::Between(StatusCode::SERVICE_UNAVAILABLE, "upstream lost");
    world.wires.breaks("acme.example", between);
    let failure = call(near, &name, "{}").await.unwrap_err();
    assert!(failure.executed, "{failure}");
    world.wires.heals("acme.example");
    until(|| connections(&world, "acme.example", EU) == 1).await;
    call(far, &name, "{}").await.unwrap();
    // While its parent does not answer, it tries again and says so.
    world.wires.breaks("acme.example", Fault::Down);
    near.zone.ways().attached.review(&Book::default());
    until(|| world.at(EU).zone.is_uplink_up() == Some(false)).await;
    tokio::time::sleep(5 * MINUTE).await;
    let status = handle(world.at(EU)).status();
    assert!(status["uplink"]["reason"].as_str().unwrap().contains("nobody answers"), "{status}");
    world.wires.heals("acme.example");
    until(|| connections(&world, "acme.example", EU) == 1).await;
    // It stops: what it took ends, and it takes nothing more.
    uplink.stop(MINUTE).await;
    until(|| connections(&world, "acme.example", EU) == 0).await;
    let error = found(near, &format!("other.{EU}")).await;
    assert!(error.contains("does not answer") && error.contains("keeps no connection"), "{error}");
    assert!(found(far, &format!("other.{EU}")).await.contains("does not answer"));
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_stops_what_runs_behind_the_parent() {
    let world = world_with_hidden();
    let _uplinks = [attach(&world, EU), attach(&world, LAB)];
    until(|| connections(&world, "acme.example", EU) == 1 && connections(&world, EU, LAB) == 1)
        .await;
    let agents = &world.at(LAB).agents;
    for (number, from) in ["us.globex.example", "acme.example"].into_iter().enumerate() {
        let calling = format!("writer_run.{LAB}");
        let mut calling = Box::pin(call(world.at(from), &calling, HANG));
        tokio::select! {
            ended = &mut calling => panic!("it hangs: {ended:?}"),
            () = until(|| agents.ran.lock().unwrap().len() == number + 1) => {}
        }
        drop(calling);
        until(|| agents.stopped.load(Ordering::SeqCst) == number as u32 + 1).await;
    }
}

/// Asks a parent to take a connection, with what a zone says for it.
pub(super) async fn ask(world: &World, parent: &str, child: &str, proof: &str) -> StatusCode {
    let request = Request::get(format!("http://{parent}/zone/v1/below/{child}"))
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, PROTOCOL)
        .header(PROOF, proof);
    world.wires.send(request.body(Bytes::new()).unwrap()).await.unwrap().status()
}

#[tokio::test(start_paused = true)]
async fn only_the_childs_own_and_new_word_gets_a_connection() {
    let world = world_with_hidden();
    let acme: ZoneName = zone_name("acme.example");
    let word = |zone: &str, to: &ZoneName| {
        let words = world.at(zone).zone.authority().attach(to, Uuid::new_v4()).unwrap();
        words[0].to_string()
    };
    let forged = record::Attach {
        zone: zone_name(EU),
        to: acme.clone(),
        node: Uuid::new_v4(),
        id: Uuid::new_v4(),
        key: ZoneKey::fleeting().unwrap().public().clone(),
        iat: super::super::testing::EPOCH_S,
        exp: super::super::testing::EPOCH_S + record::ATTACH_LIFE_S,
    };
    let stranger = ZoneKey::fleeting().unwrap();
    let own = record::Attach { key: stranger.public().clone(), ..forged.clone() };
    let (forged, own) =
        (record::sign(&forged, &stranger).unwrap(), record::sign(&own, &stranger).unwrap());
    let good = word(EU, &acme);
    for (why, child, proof) in [
        ("no word", EU, ""),
        ("nonsense", EU, "a.b.c"),
        ("signed by another key than it names", EU, &*forged),
        ("signed by a key that is not pinned", EU, &*own),
        ("another zone's word", EU, &word("us.globex.example", &zone_name("globex.example"))),
        ("for another parent", EU, &word(EU, &zone_name("example"))),
        ("of its own child", EU, &word(LAB, &zone_name(EU))),
    ] {
        assert_eq!(ask(&world, "acme.example", child, proof).await, StatusCode::FORBIDDEN, "{why}");
    }
    // Nobody expects a connection of these.
    for child in [LAB, "us.globex.example", "none.acme.example"] {
        assert_eq!(ask(&world, "acme.example", child, &good).await, StatusCode::NOT_FOUND);
    }
    assert_eq!(ask(&world, "acme.example", EU, &good).await, StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(ask(&world, "acme.example", EU, &good).await, StatusCode::FORBIDDEN, "a replay");
    let late = word(EU, &acme);
    tokio::time::advance(Duration::from_secs(record::ATTACH_LIFE_S)).await;
    assert_eq!(ask(&world, "acme.example", EU, &late).await, StatusCode::FORBIDDEN, "too late");
    assert!(refused(&world, "zone_records_replayed") == 1.0);
    assert_eq!(refused(&world, "zone_attachments_refused"), 12.0);
}

pub(super) fn refused(world: &World, name: &str) -> f64 {
    let samples = aop_core::Measure::measure(&*world.at("acme.example").zone);
    samples.iter().find(|sample| sample.name == name).unwrap().value
}

#[tokio::test(start_paused = true)]
async fn a_word_from_before_its_parent_began_is_refused() {
    let mut world = world_with_hidden();
    let acme = zone_name("acme.example");
    let words = world.at(EU).zone.authority().attach(&acme, Uuid::new_v4()).unwrap();
    // Clocks may be apart by as much.
    for (later_s, status) in
        [(record::SKEW_S, StatusCode::SWITCHING_PROTOCOLS), (1, StatusCode::FORBIDDEN)]
    {
        tokio::time::advance(Duration::from_secs(later_s)).await;
        let book = Book::clone(&world.at("acme.example").zone.authority().book());
        world.add("acme.example", vec![ZoneKey::fleeting().unwrap()], book);
        assert_eq!(ask(&world, "acme.example", EU, &words[0]).await, status, "{later_s}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_not_delegated_any_more_has_no_connection_any_more() {
    let world = world_with_hidden();
    let _uplink = attach(&world, EU);
    let parent = &world.at("acme.example").zone;
    until(|| connections(&world, "acme.example", EU) == 1).await;
    let name = format!("writer_run.{EU}");
    call(world.at("acme.example"), &name, "{}").await.unwrap();
    let before = Book::clone(&parent.authority().book());
    // Another key is pinned: not even what stands is used, whether or not it was looked at since.
    let mut book = before.clone();
    let other = ZoneKey::fleeting().unwrap().public().thumbprint().clone();
    book.peers.get_mut(&zone_name(EU)).unwrap().keys = vec![other];
    parent.authority().replace_book(book);
    let failure = call(world.at("us.globex.example"), &name, "{}").await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Unavailable, "{failure}");
    parent.ways().attached.review(&parent.authority().book());
    assert_eq!(connections(&world, "acme.example", EU), 0);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(connections(&world, "acme.example", EU), 0, "it is refused");
    // It counts again, and is forgotten then.
    parent.authority().replace_book(before);
    until(|| connections(&world, "acme.example", EU) == 1).await;
    parent.authority().replace_book(Book::default());
    parent.ways().attached.review(&parent.authority().book());
    tokio::time::sleep(MINUTE).await;
    assert_eq!(connections(&world, "acme.example", EU), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_through_a_connection_is_bounded_in_size_and_time() {
    let world = world_with_hidden();
    let _uplink = attach(&world, EU);
    until(|| connections(&world, "acme.example", EU) == 1).await;
    let ways = world.at("acme.example").zone.ways();
    let ask = |time: u64, answer_max_bytes| {
        let url = format!("http://acme.example/zone/v1/below/{EU}/.well-known/aop-zone.json");
        let limits = ExchangeLimits { time: Duration::from_millis(time), answer_max_bytes };
        let (ways, eu) = (ways.clone(), zone_name(EU));
        async move { ways.exchange(&eu, Request::get(url).body(Bytes::new()).unwrap(), limits).await }
    };
    assert_eq!(ask(1000, 100_000).await.unwrap().status(), StatusCode::OK);
    assert!(matches!(ask(1000, 10).await, Err(TransportError::TooLarge(_))));
    assert!(matches!(ask(0, 100_000).await, Err(TransportError::Broken(_))));
}

#[tokio::test(start_paused = true)]
async fn another_node_of_the_parent_asks_by_the_url() {
    let world = world_with_hidden();
    let _uplink = attach(&world, EU);
    until(|| connections(&world, "acme.example", EU) == 1).await;
    let authority = Arc::clone(&world.at("acme.example").zone.parts.authority);
    let other = super::super::ways::Ways::new(authority, world.wires.clone());
    let limits = ExchangeLimits { time: MINUTE, answer_max_bytes: 100_000 };
    let ask = || {
        let url = format!("http://acme.example/zone/v1/below/{EU}/.well-known/aop-zone.json");
        Request::get(url).body(Bytes::new()).unwrap()
    };
    let answer = other.exchange(&zone_name(EU), ask(), limits).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    // Whatever is in between may have lost the answer: only the protocol's own refusal says that nothing was sent.
    for (text, is_sent) in
        [("upstream lost", true), (r#"{"code":"resource_exhausted","message":""}"#, false)]
    {
        let between = Fault::Between(StatusCode::SERVICE_UNAVAILABLE, text);
        world.wires.breaks("acme.example", between);
        match other.exchange(&zone_name(EU), ask(), limits).await {
            Ok(answer) => assert!(is_sent && answer.body() == text.as_bytes(), "{text}"),
            Err(failed) => assert!(!is_sent, "{text}: {failed}"),
        }
    }
    world.wires.breaks("acme.example", Fault::Down);
    let failed = other.exchange(&zone_name(EU), ask(), limits).await.unwrap_err();
    assert!(matches!(failed, TransportError::Unreachable(_)), "{failed}");
    // A record of another zone that says it is there leads to no connection.
    let failed = other.exchange(&zone_name("globex.example"), ask(), limits).await.unwrap_err();
    assert!(!failed.to_string().contains("keeps no connection"), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn keys_and_exports_of_a_zone_are_learnt_through_its_connection() {
    let world = world_with_hidden();
    let _uplink = attach(&world, EU);
    until(|| connections(&world, "acme.example", EU) == 1).await;
    let parent = &world.at("acme.example").zone;
    let mut peer = parent.authority().book().peers[&zone_name(EU)].clone();
    peer.exports.clear();
    let learnt = parent.ask_peer(&zone_name(EU), &peer).await.unwrap();
    assert!(
        learnt.introduction.exports.contains(&"writer".to_owned()),
        "{:?}",
        learnt.introduction
    );
    assert_eq!(learnt.introduction.keys, peer.keys);
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_newer_key_its_parent_does_not_know_yet_is_believed_by_the_older_one() {
    let mut world = world_with_hidden();
    let [old, new] = [(); 2].map(|()| ZoneKey::fleeting().unwrap());
    let book = Book::clone(&world.at(EU).zone.authority().book());
    world.add(EU, vec![old.twin(), new.twin()], book);
    let parent = Arc::clone(&world.at("acme.example").zone);
    let mut book = Book::clone(&parent.authority().book());
    let pinned = vec![old.public().thumbprint().clone()];
    book.peers.get_mut(&zone_name(EU)).unwrap().keys = pinned;
    parent.authority().replace_book(book.clone());
    let _uplink = attach(&world, EU);
    until(|| connections(&world, "acme.example", EU) == 1).await;
    // Over the connection its parent learns the newer one.
    let learnt = parent.ask_peer(&zone_name(EU), &book.peers[&zone_name(EU)]).await.unwrap();
    let both = [old, new].map(|key| key.public().thumbprint().clone());
    assert_eq!(learnt.introduction.keys, both);
}

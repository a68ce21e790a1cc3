//! Searching several zones.

use std::time::Duration;

use aop_core::federation::{Federation as _, ZoneFindings, ZoneQuery};
use aop_core::settings::Export;
use serde_json::json;

use super::super::book::Relation;
use super::super::export::Asker;
use super::super::message::SearchRequest;
use super::super::testing::{Fault, caller};
use super::{handle, world};

async fn search(world: &super::World, from: &str, zone: &str, text: &str) -> ZoneFindings {
    let query = ZoneQuery { text: text.to_owned(), zone: zone.to_owned(), limit: 50 };
    handle(world.at(from)).discover(&caller(), query).await.unwrap()
}

fn names(findings: &ZoneFindings) -> Vec<&str> {
    findings.tools.iter().map(|hit| hit.name.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_search_reaches_a_zone_and_all_below() {
    let world = world();
    let findings = search(&world, "us.globex.example", "acme.example", "run").await;
    assert_eq!(names(&findings), ["writer_run.acme.example", "writer_run.eu.acme.example"]);
    assert_eq!(findings.zones, ["acme.example", "eu.acme.example"]);
    assert!(findings.failed.is_empty());
    let whole = search(&world, "us.globex.example", "example", "run").await;
    assert_eq!(whole.zones.len(), 4, "it does not come back to where it began: {:?}", whole.zones);
    assert_eq!(names(&whole).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_exported_is_found_by_its_own_zone_only() {
    let world = world();
    let findings = search(&world, "us.globex.example", "acme.example", "hidden").await;
    assert!(names(&findings).is_empty());
    let own = search(&world, "acme.example", "acme.example", "hidden").await;
    assert_eq!(names(&own), ["hidden_run.acme.example"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_exported_to_the_parent_is_shown_to_nobody_who_asks_the_parent() {
    let world = world();
    world.at("eu.acme.example").agents.add("inner", Some(&["parent"]));
    tokio::time::advance(Duration::from_secs(2)).await;
    let inner = "inner_run.eu.acme.example";
    let own = search(&world, "acme.example", "acme.example", "run").await;
    assert!(names(&own).contains(&inner), "the parent itself finds it: {own:?}");
    let (asking, parent) = ("us.globex.example".parse().unwrap(), "example".parse().unwrap());
    let askers = [
        Asker::Stranger,
        Asker::Zone(&asking, Relation::Other),
        Asker::Zone(&parent, Relation::Parent),
    ];
    for (number, asker) in askers.into_iter().enumerate() {
        let answer = world.at("acme.example").zone.search_for(&asked(number), asker).await;
        let found: Vec<_> = answer.tools.iter().map(|found| found.hit.name.as_str()).collect();
        // Although it is at most two, and the hidden one would go before the second.
        assert_eq!(found, ["writer_run.acme.example", "writer_run.eu.acme.example"], "{asker:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_say_who_may_see_it_is_not_passed_on() {
    let world = world();
    let hit = |name: &str, reach: &str| {
        let mut hit = json!({ "name": name, "agent": name, "description": "", "score": 1.0 });
        if !reach.is_empty() {
            hit["reach"] = json!(reach);
        }
        hit
    };
    let marks = [("a", ""), ("b", "zone"), ("c", "caller"), ("d", "world")];
    let hits: Vec<_> =
        marks.iter().map(|(name, reach)| hit(&format!("{name}.eu.acme.example"), reach)).collect();
    let answer = json!({ "tools": hits, "zones": ["eu.acme.example"], "failed": [] });
    let answer = bytes::Bytes::from(serde_json::to_vec(&answer).unwrap());
    world.wires.breaks("eu.acme.example", Fault::Lie(Box::new(move |_| answer.clone())));
    let zone = &world.at("acme.example").zone;
    let found = zone.search_for(&asked(1), Asker::Stranger).await.tools;
    let found: Vec<_> = found.iter().map(|found| found.hit.name.as_str()).collect();
    assert_eq!(found, ["writer_run.acme.example", "d.eu.acme.example"]);
    let own = search(&world, "acme.example", "acme.example", "run").await;
    assert!(names(&own).contains(&"a.eu.acme.example"), "from an earlier release, for this zone");
}

fn asked(number: usize) -> SearchRequest {
    SearchRequest {
        query: "run".to_owned(),
        limit: 2,
        request_id: number.to_string(),
        hops: 8,
        via: vec![],
        deadline_ms: 1000,
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_zone_is_named_and_the_others_answer() {
    let world = world();
    world.wires.breaks("eu.acme.example", Fault::Down);
    let findings = search(&world, "us.globex.example", "example", "run").await;
    assert_eq!(findings.failed.len(), 1);
    assert_eq!(findings.failed[0].zone, "eu.acme.example");
    assert!(names(&findings).contains(&"writer_run.acme.example"));
}

#[tokio::test(start_paused = true)]
async fn tags_steer_and_a_search_is_answered_once() {
    let world = world();
    let before = world.wires.count("eu.acme.example");
    search(&world, "us.globex.example", "acme.example", "translate").await;
    assert_eq!(world.wires.count("eu.acme.example"), before, "none of its tags fits");
    let request = SearchRequest {
        query: "run".to_owned(),
        limit: 10,
        request_id: "one".to_owned(),
        hops: 8,
        via: vec![],
        deadline_ms: 1000,
    };
    let zone = &world.at("acme.example").zone;
    assert_eq!(zone.search_for(&request, Asker::Stranger).await.tools.len(), 2);
    let again = zone.search_for(&request, Asker::Stranger).await;
    assert!(again.tools.is_empty() && again.zones.is_empty());
    assert!(again.failed[0].reason.contains("already"), "nobody takes it for an answer");
    // An id is used up by whoever sent it and by nobody else.
    let other = "us.globex.example".parse().unwrap();
    let other = Asker::Zone(&other, super::super::book::Relation::Other);
    assert_eq!(zone.search_for(&request, other).await.tools.len(), 2);
    let turned = SearchRequest {
        request_id: "two".to_owned(),
        via: vec!["acme.example".parse().unwrap()],
        ..request
    };
    assert!(zone.search_for(&turned, Asker::Stranger).await.zones.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_found_by_its_tags() {
    let world = world();
    let (to, tags) = (vec!["world".to_owned()], vec!["bookkeeping".to_owned()]);
    let export = Export { to, tags, ..Export::default() };
    world.at("eu.acme.example").agents.add_as("ledger", &["ledger_run"], Some(export), 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    let found = search(&world, "us.globex.example", "eu.acme.example", "bookkeeping").await;
    assert_eq!(names(&found), ["ledger_run.eu.acme.example"]);
    assert_eq!(found.tools[0].score, 0.0, "behind what its own words speak for");
}

#[tokio::test(start_paused = true)]
async fn words_of_zones_below_climb() {
    let world = world();
    let tags = |zone: &str| world.at(zone).zone.authority().tags(Asker::Stranger);
    // Its own agent's words, and those that its children are known for.
    assert_eq!(tags("acme.example"), ["run", "writer"]);
    assert_eq!(tags("eu.acme.example"), ["run", "writer"]);
    world.at("eu.acme.example").agents.add("secret", Some(&["acme.example"]));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(!tags("eu.acme.example").contains(&"secret".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_a_zone_says_of_others_is_dropped_and_counted() {
    let world = world();
    world.wires.breaks(
        "eu.acme.example",
        Fault::Lie(Box::new(|body| {
            // It is honest about itself.
            if String::from_utf8_lossy(&body).contains("apex") {
                return body;
            }
            let hit = |name: &str| {
                json!({ "name": name, "agent": "writer.eu.acme.example", "description": "", "score": 9e99 })
            };
            let lie = json!({
                "tools": [hit("bank_pay.example"), hit("x_run.eu.acme.example")],
                "zones": ["example", "eu.acme.example"],
                "failed": [{ "zone": "globex.example", "reason": "I say so" }],
            });
            serde_json::to_vec(&lie).unwrap().into()
        })),
    );
    let findings = search(&world, "acme.example", "eu.acme.example", "run").await;
    assert_eq!(names(&findings), ["x_run.eu.acme.example"]);
    assert_eq!(findings.zones, ["eu.acme.example"]);
    assert!(findings.failed.is_empty());
    use aop_core::Measure as _;
    let samples = world.at("acme.example").zone.measure();
    let counted =
        samples.iter().find(|sample| sample.name == "zone_records_out_of_bailiwick").unwrap();
    assert_eq!(counted.value, 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_zone_costs_the_deadline_and_no_more() {
    let world = world();
    *world.wires.delay.lock().unwrap() = Duration::from_secs(20);
    let started = tokio::time::Instant::now();
    let query = ZoneQuery { text: "run".to_owned(), zone: "acme.example".to_owned(), limit: 5 };
    let outcome = tokio::time::timeout(
        Duration::from_secs(100),
        handle(world.at("acme.example")).discover(&caller(), query),
    )
    .await;
    assert!(outcome.is_ok(), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_praises_itself_most_comes_no_sooner_than_the_others() {
    let world = world();
    world.wires.breaks(
        "globex.example",
        Fault::Lie(Box::new(|_| {
            let hit = |number| {
                let name = format!("run{number}.globex.example");
                json!({ "name": name, "agent": name, "description": "", "score": 1e300 })
            };
            let tools: Vec<_> = (0..100).map(hit).collect();
            let lie = json!({ "tools": tools, "zones": ["globex.example"], "failed": [] });
            serde_json::to_vec(&lie).unwrap().into()
        })),
    );
    let query = ZoneQuery { text: "run".to_owned(), zone: "example".to_owned(), limit: 4 };
    let findings = handle(world.at("example")).discover(&caller(), query).await.unwrap();
    let found = names(&findings);
    let of = |zone: &str| found.iter().filter(|name| name.ends_with(zone)).count();
    // This zone's own two tools, and one of each child.
    assert_eq!((found.len(), of("globex.example")), (4, 1), "{found:?}");
    assert!(of("acme.example") >= 1, "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_whose_answer_is_lost_is_made_again_as_another_one() {
    let mut world = super::super::testing::World::of(&["a", "b.a"], super::MINUTE);
    world.at("b.a").agents.add("writer", Some(&["world"]));
    let mut book = super::super::book::Book::clone(&world.at("a").zone.authority().book());
    let peer = book.peers.get_mut(&"b.a".parse().unwrap()).unwrap();
    // The first way swallows what it is asked, after the zone answered.
    peer.endpoints = ["http://lossy", "http://b.a"]
        .map(|url| super::super::record::Endpoint { url: url.to_owned(), weight: 0 })
        .into();
    world.at("a").zone.authority().replace_book(book);
    world.also_at("b.a", "lossy");
    world.wires.breaks("lossy", Fault::Between(http::StatusCode::BAD_GATEWAY, ""));
    let findings = search(&world, "a", "a", "run").await;
    assert_eq!(world.wires.count("lossy"), 1);
    assert_eq!(names(&findings), ["writer_run.b.a"]);
    assert!(findings.failed.is_empty());
}

//! Zones together, in one process and in virtual time.

mod attached;
mod calls;
mod faults;
mod owners;
mod relayed;
mod scale;
mod search;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::cache::{Level, Reach};
use super::name::FullName;
use super::resolver::{Answer, Found, ResolveError, Trace};
use super::testing::{Node, World, tenant};

const TREE: [&str; 5] =
    ["example", "acme.example", "eu.acme.example", "globex.example", "us.globex.example"];
const MINUTE: Duration = Duration::from_secs(60);

fn world() -> World {
    let world = World::of(&TREE, 5 * MINUTE);
    for zone in TREE {
        world.at(zone).agents.add("writer", Some(&["world"]));
        world.at(zone).agents.add("hidden", None);
    }
    world
}

async fn resolve(node: &Node, name: &str) -> Result<Answer, ResolveError> {
    node.zone.resolver().resolve(&tenant(), &name.parse().unwrap(), &Trace::off()).await
}

async fn found(node: &Node, name: &str) -> String {
    match resolve(node, name).await {
        Ok(answer) => match &answer.resolved.found {
            Found::Agent(agent) => agent.body.name.to_string(),
            Found::Zone => format!("zone {}", answer.resolved.cut.zone()),
            Found::Absent => "absent".to_owned(),
        },
        Err(error) => format!("error {error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn every_zone_finds_what_every_other_one_exports() {
    let world = world();
    for from in TREE {
        for to in TREE {
            let name = format!("writer.{to}");
            assert_eq!(found(world.at(from), &name).await, name, "from {from}");
            // The name of a tool leads to its agent.
            assert_eq!(found(world.at(from), &format!("writer_run.{to}")).await, name);
            assert_eq!(found(world.at(from), &format!("hidden.{to}")).await, "absent");
            assert_eq!(found(world.at(from), &format!("nothing.{to}")).await, "absent");
            if to.contains('.') {
                assert_eq!(found(world.at(from), to).await, format!("zone {to}"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_no_known_zone_contains_has_no_beginning() {
    let world = world();
    let error = resolve(world.at("eu.acme.example"), "writer.elsewhere.test").await.unwrap_err();
    assert!(matches!(error, ResolveError::NoAnchor(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn only_whom_it_is_exported_to_sees_an_agent() {
    let world = world();
    let acme = &world.at("acme.example").agents;
    acme.add("for-parent", Some(&["parent"]));
    acme.add("for-child", Some(&["eu.acme.example"]));
    for (from, parent_sees, child_sees) in [
        ("example", true, false),
        ("eu.acme.example", false, true),
        ("us.globex.example", false, false),
    ] {
        let expect =
            |seen: bool, name: &str| if seen { name.to_owned() } else { "absent".to_owned() };
        let name = "for-parent.acme.example";
        assert_eq!(found(world.at(from), name).await, expect(parent_sees, name), "{from}");
        let name = "for-child.acme.example";
        assert_eq!(found(world.at(from), name).await, expect(child_sees, name), "{from}");
    }
    let answer = resolve(world.at("example"), "for-parent.acme.example").await.unwrap();
    assert_eq!(answer.resolved.reach, Reach::Zone, "it is nobody else's");
}

#[tokio::test(start_paused = true)]
async fn what_was_found_is_not_asked_for_again_while_it_is_fresh() {
    let world = world();
    let (node, name) = (world.at("eu.acme.example"), "writer.us.globex.example");
    assert_eq!(found(node, name).await, name);
    let asked = world.wires.total();
    assert_eq!(asked, 3, "one question for each level");
    found(node, name).await;
    tokio::time::advance(Duration::from_secs(61)).await;
    found(node, name).await;
    assert_eq!(world.wires.total(), asked, "the second level still had it");
    assert_eq!(node.zone.cache_figures(Level::L1)[0], 1);
    assert_eq!(node.zone.cache_figures(Level::L2)[0], 1);
    tokio::time::advance(5 * MINUTE).await;
    found(node, name).await;
    assert!(world.wires.total() > asked);
}

#[tokio::test(start_paused = true)]
async fn known_zones_shorten_the_way() {
    let world = world();
    let node = world.at("eu.acme.example");
    found(node, "writer.us.globex.example").await;
    let asked = world.wires.total();
    assert_eq!(found(node, "hidden.us.globex.example").await, "absent");
    assert_eq!(world.wires.total(), asked + 1, "the zone itself is asked at once");
}

#[tokio::test(start_paused = true)]
async fn that_a_name_is_absent_is_kept_for_half_a_minute_at_most() {
    let world = world();
    let (node, name) = (world.at("eu.acme.example"), "late.us.globex.example");
    assert_eq!(found(node, name).await, "absent");
    world.at("us.globex.example").agents.add("late", Some(&["world"]));
    tokio::time::advance(Duration::from_secs(29)).await;
    assert_eq!(found(node, name).await, "absent");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(found(node, name).await, name);
}

#[tokio::test(start_paused = true)]
async fn those_who_ask_for_a_name_together_cause_one_question() {
    let world = world();
    *world.wires.delay.lock().unwrap() = Duration::from_millis(10);
    let node = world.at("eu.acme.example");
    let asking = (0..100).map(|_| found(node, "writer.us.globex.example"));
    for name in futures::future::join_all(asking).await {
        assert_eq!(name, "writer.us.globex.example");
    }
    assert_eq!(world.wires.total(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_parent_answers_from_the_third_level_what_it_was_asked_before() {
    let world = World::of(&["a", "w.a", "x.a", "y.a", "z.y.a"], 5 * MINUTE);
    world.at("z.y.a").agents.add("writer", Some(&["world"]));
    let name = "writer.z.y.a";
    assert_eq!(found(world.at("x.a"), name).await, name);
    // Behind the referral, the parent looked, too.
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let before = world.wires.total();
    let peers = super::cache::Scope::Peers;
    let kept = world.at("a").zone.resolver().cache.peek(&peers, &name.parse().unwrap());
    assert!(kept.is_some());
    // For another child, one step is enough.
    assert_eq!(found(world.at("w.a"), name).await, name);
    assert_eq!(world.wires.total(), before + 1, "the parent had it");
    assert_eq!(world.at("w.a").zone.counters().parent_hits.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_trace_names_every_step() {
    let world = world();
    let trace = Trace::on();
    let name: FullName = "writer.us.globex.example".parse().unwrap();
    let node = world.at("eu.acme.example");
    node.zone.resolver().resolve(&tenant(), &name, &trace).await.unwrap();
    let steps = trace.steps();
    let kinds: Vec<_> =
        steps.as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "cache", "cache", "start", "ask", "apex", "referral", "ask", "apex", "referral", "ask",
            "apex", "answer"
        ]
    );
    let again = Trace::on();
    node.zone.resolver().resolve(&tenant(), &name, &again).await.unwrap();
    assert_eq!(again.steps()[0]["hit"], true);
}

/// A tree of zones as data: every zone's parent is an earlier one.
fn trees() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec((any::<prop::sample::Index>(), "[a-d]"), 1..7).prop_map(|steps| {
        let mut zones = vec!["top".to_owned()];
        for (parent, label) in steps {
            let zone = format!("{label}.{}", parent.get(&zones));
            if zone.split('.').count() <= 5 && !zones.contains(&zone) {
                zones.push(zone);
            }
        }
        zones
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Against the plainest model of a tree: a name is found exactly when its zone has it and exports it.
    #[test]
    fn a_resolver_answers_like_a_map(zones in trees(), exported in any::<u64>(), asked in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let names: Vec<_> = zones.iter().map(String::as_str).collect();
            let world = World::of(&names, 5 * MINUTE);
            for (number, zone) in names.iter().enumerate() {
                let is_exported = exported >> number & 1 == 1;
                world.at(zone).agents.add("writer", is_exported.then_some(&["world"]));
            }
            let from = world.at(names[asked as usize % names.len()]);
            for _ in 0..2 {
                for (number, zone) in names.iter().enumerate() {
                    let name = format!("writer.{zone}");
                    let expected = if exported >> number & 1 == 1 { name.clone() } else { "absent".to_owned() };
                    assert_eq!(found(from, &name).await, expected, "from {}", from.zone.authority().zone());
                    assert_eq!(found(from, &format!("other.{zone}")).await, "absent");
                }
            }
            // No more questions than zones on the way, for two names each.
            assert!(world.wires.total() <= (names.len() * names.len() * 4) as u64);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn what_would_bring_a_name_in_twice_is_refused_visibly() {
    let world = world();
    let agents = &world.at("acme.example").agents;
    let export = aop_core::settings::Export {
        to: vec!["world".to_owned()],
        name: Some(aop_core::AgentName::new("writer").unwrap()),
        tags: vec![],
    };
    // The digest of its name, which is its id here, is higher than that of `writer`: it is the younger one.
    agents.add_as("imitator", &["imitator_run"], Some(export), 1);
    let table = world.at("acme.example").zone.authority().exported();
    assert_eq!(table.find("writer").unwrap().agent.as_str(), "writer", "the older one keeps it");
    assert_eq!(table.refused.len(), 1);
    assert!(table.find("imitator_run").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_zone_answers_no_more_than_its_own() {
    let world = world();
    let zone = &world.at("acme.example").zone;
    let request = super::message::ResolveRequest {
        names: ["writer.globex.example", "not a name", "writer.acme.example"]
            .map(String::from)
            .to_vec(),
        hops: 8,
        via: vec![],
        deadline_ms: 100,
    };
    use super::message::{FailureKind, Outcome};
    let answer = zone.answer(&request, super::export::Asker::Stranger).unwrap();
    assert!(matches!(&answer.results[0], Outcome::Failure { code: FailureKind::NotMine, .. }));
    assert!(matches!(&answer.results[1], Outcome::Failure { code: FailureKind::BadName, .. }));
    assert!(matches!(&answer.results[2], Outcome::Answer { .. }));
    for (hops, via) in [(0, vec![]), (8, vec!["acme.example".parse().unwrap()])] {
        let request = super::message::ResolveRequest { hops, via, ..request.clone() };
        let answer = zone.answer(&request, super::export::Asker::Stranger).unwrap();
        assert!(matches!(&answer.results[2], Outcome::Failure { code: FailureKind::Loop, .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_found_without_regard_to_case_and_with_a_dot_at_the_end() {
    use aop_core::federation::Federation as _;
    let world = world();
    for from in ["acme.example", "us.globex.example"] {
        let handle = handle(world.at(from));
        for name in
            ["Writer_RUN.EU.acme.Example.", "WRITER.eu.acme.example", "writer_Run.Acme.example"]
        {
            let traced = handle.trace(&super::testing::caller(), name).await;
            assert_eq!(traced["found"], "agent", "{name} from {from}: {traced}");
        }
        let route = handle.describe(&super::testing::caller(), "Writer_Run.ACME.example.").await;
        assert_eq!(route.unwrap().tool.name.as_str(), "writer_run", "from {from}");
    }
}

/// The same for all tests that need a handle for longer than a borrow.
fn handle(node: &Node) -> super::ZoneHandle {
    super::ZoneHandle(Arc::clone(&node.zone))
}

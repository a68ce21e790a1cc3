//! Calls between zones.

use std::time::Instant;

use aop_core::{
    AgentId, AgentName, Call, ErrorCode, Failure, Invoke as _, Lineage, Output, Target,
};
use uuid::Uuid;

use super::super::testing::{Fault, Node, caller, tenant};
use super::world;

async fn call(node: &Node, name: &str, arguments: &str) -> Result<Output, Failure> {
    let call = Call::new(caller(), Target::Tool(name), arguments, Instant::now());
    node.gate.invoke(call).await.result
}

#[tokio::test(start_paused = true)]
async fn a_tool_of_another_zone_is_called_by_its_full_name() {
    let world = world();
    let node = world.at("eu.acme.example");
    for name in ["writer_run.us.globex.example", "writer.us.globex.example"] {
        let output = call(node, name, r#"{"text": "a  b"}"#).await.unwrap();
        assert_eq!(output.json.get(), r#"{"text": "a  b"}"#);
    }
    let ran = world.at("us.globex.example").agents.ran.lock().unwrap().clone();
    // As the tenant that exports.
    assert_eq!(ran[0], ("writer_run".to_owned(), tenant(), 0));
    // Its own zone's tools, too.
    call(node, "hidden_run.eu.acme.example", "{}").await.unwrap();
    call(node, "hidden_run", "{}").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_not_exported_cannot_be_called_even_past_the_resolver() {
    let world = world();
    let failure =
        call(world.at("eu.acme.example"), "hidden_run.acme.example", "{}").await.unwrap_err();
    assert_eq!((failure.code, failure.executed), (ErrorCode::NotFound, false));
    // A call that knows the protocol and not the names.
    let zone = &world.at("acme.example").zone;
    for (tool, expected) in [("hidden_run", "Unknown tool"), ("writer_run", "\"success\":true")] {
        let name = aop_core::ToolName::new(tool).unwrap();
        let arguments = serde_json::from_str("{}").unwrap();
        let passage = super::super::wire::Passage {
            deadline_ms: 1000,
            hops: 3,
            via: vec![],
            budget: 5,
            trace: None,
        };
        let body = super::super::wire::write_call(&name, arguments, &passage).unwrap();
        let mut headers = http::HeaderMap::new();
        super::super::wire::describe(&mut headers, &name);
        let answer = zone.receive(&body, &headers, super::super::export::Asker::Stranger).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains(expected), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cycle_through_another_zone_is_refused_where_it_closes() {
    let world = world();
    let node = world.at("eu.acme.example");
    // The agent `writer` of globex waits for the call that comes back to it.
    let globex = &world.at("us.globex.example").agents;
    let id = aop_core::Resolve::resolve(&**globex, &tenant(), "writer_run").unwrap().revision.id;
    let name = AgentName::new("writer").unwrap();
    let lineage = Lineage::of(id, name, None);
    let call = Call {
        lineage: Some(lineage),
        ..Call::new(caller(), Target::Tool("writer_run.us.globex.example"), "{}", Instant::now())
    };
    let failure = node.gate.invoke(call).await.result.unwrap_err();
    assert_eq!((failure.code, failure.executed), (ErrorCode::LoopDetected, false));
}

#[tokio::test(start_paused = true)]
async fn depth_and_budget_travel() {
    let world = world();
    let node = world.at("eu.acme.example");
    let name = AgentName::new("a").unwrap();
    let waiting: Vec<_> =
        (0..3).map(|number| (AgentId(Uuid::from_u128(number)), name.clone())).collect();
    let call = |lineage| Call {
        lineage,
        ..Call::new(caller(), Target::Tool("writer_run.us.globex.example"), "{}", Instant::now())
    };
    node.gate.invoke(call(Lineage::resumed(waiting.clone(), 10))).await.result.unwrap();
    let ran = world.at("us.globex.example").agents.ran.lock().unwrap().clone();
    assert_eq!(ran[0].2, 3);
    let spent =
        node.gate.invoke(call(Lineage::resumed(waiting.clone(), 0))).await.result.unwrap_err();
    assert_eq!(spent.code, ErrorCode::ResourceExhausted);
    let deep: Vec<_> =
        (0..9).map(|number| (AgentId(Uuid::from_u128(number)), name.clone())).collect();
    let failure = node.gate.invoke(call(Lineage::resumed(deep, 10))).await.result.unwrap_err();
    assert_eq!(failure.code, ErrorCode::LoopDetected);
}

#[tokio::test(start_paused = true)]
async fn a_descriptor_with_another_digest_is_refused_and_counted() {
    let world = world();
    let node = world.at("acme.example");
    // Found while the zone was honest; then it lies about the tools.
    super::found(node, "writer.globex.example").await;
    world.wires.breaks("globex.example", Fault::Lie(Box::new(|_| "{}".into())));
    let failure = call(node, "writer.globex.example", "{}").await.unwrap_err();
    assert!(failure.message.contains("not what its zone promised"), "{}", failure.message);
    assert_eq!(node.zone.counters().bad_descriptor.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_zone_fails_before_anything_ran_and_a_lying_one_after() {
    let world = world();
    let node = world.at("acme.example");
    call(node, "writer.globex.example", "{}").await.unwrap();
    world.wires.breaks("globex.example", Fault::Down);
    let failure = call(node, "writer.globex.example", "{}").await.unwrap_err();
    assert_eq!((failure.code, failure.executed), (ErrorCode::Unavailable, false));
    world.wires.breaks("globex.example", Fault::Lie(Box::new(|_| "nonsense".into())));
    let failure = call(node, "writer.globex.example", "{}").await.unwrap_err();
    assert_eq!((failure.code, failure.executed), (ErrorCode::BadOutput, true));
    world.wires.breaks("globex.example", Fault::Endless);
    let failure = call(node, "writer.globex.example", "{}").await.unwrap_err();
    assert_eq!((failure.code, failure.executed), (ErrorCode::Unavailable, true));
}

#[tokio::test(start_paused = true)]
async fn only_who_ran_nothing_may_be_asked_again() {
    let world = world();
    let node = world.at("acme.example");
    call(node, "writer.globex.example", "{}").await.unwrap();
    let ours = r#"{"code":"resource_exhausted","message":"the zone is busy: ask again shortly"}"#;
    let error = |code: &str| {
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"no"}}}}"#);
        Box::leak(text.into_boxed_str()) as &'static str
    };
    for (status, body, code, executed) in [
        (400, "", ErrorCode::Unavailable, false),
        (401, "", ErrorCode::PermissionDenied, false),
        (403, "", ErrorCode::PermissionDenied, false),
        (404, "", ErrorCode::Unavailable, false),
        (408, "", ErrorCode::Unavailable, false),
        (413, "", ErrorCode::Unavailable, false),
        (429, "", ErrorCode::ResourceExhausted, false),
        (503, ours, ErrorCode::ResourceExhausted, false),
        // A proxy that lost the zone while the call was running.
        (503, "upstream connect error", ErrorCode::Unavailable, true),
        (500, ours, ErrorCode::Unavailable, true),
        (502, "", ErrorCode::Unavailable, true),
        (504, "", ErrorCode::Unavailable, true),
        (204, "", ErrorCode::Unavailable, true),
        (200, error("-32600"), ErrorCode::Unavailable, false),
        (200, error("-32601"), ErrorCode::Unavailable, false),
        (200, error("-32602"), ErrorCode::NotFound, false),
        (200, error("-32700"), ErrorCode::Unavailable, false),
        (200, error("-32603"), ErrorCode::Unavailable, true),
        (200, error("-32000"), ErrorCode::Unavailable, true),
    ] {
        let status = http::StatusCode::from_u16(status).unwrap();
        world.wires.breaks("globex.example", Fault::Between(status, body));
        let failure = call(node, "writer.globex.example", "{}").await.unwrap_err();
        assert_eq!((failure.code, failure.executed), (code, executed), "{status} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_called_in_another_zone_comes_off_the_budget_here() {
    let world = world();
    let node = world.at("eu.acme.example");
    let waiting = vec![(AgentId(Uuid::from_u128(1)), AgentName::new("a").unwrap())];
    let lineage = Lineage::resumed(waiting, 100).unwrap();
    let call = Call {
        lineage: Some(lineage.clone()),
        ..Call::new(caller(), Target::Tool("spender_run.us.globex.example"), "{}", Instant::now())
    };
    // It makes twelve calls of its own.
    world.at("us.globex.example").agents.add("spender", Some(&["world"]));
    node.gate.invoke(call).await.result.unwrap();
    assert_eq!(lineage.calls_left(), 100 - 1 - 12);
}

#[tokio::test(start_paused = true)]
async fn a_calls_time_bounds_finding_its_tool_too() {
    let world = world();
    *world.wires.delay.lock().unwrap() = std::time::Duration::from_secs(20);
    let begun = tokio::time::Instant::now();
    let timeout = std::time::Duration::from_millis(700);
    let call = Call {
        timeout: Some(timeout),
        ..Call::new(caller(), Target::Tool("writer.us.globex.example"), "{}", Instant::now())
    };
    let failure = world.at("acme.example").gate.invoke(call).await.result.unwrap_err();
    assert_eq!((failure.code, failure.executed), (ErrorCode::DeadlineExceeded, false));
    assert!(begun.elapsed() <= timeout, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_call_says_which_zone_it_is_from_and_may_do_nothing_else() {
    use super::super::export::Asker;
    use super::super::name::ZoneName;
    let of = |asker| super::super::receive::caller(&tenant(), asker);
    let eu: ZoneName = "eu.acme.example".parse().unwrap();
    let known = of(Asker::Zone(&eu, super::super::book::Relation::Child));
    assert_eq!(known.subject.to_string(), "zone:eu.acme.example");
    assert_eq!(of(Asker::Stranger).subject.to_string(), "zone:?");
    assert!(!known.is(&of(Asker::Stranger)), "they share no conversation");
    assert_eq!(known.scopes.iter().collect::<Vec<_>>(), [aop_core::Scope::ToolsCall]);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_tools_that_is_fresh_for_less_is_asked_for_again_sooner() {
    let world = world();
    let node = world.at("example");
    let name = "writer.globex.example".parse().unwrap();
    let resolved = super::resolve(node, "writer.globex.example").await.unwrap().resolved;
    let asked = world.wires.total();
    let second = std::time::Duration::from_secs(1);
    node.zone.resolver().shorten(&tenant(), &name, &resolved, 10 * second);
    tokio::time::advance(9 * second).await;
    super::found(node, "writer.globex.example").await;
    assert_eq!(world.wires.total(), asked);
    tokio::time::advance(2 * second).await;
    super::found(node, "writer.globex.example").await;
    assert!(world.wires.total() > asked);
}

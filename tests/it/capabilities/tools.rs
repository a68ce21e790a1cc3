//! `aop:agent/tools`, `progress` and `changes`: agents that call each other, as far as they may.

use std::sync::Arc;

use aop_core::{ErrorCode, Offer, TenantName, lineage};
use aop_tests::eventually;
use serde_json::{Value, json};

use super::world::{Around, Reports, World, lock};

/// Two agents that may call each other.
async fn couple() -> World {
    let world = World::new().with("a", "capabilities", "[policy]\ntools = [\"b_*\"]\n").await;
    world.with("b", "capabilities", "[policy]\ntools = [\"a_*\"]\n").await
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_find_and_call_each_other() {
    let world = couple().await;
    let found = world.answer("a_discover", json!({ "query": "echo" })).await;
    assert_eq!(found, json!(["b_echo"]), "only what it may call");
    let found = world.answer("a_discover", json!({ "query": "", "limit": 2 })).await;
    assert_eq!(found.as_array().map(Vec::len), Some(2));
    let schema = world.answer("a_describe", json!({ "tool": "b_echo" })).await;
    let schema: Value = serde_json::from_str(schema.as_str().expect("text")).expect("a schema");
    assert_eq!(schema["properties"]["n"]["type"], "integer");

    let called = json!({ "tool": "b_echo", "arguments": "{\"n\":7}" });
    assert_eq!(world.answer("a_call", called).await, json!("7"));
    for (tool, arguments, code) in [
        ("b_echo", "{\"n\":-7}", "invalid_arguments: "),
        ("b_echo", "not JSON", "invalid_arguments: "),
        ("b_none", "{}", "not_found: "),
        ("b_call", "{\"tool\":\"c\",\"arguments\":\"{}\"}", "guest_error: permission_denied: "),
    ] {
        let said = world.error("a_call", json!({ "tool": tool, "arguments": arguments })).await;
        assert!(said.starts_with(code), "{said}");
    }
    let limit = json!({ "query": "x", "limit": 101 });
    assert!(world.error("a_discover", limit).await.starts_with("invalid_arguments"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_agent_calls_what_its_owner_shares_and_nothing_of_the_caller() {
    let owner = || TenantName::new("owner").expect("a name");
    let world = World::new().with("mine", "capabilities", "").await;
    let world = world.shared(owner(), "s", "capabilities", "[policy]\ntools = [\"*\"]\n").await;
    let world = world.shared(owner(), "t", "capabilities", "").await;
    let found = world.answer("s_discover", json!({ "query": "echo" })).await;
    assert_eq!(found, json!(["s_echo", "t_echo"]), "nothing of the caller's");
    let called = |tool: &str| json!({ "tool": tool, "arguments": "{\"n\":7}" });
    assert_eq!(world.answer("s_call", called("t_echo")).await, json!("7"));
    for (tool, arguments) in
        [("s_call", called("mine_echo")), ("s_describe", json!({ "tool": "mine_echo" }))]
    {
        let said = world.error(tool, arguments).await;
        assert!(said.starts_with("not_found: "), "{tool}: {said}");
    }
    // Which tools its caller has is not to be told by the answers to guesses.
    let guess = |tool: &str| json!({ "tool": tool });
    let there = world.error("s_describe", guess("mine_echo")).await;
    let absent = world.error("s_describe", guess("none_echo")).await;
    assert_eq!(there.replace("mine", "none"), absent);
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_others_crowd_out_none_that_are_permitted() {
    let mut world = World::new().with("z", "capabilities", "[policy]\ntools = [\"z_*\"]\n").await;
    let own = world.answer("z_discover", json!({ "query": "", "limit": 100 })).await;
    let own = own.as_array().expect("a list").clone();
    assert!(own.len() > 3, "{own:?}");
    // The index lists them by name, so that all of these come first.
    for foreign in 0..150 / own.len() + 1 {
        world = world.with(&format!("a{foreign}"), "capabilities", "").await;
    }
    for limit in [3, 100] {
        let found = world.answer("z_discover", json!({ "query": "", "limit": limit })).await;
        assert_eq!(found.as_array().map(Vec::as_slice), Some(&own[..limit.min(own.len())]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_that_no_pattern_permits_do_not_exist() {
    let world = World::new().with("a", "capabilities", "").await;
    let world = world.with("b", "capabilities", "[policy]\ntools = [\"a_echo\"]\n").await;
    for (tool, arguments) in [
        ("a_discover", json!({ "query": "echo" })),
        ("a_describe", json!({ "tool": "b_echo" })),
        ("a_call", json!({ "tool": "b_echo", "arguments": "{\"n\":1}" })),
        ("b_describe", json!({ "tool": "a_call" })),
        ("b_call", json!({ "tool": "a_call", "arguments": "{}" })),
    ] {
        let said = world.error(tool, arguments).await;
        assert!(said.starts_with("permission_denied: "), "{tool}: {said}");
    }
    world.log.has(&["policy: refused", "b_echo", "`tools` under `[policy]`"]);
    let each = world.answer("a_call_many", json!({ "tool": "b_echo", "count": 3 })).await;
    assert_eq!(each.as_array().map(Vec::len), Some(3));
    assert!(each.to_string().contains("permission_denied"), "{each}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_answers_each_call_in_its_place() {
    let world = couple().await;
    let results = world.answer("a_call_many", json!({ "tool": "b_echo", "count": 100 })).await;
    let expected: Vec<_> =
        (0..100).map(|n: u32| json!({ "tag": "ok", "val": n.to_string() })).collect();
    assert_eq!(results, Value::Array(expected));

    let results = world.answer("a_call_many", json!({ "tool": "b_echo", "count": 1001 })).await;
    let results = results.as_array().expect("a list");
    assert_eq!(results.len(), 1001);
    let is_refused = |result: &Value| result.to_string().contains("1000 calls at most");
    assert!(results.iter().all(is_refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_do_not_call_each_other_in_a_circle() {
    let world = couple().await;
    let route = json!({ "route": ["b_follow", "a_follow"] });
    let said = world.error("a_follow", route).await;
    assert!(said.contains("loop_detected: `a` waits for this call already"), "{said}");
    assert_eq!(world.answer("a_follow", json!({ "route": ["b_follow"] })).await, "\"arrived\"");
    world.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_does_not_call_itself() {
    let world = World::new().with("a", "capabilities", "[policy]\ntools = [\"*\"]\n").await;
    let said = world.error("a_follow", json!({ "route": ["a_follow"] })).await;
    assert!(said.starts_with("loop_detected: "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_calls_are_too_many() {
    let world = couple().await;
    let often = json!({ "tool": "b_echo", "arguments": "{\"n\":1}", "count": 10_000 });
    let answered = world.answer("a_call_often", often.clone()).await;
    assert_eq!(answered[0], lineage::CALLS_MAX);
    let last = answered[1].as_str().expect("text");
    assert!(last.starts_with("resource_exhausted: "), "{last}");
    assert_eq!(world.answer("a_call_often", often).await[0], lineage::CALLS_MAX, "of each call");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_of_a_call_is_that_of_the_calls_it_leads_to() {
    let world = World::new()
        .with("a", "capabilities", "timeout = \"200ms\"\n[policy]\ntools = [\"b_*\"]\n")
        .await
        .with("b", "capabilities", "timeout = \"1h\"\n")
        .await;
    for (tool, arguments) in [
        ("a_call", json!({ "tool": "b_spin", "arguments": "{\"n\":1}" })),
        ("a_call_often", json!({ "tool": "b_spin", "arguments": "{\"n\":1}", "count": 3 })),
    ] {
        let failure = world.call(tool, arguments).await.expect_err("it runs out of time");
        let by_itself = failure.message.contains("deadline_exceeded");
        assert!(by_itself || failure.code == ErrorCode::DeadlineExceeded, "{failure}");
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_runs_some_of_its_calls_at_one_time_and_ends_with_its_caller() {
    let world = World::new()
        .with("a", "capabilities", "timeout = \"1h\"\n[policy]\ntools = [\"b_*\"]\n")
        .await
        .with("b", "capabilities", "timeout = \"1h\"\n")
        .await;
    let batch = world.call("a_call_many", json!({ "tool": "b_spin", "count": 100 }));
    let most = async {
        eventually("as many run as may", || async { (world.live() == 33).then_some(()) }).await;
        for _ in 0..100 {
            assert!(world.live() <= 33, "{} instances", world.live());
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = batch => panic!("the batch ended by itself"),
        () = most => {}
    }
    world.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_call_is_left_in_a_warm_instance() {
    let settings = "lifetime = \"warm\"\n[warm]\ncalls_max = 100\n[policy]\ntools = [\"b_*\"]\n";
    let world = World::new().with("a", "capabilities", settings).await;
    let world = world.with("b", "capabilities", "").await;
    for _ in 0..2 {
        let said = world.answer("a_report", json!({ "reports": [[5.0, null], [1.0, null]] })).await;
        assert_eq!((said[0] == "sent", said[1] == "sent"), (true, false), "each call begins anew");
        let often = json!({ "tool": "b_echo", "arguments": "{\"n\":1}", "count": 2010 });
        assert_eq!(world.answer("a_call_often", often).await[0], lineage::CALLS_MAX);
    }
    assert_eq!(world.live(), 1, "it was one instance");
    let reports = Arc::new(Reports::default());
    let around = Around { progress: Some(reports.clone()), ..Around::default() };
    let given = json!({ "reports": [[1.0, null]] });
    world.call_around("a_report", given, around).await.expect("it answers");
    assert_eq!(Arc::strong_count(&reports), 1, "an idle instance keeps nobody's call");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_keeps_its_rules() {
    let world = World::new().with("a", "capabilities", "").await;
    let reports = Arc::new(Reports::default());
    let around = Around { progress: Some(reports.clone()), ..Around::default() };
    let given = json!({ "reports": [
        [0.0, 3.0], [1.0, 3.0], [1.0, 3.0], [0.5, null], [-1.0, null], ["NaN", null],
        ["Infinity", null], [2.0, -3.0], [2.0, null],
    ] });
    let said = world.call_around("a_report", given.clone(), around).await.expect("it answers");
    let said: Vec<_> = said.as_array().into_iter().flatten().map(|rule| rule == "sent").collect();
    assert_eq!(said, [true, true, false, false, false, false, false, false, true]);
    let sent = [(0.0, Some(3.0)), (1.0, Some(3.0)), (2.0, None)];
    assert_eq!(*lock(&reports.0), sent);
    // Nobody follows: the rules are the same.
    let said = world.answer("a_report", given).await;
    assert_eq!(said[0], "sent");
    assert_ne!(said[4], "sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_tells_of_its_own_resources_only() {
    let told = |uri: &str, times: u32| json!({ "uri": uri, "times": times });
    let world = World::new().with("a", "capabilities", "").await;
    assert_eq!(world.answer("a_changed", told("a://x/y", 1)).await, 1);
    world.answer("a_lists_changed", json!({})).await;
    let offers = [Offer::Resource("a://x/y".to_owned()), Offer::Resources, Offer::Prompts];
    assert_eq!(world.heard.offers(), offers);
    for uri in ["b://x", "a", "ab://x", "file:///etc/passwd", ""] {
        let said = world.error("a_changed", told(uri, 1)).await;
        assert!(said.contains("`a://path`"), "{uri}: {said}");
    }
    assert_eq!(world.heard.offers().len(), 3);
    assert_eq!(world.answer("a_changed", told("a://x", 1000)).await, 256);
    assert_eq!(world.heard.offers().len(), 3 + 256);
}

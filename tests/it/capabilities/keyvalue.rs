//! `wasi:keyvalue` in both drafts: what an agent remembers, and of whom.

use aop_core::{Subject, TenantName};
use serde_json::{Value, json};

use super::world::{Around, World, session};

fn entry(bucket: &str, value: &str) -> Value {
    json!({ "bucket": bucket, "key": "k", "value": value })
}

fn key(bucket: &str) -> Value {
    json!({ "bucket": bucket, "key": "k" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_begins_when_something_is_remembered_of_it() {
    let world = World::new().with("a", "capabilities", "").await;
    let reply = world.reply("a_echo", json!({ "n": 1 }), Around::default()).await;
    assert_eq!(reply.session, None, "there is nothing to continue");
    let reply = world.reply("a_remember", entry("", "v"), Around::default()).await;
    reply.result.expect("it remembers");
    let begun = reply.session.expect("a conversation began");
    assert_eq!(begun.as_str().len(), 32);

    let around = || Around { session: Some(begun.clone()), ..Around::default() };
    for bucket in ["", "session"] {
        let said = world.call_around("a_recall", key(bucket), around()).await;
        assert_eq!(said.expect("it answers"), "v");
    }
    let other = Around { session: session("other"), ..Around::default() };
    let said = world.call_around("a_recall", key(""), other).await.expect("it answers");
    assert_eq!(said, Value::Null);
    assert_eq!(world.answer("a_recall", key("")).await, Value::Null);
}

/// Ids of conversations are often the client's own, so two of them may choose the same one.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_belongs_to_its_caller() {
    let world = World::new().with("a", "capabilities", "").await;
    let around = |id: &str| Around {
        session: session("chat-1"),
        subject: Some(Subject::Key { id: id.into() }),
        ..Around::default()
    };
    for (id, value) in [("alice", "90000"), ("bob", "12")] {
        let said = world.call_around("a_recall", key(""), around(id)).await;
        assert_eq!(said.expect("it answers"), Value::Null, "{id} has not said anything yet");
        world.call_around("a_remember", entry("", value), around(id)).await.expect("it remembers");
    }
    let said = world.call_around("a_recall", key(""), around("alice")).await;
    assert_eq!(said.expect("it answers"), "90000");
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_belong_to_somebody() {
    let world = World::new()
        .with("a", "capabilities", "[policy]\nshared_state = true\n")
        .await
        .with("b", "capabilities", "[policy]\nshared_state = true\n")
        .await
        .with("c", "capabilities", "")
        .await;
    world.answer("a_remember", entry("agent", "mine")).await;
    world.answer("a_remember", entry("tenant", "ours")).await;
    assert_eq!(world.answer("a_recall", key("agent")).await, "mine");
    assert_eq!(world.answer("b_recall", key("agent")).await, Value::Null);
    assert_eq!(world.answer("b_recall", key("tenant")).await, "ours");
    assert_eq!(world.error("c_recall", key("tenant")).await, "access-denied");
    world.log.has(&["policy: refused", "`shared_state` under `[policy]`"]);
    for forged in ["Agent", "agent:b", "../agent", "default/b", "session/other", "tenant\0"] {
        assert_eq!(world.error("a_recall", key(forged)).await, "no-such-store", "{forged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_agent_has_no_part_in_what_the_callers_agents_share() {
    let settings = "[policy]\nshared_state = true\n";
    let world = World::new().with("a", "capabilities", settings).await;
    let owner = TenantName::new("owner").expect("a name");
    let world = world.shared(owner, "s", "capabilities", settings).await;
    world.answer("a_remember", entry("tenant", "ours")).await;
    assert_eq!(world.error("s_recall", key("tenant")).await, "access-denied");
    assert_eq!(world.error("s_remember", entry("tenant", "theirs")).await, "access-denied");
    world.log.has(&["policy: refused", "another tenant shares"]);
    assert_eq!(world.answer("a_recall", key("tenant")).await, "ours");
    world.answer("s_remember", entry("agent", "its own")).await;
    assert_eq!(world.answer("s_recall", key("agent")).await, "its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_on_with_the_agents_that_are_called() {
    let world = World::new().with("a", "capabilities", "[policy]\ntools = [\"b_*\"]\n").await;
    let world = world.with("b", "capabilities", "").await;
    let remember = json!({ "tool": "b_remember", "arguments": entry("", "v").to_string() });
    let reply = world.reply("a_call", remember, Around::default()).await;
    reply.result.expect("it remembers");
    assert!(reply.session.is_some(), "the conversation that it led to is told");
    let around = || Around { session: reply.session.clone(), ..Around::default() };
    let recall = json!({ "tool": "b_recall", "arguments": key("").to_string() });
    let said = world.call_around("a_call", recall, around()).await.expect("it answers");
    assert_eq!(said, "\"v\"");
    let said = world.call_around("a_recall", key(""), around()).await.expect("it answers");
    assert_eq!(said, Value::Null, "what another agent remembers is its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_add_up_and_swaps_notice_each_other() {
    let world = World::new().with("a", "capabilities", "").await;
    assert_eq!(world.answer("a_count", key("agent")).await, "3 1");
    assert_eq!(world.answer("a_count", key("agent")).await, "4 2");
    assert_eq!(world.answer("a_recall", key("agent")).await, "2");
    world.answer("a_remember", entry("agent", "two")).await;
    let said = world.error("a_count", key("agent")).await;
    assert!(said.starts_with("other: the value is not a whole number"), "{said}");
    assert_eq!(world.answer("a_race", key("agent")).await, "theirs");
    assert_eq!(world.answer("a_recall", key("agent")).await, "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused() {
    let settings = "[state]\nkeys_max = 2\nsize_max = \"100KiB\"\n";
    let world = World::new().with("a", "capabilities", settings).await;
    let remember = |key: &str, bytes: usize| json!({ "bucket": "agent", "key": key, "value": "x".repeat(bytes) });
    world.answer("a_remember", remember("1", 10)).await;
    world.answer("a_remember", remember("2", 10)).await;
    for (key, bytes) in
        [("3", 1), ("1", 100 << 10), ("1", (1 << 20) + 1), ("", 1), (&"k".repeat(1025), 1)]
    {
        let said = world.error("a_remember", remember(key, bytes)).await;
        assert!(said.starts_with("other: "), "{said}");
    }
    assert_eq!(world.answer("a_keys", json!({ "bucket": "agent" })).await, json!([2, 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_a_warm_instance_keeps_open_follows_the_conversation() {
    let settings = "lifetime = \"warm\"\n[warm]\ncalls_max = 100\n";
    let world = World::new().with("a", "capabilities", settings).await;
    let around = |name: &str| Around { session: session(name), ..Around::default() };
    let kept = |value: &str| json!({ "key": "k", "value": value });
    for (name, value, before) in
        [("one", "1", Value::Null), ("two", "2", Value::Null), ("one", "3", json!("1"))]
    {
        let said = world.call_around("a_keep", kept(value), around(name)).await;
        assert_eq!(said.expect("it remembers"), before, "{name}");
    }
    assert_eq!(world.live(), 1, "it was one instance");
}

//! `aop:agent/model`: conversations with the model that the operator bound, within the budget.

use std::sync::Arc;

use aop_core::ErrorCode;
use aop_core::model::{ModelError, Part, Role};
use serde_json::{Value, json};

use super::world::{Around, MODEL, Person, World, completion, lock};

fn text(text: &str) -> Value {
    json!({ "text": text, "image_bytes": 0 })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_decides_what_an_agent_talks_to() {
    let settings = format!("{MODEL}temperature = 0.5\nmax_tokens = 100\nmax_loops = 3\n");
    let world = World::new().with("a", "capabilities", &settings).await;
    assert_eq!(world.answer("a_bound", json!({})).await, "m-1 3");
    let call = Part::ToolCall {
        id: "1".to_owned(),
        name: "t".to_owned(),
        arguments: "{not JSON".to_owned(),
    };
    world.models.says(Ok(completion(vec![Part::Text("hm".to_owned()), call], 10)));
    let said = world.answer("a_complete", text("Hello")).await;
    assert_eq!(said, "hm t({not JSON)", "what a model says is the agent's to check");
    let requests = lock(&world.models.requests);
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((request.model.as_str(), request.temperature), ("m-1", Some(0.5)));
    assert_eq!(request.max_tokens, Some(100));
    let roles: Vec<_> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User]);
    assert_eq!(request.messages[0].parts, [Part::Text("Be brief.".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_a_model_has_none() {
    let world = World::new().with("a", "capabilities", "").await;
    assert_eq!(world.answer("a_bound", json!({})).await, Value::Null);
    for tool in ["a_complete", "a_stream_text"] {
        let said = world.error(tool, text_for(tool)).await;
        assert_eq!(said, "denied: no model is bound to the agent");
    }
    world.log.has(&["policy: refused", "`[model]`"]);
}

fn text_for(tool: &str) -> Value {
    if tool == "a_complete" { text("Hello") } else { json!({ "text": "Hello" }) }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_a_provider_keep_their_kind() {
    let world = World::new().with("a", "capabilities", MODEL).await;
    let wait = std::time::Duration::from_secs(2);
    for (error, expected) in [
        (ModelError::Budget("of the day".to_owned()), "budget: of the day"),
        (ModelError::Busy(Some(wait)), "busy: Some(2000)"),
        (ModelError::Invalid("too long".to_owned()), "invalid: too long"),
        (ModelError::Unavailable("gone".to_owned()), "unavailable: gone"),
    ] {
        for tool in ["a_complete", "a_stream_text"] {
            world.models.says(Err(error.clone()));
            assert_eq!(world.error(tool, text_for(tool)).await, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_is_read_while_it_is_written() {
    let world = World::new().with("a", "capabilities", MODEL).await;
    let events = world.answer("a_stream_text", json!({ "text": "Hello" })).await;
    assert_eq!(events, json!(["one ", "two", "done: well"]));
    let held = world.answer("a_hold", json!({ "count": 10 })).await;
    assert_eq!(held, 4, "few at one time");
    let held = world.answer("a_hold", json!({ "count": 10 })).await;
    assert_eq!(held, 4, "and none of an earlier call");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_uses_no_more_tokens_than_it_has() {
    // A stream that is dropped stays spent: four of them take everything.
    let settings = format!("{MODEL}max_tokens = 100\ntokens_per_call = 250\n");
    let world = World::new().with("a", "capabilities", &settings).await;
    assert_eq!(world.answer("a_hold", json!({ "count": 10 })).await, 3);
    let asked: Vec<_> =
        lock(&world.models.requests).iter().map(|request| request.max_tokens).collect();
    assert_eq!(asked, [Some(100), Some(100), Some(50)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_own_model_is_asked_through_the_client() {
    let settings = "[model]\nprovider = \"client\"\nname = \"any\"\n";
    let world = World::new().with("a", "capabilities", settings).await;
    let said = world.error("a_complete", text("Hello")).await;
    assert!(said.starts_with("unavailable: "), "{said}");
    for (tool, expected) in [
        ("a_complete", json!("the client's any")),
        ("a_stream_text", json!(["the client's any", "done: the client's any"])),
    ] {
        let client = Some(Arc::new(Person::default()) as Arc<_>);
        let around = Around { client, ..Around::default() };
        let said = world.call_around(tool, text_for(tool), around).await.expect("it answers");
        assert_eq!(said, expected);
    }
    assert!(lock(&world.models.requests).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_are_no_image() {
    let settings = format!("memory = \"512MiB\"\n{MODEL}");
    let world = World::new().with("a", "capabilities", &settings).await;
    let image = |bytes: u32| json!({ "text": "Look", "image_bytes": bytes });
    world.answer("a_complete", image(16 << 20)).await;
    let said = world.error("a_complete", image((16 << 20) + 1)).await;
    assert!(said.starts_with("invalid: ") && said.contains("bytes of all images"), "{said}");
    let failure = world.call("a_complete", image(100 << 20)).await.expect_err("it is too much");
    assert_eq!(failure.code, ErrorCode::GuestLimit, "{failure}");
    world.answer("a_complete", image(1)).await;
    assert_eq!(lock(&world.models.requests).len(), 2);
}

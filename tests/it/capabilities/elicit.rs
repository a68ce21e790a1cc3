//! `aop:agent/elicit`: questions to a person, and answers that do not fit.

use std::sync::Arc;

use aop_core::client::{Answer, AskError, Question};
use serde_json::{Value, json};

use super::world::{Around, Person, World, lock};

async fn asked(
    world: &World,
    tool: &str,
    arguments: Value,
    person: &Arc<Person>,
) -> Result<Value, String> {
    let around = Around { client: Some(person.clone()), ..Around::default() };
    world.call_around(tool, arguments, around).await.map_err(|failure| failure.message)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_fills_in_a_form() {
    let world = World::new().with("a", "capabilities", "").await;
    let person = Person::who_fills_in(&json!({ "age": 36, "name": "Ada" }));
    let said = asked(&world, "a_ask", json!({ "message": "Who are you?" }), &person).await;
    assert_eq!(said, Ok(json!("{\"name\":\"Ada\",\"age\":36}")));
    let questions = lock(&person.asked).clone();
    let [Question::Form { message, schema }] = questions.as_slice() else {
        panic!("{questions:?}");
    };
    assert_eq!(message, "Who are you?");
    let schema: Value = serde_json::from_str(schema.get()).expect("a schema");
    let expected = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "minLength": 1, "maxLength": 20 },
            "age": { "type": "integer", "minimum": 0, "maximum": 150 },
            "colour": { "type": "string", "enum": ["red", "green"], "default": "green" },
        },
        "required": ["name"],
    });
    assert_eq!(schema, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_fit_the_form_never_reaches_the_agent() {
    let world = World::new().with("a", "capabilities", "").await;
    for answer in [
        json!({}),
        json!([]),
        json!("Ada"),
        json!({ "name": "" }),
        json!({ "name": 7 }),
        json!({ "name": null }),
        json!({ "name": "x".repeat(21) }),
        json!({ "name": "Ada", "age": -1 }),
        json!({ "name": "Ada", "age": 3.5 }),
        json!({ "name": "Ada", "age": "36" }),
        json!({ "name": "Ada", "colour": "blue" }),
        json!({ "name": "Ada", "colour": ["red"] }),
        json!({ "name": "Ada", "admin": true }),
    ] {
        let person = Person::who_fills_in(&answer);
        let said = asked(&world, "a_ask", json!({ "message": "?" }), &person).await;
        let said = said.expect_err("it does not fit");
        assert!(said.starts_with("failed: the client's answer does not fit"), "{answer}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_else_a_person_does_is_told() {
    let world = World::new().with("a", "capabilities", "").await;
    let failed = |why: fn(String) -> AskError| Err(why("so it is".to_owned()));
    for (answer, expected) in [
        (Ok(Answer::Declined), Ok("declined")),
        (Ok(Answer::Dismissed), Ok("dismissed")),
        (failed(AskError::Unsupported), Err("unsupported: so it is")),
        (failed(AskError::Failed), Err("failed: so it is")),
    ] {
        let person = Person::who_answers(answer);
        let said = asked(&world, "a_ask", json!({ "message": "?" }), &person).await;
        assert_eq!(said, expected.map(Value::from).map_err(str::to_owned));
    }
    let said = world.error("a_ask", json!({ "message": "?" })).await;
    assert!(said.starts_with("unsupported: "), "{said}");
    let person = Arc::new(Person::default());
    let said = asked(&world, "a_ask", json!({ "message": " " }), &person).await;
    assert!(said.expect_err("it says nothing").starts_with("invalid: "));
    assert!(lock(&person.asked).is_empty(), "nobody was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_sent_to_pages_only() {
    let world = World::new().with("a", "capabilities", "").await;
    let person = Person::who_fills_in(&json!({ "forged": true }));
    let page = json!({ "url": "https://example.com/sign-in?x=1" });
    assert_eq!(asked(&world, "a_visit", page, &person).await, Ok(json!("{}")));
    for url in [
        "",
        "/sign-in",
        "example.com",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "ftp://example.com",
        "https://",
        "https://bank.example@evil.example/",
        "https://a b",
        &format!("https://example.com/{}", "x".repeat(2048)),
    ] {
        let said = asked(&world, "a_visit", json!({ "url": url }), &person).await;
        assert!(said.as_ref().is_err_and(|said| said.starts_with("invalid: ")), "{url}: {said:?}");
    }
    assert_eq!(lock(&person.asked).len(), 1);
}

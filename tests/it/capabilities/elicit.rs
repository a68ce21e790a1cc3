//! `aop:agent/elicit`: questions to a person, and answers that do not fit.

use std::sync::Arc;

use aop_core::client::{Answer, AskError, Question, Root};
use serde_json::{Value, json};
use tokio::sync::Barrier;

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
    let [Question::Form { message, schema, .. }] = questions.as_slice() else {
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

/// Settings under which the client's own model is the agent's.
const CLIENTS_MODEL: &str = "[model]\nprovider = \"client\"\nname = \"any\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn several_things_are_asked_for_at_one_time() {
    let world = World::new().with("a", "capabilities", CLIENTS_MODEL).await;
    let person = Person::who_fills_in(&json!({ "name": "Ada" }));
    let root = Root { uri: "file:///home/ada".to_owned(), name: Some("home".to_owned()) };
    *lock(&person.roots) = Some(vec![root]);
    let kinds = json!({ "questions": ["who", "completion", "page", "roots"] });
    let said = asked(&world, "a_ask_many", kinds, &person).await;
    let answers = ["{\"name\":\"Ada\"}", "the client's any", "dismissed", "home=file:///home/ada"];
    assert_eq!(said, Ok(answers.map(|answer| json!({ "tag": "ok", "val": answer })).into()));
    let questions = lock(&person.asked).clone();
    let [Question::Form { key: Some(key), .. }, Question::Url { key: None, .. }] =
        questions.as_slice()
    else {
        panic!("{questions:?}");
    };
    assert_eq!(key, "who");
    assert_eq!(
        asked(&world, "a_roots", json!({}), &person).await,
        Ok(json!(["home=file:///home/ada"]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_of_one_round_wait_for_one_another_only() {
    let world = World::new().with("a", "capabilities", "").await;
    // The first answer comes when the last question was asked.
    let mut person = Person::default();
    person.together = Some(Barrier::new(16));
    let person = Arc::new(person);
    let kinds = json!({ "questions": vec!["page"; 16] });
    let said = asked(&world, "a_ask_many", kinds, &person).await.expect("all are asked");
    assert_eq!(said, Value::from(vec![json!({ "tag": "ok", "val": "dismissed" }); 16]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_breaks_a_rule_costs_no_other() {
    let world = World::new().with("a", "capabilities", "").await;
    let person = Arc::new(Person::default());
    let long = "x".repeat(65);
    let kinds = json!({ "questions": ["no spaces", &long, "completion", "roots", "page"] });
    let said = asked(&world, "a_ask_many", kinds, &person).await.expect("it answers");
    let said: Vec<_> =
        said.as_array().into_iter().flatten().map(|one| one["val"].clone()).collect();
    let begins =
        ["invalid: the name", "invalid: the name", "unsupported: ", "unsupported: ", "dismissed"];
    for (one, begin) in said.iter().zip(begins) {
        assert!(one.as_str().is_some_and(|one| one.starts_with(begin)), "{one} {begin}");
    }
    let many = json!({ "questions": vec!["page"; 17] });
    let said = asked(&world, "a_ask_many", many, &person).await.expect("it answers");
    assert_eq!(said.as_array().map(Vec::len), Some(17));
    assert_eq!(said[0]["val"], "invalid: at most 16 questions at once");
    assert_eq!(lock(&person.asked).len(), 1, "of the second round nothing was asked");
    let said = world.error("a_roots", json!({})).await;
    assert!(said.starts_with("unsupported: nobody can be asked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_a_bounded_number_of_roots() {
    let world = World::new().with("a", "capabilities", "").await;
    let person = Arc::new(Person::default());
    let root = Root { uri: "file:///".to_owned(), name: None };
    *lock(&person.roots) = Some(vec![root.clone(); 1024]);
    let said = asked(&world, "a_roots", json!({}), &person).await.expect("so many may be");
    assert_eq!(said.as_array().map(Vec::len), Some(1024));
    *lock(&person.roots) = Some(vec![root; 1025]);
    let said = asked(&world, "a_roots", json!({}), &person).await;
    assert_eq!(said, Err("failed: the client has more than 1024 roots".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_question_of_an_agent_that_was_called_by_another_says_who_asks() {
    let world = World::new().with("a", "capabilities", "[policy]\ntools = [\"b_*\"]\n").await;
    let world = world.with("b", "capabilities", "").await;
    let person = Person::who_fills_in(&json!({ "name": "Ada" }));
    let arguments = json!({ "tool": "b_ask", "arguments": "{\"message\":\"Who are you?\"}" });
    asked(&world, "a_call", arguments, &person).await.expect("an answer");
    asked(&world, "b_ask", json!({ "message": "And you?" }), &person).await.expect("an answer");
    let questions = lock(&person.asked).clone();
    let [
        Question::Form { key: of_callee, message: callees, .. },
        Question::Form { key: of_root, message: roots, .. },
    ] = questions.as_slice()
    else {
        panic!("{questions:?}");
    };
    assert_eq!((of_callee.as_deref(), callees.as_str()), (Some("b/form"), "b asks: Who are you?"));
    assert_eq!((of_root.as_deref(), roots.as_str()), (None, "And you?"));
}

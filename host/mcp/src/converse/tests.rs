use std::sync::Arc;

use aop_core::client::{Answer, AskError, Client as _, Question};
use aop_core::model::{CompletionRequest, Message, ModelError, Part, Role, ToolOffer};
use aop_core::{Caller, GuestLevel, Progress as _, TenantName};
use rmcp::model::{ClientCapabilities, ProgressToken, RequestId};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::client::{NOTICE_MAX_BYTES, NOTICES_MAX, OPEN_MAX, Outlet, QUESTION_MAX_BYTES};
use super::{CallClient, Line, Notice, Ongoing, RequestIdentity};

/// A call that can be ended from outside.
pub(crate) struct Started {
    pub(crate) ongoing: Ongoing,
    pub(crate) identity: RequestIdentity,
    pub(crate) stop: CancellationToken,
}

impl Started {
    pub(crate) fn new(call: impl Future<Output = super::End> + Send + 'static) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let call = async move {
            tokio::select! {
                end = call => end,
                () = stopped.cancelled() => Err(rmcp::ErrorData::internal_error("stopped", None)),
            }
        };
        let ongoing = Ongoing::start(client_of(json!({}), Line::default()), call);
        let caller = Caller::local(TenantName::default_tenant());
        Self { ongoing, identity: RequestIdentity::new(&caller, "tools/call", "t", None), stop }
    }
}

fn client_of(declared: Value, line: Line) -> (Arc<CallClient>, Outlet) {
    let declared: ClientCapabilities = serde_json::from_value(declared).unwrap();
    CallClient::new(declared, None, line, Default::default())
}

fn everything() -> Value {
    json!({ "elicitation": { "form": {}, "url": {} }, "sampling": { "tools": {} } })
}

fn form(schema: &Value) -> Question {
    let schema = RawValue::from_string(schema.to_string()).unwrap();
    Question::Form { key: None, message: "m".to_owned(), schema }
}

fn simple() -> Question {
    form(&json!({ "type": "object", "properties": { "a": { "type": "string" } } }))
}

#[tokio::test]
async fn answers_sent_ahead_reach_the_call_that_they_were_sent_for_and_none_below_it() {
    let declared = serde_json::from_value(everything()).unwrap();
    let ahead = [("a".to_owned(), json!({ "action": "accept", "content": { "a": "ahead" } }))];
    let (client, mut outlet) =
        CallClient::new(declared, None, Line::default(), ahead.into_iter().collect());
    let below = (Arc::clone(&client) as Arc<dyn aop_core::client::Client>).within("dates_add");
    let deeper = Arc::clone(&below).within("planner");
    for (asker, name) in [(below, "dates_add.a"), (deeper, "planner.a")] {
        let asking = tokio::spawn(async move { asker.ask(simple()).await });
        let asked = outlet.questions.recv().await.unwrap();
        assert_eq!(asked.key, name);
        asked.answer.send(Ok(json!({ "action": "decline" }))).unwrap();
        assert!(matches!(asking.await.unwrap(), Ok(Answer::Declined)));
    }
    assert!(matches!(client.ask(simple()).await, Ok(Answer::Accepted(_))));
}

#[tokio::test]
async fn forms_keep_every_kind_of_field() {
    let (client, mut outlet) = client_of(everything(), Line::default());
    let schema = json!({ "type": "object", "properties": {
        "zip": { "type": "string", "format": "email", "minLength": 1, "maxLength": 9, "default": "x" },
        "age": { "type": "integer", "minimum": 0, "maximum": 200, "default": 7 },
        "height": { "type": "number", "minimum": 0.5, "default": 1.5 },
        "ok": { "type": "boolean", "default": true },
        "one": { "type": "string", "enum": ["a", "b"], "default": "a" },
        "titled": { "type": "string", "oneOf": [{ "const": "a", "title": "A" }] },
        "many": { "type": "array", "items": { "type": "string", "enum": ["a"] }, "default": ["a"] },
        "many_titled": { "type": "array", "items": { "anyOf": [{ "const": "a", "title": "A" }] } },
    }, "required": ["zip"] });
    let ask = tokio::spawn(async move { client.ask(form(&schema)).await.map(|_| schema) });
    let asked = outlet.questions.recv().await.unwrap();
    let sent = serde_json::to_value(&asked.request).unwrap();
    asked.answer.send(Ok(json!({ "action": "accept", "content": {} }))).unwrap();
    assert_eq!(sent["params"]["requestedSchema"], ask.await.unwrap().unwrap());
}

#[tokio::test]
async fn what_is_no_form_of_mcp_is_refused() {
    let (client, _outlet) = client_of(everything(), Line::default());
    let nested =
        json!({ "type": "object", "properties": { "a": { "type": "object", "properties": {} } } });
    for schema in [json!([]), json!({ "type": "string" }), nested] {
        let refused = client.ask(form(&schema)).await.unwrap_err();
        assert!(matches!(refused, AskError::Invalid(_)), "{refused:?}");
    }
    let large = Question::Form {
        key: None,
        message: "m".repeat(QUESTION_MAX_BYTES),
        schema: RawValue::from_string("{\"type\":\"object\",\"properties\":{}}".to_owned())
            .unwrap(),
    };
    let refused = client.ask(large).await.unwrap_err();
    assert!(refused.to_string().contains("MiB"), "{refused}");
}

#[tokio::test]
async fn only_so_many_questions_are_open() {
    let (client, mut outlet) = client_of(everything(), Line::default());
    let asking: Vec<_> = (0..OPEN_MAX + 3)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.ask(simple()).await })
        })
        .collect();
    let mut open = Vec::new();
    for _ in 0..OPEN_MAX {
        open.push(outlet.questions.recv().await.unwrap());
    }
    tokio::task::yield_now().await;
    assert!(outlet.questions.try_recv().is_err());
    open.pop().unwrap().answer.send(Ok(json!({ "action": "decline" }))).unwrap();
    open.push(outlet.questions.recv().await.unwrap());
    drop((open, outlet));
    let mut answers = Vec::new();
    for asking in asking {
        answers.push(asking.await.unwrap());
    }
    assert!(answers.iter().any(|answer| matches!(answer, Ok(Answer::Declined))));
    assert!(answers.iter().any(|answer| matches!(answer, Err(AskError::Failed(_)))));
}

#[tokio::test]
async fn tools_are_offered_to_models_that_take_them() {
    let request = || CompletionRequest {
        messages: vec![
            Message {
                role: Role::User,
                parts: vec![
                    Part::Text("a".to_owned()),
                    Part::Image { data: vec![0, 1], mime_type: "image/png".to_owned() },
                ],
            },
            Message {
                role: Role::Assistant,
                parts: vec![Part::ToolCall {
                    id: "1".to_owned(),
                    name: "t".to_owned(),
                    arguments: "{\"x\":1}".to_owned(),
                }],
            },
            Message {
                role: Role::User,
                parts: vec![Part::ToolResult {
                    id: "1".to_owned(),
                    text: "r".to_owned(),
                    is_error: true,
                }],
            },
        ],
        tools: vec![ToolOffer {
            name: "t".to_owned(),
            description: "d".to_owned(),
            input_schema: json!({ "type": "object" }).as_object().unwrap().clone(),
        }],
        ..CompletionRequest::default()
    };
    let (client, mut outlet) = client_of(everything(), Line::default());
    let sampling = tokio::spawn(async move { client.sample(request()).await });
    let asked = outlet.questions.recv().await.unwrap();
    let sent = serde_json::to_value(&asked.request).unwrap();
    let messages = sent["params"]["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 4, "parts without tools are messages of their own");
    assert_eq!(
        messages[1]["content"],
        json!({ "type": "image", "data": "AAE=", "mimeType": "image/png" })
    );
    assert_eq!(messages[2]["content"][0]["input"], json!({ "x": 1 }));
    assert_eq!(messages[3]["content"][0]["isError"], true);
    assert_eq!(sent["params"]["tools"][0]["name"], "t");
    let said = json!({ "role": "assistant", "model": "m", "stopReason": "toolUse", "content": [{ "type": "tool_use", "id": "2", "name": "t", "input": {} }] });
    asked.answer.send(Ok(said)).unwrap();
    let completion = sampling.await.unwrap().unwrap();
    assert_eq!(
        completion.parts,
        [Part::ToolCall { id: "2".to_owned(), name: "t".to_owned(), arguments: "{}".to_owned() }]
    );

    let (client, _outlet) = client_of(json!({ "sampling": {} }), Line::default());
    assert!(matches!(client.sample(request()).await, Err(ModelError::Unavailable(_))));
    let mut bad = request();
    bad.messages[1].parts = vec![Part::ToolCall {
        id: "1".to_owned(),
        name: "t".to_owned(),
        arguments: "nonsense".to_owned(),
    }];
    assert!(matches!(client.sample(bad).await, Err(ModelError::Invalid(_))));
}

#[tokio::test]
async fn answers_of_the_wrong_kind_are_none() {
    for answer in [
        json!({ "action": "accept", "content": 7 }),
        json!({ "action": "perhaps" }),
        json!(null),
        json!({ "role": "assistant" }),
    ] {
        let (client, mut outlet) = client_of(everything(), Line::default());
        let asking = tokio::spawn(async move { client.ask(simple()).await });
        outlet.questions.recv().await.unwrap().answer.send(Ok(answer)).unwrap();
        assert!(matches!(asking.await.unwrap(), Err(AskError::Failed(_))));
    }
    for answer in [
        json!({ "role": "user", "model": "m", "content": { "type": "text", "text": "x" } }),
        json!({ "role": "assistant", "model": "m", "content": { "type": "image", "data": "?", "mimeType": "x" } }),
        json!({ "action": "accept" }),
    ] {
        let (client, mut outlet) = client_of(everything(), Line::default());
        let asking = tokio::spawn(async move { client.sample(CompletionRequest::default()).await });
        outlet.questions.recv().await.unwrap().answer.send(Ok(answer)).unwrap();
        assert!(matches!(asking.await.unwrap(), Err(ModelError::Unavailable(_))));
    }
}

#[tokio::test]
async fn notices_of_a_flood_are_dropped_and_never_wait() {
    let line = Line { progress: Some(ProgressToken(RequestId::Number(1))), level: None };
    let (client, mut outlet) = client_of(json!({}), line);
    for step in [1.0, f64::NAN, f64::INFINITY, 1.0, 0.5, 2.0] {
        client.report(step, Some(f64::NAN), Some("m"));
    }
    for expected in [1.0, 2.0] {
        let Notice::Progress { progress, total, message } = outlet.notices.recv().await.unwrap()
        else {
            panic!("no progress")
        };
        assert!((progress - expected).abs() < f64::EPSILON && total.is_none());
        assert_eq!(message.as_deref(), Some("m"));
    }
    for step in 0..10 * NOTICES_MAX {
        client.report(3.0 + f64::from(u32::try_from(step).unwrap()), None, None);
        client.log(GuestLevel::Critical, "", "nobody wants it");
    }
    assert_eq!(outlet.notices.len(), NOTICES_MAX);
}

#[tokio::test]
async fn a_long_notice_is_cut() {
    let line = Line { progress: Some(ProgressToken(RequestId::Number(1))), level: None };
    let (client, mut outlet) = client_of(json!({}), line);
    client.report(1.0, None, Some(&"\u{e9}".repeat(NOTICE_MAX_BYTES)));
    let Notice::Progress { message, .. } = outlet.notices.recv().await.unwrap() else {
        panic!("no progress")
    };
    assert_eq!(message.unwrap().len(), NOTICE_MAX_BYTES);
}

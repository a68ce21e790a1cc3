use aop_core::model::{ModelBinding, Part, Role};

use super::translate::request;
use crate::binding::agent_0_1_0::model as wit;

fn bound() -> ModelBinding {
    ModelBinding {
        provider: "p".into(),
        name: "m".into(),
        system: None,
        temperature: None,
        max_tokens: 100,
        max_loops: 1,
        tokens_per_call: 1000,
        tokens_per_day: 1000,
    }
}

fn message(role: wit::Role, part: wit::Part) -> wit::Message {
    wit::Message { role, parts: vec![part] }
}

fn text(text: &str) -> wit::Part {
    wit::Part::Text(text.to_owned())
}

fn asking(messages: Vec<wit::Message>) -> wit::Request {
    wit::Request { messages, tools: vec![], temperature: None, max_tokens: None, stop: vec![] }
}

fn hello() -> wit::Request {
    asking(vec![message(wit::Role::User, text("Hello"))])
}

fn image(bytes: usize) -> wit::Part {
    wit::Part::Image(wit::Image { data: vec![0; bytes], mime_type: "image/png".into() })
}

fn tool(name: &str, schema: &str) -> wit::ToolDefinition {
    wit::ToolDefinition {
        name: name.to_owned(),
        description: String::new(),
        input_schema: schema.to_owned(),
    }
}

#[test]
fn the_bindings_parameters_hold() {
    let sent = request(&bound(), hello()).unwrap();
    assert_eq!((sent.temperature, sent.max_tokens), (None, Some(100)));
    let bound = ModelBinding { temperature: Some(0.5), system: Some("s".into()), ..bound() };
    let sent = request(&bound, hello()).unwrap();
    assert_eq!(sent.temperature, Some(0.5));
    assert_eq!(sent.messages[0].role, Role::System);
    assert_eq!(sent.messages[0].parts, [Part::Text("s".into())]);
    let wants = |max_tokens| wit::Request {
        temperature: Some(1.0),
        max_tokens: Some(max_tokens),
        ..hello()
    };
    let sent = request(&bound, wants(7)).unwrap();
    assert_eq!((sent.temperature, sent.max_tokens), (Some(1.0), Some(7)));
    assert_eq!(request(&bound, wants(101)).unwrap().max_tokens, Some(100), "not more");
}

#[test]
fn requests_beyond_a_bound_are_refused() {
    let many = |count| asking(vec![message(wit::Role::User, text("x")); count]);
    assert!(request(&bound(), many(1000)).is_ok());
    let parts = |count| wit::Message { role: wit::Role::User, parts: vec![text("x"); count] };
    let user = |part| asking(vec![message(wit::Role::User, part)]);
    let offering = |tools| wit::Request { tools, ..hello() };
    assert!(request(&bound(), offering(vec![tool("t", "{\"type\":\"object\"}"); 128])).is_ok());
    let warm = |temperature| wit::Request { temperature: Some(temperature), ..hello() };
    let call = wit::ToolCall { id: "1".into(), name: "t".into(), arguments: "{".into() };
    let result = wit::ToolResult { id: "1".into(), text: String::new(), is_error: false };
    let said_by = |role, part| asking(vec![message(role, part)]);
    let not_an_image = wit::Image { data: vec![], mime_type: "text/html".into() };
    let refused = [
        ("no messages", asking(vec![])),
        ("messages", many(1001)),
        ("no parts", asking(vec![parts(0)])),
        ("parts", asking(vec![parts(5000), parts(5001)])),
        ("images", user(image((16 << 20) + 1))),
        ("texts", user(text(&"x".repeat((16 << 20) + 1)))),
        ("MIME type", user(wit::Part::Image(not_an_image))),
        ("whose image", said_by(wit::Role::Assistant, image(1))),
        ("whose call", said_by(wit::Role::User, wit::Part::ToolCall(call.clone()))),
        ("whose result", said_by(wit::Role::Assistant, wit::Part::ToolResult(result.clone()))),
        ("tools", offering(vec![tool("t", "{}"); 129])),
        ("schema", offering(vec![tool("t", "[]")])),
        ("no JSON", offering(vec![tool("t", "{")])),
        ("no name", offering(vec![tool("", "{}")])),
        ("long name", offering(vec![tool(&"t".repeat(257), "{}")])),
        ("schemas", offering(vec![tool("t", &format!("{{\"x\":\"{}\"}}", "x".repeat(1 << 20)))])),
        ("cold", warm(-0.1)),
        ("hot", warm(2.1)),
        ("NaN", warm(f64::NAN)),
        ("no tokens", wit::Request { max_tokens: Some(0), ..hello() }),
        ("stops", wit::Request { stop: vec!["x".into(); 17], ..hello() }),
    ];
    for (what, wrong) in refused {
        assert!(request(&bound(), wrong).is_err(), "{what}");
    }
    let history = asking(vec![
        message(wit::Role::User, image(1)),
        message(wit::Role::Assistant, wit::Part::ToolCall(call)),
        message(wit::Role::User, wit::Part::ToolResult(result)),
    ]);
    assert!(request(&bound(), history).is_ok(), "what a model said is repeated as it was");
}

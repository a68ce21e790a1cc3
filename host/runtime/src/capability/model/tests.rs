use std::sync::Mutex;
use std::time::Instant;

use aop_core::client::{Answer, AskError, Client, Question, Root};
use aop_core::model::{ModelBinding, Part, Role, StopReason};
use aop_core::{AgentName, BoxFuture, Caller, GuestLevel, TenantName, ToolName};

use super::translate::request;
use super::*;
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

#[test]
fn what_nobody_counts_is_estimated() {
    assert_eq!(usage::of_request(&request(&bound(), hello()).unwrap()), 2, "rounded up");
    let offering = wit::Request { tools: vec![tool("t", "{}")], ..hello() };
    assert_eq!(usage::of_request(&request(&bound(), offering).unwrap()), 2, "name and schema");
    let seeing = asking(vec![message(wit::Role::User, image(1 << 20))]);
    assert_eq!(usage::of_request(&request(&bound(), seeing).unwrap()), 1600, "not its bytes");
    let (id, name) = ("1".to_owned(), "t".to_owned());
    let result = Part::ToolResult { id: id.clone(), text: "x".repeat(99), is_error: true };
    let call = Part::ToolCall { id, name, arguments: "{\"x\":1}".to_owned() };
    assert_eq!(usage::of_parts(&[call, result]), 28);
    assert_eq!(usage::of_parts(&[]), 0);
}

/// A client whose model says 40 bytes, and what that took if it knows.
struct Sampling(Mutex<Option<model::Usage>>);

impl Client for Sampling {
    fn ask(&self, _: Question) -> BoxFuture<'_, Result<Answer, AskError>> {
        Box::pin(std::future::pending())
    }

    fn sample(&self, _: CompletionRequest) -> BoxFuture<'_, Result<Completion, model::ModelError>> {
        let usage = self.0.lock().unwrap().unwrap_or_default();
        let parts = vec![Part::Text("x".repeat(40))];
        let said = Completion { parts, stop: StopReason::End, usage, model: "any".into() };
        Box::pin(std::future::ready(Ok(said)))
    }

    fn roots(&self) -> BoxFuture<'_, Result<Vec<Root>, AskError>> {
        Box::pin(std::future::pending())
    }

    fn within(self: Arc<Self>, _: &str) -> Arc<dyn Client> {
        self
    }

    fn log(&self, _: GuestLevel, _: &str, _: &str) {}
}

#[tokio::test]
async fn the_budget_of_a_call_binds_a_client_that_counts_nothing() {
    let client = Arc::new(Sampling(Mutex::default()));
    let context = CallContext {
        client: Some(client.clone()),
        ..CallContext::alone(
            Caller::local(TenantName::default_tenant()),
            AgentName::new("a").unwrap(),
            ToolName::new("a_x").unwrap(),
            Instant::now(),
        )
    };
    let context = Arc::new(context);
    let bound = ModelBinding {
        provider: ModelBinding::CLIENT.into(),
        max_tokens: 10,
        tokens_per_call: 30,
        ..bound()
    };
    let prepare = || {
        let mut request = request(&bound, hello()).unwrap();
        let held = Held::take(&context.meter, &bound, &mut request)?;
        Ok::<_, model::ModelError>(Prepared {
            context: Arc::clone(&context),
            bound: bound.clone(),
            request,
            held,
        })
    };
    let said = prepare().unwrap().complete().await.unwrap();
    assert_eq!((said.usage.input_tokens, said.usage.output_tokens), (2, 10), "the guest is told");
    let (source, held) = prepare().unwrap().begin().await.unwrap();
    let Source::Written(mut events) = source else { panic!("a client answers at once") };
    let Some(CompletionEvent::Done(said)) = events.pop_back() else { panic!("{events:?}") };
    held.settle(said.usage);
    assert_eq!(context.meter.tokens(), 24);
    let told = model::Usage { input_tokens: 1, output_tokens: 5 };
    *client.0.lock().unwrap() = Some(told);
    assert_eq!(prepare().unwrap().complete().await.unwrap().usage, told, "what is told counts");
    assert_eq!(context.meter.tokens(), 30);
    assert!(matches!(prepare().map(drop), Err(model::ModelError::Budget(_))));
}

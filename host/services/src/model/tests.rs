//! Providers as recorded, and as they fail. Time is virtual wherever nothing but time passes.

mod formats;
mod keys;
mod script;
mod servers;

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use aop_core::model::{CompletionEvent, Message, Part, Role, SpentTokens, StopReason, ToolOffer};
use aop_core::quota::Payer;
use aop_core::{AgentId, Secret, SecretError, SecretName, StoreError, TenantName};
use rig_core::ProviderError;
use rig_core::http_client::MultipartForm;
use serde_json::json;
use uuid::Uuid;

use self::keys::Kept;
use self::script::{Reply, Script};
use super::*;

const KEY: &str = "sk-very-secret-0123456789";
const NOON: Duration = Duration::from_secs(20_000 * 24 * 60 * 60 + 12 * 60 * 60);

/// A time of day that a test moves.
#[derive(Clone)]
struct Hands(Arc<Mutex<SystemTime>>);

impl Hands {
    fn at_noon() -> Self {
        Self(Arc::new(Mutex::new(SystemTime::UNIX_EPOCH + NOON)))
    }

    fn move_by(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }

    fn clock(&self) -> Clock {
        let hands = self.0.clone();
        Arc::new(move || *hands.lock().unwrap())
    }
}

fn provider(name: &str, kind: ProviderKind, url: &str) -> ModelProvider {
    ModelProvider {
        name: name.to_owned(),
        kind,
        url: url.to_owned(),
        key: Some(Secret::new(KEY.to_owned())),
        key_secret: None,
    }
}

fn config() -> ModelConfig {
    ModelConfig::new(vec![
        provider("gateway", ProviderKind::OpenAi, "http://gateway.test/v1"),
        provider("openai", ProviderKind::OpenAi, ProviderKind::OpenAi.default_url()),
        provider("anthropic", ProviderKind::Anthropic, ProviderKind::Anthropic.default_url()),
    ])
}

fn models(script: &Script) -> ModelProviders {
    over(config(), script).unwrap()
}

fn over(config: ModelConfig, script: &Script) -> Result<ModelProviders, ServicesError> {
    let clock = Hands::at_noon().clock();
    ModelProviders::over(config, script.clone(), Arc::new(Kept::default()), (None, clock))
}

fn spender() -> Spender {
    Spender {
        tenant: TenantName::default_tenant(),
        owner: TenantName::default_tenant(),
        agent: AgentId(Uuid::from_u128(7)),
        payer: Payer::nobody(),
    }
}

fn binding(provider: &str) -> ModelBinding {
    ModelBinding {
        provider: provider.to_owned(),
        name: "test-model".to_owned(),
        system: None,
        temperature: None,
        max_tokens: 1000,
        max_loops: 10,
        tokens_per_call: 100_000,
        tokens_per_day: 1_000_000,
    }
}

fn says(role: Role, part: Part) -> Message {
    Message { role, parts: vec![part] }
}

fn question() -> CompletionRequest {
    CompletionRequest {
        messages: vec![says(Role::User, Part::Text("What is the answer?".to_owned()))],
        model: "test-model".to_owned(),
        ..CompletionRequest::default()
    }
}

async fn ask(models: &ModelProviders, provider: &str) -> Result<Completion, ModelError> {
    models.complete(&spender(), &binding(provider), question()).await
}

/// The events of a streamed completion: its text and its end.
async fn read(models: &ModelProviders, provider: &str) -> Result<(String, Completion), ModelError> {
    let mut stream = models.stream(&spender(), &binding(provider), question()).await?;
    let mut text = String::new();
    loop {
        match stream.next().await? {
            Some(CompletionEvent::Text(more)) => text.push_str(&more),
            Some(CompletionEvent::Done(completion)) => {
                assert_eq!(stream.next().await, Ok(None));
                return Ok((text, completion));
            }
            None => panic!("the stream ended without an end"),
        }
    }
}

fn count(models: &ModelProviders, name: &str) -> f64 {
    models.measure().iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum()
}

#[tokio::test(start_paused = true)]
async fn a_busy_provider_is_asked_again_when_it_says() {
    let busy = |after: &str| {
        Reply::json(429, r#"{"error":{"message":"slow down"}}"#).with("retry-after", after)
    };
    let script = Script::new([busy("7"), busy("Thu, 03 Oct 2024 12:00:20 GMT"), Reply::said("42")]);
    // The date above is in the past of this clock, so it means now.
    let models = models(&script);
    let begun = tokio::time::Instant::now();
    assert_eq!(ask(&models, "gateway").await.unwrap().parts, [Part::Text("42".to_owned())]);
    assert_eq!(begun.elapsed().as_secs(), 7);
    assert!((count(&models, "model_retries") - 2.0).abs() < f64::EPSILON);
}

#[tokio::test(start_paused = true)]
async fn a_date_to_come_back_at_is_kept() {
    let at = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + NOON + Duration::from_secs(20));
    let busy = Reply::json(503, "overloaded").with("retry-after", &at);
    let script = Script::new([busy, Reply::said("42")]);
    let begun = tokio::time::Instant::now();
    ask(&models(&script), "gateway").await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn who_says_later_than_anybody_waits_is_busy() {
    let busy = Reply::json(429, "{}").with("retry-after", "3600");
    let script = Script::new([busy]);
    let models = models(&script);
    let begun = tokio::time::Instant::now();
    assert_eq!(
        ask(&models, "gateway").await,
        Err(ModelError::Busy(Some(Duration::from_secs(3600))))
    );
    assert_eq!((begun.elapsed().as_secs(), script.requests().len()), (0, 1));
    assert_eq!(models.budgets.used(&spender()), (0, 0), "what was refused costs nothing");
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded_in_number_and_time() {
    let script = Script::new(std::iter::repeat_n(Reply::json(500, "oops"), 100));
    let outcome = ask(&models(&script), "gateway").await;
    assert!(
        matches!(&outcome, Err(ModelError::Unavailable(text)) if text.contains("500")),
        "{outcome:?}"
    );
    assert_eq!(script.requests().len(), 5);
    let script =
        Script::new(std::iter::repeat_n(Reply::json(529, "{}").with("retry-after", "25"), 100));
    assert_eq!(
        ask(&models(&script), "anthropic").await,
        Err(ModelError::Busy(Some(Duration::from_secs(25))))
    );
    assert_eq!(script.requests().len(), 3, "the fourth would begin after the window of 60 s");
}

#[tokio::test(start_paused = true)]
async fn only_what_was_not_begun_is_asked_again() {
    let connect = || Reply::Fails(|| transport::TransportError::Connect("no".to_owned()));
    let script = Script::new([connect(), connect(), Reply::said("42")]);
    ask(&models(&script), "gateway").await.unwrap();
    for fault in [
        Reply::Fails(|| transport::TransportError::Late),
        Reply::Fails(|| transport::TransportError::TooLarge(1)),
        Reply::Fails(|| transport::TransportError::Broken("cut".to_owned())),
        Reply::json(200, "<html>"),
        Reply::json(200, "{}"),
        Reply::json(200, r#"{"choices":[]}"#),
        Reply::json(302, ""),
        Reply::json(401, r#"{"error":{"message":"Incorrect API key provided"}}"#),
        Reply::json(429, r#"{"error":{"code":"insufficient_quota"}}"#),
    ] {
        let script = Script::new([fault, Reply::said("42")]);
        let outcome = ask(&models(&script), "gateway").await;
        assert!(
            matches!(&outcome, Err(ModelError::Unavailable(text)) if text.contains("gateway")),
            "{outcome:?}"
        );
        assert_eq!(script.requests().len(), 1);
    }
    let script = Script::new([Reply::json(400, r#"{"error":{"message":"no such model"}}"#)]);
    assert_eq!(
        ask(&models(&script), "gateway").await,
        Err(ModelError::Invalid("no such model".to_owned()))
    );
}

#[tokio::test(start_paused = true)]
async fn keys_are_in_no_error_and_in_no_log() {
    let written = script::Written::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(written.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let echo = format!(
        r#"{{"error":{{"message":"the key {KEY} may not do this\n{}"}}}}"#,
        "x".repeat(5000)
    );
    for status in [200, 400, 401, 403, 404, 422, 429, 500] {
        for provider in ["gateway", "anthropic"] {
            let script = Script::new(std::iter::repeat_n(Reply::json(status, &echo), 10));
            let models = models(&script);
            for error in [
                ask(&models, provider).await.unwrap_err(),
                read(&models, provider).await.unwrap_err(),
            ] {
                let text = format!("{error} {error:?}");
                assert!(!text.contains(KEY) && text.len() < 4000, "{text}");
            }
        }
    }
    let wrong = ModelConfig::new(vec![ModelProvider {
        key: Some(Secret::new(format!("{KEY}\n"))),
        ..provider("wrong", ProviderKind::OpenAi, "http://a.test")
    }]);
    let refusal = over(wrong, &Script::new([])).err().unwrap();
    assert!(
        refusal.to_string().contains("its key") && !refusal.to_string().contains(KEY),
        "{refusal}"
    );
    assert!(!format!("{:?}", config()).contains(KEY));
    let log = written.text();
    assert!(log.contains("no completion"), "the log was listened to");
    assert!(!log.contains(KEY) && !log.contains("What is the answer?"), "{log}");
}

#[tokio::test]
async fn keys_are_in_no_completion() {
    for (provider, whole, stream) in [
        ("gateway", formats::OPENAI, formats::OPENAI_STREAM),
        ("anthropic", formats::ANTHROPIC, formats::ANTHROPIC_STREAM),
    ] {
        let whole = whole.replace("Let me see.", &format!("You sent {KEY}.")).replace("Bern", KEY);
        let completion =
            ask(&models(&Script::new([Reply::json(200, &whole)])), provider).await.unwrap();
        assert_eq!(completion.parts[0], Part::Text("You sent [key].".to_owned()));
        let Part::ToolCall { arguments, .. } = &completion.parts[1] else {
            panic!("{completion:?}")
        };
        assert_eq!(arguments, r#"{"city":"[key]"}"#);
        // In two events, and at the very end only the beginning of one.
        let (one, other) = KEY.split_at(9);
        let stream = stream
            .replace("Grüezi", &format!("You sent {one}"))
            .replace(" mitenand", &format!("{other}, or {one}"));
        let models = models(&Script::new([Reply::events(&stream)]));
        let (text, completion) = read(&models, provider).await.unwrap();
        assert_eq!(text, format!("You sent [key], or {one}"), "{provider}");
        assert_eq!(completion.parts, [Part::Text(text)]);
    }
}

#[tokio::test]
async fn a_key_goes_to_its_own_provider_only() {
    let script = Script::new([Reply::said("42"), Reply::json(200, formats::ANTHROPIC)]);
    let models = models(&script);
    ask(&models, "gateway").await.unwrap();
    ask(&models, "anthropic").await.unwrap();
    let [first, second] = &script.requests()[..] else { panic!("two requests") };
    assert_eq!(first.uri, "http://gateway.test/v1/chat/completions");
    assert_eq!(first.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(second.uri, "https://api.anthropic.com/v1/messages");
    assert_eq!(second.headers["x-api-key"], KEY);
    assert!(!second.headers.contains_key("authorization"));
    for unknown in ["nobody", "http://evil.test", ModelBinding::CLIENT] {
        assert!(matches!(ask(&models, unknown).await, Err(ModelError::Denied(_))));
    }
    assert_eq!(script.requests().len(), 2);
}

#[test]
fn providers_that_are_declared_wrongly_are_named() {
    for url in [
        "",
        "gateway",
        "ftp://a.test",
        "http://user@a.test/v1",
        "http://a.test/v1?key=1",
        "http:// a",
    ] {
        let config = ModelConfig::new(vec![provider("mine", ProviderKind::OpenAi, url)]);
        let refusal = over(config, &Script::new([])).err();
        assert!(refusal.unwrap().to_string().contains("`mine`"), "{url}");
    }
}

#[tokio::test]
async fn tokens_of_the_day_are_counted_and_end() {
    let hands = Hands::at_noon();
    let script =
        Script::new(std::iter::repeat_with(|| Reply::json(200, formats::OPENAI)).take(100));
    let config = ModelConfig { tenant_tokens_per_day: 2000, ..config() };
    let ledger = (None, hands.clock());
    let models =
        ModelProviders::over(config, script.clone(), Arc::new(Kept::default()), ledger).unwrap();
    let tight = ModelBinding { max_tokens: 100, tokens_per_day: 300, ..binding("gateway") };
    let other = Spender { agent: AgentId(Uuid::from_u128(8)), ..spender() };
    // Each takes 57 tokens, and might take 105.
    for used in [57, 114, 171] {
        models.complete(&spender(), &tight, question()).await.unwrap();
        assert_eq!(models.budgets.used(&spender()), (used, used));
    }
    models.complete(&spender(), &tight, question()).await.unwrap();
    let refusal = models.complete(&spender(), &tight, question()).await.unwrap_err();
    let expected =
        "the agent used 228 of 300 tokens of today (UTC), and this completion may take 105";
    assert_eq!(refusal, ModelError::Budget(expected.to_owned()));
    let roomy = ModelBinding { max_tokens: 1750, ..binding("gateway") };
    models.complete(&other, &roomy, question()).await.unwrap();
    let refusal = models.complete(&other, &roomy, question()).await.unwrap_err();
    assert!(
        matches!(&refusal, ModelError::Budget(text) if text.starts_with("the tenant used 285 of 2000"))
    );
    hands.move_by(Duration::from_secs(11 * 60 * 60));
    assert!(models.complete(&spender(), &tight, question()).await.is_err());
    hands.move_by(Duration::from_secs(60 * 60));
    models.complete(&spender(), &tight, question()).await.unwrap();
    assert_eq!(models.budgets.used(&spender()), (57, 57), "another day");
    assert!((count(&models, "model_output_tokens") - 6.0 * 18.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn completions_at_one_time_cannot_overdraw_together() {
    let script = Script::new([Reply::Never, Reply::said("42")]);
    let models = models(&script);
    let tight = ModelBinding { tokens_per_day: 1500, ..binding("gateway") };
    let (spender, other) = (spender(), AgentId(Uuid::from_u128(9)));
    let mut first = models.complete(&spender, &tight, question());
    assert!(futures::poll!(&mut first).is_pending());
    let second = models.complete(&spender, &tight, question()).await;
    assert!(matches!(second, Err(ModelError::Budget(_))), "{second:?}");
    drop(first);
    let (used, _) = models.budgets.used(&spender);
    assert_eq!(used, 1005, "the provider may have written as much, and nobody read it");
    let roomy = binding("gateway");
    models.complete(&spender, &roomy, question()).await.unwrap();
    let budgets = Arc::new(Budgets::new(10_000, None, Hands::at_noon().clock()).with_agents_max(1));
    let size = Usage { input_tokens: 1, output_tokens: 1 };
    let _held = budgets.reserve(&spender, &tight, size).unwrap();
    assert!(budgets.reserve(&spender, &tight, size).is_ok());
    assert!(budgets.reserve(&Spender { agent: other, ..spender }, &tight, size).is_err());
}

#[tokio::test]
async fn a_form_is_refused_for_what_it_is() {
    let transport = Transport::new(Network::new(crate::network::SystemResolver), &config());
    let form = http::Request::new(MultipartForm::new());
    let refused = transport.send_multipart::<bytes::Bytes>(form).await.map(drop).unwrap_err();
    let refused = ProviderError::Http(refused.into());
    let trouble = Trouble::of(&refused, "gateway", &Key::default(), SystemTime::now());
    let ModelError::Invalid(message) = &trouble.error else { panic!("{trouble:?}") };
    assert!(message.contains("sends it no forms") && trouble.is_free, "{message}");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_between_attempts_pays_nothing() {
    let busy = Reply::json(429, "{}").with("retry-after", "20");
    let models = models(&Script::new([busy]));
    let (spender, bound) = (spender(), binding("gateway"));
    let mut asked = models.complete(&spender, &bound, question());
    assert!(futures::poll!(&mut asked).is_pending());
    assert_eq!(models.budgets.used(&spender).0, 1005, "it is set aside");
    assert_eq!(models.shares.held(), 0, "who waits takes no place");
    drop(asked);
    assert_eq!(models.budgets.used(&spender), (0, 0));
}

#[tokio::test]
async fn one_agent_leaves_completions_to_others() {
    let script = Script::new([Reply::Never, Reply::said("42")]);
    let config = ModelConfig { completions_max: 4, ..config() };
    let models = over(config, &script).unwrap();
    let (greedy, bound) = (spender(), binding("gateway"));
    let other = Spender { agent: AgentId(Uuid::from_u128(8)), ..spender() };
    let mut first = models.complete(&greedy, &bound, question());
    assert!(futures::poll!(&mut first).is_pending());
    let mut second = models.complete(&greedy, &bound, question());
    assert!(futures::poll!(&mut second).is_pending());
    assert_eq!(script.requests().len(), 1, "the second waits for the first");
    models.complete(&other, &bound, question()).await.unwrap();
    drop(second);
    assert_eq!(models.budgets.used(&greedy).0, 1005, "what was not sent is not spent");
}

#[derive(Default)]
struct Memory(Mutex<Vec<(u64, SpentTokens)>>);

impl TokenLedger for Memory {
    fn spent(&self, day: u64) -> BoxFuture<'_, Result<Vec<SpentTokens>, StoreError>> {
        let all = self.0.lock().unwrap();
        let of_day =
            all.iter().filter(|(of, _)| *of == day).map(|(_, spent)| spent.clone()).collect();
        Box::pin(async move { Ok(of_day) })
    }

    fn spend(&self, day: u64, spent: SpentTokens) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.0.lock().unwrap().push((day, spent));
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_restart_gives_no_tokens_back() {
    let memory = Arc::new(Memory::default());
    let open = || {
        let script = Script::new([Reply::json(200, formats::OPENAI)]);
        let ledger = Arc::clone(&memory) as Arc<dyn TokenLedger>;
        let ledger = (Some(ledger), Hands::at_noon().clock());
        ModelProviders::over(config(), script, Arc::new(Kept::default()), ledger).unwrap()
    };
    ask(&open(), "gateway").await.unwrap();
    while memory.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let models = open();
    models.restore().await;
    assert_eq!(models.budgets.used(&spender()), (57, 57));
    memory.0.lock().unwrap()[0].0 -= 1;
    let models = open();
    models.restore().await;
    assert_eq!(models.budgets.used(&spender()), (0, 0), "that was yesterday");
}

#[tokio::test]
async fn the_budgets_of_the_day_bind_the_clients_own_model_too() {
    let models = models(&Script::new([]));
    let binding = ModelBinding { tokens_per_day: 100, ..binding(ModelBinding::CLIENT) };
    let most = Usage { input_tokens: 20, output_tokens: 40 };
    let reserve = || models.reserve(&spender(), &binding, most);
    let mut first = reserve().unwrap();
    assert!(matches!(reserve().map(drop), Err(ModelError::Budget(_))), "both do not fit");
    first.settle(Usage { input_tokens: 20, output_tokens: 5 });
    drop(first);
    // Nobody says what this one took.
    drop(reserve().unwrap());
    assert!(matches!(reserve().map(drop), Err(ModelError::Budget(_))));
}

//! Keys that are secrets of tenants.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::servers::answer;
use super::*;
use crate::SystemResolver;
use crate::testing::{Step, Stub};

const OTHER_KEY: &str = "sk-of-a-tenant-9876543210";

/// The secret `MODEL_KEY` of tenants.
#[derive(Clone, Default)]
pub(super) struct Kept(
    Arc<Mutex<HashMap<TenantName, Result<String, SecretError>>>>,
    Arc<AtomicUsize>,
);

impl Kept {
    fn set(&self, tenant: &str, key: Result<&str, SecretError>) {
        self.0.lock().unwrap().insert(tenant.parse().unwrap(), key.map(str::to_owned));
    }
}

impl Secrets for Kept {
    fn get<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<Secret, SecretError>> {
        assert_eq!(name.as_str(), "MODEL_KEY");
        self.1.fetch_add(1, Ordering::Relaxed);
        let found = self.0.lock().unwrap().get(tenant).cloned();
        let found = found.unwrap_or_else(|| Err(SecretError::Missing(name.clone())));
        Box::pin(std::future::ready(found.map(Secret::new)))
    }
}

/// A provider whose key is the tenants', or else the host's where it has one.
fn of_tenants(key: Option<&str>, url: &str) -> ModelConfig {
    ModelConfig::new(vec![ModelProvider {
        key: key.map(|key| Secret::new(key.to_owned())),
        key_secret: Some("MODEL_KEY".parse().unwrap()),
        ..provider("gateway", ProviderKind::OpenAi, url)
    }])
}

fn with(config: ModelConfig, kept: &Kept, script: &Script) -> ModelProviders {
    let ledger = (None, Hands::at_noon().clock());
    ModelProviders::over(config, script.clone(), Arc::new(kept.clone()), ledger).unwrap()
}

/// An agent that its owner shares with another tenant, where that is not the owner.
fn spender_of(owner: &str, tenant: &str) -> Spender {
    Spender { owner: owner.parse().unwrap(), tenant: tenant.parse().unwrap(), ..spender() }
}

async fn ask_as(models: &ModelProviders, owner: &str) -> Result<Completion, ModelError> {
    models.complete(&spender_of(owner, owner), &binding("gateway"), question()).await
}

#[tokio::test]
async fn each_tenant_sends_its_own_key_and_another_one_counts_at_once() {
    let stub = Stub::start(|_| vec![Step::Send(answer("application/json", formats::OPENAI))]).await;
    let (kept, url) = (Kept::default(), format!("http://{}/v1", stub.address));
    kept.set("acme", Ok("sk-of-acme"));
    kept.set("zeta", Ok("sk-of-zeta"));
    let secrets = Arc::new(kept.clone());
    let config = of_tenants(Some("sk-of-host"), &url);
    let models = ModelProviders::new(config, Network::new(SystemResolver), secrets, None).unwrap();
    ask_as(&models, "acme").await.unwrap();
    ask_as(&models, "zeta").await.unwrap();
    ask_as(&models, "poor").await.unwrap();
    // Whoever asks, the agent's owner has the key.
    let shared = spender_of("acme", "zeta");
    models.complete(&shared, &binding("gateway"), question()).await.unwrap();
    kept.set("acme", Ok("sk-of-acme-2"));
    ask_as(&models, "acme").await.unwrap();
    let sent: Vec<_> = stub
        .requests()
        .iter()
        .map(|request| {
            let line = request.lines().find_map(|line| line.split_once("Bearer "));
            line.unwrap().1.to_owned()
        })
        .collect();
    let expected = ["sk-of-acme", "sk-of-zeta", "sk-of-host", "sk-of-acme", "sk-of-acme-2"];
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_tenant_without_a_key_is_refused_and_its_operator_told_how_to_set_it() {
    let written = script::Written::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(written.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let (kept, script) = (Kept::default(), Script::new([]));
    let models = with(of_tenants(None, "https://gateway.test/v1"), &kept, &script);
    for _ in 0..100 {
        let refusal = ask_as(&models, "acme").await.unwrap_err();
        let ModelError::Denied(text) = &refusal else { panic!("{refusal:?}") };
        assert!(text.contains("no key for the model provider `gateway`"), "{text}");
        assert!(!text.contains("acme") && !text.contains("MODEL_KEY"), "{text}");
    }
    assert_eq!(models.budgets.used(&spender_of("acme", "acme")), (0, 0));
    assert!(script.requests().is_empty());
    let log = written.text();
    assert!(log.contains("`aop secret set MODEL_KEY --tenant acme`"), "{log}");
    assert_eq!(log.lines().count(), 1, "an agent cannot fill the log: {log}");

    // Nothing stands in for a key that is there and cannot be read, not even the host's.
    let models = with(of_tenants(Some(KEY), "https://gateway.test/v1"), &kept, &script);
    kept.set("acme", Err(SecretError::Sealed("no key for its secrets in /etc".to_owned())));
    kept.set("zeta", Ok("line\nbreak"));
    kept.set("void", Ok(""));
    kept.set("wide", Ok("sk-of-wide "));
    kept.set("tabs", Ok("\tsk-of-tabs"));
    for (tenant, why) in [
        ("acme", "no key for its secrets"),
        ("zeta", "character"),
        ("void", "empty"),
        ("wide", "a blank"),
        ("tabs", "a blank"),
    ] {
        let refusal = ask_as(&models, tenant).await.unwrap_err();
        let ModelError::Unavailable(text) = &refusal else { panic!("{refusal:?}") };
        assert!(
            text.contains("`gateway`") && !text.contains("/etc") && !text.contains("MODEL_KEY"),
            "{text}"
        );
        let log = written.text();
        let line = log.lines().last().unwrap();
        assert!(line.contains(why) && line.contains(tenant) && !line.contains("break"), "{line}");
    }
    assert!(script.requests().is_empty());
}

#[tokio::test]
async fn what_is_done_for_the_hosts_key_is_done_for_a_tenants() {
    let written = script::Written::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(written.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let kept = Kept::default();
    kept.set("default", Ok(OTHER_KEY));
    let models = |reply: Reply| {
        with(of_tenants(Some(KEY), "https://gateway.test/v1"), &kept, &Script::new([reply]))
    };
    let echo = format!(r#"{{"error":{{"message":"the key {OTHER_KEY} may not do this"}}}}"#);
    let refusal = ask(&models(Reply::json(400, &echo)), "gateway").await.unwrap_err();
    assert_eq!(refusal, ModelError::Invalid("the key [key] may not do this".to_owned()));
    let refusal = ask(&models(Reply::json(401, &echo)), "gateway").await.unwrap_err();
    let ModelError::Unavailable(text) = &refusal else { panic!("{refusal:?}") };
    assert!(text.contains("the key of the agent's tenant") && !text.contains(OTHER_KEY), "{text}");
    assert!(written.text().contains("key=`aop secret set MODEL_KEY --tenant default`"));
    let spent = r#"{"error":{"code":"insufficient_quota"}}"#;
    let refusal = ask(&models(Reply::json(429, spent)), "gateway").await.unwrap_err();
    assert!(
        refusal.to_string().contains("quota left for the key of the agent's tenant"),
        "{refusal}"
    );
    let whole = formats::OPENAI.replace("Let me see.", &format!("You sent {OTHER_KEY}."));
    let completion = ask(&models(Reply::json(200, &whole)), "gateway").await.unwrap();
    assert_eq!(completion.parts[0], Part::Text("You sent [key].".to_owned()));
    let (one, other) = OTHER_KEY.split_at(9);
    let stream = formats::OPENAI_STREAM
        .replace("Grüezi", &format!("You sent {one}"))
        .replace(" mitenand", other);
    let (text, _) = read(&models(Reply::events(&stream)), "gateway").await.unwrap();
    assert_eq!(text, "You sent [key]");
    assert!(!written.text().contains(OTHER_KEY), "{}", written.text());
}

#[tokio::test]
async fn who_has_no_tokens_left_makes_the_host_read_no_secret() {
    let kept = Kept::default();
    kept.set("acme", Ok("sk-of-acme"));
    let config = ModelConfig {
        tenant_tokens_per_day: 0,
        ..of_tenants(Some(KEY), "https://gateway.test/v1")
    };
    let models = with(config, &kept, &Script::new([]));
    let refusal = ask_as(&models, "acme").await.unwrap_err();
    assert!(matches!(refusal, ModelError::Budget(_)), "{refusal:?}");
    assert_eq!(kept.1.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn that_the_hosts_key_stands_in_for_a_tenants_is_told_once_for_each() {
    let written = script::Written::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(written.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let kept = Kept::default();
    let script = Script::new(std::iter::repeat_with(|| Reply::json(200, formats::OPENAI)).take(12));
    let models = with(of_tenants(Some(KEY), "https://gateway.test/v1"), &kept, &script);
    kept.set("rich", Ok("sk-of-rich"));
    for tenant in ["acme", "zeta", "rich"].iter().cycle().take(12) {
        ask_as(&models, tenant).await.unwrap();
    }
    let log = written.text();
    for tenant in ["acme", "zeta"] {
        let command = format!("`aop secret set MODEL_KEY --tenant {tenant}`");
        assert_eq!(log.matches(&command).count(), 1, "{log}");
    }
    assert!(!log.contains("rich") && !log.contains(KEY), "{log}");
    // What goes wrong is told of the same tenant all the same.
    kept.set("acme", Ok(""));
    ask_as(&models, "acme").await.unwrap_err();
    let log = written.text();
    assert_eq!(log.lines().count(), 3, "{log}");
    assert!(log.lines().last().unwrap().contains("ERROR"), "{log}");
}

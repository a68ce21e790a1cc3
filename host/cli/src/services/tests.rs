use super::*;
use crate::config::{Provider, Server};

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn names(providers: &[ModelProvider]) -> Vec<&str> {
    providers.iter().map(|provider| provider.name.as_str()).collect()
}

#[test]
fn well_known_providers_exist_where_their_keys_do() {
    let config = ServicesConfig::default();
    let mut bare = environment(&[("OPENAI_API_KEY", ""), ("ANTHROPIC_API_KEY", " ")]);
    assert_eq!(names(&providers(&config, &mut bare).unwrap()), ["ollama"]);
    let mut keys = environment(&[
        ("ANTHROPIC_API_KEY", " secret\r\n"),
        ("OPENAI_API_KEY", "k"),
        ("LANG", "C"),
    ]);
    let found = providers(&config, &mut keys).unwrap();
    assert_eq!(names(&found), ["openai", "anthropic", "ollama"]);
    assert_eq!(found[1].url, "https://api.anthropic.com");
    assert_eq!(found[1].key, Some(Secret::new("secret".to_owned())));
    assert_eq!(found[2].key, None);
    assert_eq!(keys, environment(&[("LANG", "C")]), "no agent sees a key");
}

#[test]
fn well_known_providers_without_their_keys_can_be_named_with_what_they_lack() {
    let lacks = |variable: &str| Some(variable.to_owned());
    let expected = [
        ("anthropic".to_owned(), lacks("ANTHROPIC_API_KEY")),
        ("gateway".to_owned(), None),
        ("ollama".to_owned(), None),
        ("openai".to_owned(), None),
    ];
    assert_eq!(nameable(["gateway", "ollama", "openai"].into_iter()), expected.into());
}

#[test]
fn a_declared_provider_takes_its_own_key_and_the_place_of_a_well_known_one() {
    let mut config = ServicesConfig::default();
    let declared = Provider {
        url: Some("http://127.0.0.1:4000/v1".to_owned()),
        key_env: Some("GATEWAY_KEY".to_owned()),
        key_secret: Some("MODEL_KEY".parse().unwrap()),
        ..Provider::default()
    };
    config.providers.insert("openai".to_owned(), declared);
    let mut keys = environment(&[("OPENAI_API_KEY", "other"), ("GATEWAY_KEY", "mine")]);
    let found = providers(&config, &mut keys).unwrap();
    assert_eq!(names(&found), ["openai", "ollama"]);
    assert_eq!(found[0].url, "http://127.0.0.1:4000/v1");
    assert_eq!(found[0].key, Some(Secret::new("mine".to_owned())));
    assert_eq!(found[0].key_secret, Some("MODEL_KEY".parse().unwrap()));
    assert!(keys.is_empty(), "no agent sees a key, wanted or not");
    let message = providers(&config, &mut environment(&[])).unwrap_err().to_string();
    assert!(message.contains("GATEWAY_KEY") && message.contains("openai"), "{message}");
}

#[test]
fn agents_see_no_variable_of_the_host_and_none_that_is_for_something_else() {
    let mut config = Config::default();
    config.services.state_database.password_env = Some("PGPASSWORD".to_owned());
    config.cluster.servers = vec![Server {
        command: vec!["server".to_owned()],
        environment: vec!["GITHUB_TOKEN".to_owned(), "HOME".to_owned()],
        ..Server::default()
    }];
    let mut seen = environment(&[
        ("AOP_KEY", "k"),
        ("AOP_SECRETS_KEY", "k"),
        ("AOP_CLUSTER_JOIN_TOKEN", "t"),
        ("AOP_OF_A_LATER_RELEASE", "t"),
        ("PGPASSWORD", "p"),
        ("GITHUB_TOKEN", "g"),
        ("AOPERATION", "no prefix of ours"),
        ("HOME", "/home/me"),
    ]);
    hide(&mut seen, &config);
    let rest = environment(&[("AOPERATION", "no prefix of ours"), ("HOME", "/home/me")]);
    assert_eq!(seen, rest);
}

#[tokio::test]
async fn state_around_one_call_needs_no_data_directory() {
    let buckets = Fleeting::default();
    let bucket = Bucket {
        tenant: TenantName::default_tenant(),
        scope: aop_core::bucket::BucketScope::Tenant,
    };
    let quota =
        BucketQuota { keys_max: 10, bytes_max: 100, agent_bytes_max: None, tenant_bytes_max: None };
    buckets.set(&bucket, quota, &[("a".to_owned(), b"b".to_vec())]).await.unwrap();
    assert_eq!(buckets.get(&bucket, "a").await.unwrap(), Some(b"b".to_vec()));
    assert_eq!(buckets.keys(&bucket, None, 10).await.unwrap().keys, ["a"]);
    buckets.swap(&bucket, quota, "a", Some(b"b"), b"c".to_vec()).await.unwrap();
    buckets.delete(&bucket, &["a".to_owned()]).await.unwrap();
    assert_eq!(buckets.get(&bucket, "a").await.unwrap(), None);
}

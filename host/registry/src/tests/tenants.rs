//! Tenants have agents of their own; what one shares with another is seen there.

use aop_core::{
    Catalog as _, CatalogError, Origin, Query, Resolve as _, Search as _, Settings, State,
    Tenancy as _, Tenant, TenantName,
};

use super::{Host, tenant};

/// A tenant as it is when it begins.
fn made(name: &TenantName) -> Tenant {
    Tenant { name: name.clone(), created_unix_ms: 1 }
}

fn named(name: &str) -> TenantName {
    TenantName::new(name).unwrap()
}

impl Host {
    async fn upload(&self, owner: &TenantName, agent: &str, text: &str, settings: &str) {
        let request = aop_core::LoadRequest {
            name: super::agent(agent),
            id: None,
            component: text.as_bytes().to_vec(),
            settings: Settings::from_toml(settings).unwrap(),
            standing: None,
        };
        self.registry.load(owner, request).await.unwrap();
    }

    fn tools_of(&self, tenant: &TenantName) -> Vec<String> {
        self.registry.tools(tenant).tools.iter().map(|tool| tool.name.to_string()).collect()
    }

    fn found_by(&self, tenant: &TenantName) -> usize {
        let query = Query { text: String::new(), agent: None, limit: 100 };
        self.search.search(tenant, &query).unwrap().len()
    }
}

#[tokio::test]
async fn a_tenant_has_agents_and_names_of_its_own() {
    let host = Host::new();
    host.registry.scan().await.unwrap();
    let acme = named("acme");
    host.registry.begin(&made(&acme));
    host.upload(&tenant(), "a", "fn one", "").await;
    host.upload(&acme, "a", "fn two", "").await;
    assert_eq!(
        (host.tools_of(&tenant()), host.tools_of(&acme)),
        (vec!["a_one".into()], vec!["a_two".into()])
    );
    assert_eq!(host.registry.tenants(), [acme.clone(), tenant()]);
    assert!(host.registry.resolve(&acme, "a_one").is_none());
    assert!(host.registry.resolve(&named("nobody"), "a_one").is_none());
    let unknown = host.registry.unload(&named("nobody"), "a").await.unwrap_err();
    assert!(matches!(unknown, CatalogError::NoSuchAgent(_)));
    host.registry.unload(&acme, "a").await.unwrap();
    assert_eq!(host.tools_of(&tenant()), ["a_one"]);
}

#[tokio::test]
async fn agents_of_a_tenant_come_back_after_a_restart_and_go_with_it() {
    let host = Host::new();
    let acme = named("acme");
    host.registry.scan().await.unwrap();
    host.registry.begin(&made(&acme));
    host.upload(&acme, "a", "fn two", "").await;
    let host = host.restarted().await;
    host.registry.begin(&made(&acme));
    host.until("its agents are loaded", |host| !host.tools_of(&acme).is_empty()).await;
    assert_eq!(host.tools_of(&acme), ["a_two"]);
    host.registry.end(&made(&acme)).await.unwrap();
    assert!(host.tools_of(&acme).is_empty() && host.found_by(&acme) == 0);
    assert!(host.store().agents(&acme).await.unwrap().is_empty());
    assert_eq!(host.components(), 0);
    host.registry.end(&made(&acme)).await.unwrap();
}

#[tokio::test]
async fn a_shared_agent_is_seen_where_it_is_shared_and_changed_by_its_owner_only() {
    let host = Host::new();
    host.registry.scan().await.unwrap();
    let (acme, other) = (named("acme"), named("other"));
    host.registry.begin(&made(&acme));
    host.upload(&tenant(), "a", "fn one", "share = [\"acme\"]\n").await;
    host.registry.begin(&made(&other));
    assert_eq!(host.tools_of(&acme), ["a_one"]);
    assert!(host.tools_of(&other).is_empty() && host.found_by(&other) == 0);
    assert_eq!(host.found_by(&acme), 1);
    let route = host.registry.resolve(&acme, "a_one").unwrap();
    assert_eq!(route.revision.tenant, tenant());
    let seen = host.registry.show(&acme, "a").unwrap();
    assert!(matches!(seen.origin, Origin::Elsewhere { .. }), "{seen:?}");
    assert_eq!((seen.state, seen.in_flight), (State::Active, 0));
    let refused = host.registry.unload(&acme, "a").await.unwrap_err().to_string();
    assert!(refused.contains("default"), "{refused}");
    // Its owner replaces it, shares it with everyone, and takes it back.
    host.upload(&tenant(), "a", "fn two", "share = [\"*\"]\n").await;
    assert_eq!(
        (host.tools_of(&acme), host.tools_of(&other)),
        (vec!["a_two".into()], vec!["a_two".into()])
    );
    let late = named("late");
    host.registry.begin(&made(&late));
    assert_eq!(host.tools_of(&late), ["a_two"]);
    host.upload(&tenant(), "a", "fn two", "").await;
    assert!(host.tools_of(&acme).is_empty() && host.found_by(&acme) == 0);
    assert_eq!(host.tools_of(&tenant()), ["a_two"]);
}

/// Several agents change at one time: the last word is what all of them share then, never an older look at it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_not_shared_any_more_does_not_come_back() {
    let host = std::sync::Arc::new(Host::new());
    host.registry.scan().await.unwrap();
    let acme = named("acme");
    host.registry.begin(&made(&acme));
    for round in 0..40 {
        let uploads: Vec<_> = (0..4)
            .map(|index| {
                let host = std::sync::Arc::clone(&host);
                tokio::spawn(async move {
                    let text = format!("fn f{round}");
                    let agent = format!("a{index}");
                    host.upload(&tenant(), &agent, &text, "share = [\"*\"]\n").await;
                    host.upload(&tenant(), &agent, &text, "").await;
                })
            })
            .collect();
        for upload in uploads {
            upload.await.unwrap();
        }
        assert!(host.tools_of(&acme).is_empty(), "in round {round}");
    }
}

#[tokio::test]
async fn what_a_tenant_has_itself_comes_first() {
    let host = Host::new();
    host.registry.scan().await.unwrap();
    let acme = named("acme");
    host.registry.begin(&made(&acme));
    host.upload(&acme, "a", "fn mine", "").await;
    host.upload(&tenant(), "a", "fn theirs", "share = [\"*\"]\n").await;
    assert_eq!(host.tools_of(&acme), ["a_mine"]);
    host.registry.unload(&acme, "a").await.unwrap();
    assert_eq!(host.tools_of(&acme), ["a_theirs"]);
    host.upload(&acme, "a", "fn mine", "").await;
    assert_eq!(host.tools_of(&acme), ["a_mine"]);
    assert_eq!(host.tools_of(&tenant()), ["a_theirs"]);
}

#[tokio::test]
async fn a_tenant_that_comes_takes_no_agent_of_a_file_away() {
    let host = Host::with(|config| config.agents_max = 3);
    for name in ["a", "b", "c"] {
        host.write(&format!("agents/{name}.wasm"), "fn run");
    }
    host.registry.scan().await.unwrap();
    host.registry.begin(&made(&named("acme")));
    host.registry.scan().await.unwrap();
    assert_eq!(host.tools(), ["a", "b", "c"]);
    assert!(host.registry.list(&tenant()).iter().all(|status| status.error.is_none()));
}

#[tokio::test]
async fn no_tenant_has_all_the_agents_that_the_host_may_hold() {
    let host = Host::with(|config| config.agents_max = 9);
    host.registry.scan().await.unwrap();
    let (acme, other) = (named("acme"), named("other"));
    host.registry.begin(&made(&acme));
    host.registry.begin(&made(&other));
    for number in 0..8 {
        host.upload(&acme, &format!("a{number}"), "fn run", "").await;
    }
    let request = |name: &str| aop_core::LoadRequest {
        name: super::agent(name),
        id: None,
        component: b"fn run".to_vec(),
        settings: Settings::default(),
        standing: None,
    };
    let refused = host.registry.load(&acme, request("more")).await.unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("at most 9 agents, 8 of them now of this tenant"), "{refused}");
    host.registry.load(&acme, request("a0")).await.unwrap();
    host.upload(&other, "one", "fn run", "").await;
    assert!(host.registry.load(&other, request("two")).await.is_err(), "now all are there");
    // One that is free is for the next tenant.
    host.registry.unload(&acme, "a0").await.unwrap();
    assert!(host.registry.load(&other, request("two")).await.is_err());
    host.registry.unload(&acme, "a1").await.unwrap();
    host.registry.load(&other, request("two")).await.unwrap();
}

//! Agents that run elsewhere, among those of this host.

use std::collections::BTreeMap;
use std::sync::Arc;

use aop_core::quota::Resource;
use aop_core::{
    AgentId, Catalog, CatalogError, Digest, ForeignAgent, Hints, Origin, Publish, RefusedAgent,
    Resolve, Revision, RevisionNumber, Settings, Source, State, TaskUse, Tool, ToolName,
};
use serde_json::value::RawValue;

use super::{FakeExecutable, Host, agent, tenant};

fn tool(name: &str, description: &str) -> Arc<Tool> {
    let schema = || RawValue::from_string("{}".to_owned()).unwrap();
    Arc::new(Tool {
        name: ToolName::new(name).unwrap(),
        title: None,
        description: description.to_owned(),
        input_schema: schema(),
        output_schema: Some(schema()),
        signature: String::new(),
        hints: Hints::default(),
        task: TaskUse::Never,
        headers: Vec::new(),
        converses: false,
        takes_handles: false,
        function: 0,
    })
}

fn foreign(name: &str, tools: &[&str], component: &str) -> ForeignAgent {
    let revision = Revision {
        tenant: tenant(),
        agent: agent(name),
        id: AgentId(uuid::Uuid::from_u128(7)),
        number: RevisionNumber(3),
        digest: Digest::of(component.as_bytes()),
        settings: Arc::new(Settings::default()),
        tools: tools.iter().map(|name| tool(name, "From afar.")).collect(),
        features: BTreeMap::new(),
        executable: Arc::new(FakeExecutable),
        payer: aop_core::quota::Payer::nobody(),
        in_flight: 0.into(),
    };
    ForeignAgent {
        revision: Arc::new(revision),
        aliases: vec![],
        description: "Runs elsewhere.".to_owned(),
        places: vec!["n2".to_owned()],
    }
}

fn server(name: &str) -> Source {
    Source::Server(name.to_owned())
}

#[tokio::test]
async fn it_is_resolved_listed_found_and_told_of_until_it_goes() {
    let host = Host::scanned().await;
    let mut far = foreign("far", &["far_one"], "x");
    far.aliases = vec![(ToolName::new("far_old").unwrap(), far.revision.tools[0].clone())];
    assert_eq!(host.registry.publish(&Source::Nodes, vec![far.clone()]), []);
    assert_eq!(host.tools(), ["far_one"]);
    assert_eq!(host.resolved("far_old").as_deref(), Some("From afar."));
    assert_eq!(host.found("afar"), ["far_one"]);
    assert_eq!(host.times_told(), 1);
    let status = host.status("far");
    assert_eq!((status.state, status.revision), (State::Active, Some(RevisionNumber(3))));
    let places = vec!["n2".to_owned()];
    assert_eq!(status.origin, Origin::Elsewhere { source: Source::Nodes, places });

    far.places.push("n3".to_owned());
    host.registry.publish(&Source::Nodes, vec![far]);
    assert_eq!(host.times_told(), 1, "clients see the same tools");
    assert!(
        matches!(host.status("far").origin, Origin::Elsewhere { places, .. } if places.len() == 2)
    );

    let changes = host.registry.changes();
    let again = match host.registry.resolve(&tenant(), "far_one") {
        Some(route) => ForeignAgent {
            revision: route.revision,
            places: vec!["n2".to_owned(), "n3".to_owned()],
            aliases: vec![],
            description: String::new(),
        },
        None => panic!("it is there"),
    };
    host.registry.publish(&Source::Nodes, vec![again]);
    assert!(!changes.has_changed().unwrap(), "the same again is no change, or it would go round");

    host.registry.publish(&Source::Nodes, vec![]);
    assert!(host.tools().is_empty() && host.found("").is_empty());
    assert!(host.resolved("far_old").is_none() && host.registry.show(&tenant(), "far").is_none());
    assert_eq!(host.times_told(), 2);
}

#[tokio::test]
async fn only_its_owner_changes_it() {
    let host = Host::scanned().await;
    host.registry.publish(&Source::Nodes, vec![foreign("far", &["far"], "x")]);
    let unloaded = host.registry.unload(&tenant(), "far").await.unwrap_err();
    assert!(matches!(&unloaded, CatalogError::OwnedElsewhere { places, .. } if places == "n2"));
    let back = host.registry.rollback(&tenant(), "far").await.unwrap_err();
    assert!(matches!(back, CatalogError::OwnedElsewhere { .. }));
    assert_eq!(host.registry.revisions(&tenant(), "far").await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_replica_here_hides_those_elsewhere_and_uncovers_them_when_it_goes() {
    let host = Host::scanned().await;
    let component = "fn run From afar.";
    host.registry.publish(&Source::Nodes, vec![foreign("far", &["far"], component)]);
    let remote = host.registry.resolve(&tenant(), "far").unwrap().revision;
    host.load("far", component).await.unwrap();
    let local = host.registry.resolve(&tenant(), "far").unwrap().revision;
    assert!(!Arc::ptr_eq(&remote, &local));
    assert_eq!(host.tools(), ["far"]);
    let states: Vec<_> = host.registry.list(&tenant()).iter().map(|s| s.state).collect();
    assert_eq!(states, [State::Active], "one agent, and no clash");
    host.registry.unload(&tenant(), "far").await.unwrap();
    let again = host.registry.resolve(&tenant(), "far").unwrap().revision;
    assert!(Arc::ptr_eq(&remote, &again));
    assert_eq!(host.found("afar"), ["far"]);
}

#[tokio::test]
async fn another_component_under_the_name_is_shown_as_a_clash() {
    let host = Host::scanned().await;
    host.load("far", "fn run Mine.").await.unwrap();
    let refused = host.registry.publish(&Source::Nodes, vec![foreign("far", &["far"], "theirs")]);
    assert_eq!(refused.len(), 1);
    assert!(refused[0].reason.contains("n2 serves another component"), "{}", refused[0].reason);
    assert_eq!(host.resolved("far").as_deref(), Some("Mine."));
    let list = host.registry.list(&tenant());
    assert!(list.iter().any(|status| status.error.is_some()));
    host.registry.unload(&tenant(), "far").await.unwrap();
    assert_eq!(host.resolved("far").as_deref(), Some("From afar."));
    assert!(host.registry.list(&tenant()).iter().all(|status| status.error.is_none()));
}

#[tokio::test]
async fn a_tool_name_has_one_owner_wherever_it_runs() {
    let host = Host::scanned().await;
    host.load("near", "fn run Mine.").await.unwrap();
    let refused = host.registry.publish(
        &server("s"),
        vec![foreign("far", &["far", "near"], "x"), foreign("other", &["other"], "y")],
    );
    let [RefusedAgent { agent: name, reason, .. }] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!(name.as_str(), "far");
    assert!(reason.contains("`near` belongs to agent `near`"), "{reason}");
    assert_eq!(host.tools(), ["near", "other"], "all of an agent or nothing");
    assert_eq!(host.status("far").state, State::Error);
    host.load("other", "fn run Mine too.").await.unwrap();
    assert_eq!(host.resolved("other").as_deref(), Some("Mine too."), "this host goes first");
    host.registry.unload(&tenant(), "near").await.unwrap();
    assert_eq!(host.tools(), ["far", "near", "other"], "it gets in once the name is free");
    let refused = host.load("near", "fn run Mine.").await.unwrap_err();
    assert!(refused.to_string().contains("belongs to agent `far`"), "{refused}");
}

/// Otherwise whoever shares with everybody could take any name that no tenant uses yet.
#[tokio::test]
async fn what_another_tenant_shares_gives_its_names_up() {
    let host = Host::scanned().await;
    let other = Source::Tenant(aop_core::TenantName::new("other").unwrap());
    host.registry.publish(&other, vec![foreign("far", &["far", "near"], "x")]);
    assert_eq!(host.tools(), ["far", "near"]);
    host.load("near", "fn run Mine.").await.unwrap();
    assert_eq!(host.resolved("near").as_deref(), Some("Mine."));
    assert_eq!(host.tools(), ["near"], "all of an agent or nothing");
    assert!(host.found("afar").is_empty(), "it is in no index");
    let status = host.status("far");
    assert!(status.error.as_ref().unwrap().contains("belongs to agent `near`"), "{status:?}");
    host.registry.unload(&tenant(), "near").await.unwrap();
    assert_eq!(host.tools(), ["far", "near"]);
}

#[tokio::test]
async fn what_calls_of_a_foreign_agent_used_is_remembered_while_it_is_here() {
    let host = Host::scanned().await;
    let accounts = &host.registry.common.parts.accounts;
    assert!(accounts.agent(&tenant(), "far").is_none());
    host.registry.publish(&Source::Nodes, vec![foreign("far", &["far"], "x")]);
    let account = accounts.agent(&tenant(), "far").unwrap();
    // It is told again whenever something changes there.
    let again = vec![foreign("far", &["far"], "y"), foreign("other", &["other"], "x")];
    host.registry.publish(&Source::Nodes, again);
    assert!(Arc::ptr_eq(&account, &accounts.agent(&tenant(), "far").unwrap()));
    host.registry.publish(&Source::Nodes, vec![]);
    assert!(accounts.agent(&tenant(), "far").is_none());
}

#[tokio::test]
async fn a_replica_here_keeps_its_own_limits_whatever_is_said_of_those_elsewhere() {
    let host = Host::scanned().await;
    let component = "fn run From afar.";
    let mut settings = Settings::default();
    settings.limits.concurrency = 3;
    settings.quota.calls_per_second = Some(7);
    host.load_with("far", component, settings).await.unwrap();
    let account = host.registry.common.parts.accounts.agent(&tenant(), "far").unwrap();
    for component in ["x", "y"] {
        host.registry.publish(&Source::Nodes, vec![foreign("far", &["far"], component)]);
        assert_eq!(account.limit(Resource::Concurrency), Some(3));
        assert_eq!(account.limit(Resource::Calls), Some(7));
    }
}

#[tokio::test]
async fn of_two_sources_the_first_keeps_an_agents_name() {
    let host = Host::scanned().await;
    host.registry.publish(&server("s"), vec![foreign("far", &["far"], "x")]);
    let refused = host.registry.publish(&server("t"), vec![foreign("far", &["far"], "x")]);
    assert!(refused[0].reason.contains("server `s` has an agent of that name"), "{refused:?}");
    host.registry.publish(&server("s"), vec![]);
    let status = host.status("far");
    assert!(
        matches!(status.origin, Origin::Elsewhere { source: Source::Server(name), .. } if name == "t")
    );
}

#[tokio::test]
async fn the_number_of_agents_bounds_those_elsewhere_too() {
    let host = Host::with(|config| config.agents_max = 1);
    host.registry.scan().await.unwrap();
    let agents = vec![foreign("one", &["one"], "x"), foreign("two", &["two"], "y")];
    let refused = host.registry.publish(&Source::Nodes, agents);
    assert!(refused[0].reason.contains("at most 1 agents"), "{refused:?}");
    assert_eq!(host.tools(), ["one"]);
}

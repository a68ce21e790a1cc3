//! Who owns a tool name, and what changes of the tool set are told.

use std::sync::Arc;

use aop_core::{Catalog, CatalogError, Settings, State, ToolName};

use super::{Host, tenant};

fn renamed(function: &str, name: &str) -> Settings {
    let mut settings = Settings::default();
    settings.tools.entry(function.to_owned()).or_default().name =
        Some(ToolName::new(name).unwrap());
    settings
}

#[tokio::test]
async fn a_tool_name_has_one_owner() {
    let host = Host::scanned().await;
    host.load("a", "fn run One.").await.unwrap();
    let refused = host.load_with("b", "fn run Two.", renamed("run", "a")).await.unwrap_err();
    let CatalogError::Rejected(reason) = &refused else { panic!("{refused}") };
    assert!(
        reason.contains("`a` belongs to agent `a`") && reason.contains("[tools.<function>] name"),
        "{reason}"
    );
    assert!(host.registry.show(&tenant(), "b").is_none());
    assert_eq!(host.resolved("a").as_deref(), Some("One."));
    assert!(host.resolved("b").is_none(), "none of its names were kept");
    host.load("b", "fn run Two.").await.unwrap();
}

#[tokio::test]
async fn an_old_name_stays_an_alias_and_stays_owned() {
    let host = Host::scanned().await;
    host.load("a", "fn run One.").await.unwrap();
    host.load_with("a", "fn run One.", renamed("run", "fresh")).await.unwrap();
    assert_eq!(host.tools(), ["fresh"]);
    assert_eq!(host.resolved("a").as_deref(), Some("One."), "callers of the old name are served");
    let refused = host.load_with("b", "fn run Two.", renamed("run", "a")).await;
    assert!(matches!(refused, Err(CatalogError::Rejected(_))));
    let host = host.restarted().await;
    assert_eq!(host.resolved("a").as_deref(), Some("One."));
    let refused = host.load_with("b", "fn run Two.", renamed("run", "a")).await;
    assert!(matches!(refused, Err(CatalogError::Rejected(_))));
    host.registry.unload(&tenant(), "a").await.unwrap();
    host.load_with("b", "fn run Two.", renamed("run", "a")).await.unwrap();
    assert_eq!(host.resolved("a").as_deref(), Some("Two."), "free once its owner is gone");
}

#[tokio::test]
async fn a_file_gets_a_name_once_it_is_free() {
    let host = Host::watched().await;
    host.load("z", "fn run Api.").await.unwrap();
    host.write("agents/a.wasm", "fn run File.");
    host.write("agents/a.toml", "[tools.run]\nname = \"z\"");
    host.until_state("a", State::Error).await;
    assert!(host.status("a").error.unwrap().contains("belongs to agent `z`"));
    host.registry.unload(&tenant(), "z").await.unwrap();
    host.until_state("a", State::Active).await;
    assert_eq!(host.resolved("z").as_deref(), Some("File."));
}

#[tokio::test]
async fn of_two_new_agents_it_is_always_the_same_that_gets_the_name() {
    let host = Host::new();
    for name in ["b", "a"] {
        host.write(&format!("agents/{name}.wasm"), &format!("fn run From {name}."));
        host.write(&format!("agents/{name}.toml"), "[tools.run]\nname = \"shared\"");
    }
    host.registry.scan().await.unwrap();
    let first = host.resolved("shared").unwrap();
    let errors = host
        .registry
        .list(&tenant())
        .into_iter()
        .filter(|status| status.state == State::Error)
        .count();
    assert_eq!(errors, 1);
    let host = host.restarted().await;
    assert_eq!(host.resolved("shared").unwrap(), first, "after a restart as before it");
}

#[tokio::test]
async fn the_list_is_the_same_until_the_tools_change() {
    let host = Host::scanned().await;
    let empty = host.registry.tools(&tenant());
    host.load("a", "fn run One.").await.unwrap();
    let one = host.registry.tools(&tenant());
    assert!(one.generation > empty.generation);
    assert!(Arc::ptr_eq(&one, &host.registry.tools(&tenant())));
    assert_eq!(host.times_told(), 1);
    let slower = Settings { max_retries: 1, ..Settings::default() };
    host.load_with("a", "fn run One.", slower).await.unwrap();
    assert!(Arc::ptr_eq(&one, &host.registry.tools(&tenant())), "other limits are no other tools");
    assert_eq!(host.times_told(), 1);
    host.load("b", "broken").await.unwrap_err();
    assert_eq!(host.times_told(), 1, "nor is a failure");
    host.load("a", "fn run Another description.").await.unwrap();
    assert!(host.registry.tools(&tenant()).generation > one.generation);
    assert_eq!(host.times_told(), 2);
    host.registry.unload(&tenant(), "a").await.unwrap();
    assert_eq!(host.times_told(), 3);
}

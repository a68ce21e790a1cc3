//! Agents from files, as the first scan finds them, and over restarts.

use std::collections::BTreeMap;
use std::fs;

use aop_core::{Catalog, CatalogError, Measure, Origin, Resolve, RevisionNumber, Settings, State};

use super::{Host, agent, tenant};

#[tokio::test]
async fn a_scan_loads_what_is_there() {
    let host = Host::new();
    host.write("agents/Text Kit.wasm", "about Texts.\nfn count Counts words.\nfn trim Trims.");
    host.write("agents/clock.wasm", "fn run Tells the time.");
    host.write("agents/clock.toml", "description = \"A clock.\"\nconcurrency = 7\n");
    host.write("agents/notes.txt", "not an agent");
    host.write("agents/.hidden.wasm", "broken");
    host.registry.scan().await.unwrap();
    assert_eq!(
        host.tools(),
        ["clock", "text-kit_count", "text-kit_trim"]
            .map(|name| name.replace("text-kit", &kit(&host)))
    );
    let clock = host.status("clock");
    assert_eq!((clock.state, clock.revision), (State::Active, Some(RevisionNumber(1))));
    assert_eq!((clock.description.as_str(), clock.concurrency), ("A clock.", 7));
    assert_eq!(clock.origin, Origin::File { path: host.path("agents/clock.wasm") });
    assert_eq!(clock.id.unwrap().0.get_version_num(), 7);
    assert_eq!(host.status("text-kit").description, "Texts.");
    assert_eq!(host.found("words").len(), 1);
    let route = host.registry.resolve(&tenant(), "clock").unwrap();
    assert_eq!(route.revision.agent, agent("clock"));
    assert!(host.registry.resolve(&tenant(), "nobody").is_none());
    let other = aop_core::TenantName::new("other").unwrap();
    assert!(host.registry.resolve(&other, "clock").is_none());
    assert!(host.registry.list(&other).is_empty() && host.registry.tools(&other).tools.is_empty());
    assert!((1..=2).contains(&host.times_told()), "once per group that became ready together");
}

/// The prefix of the tools of `text-kit`, however `core` spells it.
fn kit(host: &Host) -> String {
    host.status("text-kit").tools[0].split("_count").next().unwrap().to_owned()
}

#[tokio::test]
async fn every_way_to_be_wrong_has_its_reason_and_the_others_serve() {
    let host = Host::with(|config| {
        config.component_max_bytes = 100;
        config.settings_max_bytes = 50;
    });
    host.write("agents/good.wasm", "fn run Works.");
    host.write("agents/bad.wasm", "broken");
    host.write("agents/costly.wasm", "costly");
    host.write("agents/large.wasm", &"x".repeat(101));
    host.write("agents/typo.wasm", "fn run");
    host.write("agents/typo.toml", "timeot = \"3s\"\nmemory = 5");
    host.write("agents/wordy.wasm", "fn run");
    host.write("agents/wordy.toml", &"#".repeat(51));
    host.write("agents/aop.wasm", "fn run");
    host.write("agents/unknown.wasm", "fn run");
    host.write("agents/unknown.toml", "[tools.walk]\ntitle = \"x\"");
    host.registry.scan().await.unwrap();
    assert_eq!(host.tools(), ["good"]);
    for (name, reasons) in [
        ("bad", &["not a component"][..]),
        ("costly", &["too much memory"]),
        ("large", &["larger than the 100 bytes", "strip"]),
        ("typo", &["typo.toml: line 1", "timeout", "line 2"]),
        ("wordy", &["settings file is larger than the 50 bytes"]),
        ("unknown", &["walk"]),
    ] {
        let status = host.status(name);
        assert_eq!(status.state, State::Error, "{name}");
        let error = status.error.unwrap();
        for reason in reasons {
            assert!(error.contains(reason), "{name}: {error}");
        }
        assert_eq!((status.id, status.revision), (None, None), "{name}");
    }
    assert!(host.registry.show(&tenant(), "aop").is_none());
    let failures =
        host.registry.measure().into_iter().find(|sample| sample.name == "agent_load_failures");
    assert_eq!(failures.unwrap().value as u32, 6);
}

#[tokio::test]
async fn of_two_files_with_one_name_the_first_directory_wins() {
    let host = Host::new();
    host.write("more/twin.wasm", "fn run Second.");
    host.write("agents/twin.wasm", "fn run First.");
    host.write("agents/Twin.wasm", "fn run Capital.");
    host.registry.scan().await.unwrap();
    let statuses = host.registry.list(&tenant());
    assert_eq!(statuses.len(), 3);
    let states: Vec<_> = statuses.iter().map(|status| status.state).collect();
    assert_eq!(states.iter().filter(|state| **state == State::Active).count(), 1);
    let refused: Vec<_> = statuses.into_iter().filter_map(|status| status.error).collect();
    assert!(
        refused
            .iter()
            .all(|error| error.contains("already comes from") && error.contains("rename")),
        "{refused:?}"
    );
    assert_eq!(host.resolved("twin").as_deref(), Some("Capital."), "capitals sort first");
}

#[tokio::test]
async fn a_file_that_is_added_takes_neither_name_nor_place_of_one_that_serves() {
    let host = Host::with(|config| config.agents_max = 2);
    host.write("more/twin.wasm", "fn run First.");
    host.write("agents/c.wasm", "fn run");
    host.registry.scan().await.unwrap();
    host.write("agents/Twin.wasm", "fn run Second.");
    host.write("agents/a.wasm", "fn run");
    host.registry.scan().await.unwrap();
    assert_eq!(host.tools(), ["c", "twin"]);
    assert_eq!(host.resolved("twin").as_deref(), Some("First."));
    assert!(host.status("a").error.unwrap().contains("at most 2 agents"));

    let host = host.restarted().await;
    host.registry.scan().await.unwrap();
    assert_eq!(host.resolved("twin").as_deref(), Some("First."), "nor after a restart");

    fs::remove_file(host.path("more/twin.wasm")).unwrap();
    host.registry.scan().await.unwrap();
    assert_eq!(host.resolved("twin").as_deref(), Some("Second."), "the name is free");
}

#[tokio::test]
async fn more_agents_than_the_limit_are_refused() {
    let host = Host::with(|config| config.agents_max = 2);
    for name in ["a", "b", "c"] {
        host.write(&format!("agents/{name}.wasm"), "fn run");
    }
    host.registry.scan().await.unwrap();
    assert_eq!(host.tools(), ["a", "b"]);
    assert!(host.status("c").error.unwrap().contains("at most 2 agents"));
    let refused = host.load("d", "fn run").await.unwrap_err();
    assert!(
        matches!(&refused, CatalogError::Rejected(reason) if reason.contains("at most 2 agents")),
        "{refused}"
    );
}

#[tokio::test]
async fn a_restart_keeps_id_and_revision() {
    let host = Host::new();
    host.write("agents/a.wasm", "fn run One.");
    host.registry.scan().await.unwrap();
    let before = host.status("a");
    let host = host.restarted().await;
    let after = host.status("a");
    assert_eq!(
        (after.id, after.revision, after.digest),
        (before.id, before.revision, before.digest)
    );
    host.write("agents/a.wasm", "fn run Two.");
    let host = host.restarted().await;
    let changed = host.status("a");
    assert_eq!(
        (changed.id, changed.revision),
        (before.id, Some(RevisionNumber(2))),
        "changed while it was down"
    );
    assert_eq!(host.resolved("a").as_deref(), Some("Two."));
}

#[tokio::test]
async fn after_a_restart_a_broken_file_leaves_its_old_revision_serving() {
    let host = Host::new();
    host.write("agents/a.wasm", "fn run One.");
    host.registry.scan().await.unwrap();
    let host = host.restarted().await;
    host.write("agents/a.wasm", "broken");
    let host = host.restarted().await;
    let status = host.status("a");
    assert_eq!((status.state, status.revision), (State::Error, Some(RevisionNumber(1))));
    assert!(status.error.unwrap().contains("not a component"));
    assert_eq!(host.resolved("a").as_deref(), Some("One."));
    host.write("agents/a.wasm", "fn run Two.");
    let host = host.restarted().await;
    assert_eq!(host.status("a").revision, Some(RevisionNumber(2)));
    assert_eq!(host.status("a").error, None);
}

#[tokio::test]
async fn a_file_that_went_while_the_host_was_down_is_forgotten() {
    let host = Host::new();
    host.write("agents/a.wasm", "fn run One.");
    host.registry.scan().await.unwrap();
    let before = host.status("a").id;
    fs::remove_file(host.path("agents/a.wasm")).unwrap();
    let host = host.restarted().await;
    assert!(host.registry.show(&tenant(), "a").is_none());
    assert_eq!(host.store().agents(&tenant()).await.unwrap(), []);
    assert_eq!(host.components(), 0, "and its component with it");
    host.write("agents/a.wasm", "fn run One.");
    let host = host.restarted().await;
    assert_ne!(host.status("a").id, before);
}

#[tokio::test]
async fn a_directory_that_is_away_takes_its_agents_along_but_not_their_past() {
    let host = Host::new();
    host.write("agents/a.wasm", "fn run One.");
    host.registry.scan().await.unwrap();
    let before = host.status("a").id;
    fs::rename(host.path("agents"), host.path("elsewhere")).unwrap();
    let host = host.restarted().await;
    assert!(host.registry.show(&tenant(), "a").is_none());
    assert!(host.tools().is_empty());
    fs::rename(host.path("elsewhere"), host.path("agents")).unwrap();
    let host = host.restarted().await;
    assert_eq!(host.status("a").id, before);
}

#[tokio::test]
async fn a_rollback_holds_until_the_file_changes() {
    let host = Host::new();
    host.write("agents/a.wasm", "fn run One.");
    host.registry.scan().await.unwrap();
    let none = host.registry.rollback(&tenant(), "a").await.unwrap_err();
    assert!(matches!(none, CatalogError::NoEarlierRevision(_)), "{none}");
    host.write("agents/a.wasm", "fn run Two.");
    let host = host.restarted().await;
    let told = host.times_told();
    let rolled_back = host.registry.rollback(&tenant(), "a").await.unwrap();
    assert_eq!((rolled_back.revision, rolled_back.pinned), (Some(RevisionNumber(1)), true));
    assert_eq!(host.resolved("a").as_deref(), Some("One."));
    assert_eq!(host.times_told(), told + 1);
    let revisions = host.registry.revisions(&tenant(), "a").await.unwrap();
    let serving: Vec<_> =
        revisions.iter().map(|revision| (revision.number.0, revision.serving)).collect();
    assert_eq!(serving, [(2, false), (1, true)]);

    let host = host.restarted().await;
    assert_eq!(host.resolved("a").as_deref(), Some("One."), "over a restart");
    assert!(host.status("a").pinned);
    host.write("agents/a.wasm", "fn run Two.");
    let host = host.restarted().await;
    assert_eq!(
        host.resolved("a").as_deref(),
        Some("One."),
        "a file of the same contents is no change"
    );

    host.write("agents/a.toml", "description = \"New.\"");
    let host = host.restarted().await;
    let status = host.status("a");
    assert_eq!(
        (status.revision, status.pinned),
        (Some(RevisionNumber(3)), false),
        "new settings are"
    );
    assert_eq!(status.description, "New.");
}

#[tokio::test]
async fn a_damaged_component_is_not_rolled_back_to() {
    let host = Host::new();
    host.write("agents/a.wasm", "fn run One.");
    host.registry.scan().await.unwrap();
    let first = host.status("a").digest.unwrap();
    host.write("agents/a.wasm", "fn run Two.");
    let host = host.restarted().await;
    fs::write(host.path(&format!("data/components/{}.wasm", first.hex())), "fn run Bad.").unwrap();
    let error = host.registry.rollback(&tenant(), "a").await.unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    let status = host.status("a");
    assert_eq!(
        (status.state, status.revision, status.error),
        (State::Active, Some(RevisionNumber(2)), None)
    );
}

#[tokio::test]
async fn a_crash_in_the_middle_of_writing_leaves_nothing() {
    let host = Host::scanned().await;
    fs::write(host.path("data/components/half.tmp"), "fn ru").unwrap();
    fs::write(host.path("data/components/0123.wasm"), "nobody refers to it").unwrap();
    let host = host.restarted().await;
    assert_eq!(host.components(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_to_a_file_elsewhere_shows_nothing_of_it() {
    let host = Host::new();
    let link = |from: &str, to: &str| {
        std::os::unix::fs::symlink(host.path(from), host.path(to)).unwrap();
    };
    host.write("secrets.toml", "hidden_name = \"hidden value\"\nmemory = \"hidden size\"\n");
    host.write("good.toml", "description = \"From elsewhere.\"\n");
    host.write("bundle.json", "{\"hidden\": 1}");
    for name in ["outside", "inside", "fine", "signed"] {
        host.write(&format!("agents/{name}.wasm"), "fn run");
    }
    link("secrets.toml", "agents/outside.toml");
    host.write("agents/beside.txt", "shown_name = 1\n");
    link("agents/beside.txt", "agents/inside.toml");
    link("good.toml", "agents/fine.toml");
    link("bundle.json", "agents/signed.wasm.sigstore.json");
    host.registry.scan().await.unwrap();
    let error = |name: &str| host.status(name).error.unwrap().to_string();
    assert!(!error("outside").contains("hidden"), "{}", error("outside"));
    assert!(error("outside").contains("aop config check"), "{}", error("outside"));
    assert!(error("inside").contains("shown_name"), "{}", error("inside"));
    assert!(!error("signed").contains("hidden") && error("signed").contains("bundle"));
    assert_eq!(host.status("fine").description, "From elsewhere.");
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_not_a_regular_file_is_left_alone() {
    let host = Host::new();
    fs::create_dir(host.path("agents/folder.wasm")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", host.path("agents/dangling.wasm")).unwrap();
    host.write("target.bin", "fn run Linked.");
    std::os::unix::fs::symlink(host.path("target.bin"), host.path("agents/linked.wasm")).unwrap();
    host.registry.scan().await.unwrap();
    assert_eq!(host.tools(), ["linked"]);
    assert_eq!(host.registry.list(&tenant()).len(), 1);
}

#[tokio::test]
async fn a_model_provider_that_does_not_exist_is_told_when_its_name_is_written() {
    let host =
        Host::with(|config| config.model_providers = known(&[("ollama", None), ("openai", None)]));
    let model = |provider: &str| format!("[model]\nname = \"m\"\nprovider = \"{provider}\"\n");
    for (name, provider) in [("typo", "opnai"), ("good", "openai"), ("asks", "client")] {
        host.write(&format!("agents/{name}.wasm"), "fn run");
        host.write(&format!("agents/{name}.toml"), &model(provider));
    }
    host.registry.scan().await.unwrap();
    assert_eq!(host.tools(), ["asks", "good"]);
    let error = host.status("typo").error.unwrap();
    for part in ["typo.toml:3: `model.provider`", "did you mean `openai`?", "`ollama`", "`client`"]
    {
        assert!(error.contains(part), "{part} in {error}");
    }

    let settings = |provider: &str| Settings::from_toml(&model(provider)).unwrap();
    let no_list = |text: &str| !text.contains("It has") && !text.contains("ollama");
    for (provider, part) in [
        ("gateway", "no model provider `gateway`. Its operator"),
        ("opnai", "no model provider `opnai`, did you mean `openai`? Its operator"),
    ] {
        let refused = host.load_with("sent", "fn run", settings(provider)).await.unwrap_err();
        let CatalogError::Rejected(why) = &refused else { panic!("{refused}") };
        assert!(why.contains(part) && no_list(why), "{why}");
    }
    // What another node of the zone has placed here may do more than ask its model.
    let placed = aop_core::LoadRequest {
        name: agent("placed"),
        id: Some(aop_core::AgentId(uuid::Uuid::now_v7())),
        component: b"fn run".to_vec(),
        settings: settings("gateway"),
        standing: None,
    };
    let placed = host.registry.load(&tenant(), placed).await.unwrap();
    let warning = &placed.warnings[0];
    assert!(warning.contains("no model provider `gateway`") && no_list(warning), "{warning}");
    assert!(host.status("good").warnings.is_empty());
}

#[tokio::test]
async fn a_model_provider_that_lacks_its_key_only_is_a_warning() {
    let host = Host::with(|config| {
        config.model_providers = known(&[("ollama", None), ("openai", Some("OPENAI_API_KEY"))]);
    });
    let model = |provider: &str| format!("[model]\nname = \"m\"\nprovider = \"{provider}\"\n");
    for (name, provider) in [("bare", "openai"), ("typo", "opnai")] {
        host.write(&format!("agents/{name}.wasm"), "fn run");
        host.write(&format!("agents/{name}.toml"), &model(provider));
    }
    host.registry.scan().await.unwrap();
    assert_eq!(host.tools(), ["bare"]);
    let settings = Settings::from_toml(&model("openai")).unwrap();
    let sent = host.load_with("sent", "fn run", settings).await.unwrap();
    for status in [host.status("bare"), sent] {
        let [warning] = &status.warnings[..] else { panic!("{:?}", status.warnings) };
        for part in ["no key for the model provider `openai`", "sets OPENAI_API_KEY"] {
            assert!(warning.contains(part), "{part} in {warning}");
        }
    }
    // It is what was meant, and nothing that there is.
    let error = host.status("typo").error.unwrap();
    assert!(error.contains("did you mean `openai`? It has `ollama`, `client`."), "{error}");
}

fn known(providers: &[(&str, Option<&str>)]) -> Option<BTreeMap<String, Option<String>>> {
    let owned =
        |(name, lacking): &(&str, Option<&str>)| ((*name).to_owned(), lacking.map(str::to_owned));
    Some(providers.iter().map(owned).collect())
}

//! Where components come from and who vouches for them, at the edge of the real binary. Registries that we did not write are
//! `tests/registry`.

use aop_tests::{AgentsDirectory, Aop, Host, HostOptions, guest, repository};
use serde_json::Value;

const SIGNERS: &str = "[supply]\nrequire_signature = true\n[supply.signers.textkit]\nissuer = \"https://token.actions.githubusercontent.com\"\nidentity = \"https://github.com/acme/textkit/.github/workflows/release.yml@refs/tags/*\"\n";

async fn host(agents: &AgentsDirectory, config: &str) -> Host {
    let options = HostOptions {
        agents: vec![agents.path().to_owned()],
        config: Some(config.to_owned()),
        ..HostOptions::default()
    };
    Host::start(options).await
}

/// The bundle of a real package, which is not over any component of ours.
fn bundle() -> String {
    let fixtures = repository().join("host/supply/src/signature/fixtures");
    fixtures.join("npm-sigstore-5.0.0.sigstore.json").display().to_string()
}

#[tokio::test]
async fn where_signatures_are_required_nothing_else_runs_and_it_is_written_down() {
    let agents = AgentsDirectory::new().with("echo");
    let host = host(&agents, SIGNERS).await;
    let shown = host.aop(&["agent", "show", "echo", "--json"]).run().await.code(0).json();
    assert_eq!(shown["agent"]["state"], "ERROR", "{shown}");
    let error = shown["agent"]["error"].as_str().expect("it says why");
    assert!(error.contains("NAME.wasm.sigstore.json") && error.contains("`textkit`"), "{error}");
    let component = guest("types").display().to_string();
    let load = ["agent", "load", &component];
    host.aop(&load).run().await.code(1).complains(&["runs signed components only"]);
    let bundle = bundle();
    let signed = [&load[..], &["--signature", &bundle]].concat();
    host.aop(&signed).run().await.code(1).complains(&["that of another artifact"]);
    aop_tests::eventually("the refusals are in the audit log", || async {
        let show = ["audit", "show", "--json", "--data"];
        let data = host.data().display().to_string();
        let shown = Aop::new(&[&show[..], &[&data]].concat()).run().await.code(0).stdout;
        let lines = shown.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let refused = lines.filter(|line| line.to_string().contains("policy.refuse"));
        (refused.filter(|line| line.to_string().contains("signature")).count() >= 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_signature_is_refused_where_none_is_required_and_no_component_is_without_one() {
    let agents = AgentsDirectory::new();
    let host = host(&agents, "").await;
    let component = guest("echo").display().to_string();
    let bundle = bundle();
    let signed = ["agent", "load", &component, "--signature", &bundle];
    host.aop(&signed).run().await.code(1).complains(&["not believed", "another artifact"]);
    let nonsense = agents.put("nonsense.json", b"{}").display().to_string();
    let signed = ["agent", "load", &component, "--signature", &nonsense];
    host.aop(&signed).run().await.code(1).complains(&["not a Sigstore bundle"]);
    let _ = host.aop(&["agent", "load", &component]).run().await.code(0);
    let shown = host.aop(&["agent", "show", "echo", "--json"]).run().await.code(0).json();
    assert!(shown["agent"].get("provenance").is_none(), "{shown}");
}

#[tokio::test]
async fn registries_that_nobody_listed_and_references_that_are_none_are_told_so() {
    let agents = AgentsDirectory::new();
    let host = host(&agents, "").await;
    let refused = async |reference: &str, listed: &str, complaints: &[&str]| {
        let aop = host.aop(&["agent", "load", reference]).env("AOP_SUPPLY_REGISTRIES", listed);
        aop.run().await.code(2).complains(complaints);
    };
    let digest = aop_core::Digest::of(b"x");
    let pinned = format!("oci://ghcr.io/acme/textkit@{digest}");
    refused(
        &pinned,
        "example.com",
        &["`ghcr.io` is none of the registries", "AOP_SUPPLY_REGISTRIES"],
    )
    .await;
    refused("oci://ghcr.io/acme/textkit:1.2", "ghcr.io", &["names no digest", "--digest"]).await;
    refused("oci://ghcr.io/Textkit", "ghcr.io", &["write it like `oci://"]).await;
    refused(&pinned, "https://ghcr.io/", &["not a registry", "ghcr.io"]).await;
    let settings = agents.put("textkit.toml", b"description = \"Nowhere.\"\n");
    let settings = settings.display().to_string();
    refused(&settings, "ghcr.io", &["does not say where its component is"]).await;
}

#[tokio::test]
async fn a_host_that_could_load_nothing_does_not_start() {
    let agents = AgentsDirectory::new();
    let file = agents.put("aop.toml", b"[supply]\nrequire_signature = true\n");
    let (file, data) = (file.display().to_string(), agents.path().join("data"));
    let serve = ["serve", "--config", &file, "--data", &data.display().to_string()];
    let ended = aop_tests::Aop::new(&serve).run().await;
    ended.code(1).complains(&["[supply.signers.NAME]"]);
}

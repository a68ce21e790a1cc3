//! Where components come from and who vouches for them, at the edge of the real binary. Registries that we did not write are
//! `tests/registry`.

mod instance;

use aop_tests::{AgentsDirectory, Aop, Host, HostOptions, guest, repository};
use serde_json::Value;

use instance::{Identity, Instance};

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

const RELEASE: Identity = Identity {
    issuer: "https://token.actions.githubusercontent.com",
    workflow: "https://github.com/acme/textkit/.github/workflows/release.yml@refs/tags/v1.2",
    repository: "https://github.com/acme/textkit",
    reference: "refs/tags/v1.2",
    commit: "26d16513386ffaa790b1c32f927544f1322e4194",
};

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_the_right_one_signed_is_accepted_and_says_so() {
    let (instance, stranger) = (Instance::new(), Instance::new());
    let component = std::fs::read(guest("types")).expect("the guest can be read");
    let echo = std::fs::read(guest("echo")).expect("the guest can be read");
    let agents = AgentsDirectory::new();
    let root = agents.put("trusted-root.json", instance.trusted_root().as_bytes());
    let config = SIGNERS.replacen("[supply]", &format!("[supply]\ntrusted_root = {root:?}"), 1);
    // One is there when the host starts, with its bundle beside it.
    agents.put("watched.wasm.sigstore.json", instance.sign(&echo, &RELEASE).as_bytes());
    agents.put("watched.wasm", &echo);
    let host = host(&agents, &config).await;
    let is_settled = |agent: &Value| agent["state"] == "ACTIVE" || agent["state"] == "ERROR";
    let watched = host.agent_is("watched", is_settled).await;
    assert_eq!(watched["provenance"]["signer"], "textkit", "{watched}");
    // Another comes through the API.
    let bundle = |name: &str, bundle: &str| {
        agents.put(&format!("{name}.json"), bundle.as_bytes()).display().to_string()
    };
    let load = async |bundle: &str| {
        let file = guest("types").display().to_string();
        host.aop(&["agent", "load", &file, "--name", "kit", "--signature", bundle]).run().await
    };
    let good = bundle("good", &instance.sign(&component, &RELEASE));
    let _ = load(&good).await.code(0);
    let shown = host.aop(&["agent", "show", "kit"]).run().await.code(0);
    for said in [
        format!("signed by    textkit: {}", RELEASE.workflow),
        format!("known to     {}", RELEASE.issuer),
        format!("built from   {}", RELEASE.repository),
        format!("at           {}", RELEASE.reference),
        format!("commit       {}", RELEASE.commit),
    ] {
        assert!(shown.stdout.contains(&said), "{said}\n{}", shown.stdout);
    }
    let called = host.mcp().call("kit_identity_u8", serde_json::json!({ "value": 7 })).await;
    assert_eq!(called.value(), 7);

    let other =
        Identity { workflow: "https://github.com/evil/kit/.github/x.yml@refs/tags/v1", ..RELEASE };
    let by_another = bundle("other", &instance.sign(&component, &other));
    load(&by_another).await.code(1).complains(&["none of the signers", "evil/kit", "`textkit`"]);
    let unknown = bundle("stranger", &stranger.sign(&component, &RELEASE));
    load(&unknown).await.code(1).complains(&["signature is not believed"]);
    let of_echo = bundle("echo", &instance.sign(&echo, &RELEASE));
    load(&of_echo).await.code(1).complains(&["that of another artifact"]);
    // What was refused is told, and the one that serves stays what it was.
    let shown = host.aop(&["agent", "show", "kit", "--json"]).run().await.code(0).json();
    assert_eq!(shown["agent"]["provenance"]["identity"], RELEASE.workflow, "{shown}");
    let called = host.mcp().call("kit_identity_u8", serde_json::json!({ "value": 8 })).await;
    assert_eq!(called.value(), 8);
}

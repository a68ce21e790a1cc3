//! Zones of different organisations, as processes: the example that users run, and what a stranger can do.

use std::process::Stdio;

use aop_tests::{
    AgentsDirectory, Aop, Host, HostOptions, PATIENCE, aop_binary, eventually, guest, repository,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::built::example;

/// Longer than any other test takes: five hosts start, and an outage is waited for.
const EXAMPLE_PATIENCE: std::time::Duration = PATIENCE.saturating_mul(3);

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_two_organisations_works() {
    let agents = AgentsDirectory::new();
    for name in ["textkit", "dates"] {
        agents.put(&format!("{name}.wasm"), &example(name));
        let settings = repository().join("examples").join(name).join(format!("{name}.toml"));
        agents.put(&format!("{name}.toml"), &std::fs::read(settings).expect("there are settings"));
    }
    let running = Command::new("bash")
        .arg(repository().join("examples/federation/run"))
        .args([aop_binary(), agents.path()])
        .env_remove("AOP_URL")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ran = tokio::time::timeout(EXAMPLE_PATIENCE, running).await;
    let output = ran.expect("the example ends").expect("bash runs it");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n--- stderr\n{stderr}");
    for expected in [
        // The trace goes down by referrals that are signed.
        "referral  example → acme.example",
        "referral  acme.example → eu.acme.example",
        "signature ok",
        "cache     L1 hit",
        // The call came back, and the search found it.
        "Mail [email].",
        "textkit_redact.eu.acme.example",
        "STALE",
        "== done",
    ] {
        assert!(stdout.contains(expected), "{expected:?} is missing in\n{stdout}\n{stderr}");
    }
    assert!(stderr.contains("there is no dates.lab.globex.example"), "{stderr}");
}

/// A host that is a zone of its own.
async fn zone(name: &str, data: &TempDir, agents: &AgentsDirectory, more: &str) -> Host {
    let key = Aop::new(&["zone", "keygen", "--data", &data.path().display().to_string()]);
    assert!(key.run().await.status.success());
    let config = format!(
        "[zone]\nname = \"{name}\"\nttl = \"5s\"\nprivate_networks = [\"127.0.0.0/8\"]\n{more}"
    );
    Host::start(HostOptions {
        agents: vec![agents.path().to_owned()],
        data: Some(data.path().to_owned()),
        config: Some(config),
        ..HostOptions::default()
    })
    .await
}

fn echo(export: Option<&str>) -> AgentsDirectory {
    let agents = AgentsDirectory::new();
    let export = export.map(|to| format!("[export]\nto = [\"{to}\"]\n")).unwrap_or_default();
    agents.put("echo.toml", export.as_bytes());
    agents.put("echo.wasm", &std::fs::read(guest("echo")).expect("there is a guest"));
    agents
}

async fn post(host: &Host, path: &str, token: Option<&str>, body: Value) -> (u16, Value) {
    let mut request = aop_tests::http_client().post(host.url(path)).json(&body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.expect("the host answers");
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

fn resolve(names: &[&str]) -> Value {
    json!({ "names": names, "hops": 8, "via": [], "deadline_ms": 1000 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_sees_what_the_world_may_and_is_bounded() {
    let data = TempDir::new().expect("a directory");
    let agents = echo(Some("world"));
    agents.put("secret.wasm", &std::fs::read(guest("echo")).expect("there is a guest"));
    agents.put("secret.toml", b"[tools.echo]\nname = \"whisper\"\n");
    let host = zone("eu.acme.example", &data, &agents, "").await;

    let (status, answer) = post(
        &host,
        "/zone/v1/resolve",
        None,
        resolve(&[
            "echo.eu.acme.example",
            "secret.eu.acme.example",
            "none.eu.acme.example",
            "x.other.example",
            "??",
        ]),
    )
    .await;
    assert_eq!(status, 200, "{answer}");
    let kinds: Vec<_> = answer["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|result| result["kind"].clone())
        .collect();
    // What is not exported looks like what does not exist.
    assert_eq!(kinds, ["answer", "absent", "absent", "failure", "failure"]);

    let well_known: Value =
        serde_json::from_str(&host.get("/.well-known/aop-zone.json").await).expect("JSON");
    assert_eq!(well_known["zone"], "eu.acme.example");
    assert_eq!(well_known["jwks"]["keys"][0]["alg"], "EdDSA");

    for (body, expected) in [
        (resolve(&["a.b"; 33]), 400),
        (resolve(&[]), 400),
        (json!({ "names": ["a.b"], "hops": 99, "via": [], "deadline_ms": 1 }), 400),
        (json!({ "names": ["a.b"], "hops": 1, "via": [], "deadline_ms": 1, "more": 1 }), 400),
        (json!("x".repeat(70_000)), 413),
        (json!(7), 400),
    ] {
        let (status, _) = post(&host, "/zone/v1/resolve", None, body).await;
        assert_eq!(status, expected);
    }
    let (status, _) = post(&host, "/zone/v1/resolve", Some("aopz_wrong"), resolve(&["a.b"])).await;
    assert_eq!(status, 401, "a wrong token is no stranger's");
    let metrics = host.metrics().await;
    assert!(metrics.value("aop_zone_requests_refused_total").is_some_and(|count| count >= 7.0));
    assert_eq!(metrics.value("aop_zone_names_answered_total"), Some(5.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_replaced_while_others_watch() {
    let (parent_data, child_data) =
        (TempDir::new().expect("a directory"), TempDir::new().expect("a directory"));
    // They live as long as the hosts.
    let (none, exported) = (echo(None), echo(Some("world")));
    let parent = zone("acme.example", &parent_data, &none, "").await;
    let child = zone("eu.acme.example", &child_data, &exported, "").await;
    let aop = async |arguments: &[&str]| {
        let ran = Aop::new(arguments).run().await;
        assert!(ran.status.success(), "{arguments:?}: {}", ran.stderr);
        ran.stdout
    };
    let (parent_dir, child_dir) =
        (parent_data.path().display().to_string(), child_data.path().display().to_string());
    let config = parent_data.path().join("zone.toml");
    std::fs::write(&config, "[zone]\nname = \"acme.example\"\n").expect("it can be written");
    let config = config.display().to_string();
    aop(&[
        "zone",
        "delegate",
        "eu.acme.example",
        "--at",
        &child.url(""),
        "--config",
        &config,
        "--data",
        &parent_dir,
    ])
    .await;
    let finds = async || {
        let ran = parent.aop(&["zone", "resolve", "echo.eu.acme.example"]).run().await;
        ran.status.success().then_some(())
    };
    eventually("the parent finds the child's agent", &finds).await;

    let old = aop(&["zone", "keys", "--data", &child_dir, "--json"]).await;
    let old: Value = serde_json::from_str(&old).expect("JSON");
    let old = old["keys"][0]["thumbprint"].as_str().expect("a key").to_owned();
    let new = aop(&["zone", "keygen", "--data", &child_dir]).await.trim().to_owned();
    // The parent learns the new key from the old one's word, and writes it down.
    eventually("the parent knows the new key", || async {
        finds().await.expect("it never stops finding it");
        let status = parent.aop(&["zone", "status", "--json"]).run().await;
        status.stdout.contains(&new).then_some(())
    })
    .await;
    aop(&["zone", "retire", &old, "--data", &child_dir]).await;
    eventually("the child has one key", || async {
        let status = child.aop(&["zone", "status", "--json"]).run().await;
        (!status.stdout.contains(&old)).then_some(())
    })
    .await;
    // A name that nobody asked for before, so that no cache has it.
    let ran = parent.aop(&["zone", "resolve", "eu.acme.example"]).run().await;
    assert!(ran.status.success(), "the new key is enough: {}", ran.stderr);
}

/// Where the files of a zone are, as commands that change them are told.
fn files(data: &TempDir, zone: &str) -> [String; 4] {
    let config = data.path().join("zone.toml");
    std::fs::write(&config, format!("[zone]\nname = \"{zone}\"\n")).expect("it can be written");
    let [config, data] = [config.as_path(), data.path()].map(|path| path.display().to_string());
    ["--config".to_owned(), config, "--data".to_owned(), data]
}

async fn in_files(arguments: &[&str], files: &[String]) -> String {
    let files = files.iter().map(String::as_str);
    let arguments: Vec<_> = arguments.iter().copied().chain(files).collect();
    Aop::new(&arguments).run().await.code(0).stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_nobody_reaches_is_called_through_its_parent() {
    let [parent_data, child_data, other_data] =
        [(); 3].map(|()| TempDir::new().expect("a directory"));
    let (none, exported) = (echo(None), echo(Some("world")));
    let child = zone("eu.acme.example", &child_data, &exported, "reach = \"parent\"\n").await;
    let parent = zone("acme.example", &parent_data, &none, "").await;
    let other = zone("globex.example", &other_data, &none, "").await;
    let parent_url = parent.url("");
    let of_parent = files(&parent_data, "acme.example");
    let key = in_files(&["zone", "keys", "--json"], &files(&child_data, "eu.acme.example")).await;
    let key: Value = serde_json::from_str(&key).expect("JSON");
    let key = key["keys"][0]["thumbprint"].as_str().expect("a key");
    let of_other = files(&other_data, "globex.example");
    in_files(&["zone", "peer", "--anchor", &parent_url], &of_other).await;

    // Where the child says it is, nothing listens.
    let delegate = ["zone", "delegate", "eu.acme.example", "--key", key];
    in_files(&[&delegate[..], &["--at", "http://127.0.0.1:1"]].concat(), &of_parent).await;
    let resolves = async |name: &str| other.aop(&["zone", "resolve", name]).run().await;
    eventually("the parent refers to where nobody answers", || async {
        resolves("echo.eu.acme.example").await.stderr.contains("127.0.0.1:1").then_some(())
    })
    .await;
    in_files(&[&delegate[..], &["--attached"]].concat(), &of_parent).await;
    in_files(&["zone", "peer", "--parent", &parent_url], &files(&child_data, "eu.acme.example"))
        .await;
    eventually("the child is found through its parent", || async {
        resolves("echo.eu.acme.example").await.status.success().then_some(())
    })
    .await;
    let call = ["call", "echo_echo.eu.acme.example", "text=hello"];
    for from in [&other, &parent] {
        from.aop(&call).run().await.code(0).prints(&["hello"]);
    }
    eventually("its tools are found in a search", || async {
        let found = other.aop(&["discover", "echo", "--zone", "acme.example"]).run().await;
        found.stdout.contains("echo_echo.eu.acme.example").then_some(())
    })
    .await;
    parent.aop(&["zone", "status"]).run().await.code(0).prints(&["its own connections: 1"]);
    child.aop(&["zone", "status"]).run().await.code(0).prints(&["acme.example, connected"]);
    assert!(parent.metrics().await.value("aop_zone_requests_relayed_total") >= Some(2.0));

    // The parent starts again, and the child comes back by itself.
    let address = parent.address();
    drop(parent);
    let ended = other.aop(&call).run().await.code(1);
    ended.complains(&["cannot be reached"]);
    let parent = Host::start(HostOptions {
        listen: Some(address),
        data: Some(parent_data.path().to_owned()),
        config: Some(
            "[zone]\nname = \"acme.example\"\nttl = \"5s\"\nprivate_networks = [\"127.0.0.0/8\"]\n"
                .to_owned(),
        ),
        ..HostOptions::default()
    })
    .await;
    eventually("the child is called through its parent again", || async {
        other.aop(&call).run().await.status.success().then_some(())
    })
    .await;
    // The child ends.
    drop(child);
    parent.metric("aop_zone_children_attached", 0.0).await;
    other.aop(&call).run().await.code(1).complains(&["keeps no connection"]);
}

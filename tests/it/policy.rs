//! What an operator allows, from above: ceilings over what settings say, the component that they are for, what
//! `aop policy explain` makes of both, what `learn` proposes, and whose policy counts when agents call each other.

use std::path::Path;

use aop_core::Digest;
use aop_tests::{AgentsDirectory, Aop, Host, HostOptions, guest};
use serde_json::{Value, json};

const CEILING: &str = "[ceiling]\ntools = [\"b_*\"]\ntimeout = \"10s\"\n";

async fn under(ceiling: &str, agents: &AgentsDirectory) -> Host {
    Host::start(HostOptions {
        agents: vec![agents.path().to_owned()],
        config: Some(ceiling.to_owned()),
        ..HostOptions::default()
    })
    .await
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path is text")
}

async fn error_of(host: &Host, agent: &str) -> String {
    let failed = host.agent_is(agent, |agent| agent["state"] == "ERROR").await;
    failed["error"].as_str().expect("it says why").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_over_a_ceiling_are_refused_with_both_lines() {
    let agents = AgentsDirectory::new()
        .with_as("types", "good")
        .with_settings("good", "timeout = \"10s\"\n[policy]\ntools = [\"b_echo\"]\n")
        .with_as("types", "bad")
        .with_settings("bad", "\n[policy]\ntools = [\n  \"b_*\",\n  \"c_*\",\n]\n");
    let host = under(CEILING, &agents).await;
    host.agent_is("good", |agent| agent["state"] == "ACTIVE").await;
    let error = error_of(&host, "bad").await;
    assert!(error.contains("bad.toml:5: `policy.tools[1]`: `c_*`"), "{error}");
    assert!(error.contains("`tools` of `[ceiling]`") && error.contains("aop.toml:2"), "{error}");
    assert!(error.contains("`timeout`: 30s is more") && error.contains("aop.toml:3"), "{error}");
    let log = ["audit", "show", "--json", "--outcome", "refused", "--data", path(host.data())];
    let refused = Aop::new(&log).run().await.code(0);
    assert!(refused.stdout.contains("\"subject\":\"ceiling\""), "{}", refused.stdout);
    // Once it asks for less, it serves.
    agents.put("bad.toml", b"timeout = \"1s\"\n");
    host.agent_is("bad", |agent| agent["state"] == "ACTIVE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_component_than_the_pinned_one_is_refused() {
    let pinned = Digest::of(&std::fs::read(guest("types")).expect("the guest can be read"));
    let settings = format!("digest = \"{pinned}\"\n");
    let agents = AgentsDirectory::new()
        .with_as("types", "right")
        .with_settings("right", &settings)
        .with_as("echo", "wrong")
        .with_settings("wrong", &settings);
    let host = under("", &agents).await;
    host.agent_is("right", |agent| agent["state"] == "ACTIVE").await;
    let error = error_of(&host, "wrong").await;
    assert!(error.contains("wrong.toml:1") && error.contains(&pinned.to_string()), "{error}");
    // A file that is replaced by another component leaves the pinned one serving.
    let other = std::fs::read(guest("echo")).expect("the guest can be read");
    agents.put("right.wasm", &other);
    let held = host.agent_is("right", |agent| agent["state"] == "ERROR").await;
    assert_eq!(held["digest"], pinned.to_string());
    // The same through the API.
    let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file can be made");
    std::fs::write(file.path(), settings).expect("it can be written");
    let (component, file) = (guest("echo"), file.path().to_owned());
    let load = ["agent", "load", path(&component), "--name", "up", "--settings", path(&file)];
    host.aop(&load)
        .run()
        .await
        .code(1)
        .complains(&["is not the component that was meant", "the settings"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deputy_acts_under_its_own_policy() {
    let agents = AgentsDirectory::new()
        .with_as("capabilities", "asks")
        .with_settings("asks", "[policy]\ntools = [\"deputy_*\", \"weak_*\"]\n")
        .with_as("capabilities", "deputy")
        .with_settings("deputy", "[policy]\ntools = [\"vault_*\"]\n")
        .with_as("capabilities", "weak")
        .with_as("capabilities", "vault");
    let host = under("", &agents).await;
    let mcp = host.mcp();
    let echo = json!({ "tool": "vault_echo", "arguments": "{\"n\":7}" });
    let through =
        |deputy: &str| json!({ "tool": format!("{deputy}_call"), "arguments": echo.to_string() });
    let direct = mcp.call("asks_call", echo.clone()).await;
    assert!(direct.text().starts_with("permission_denied"), "{}", direct.text());
    let answered = mcp.call("asks_call", through("deputy")).await;
    assert_eq!(answered.value(), &json!("\"7\""), "what the deputy may, it does");
    let weak = mcp.call("asks_call", through("weak")).await;
    assert!(weak.text().contains("permission_denied"), "nothing is lent: {}", weak.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tool_changes_the_host() {
    let host = under("", &AgentsDirectory::new()).await;
    let own = ["aop_call", "aop_call_many", "aop_describe", "aop_discover"];
    assert_eq!(
        host.mcp().tool_names().await,
        own,
        "they find and call; a new one is looked at here"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_explained_with_its_lines() {
    let agents = AgentsDirectory::new().with_as("types", "kit").with_settings(
        "kit",
        "[policy]\nhttp = [\n  { permit = \"GET https://a.test/v1/*\", headers = { Authorization = \"Bearer {secret:KEY}\" } },\n]\ntools = [\"x_*\"]\n",
    );
    let home = tempfile::tempdir().expect("a directory can be made");
    let config = home.path().join("aop.toml");
    let text = format!("agents = [{:?}]\n\n{CEILING}", agents.path());
    std::fs::write(&config, text).expect("it can be written");
    let explain = ["policy", "explain", "kit", "--config", path(&config)];
    let said = Aop::new(&explain).run().await.code(1);
    for expected in [
        "GET https://a.test/v1/* (with `authorization: Bearer {secret:KEY}`)",
        "kit.toml:3 policy.http[0]",
        "kit.toml:5 policy.tools[0]",
        "by default policy.clock",
        "REFUSED",
        "aop.toml:3), which has no `http`,",
    ] {
        assert!(said.stdout.contains(expected), "{expected}\n{}", said.stdout);
    }
    let json = Aop::new(&[&explain[..], &["--json"]].concat()).run().await.code(1).json();
    let lines: Vec<&Value> = json["excesses"].as_array().expect("a list").iter().collect();
    assert_eq!(lines[0]["setting"], "policy.http[0]");
    assert_eq!(lines[0]["line"], 3);
    assert!(
        json["may"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|said| { said["capability"] == "files" && said["allowed"] == false })
    );
    let file = agents.path().join("kit.wasm");
    let alone = Aop::new(&["policy", "explain", path(&file)]).directory(home.path());
    let alone = alone.run().await;
    assert!(alone.stdout.contains("kit.toml:5 policy.tools[0]"), "{}", alone.stdout);
    Aop::new(&["policy", "explain", "nobody", "--config", path(&config)])
        .run()
        .await
        .code(2)
        .complains(&["no agent `nobody`", "--agents"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_an_agent_that_came_over_the_api_is_explained() {
    let home = tempfile::tempdir().expect("a directory can be made");
    let config = home.path().join("aop.toml");
    std::fs::write(&config, "[ceiling]\ntools = [\"b_*\"]\n").expect("it can be written");
    let agents = AgentsDirectory::new();
    let host = Host::serve(agents.path()).await;
    let component = guest("types");
    let loaded = host.aop(&["agent", "load", path(&component), "--name", "kit"]).run().await;
    assert!(loaded.code(0).stdout.contains("kit"));
    let explain = ["policy", "explain", "kit", "--config", path(&config), "--data"];
    let said = Aop::new(&[&explain[..], &[path(host.data())]].concat()).run().await.code(0);
    for expected in ["kit", "aop.toml", "nothing of it is over a ceiling"] {
        assert!(said.stdout.contains(expected), "{expected}\n{}", said.stdout);
    }
    Aop::new(&[&explain[..], &[path(home.path())]].concat())
        .run()
        .await
        .code(2)
        .complains(&["`kit`", "--data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_that_is_explained_is_the_tenants_own() {
    let with = |pattern: &str| {
        AgentsDirectory::new()
            .with_as("types", "kit")
            .with_settings("kit", &format!("[policy]\ntools = [\"{pattern}\"]\n"))
    };
    let (of_default, of_other) = (with("default_*"), with("other_*"));
    let home = tempfile::tempdir().expect("a directory can be made");
    let config = home.path().join("aop.toml");
    let text = format!(
        "agents = [{:?}]\n[tenants.other]\nagents = [{:?}]\n[tenants.acme]\n",
        of_default.path(),
        of_other.path()
    );
    std::fs::write(&config, text).expect("it can be written");
    let none = AgentsDirectory::new();
    let host = Host::serve(none.path()).await;
    let _ = host.aop(&["tenant", "create", "acme"]).run().await.code(0);
    let component = guest("types");
    let load = ["agent", "load", path(&component), "--name", "kit"];
    let url = host.url("/t/acme");
    let loaded = Aop::new(&[&load[..], &["--url", &url]].concat()).run().await;
    let _ = loaded.code(0);
    let explain = async |tenant: &str, data: &std::path::Path| {
        let explain = ["policy", "explain", "kit", "--config", path(&config), "--data", path(data)];
        Aop::new(&[&explain[..], &["--tenant", tenant]].concat()).run().await
    };
    for (tenant, expected) in [("default", "default_*"), ("other", "other_*")] {
        let said = explain(tenant, host.data()).await.code(0);
        assert!(said.stdout.contains(expected), "{tenant}: {}", said.stdout);
    }
    let of_acme = explain("acme", host.data()).await.code(0);
    assert!(!of_acme.stdout.contains("default_*"), "{}", of_acme.stdout);
    assert!(of_acme.stdout.contains("as it was loaded"), "{}", of_acme.stdout);
    // A name that only others have is nobody's.
    explain("acme", home.path()).await.code(2).complains(&["`kit`", "--data"]);
}

/// A server that answers every request with the same bytes. Ends with the runtime of the test.
async fn serving(answer: Vec<u8>) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_comes_over_the_network_by_its_digest_only() {
    let component = std::fs::read(guest("types")).expect("the guest can be read");
    let digest = Digest::of(&component).to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", component.len());
    let server = serving([head.as_bytes(), &component].concat()).await;
    let away =
        "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n";
    let redirecting = serving(away.as_bytes().to_vec()).await;
    let host = under("", &AgentsDirectory::new()).await;
    let url = format!("http://{server}/kits/types.wasm?v=1");
    let load = ["agent", "load", &url, "--digest", &digest];
    host.aop(&load).run().await.code(0).complains(&[]);
    let agent = host.agent_is("types", |agent| agent["state"] == "ACTIVE").await;
    assert_eq!(agent["digest"], digest);
    let other = Digest::of(b"other").to_string();
    let wrong = ["agent", "load", &url, "--digest", &other];
    host.aop(&wrong).run().await.code(1).complains(&["not the component that was meant", &digest]);
    host.aop(&load[..3]).run().await.code(2).complains(&["--digest"]);
    let inside = format!("http://{redirecting}/types.wasm");
    let away = ["agent", "load", &inside, "--digest", &digest];
    host.aop(&away).run().await.code(1).complains(&["169.254.169.254", "no redirect is followed"]);
    let plain = ["agent", "load", "http://example.com/a.wasm", "--digest", &digest];
    host.aop(&plain).run().await.code(2).complains(&["https://"]);
    let file = guest("types");
    let pinned = ["agent", "load", path(&file), "--digest", &other];
    host.aop(&pinned).run().await.code(1).complains(&["not the component that was meant"]);
}

/// Watches calls of a guest whose component and settings are in a directory.
async fn learn(home: &Path, arguments: &[&str]) -> aop_tests::Finished {
    let data = home.join("data").display().to_string();
    let command = [&["policy", "learn"], arguments, &["--data", &data]].concat();
    Aop::new(&command).directory(home).run().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_learnt_from_calls_without_granting_anything() {
    let server = serving(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec()).await;
    let home = tempfile::tempdir().expect("a directory can be made");
    let home = home.path();
    std::fs::copy(guest("outside"), home.join("kit.wasm")).expect("it can be copied");
    let notes = home.join("notes");
    std::fs::create_dir(&notes).expect("a directory can be made");
    let get = json!({ "https": false, "authority": server.to_string(), "path": "/v1/x?token=1" });
    let get = ["get", &get.to_string()].map(ToOwned::to_owned);
    let write = json!({ "directory": "/notes", "path": "a.txt", "count": 5, "at": 0 });
    let write = ["write", &write.to_string()].map(ToOwned::to_owned);
    let calls: Vec<&str> =
        ["kit.wasm"].into_iter().chain(get.iter().chain(&write).map(String::as_str)).collect();

    // Nothing is granted, so nothing is sent and nothing is written.
    let first = learn(home, &calls).await.code(0);
    first.complains(&["call 1  kit_get: guest_error", "it may need more"]);
    let rule = format!("\"GET http://{server}/v1/x\",");
    assert!(first.stdout.contains(&rule), "{}", first.stdout);
    assert!(first.stdout.contains("# call 1: GET, and refused"), "{}", first.stdout);
    assert!(!first.stdout.contains("token"), "{}", first.stdout);
    assert!(!first.stdout.contains("directories"), "it cannot see one: {}", first.stdout);

    // What was proposed is pasted, and what it may have besides is allowed.
    std::fs::write(home.join("kit.toml"), &first.stdout).expect("it can be written");
    let directory = format!("directories=write {} as /notes", notes.display());
    let unused = format!("directories=read {} as /unused", home.display());
    let allowed =
        ["--allow", &directory, "--allow", &unused, "--allow", "environment=TZ", "--json"];
    let second = learn(home, &[&calls[..], &allowed].concat()).await.code(0).json();
    assert_eq!(second["is_complete"], true, "{second}");
    assert!(
        second["calls"].as_array().expect("a list").iter().all(|call| call.get("code").is_none())
    );
    assert_eq!(std::fs::read(notes.join("a.txt")).expect("it was written"), b"xxxxx");
    let grants = second["grants"].as_array().expect("a list");
    let keys: Vec<_> = grants.iter().map(|grant| (&grant["key"], &grant["calls"])).collect();
    assert_eq!(json!(keys), json!([["http", [1]], ["directories", [2]]]), "{second}");
    let notes = second["notes"].to_string();
    assert!(notes.contains("/unused") && notes.contains("no variable"), "{notes}");

    // Under what is proposed, the calls work, and nothing else does.
    let toml = second["toml"].as_str().expect("it is text");
    std::fs::write(home.join("kit.toml"), toml).expect("it can be written");
    let data = home.join("data").display().to_string();
    let run = async |call: &[String; 2]| {
        let run = ["run", "kit.wasm", &call[0], &call[1], "--data", &data];
        Aop::new(&run).directory(home).run().await
    };
    let _ = run(&get).await.code(0);
    let _ = run(&write).await.code(0);
    let elsewhere = get[1].replace("/v1/x", "/v1/y");
    run(&["get".to_owned(), elsewhere]).await.code(1).complains(&["denied: no `http` rule"]);
    let unused = write[1].replace("/notes", "/unused");
    run(&["write".to_owned(), unused]).await.code(1).complains(&["there is no /unused"]);
}

#[tokio::test]
async fn an_agent_that_looks_into_an_empty_environment_was_refused_nothing() {
    let home = tempfile::tempdir().expect("a directory can be made");
    let home = home.path();
    std::fs::copy(guest("config"), home.join("kit.wasm")).expect("it can be copied");
    let learnt = learn(home, &["kit.wasm", "environment", "--json"]).await.code(0).json();
    assert_eq!(learnt["is_complete"], true, "{learnt}");
    assert_eq!(learnt["grants"], json!([]), "{learnt}");
    assert!(learnt["notes"].to_string().contains("it read its environment"), "{learnt}");
}

#[tokio::test]
async fn what_is_allowed_while_an_agent_is_watched_stays_under_the_ceilings() {
    let home = tempfile::tempdir().expect("a directory can be made");
    let home = home.path();
    std::fs::copy(guest("outside"), home.join("kit.wasm")).expect("it can be copied");
    std::fs::write(home.join("aop.toml"), "[ceiling]\nhttp = [\"https://a.test\"]\n")
        .expect("it can be written");
    let get = ["kit.wasm", "get", "{}"];
    let over = learn(home, &[&get[..], &["--allow", "http=https://*"]].concat()).await.code(2);
    over.complains(&["`policy.http[0]`", "aop.toml:2"]);
    let wrong = learn(home, &[&get[..], &["--allow", "htp=https://a.test"]].concat()).await;
    wrong.code(2).complains(&["did you mean `http`?", "shared_state"]);
    learn(home, &["kit.wasm", "gt"]).await.code(2).complains(&["did you mean `get`?"]);
    // Arguments that do not fit end a call like any other.
    learn(home, &get).await.code(0).complains(&["call 1  kit_get: invalid_arguments"]);
}

//! Who may call, at the edge of the real binary: keys, tenants, sharing, secrets.

use aop_tests::{AgentsDirectory, Aop, Host, HostOptions, Mcp, Raw, guest, http_client};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::endpoints::{Endpoint, endpoints};

/// A key that encrypts secrets.
const SECRETS_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Creates a key in a data directory that no host uses.
async fn offline_key(data: &TempDir, arguments: &[&str]) -> String {
    let path = data.path().display().to_string();
    let create = ["key", "create", "test", "--offline", "--data", &path];
    let finished = Aop::new(&[&create, arguments].concat()).run().await.code(0);
    finished.complains(&["only time"]);
    finished.stdout.trim().to_owned()
}

/// A host whose first key has every scope.
async fn closed(agents: &AgentsDirectory) -> (Host, String, TempDir) {
    let data = TempDir::with_prefix("aop-data-").expect("a directory can be made");
    let admin = offline_key(&data, &["--admin"]).await;
    let options = HostOptions {
        agents: vec![agents.path().to_owned()],
        data: Some(data.path().to_owned()),
        environment: vec![("AOP_SECRETS_KEY".to_owned(), SECRETS_KEY.to_owned())],
        ..HostOptions::default()
    };
    (Host::start(options).await, admin, data)
}

async fn run(host: &Host, key: &str, arguments: &[&str]) -> aop_tests::Finished {
    host.aop(arguments).env("AOP_KEY", key).run().await
}

/// A key of a tenant with these scopes.
async fn key(host: &Host, admin: &str, tenant: &str, scopes: &[&str]) -> String {
    let mut arguments = vec!["key", "create", "test", "--tenant", tenant];
    for scope in scopes {
        arguments.extend(["--scope", scope]);
    }
    run(host, admin, &arguments).await.code(0).stdout.trim().to_owned()
}

async fn status(
    host: &Host,
    method: &Method,
    path: &str,
    key: Option<&str>,
) -> (u16, Option<String>) {
    let mut request = http_client().request(method.clone(), host.url(path));
    if path.ends_with("/mcp") {
        let mcp = Mcp::new(host.url(path));
        request = mcp.post(&mcp.message("tools/list", json!({})));
    } else if *method == Method::POST {
        request = request.header("content-type", "application/json").body("{}");
    }
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let answer = request.send().await.expect("the host answers");
    let challenge = answer.headers().get("www-authenticate");
    let challenge = challenge.map(|value| value.to_str().expect("it is text").to_owned());
    (answer.status().as_u16(), challenge)
}

#[tokio::test]
async fn every_endpoint_answers_every_key_as_it_should() {
    let agents = AgentsDirectory::new().with("echo");
    let (host, admin, _data) = closed(&agents).await;
    let _ = run(&host, &admin, &["tenant", "create", "acme"]).await.code(0);
    let scopes = ["tools:call", "tools:list", "agents:write", "tenant:admin", "cluster:admin"];
    let expired = {
        let create = ["key", "create", "short", "--admin", "--expires", "1s", "--json"];
        run(&host, &admin, &create).await.code(0).json()
    };
    let revoked = run(&host, &admin, &["key", "create", "gone", "--admin", "--json"]).await.json();
    let id = revoked["key"]["id"].as_str().expect("it has an id");
    let _ = run(&host, &admin, &["key", "revoke", id]).await.code(0);
    let end = expired["key"]["expires_unix_ms"].as_u64().expect("it has an end");
    let text = |created: &Value| created["text"].as_str().expect("it has a text").to_owned();
    let (expired, revoked) = (text(&expired), text(&revoked));
    let mut enough = std::collections::BTreeMap::new();
    let mut too_little = std::collections::BTreeMap::new();
    for scope in scopes {
        enough.insert(scope, key(&host, &admin, "acme", &[scope]).await);
        let others: Vec<_> = scopes.into_iter().filter(|other| *other != scope).collect();
        too_little.insert(scope, key(&host, &admin, "acme", &others).await);
    }
    aop_tests::eventually("the key has expired", || async {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        (now.expect("a clock").as_millis() > u128::from(end)).then_some(())
    })
    .await;
    let (closed, open) = endpoints(&host).await;
    for Endpoint { method, path, scope } in closed {
        let scope = scope.as_str();
        let asked = format!("{method} {path}");
        let with = async |key: Option<&str>, path: &str| status(&host, &method, path, key).await;
        let (none, challenge) = with(None, &path).await;
        assert_eq!(none, 401, "{asked} without a credential");
        assert!(challenge.expect("there is one").starts_with("Bearer scope="), "{asked}");
        for (bad, name) in
            [(&expired, "expired"), (&revoked, "revoked"), (&"nonsense".to_owned(), "wrong")]
        {
            let (refused, challenge) = with(Some(bad), &path).await;
            // Of so many, some are told to wait.
            assert!(matches!(refused, 401 | 429), "{asked} with one that is {name}: {refused}");
            let is_named = challenge.is_some_and(|value| value.contains("invalid_token"));
            assert_eq!(is_named, refused == 401, "{asked} with one that is {name}");
        }
        let (little, challenge) = with(Some(&too_little[scope]), &path).await;
        assert_eq!(little, 403, "{asked} with all scopes but {scope}");
        let expected = format!("error=\"insufficient_scope\", scope=\"{scope}\"");
        assert!(challenge.expect("there is one").contains(&expected), "{asked}");
        let (allowed, _) = with(Some(&enough[scope]), &path).await;
        assert!(!matches!(allowed, 401 | 403 | 429), "{asked} with {scope}: {allowed}");
        if scope == "cluster:admin" {
            continue;
        }
        // Another tenant, that exists or not, is the same to whoever is not of it.
        for tenant in ["default", "nobody"] {
            let (foreign, _) = with(Some(&enough[scope]), &format!("/t/{tenant}{path}")).await;
            assert_eq!(foreign, 404, "{asked} of the tenant {tenant}");
        }
        let (own, _) = with(Some(&enough[scope]), &format!("/t/acme{path}")).await;
        assert_eq!(own, allowed, "{asked} of the own tenant by name");
    }
    // Without an issuer there is nothing to say about tokens.
    for path in open {
        let expected = if path.starts_with("/.well-known/oauth") { 404 } else { 200 };
        assert_eq!(status(&host, &Method::GET, &path, None).await.0, expected, "{path}");
    }
}

#[tokio::test]
async fn the_first_key_closes_a_running_host() {
    let agents = AgentsDirectory::new().with("echo");
    let host = Host::serve(agents.path()).await;
    assert_eq!(status(&host, &Method::GET, "/api/v1/agents", None).await.0, 200);
    let created = host.aop(&["key", "create", "first", "--admin"]).run().await.code(0);
    assert_eq!(status(&host, &Method::GET, "/api/v1/agents", None).await.0, 401);
    host.aop(&["agent", "list"]).run().await.code(2).complains(&["AOP_KEY"]);
    run(&host, created.stdout.trim(), &["agent", "list"]).await.code(0).prints(&["echo"]);
}

#[tokio::test]
async fn credentials_that_proxies_and_hosts_could_read_differently_are_refused() {
    let agents = AgentsDirectory::new();
    let (host, admin, _data) = closed(&agents).await;
    let ask = async |headers: &str| {
        let mut raw: Raw = host.connect().await;
        let address = host.address();
        let request = format!(
            "GET /api/v1/agents HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n"
        );
        raw.send(request.as_bytes()).await;
        let answer = raw.read_to_end().await;
        let line = answer.lines().next().unwrap_or_default().to_owned();
        line.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(ask(&format!("authorization: Bearer {admin}\r\n")).await, "200");
    for headers in [
        format!("authorization: Bearer {admin}\r\nauthorization: Bearer {admin}\r\n"),
        format!("authorization: Bearer wrong\r\nauthorization: Bearer {admin}\r\n"),
        format!("authorization: Bearer {admin}, Bearer wrong\r\n"),
        format!("authorization: Basic {admin}\r\n"),
        format!("authorization : Bearer {admin}\r\n"),
        format!("x-forwarded-authorization: Bearer {admin}\r\n"),
        format!("cookie: authorization=Bearer {admin}\r\n"),
        format!("x: y\r\n authorization: Bearer {admin}\r\n"),
        format!("authorization:\tBearer\t{admin}\r\n"),
    ] {
        let answer = ask(&headers).await;
        assert!(matches!(&*answer, "400" | "401"), "{answer}: {headers}");
    }
    let in_url = format!("/api/v1/agents?access_token={admin}");
    assert_eq!(status(&host, &Method::GET, &in_url, None).await.0, 401);
}

#[tokio::test]
async fn a_tenant_has_agents_of_its_own_and_leaves_nothing() {
    let agents = AgentsDirectory::new().with("echo");
    let (mut host, admin, data) = closed(&agents).await;
    let _ = run(&host, &admin, &["tenant", "create", "acme"]).await.code(0);
    let acme =
        key(&host, &admin, "acme", &["tools:call", "tools:list", "agents:write", "tenant:admin"])
            .await;
    let component = guest("types").display().to_string();
    let load = ["agent", "load", &component, "--name", "marked-xyzzy"];
    let _ = run(&host, &acme, &load).await.code(0);
    let listed = |finished: aop_tests::Finished| finished.code(0).stdout;
    let theirs = listed(run(&host, &acme, &["tools"]).await);
    assert!(theirs.contains("marked-xyzzy_") && !theirs.contains("echo_echo"), "{theirs}");
    let ours = listed(run(&host, &admin, &["tools"]).await);
    assert!(ours.contains("echo_echo") && !ours.contains("xyzzy"), "{ours}");
    let refused = run(&host, &acme, &["call", "echo_echo", "text=hi"]).await.code(2);
    let unknown = run(&host, &acme, &["call", "nobody_echo", "text=hi"]).await.code(2);
    assert_eq!(refused.stderr.replace("echo_echo", "nobody_echo"), unknown.stderr);
    let found = run(&host, &acme, &["call", "aop_discover", "query=echo", "--json"]).await.code(0);
    assert!(!found.stdout.contains("echo_echo"), "{}", found.stdout);
    let figures = http_client().get(host.url("/metrics")).bearer_auth(&acme).send().await;
    let figures = figures.expect("the host answers").text().await.expect("it is text");
    assert!(!figures.contains("tenant=\"default\"") && !figures.contains("process_"), "{figures}");

    run(&host, &acme, &["secret", "set", "token-plugh"]).await.code(2).complains(&["empty"]);
    let set =
        host.aop(&["secret", "set", "token-plugh"]).env("AOP_KEY", &acme).input(b"hunter2-value\n");
    set.run().await.code(0).prints(&["token-plugh"]);
    run(&host, &acme, &["secret", "list"]).await.code(0).prints(&["token-plugh"]);
    run(&host, &acme, &["tenant", "list"]).await.code(1).complains(&["cluster:admin"]);
    run(&host, &admin, &["tenant", "show", "acme"]).await.code(0).prints(&["agents", "1"]);

    run(&host, &admin, &["tenant", "delete", "acme"]).await.code(2).complains(&["--yes"]);
    let _ = run(&host, &admin, &["tenant", "delete", "acme", "--yes"]).await.code(0);
    let _ = run(&host, &acme, &["tools"]).await.code(1);
    host.terminate();
    let (ended, _) = host.ended().await;
    assert_eq!(ended.code(), Some(0));
    let log = host.log();
    assert!(!log.contains("hunter2") && !log.contains(&acme) && !log.contains(&admin));
    let component = std::fs::read(guest("types")).expect("the guest can be read");
    let digest = aop_core::Digest::of(&component).hex();
    let marks = [b"xyzzy".as_slice(), b"plugh", b"hunter2"];
    for path in files(data.path()) {
        let shown = path.display().to_string();
        assert!(!shown.contains(&digest), "its component, or its compiled code: {shown}");
        let bytes = std::fs::read(&path).expect("the file can be read");
        let holds = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
        // That a tenant was deleted may be written down; what was in it may not.
        let is_audit = path.to_string_lossy().contains("audit");
        for mark in marks {
            assert!(is_audit || !holds(mark), "{shown}: {}", String::from_utf8_lossy(mark));
        }
    }
}

fn files(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the directory can be read") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn a_shared_agent_is_seen_by_those_that_it_is_shared_with() {
    let agents = AgentsDirectory::new().with("echo");
    std::fs::write(agents.path().join("echo.toml"), "share = [\"acme\"]\n")
        .expect("the settings can be written");
    let (host, admin, _data) = closed(&agents).await;
    for tenant in ["acme", "other"] {
        let _ = run(&host, &admin, &["tenant", "create", tenant]).await.code(0);
    }
    let acme = key(&host, &admin, "acme", &["tools:call", "tools:list", "agents:write"]).await;
    let other = key(&host, &admin, "other", &["tools:call", "tools:list"]).await;
    run(&host, &acme, &["call", "echo_echo", "text=hi"]).await.code(0).prints(&["hi"]);
    let _ = run(&host, &other, &["call", "echo_echo", "text=hi"]).await.code(2);
    run(&host, &acme, &["agent", "list"]).await.code(0).prints(&["echo", "default"]);
    run(&host, &acme, &["agent", "unload", "echo"]).await.code(1).complains(&["default"]);
    let found = run(&host, &acme, &["call", "aop_discover", "query=echo", "--json"]).await.code(0);
    assert!(found.stdout.contains("echo_echo"), "{}", found.stdout);
    std::fs::write(agents.path().join("echo.toml"), "share = [\"*\"]\n")
        .expect("the settings can be written");
    aop_tests::eventually("it is shared with everyone", || async {
        let called = run(&host, &other, &["call", "echo_echo", "text=hi"]).await;
        called.status.success().then_some(())
    })
    .await;
}

#[tokio::test]
async fn directories_are_given_to_a_tenant_by_the_configuration() {
    let (ours, theirs) =
        (AgentsDirectory::new().with("echo"), AgentsDirectory::new().with("types"));
    let config = format!(
        "[access]\nrequired = true\n[tenants.acme]\nagents = [\"{}\"]\n",
        theirs.path().display()
    );
    let data = TempDir::with_prefix("aop-data-").expect("a directory can be made");
    let admin = offline_key(&data, &["--admin"]).await;
    let options = HostOptions {
        agents: vec![ours.path().to_owned()],
        data: Some(data.path().to_owned()),
        config: Some(config),
        ..HostOptions::default()
    };
    let host = Host::start(options).await;
    run(&host, &admin, &["agent", "list"]).await.code(0).prints(&["echo"]);
    let listed = run(&host, &admin, &["agent", "list", "--tenant", "acme"]).await.code(0);
    assert!(
        listed.stdout.contains("types") && !listed.stdout.contains("echo"),
        "{}",
        listed.stdout
    );
    let kept = run(&host, &admin, &["tenant", "delete", "acme", "--yes"]).await.code(1);
    kept.complains(&["[tenants.acme]"]);
}

#[tokio::test]
async fn rotating_a_key_goes_on_with_its_sessions() {
    let agents = AgentsDirectory::new().with("echo");
    let (host, admin, _data) = closed(&agents).await;
    let created = run(&host, &admin, &["key", "create", "app", "--json"]).await.code(0).json();
    let (id, old) = (&created["key"]["id"], created["text"].as_str().expect("it has a text"));
    let id = id.as_str().expect("it has an id");
    let rotate = ["key", "rotate", id, "--overlap", "1h", "--json"];
    let new = run(&host, &admin, &rotate).await.code(0).json();
    assert_eq!(new["key"]["subject"], id);
    for text in [old, new["text"].as_str().expect("it has a text")] {
        run(&host, text, &["tools"]).await.code(0).prints(&["echo_echo"]);
    }
    let listed = run(&host, &admin, &["key", "list", "--json"]).await.code(0);
    assert!(!listed.stdout.contains(old), "no list shows a key");
}

#[tokio::test]
async fn another_method_is_told_the_right_ones_where_one_of_them_is_allowed() {
    let (host, admin, _data) = closed(&AgentsDirectory::new()).await;
    let lists = key(&host, &admin, "default", &["tools:list"]).await;
    let calls = key(&host, &admin, "default", &["tools:call"]).await;
    let ask = async |method: Method, path: &str, key: Option<&str>| {
        let mut request = http_client().request(method, host.url(path));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await.expect("the host answers");
        let allow = answer.headers().get("allow");
        let allow = allow.map(|value| value.to_str().expect("it is text").to_owned());
        (answer.status().as_u16(), allow)
    };
    for key in [&lists, &admin] {
        let patched = ask(Method::PATCH, "/api/v1/agents", Some(key)).await;
        assert_eq!(patched, (405, Some("GET,HEAD".to_owned())));
    }
    let put = ask(Method::PUT, "/mcp", Some(&calls)).await;
    assert_eq!(put, (405, Some("GET, POST, DELETE".to_owned())));
    // Whoever may use none of a path does not learn that there is one.
    for path in ["/api/v1/agents", "/no/such/route"] {
        assert_eq!(ask(Method::PATCH, path, None).await, (401, None), "{path}");
        assert_eq!(ask(Method::PATCH, path, Some(&calls)).await, (403, None), "{path}");
    }
}

/// Opens a session with a key, and gives back its id.
async fn session_of(host: &Host, key: &str) -> String {
    let initialize = json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "aop-tests", "version": "1" },
        },
    });
    let request = http_client().post(host.url("/mcp")).bearer_auth(key);
    let request = request.header("accept", "application/json, text/event-stream");
    let request = request.header("content-type", "application/json");
    let answer = request.body(initialize.to_string()).send().await.expect("the host answers");
    let id = answer.headers().get("mcp-session-id").expect("it has a session");
    id.to_str().expect("it is text").to_owned()
}

/// The stream of a session.
async fn stream_of(host: &Host, key: &str, session: &str) -> reqwest::Response {
    let request = http_client().get(host.url("/mcp")).bearer_auth(key);
    let request = request.header("mcp-session-id", session);
    let request = request.header("mcp-protocol-version", "2025-11-25");
    let stream = request.header("accept", "text/event-stream").send().await;
    let stream = stream.expect("the host answers");
    assert_eq!(stream.status(), 200);
    stream
}

/// Waits until the host ends an answer.
async fn ends(answer: reqwest::Response) {
    let reading = tokio::time::timeout(std::time::Duration::from_secs(20), answer.bytes());
    let _ = reading.await.expect("it ends within seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_opened_ends_with_the_key() {
    let agents = AgentsDirectory::new()
        .with("capabilities")
        .with_settings("capabilities", "timeout = \"10m\"\n");
    let (host, admin, _data) = closed(&agents).await;
    let create = ["key", "create", "stolen", "--scope", "tools:call", "--scope", "tools:list"];
    let stolen = run(&host, &admin, &[&create[..], &["--json"]].concat()).await.code(0).json();
    let text = stolen["text"].as_str().expect("it is text");
    let id = stolen["key"]["id"].as_str().expect("it has an id");

    let session = session_of(&host, text).await;
    let events = stream_of(&host, text, &session).await;
    let mcp = Mcp::new(host.url("/mcp"));
    let listen = json!({ "notifications": { "toolsListChanged": true } });
    let listen = mcp.post(&mcp.message("subscriptions/listen", listen)).bearer_auth(text);
    let listening = listen.send().await.expect("the host answers");
    assert_eq!(listening.status(), 200);
    let spin = json!({ "name": "capabilities_spin", "arguments": { "n": 1 } });
    let spin = mcp.post(&mcp.message("tools/call", spin)).bearer_auth(text);
    let spinning = tokio::spawn(spin.send());
    let admins = session_of(&host, &admin).await;
    let mut others = stream_of(&host, &admin, &admins).await;

    let _ = run(&host, &admin, &["key", "revoke", id]).await.code(0);
    ends(events).await;
    ends(listening).await;
    let spinning = tokio::time::timeout(std::time::Duration::from_secs(20), spinning);
    let refused = spinning.await.expect("it ends within seconds");
    let refused = refused.expect("it is sent").expect("the host answers");
    assert_eq!(refused.status(), 401);
    assert!(refused.headers().contains_key("www-authenticate"));
    aop_tests::eventually("its session has ended, and its call", || async {
        let metrics = http_client().get(host.url("/metrics")).bearer_auth(&admin);
        let metrics = metrics.send().await.expect("the host answers");
        let metrics = metrics.text().await.expect("it is text");
        let has_ended = metrics.contains("aop_mcp_sessions_revoked_total 1")
            && metrics.contains("aop_mcp_sessions 1.0\n");
        has_ended.then_some(())
    })
    .await;
    let chunk = tokio::time::timeout(std::time::Duration::from_millis(100), others.chunk());
    assert!(chunk.await.is_err(), "another's stream stays open");

    let short = run(&host, &admin, &["key", "create", "short", "--expires", "3s"]).await.code(0);
    let short = short.stdout.trim().to_owned();
    let session = session_of(&host, &short).await;
    ends(stream_of(&host, &short, &session).await).await;
    let _ = run(&host, &admin, &["tenant", "create", "acme"]).await.code(0);
    let of_tenant = key(&host, &admin, "acme", &["tools:list"]).await;
    let session = session_of(&host, &of_tenant).await;
    let events = stream_of(&host, &of_tenant, &session).await;
    let _ = run(&host, &admin, &["tenant", "delete", "acme", "--yes"]).await.code(0);
    ends(events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_open_host_let_in_ends_with_its_first_key() {
    let agents = AgentsDirectory::new()
        .with("capabilities")
        .with_settings("capabilities", "timeout = \"10m\"\n");
    let host = Host::start(HostOptions {
        agents: vec![agents.path().to_owned()],
        ..HostOptions::default()
    })
    .await;
    // An open host looks at no credential.
    let none = "none";
    let session = session_of(&host, none).await;
    let events = stream_of(&host, none, &session).await;
    let mcp = Mcp::new(host.url("/mcp"));
    let spin = json!({ "name": "capabilities_spin", "arguments": { "n": 1 } });
    let spinning = tokio::spawn(mcp.post(&mcp.message("tools/call", spin)).send());
    aop_tests::eventually("the call runs", || async {
        let agent = http_client().get(host.url("/api/v1/agents/capabilities")).send().await;
        let agent = agent.expect("the host answers").text().await.expect("it is text");
        agent.contains("BUSY").then_some(())
    })
    .await;

    let first = run(&host, "", &["key", "create", "first", "--admin"]).await.code(0);
    let first = first.stdout.trim().to_owned();
    ends(events).await;
    let spinning = tokio::time::timeout(std::time::Duration::from_secs(20), spinning);
    let refused = spinning.await.expect("it ends within seconds");
    let refused = refused.expect("it is sent").expect("the host answers");
    assert_eq!(refused.status(), 401);
    assert!(refused.headers().contains_key("www-authenticate"));
    aop_tests::eventually("the session has ended", || async {
        let metrics = http_client().get(host.url("/metrics")).bearer_auth(&first).send().await;
        let metrics = metrics.expect("the host answers").text().await.expect("it is text");
        metrics.contains("aop_mcp_sessions_revoked_total 1").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_last_key_that_manages_a_host_does_not_go_by_accident() {
    let (host, admin, _data) = closed(&AgentsDirectory::new()).await;
    let keys = run(&host, &admin, &["key", "list", "--json"]).await.code(0).json();
    let id = keys["keys"][0]["id"].as_str().expect("it has an id").to_owned();
    let last = run(&host, &admin, &["key", "revoke", &id]).await.code(2);
    last.complains(&["last key", "--offline", "--yes"]);
    let _ = run(&host, &admin, &["key", "create", "next", "--admin"]).await.code(0);
    let _ = run(&host, &admin, &["key", "revoke", &id]).await.code(0);
    let nowhere = host.data().join("typo").display().to_string();
    let create = ["key", "create", "x", "--admin", "--offline", "--data", &nowhere];
    Aop::new(&create).run().await.code(2).complains(&["there is no directory"]);
    assert!(!host.data().join("typo").exists());
}

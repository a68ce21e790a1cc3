//! `aop serve` as a command: what it prints, and what it refuses to do.

use aop_tests::{AgentsDirectory, Aop, Host, HostOptions, Mcp, http_client};
use serde_json::{Value, json};

#[tokio::test]
async fn the_address_is_the_one_line_on_standard_output() {
    let agents = AgentsDirectory::new();
    let mut host = Host::serve(agents.path()).await;
    assert!(host.address().ip().is_loopback() && host.address().port() != 0);
    assert_eq!(host.get("/healthz").await.trim(), "ok");
    host.terminate();
    let (status, rest) = host.ended().await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(rest, "", "nothing else goes to standard output");
}

#[tokio::test]
async fn a_taken_port_is_told_with_the_flag() {
    let agents = AgentsDirectory::new();
    let host = Host::serve(agents.path()).await;
    let address = host.address().to_string();
    let data = AgentsDirectory::new();
    let finished =
        Aop::new(&["serve", "--listen", &address, "--data", &data.path().display().to_string()])
            .run()
            .await;
    assert!(matches!(finished.status.code(), Some(1 | 2)), "{finished:?}");
    finished.complains(&[&address, "--listen"]);
}

#[tokio::test]
async fn a_data_directory_in_use_is_told_with_its_owner() {
    let agents = AgentsDirectory::new();
    let host = Host::serve(agents.path()).await;
    let data = host.data().display().to_string();
    let finished = Aop::new(&["serve", "--listen", "127.0.0.1:0", "--data", &data]).run().await;
    assert!(matches!(finished.status.code(), Some(1 | 2)), "{finished:?}");
    finished.complains(&[&data, &host.pid().to_string()]);
}

#[tokio::test]
async fn other_machines_are_not_let_in_by_accident() {
    let data = AgentsDirectory::new();
    let data = data.path().display().to_string();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let finished = Aop::new(&["serve", "--listen", address, "--data", &data]).run().await;
        assert!(matches!(finished.status.code(), Some(1 | 2)), "{finished:?}");
        finished.complains(&["--allow-unauthenticated"]);
    }
}

#[tokio::test]
async fn several_directories_are_served_and_missing_ones_are_waited_for() {
    let (one, two) = (AgentsDirectory::new().with("echo"), AgentsDirectory::new().with("types"));
    let later = two.path().join("not-there-yet");
    let agents = vec![one.path().to_owned(), two.path().to_owned(), later.clone()];
    let host = Host::start(HostOptions { agents, ..HostOptions::default() }).await;
    let names = host.mcp().tool_names().await;
    for name in ["echo_echo", "types_nothing"] {
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
    }
    std::fs::create_dir(&later).expect("the directory can be made");
    std::fs::copy(aop_tests::guest("faults"), later.join("faults.wasm"))
        .expect("the guest can be copied");
    host.agent_is("faults", |agent| agent["state"] == "ACTIVE").await;
}

#[tokio::test]
async fn flags_win_over_variables_and_variables_over_the_file() {
    let agents = AgentsDirectory::new();
    let name = async |environment: &[(&str, &str)], arguments: &[&str]| {
        let mut options = HostOptions {
            agents: vec![agents.path().to_owned()],
            config: Some("server_name = \"from-file\"\n".into()),
            environment: environment.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            ..HostOptions::default()
        };
        options.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let host = Host::start(options).await;
        let answer = host.session().await.initialized()["serverInfo"]["name"].clone();
        answer.as_str().expect("a name").to_owned()
    };
    assert_eq!(name(&[], &[]).await, "from-file");
    assert_eq!(name(&[("AOP_SERVER_NAME", "from-variable")], &[]).await, "from-variable");
    let flags = ["--server-name", "from-flag"];
    assert_eq!(name(&[("AOP_SERVER_NAME", "from-variable")], &flags).await, "from-flag");
}

#[tokio::test]
async fn only_the_three_built_in_tools_can_be_shown() {
    let agents = AgentsDirectory::new().with("types");
    let host = Host::start(HostOptions {
        agents: vec![agents.path().to_owned()],
        config: Some("[mcp]\nexpose = \"builtins\"\n".into()),
        ..HostOptions::default()
    })
    .await;
    let mcp = host.mcp();
    assert_eq!(
        mcp.tool_names().await,
        ["aop_call", "aop_call_many", "aop_describe", "aop_discover"]
    );
    // Hidden is not forbidden.
    assert_eq!(mcp.call("types_identity_u8", json!({ "value": 1 })).await.value(), 1);
}

#[tokio::test]
async fn sighup_reloads_the_log_level_or_says_why_not() {
    let agents = AgentsDirectory::new().with("echo");
    let file = agents.put("aop.toml", b"log_level = \"info\"\n");
    let mut options =
        HostOptions { agents: vec![agents.path().to_owned()], ..HostOptions::default() };
    options.arguments.extend(["--config".into(), file.display().to_string()]);
    let host = Host::start(options).await;
    agents.put("aop.toml", b"log_level = \"noise\"\n");
    host.signal(rustix::process::Signal::HUP);
    aop_tests::eventually("the host says why not", || async {
        host.log().contains("noise").then_some(())
    })
    .await;
    agents.put("aop.toml", b"log_level = \"debug\"\n");
    host.signal(rustix::process::Signal::HUP);
    aop_tests::eventually("debug lines appear", || async {
        host.mcp().call("echo_echo", json!({ "text": "" })).await;
        let is_debug = |line: &Value| line["level"] == "DEBUG";
        host.log_lines().iter().any(is_debug).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sighup_reloads_the_ceilings() {
    let agents = AgentsDirectory::new().with("echo");
    agents.put("echo.toml", b"memory = \"32MiB\"\n");
    let config = |memory: &str| format!("[ceiling]\nmemory = \"{memory}\"\n");
    let file = agents.put("aop.toml", config("64MiB").as_bytes());
    let mut options =
        HostOptions { agents: vec![agents.path().to_owned()], ..HostOptions::default() };
    options.arguments.extend(["--config".into(), file.display().to_string()]);
    let host = Host::start(options).await;
    agents.put("aop.toml", config("16MiB").as_bytes());
    host.signal(rustix::process::Signal::HUP);
    aop_tests::eventually("the host names who is over it", || async {
        let is_it = |line: &Value| line.to_string().contains("more than the new ceilings permit");
        host.log_lines().iter().any(is_it).then_some(())
    })
    .await;
    // What serves goes on; the same is refused when it is loaded.
    let answer = host.mcp().call("echo_echo", json!({ "text": "still" })).await;
    assert_eq!(answer.value(), "still");
    let component = aop_tests::guest("echo").display().to_string();
    let settings = agents.path().join("echo.toml").display().to_string();
    let load = ["agent", "load", &component, "--name", "again", "--settings", &settings];
    host.aop(&load).run().await.code(1).complains(&["`memory`", "[ceiling]"]);
}

#[tokio::test]
async fn sighup_brings_back_what_a_narrower_ceiling_refused_and_names_what_was_removed() {
    let agents = AgentsDirectory::new().with("echo");
    agents.put("echo.toml", b"memory = \"32MiB\"\n");
    let config = |memory: &str, rest: &str| format!("{rest}[ceiling]\nmemory = \"{memory}\"\n");
    let before = "log_level = \"debug\"\n[web]\nallowed_hosts = [\"a.test\"]\n[quota.tenants.acme]\ncalls_per_second = 5\n";
    let file = agents.put("aop.toml", config("16MiB", before).as_bytes());
    let mut options =
        HostOptions { agents: vec![agents.path().to_owned()], ..HostOptions::default() };
    options.arguments.extend(["--config".into(), file.display().to_string()]);
    let host = Host::start(options).await;
    let refused = host.agent_is("echo", |agent| agent["state"] == "ERROR").await;
    assert!(refused["error"].to_string().contains("[ceiling]"), "{refused}");
    // Uploads that were refused were told so: only what the host looks at by itself is tried again.
    agents.put("aop.toml", config("64MiB", "").as_bytes());
    host.signal(rustix::process::Signal::HUP);
    host.agent_is("echo", |agent| agent["state"] == "ACTIVE").await;
    let answer = host.mcp().call("echo_echo", json!({ "text": "back" })).await;
    assert_eq!(answer.value(), "back");
    aop_tests::eventually("the log names what was removed", || async {
        let log = host.log_lines().iter().map(Value::to_string).collect::<String>();
        let names = [
            "log_level = \\\"info\\\" (removed: the default again)",
            "web.allowed_hosts = [] (removed: the default again)",
            "quota.tenants.acme.calls_per_second (removed)",
        ];
        names.iter().all(|name| log.contains(name)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_tenant_has_an_endpoint_and_others_have_none() {
    let agents = AgentsDirectory::new().with("echo");
    let host = Host::serve(agents.path()).await;
    let mcp = Mcp::new(host.url("/t/default/mcp"));
    assert_eq!(mcp.call("echo_echo", json!({ "text": "x" })).await.value(), "x");
    let stranger = Mcp::new(host.url("/t/stranger/mcp"));
    let message = stranger.message("tools/list", json!({}));
    let status = stranger.post(&message).send().await.expect("the host answers").status();
    assert!(status.is_client_error(), "{status}");
    let status =
        http_client().get(host.url("/nowhere")).send().await.expect("the host answers").status();
    assert_eq!(status, 404);
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_as_far_as_it_may() {
    use std::io::BufRead as _;
    let data = AgentsDirectory::new();
    let mut host = std::process::Command::new("/bin/sh")
        .args(["-c", r#"ulimit -S -n 256 && exec "$0" "$@""#])
        .arg(aop_tests::aop_binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .current_dir(data.path())
        .env_clear()
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the shell starts");
    let mut line = String::new();
    let stdout = host.stdout.take().expect("standard output is piped");
    std::io::BufReader::new(stdout).read_line(&mut line).expect("it can be read");
    assert!(line.contains("127.0.0.1:"), "it listens: {line:?}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", host.id()));
    host.kill().and_then(|()| host.wait()).expect("the host can be stopped");
    let limits = limits.expect("the host lives");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let mut numbers = files.expect("there is a limit").split_whitespace();
    let (soft, hard) = (numbers.next(), numbers.next());
    assert!(soft.is_some() && soft == hard, "{limits}");
}

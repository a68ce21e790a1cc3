//! MCP servers that a host mounts, here other hosts: their tools as own ones, their death, their return.

use std::time::Instant;

use aop_tests::{AgentsDirectory, BOUND, Host, HostOptions, aop_binary, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A host with these agents that mounts what `config` says.
async fn mounting(agents: Option<&AgentsDirectory>, config: String) -> Host {
    Host::start(HostOptions {
        agents: agents.map(|agents| agents.path().to_owned()).into_iter().collect(),
        config: Some(config),
        ..HostOptions::default()
    })
    .await
}

fn server(name: &str, address: std::net::SocketAddr, more: &str) -> String {
    format!(
        "[[cluster.server]]\nname = \"{name}\"\nurl = \"http://{address}/mcp\"\nrefresh = \"1s\"\n{more}\n"
    )
}

async fn until_listed(host: &Host, tool: &str, is_listed: bool) {
    eventually(&format!("{tool} is listed: {is_listed}"), || async {
        (host.mcp().tool_names().await.iter().any(|name| name == tool) == is_listed).then_some(())
    })
    .await;
}

async fn servers(host: &Host) -> Vec<Value> {
    let answer: Value = serde_json::from_str(&host.get("/api/v1/cluster/servers").await)
        .expect("the servers are JSON");
    answer["servers"].as_array().expect("there is a list").clone()
}

/// A host at an address where one was before.
async fn again(agents: &AgentsDirectory, address: std::net::SocketAddr) -> Host {
    let agents = vec![agents.path().to_owned()];
    Host::start(HostOptions { agents, listen: Some(address), ..HostOptions::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_servers_tools_are_own_ones_until_it_dies() {
    let far_agents = AgentsDirectory::new().with("echo").with("faults");
    let mut far = Host::serve(far_agents.path()).await;
    let own = AgentsDirectory::new().with("types");
    let host = mounting(Some(&own), server("far", far.address(), "")).await;
    until_listed(&host, "far_echo_echo", true).await;
    let listed = host.mcp().tools().await;
    let echo = listed.iter().find(|tool| tool["name"] == "far_echo_echo").expect("it is listed");
    assert_eq!(echo["inputSchema"]["required"], json!(["text"]));

    let result = host.mcp().call("far_echo_echo", json!({ "text": "grüß dich" })).await;
    // The other host's envelope is opened: there is one, and it is this host's.
    assert_eq!(result.value(), "grüß dich");
    let result = host.mcp().call("far_faults_fail", json!({ "message": "no" })).await;
    assert_eq!(result.code(), "guest_error");
    assert_eq!(result.envelope()["error"], "no");
    // The owner validates, and its words come back.
    let result = host.mcp().call("far_echo_echo", json!({ "text": 5 })).await;
    assert!(result.text().contains("/text"), "{}", result.text());

    let list = host.aop(&["agent", "list"]).run().await.code(0).stdout.clone();
    assert!(list.contains("server far"), "{list}");
    let status = host.aop(&["cluster", "status"]).run().await.code(0).stdout.clone();
    assert!(status.contains("far") && status.contains("2026-07-28"), "{status}");
    host.metric("aop_mounts_up", 1.0).await;

    // A frozen server: lists do not wait for it, and a call ends at its deadline.
    far.signal(Signal::STOP);
    let started = Instant::now();
    assert!(host.mcp().tool_names().await.iter().any(|name| name == "types_identity_u64"));
    assert!(started.elapsed() < BOUND, "listing waited for a frozen server");
    far.signal(Signal::CONT);

    far.kill();
    until_listed(&host, "far_echo_echo", false).await;
    assert!(host.mcp().tool_names().await.iter().any(|name| name == "types_identity_u64"));
    let down = &servers(&host).await[0];
    assert_eq!(down["state"], "down", "{down}");
    assert!(down["error"].as_str().is_some_and(|why| why.contains("cannot connect")), "{down}");
    host.metric("aop_mounts_up", 0.0).await;

    let _far = again(&far_agents, far.address()).await;
    until_listed(&host, "far_echo_echo", true).await;
    let result = host.mcp().call("far_echo_echo", json!({ "text": "again" })).await;
    assert_eq!(result.value(), "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_followed_and_calls_are_stopped_there() {
    let far_agents = AgentsDirectory::new().with("faults");
    let far = Host::serve(far_agents.path()).await;
    // Only its reports can bring a change in time.
    let config = format!(
        "[[cluster.server]]\nname = \"far\"\nurl = \"{}\"\nrefresh = \"1h\"\ntimeout = \"1h\"\n",
        far.url("/mcp")
    );
    let host = mounting(None, config).await;
    until_listed(&host, "far_faults_sleep", true).await;
    let _far_agents = far_agents.with("echo");
    until_listed(&host, "far_echo_echo", true).await;

    // Whoever gives up here stops the guest there.
    let sleeping = host.mcp();
    let call = tokio::spawn(async move {
        sleeping.call("far_faults_sleep", json!({ "milliseconds": 3_600_000 })).await
    });
    far.metric("aop_calls_open", 1.0).await;
    call.abort();
    far.metric("aop_calls_open", 0.0).await;
    far.no_instances().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_another_agent_has_is_refused_and_said() {
    let far_agents = AgentsDirectory::new().with("echo");
    let far = Host::serve(far_agents.path()).await;
    let own = AgentsDirectory::new().with("echo");
    let host = mounting(Some(&own), server("far", far.address(), "prefix = false")).await;
    let refused = eventually("the server's tools are refused", || async {
        servers(&host).await.remove(0)["error"].as_str().map(str::to_owned)
    })
    .await;
    assert!(refused.contains("echo_echo"), "{refused}");
    // The own one still answers.
    let result = host.mcp().call("echo_echo", json!({ "text": "own" })).await;
    assert_eq!(result.value(), "own");
    let status = host.aop(&["cluster", "status", "--json"]).run().await.code(0).stdout.clone();
    let status: Value = serde_json::from_str(&status).expect("it is JSON");
    assert_eq!(status["servers"][0]["name"], "far");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_mounted_and_ends_with_its_host() {
    let agents = AgentsDirectory::new().with("echo");
    let aop = aop_binary().display().to_string();
    let data = tempfile::tempdir().expect("a directory");
    let command = [
        &aop,
        "serve",
        "--stdio",
        "--data",
        &data.path().display().to_string(),
        "--agents",
        &agents.path().display().to_string(),
    ];
    let config = format!("[[cluster.server]]\nname = \"near\"\ncommand = {}\n", json!(command));
    let mut host = mounting(None, config).await;
    until_listed(&host, "near_echo_echo", true).await;
    let result = host.mcp().call("near_echo_echo", json!({ "text": "hi" })).await;
    assert_eq!(result.value(), "hi");
    host.terminate();
    let (status, _) = host.ended().await;
    assert!(status.success());
    // It ends by itself when nobody writes to it any more; then its lock on the data directory is free.
    eventually("the program has ended", || async {
        let lock = std::fs::File::open(data.path().join("aop.lock")).expect("it had one");
        lock.try_lock().ok()
    })
    .await;
    let started = HostOptions { data: Some(data.path().to_owned()), ..HostOptions::default() };
    Host::start(started).await;
}

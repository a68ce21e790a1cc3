//! Quotas of agents, tenants and the node, through a host in a process of its own: what is over one is refused with the
//! code, the owner and the time that its caller needs, and everything comes back when calls end.

use std::time::{Duration, Instant};

use aop_tests::{
    AgentsDirectory, Aop, BOUND, Host, HostOptions, ToolResult, eventually, http_client, within,
    zone,
};
use futures::future::join_all;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

/// A host with these agents and this configuration.
async fn host(agents: &AgentsDirectory, config: &str) -> Host {
    Host::start(HostOptions {
        agents: vec![agents.path().to_owned()],
        config: Some(config.to_owned()),
        ..HostOptions::default()
    })
    .await
}

#[track_caller]
fn succeeded(result: &ToolResult) {
    assert_eq!(result.envelope()["success"], true, "{}", result.0);
}

#[track_caller]
fn refused(result: &ToolResult, code: &str, whose: &str) {
    assert_eq!(result.code(), code, "{}", result.text());
    assert!(result.text().contains(whose), "{}", result.text());
    let after = &result.envelope()["retry_after_ms"];
    assert!(after.is_u64(), "it says when to come back: {}", result.0);
}

/// One quota of an agent, as the admin API has it.
async fn quota(host: &Host, agent: &str, name: &str) -> Value {
    let details = host.get(&format!("/api/v1/agents/{agent}")).await;
    let details: Value = serde_json::from_str(&details).expect("it is JSON");
    let quotas = details["quotas"].as_array().expect("it has quotas");
    quotas.iter().find(|quota| quota["quota"] == name).expect("it has this one").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_per_second_of_an_agent_of_a_tenant_and_of_the_node() {
    let agents = AgentsDirectory::new()
        .with("echo")
        .with_as("echo", "slow")
        .with_settings("slow", "[quota]\ncalls_per_second = 1\nburst = 2\n");
    let hello = || json!({ "text": "hello" });
    let served = host(&agents, "").await;
    let mcp = served.mcp();
    for _ in 0..2 {
        succeeded(&mcp.call("slow_echo", hello()).await);
    }
    let over = mcp.call("slow_echo", hello()).await;
    refused(&over, "rate_limited", "`slow` begins at most 1 calls per second");
    assert!(over.envelope()["retry_after_ms"].as_u64() <= Some(1_000));
    for _ in 0..20 {
        succeeded(&mcp.call("echo_echo", hello()).await);
    }
    eventually("it is let through again", || async {
        (mcp.call("slow_echo", hello()).await.envelope()["success"] == true).then_some(())
    })
    .await;
    assert_eq!(quota(&served, "slow", "calls_per_second").await["limit"], 1);
    assert!(quota(&served, "slow", "calls_per_second").await["refused"].as_u64() >= Some(1));
    let metrics = served.metrics().await;
    let labels = [("tenant", "default"), ("agent", "slow"), ("quota", "calls_per_second")];
    assert!(metrics.with("aop_quota_refusals", &labels) >= Some(1.0), "{}", metrics.text());

    let limits = [
        ("tenant", "the tenant begins at most 1 calls"),
        ("tenants.default", "the tenant begins at most 1 calls"),
        ("node", "this host is busy"),
    ];
    for (table, whose) in limits {
        let config = format!("[quota.{table}]\ncalls_per_second = 1\nburst = 3\n");
        let served = host(&agents, &config).await;
        let mcp = served.mcp();
        let calls = join_all((0..10).map(|_| mcp.call("echo_echo", hello()))).await;
        let over: Vec<_> =
            calls.iter().filter(|result| result.envelope()["success"] == false).collect();
        assert!((5..=7).contains(&over.len()), "{table}: {} of 10", over.len());
        refused(over[0], "rate_limited", whose);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cpu_time_per_minute() {
    let agents = AgentsDirectory::new().with("echo").with("faults").with_settings(
        "faults",
        "timeout = \"1s\"\nmax_retries = 1\n[quota]\ncpu_per_minute = \"200ms\"\n",
    );
    let served = host(&agents, "").await;
    let mcp = served.mcp();
    let spun = within(BOUND, "the spinner is stopped", mcp.call("faults_spin", json!({}))).await;
    assert_eq!(spun.code(), "deadline_exceeded");
    assert!(spun.text().contains("CPU time per minute"), "{}", spun.text());
    let over = mcp.call("faults_count", json!({})).await;
    refused(&over, "rate_limited", "`faults` used up its 200ms of CPU time per minute");
    succeeded(&mcp.call("echo_echo", json!({ "text": "others go on" })).await);
    // It was held back as soon as its time was used up, so it got about that, and not a second.
    let figures: Value =
        serde_json::from_str(&served.get("/api/v1/agents/faults").await).expect("it is JSON");
    let used = figures["stats"]["cpu_seconds"].as_f64().expect("it is a number");
    assert!((0.1..0.6).contains(&used), "{used} s");
}

/// How many calls per second a node may begin for the tenant now.
async fn calls_here(host: &Host) -> Option<u64> {
    let usage: Value = serde_json::from_str(&host.get("/api/v1/usage").await).ok()?;
    let quotas = usage["quotas"].as_array()?;
    quotas.iter().find(|quota| quota["quota"] == "calls_per_second")?["here"].as_u64()
}

async fn until_calls_here(hosts: &[&Host], wanted: u64) {
    for host in hosts {
        eventually("a node has its part", || async {
            (calls_here(host).await == Some(wanted)).then_some(())
        })
        .await;
    }
}

/// Calls a node for a time. How many calls it let through.
async fn let_through(host: &Host, time: Duration) -> u64 {
    let (mcp, end) = (host.mcp(), Instant::now() + time);
    let mut through = 0;
    while Instant::now() < end {
        let answer = mcp.call("echo_echo", json!({ "text": "hello" })).await;
        match answer.envelope()["success"] == true {
            true => through += 1,
            false => refused(&answer, "rate_limited", "calls per second"),
        }
    }
    through
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_of_a_zone_have_a_tenants_quota_together() {
    const PER_SECOND: u64 = 40;
    const TIME: Duration = Duration::from_secs(3);
    let agents = AgentsDirectory::new().with("echo");
    let options = |arguments: &[String]| {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut options = zone::options(&arguments);
        options.agents.push(agents.path().to_owned());
        let config = options.config.get_or_insert_default();
        config.push_str(&format!("[quota.tenant]\ncalls_per_second = {PER_SECOND}\n"));
        options
    };
    let first = Host::start(options(&[])).await;
    let join = zone::join_arguments(&first, 1).await;
    let mut second = Host::start(options(&join)).await;
    assert_eq!(calls_here(&second).await, Some(1), "a node that has just joined has one call");
    zone::until_alive([&first, &second], 2).await;
    until_calls_here(&[&first, &second], PER_SECOND / 2).await;

    // Both at once let through what one would.
    let began = Instant::now();
    let counts = join_all([&first, &first, &second, &second].map(|host| let_through(host, TIME)));
    let through = counts.await.into_iter().sum::<u64>();
    let seconds = began.elapsed().as_secs() + 1;
    let most = PER_SECOND + PER_SECOND * seconds + 2;
    assert!((PER_SECOND..=most).contains(&through), "{through} of at most {most}");

    // An idle node lends its part, and one that is gone keeps what was its own.
    eventually("the busy node has it all", || async {
        let_through(&first, Duration::from_millis(500)).await;
        (calls_here(&first).await >= Some(PER_SECOND - 1)).then_some(())
    })
    .await;
    second.kill();
    until_calls_here(&[&first], PER_SECOND / 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_all_instances_together() {
    let agents = AgentsDirectory::new()
        .with("faults")
        .with_settings("faults", "memory = \"64MiB\"\nmax_retries = 1\n");
    let served = host(&agents, "[quota.tenant]\nmemory = \"40MiB\"\n").await;
    let mcp = served.mcp();
    assert_eq!(mcp.call("faults_allocate", json!({ "mebibytes": 20 })).await.value(), &json!(20));
    let over = mcp.call("faults_allocate", json!({ "mebibytes": 50 })).await;
    refused(&over, "resource_exhausted", "may have 40MiB of memory together");
    served.no_instances().await;
    let usage: Value = serde_json::from_str(&served.get("/api/v1/usage").await).expect("JSON");
    let memory = usage["quotas"].as_array().expect("it has quotas");
    let memory = memory.iter().find(|quota| quota["quota"] == "memory_bytes").expect("memory");
    assert_eq!((&memory["limit"], &memory["used"]), (&json!(40 << 20), &json!(0)), "all is back");
    // An allocator asks again for less before it gives up.
    assert!(memory["refused"].as_u64() >= Some(1), "{memory}");
}

#[tokio::test(flavor = "multi_thread")]
async fn places_queues_and_waits_of_a_tenant_over_its_agents() {
    let agents = AgentsDirectory::new().with("faults").with_as("faults", "others");
    let config = "[quota.tenant]\nconcurrency = 2\nqueue = 1\nqueue_wait = \"300ms\"\n";
    let served = host(&agents, config).await;
    let mcp = served.mcp();
    let naps = async {
        let nap = || json!({ "milliseconds": 2_000 });
        join_all([mcp.call("faults_sleep", nap()), mcp.call("others_sleep", nap())]).await
    };
    let third = async {
        served.metric("aop_executions_running", 2.0).await;
        let waits = async {
            let began = Instant::now();
            let waited = mcp.call("others_count", json!({})).await;
            (waited, began.elapsed())
        };
        let refused = async {
            served.metric("aop_calls_queued", 1.0).await;
            mcp.call("others_count", json!({})).await
        };
        tokio::join!(waits, refused)
    };
    let (naps, ((waited, took), full)) = tokio::join!(naps, third);
    refused(&full, "resource_exhausted", "the tenant already runs 2 calls and 1 wait");
    refused(&waited, "resource_exhausted", "within 300ms");
    assert!(took >= Duration::from_millis(300), "{took:?}");
    naps.iter().for_each(succeeded);
    succeeded(&mcp.call("others_count", json!({})).await);
    served.metric("aop_calls_queued", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_remembers_over_its_agents() {
    let agents = AgentsDirectory::new().with_as("capabilities", "a").with_as("capabilities", "b");
    let config = "[quota.tenants.default]\nstored = \"8KiB\"\n";
    let served = host(&agents, config).await;
    let mcp = served.mcp();
    let entry = |bytes: usize| json!({ "bucket": "agent", "key": "k", "value": "v".repeat(bytes) });
    succeeded(&mcp.call("a_remember", entry(5_000)).await);
    let over = mcp.call("b_remember", entry(5_000)).await;
    assert_eq!(over.code(), "guest_error", "the guest is told, and says so");
    assert!(
        over.text().contains("the tenant's agents remember reached its quota"),
        "{}",
        over.text()
    );
    assert!(over.text().contains("delete"), "it says what to free: {}", over.text());
    succeeded(&mcp.call("a_remember", entry(10)).await);
    succeeded(&mcp.call("b_remember", entry(5_000)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn compiled_code_of_a_tenant() {
    let agents = AgentsDirectory::new();
    let served = host(&agents, "[quota.tenant]\ncode = \"64KiB\"\n").await;
    let small = aop_tests::component("(component)");
    let put = |name: &'static str, component: Vec<u8>| {
        let form = Form::new().part("component", Part::bytes(component).file_name("agent.wasm"));
        let url = served.url(&format!("/api/v1/agents/{name}"));
        async move {
            let answer = http_client().put(url).multipart(form).send().await.expect("it answers");
            (answer.status().as_u16(), answer.text().await.expect("it has a body"))
        }
    };
    let large = std::fs::read(aop_tests::guest("faults")).expect("the guest can be read");
    let (status, body) = put("large", large).await;
    assert_eq!(status, 507, "{body}");
    assert!(body.contains("resource_exhausted") && body.contains("unload agents"), "{body}");
    let (status, body) = put("small", small).await;
    assert_eq!(status, 201, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_quotas_are_found_before_anything_runs() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = directory.path().join("aop.toml");
    let text = "[quota.node]\nweight = 3\n[quota.tenants.Acme]\nburst = 1\n[quota.tenant]\nmemory = 5\nqueue = \"many\"\n";
    std::fs::write(&file, text).expect("it can be written");
    let file = file.display().to_string();
    let checked = Aop::new(&["config", "check", "--config", &file]).run().await.code(2);
    checked.complains(&["weight", "Acme", "a size with its unit, or \"none\"", "`many`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_the_quotas_of_an_agent() {
    let agents = AgentsDirectory::new()
        .with("echo")
        .with_settings("echo", "[quota]\negress_per_hour = \"1MiB\"\nweight = 300\n");
    let served = host(&agents, "").await;
    let shown = served.aop(&["agent", "show", "echo"]).run().await.code(0);
    shown.prints(&["egress_bytes_per_hour", "1048576"]);
    let labels = [("tenant", "default"), ("quota", "concurrency"), ("agent", "")];
    let metrics = served.metrics().await;
    assert_eq!(metrics.with("aop_quota_used_ratio", &labels), None, "no limit, no ratio");
    assert!(metrics.with("aop_lane_wait_seconds", &[("tenant", "default")]).is_some());
}

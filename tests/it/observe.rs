//! What an operator sees: metrics, logs, health, and the admin API.

use aop_tests::{AgentsDirectory, Host, HostOptions, eventually, http_client};
use serde_json::{Value, json};

async fn host_with(settings: &str, log_level: &str) -> (AgentsDirectory, Host) {
    let agents = AgentsDirectory::new()
        .with("echo")
        .with("faults")
        .with("config")
        .with_settings("echo", settings)
        .with_settings("config", "log_lines_per_second = 5\n");
    let mut options =
        HostOptions { agents: vec![agents.path().to_owned()], ..HostOptions::default() };
    options.arguments.extend(["--log-level".into(), log_level.into()]);
    let host = Host::start(options).await;
    (agents, host)
}

#[tokio::test]
async fn metrics_tell_of_every_call() {
    let (_agents, host) = host_with("", "info").await;
    let mcp = host.mcp();
    for _ in 0..3 {
        mcp.call("echo_echo", json!({ "text": "hello" })).await;
    }
    assert_eq!(mcp.call("faults_fail", json!({ "message": "no" })).await.code(), "guest_error");
    assert_eq!(mcp.call("faults_trap", json!({})).await.code(), "guest_trapped");
    assert_eq!(mcp.call("echo_echo", json!({})).await.code(), "invalid_arguments");
    mcp.request("tools/call", json!({ "name": "no_such_tool_anywhere", "arguments": {} })).await;
    let metrics = host.metrics().await;
    let calls =
        |agent: &str, code: &str| metrics.with("aop_calls", &[("agent", agent), ("code", code)]);
    assert_eq!(calls("echo", "ok"), Some(3.0));
    assert_eq!(calls("faults", "guest_error"), Some(1.0));
    assert_eq!(calls("faults", "guest_trapped"), Some(1.0));
    assert_eq!(calls("echo", "invalid_arguments"), Some(1.0));
    assert_eq!(metrics.with("aop_call_duration_seconds_count", &[("agent", "echo")]), Some(4.0));
    for name in [
        "aop_in_flight",
        "aop_in_flight_ratio",
        "aop_cpu_seconds",
        "aop_input_bytes",
        "aop_output_bytes",
        "aop_memory_peak_bytes",
        "aop_attempts",
    ] {
        assert!(
            metrics.with(name, &[("agent", "echo")]).is_some(),
            "{name} of an agent:\n{}",
            metrics.text()
        );
    }
    for name in [
        "aop_instances_live",
        "aop_compile_cache_hits",
        "aop_compile_cache_misses",
        "aop_mcp_sessions",
        "aop_calls_open",
        "aop_uptime_seconds",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(metrics.value(name).is_some(), "{name}:\n{}", metrics.text());
    }
    assert!(metrics.with("aop_output_bytes", &[("agent", "echo")]) >= Some(3.0 * 7.0));
    assert!(!metrics.text().contains("no_such_tool_anywhere"), "a client cannot make series");
    assert!(metrics.text().ends_with("# EOF\n"));
}

#[tokio::test]
async fn series_of_agents_that_left_leave_too() {
    let (agents, host) = host_with("", "info").await;
    host.mcp().call("echo_echo", json!({ "text": "x" })).await;
    assert!(host.metrics().await.text().contains("agent=\"echo\""));
    agents.remove("echo.wasm");
    host.agent_is_gone("echo").await;
    eventually("its series are gone", || async {
        (!host.metrics().await.text().contains("agent=\"echo\"")).then_some(())
    })
    .await;
}

/// Whether a log line carries a value anywhere.
fn mentions(line: &Value, text: &str) -> bool {
    line.to_string().contains(text)
}

#[tokio::test]
async fn logs_carry_the_id_that_the_client_got_and_never_the_arguments() {
    let (_agents, host) = host_with("verbose = true\n", "debug").await;
    let mcp = host.mcp();
    let secret = "correct-horse-battery-staple";
    let good = mcp.call("echo_echo", json!({ "text": secret })).await;
    let bad = mcp.call("faults_fail", json!({ "message": secret })).await;
    let broken = mcp.call("faults_trap", json!({})).await;
    for result in [&good, &bad, &broken] {
        eventually("the call is in the log", || async {
            host.log_lines().iter().any(|line| mentions(line, result.call_id())).then_some(())
        })
        .await;
    }
    let lines = host.log_lines();
    let of = |result: &aop_tests::ToolResult| {
        let id = result.call_id().to_owned();
        lines.iter().filter(move |line| mentions(line, &id)).cloned().collect::<Vec<_>>()
    };
    let good_lines = of(&good);
    assert!(good_lines.iter().all(|line| line["timestamp"].is_string()), "{good_lines:?}");
    let text = json!(good_lines).to_string();
    for field in ["correlation_id", "agent_name", "task_hash", "agent-invocation", "Success in "] {
        assert!(text.contains(field), "{field}: {text}");
    }
    let trap = json!(of(&broken)).to_string();
    assert!(
        trap.contains("WARN") && trap.contains("backtrace"),
        "a trap is told with its backtrace: {trap}"
    );
    // A guest's error message is the guest's own and may repeat an argument; what was called with is not.
    let arguments = lines.iter().filter(|line| !mentions(line, bad.call_id()));
    for line in arguments {
        assert!(!mentions(line, secret), "{line}");
    }
}

#[tokio::test]
async fn quiet_agents_are_quiet() {
    let (_agents, host) = host_with("", "info").await;
    let result = host.mcp().call("echo_echo", json!({ "text": "x" })).await;
    let failed = host.mcp().call("faults_trap", json!({})).await;
    eventually("the trap is in the log", || async {
        host.log().contains(failed.call_id()).then_some(())
    })
    .await;
    assert!(!host.log().contains(result.call_id()), "successes are not logged unless asked for");
}

#[tokio::test]
async fn guests_talk_into_the_log_at_their_rate() {
    let (_agents, host) = host_with("", "info").await;
    let mcp = host.mcp();
    let arguments =
        json!({ "level": "warn", "context": "here", "message": "a message of the guest" });
    let result = mcp.call("config_log", arguments).await;
    assert_eq!(result.value(), &Value::Null);
    eventually("the guest's line is in the log", || async {
        let has = |line: &Value| {
            mentions(line, "a message of the guest")
                && mentions(line, result.call_id())
                && line["level"] == "WARN"
        };
        host.log_lines().iter().any(has).then_some(())
    })
    .await;
    mcp.call("config_print", json!({ "message": "printed by the guest" })).await;
    eventually("what it prints is in the log", || async {
        host.log().contains("printed by the guest").then_some(())
    })
    .await;
    for number in 0..200 {
        mcp.call(
            "config_log",
            json!({ "level": "error", "context": "", "message": format!("flood {number}") }),
        )
        .await;
    }
    let dropped = host.metrics().await.value("aop_guest_log_lines_dropped");
    assert!(dropped > Some(0.0), "what is over the rate is counted");
    assert!(host.log().matches("flood ").count() < 150, "and not kept");
}

#[tokio::test]
async fn agents_can_touch_nothing() {
    let (_agents, host) = host_with("", "info").await;
    let mcp = host.mcp();
    let call = async |function: &str, arguments: Value| {
        mcp.call(&format!("config_{function}"), arguments).await
    };
    assert_eq!(call("environment", json!({})).await.value(), &json!([]));
    assert_eq!(call("arguments", json!({})).await.value(), &json!([]));
    assert_eq!(call("preopened_directories", json!({})).await.value(), &json!([]));
    assert_eq!(call("read_stdin", json!({})).await.value(), "");
    assert_eq!(call("config_all", json!({})).await.value(), &json!([]));
    for (function, arguments) in [
        ("read_file", json!({ "path": "/etc/passwd" })),
        ("read_file", json!({ "path": "../../etc/passwd" })),
        ("write_file", json!({ "path": "/tmp/aop-test", "text": "x" })),
        ("list_directory", json!({ "path": "/" })),
        ("connect", json!({ "address": host.address().to_string() })),
        ("connect", json!({ "address": "localhost:80" })),
        (
            "fetch",
            json!({ "scheme": "http", "authority": host.address().to_string(), "path": "/healthz" }),
        ),
    ] {
        let result = call(function, arguments.clone()).await;
        assert_eq!(result.code(), "guest_error", "{function} {arguments}: {}", result.0);
    }
    // The operator's log names the rule.
    eventually("the refusal is in the log", || async {
        host.log().contains("no `http` rule of the agent's policy permits").then_some(())
    })
    .await;
    // Clocks and randomness work.
    assert!(call("now", json!({})).await.value().as_u64() > Some(1_700_000_000_000));
    assert!(
        call("random", json!({ "count": 16 }))
            .await
            .value()
            .as_str()
            .is_some_and(|text| text.len() == 24)
    );
    assert!(
        !call("random", json!({ "count": 4_000_000_000_u32 })).await.envelope()["success"]
            .as_bool()
            .unwrap_or(true)
    );
    host.no_instances().await;
}

#[tokio::test]
async fn agent_show_has_percentiles() {
    let (_agents, host) = host_with("", "info").await;
    for _ in 0..20 {
        host.mcp().call("echo_echo", json!({ "text": "x" })).await;
    }
    let shown = host.aop(&["agent", "show", "echo", "--json"]).run().await.code(0).json();
    let stats = &shown["stats"];
    assert_eq!((&stats["calls"], &stats["errors"]), (&json!(20), &json!(0)), "{stats}");
    for percentile in ["p50_ms", "p95_ms", "p99_ms"] {
        assert!(stats[percentile].as_f64() > Some(0.0), "{percentile}: {stats}");
    }
    host.aop(&["agent", "show", "echo"]).run().await.code(0).prints(&["echo", "p50_ms", "sha256:"]);
}

#[tokio::test]
async fn a_busy_agent_is_shown_as_busy() {
    let (_agents, host) = host_with("", "info").await;
    let mcp = host.mcp();
    let call = mcp.call("faults_sleep", json!({ "milliseconds": 2000 }));
    let look = host.agent_is("faults", |agent| agent["state"] == "BUSY" && agent["in_flight"] == 1);
    let (_, _) = tokio::join!(call, look);
    host.agent_is("faults", |agent| agent["state"] == "ACTIVE" && agent["in_flight"] == 0).await;
}

#[tokio::test]
async fn the_limits_of_an_agent_are_kept() {
    let agents = AgentsDirectory::new().with("faults").with_settings(
        "faults",
        "concurrency = 2\nqueue = 1\nlifetime = \"warm\"\nmax_retries = 1\n",
    );
    let host = Host::serve(agents.path()).await;
    let mcp = host.mcp();
    let sleep = || mcp.call("faults_sleep", json!({ "milliseconds": 1500 }));
    let results = futures::future::join_all((0..6).map(|_| sleep())).await;
    let refused: Vec<_> =
        results.iter().filter(|result| result.envelope()["success"] == false).collect();
    assert_eq!(refused.len(), 3, "two run, one waits, three are refused");
    for result in refused {
        assert_eq!(result.code(), "resource_exhausted");
        assert!(result.envelope()["retry_after_ms"].as_u64() > Some(0), "{}", result.0);
    }
    let mut counts = Vec::new();
    for _ in 0..3 {
        counts.push(mcp.call("faults_count", json!({})).await.value().as_u64());
    }
    assert!(
        counts.iter().any(|count| *count > Some(1)),
        "a warm instance is used again: {counts:?}"
    );
}

#[tokio::test]
async fn only_what_is_safe_is_repeated() {
    let agents = AgentsDirectory::new()
        .with_as("faults", "careful")
        .with_as("faults", "bold")
        .with_settings(
            "bold",
            "[tools.trap]\nidempotent = true\n[tools.fail]\nidempotent = true\n",
        );
    let host = Host::serve(agents.path()).await;
    let mcp = host.mcp();
    assert_eq!(mcp.call("careful_trap", json!({})).await.code(), "guest_trapped");
    assert_eq!(mcp.call("bold_trap", json!({})).await.code(), "guest_trapped");
    assert_eq!(mcp.call("bold_fail", json!({ "message": "no" })).await.code(), "guest_error");
    let metrics = host.metrics().await;
    let attempts = |agent: &str| metrics.with("aop_attempts", &[("agent", agent)]);
    assert_eq!(
        attempts("careful"),
        Some(1.0),
        "a trap is not repeated unless the operator says that it may"
    );
    assert_eq!(attempts("bold"), Some(4.0), "three executions of the trap, one of the error");
}

#[tokio::test]
async fn the_admin_api_refuses_clearly() {
    let (_agents, host) = host_with("", "info").await;
    let http = http_client();
    let status_and_code = async |request: reqwest::RequestBuilder| {
        let response = request.send().await.expect("the host answers");
        let status = response.status().as_u16();
        let body: Value =
            serde_json::from_str(&response.text().await.expect("a body")).expect("errors are JSON");
        assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
        (status, body["code"].as_str().expect("errors have a code").to_owned())
    };
    let agents = host.url("/api/v1/agents");
    for (request, expected) in [
        (http.get(format!("{agents}/nobody")), 404),
        (http.delete(format!("{agents}/nobody")), 404),
        (http.delete(format!("{agents}/echo")), 409),
        (http.post(format!("{agents}/echo/rollback")), 409),
        (http.put(format!("{agents}/new")).body("x"), 415),
        (http.patch(agents.clone()), 405),
    ] {
        let (status, code) = status_and_code(request).await;
        assert_eq!(status, expected, "{code}");
    }
    let openapi: Value =
        serde_json::from_str(&host.get("/api/v1/openapi.json").await).expect("it is JSON");
    assert!(openapi["paths"]["/api/v1/agents/{name}"].is_object(), "{openapi}");
}

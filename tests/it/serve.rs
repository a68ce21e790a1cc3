//! The MCP server as its clients see it, in both protocol eras.

mod cancel;
mod hostile_http;
mod stdio;

use aop_tests::{AgentsDirectory, Answer, Host, HostOptions, Mcp, STATELESS, Session, http_client};
use serde_json::{Value, json};

async fn host_of(agents: AgentsDirectory) -> (AgentsDirectory, Host) {
    let host = Host::serve(agents.path()).await;
    (agents, host)
}

#[tokio::test]
async fn both_eras_share_one_endpoint() {
    let (_agents, host) = host_of(AgentsDirectory::new().with("echo")).await;
    let mcp = host.mcp();
    let discovered = mcp.request("server/discover", json!({})).await;
    let versions = discovered.result()["supportedVersions"].as_array().expect("versions").clone();
    for version in [STATELESS, "2025-11-25"] {
        assert!(versions.contains(&json!(version)), "{versions:?}");
    }
    assert_eq!(discovered.result()["capabilities"]["tools"]["listChanged"], true);
    assert_eq!(mcp.call("echo_echo", json!({ "text": "x" })).await.value(), "x");
    for version in ["2025-11-25", "2025-06-18"] {
        let session = Session::open(&host.url("/mcp"), version).await;
        assert_eq!(session.initialized()["protocolVersion"], version);
        assert_eq!(session.call("echo_echo", json!({ "text": "x" })).await.value(), "x");
        assert!(session.request("ping", json!({})).await.result().is_object());
        assert!(session.delete().await < 300);
    }
    host.metric("aop_mcp_sessions", 0.0).await;
}

#[tokio::test]
async fn an_old_revision_is_answered_with_one_that_both_know() {
    let (_agents, host) = host_of(AgentsDirectory::new()).await;
    let answer = Session::initialize(&http_client(), &host.url("/mcp"), "2024-01-01").await;
    let version = answer.result()["protocolVersion"].as_str().expect("a version");
    assert!(["2025-11-25", "2025-06-18"].contains(&version), "{version}");
}

#[tokio::test]
async fn the_list_is_deterministic_and_paged() {
    let agents = AgentsDirectory::new().with("types").with("faults").with("echo");
    let options = HostOptions {
        agents: vec![agents.path().to_owned()],
        config: Some("[mcp]\npage_size = 10\nlist_ttl = \"5s\"\n".into()),
        ..HostOptions::default()
    };
    let host = Host::start(options).await;
    let mcp = host.mcp();
    let first = mcp.request("tools/list", json!({})).await;
    assert_eq!(first.result()["ttlMs"], 5000);
    assert!(first.result()["cacheScope"].is_string());
    assert!(first.result()["nextCursor"].is_string());
    let shown = first.result()["tools"].as_array().expect("tools").len();
    assert!((10..=14).contains(&shown), "{shown} tools on the first page");
    let names = mcp.tool_names().await;
    assert_eq!(names, mcp.tool_names().await);
    let mut agents_tools: Vec<_> = names.iter().filter(|name| !name.starts_with("aop_")).collect();
    assert!(agents_tools.is_sorted(), "{names:?}");
    agents_tools.dedup();
    assert_eq!(agents_tools.len(), names.len() - 4, "no tool twice: {names:?}");
    // The other era pages the same.
    let session = host.session().await;
    let page = session.request("tools/list", json!({})).await;
    assert_eq!(page.result()["tools"], first.result()["tools"]);
    let wrong = mcp.request("tools/list", json!({ "cursor": "bogus" })).await;
    assert_eq!(wrong.error_code(), -32602);
    let wrong = session.request("tools/list", json!({ "cursor": "bogus" })).await;
    assert_eq!(wrong.error_code(), -32602);
}

#[tokio::test]
async fn settings_shape_the_tool_that_clients_see() {
    let settings = r#"
description = "Says it again."
[tools.echo]
name = "repeat"
title = "Repeat"
description = "Repeats a text."
idempotent = true
read_only = true
destructive = false
open_world = false
"#;
    let agents = AgentsDirectory::new().with("echo").with_settings("echo", settings);
    let (_agents, host) = host_of(agents).await;
    let tools = host.mcp().tools().await;
    let tool = tools.iter().find(|tool| tool["name"] == "repeat").expect("the tool has its name");
    assert_eq!(
        (&tool["title"], &tool["description"]),
        (&json!("Repeat"), &json!("Repeats a text."))
    );
    assert_eq!(
        tool["annotations"],
        json!({ "readOnlyHint": true, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false })
    );
    assert_eq!(host.mcp().call("repeat", json!({ "text": "x" })).await.value(), "x");
    assert_eq!(host.agent("echo").await.expect("it is there")["description"], "Says it again.");
}

#[tokio::test]
async fn an_unknown_tool_is_a_protocol_error_in_both_eras() {
    let (_agents, host) = host_of(AgentsDirectory::new().with("echo")).await;
    let params = json!({ "name": "nobody", "arguments": {} });
    assert_eq!(host.mcp().request("tools/call", params.clone()).await.error_code(), -32602);
    assert_eq!(host.session().await.request("tools/call", params).await.error_code(), -32602);
}

#[tokio::test]
async fn what_no_agent_offers_is_empty_and_what_the_host_does_not_know_is_not_there() {
    let (_agents, host) = host_of(AgentsDirectory::new()).await;
    let (mcp, session) = (host.mcp(), host.session().await);
    for (method, member) in [
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
    ] {
        assert_eq!(mcp.request(method, json!({})).await.result()[member], json!([]), "{method}");
        assert_eq!(
            session.request(method, json!({})).await.result()[member],
            json!([]),
            "{method}"
        );
    }
    let complete = json!({
        "ref": { "type": "ref/prompt", "name": "x" }, "argument": { "name": "a", "value": "b" },
    });
    for (method, params, code) in
        [("completion/complete", complete, -32602), ("nonsense/now", json!({}), -32601)]
    {
        assert_eq!(mcp.request(method, params.clone()).await.error_code(), code, "{method}");
        assert_eq!(session.request(method, params).await.error_code(), code, "{method}");
    }
}

#[tokio::test]
async fn a_result_is_read_by_models_and_programs() {
    let (_agents, host) = host_of(AgentsDirectory::new().with("types").with("faults")).await;
    let mcp = host.mcp();
    let text = mcp.call("types_identity_string", json!({ "value": "line\nline" })).await;
    assert_eq!(text.text(), "line\nline", "a string is not quoted");
    let record = mcp.call("types_identity_tuple", json!({ "value": ["x", 1, true] })).await;
    assert_eq!(record.text(), r#"["x",1,true]"#);
    let failed = mcp.call("faults_fail_typed", json!({ "code": 4, "message": "no" })).await;
    assert_eq!(failed.envelope()["details"], json!({ "code": 4, "message": "no" }));
    let wrong = mcp.call("types_concat", json!({ "first": 1 })).await;
    assert!(wrong.text().contains("/first"), "a model can correct itself: {}", wrong.text());
    assert_eq!(
        wrong.text().matches("/first").count(),
        1,
        "each mistake is told once: {}",
        wrong.text()
    );
}

#[tokio::test]
async fn the_built_in_tools_find_describe_and_call() {
    let (_agents, host) =
        host_of(AgentsDirectory::new().with("types").with("faults").with("echo")).await;
    let mcp = host.mcp();
    let found = mcp
        .call("aop_discover", json!({ "query": "recurse until the stack is full", "limit": 3 }))
        .await;
    let hits = found.value()["tools"].as_array().expect("hits").clone();
    assert_eq!(hits[0]["name"], "faults_recurse", "{hits:?}");
    assert!(hits.len() <= 3);
    let only = mcp.call("aop_discover", json!({ "query": "", "agent": "echo" })).await;
    assert_eq!(only.value()["tools"].as_array().map(Vec::len), Some(1), "{}", only.0);
    // Any text is a query.
    for query in [
        "\"",
        "a AND (",
        "*",
        "'; DROP TABLE tools; --",
        "NEAR(a b)",
        "col:umn",
        "ä🙂",
        &"x ".repeat(5000),
    ] {
        assert!(
            mcp.call("aop_discover", json!({ "query": query })).await.value()["tools"].is_array(),
            "{query}"
        );
    }
    let described = mcp.call("aop_describe", json!({ "tool": "types_concat" })).await;
    assert_eq!(described.value()["inputSchema"]["required"], json!(["first"]));
    assert_eq!(mcp.call("aop_describe", json!({ "tool": "nobody" })).await.code(), "not_found");

    let called =
        mcp.call("aop_call", json!({ "tool": "echo_echo", "arguments": { "text": "x" } })).await;
    assert_eq!(called.value(), "x", "the envelope is the tool's own");
    let wrong =
        mcp.call("aop_call", json!({ "tool": "echo_echo", "arguments": { "text": 1 } })).await;
    assert_eq!(wrong.code(), "invalid_arguments");
    let nested = mcp.call("aop_call", json!({ "tool": "aop_call", "arguments": {} })).await;
    assert_eq!(nested.code(), "invalid_arguments");
    assert_eq!(
        mcp.call("aop_call", json!({ "tool": "nobody", "arguments": {} })).await.code(),
        "not_found"
    );
    assert_eq!(mcp.call("aop_call", json!({ "tool": 5 })).await.code(), "invalid_arguments");
}

#[tokio::test]
async fn streams_report_progress_when_asked() {
    let (_agents, host) = host_of(AgentsDirectory::new().with("asynchronous")).await;
    let arguments = json!({ "limit": 5, "pause_milliseconds": 20 });
    let answer =
        host.mcp().call_with_progress("asynchronous_count_up", arguments.clone(), "mine").await;
    check_progress(&answer, &json!("mine"));
    let session = host.session().await;
    let params = json!({
        "name": "asynchronous_count_up", "arguments": arguments, "_meta": { "progressToken": 7 },
    });
    check_progress(&session.request("tools/call", params).await, &json!(7));
    let unasked = json!({ "name": "asynchronous_count_up", "arguments": { "limit": 2, "pause_milliseconds": 1 } });
    let silent = host.mcp().request("tools/call", unasked).await;
    assert_eq!(silent.notifications("notifications/progress").count(), 0);
}

fn check_progress(answer: &Answer, token: &Value) {
    let reports: Vec<_> = answer.notifications("notifications/progress").collect();
    assert!(!reports.is_empty(), "{}", answer.text);
    assert!(reports.iter().all(|report| report["progressToken"] == *token), "{reports:?}");
    let values: Vec<_> = reports.iter().filter_map(|report| report["progress"].as_f64()).collect();
    assert!(values.windows(2).all(|pair| pair[0] < pair[1]), "progress grows: {values:?}");
    assert_eq!(answer.result()["structuredContent"]["result"], json!(["1", "2", "3", "4", "5"]));
}

#[tokio::test]
async fn the_trace_of_the_caller_goes_on() {
    let (_agents, host) = host_of(AgentsDirectory::new().with("echo")).await;
    let mcp = host.mcp();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let message =
        mcp.message("tools/call", json!({ "name": "echo_echo", "arguments": { "text": "" } }));
    let response =
        mcp.post(&message).header("traceparent", &parent).send().await.expect("the host answers");
    let answer = Answer::read(response).await;
    let continued = answer.result()["_meta"]["traceparent"].as_str().expect("a trace").to_owned();
    assert!(continued.starts_with(&format!("00-{trace}-")) && continued != parent, "{continued}");
    let params = json!({
        "name": "echo_echo", "arguments": { "text": "" }, "_meta": { "traceparent": parent },
    });
    let answer = host.session().await.request("tools/call", params).await;
    assert!(answer.result()["_meta"]["traceparent"].as_str().is_some_and(|it| it.contains(trace)));
}

#[tokio::test]
async fn a_thousand_tools_are_listed_and_found() {
    let agents = AgentsDirectory::new();
    let echo = std::fs::read(aop_tests::guest("echo")).expect("the guest can be read");
    for number in 0..1000 {
        agents.put(&format!("agent{number:04}.wasm"), &echo);
    }
    let host = Host::serve(agents.path()).await;
    let mcp: Mcp = host.mcp();
    let names = mcp.tool_names().await;
    assert_eq!(names.len(), 1004);
    assert_eq!(mcp.call("agent0999_echo", json!({ "text": "x" })).await.value(), "x");
    let found = mcp.call("aop_discover", json!({ "query": "agent0500" })).await;
    assert_eq!(found.value()["tools"][0]["name"], "agent0500_echo");
    let metrics = host.metrics().await;
    assert_eq!(
        metrics.value("aop_compile_cache_misses"),
        Some(1.0),
        "agents that share bytes share code"
    );
}

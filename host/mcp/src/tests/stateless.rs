//! The revision without sessions.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::requests::{call, stateless};
use super::{CALL_ID, World, send};
use crate::config::Expose;
use crate::tests::mounted;
use crate::{McpConfig, McpServer};
use aop_core::{Listen as _, Measure as _, TenantName};

#[tokio::test]
async fn discover_says_what_the_server_speaks() {
    let server = World::new().server();
    let answer = send(&server, stateless(&json!(1), "server/discover", json!({}))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let result = answer.result();
    assert_eq!(result["supportedVersions"], json!(["2025-06-18", "2025-11-25", "2026-07-28"]));
    let capabilities = json!({
        "tools": { "listChanged": true },
        "resources": { "listChanged": true, "subscribe": true },
        "prompts": { "listChanged": true },
        "completions": {},
        "logging": {},
        "extensions": {
            "io.modelcontextprotocol/skills": { "directoryRead": true },
            "io.modelcontextprotocol/tasks": {},
        },
    });
    assert_eq!(result["capabilities"], capabilities);
    assert!(result["instructions"].as_str().unwrap().contains("aop_discover"));
}

#[tokio::test]
async fn a_call_answers_with_envelope_text_and_call_id() {
    let server = World::new().server();
    let answer = send(&server, call("echo", &json!({ "text": "hi" }))).await;
    assert_eq!(answer.status, StatusCode::OK);
    let text = r#"{"text":"hi"}"#;
    let expected = json!({
        "resultType": "complete",
        "content": [{ "type": "text", "text": text }],
        "structuredContent": { "success": true, "result": text },
        "isError": false,
        "_meta": { "aop/call-id": CALL_ID },
    });
    assert_eq!(answer.message(), json!({ "jsonrpc": "2.0", "id": 1, "result": expected }));
}

#[tokio::test]
async fn a_failure_is_a_result_that_a_model_can_act_on() {
    let server = World::new().server();
    let result = send(&server, call("invalid", &json!({}))).await.result();
    assert_eq!(result["isError"], true);
    assert_eq!(result["structuredContent"]["success"], false);
    assert_eq!(result["structuredContent"]["code"], "invalid_arguments");
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.ends_with("\n- /text: must be a string"), "{text}");
    let result = send(&server, call("busy", &json!({}))).await.result();
    assert_eq!(result["structuredContent"]["retry_after_ms"], 250);
}

#[tokio::test]
async fn an_unknown_tool_is_an_invalid_request() {
    let world = World::new();
    for fast in [true, false] {
        let server = McpServer::with_fast_path(McpConfig::default(), world.parts(), fast);
        let answer = send(&server, call("nobody", &json!({}))).await;
        assert_eq!((answer.status, answer.error_code()), (StatusCode::OK, Some(-32602)));
        assert_eq!(answer.message()["error"]["message"], "Unknown tool: nobody");
    }
}

#[tokio::test]
async fn traces_come_in_by_message_or_header_and_go_out_in_the_message() {
    let world = World::new();
    let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let inner = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for fast in [true, false] {
        let server = McpServer::with_fast_path(McpConfig::default(), world.parts(), fast);
        let mut request = call("echo", &json!({}));
        request.headers_mut().insert("traceparent", HeaderValue::from_static(header));
        let answer = send(&server, request).await;
        assert_eq!(
            world.trace.lock().unwrap().map(|trace| trace.to_string()).as_deref(),
            Some(header)
        );
        let out = answer.result()["_meta"]["traceparent"].as_str().unwrap().to_owned();
        assert_eq!(out, "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000007-01");

        let params = json!({ "name": "echo", "_meta": { "traceparent": inner } });
        let mut request = stateless(&json!(1), "tools/call", params);
        request.headers_mut().insert("traceparent", HeaderValue::from_static(header));
        send(&server, request).await;
        assert_eq!(
            world.trace.lock().unwrap().map(|trace| trace.to_string()).as_deref(),
            Some(inner)
        );
    }
}

#[tokio::test]
async fn arguments_reach_the_call_as_they_were_sent() {
    let world = World::new();
    let arguments = r#"{ "b": 1.10, "a": 12345678901234567890, "b": 0.1e1 }"#;
    for fast in [true, false] {
        let server = McpServer::with_fast_path(McpConfig::default(), world.parts(), fast);
        let mut request = call("echo", &json!({ "REPLACE": 1 }));
        let text = super::requests::post("/mcp", "").into_body();
        let body = std::mem::replace(request.body_mut(), text).collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap().replace(r#"{"REPLACE":1}"#, arguments);
        *request.body_mut() = body.into();
        assert_eq!(send(&server, request).await.result()["isError"], false);
        assert_eq!(*world.arguments.lock().unwrap(), arguments);
    }
}

#[tokio::test]
async fn every_tool_is_listed_once_over_pages() {
    let world = World::new();
    let names: Vec<String> = (0..25).map(|index| format!("t{index:02}")).collect();
    world.publish(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let config = McpConfig { page_size: 10.try_into().unwrap(), ..McpConfig::default() };
    let server = world.server_with(config);
    let mut seen = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let params = if cursor.is_null() { json!({}) } else { json!({ "cursor": cursor }) };
        let result = send(&server, stateless(&json!(1), "tools/list", params)).await.result();
        assert_eq!((&result["ttlMs"], &result["cacheScope"]), (&json!(30_000), &json!("private")));
        seen.extend(
            result["tools"]
                .as_array()
                .unwrap()
                .iter()
                .map(|tool| tool["name"].as_str().unwrap().to_owned()),
        );
        cursor = result["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    let builtins = ["aop_call", "aop_call_many", "aop_describe", "aop_discover"].map(str::to_owned);
    assert_eq!(seen, [&builtins[..], &names[..]].concat());
}

#[tokio::test]
async fn a_bad_cursor_is_refused() {
    let server = World::new().server();
    for cursor in [json!(""), json!("x"), json!("!!!"), json!("YWZ0ZXI"), json!(5), json!([])] {
        for method in ["tools/list", "prompts/list", "resources/list", "skills/list"] {
            let params = json!({ "cursor": cursor });
            let answer = send(&server, stateless(&json!(1), method, params)).await;
            assert_eq!(answer.error_code(), Some(-32602), "{method} {cursor}");
        }
    }
    let whole = send(&server, stateless(&json!(1), "tools/list", json!({ "cursor": null }))).await;
    assert!(whole.result()["tools"].is_array(), "none is no cursor");
}

#[tokio::test]
async fn listing_tools_counts_as_a_call_of_the_tenant_on_both_paths() {
    let world = World::new();
    for server in super::compared::servers(&world) {
        let mut request = stateless(&json!(1), "tools/list", json!({}));
        *request.uri_mut() = "/t/spent/mcp".parse().unwrap();
        let answer = send(&server, request).await;
        let error = &answer.messages()[0]["error"];
        assert_eq!(error["code"], -32000, "{}", answer.text);
        assert_eq!(error["data"]["code"], "rate_limited");
    }
}

#[tokio::test]
async fn a_setting_lists_the_built_in_tools_only() {
    let world = World::new();
    let server =
        world.server_with(McpConfig { expose: Expose::BuiltinsOnly, ..McpConfig::default() });
    let result = send(&server, stateless(&json!(1), "tools/list", json!({}))).await.result();
    assert_eq!(result["tools"].as_array().unwrap().len(), 4);
    assert_eq!(result.get("nextCursor"), None);
    let inner = json!({ "tool": "echo", "arguments": { "text": "x" } });
    assert_eq!(send(&server, call("aop_call", &inner)).await.result()["isError"], false);
}

#[tokio::test]
async fn progress_comes_before_the_answer_and_only_grows() {
    let server = World::new().server();
    let params = json!({ "name": "steps", "_meta": { "progressToken": "p" } });
    let answer = send(&server, stateless(&json!(1), "tools/call", params)).await;
    let messages = answer.messages();
    let steps: Vec<_> =
        messages.iter().filter_map(|message| message["params"]["progress"].as_f64()).collect();
    assert_eq!(steps, [1.0, 2.0, 3.0]);
    assert_eq!(messages[0]["params"]["progressToken"], "p");
    assert_eq!(messages.last().unwrap()["result"]["isError"], false);
}

#[tokio::test]
async fn a_client_that_leaves_stops_its_call() {
    let world = World::new();
    for (fast, token) in [(true, false), (false, false), (true, true)] {
        let server = McpServer::with_fast_path(McpConfig::default(), world.parts(), fast);
        let params = if token {
            json!({ "name": "hang", "_meta": { "progressToken": 1 } })
        } else {
            json!({ "name": "hang" })
        };
        let request = stateless(&json!(1), "tools/call", params);
        let waiting = tokio::spawn(mounted(&server).oneshot(request));
        world.until_hanging(1).await;
        waiting.abort();
        world.until_hanging(0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_hears_of_changes_and_ends_with_the_server() {
    let world = World::new();
    let server = world.server();
    let params = json!({ "notifications": { "toolsListChanged": true } });
    let request = stateless(&json!("s"), "subscriptions/listen", params);
    let mut body = mounted(&server).oneshot(request).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("notifications/subscriptions/acknowledged"));
    let streams = server.measure().into_iter().find(|sample| sample.name == "mcp_streams").unwrap();
    assert!((streams.value - 1.0).abs() < f64::EPSILON);
    // Let the handler subscribe before anything changes.
    tokio::time::sleep(Duration::from_millis(1)).await;
    for _ in 0..5 {
        world.changes.tools_changed(&TenantName::default_tenant());
    }
    let second = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&second).contains("notifications/tools/list_changed"));
    server.drain();
    let rest = body.collect().await.unwrap().to_bytes();
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.contains(r#""result""#) && !rest.contains("list_changed"), "{rest}");
    let refused = send(&server, call("echo", &json!({}))).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn what_is_not_offered_is_not_found() {
    let server = World::new().server();
    for method in
        ["tasks/list", "tasks/result", "ping", "logging/setLevel", "resources/subscribe", "x/y"]
    {
        let answer = send(&server, stateless(&json!(1), method, json!({}))).await;
        assert_eq!(
            (answer.status, answer.error_code()),
            (StatusCode::NOT_FOUND, Some(-32601)),
            "{method}"
        );
    }
    let answer =
        send(&server, stateless(&json!(1), "tools/call", json!({ "arguments": {} }))).await;
    assert_eq!(answer.error_code(), Some(-32602), "{}", answer.text);
}

#[tokio::test]
async fn a_conversation_goes_in_and_comes_out() {
    let world = World::new();
    let longest = "x".repeat(128);
    for fast in [true, false] {
        let server = McpServer::with_fast_path(McpConfig::default(), world.parts(), fast);
        for session in ["s-1", &longest] {
            let params = json!({ "name": "echo", "_meta": { "aop/session": session } });
            let result = send(&server, stateless(&json!(1), "tools/call", params)).await.result();
            assert_eq!(result["_meta"]["aop/session"], session);
        }
        for session in
            [json!(""), json!("a b"), json!("\u{e9}"), json!(longest.clone() + "x"), json!(7)]
        {
            let params = json!({ "name": "echo", "_meta": { "aop/session": session } });
            let refused = send(&server, stateless(&json!(1), "tools/call", params)).await;
            assert_eq!(refused.error_code(), Some(-32602), "{session}");
            let message = refused.message()["error"]["message"].as_str().unwrap().to_owned();
            assert!(message.contains("aop/session"), "{message}");
        }
    }
}

#[tokio::test]
async fn content_goes_out_alike_on_both_paths() {
    let world = World::new();
    for fast in [true, false] {
        let server = McpServer::with_fast_path(McpConfig::default(), world.parts(), fast);
        let result = send(&server, call("picture", &json!({}))).await.result();
        let image = json!([{ "type": "image", "data": "AAE=", "mimeType": "image/png" }]);
        assert_eq!((&result["content"], &result["isError"]), (&image, &json!(false)));
        assert!(result.get("structuredContent").is_none());
        let inner = json!({ "tool": "picture" });
        let result = send(&server, call("aop_call", &inner)).await.result();
        assert_eq!(
            (&result["content"], &result["structuredContent"]["success"]),
            (&image, &json!(true))
        );
        let lied = send(&server, call("liar", &json!({}))).await.result();
        assert_eq!(lied["structuredContent"]["code"], "bad_output");
    }
}

#[tokio::test]
async fn a_header_that_repeats_a_parameter_says_what_the_parameter_says() {
    let world = World::new();
    world.publish(&["routed"]);
    let server = world.server();
    for (header, region, status) in [
        (Some("eu"), json!("eu"), StatusCode::OK),
        (Some("=?base64?ZXU=?="), json!("eu"), StatusCode::OK),
        (None, Value::Null, StatusCode::OK),
        (Some("us"), json!("eu"), StatusCode::BAD_REQUEST),
        (Some("=?base64?ZXU?="), json!("eu"), StatusCode::BAD_REQUEST),
        (None, json!("eu"), StatusCode::BAD_REQUEST),
    ] {
        let params = json!({ "name": "routed", "arguments": { "region": region } });
        let mut request = stateless(&json!(1), "tools/call", params);
        if let Some(header) = header {
            request.headers_mut().insert("mcp-param-region", header.parse().unwrap());
        }
        let answer = send(&server, request).await;
        assert_eq!(answer.status, status, "{header:?} {region}: {}", answer.text);
        let mismatch = (status != StatusCode::OK).then_some(-32020);
        assert_eq!(answer.error_code(), mismatch, "{header:?} {region}");
    }
}

#[tokio::test]
async fn content_that_breaks_a_rule_is_counted() {
    let world = World::new();
    let server = world.server();
    let counted = || {
        let samples = server.measure();
        samples.into_iter().find(|sample| sample.name == "mcp_bad_content").unwrap().value
    };
    for good in ["picture", "echo", "fail"] {
        send(&server, call(good, &json!({}))).await;
    }
    assert!(counted().abs() < 0.5, "a failure that the dispatcher saw is none of these");
    send(&server, call("liar", &json!({}))).await;
    send(&server, call("aop_call", &json!({ "tool": "liar" }))).await;
    assert!((counted() - 2.0).abs() < 0.5);
    for uri in ["notes://a", "notes://nothing", "notes://failed", "notes://liar"] {
        send(&server, stateless(&json!(1), "resources/read", json!({ "uri": uri }))).await;
    }
    assert!((counted() - 3.0).abs() < 0.5);
}

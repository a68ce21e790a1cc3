//! The fast path against `rmcp`'s service: the same request down both, the same answer expected.
//!
//! One server has both paths, the other only the full one. Requests are generated from pieces that
//! are right, wrong or odd, so most differ from a good request in one or two places. Compared are
//! status, content type, `Retry-After` and the JSON-RPC messages; for a session, where the fast path
//! answers with a JSON body and `rmcp` with an event stream, the messages.

use proptest::prelude::*;
use serde_json::Value;

use super::compared::{Sent, essence, servers};
use super::requests::Client;
use super::{World, send};

/// Mostly the first, sometimes one of the others.
fn mostly(
    good: &'static str,
    odd: &'static [&'static str],
) -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![14 => Just(good), 1 => proptest::sample::select(odd)]
}

fn ids() -> impl Strategy<Value = &'static str> {
    mostly(
        "1",
        &[
            "\"a\"",
            "\"\\u00fc\\n\"",
            "-7",
            "-0",
            "1.0",
            "1e2",
            "1.5",
            "null",
            "{}",
            "[1]",
            "true",
            "9223372036854775807",
            "9223372036854775808",
            "\"\"",
        ],
    )
}

fn tools() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(
        &[
            "\"echo\"",
            "\"number\"",
            "\"fail\"",
            "\"busy\"",
            "\"invalid\"",
            "\"picture\"",
            "\"liar\"",
            "\"ask\"",
            "\"steps\"",
            "\"nobody\"",
            "\"\"",
            "\"aop_discover\"",
            "\"aop_describe\"",
            "\"\\u0065cho\"",
            "\"=?base64?ZWNobw==?=\"",
            "\"ech\\u00f6\"",
            "\"a b\"",
            "7",
            "null",
        ][..],
    )
}

fn arguments() -> impl Strategy<Value = &'static str> {
    mostly(
        r#"{"text":"x"}"#,
        &[
            "null",
            "[]",
            "7",
            "\"{}\"",
            r#"{"a":{"b":[1,2,{"c":null}]}}"#,
            r#"{ "text" : "\u00e9\ud83d\ude00" }"#,
            r#"{"text":"\ud800"}"#,
            r#"{"query":"e","limit":2}"#,
            r#"{"tool":"echo"}"#,
            r#"{"a":1,"a":2}"#,
            "{} ",
            "{1}",
        ],
    )
}

fn metas() -> impl Strategy<Value = Option<&'static str>> {
    const FULL: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    const ODD: &[Option<&str>] = &[
        None,
        Some("null"),
        Some("{}"),
        Some("[]"),
        Some(r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#),
        Some(r#"{"io.modelcontextprotocol/clientCapabilities":{}}"#),
        Some(
            r#"{"io.modelcontextprotocol/protocolVersion":"2025-11-25","io.modelcontextprotocol/clientCapabilities":{}}"#,
        ),
        Some(
            r#"{"io.modelcontextprotocol/protocolVersion":7,"io.modelcontextprotocol/clientCapabilities":{}}"#,
        ),
        Some(
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}"#,
        ),
        Some(
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"x":1}}"#,
        ),
        Some(
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":7}}"#,
        ),
        Some(
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":1}"#,
        ),
        Some(
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":null}"#,
        ),
        Some(
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"traceparent":7}"#,
        ),
        Some(
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","io.modelcontextprotocol/clientInfo":7}"#,
        ),
        Some(r#"{"progressToken":"t"}"#),
        Some(r#"{"aop/session":"s-1"}"#),
        Some(
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"aop/session":"s-1"}"#,
        ),
        Some(
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"aop/session":"a b"}"#,
        ),
        Some(
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"aop/session":7}"#,
        ),
        Some(
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"aop/session":null}"#,
        ),
        Some(
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/logLevel":"info"}"#,
        ),
    ];
    prop_oneof![8 => Just(Some(FULL)), 2 => proptest::sample::select(ODD)]
}

fn params() -> impl Strategy<Value = String> {
    (
        tools(),
        proptest::option::weighted(0.9, arguments()),
        metas(),
        mostly(
            "",
            &[r#","cursor":"x""#, r#","cursor":null"#, r#","requestState":"s""#, r#","other":{}"#],
        ),
    )
        .prop_map(|(name, arguments, meta, rest)| {
            let mut text = format!(r#"{{"name":{name}"#);
            for (key, value) in [("arguments", arguments), ("_meta", meta)] {
                if let Some(value) = value {
                    text += &format!(r#","{key}":{value}"#);
                }
            }
            text + rest + "}"
        })
}

fn list_params() -> impl Strategy<Value = String> {
    (
        metas(),
        mostly(
            "",
            &[
                r#","cursor":"x""#,
                r#","cursor":null"#,
                r#","cursor":7"#,
                r#","cursor":"YWZ0ZXI6ZWNobw""#,
            ],
        ),
    )
        .prop_map(|(meta, rest)| format!(r#"{{"_meta":{}{rest}}}"#, meta.unwrap_or("{}")))
}

fn bodies() -> impl Strategy<Value = (String, String)> {
    let call = (mostly("tools/call", &["tools/list", "ping", "x"]), params());
    let list = (mostly("tools/list", &["tools/call"]), list_params());
    let message = prop_oneof![3 => call, 1 => list];
    (
        message,
        ids(),
        mostly(r#""2.0""#, &[r#""1.0""#, "2", r#""\u0032.0""#]),
        mostly("", &[r#","result":{}"#, r#","extra":1"#, r#","id":2"#, "}", ","]),
    )
        .prop_map(|((method, params), id, version, rest)| {
            let body = format!(
                r#"{{"jsonrpc":{version},"id":{id},"method":"{method}","params":{params}{rest}}}"#
            );
            (method.to_owned(), body)
        })
}

fn name_of(body: &str) -> String {
    let name = serde_json::from_str::<Value>(body).map(|value| value["params"]["name"].clone());
    name.ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

fn stateless() -> impl Strategy<Value = Sent> {
    (
        bodies(),
        mostly(
            "application/json, text/event-stream",
            &[
                "application/json",
                "*/*",
                "text/event-stream,application/json;q=0.5",
                "application/json;q=0, text/event-stream",
                "APPLICATION/JSON ,Text/Event-Stream",
                r#"text/plain;x="a, application/json, text/event-stream, b""#,
                "",
            ],
        ),
        mostly(
            "application/json",
            &["application/json; charset=utf-8", "text/json", "APPLICATION/JSON", ""],
        ),
        mostly("2026-07-28", &["2025-11-25", "2030-01-01", "", "missing", "twice"]),
        mostly("same", &["tools/call", "missing", "twice"]),
        mostly("same", &["other", "missing", "twice", "=?base64?ZWNobw==?=", "=?base64?!?="]),
        mostly("", &["stray"]),
    )
        .prop_map(
            |((method, body), accept, content, version, mcp_method, mcp_name, session)| {
                let mut headers =
                    vec![("accept", accept.to_owned()), ("content-type", content.to_owned())];
                let mut add = |name, value: &str, good: &str| match value {
                    "missing" => {}
                    "same" => headers.push((name, good.to_owned())),
                    "twice" => headers.extend([(name, good.to_owned()), (name, good.to_owned())]),
                    odd => headers.push((name, odd.to_owned())),
                };
                add("mcp-protocol-version", version, "2026-07-28");
                add("mcp-method", mcp_method, &method);
                add("mcp-name", mcp_name, &name_of(&body));
                if session == "stray" {
                    headers.push(("mcp-session-id", "stray".to_owned()));
                }
                Sent { headers, body }
            },
        )
}

fn sessional() -> impl Strategy<Value = Sent> {
    (
        bodies(),
        mostly("2025-11-25", &["2025-06-18", "2024-11-05", "2026-07-28", "2030-01-01", "missing"]),
        proptest::bool::weighted(0.8),
    )
        .prop_map(|((method, body), version, strip)| {
            // Most requests of a session say nothing of the stateless revision.
            let body =
                if strip { body.replace("io.modelcontextprotocol/", "example.com/") } else { body };
            let mut headers = vec![
                ("accept", "application/json, text/event-stream".to_owned()),
                ("content-type", "application/json".to_owned()),
                ("mcp-method", method),
            ];
            if version != "missing" {
                headers.push(("mcp-protocol-version", version.to_owned()));
            }
            Sent { headers, body }
        })
}

fn run<T: std::fmt::Debug>(
    strategy: impl Strategy<Value = T>,
    cases: u32,
    check: impl Fn(T, &tokio::runtime::Runtime),
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&strategy, |value| {
        check(value, &runtime);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn stateless_requests_are_answered_alike_on_both_paths() {
    let world = World::new();
    world
        .publish(&["ask", "busy", "echo", "fail", "invalid", "liar", "number", "picture", "steps"]);
    let [fast, full] = servers(&world);
    run(stateless(), 3000, |sent, runtime| {
        let Some(request) = sent.request(None) else { return };
        let quick = runtime.block_on(send(&fast, request));
        let slow = runtime.block_on(send(&full, sent.request(None).unwrap()));
        assert_eq!(essence(&quick, true), essence(&slow, true), "{sent:?}");
        assert!(quick.status.as_u16() != 500, "{sent:?}");
    });
    let taken = fast.counters().fast.get();
    assert!(taken > 300, "only {taken} requests took the fast path: the generator lost its aim");
    assert_eq!(full.counters().fast.get(), 0);
}

#[test]
fn requests_of_a_session_are_answered_alike_on_both_paths() {
    let world = World::new();
    world
        .publish(&["ask", "busy", "echo", "fail", "invalid", "liar", "number", "picture", "steps"]);
    let [fast, full] = servers(&world);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sessions = [&fast, &full].map(|server| runtime.block_on(Client::open(server)).session);
    // Sessions live on the runtime that opened them.
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&sessional(), |sent| {
        let Some(request) = sent.request(Some(&sessions[0])) else { return Ok(()) };
        let quick = runtime.block_on(send(&fast, request));
        let slow = runtime.block_on(send(&full, sent.request(Some(&sessions[1])).unwrap()));
        assert_eq!(essence(&quick, false), essence(&slow, false), "{sent:?}");
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let taken = fast.counters().fast.get();
    assert!(taken > 300, "only {taken} requests took the fast path: the generator lost its aim");
}

//! What no client should send. Each gets a clear error; none is a 500, and nothing is left behind.

use aop_tests::{AgentsDirectory, Answer, BOUND, Host, HostOptions, Session, http_client, within};
use serde_json::{Value, json};

async fn echo_host() -> (AgentsDirectory, Host) {
    let agents = AgentsDirectory::new().with("echo");
    let host = Host::serve(agents.path()).await;
    (agents, host)
}

#[tokio::test]
async fn bytes_that_are_not_http_are_refused() {
    let (_agents, host) = echo_host().await;
    let long_header =
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let many_headers =
        format!("GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    let cases: [(&[u8], &str); 9] = [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "a TLS hello"),
        (b"\0\0\0\0\0\0\0\0\r\n\r\n", "zeros"),
        (b"HELLO\r\n\r\n", "no request line"),
        (b"GET / HTTP/9.9\r\n\r\n", "an unknown version"),
        (b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: banana\r\n\r\n", "a length that is none"),
        (b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx", "two lengths"),
        (b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n", "a chunk that is none"),
        (long_header.as_bytes(), "a header of a megabyte"),
        (many_headers.as_bytes(), "ten thousand headers"),
    ];
    for (bytes, what) in cases {
        let mut connection = host.connect().await;
        connection.send(bytes).await;
        connection.finish().await;
        if let Some(status) = within(BOUND, what, connection.status()).await {
            assert!((400..500).contains(&status), "{what}: {status}");
        }
    }
    assert_eq!(host.get("/healthz").await.trim(), "ok");
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_keep_others_from_theirs() {
    let (_agents, host) = echo_host().await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut connection = host.connect().await;
        connection.send(b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{").await;
        slow.push(connection);
    }
    assert_eq!(host.mcp().call("echo_echo", json!({ "text": "x" })).await.value(), "x");
}

#[tokio::test]
async fn bodies_that_are_no_message_are_refused() {
    let (_agents, host) = echo_host().await;
    let mcp = host.mcp();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_arguments = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo_echo","arguments":{}1{}}}}}"#,
        r#"{"a":"#.repeat(10_000),
        "}".repeat(10_000)
    );
    let cases: [(Vec<u8>, &str); 10] = [
        (Vec::new(), "nothing"),
        (b"not json".to_vec(), "text"),
        (b"{".to_vec(), "half an object"),
        (b"\xff\xfe".to_vec(), "not UTF-8"),
        (b"42".to_vec(), "a number"),
        (b"null".to_vec(), "null"),
        (b"[]".to_vec(), "an empty batch"),
        (br#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]"#.to_vec(), "a batch"),
        (deep.into_bytes(), "deep nesting"),
        (deep_arguments.into_bytes(), "deep arguments"),
    ];
    for (body, what) in cases {
        let response = mcp.post_bytes(body).header("mcp-method", "tools/call").send();
        let answer =
            Answer::read(within(BOUND, what, response).await.expect("the host answers")).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text);
        assert!([-32700, -32600].contains(&answer.error_code()), "{what}: {}", answer.text);
    }
    assert_eq!(mcp.call("echo_echo", json!({ "text": "x" })).await.value(), "x");
}

#[tokio::test]
async fn bodies_of_5_megabytes_are_refused() {
    let (_agents, host) = echo_host().await;
    let mcp = host.mcp();
    let message = mcp.message(
        "tools/call",
        json!({ "name": "echo_echo", "arguments": { "text": "x".repeat(5 << 20) } }),
    );
    let response = mcp.post(&message).send().await.expect("the host answers");
    assert_eq!(response.status(), 413);
    let session = host.session().await;
    let response = session.post(&message).send().await.expect("the host answers");
    assert_eq!(response.status(), 413);
    // A length is believed before the body comes, and not believed after.
    let mut connection = host.connect().await;
    connection.send(b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\ncontent-length: 5000000\r\n\r\n").await;
    assert_eq!(within(BOUND, "the refusal of a length", connection.status()).await, Some(413));
    let text = "x".repeat(3 << 20);
    assert_eq!(
        mcp.call("echo_echo", json!({ "text": text })).await.value(),
        &json!(text),
        "3 MiB fit"
    );
}

/// Sends a message after changing it, and what HTTP says of it.
async fn status_of(host: &Host, change: impl FnOnce(&mut Value)) -> u16 {
    let mcp = host.mcp();
    let mut message =
        mcp.message("tools/call", json!({ "name": "echo_echo", "arguments": { "text": "x" } }));
    change(&mut message);
    let answer = Answer::read(mcp.post(&message).send().await.expect("the host answers")).await;
    assert!(answer.message().get("error").is_some(), "{message}: {}", answer.text);
    answer.status
}

#[tokio::test]
async fn messages_of_the_wrong_shape_are_refused() {
    let (_agents, host) = echo_host().await;
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 9] = [
        ("no version of JSON-RPC", |it| it["jsonrpc"] = json!("1.0")),
        ("an id that is an object", |it| it["id"] = json!({})),
        ("a method that is a number", |it| it["method"] = json!(5)),
        ("params that are a list", |it| it["params"] = json!([])),
        ("arguments that are a list", |it| it["params"]["arguments"] = json!([1])),
        ("a name that is a number", |it| it["params"]["name"] = json!(7)),
        ("no name", |it| it["params"] = json!({ "_meta": it["params"]["_meta"] })),
        ("an unknown revision", |it| {
            it["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("1999-01-01");
        }),
        ("no capabilities", |it| {
            it["params"]["_meta"] =
                json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
        }),
    ];
    for (what, change) in changes {
        let status = status_of(&host, change).await;
        assert!(status < 500, "{what}: {status}");
    }
}

#[tokio::test]
async fn headers_must_say_what_the_body_says() {
    let (_agents, host) = echo_host().await;
    let mcp = host.mcp();
    let message =
        mcp.message("tools/call", json!({ "name": "echo_echo", "arguments": { "text": "x" } }));
    let body = message.to_string();
    let cases = [
        ("no method", vec![("mcp-name", "echo_echo")]),
        ("another method", vec![("mcp-method", "tools/list"), ("mcp-name", "echo_echo")]),
        ("no name", vec![("mcp-method", "tools/call")]),
        ("another name", vec![("mcp-method", "tools/call"), ("mcp-name", "other")]),
    ];
    for (what, headers) in cases {
        let request =
            headers.iter().fold(mcp.post_bytes(body.clone()), |request, (name, value)| {
                request.header(*name, *value)
            });
        let answer = Answer::read(request.send().await.expect("the host answers")).await;
        assert_eq!((answer.status, answer.error_code()), (400, -32020), "{what}: {}", answer.text);
    }
}

#[tokio::test]
async fn what_http_can_refuse_is_refused_by_http() {
    let (_agents, host) = echo_host().await;
    let mcp = host.mcp();
    let message = mcp.message("tools/list", json!({})).to_string();
    let post = || http_client().post(host.url("/mcp")).body(message.clone());
    let json = ("content-type", "application/json");
    let accept = ("accept", "application/json, text/event-stream");
    let cases = [
        (
            post().header(accept.0, accept.1).header("content-type", "text/plain"),
            415,
            "another content type",
        ),
        (post().header(json.0, json.1).header("accept", "text/html"), 406, "nothing acceptable"),
        (http_client().put(host.url("/mcp")), 405, "PUT"),
        (http_client().post(host.url("/healthz")), 405, "POST to health"),
        (http_client().get(host.url("/nothing/here")), 404, "an unknown path"),
    ];
    for (request, expected, what) in cases {
        let status = request.send().await.expect("the host answers").status();
        assert_eq!(status, expected, "{what}");
    }
}

#[tokio::test]
async fn other_origins_and_hosts_are_refused() {
    let (_agents, host) = echo_host().await;
    let mcp = host.mcp();
    let message =
        mcp.message("tools/call", json!({ "name": "echo_echo", "arguments": { "text": "x" } }));
    let own = format!("http://{}", host.address());
    for (name, value, allowed) in [
        ("origin", "https://evil.example", false),
        ("origin", "null", false),
        ("origin", "http://localhost.evil.example", false),
        ("host", "evil.example", false),
        ("host", "127.0.0.1.evil.example", false),
        ("host", "localhost", true),
        ("origin", own.as_str(), true),
    ] {
        let response =
            mcp.post(&message).header(name, value).send().await.expect("the host answers");
        let expected = if allowed { 200 } else { 403 };
        assert_eq!(response.status(), expected, "{name}: {value}");
    }
    for path in ["/metrics", "/api/v1/agents", "/healthz"] {
        let response =
            http_client().get(host.url(path)).header("origin", "https://evil.example").send();
        assert_eq!(response.await.expect("the host answers").status(), 403, "{path}");
    }
}

#[tokio::test]
async fn bad_sessions_are_told() {
    let (_agents, host) = echo_host().await;
    let session = host.session().await;
    let message = session.message("tools/list", json!({})).to_string();
    let post = |id: Option<&str>| {
        let request = http_client()
            .post(host.url("/mcp"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25")
            .body(message.clone());
        match id {
            Some(id) => request.header("mcp-session-id", id),
            None => request,
        }
    };
    let status = async |id| post(id).send().await.expect("the host answers").status().as_u16();
    assert_eq!(status(Some(session.id())).await, 200);
    assert_eq!(status(Some("00000000-0000-4000-8000-000000000000")).await, 404);
    assert_eq!(status(Some("../../etc/passwd")).await, 404);
    assert!((400..500).contains(&status(None).await), "a session is needed");
    let nobody = http_client().get(host.url("/mcp")).header("accept", "text/event-stream").send();
    let nobody = nobody.await.expect("the host answers").status().as_u16();
    assert!((400..500).contains(&nobody), "{nobody}");
    let nobody = http_client().delete(host.url("/mcp")).header("mcp-session-id", "nobody").send();
    let nobody = nobody.await.expect("the host answers").status().as_u16();
    assert!((400..500).contains(&nobody), "{nobody}");
}

#[tokio::test]
async fn sessions_are_capped_and_idle_ones_end() {
    let agents = AgentsDirectory::new().with("echo");
    let host = Host::start(HostOptions {
        agents: vec![agents.path().to_owned()],
        // One of them is never this tenant's.
        config: Some("[mcp]\nsessions_max = 4\nsession_idle_timeout = \"1s\"\n".into()),
        ..HostOptions::default()
    })
    .await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(host.session().await);
    }
    let refused = Session::initialize(&http_client(), &host.url("/mcp"), "2025-11-25").await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(refused.headers.contains_key("retry-after"));
    // Nobody uses them, so their places come free.
    host.metric("aop_mcp_sessions", 0.0).await;
    assert_eq!(host.session().await.call("echo_echo", json!({ "text": "x" })).await.value(), "x");
}

//! Questions in the revision without sessions: rounds of `input_required`.

use http::StatusCode;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::requests::stateless;
use super::{Answer, World, send};
use crate::converse::{HELD_MAX_BYTES, QUESTIONS_MAX, Started};
use crate::tests::mounted;
use crate::{McpConfig, McpServer};

fn everything() -> Value {
    json!({ "elicitation": { "form": {}, "url": {} }, "sampling": { "tools": {} }, "roots": {} })
}

async fn request(
    server: &McpServer,
    method: &str,
    mut params: Value,
    capabilities: Value,
) -> Answer {
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities;
    send(server, stateless(&json!(1), method, params)).await
}

async fn call(server: &McpServer, params: Value) -> Answer {
    request(server, "tools/call", params, everything()).await
}

/// The retry of a request with the answers to its questions.
fn retry(name: &str, round: &Value, responses: Value) -> Value {
    json!({ "name": name, "requestState": round["requestState"], "inputResponses": responses })
}

fn accept(content: Value) -> Value {
    json!({ "action": "accept", "content": content })
}

fn world() -> std::sync::Arc<World> {
    let world = World::new();
    world.publish(&[
        "ask",
        "ask-all",
        "ask-both",
        "ask-ever",
        "ask-page",
        "ask-twice",
        "echo",
        "hang",
        "roots",
        "sample",
    ]);
    world
}

#[tokio::test]
async fn a_call_asks_and_goes_on_with_the_answer() {
    let world = world();
    let server = world.server();
    let round = call(&server, json!({ "name": "ask" })).await.result();
    assert_eq!(round["resultType"], "input_required");
    let asked = &round["inputRequests"]["user_name"];
    assert_eq!(asked["method"], "elicitation/create");
    assert_eq!(asked["params"]["message"], "Your user_name?");
    assert_eq!(
        asked["params"]["requestedSchema"]["properties"]["user_name"],
        json!({ "type": "string", "title": "T" })
    );
    assert_eq!(asked["params"]["requestedSchema"]["required"], json!(["user_name"]));
    assert_eq!(server.calls_parked(), 1);
    let answers = json!({ "user_name": accept(json!({ "user_name": "Alice" })) });
    let done = call(&server, retry("ask", &round, answers)).await.result();
    assert_eq!((&done["resultType"], &done["isError"]), (&json!("complete"), &json!(false)));
    assert_eq!(done["content"][0]["text"], r#"{"user_name":"Alice"}"#);
    assert_eq!(
        (server.calls_parked(), world.calls.load(std::sync::atomic::Ordering::Relaxed)),
        (0, 1)
    );
}

#[tokio::test]
async fn several_rounds_have_several_states_and_progress_goes_to_the_open_request() {
    let server = world().server();
    let first = call(&server, json!({ "name": "ask-twice", "_meta": { "progressToken": "a" } }))
        .await
        .result();
    let answers = json!({ "name": accept(json!({ "name": "A" })) });
    let mut params = retry("ask-twice", &first, answers);
    params["_meta"]["progressToken"] = json!("b");
    let messages = call(&server, params).await.messages();
    assert_eq!(messages[0]["params"], json!({ "progressToken": "b", "progress": 1.0 }));
    let second = &messages[1]["result"];
    assert!(second["inputRequests"]["name_2"].is_object(), "{second}");
    assert_ne!(first["requestState"], second["requestState"]);
    let answers = json!({ "name_2": { "action": "decline" } });
    let done = call(&server, retry("ask-twice", second, answers)).await.result();
    assert_eq!(done["content"][0]["text"], r#"{"name":"A"}declined"#);
}

#[tokio::test]
async fn questions_of_one_moment_are_asked_together_and_may_be_answered_apart() {
    let server = world().server();
    let round = call(&server, json!({ "name": "ask-both" })).await.result();
    let keys: Vec<_> = round["inputRequests"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["a", "b"]);
    let answers = json!({ "a": accept(json!({ "a": "1" })), "nonsense": 7, "b": 12345 });
    let round = call(&server, retry("ask-both", &round, answers)).await.result();
    let keys: Vec<_> = round["inputRequests"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["b"], "what was answered is not asked again, what was answered badly is");
    let answers = json!({ "b": { "action": "cancel" } });
    let done = call(&server, retry("ask-both", &round, answers)).await.result();
    assert_eq!(done["content"][0]["text"], r#"{"a":"1"}dismissed"#);
}

#[tokio::test]
async fn answers_may_come_before_their_questions() {
    let server = world().server();
    let answers = json!({ "user_name": accept(json!({ "user_name": "A" })), "other": { "action": "accept" } });
    let done = call(&server, json!({ "name": "ask", "inputResponses": answers })).await.result();
    assert_eq!(done["content"][0]["text"], r#"{"user_name":"A"}"#);
    for responses in
        [json!({ "wrong": accept(json!({})) }), json!({ "user_name": 12345 }), Value::Null]
    {
        let params = json!({ "name": "ask", "inputResponses": responses });
        assert_eq!(call(&server, params).await.result()["resultType"], "input_required");
    }
}

#[tokio::test]
async fn pages_and_models_are_asked_for_too() {
    let server = world().server();
    let round = call(&server, json!({ "name": "ask-page" })).await.result();
    let asked = &round["inputRequests"]["url"]["params"];
    assert_eq!((&asked["mode"], &asked["url"]), (&json!("url"), &json!("https://example.com/a")));
    let done =
        call(&server, retry("ask-page", &round, json!({ "url": { "action": "accept" } }))).await;
    assert_eq!(done.result()["content"][0]["text"], "{}");

    let round = call(&server, json!({ "name": "sample" })).await.result();
    let asked = &round["inputRequests"]["completion"];
    assert_eq!(asked["method"], "sampling/createMessage");
    assert_eq!(asked["params"]["systemPrompt"], "Be brief");
    assert_eq!(asked["params"]["maxTokens"], 7);
    assert_eq!(asked["params"]["modelPreferences"]["hints"][0]["name"], "big");
    assert_eq!(
        asked["params"]["messages"],
        json!([{ "role": "user", "content": { "type": "text", "text": "Capital of France?" } }])
    );
    let said = json!({ "role": "assistant", "model": "m", "stopReason": "endTurn", "content": { "type": "text", "text": "Paris" } });
    let done = call(&server, retry("sample", &round, json!({ "completion": said }))).await.result();
    assert_eq!(done["content"][0]["text"], r#"[Text("Paris")] End m"#);
}

#[tokio::test]
async fn a_client_is_asked_only_what_it_declared() {
    let server = world().server();
    for (tool, declared, required) in [
        ("ask", json!({}), json!({ "elicitation": { "form": {} } })),
        ("ask", json!({ "elicitation": { "url": {} } }), json!({ "elicitation": { "form": {} } })),
        ("ask-page", json!({ "elicitation": {} }), json!({ "elicitation": { "url": {} } })),
        ("sample", json!({ "elicitation": {} }), json!({ "sampling": {} })),
    ] {
        let refused = request(&server, "tools/call", json!({ "name": tool }), declared).await;
        assert_eq!((refused.status, refused.error_code()), (StatusCode::BAD_REQUEST, Some(-32021)));
        assert_eq!(refused.message()["error"]["data"]["requiredCapabilities"], required);
    }
    let params = json!({ "name": "ask" });
    let round = request(&server, "tools/call", params, json!({ "elicitation": {} })).await.result();
    assert_eq!(round["resultType"], "input_required", "an empty capability means forms");
}

#[tokio::test]
async fn a_state_that_is_forged_foreign_or_used_is_refused() {
    let server = world().server();
    let round =
        call(&server, json!({ "name": "ask", "arguments": { "b": 1, "a": [2] } })).await.result();
    let state = round["requestState"].as_str().unwrap();
    let answers = json!({ "user_name": accept(json!({})) });
    let arguments = json!({ "a": [2], "b": 1 });
    let with = |name: &str, arguments: &Value, state: &str| json!({ "name": name, "arguments": arguments, "inputResponses": answers, "requestState": state });
    for (params, why) in [
        (with("ask", &arguments, &format!("{state}-TAMPERED")), "tampered"),
        (with("ask", &arguments, &state.replace("rs1", "rs2")), "another format"),
        (with("ask", &arguments, ""), "empty"),
        (with("ask", &arguments, &"x".repeat(1 << 20)), "large"),
        (with("ask-page", &arguments, state), "of another tool"),
        (with("ask", &json!({ "a": [2], "b": 2 }), state), "of other arguments"),
        (with("ask", &json!({}), state), "of other arguments"),
    ] {
        let refused = call(&server, params).await;
        assert_eq!((refused.status, refused.error_code()), (StatusCode::OK, Some(-32602)), "{why}");
        assert!(refused.message()["error"]["message"].as_str().unwrap().contains("requestState"));
    }
    let mut foreign = stateless(&json!(1), "tools/call", with("ask", &arguments, state));
    *foreign.uri_mut() = "/t/other/mcp".parse().unwrap();
    assert_eq!(send(&server, foreign).await.error_code(), Some(-32602), "of another tenant");
    let mut theirs = stateless(&json!(1), "tools/call", with("ask", &arguments, state));
    theirs.headers_mut().insert("test-subject", "somebody".parse().unwrap());
    assert_eq!(send(&server, theirs).await.error_code(), Some(-32602), "of another caller");
    let elsewhere = call(&world().server(), with("ask", &arguments, state)).await;
    assert_eq!(elsewhere.error_code(), Some(-32602), "of another host");
    assert_eq!(server.calls_parked(), 1, "none of these cost the call anything");
    let done = call(&server, with("ask", &arguments, state)).await;
    assert_eq!(done.result()["isError"], false, "the order of members means nothing");
    let again = call(&server, with("ask", &arguments, state)).await;
    assert_eq!(again.error_code(), Some(-32602));
    assert!(again.message()["error"]["message"].as_str().unwrap().contains("used already"));
}

#[tokio::test]
async fn calls_that_wait_are_bounded() {
    let config = McpConfig {
        parked_max: 3,
        parked_per_tenant_max: 2,
        parked_per_caller_max: 2,
        ..McpConfig::default()
    };
    let server = world().server_with(config);
    let rounds = [
        call(&server, json!({ "name": "ask" })).await.result(),
        call(&server, json!({ "name": "ask" })).await.result(),
    ];
    let third = call(&server, json!({ "name": "ask" })).await.result();
    assert_eq!(third["isError"], true);
    assert!(
        third["content"][0]["text"].as_str().unwrap().contains("too many calls wait"),
        "{third}"
    );
    let other = async || {
        let params = json!({ "name": "ask", "_meta": { "io.modelcontextprotocol/clientCapabilities": everything() } });
        let mut request = stateless(&json!(1), "tools/call", params);
        *request.uri_mut() = "/t/other/mcp".parse().unwrap();
        send(&server, request).await.result()
    };
    assert_eq!(other().await["resultType"], "input_required", "each tenant has places of its own");
    assert_eq!(other().await["isError"], true, "and all together have so many");
    let answers = json!({ "user_name": accept(json!({ "user_name": "A" })) });
    assert_eq!(call(&server, retry("ask", &rounds[0], answers)).await.result()["isError"], false);
    server.drain();
    assert_eq!(server.calls_parked(), 0, "a host that stops does not wait for people");
}

#[tokio::test]
async fn a_caller_that_never_answers_keeps_no_agent_from_others() {
    let config = McpConfig { parked_per_caller_max: 1, ..McpConfig::default() };
    let server = world().server_with(config);
    let ask = async |subject: &'static str| {
        let params = json!({ "name": "ask", "_meta": { "io.modelcontextprotocol/clientCapabilities": everything() } });
        let mut request = stateless(&json!(1), "tools/call", params);
        request.headers_mut().insert("test-subject", subject.parse().unwrap());
        send(&server, request).await.result()
    };
    assert_eq!(ask("a").await["resultType"], "input_required");
    let second = ask("a").await;
    let text = second["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("too many calls of this caller wait"), "{second}");
    assert_eq!(ask("b").await["resultType"], "input_required");
}

#[tokio::test]
async fn a_call_asks_only_so_often() {
    let server = world().server();
    let answers: serde_json::Map<_, _> = (1..=2 * QUESTIONS_MAX)
        .map(|count| {
            let key = if count == 1 { "more".to_owned() } else { format!("more_{count}") };
            (key, accept(json!({ "more": "yes" })))
        })
        .collect();
    let done =
        call(&server, json!({ "name": "ask-ever", "inputResponses": answers })).await.result();
    assert!(done["content"][0]["text"].as_str().unwrap().contains("too often"), "{done}");
}

#[tokio::test]
async fn leaving_stops_a_call_that_runs_and_not_one_that_waits() {
    let world = world();
    let server = world.server();
    let round = call(&server, json!({ "name": "ask" })).await.result();
    let waiting = tokio::spawn(mounted(&server).oneshot(stateless(
        &json!(1),
        "tools/call",
        json!({ "name": "hang", "_meta": { "progressToken": 1 } }),
    )));
    world.until_hanging(1).await;
    waiting.abort();
    world.until_hanging(0).await;
    let answers = json!({ "user_name": accept(json!({ "user_name": "A" })) });
    assert_eq!(call(&server, retry("ask", &round, answers)).await.result()["isError"], false);
}

#[tokio::test]
async fn a_call_that_ended_while_it_waited_is_forgotten() {
    let server = world().server();
    let parked = Started::new(std::future::pending());
    let identity = parked.identity.clone();
    let state = server.edge().parked.park(parked.ongoing, &identity).ok().unwrap();
    assert_eq!(server.calls_parked(), 1);
    parked.stop.cancel();
    while server.calls_parked() > 0 {
        tokio::task::yield_now().await;
    }
    let error = server.edge().parked.take(&state, &identity).err().unwrap();
    assert!(error.message.contains("has ended"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_ends_with_the_credential_of_its_client() {
    let server = world().server();
    let fickle = std::sync::Arc::<super::sessions::Fickle>::default();
    let mut parked = Started::new(std::future::pending());
    parked.ongoing.standing = Some(fickle.standing());
    let identity = parked.identity.clone();
    let state = server.edge().parked.park(parked.ongoing, &identity).ok().unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(server.calls_parked(), 1);
    fickle.0.store(true, std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(server.calls_parked(), 0);
    assert!(server.edge().parked.take(&state, &identity).is_err());
}

#[tokio::test]
async fn prompts_and_resources_ask_as_well() {
    let server = world().server();
    let get = json!({ "name": "notes_ask" });
    let round = request(&server, "prompts/get", get.clone(), everything()).await.result();
    assert_eq!(round["resultType"], "input_required", "{round}");
    let answers = json!({ "context": accept(json!({ "context": "c" })) });
    let done = request(&server, "prompts/get", retry("notes_ask", &round, answers), everything())
        .await
        .result();
    assert_eq!(done["messages"][0]["content"]["text"], r#"{"context":"c"}"#);

    let read = json!({ "uri": "notes://ask" });
    let round = request(&server, "resources/read", read, everything()).await.result();
    let answers = json!({ "key": accept(json!({ "key": "k" })) });
    let params = json!({ "uri": "notes://ask", "requestState": round["requestState"], "inputResponses": answers });
    let done = request(&server, "resources/read", params, everything()).await.result();
    assert_eq!(done["contents"][0]["text"], r#"{"key":"k"}"#);
    let refused = request(&server, "prompts/get", get, json!({})).await;
    assert_eq!(refused.error_code(), Some(-32021));
}

#[tokio::test]
async fn a_log_line_comes_only_when_the_request_wants_it() {
    let server = world().server();
    for (level, expected) in [
        (Value::Null, vec![]),
        (json!("debug"), vec!["debug d", "warning w", "critical c"]),
        (json!("error"), vec!["critical c"]),
        (json!("emergency"), vec![]),
    ] {
        let mut params = json!({ "name": "log" });
        if !level.is_null() {
            params["_meta"]["io.modelcontextprotocol/logLevel"] = level;
        }
        let messages = send(&server, stateless(&json!(1), "tools/call", params)).await.messages();
        let lines: Vec<_> = messages
            .iter()
            .filter(|message| message["method"] == "notifications/message")
            .map(|message| {
                assert_eq!(message["params"]["logger"], "ctx");
                let text = |name: &str| message["params"][name].as_str().unwrap().to_owned();
                format!("{} {}", text("level"), text("data"))
            })
            .collect();
        assert_eq!(lines, expected);
    }
}

#[tokio::test]
async fn a_tool_asks_through_a_built_in_tool_too() {
    let server = world().server();
    let arguments = json!({ "tool": "ask", "arguments": { "x": 1 } });
    let round = call(&server, json!({ "name": "aop_call", "arguments": arguments })).await.result();
    assert_eq!(round["resultType"], "input_required");
    let answers = json!({ "user_name": accept(json!({ "user_name": "A" })) });
    let mut params = retry("aop_call", &round, answers);
    params["arguments"] = arguments;
    let done = call(&server, params).await.result();
    assert_eq!(done["structuredContent"]["result"], r#"{"user_name":"A"}"#);
}

#[tokio::test]
async fn a_client_is_asked_for_its_roots() {
    let server = world().server();
    let round = call(&server, json!({ "name": "roots" })).await.result();
    assert_eq!(round["inputRequests"]["roots"]["method"], "roots/list");
    let nonsense = json!({ "roots": { "roots": "none" } });
    let round = call(&server, retry("roots", &round, nonsense)).await.result();
    assert_eq!(round["resultType"], "input_required", "nonsense is no answer");
    let answers = json!({ "roots": { "roots": [{ "uri": "file:///a", "name": "A" }, { "uri": "file:///b" }] } });
    let done = call(&server, retry("roots", &round, answers)).await.result();
    assert_eq!(
        done["content"][0]["text"],
        r#"[Root { uri: "file:///a", name: Some("A") }, Root { uri: "file:///b", name: None }]"#
    );
    let refused =
        request(&server, "tools/call", json!({ "name": "roots" }), json!({ "sampling": {} })).await;
    assert_eq!((refused.status, refused.error_code()), (StatusCode::BAD_REQUEST, Some(-32021)));
    let data = &refused.message()["error"]["data"]["requiredCapabilities"];
    assert!(data["roots"].is_object(), "{data}");
}

#[tokio::test]
async fn one_round_carries_everything_that_is_open() {
    let server = world().server();
    let round = call(&server, json!({ "name": "ask-all" })).await.result();
    let methods: Vec<_> = round["inputRequests"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, asked)| format!("{key} {}", asked["method"].as_str().unwrap()))
        .collect();
    assert_eq!(
        methods,
        ["completion sampling/createMessage", "roots roots/list", "who elicitation/create"]
    );
    let answers = json!({
        "completion": { "role": "assistant", "model": "m", "content": { "type": "text", "text": "P" } },
        "roots": { "roots": [] },
        "who": { "action": "decline" },
    });
    let done = call(&server, retry("ask-all", &round, answers)).await.result();
    assert_eq!(done["content"][0]["text"], r#"declined Ok("m") true"#);
}

#[tokio::test]
async fn calls_that_wait_are_bounded_in_bytes() {
    let server = world().server();
    let parked = &server.edge().parked;
    let park = |bytes: usize| {
        let Started { ongoing, identity, .. } = Started::new(std::future::pending());
        let state = parked.park(ongoing.holding(bytes), &identity);
        state.map(|state| (state, identity)).map_err(|refused| refused.reason)
    };
    let (state, identity) = park(HELD_MAX_BYTES).unwrap();
    assert!(park(1).unwrap_err().contains("hold too much"));
    drop(parked.take(&state, &identity).unwrap());
    park(HELD_MAX_BYTES / 2).unwrap();
    park(HELD_MAX_BYTES / 2 - 200).unwrap();
    // The arguments and questions of a call are what it holds.
    let arguments = json!({ "text": "x".repeat(300) });
    let refused = call(&server, json!({ "name": "ask", "arguments": arguments })).await.result();
    let text = refused["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("hold too much"), "{refused}");
}

#[tokio::test]
async fn no_call_waits_once_the_host_stops() {
    let server = world().server();
    server.drain();
    let Started { ongoing, identity, .. } = Started::new(std::future::pending());
    let refused = server.edge().parked.park(ongoing, &identity).err().unwrap();
    assert_eq!((refused.reason, server.calls_parked()), ("the host is stopping", 0));
}

#[tokio::test]
async fn what_was_answered_in_advance_does_not_wait_with_a_call() {
    let server = world().server();
    let advance = json!({ "name_2": accept(json!({ "name": "B" })) });
    let first =
        call(&server, json!({ "name": "ask-twice", "inputResponses": advance })).await.result();
    let answers = json!({ "name": accept(json!({ "name": "A" })) });
    let second = call(&server, retry("ask-twice", &first, answers)).await.result();
    assert!(second["inputRequests"]["name_2"].is_object(), "{second}");
}

#[tokio::test]
async fn a_prompt_goes_on_without_asking_its_agent_for_the_list_again() {
    let world = world();
    let server = world.server();
    let get = json!({ "name": "notes_ask" });
    let round = request(&server, "prompts/get", get, everything()).await.result();
    let calls = world.calls.load(std::sync::atomic::Ordering::Relaxed);
    let answers = json!({ "context": accept(json!({ "context": "c" })) });
    let params = retry("notes_ask", &round, answers);
    let done = request(&server, "prompts/get", params, everything()).await.result();
    assert_eq!(done["messages"][0]["content"]["text"], r#"{"context":"c"}"#);
    assert_eq!(world.calls.load(std::sync::atomic::Ordering::Relaxed), calls);
}

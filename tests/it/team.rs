//! The example agents that work with others: a planner with a team, agents made of settings, a notebook.

use std::sync::{Arc, Mutex, PoisonError};

use aop_tests::{AgentsDirectory, Answer, Host, HostOptions, repository};
use axum::body::Bytes;
use axum::routing::post;
use serde_json::{Value, json};

use crate::built::example;

fn settings(path: &str) -> String {
    std::fs::read_to_string(repository().join("examples").join(path)).expect("there are settings")
}

fn agents(of: &[(&str, &str, String)]) -> AgentsDirectory {
    let agents = AgentsDirectory::new();
    for (agent, component, settings) in of {
        agents.put(&format!("{agent}.toml"), settings.as_bytes());
        agents.put(&format!("{agent}.wasm"), &example(component));
    }
    agents
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planner_delegates_to_whom_it_finds() {
    let planner = settings("planner/planner.toml");
    let agents = agents(&[
        ("planner", "planner", planner.clone()),
        // The same without anybody that it may call.
        ("loner", "planner", planner.replace("tools = [", "tools = [] # [")),
        ("textkit", "textkit", settings("textkit/textkit.toml")),
    ]);
    let host = Host::serve(agents.path()).await;
    let arguments = json!({
        "task": "summarize max_sentences=1; assess readability\nthen measure; paint a picture",
        "material": "The sun rises. The sun is a star, and every planet goes around the sun. Rain falls.",
    });
    let done = host.mcp().call("planner_work", arguments.clone()).await;
    let report = done.value();
    let outcomes: Vec<_> = report["outcomes"]
        .as_array()
        .expect("outcomes")
        .iter()
        .map(|outcome| (outcome["tool"].as_str(), outcome["success"] == true))
        .collect();
    let expected = [
        (Some("textkit_summarize"), true),
        (Some("textkit_assess_readability"), true),
        (Some("textkit_measure"), true),
        (None, false),
    ];
    assert_eq!(outcomes, expected, "{report}");
    let answer = report["answer"].as_str().expect("an answer");
    assert!(answer.contains("star") && answer.contains("not done"), "{answer}");

    let alone = host.mcp().call("loner_work", arguments).await;
    let outcomes = alone.value()["outcomes"].as_array().expect("outcomes").clone();
    assert!(outcomes.iter().all(|outcome| outcome["success"] == false), "{outcomes:?}");
}

/// A provider that speaks like OpenAI: it asks for a tool first, and then says what the tool answered.
async fn provider() -> (String, Arc<Mutex<Vec<Value>>>) {
    let requests: Arc<Mutex<Vec<Value>>> = Arc::default();
    let seen = Arc::clone(&requests);
    let complete = move |body: Bytes| async move {
        let request: Value = serde_json::from_slice(&body).expect("the host sends JSON");
        let messages = request["messages"].as_array().cloned().unwrap_or_default();
        let last = messages.last().cloned().unwrap_or_default();
        let message = if last["role"] == "tool" {
            json!({ "role": "assistant", "content": format!("It says {}", last["content"]) })
        } else {
            let function =
                json!({ "name": "textkit_measure", "arguments": "{\"text\":\"one two three\"}" });
            json!({
                "role": "assistant",
                "content": null,
                "tool_calls": [{ "id": "call-1", "type": "function", "function": function }],
            })
        };
        let finish = if message["content"].is_null() { "tool_calls" } else { "stop" };
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let answer = json!({
            "id": "1", "object": "chat.completion", "created": 0, "model": "stub",
            "choices": [{ "index": 0, "message": message, "finish_reason": finish }],
            "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 },
        });
        ([("content-type", "application/json")], answer.to_string())
    };
    let router = axum::Router::new().route("/v1/chat/completions", post(complete));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_alone_make_an_agent() {
    let (url, requests) = provider().await;
    let bind = |text: String| text.replace("provider = \"client\"", "provider = \"stub\"");
    let agents = agents(&[
        ("assistant", "assistant", bind(settings("llm-agent/assistant.toml"))),
        ("editor", "assistant", bind(settings("llm-agent/agents/editor.toml"))),
        ("analyst", "assistant", bind(settings("llm-agent/agents/analyst.toml"))),
        ("textkit", "textkit", settings("textkit/textkit.toml")),
    ]);
    let host = Host::start(HostOptions {
        agents: vec![agents.path().to_owned()],
        config: Some(format!("[model.providers.stub]\nurl = \"{url}\"\n")),
        ..HostOptions::default()
    })
    .await;
    for agent in ["assistant", "editor"] {
        let answer = host.mcp().call(agent, json!({ "task": "How many words?" })).await;
        let text = answer.value().as_str().expect("an answer in words");
        assert!(text.contains("words\\\":3") || text.contains("words\":3"), "{agent}: {text}");
    }
    // The analyst may not call what the model asks for, and is told; the model repeats what it was told.
    let answer = host.mcp().call("analyst", json!({ "task": "How many words?" })).await;
    assert!(answer.value().as_str().is_some_and(|text| text.contains("there is no tool")));

    let requests = requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let prompts = requests.iter().map(|request| request["messages"][0].to_string());
    let prompts: Vec<_> = prompts.collect();
    assert!(prompts[0].contains("the task that you are given"), "{}", prompts[0]);
    assert!(prompts[2].contains("You are an editor"), "{}", prompts[2]);
    let offered = |request: &Value| {
        let tools = request["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
        tools.iter().any(|tool| tool["function"]["name"] == "textkit_measure")
    };
    assert_eq!(
        requests.iter().map(offered).collect::<Vec<_>>(),
        [true, true, true, true, false, false]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notebook_is_read_by_people_and_models() {
    let agents = agents(&[("notes", "notes", settings("notes/notes.toml"))]);
    let host = Host::serve(agents.path()).await;
    let mcp = host.mcp();
    let note = json!({ "title": "Größe", "text": "Two metres", "tags": ["home"] });
    let uri = mcp.call("notes_write", note).await.value().clone();
    let uri = uri.as_str().expect("a URI");

    let listed = mcp.request("resources/list", json!({})).await.result()["resources"].clone();
    assert_eq!((&listed[0]["uri"], &listed[0]["name"]), (&json!(uri), &json!("Größe")));
    let message = mcp.message("resources/read", json!({ "uri": uri }));
    let read = mcp.post(&message).header("mcp-name", uri).send().await.expect("the host answers");
    let read = Answer::read(read).await;
    assert_eq!(read.result()["contents"][0]["text"], "# Größe\n\nTwo metres");

    let review = json!({ "name": "notes_review", "arguments": { "note": "Größe" } });
    let prompt = mcp.request("prompts/get", review).await.result().clone();
    assert_eq!(prompt["messages"][0]["content"]["resource"]["uri"], uri);
    let argument = json!({
        "ref": { "type": "ref/prompt", "name": "notes_review" },
        "argument": { "name": "note", "value": "Gr" },
    });
    let completed = mcp.request("completion/complete", argument).await.result().clone();
    assert_eq!(completed["completion"]["values"], json!(["Größe"]));

    // Nobody can be asked, and nobody confirmed it.
    let kept = mcp.call("notes_remove", json!({ "title": "Größe" })).await;
    assert_eq!(kept.value(), &json!(false));
    let removed = mcp.call("notes_remove", json!({ "title": "Größe", "confirmed": true })).await;
    assert_eq!(removed.value(), &json!(true));
    let listed = mcp.request("resources/list", json!({})).await.result()["resources"].clone();
    let uris: Vec<_> = listed.as_array().expect("a list").iter().map(|one| &one["uri"]).collect();
    assert_eq!(uris, ["skill://notes/meeting-minutes/SKILL.md"], "its skill is all that is left");
}

//! Answers as providers give them, and requests as they want them.

use aop_core::model::Usage;
use serde_json::{Value, json};

use super::*;

pub(super) const OPENAI: &str = r#"{
  "id": "chatcmpl-1", "object": "chat.completion", "created": 1741569952, "model": "gpt-4.1-2025-04-14",
  "choices": [{"index": 0, "message": {"role": "assistant", "content": "Let me see.", "refusal": null,
    "annotations": [], "tool_calls": [{"id": "call_1", "type": "function",
      "function": {"name": "lookup", "arguments": "{\"city\":\"Bern\"}"}}]},
    "logprobs": null, "finish_reason": "tool_calls"}],
  "usage": {"prompt_tokens": 39, "completion_tokens": 18, "total_tokens": 57,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0}},
  "service_tier": "default", "system_fingerprint": "fp_1"
}"#;

pub(super) const ANTHROPIC: &str = r#"{
  "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
  "content": [{"type": "text", "text": "Let me see."},
    {"type": "tool_use", "id": "toolu_1", "name": "lookup", "input": {"city": "Bern"}}],
  "stop_reason": "tool_use", "stop_sequence": null,
  "usage": {"input_tokens": 39, "output_tokens": 18}
}"#;

pub(super) const OPENAI_STREAM: &str = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4.1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4.1","choices":[{"index":0,"delta":{"content":"Grüezi"},"finish_reason":null}],"usage":null}

: a comment

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4.1","choices":[{"index":0,"delta":{"content":" mitenand"},"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4.1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4.1","choices":[],"usage":{"prompt_tokens":39,"completion_tokens":18,"total_tokens":57}}

data: [DONE]

"#;

pub(super) const ANTHROPIC_STREAM: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"claude-sonnet-4-5","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":39,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type":"ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Grüezi"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" mitenand"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},"usage":{"output_tokens":18}}

event: message_stop
data: {"type":"message_stop"}

"#;

/// A conversation with everything in it.
fn conversation() -> CompletionRequest {
    let call = |id: &str| Part::ToolCall {
        id: id.to_owned(),
        name: "lookup".to_owned(),
        arguments: r#"{"city":"Bern"}"#.to_owned(),
    };
    let result = |id: &str, text: &str, is_error| Part::ToolResult {
        id: id.to_owned(),
        text: text.to_owned(),
        is_error,
    };
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let Value::Object(input_schema) = schema else { panic!("an object") };
    CompletionRequest {
        messages: vec![
            says(Role::System, Part::Text("Be brief.".to_owned())),
            Message {
                role: Role::User,
                parts: vec![
                    Part::Text("Where is this?".to_owned()),
                    Part::Image { data: vec![1, 2, 3], mime_type: "image/png".to_owned() },
                ],
            },
            Message { role: Role::Assistant, parts: vec![call("a"), call("b")] },
            Message {
                role: Role::User,
                parts: vec![result("a", "sunny", false), result("b", "no such city", true)],
            },
        ],
        tools: vec![ToolOffer {
            name: "lookup".to_owned(),
            description: "The weather".to_owned(),
            input_schema,
        }],
        temperature: Some(0.5),
        max_tokens: Some(77),
        stop: vec!["END".to_owned()],
        model: "test-model".to_owned(),
    }
}

async fn sent(provider: &str, reply: Reply) -> Value {
    let script = Script::new([reply]);
    models(&script).complete(&spender(), &binding(provider), conversation()).await.unwrap();
    script.requests()[0].body.clone()
}

#[tokio::test]
async fn a_conversation_reaches_openai_as_it_wants_it() {
    let body = sent("gateway", Reply::json(200, OPENAI)).await;
    assert_eq!(body["model"], "test-model");
    assert_eq!(body["temperature"], 0.5);
    assert_eq!(body["max_tokens"], 77);
    assert_eq!(body["stop"], json!(["END"]));
    assert_eq!(body["tools"][0]["function"]["name"], "lookup");
    assert_eq!(body["tools"][0]["function"]["parameters"]["properties"]["city"]["type"], "string");
    let roles: Vec<_> = body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "tool"]);
    let text = body.to_string();
    assert!(text.contains("data:image/png;base64,AQID"), "{text}");
    assert_eq!(body["messages"][2]["tool_calls"][1]["id"], "b");
    assert_eq!(body["messages"][2]["tool_calls"][1]["function"]["arguments"], r#"{"city":"Bern"}"#);
    assert_eq!(body["messages"][4]["tool_call_id"], "b");
    assert!(body["messages"][4].to_string().contains("error: no such city"), "{text}");
}

#[tokio::test]
async fn a_conversation_reaches_anthropic_as_it_wants_it() {
    let body = sent("anthropic", Reply::json(200, ANTHROPIC)).await;
    assert_eq!((&body["model"], &body["max_tokens"]), (&json!("test-model"), &json!(77)));
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert_eq!(body["tools"][0]["name"], "lookup");
    assert!(body["system"].to_string().contains("Be brief."));
    let text = body["messages"].to_string();
    for expected in
        ["\"media_type\":\"image/png\"", "AQID", "\"tool_use_id\":\"b\"", "\"type\":\"tool_use\""]
    {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[tokio::test]
async fn answers_mean_the_same_whoever_gives_them() {
    for (provider, body) in [("gateway", OPENAI), ("openai", OPENAI), ("anthropic", ANTHROPIC)] {
        let script = Script::new([Reply::json(200, body)]);
        let completion = ask(&models(&script), provider).await.unwrap();
        let [Part::Text(text), Part::ToolCall { id, name, arguments }] = &completion.parts[..]
        else {
            panic!("{provider}: {completion:?}")
        };
        assert_eq!((text.as_str(), name.as_str()), ("Let me see.", "lookup"));
        assert!(id == "call_1" || id == "toolu_1");
        assert_eq!(arguments, r#"{"city":"Bern"}"#);
        assert_eq!(completion.stop, StopReason::ToolCalls);
        assert_eq!(completion.usage, Usage { input_tokens: 39, output_tokens: 18 });
        assert!(completion.model.starts_with("gpt-4.1") || completion.model.starts_with("claude"));
    }
}

#[tokio::test]
async fn streams_mean_the_same_whoever_writes_them() {
    let cases = [
        ("gateway", OPENAI_STREAM, StopReason::End),
        ("anthropic", ANTHROPIC_STREAM, StopReason::Length),
    ];
    for (provider, body, stop) in cases {
        let script = Script::new([Reply::json(503, "{}"), Reply::events(body)]);
        let models = models(&script);
        let (text, completion) = read(&models, provider).await.unwrap();
        assert_eq!(text, "Grüezi mitenand");
        assert_eq!(completion.parts, [Part::Text(text)]);
        assert_eq!((completion.stop, completion.usage.output_tokens), (stop, 18));
        assert_eq!(models.budgets.used(&spender()), (57, 57));
        assert_eq!(script.requests()[1].body["stream"], true);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_costs_what_was_set_aside() {
    for (provider, body) in [("gateway", OPENAI_STREAM), ("anthropic", ANTHROPIC_STREAM)] {
        let end = body.find(" mitenand").unwrap();
        let script = Script::new([Reply::events(&body[..end])]);
        let models = models(&script);
        let outcome = read(&models, provider).await;
        assert!(matches!(outcome, Err(ModelError::Unavailable(_))), "{outcome:?}");
        let (used, _) = models.budgets.used(&spender());
        assert_eq!(used, 1005);
        assert_eq!(script.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_stream_that_nobody_reads_to_its_end_costs_what_was_set_aside() {
    let script = Script::new([Reply::events(OPENAI_STREAM)]);
    let models = models(&script);
    let mut stream = models.stream(&spender(), &binding("gateway"), question()).await.unwrap();
    assert!(matches!(stream.next().await, Ok(Some(CompletionEvent::Text(_)))));
    let (reserved, _) = models.budgets.used(&spender());
    drop(stream);
    let (used, _) = models.budgets.used(&spender());
    assert_eq!((reserved, used), (1005, 1005));
    assert_eq!(models.shares.held(), 0);
}

#[tokio::test]
async fn conversations_that_make_no_sense_are_refused_before_they_are_sent() {
    let text = || Part::Text("hello".to_owned());
    let call = |arguments: &str| Part::ToolCall {
        id: "a".to_owned(),
        name: "lookup".to_owned(),
        arguments: arguments.to_owned(),
    };
    let image = |mime_type: &str| Part::Image { data: vec![1], mime_type: mime_type.to_owned() };
    let result = || Part::ToolResult { id: "b".to_owned(), text: String::new(), is_error: false };
    let user = says(Role::User, text());
    let cases = [
        vec![],
        vec![Message { role: Role::User, parts: Vec::new() }],
        vec![says(Role::System, image("image/png")), user.clone()],
        vec![says(Role::User, call("{}"))],
        vec![says(Role::User, image("text/html"))],
        vec![says(Role::User, result())],
        vec![user.clone(), says(Role::Assistant, image("image/png"))],
        vec![user.clone(), says(Role::Assistant, result())],
    ];
    for messages in cases {
        for provider in ["gateway", "anthropic"] {
            let request = CompletionRequest { messages: messages.clone(), ..question() };
            let models = models(&Script::new([]));
            let outcome = models.complete(&spender(), &binding(provider), request).await;
            assert!(matches!(outcome, Err(ModelError::Invalid(_))), "{messages:?}: {outcome:?}");
            assert_eq!(models.budgets.used(&spender()), (0, 0));
        }
    }
}

/// An agent hands back what the model wrote, which no provider takes.
#[tokio::test]
async fn arguments_that_are_no_object_are_told_as_an_empty_one() {
    for arguments in ["not JSON", "[1]", "null"] {
        let script = Script::new([Reply::said("sorry")]);
        let call = Part::ToolCall {
            id: "a".to_owned(),
            name: "f".to_owned(),
            arguments: arguments.to_owned(),
        };
        let result = Part::ToolResult { id: "a".to_owned(), text: "no".to_owned(), is_error: true };
        let text = says(Role::User, Part::Text("hello".to_owned()));
        let messages = vec![text, says(Role::Assistant, call), says(Role::User, result)];
        let request = CompletionRequest { messages, ..question() };
        models(&script).complete(&spender(), &binding("gateway"), request).await.unwrap();
        let sent = &script.requests()[0].body;
        assert_eq!(sent["messages"][1]["tool_calls"][0]["function"]["arguments"], "{}", "{sent}");
    }
}

#[tokio::test]
async fn what_a_provider_does_not_count_is_estimated() {
    let script = Script::new([Reply::said("forty-two")]);
    let completion = ask(&models(&script), "gateway").await.unwrap();
    assert_eq!(completion.usage, Usage { input_tokens: 5, output_tokens: 3 });
}

/// A model may have nothing to say, for example after the result of a tool.
#[tokio::test]
async fn an_answer_that_ends_and_says_nothing_is_an_empty_text() {
    let usage = json!({ "prompt_tokens": 39, "completion_tokens": 1, "total_tokens": 40 });
    let openai = |message: Value| {
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        json!({ "id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage })
    };
    let anthropic = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": "end_turn", "usage": { "input_tokens": 39, "output_tokens": 1 }
    });
    for (provider, answer) in [
        ("gateway", openai(json!({ "role": "assistant", "content": null }))),
        ("gateway", openai(json!({ "role": "assistant", "content": "", "refusal": null }))),
        ("gateway", openai(json!({ "role": "assistant", "tool_calls": [] }))),
        ("anthropic", anthropic),
    ] {
        let body = mend::whole(answer.to_string().into());
        let answer = String::from_utf8(body.to_vec()).unwrap();
        let script = Script::new([Reply::json(200, &answer), Reply::json(200, OPENAI)]);
        let models = models(&script);
        let completion = ask(&models, provider).await.unwrap();
        assert_eq!(completion.parts, [Part::Text(String::new())], "{answer}");
        assert_eq!(completion.stop, StopReason::End);
        assert_eq!(completion.usage, Usage { input_tokens: 39, output_tokens: 1 });
        assert_eq!(models.budgets.used(&spender()), (40, 40));
        // An agent may go on from there.
        let again = says(Role::User, Part::Text("And?".to_owned()));
        let silent = Message { role: Role::Assistant, parts: completion.parts };
        let messages = [question().messages, vec![silent, again]].concat();
        let request = CompletionRequest { messages, ..question() };
        models.complete(&spender(), &binding("gateway"), request).await.unwrap();
    }
    let end = OPENAI_STREAM.replace("Grüezi", "").replace(" mitenand", "");
    let models = models(&Script::new([Reply::events(&end)]));
    let (text, completion) = read(&models, "gateway").await.unwrap();
    assert_eq!((text.as_str(), completion.parts), ("", vec![Part::Text(String::new())]));
}

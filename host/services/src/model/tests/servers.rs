//! Faults that only a real connection has.

use super::*;
use crate::SystemResolver;
use crate::testing::{Step, Stub};

const IMPATIENT: Duration = Duration::from_millis(50);

fn models_at(stub: &Stub, change: impl FnOnce(&mut ModelConfig)) -> ModelProviders {
    let url = format!("http://{}/v1/", stub.address);
    let mut config = ModelConfig::new(vec![provider("stub", ProviderKind::OpenAi, &url)]);
    config.retry_window = Duration::ZERO;
    change(&mut config);
    ModelProviders::new(config, Network::new(SystemResolver), Arc::new(Kept::default()), None)
        .unwrap()
}

pub(super) fn answer(content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn unavailable<T: std::fmt::Debug>(outcome: Result<T, ModelError>) -> String {
    match outcome {
        Err(ModelError::Unavailable(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_completion_over_the_wire() {
    let stub = Stub::start(|_| vec![Step::Send(answer("application/json", formats::OPENAI))]).await;
    let models = models_at(&stub, |_| ());
    assert_eq!(ask(&models, "stub").await.unwrap().usage.output_tokens, 18);
    let request = &stub.requests()[0];
    assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{request}");
    assert!(
        request.to_ascii_lowercase().contains(&format!("host: {}\r\n", stub.address)),
        "{request}"
    );
}

#[tokio::test]
async fn a_provider_that_is_slow_huge_or_cut_off_is_unavailable() {
    let begun = || {
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
            .to_vec()
    };
    let huge = || {
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n".to_vec();
        answer.resize(1 << 20, b' ');
        answer
    };
    let cases: [(Vec<Step>, &str); 5] = [
        (vec![Step::Hang], "did not answer in time"),
        (vec![Step::Send(begun()), Step::Hang], "did not answer in time"),
        (vec![Step::Send(begun()), Step::Close], "broke off"),
        (vec![Step::Send(huge()), Step::Send(huge()), Step::Hang], "larger than 100000 bytes"),
        (vec![Step::Send(b"garbage\r\n\r\n".to_vec())], "`stub`"),
    ];
    for (steps, expected) in cases {
        let is_slow = expected.contains("time");
        let stub = Stub::start(move |_| steps.clone()).await;
        let models = models_at(&stub, |config| {
            config.answer_max_bytes = 100_000;
            if is_slow {
                (config.answer_timeout, config.silence_timeout) = (IMPATIENT, IMPATIENT);
            }
        });
        let text = unavailable(ask(&models, "stub").await);
        assert!(text.contains(expected), "{text}");
        let text = unavailable(read(&models, "stub").await);
        assert!(text.contains("`stub`"), "{text}");
    }
}

#[tokio::test]
async fn a_stream_without_an_end_is_bounded() {
    let piece = r#"data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"xxxxxxxxxxxxxxxx"}}]}"#;
    let many = format!("{piece}\n\n").repeat(1000);
    let endless_line = format!("data: {}", "x".repeat(200_000));
    for body in [many, endless_line] {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        let answer = format!("{head}{body}").into_bytes();
        let stub = Stub::start(move |_| vec![Step::Send(answer.clone()), Step::Hang]).await;
        let models = models_at(&stub, |config| config.answer_max_bytes = 100_000);
        let text = unavailable(read(&models, "stub").await);
        assert!(text.contains("larger than 100000 bytes"), "{text}");
    }
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let stub = Stub::saying("").await;
    let models =
        models_at(&stub, |config| config.providers[0].url = "http://127.0.0.1:1".to_owned());
    let text = unavailable(ask(&models, "stub").await);
    assert!(text.contains("cannot be reached"), "{text}");
}

#[tokio::test]
async fn completions_at_one_time_are_bounded() {
    let stub = Stub::start(|_| vec![Step::Hang]).await;
    let models = models_at(&stub, |config| config.completions_max = 1);
    let (spender, binding) = (spender(), binding("stub"));
    let mut first = models.complete(&spender, &binding, question());
    while stub.requests().is_empty() {
        assert!(futures::poll!(&mut first).is_pending());
        tokio::task::yield_now().await;
    }
    let mut second = models.complete(&spender, &binding, question());
    for _ in 0..100 {
        assert!(futures::poll!(&mut second).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(stub.connections(), 1);
    drop(first);
    while stub.connections() < 2 {
        assert!(futures::poll!(&mut second).is_pending());
        tokio::task::yield_now().await;
    }
}

/// What a model writes, as the agent sees it: it can tell the model what was wrong.
#[tokio::test]
async fn tool_calls_that_are_not_as_promised_reach_the_agent() {
    let call = |id: serde_json::Value, arguments: &str| json!({ "index": 0, "id": id, "type": "function", "function": { "name": "f", "arguments": arguments } });
    let whole = json!({
        "id": "1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": null,
            "tool_calls": [call(json!("c"), "{not json"), call(json!("c"), "[1]"), call(json!(null), "{}")],
        } }],
    });
    let stub =
        Stub::start(move |_| vec![Step::Send(answer("application/json", &whole.to_string()))])
            .await;
    let completion = ask(&models_at(&stub, |_| ()), "stub").await.unwrap();
    let calls: Vec<_> = completion
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::ToolCall { id, arguments, .. } => Some((id.clone(), arguments.as_str())),
            _ => None,
        })
        .collect();
    let written: Vec<_> = calls.iter().map(|(_, arguments)| *arguments).collect();
    assert_eq!(written, ["{not json", "[1]", "{}"]);
    assert!(calls[0].0 != calls[1].0 && calls[1].0 != calls[2].0, "{calls:?}");

    let chunk = |choice: serde_json::Value| {
        let chunk = json!({ "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice] });
        format!("data: {chunk}\n\n")
    };
    let stream = [
        chunk(json!({ "index": 0, "delta": { "role": "assistant", "tool_calls": [call(json!("c"), "{not")] } })),
        chunk(json!({ "index": 0, "delta": { "tool_calls": [{ "index": 0, "function": { "arguments": " json" } }] } })),
        chunk(json!({ "index": 0, "delta": {}, "finish_reason": "tool_calls" })),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let stub = Stub::start(move |_| vec![Step::Send(answer("text/event-stream", &stream))]).await;
    let completion = read(&models_at(&stub, |_| ()), "stub").await.unwrap();
    let text = format!("{completion:?}");
    assert!(text.contains("{not json"), "{text}");
}

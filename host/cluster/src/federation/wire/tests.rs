use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn passage() -> Passage {
    Passage { deadline_ms: 900, hops: 3, via: vec![Uuid::from_u128(7)], budget: 12, trace: None }
}

fn tool() -> ToolName {
    ToolName::new("textkit_measure").unwrap()
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    describe(&mut headers, &tool());
    headers
}

fn call() -> Bytes {
    let arguments: Box<RawValue> = serde_json::from_str(r#"{"text":"a b"}"#).unwrap();
    write_call(&tool(), &arguments, &passage()).unwrap()
}

#[test]
fn a_call_arrives_as_it_was_sent() {
    let (body, headers) = (call(), headers());
    let arrived = read_call(&body, &headers).unwrap();
    assert_eq!(arrived.tool, "textkit_measure");
    assert_eq!(arrived.arguments, r#"{"text":"a b"}"#);
    assert_eq!(arrived.passage, passage());
}

#[test]
fn headers_must_repeat_the_body_and_nothing_else_is_served() {
    let body = call();
    for (name, value) in [
        ("mcp-name", "other"),
        ("mcp-method", "tools/list"),
        ("mcp-protocol-version", "2025-11-25"),
    ] {
        let mut wrong = headers();
        wrong.insert(HeaderName::from_static(name), header(value));
        assert_eq!(read_call(&body, &wrong).err().unwrap().code, -32602, "{name}");
        wrong.remove(name);
        assert_eq!(read_call(&body, &wrong).err().unwrap().code, -32602, "{name}");
    }
    for (body, code) in [
        ("", -32700),
        ("[]", -32700),
        (r#"{"jsonrpc":"1.0","id":1,"method":"tools/call"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"tools/call"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, -32602),
    ] {
        assert_eq!(read_call(body.as_bytes(), &headers()).err().unwrap().code, code, "{body}");
    }
}

#[test]
fn every_kind_of_end_comes_back_as_it_was() {
    let id: Box<RawValue> = serde_json::from_str("1").unwrap();
    let output = |json: &str, shown| Output { json: serde_json::from_str(json).unwrap(), shown };
    let details = serde_json::from_str(r#"{"why":1}"#).unwrap();
    let ends = [
        Ok(output(r#"{"words":2}"#, Shown::Json)),
        Ok(output(r#""text""#, Shown::Text)),
        Ok(output(r#"[{"text":{}}]"#, Shown::Content)),
        Err(Failure::before_execution(ErrorCode::ResourceExhausted, "busy")
            .with_retry_after(Duration::from_millis(70))),
        Err(Failure::executed(ErrorCode::GuestError, "no").with_details(details)),
    ];
    for end in ends {
        let reply = Reply { id: CallId(Uuid::nil()), result: end, trace: None, session: None };
        let read = read_answer(&write_answer(&id, &reply, 3), "a.example");
        assert_eq!(read.calls, 3);
        let read = read.result;
        match (&reply.result, &read) {
            (Ok(sent), Ok(read)) => {
                assert_eq!((sent.json.get(), sent.shown), (read.json.get(), read.shown));
            }
            (Err(sent), Err(read)) => {
                assert_eq!(format!("{sent:?}"), format!("{read:?}"));
            }
            _ => unreachable!("{read:?}"),
        }
    }
}

#[test]
fn a_refused_call_did_not_run_and_nonsense_may_have() {
    let no = NoCall { id: None, code: -32602, message: "Unknown tool".to_owned() };
    let failure = read_answer(&write_error(&no), "a.example").result.unwrap_err();
    assert_eq!((failure.code, failure.executed), (ErrorCode::NotFound, false));
    for nonsense in
        ["", "{}", r#"{"result":{}}"#, r#"{"result":{"structuredContent":{"success":false}}}"#]
    {
        let failure = read_answer(nonsense.as_bytes(), "a.example").result.unwrap_err();
        assert_eq!((failure.code, failure.executed), (ErrorCode::BadOutput, true), "{nonsense}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read_call(&bytes, &headers()).is_err());
        prop_assert!(read_answer(&bytes, "a.example").result.is_err());
    }
}

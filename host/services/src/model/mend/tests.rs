use super::*;

fn message(calls: &Value, finish: &str) -> Value {
    json!({ "choices": [{ "index": 0, "message": { "tool_calls": calls }, "finish_reason": finish }] })
}

fn mended(answer: &Value) -> Value {
    serde_json::from_slice(&whole(answer.to_string().into())).unwrap()
}

fn call(id: &str, arguments: &str) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": arguments } })
}

#[test]
fn what_keeps_the_format_stays_byte_for_byte() {
    for body in ["", "no JSON", "[1]", r#"{"choices":7}"#, r#"{ "choices": [ null ] }"#] {
        assert_eq!(whole(Bytes::from(body)), body);
    }
    let good = format!("{:#}", message(&json!([call("a", "{}"), call("b", "")]), "tool_calls"));
    assert_eq!(whole(good.clone().into()), good);
}

#[test]
fn arguments_that_are_no_json_become_a_string() {
    let answer = mended(&message(&json!([call("a", "{not json"), call("b", "[1]")]), "tool_calls"));
    let calls = &answer["choices"][0]["message"]["tool_calls"];
    assert_eq!(calls[0]["function"]["arguments"], r#""{not json""#);
    assert_eq!(calls[1]["function"]["arguments"], "[1]");
    let cut = message(&json!([call("a", "{\"x\":")]), "length");
    assert_eq!(mended(&cut), cut, "a limit cut it off, not the model");
}

#[test]
fn calls_without_an_id_of_their_own_get_one() {
    let mut nameless = call("", "{}");
    nameless.as_object_mut().unwrap().remove("id");
    let calls = json!([call("a", "{}"), call("a", "{}"), nameless, call("call_1", "{}")]);
    let answer = mended(&message(&calls, "tool_calls"));
    let calls = answer["choices"][0]["message"]["tool_calls"].as_array().unwrap();
    let ids: BTreeSet<_> = calls.iter().map(|call| call["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert!(ids.contains("a"));
}

fn delta(delta: &Value, finish: Option<&str>) -> String {
    let choices = json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);
    format!("data: {}\n\n", json!({ "id": "1", "choices": choices }))
}

/// What a reader of the stream puts together: ids and arguments of its calls, text, and whether the end came last.
fn read(stream: &[u8]) -> (Vec<(String, String)>, String, bool) {
    let (mut calls, mut text, mut ended) =
        (BTreeMap::<u64, (String, String)>::new(), String::new(), false);
    for line in String::from_utf8(stream.to_vec()).unwrap().lines() {
        let Some(data) = line.strip_prefix("data:") else { continue };
        let Ok(chunk) = serde_json::from_str::<Value>(data) else { continue };
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
                assert!(!ended, "a call after the end");
                let kept = calls.entry(call["index"].as_u64().unwrap()).or_default();
                kept.0.push_str(call["id"].as_str().unwrap_or_default());
                kept.1.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
            }
            ended |= choice["finish_reason"].is_string();
        }
    }
    (calls.into_values().collect(), text, ended)
}

fn begins(index: u64, id: &str, arguments: &str) -> Value {
    json!({ "index": index, "id": id, "type": "function", "function": { "name": "f", "arguments": arguments } })
}

fn goes_on(index: u64, arguments: &str) -> Value {
    json!({ "index": index, "function": { "arguments": arguments } })
}

proptest::proptest! {
    #[test]
    fn a_stream_is_mended_wherever_it_is_cut(cuts in proptest::collection::vec(0_usize..900, 0..6)) {
        let stream = [
            ": a comment\n\n".to_owned(),
            delta(&json!({ "role": "assistant", "content": "He" }), None),
            delta(&json!({ "content": "y", "tool_calls": [begins(0, "a", "{not"), begins(1, "a", "{\"x\"")] }), None),
            delta(&json!({ "tool_calls": [goes_on(1, ":1}"), goes_on(0, " json")] }), None),
            delta(&json!({ "tool_calls": [begins(2, "", "nor this")] }), Some("tool_calls")),
            "data: [DONE]\n\n".to_owned(),
        ]
        .concat();
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for pair in cuts.windows(2) {
            out.extend_from_slice(&lines.push(&stream.as_bytes()[pair[0]..pair[1]]));
        }
        out.extend_from_slice(&lines.end());
        let (calls, text, ended) = read(&out);
        let arguments: Vec<_> = calls.iter().map(|(_, arguments)| arguments.as_str()).collect();
        proptest::prop_assert_eq!(arguments, ["\"{not json\"", "{\"x\":1}", "\"nor this\""]);
        let ids: BTreeSet<_> = calls.iter().map(|(id, _)| id.as_str()).collect();
        proptest::prop_assert!(ids.len() == 3 && ids.contains("a"), "{:?}", ids);
        proptest::prop_assert_eq!((text.as_str(), ended), ("Hey", true));
        proptest::prop_assert!(out.ends_with(b"data: [DONE]\n\n"));
    }
}

#[test]
fn a_stream_that_ends_without_saying_so_still_has_its_calls() {
    let mut lines = Lines::default();
    let mut out = lines
        .push(delta(&json!({ "tool_calls": [begins(0, "a", "no")] }), None).as_bytes())
        .to_vec();
    out.extend_from_slice(&lines.push(b"data: [DONE]\n"));
    assert_eq!(read(&out).0, [("a".to_owned(), "\"no\"".to_owned())]);
}

#[test]
fn a_stream_that_breaks_off_still_has_what_came_of_its_calls() {
    let mut lines = Lines::default();
    let begun = json!({ "tool_calls": [begins(0, "a", "{\"x\":"), begins(1, "b", "{}")] });
    let mut out = lines.push(delta(&begun, None).as_bytes()).to_vec();
    out.extend_from_slice(&lines.push(b"data: {\"cho"));
    out.extend_from_slice(&lines.end());
    let call = |id: &str, arguments: &str| (id.to_owned(), arguments.to_owned());
    assert_eq!(read(&out).0, [call("a", "\"{\\\"x\\\":\""), call("b", "{}")]);
    assert!(lines.end().is_empty(), "once");
}

#[test]
fn calls_of_no_shape_break_nothing() {
    for function in [json!("f"), json!([1]), json!(7), Value::Null, json!({ "arguments": 7 })] {
        let call = json!({ "index": 0, "id": "a", "function": function });
        let mut lines = Lines::default();
        let calls = json!({ "tool_calls": [call.clone(), function, "call"] });
        let out = lines.push(delta(&calls, Some("tool_calls")).as_bytes());
        assert!(!out.is_empty());
        let out = String::from_utf8(out.to_vec()).unwrap();
        assert!(out.contains(r#""arguments":"""#), "{out}");
        let _ = mended(&message(&json!([call, function, "call"]), "tool_calls"));
    }
}

#[test]
fn only_an_answer_that_ended_without_a_word_is_given_one() {
    let answer = |message: Value, finish: &str| json!({ "choices": [{ "index": 0, "message": message, "finish_reason": finish }] });
    let silent = mended(&answer(json!({ "role": "assistant", "content": null }), "stop"));
    assert_eq!(silent["choices"][0]["message"]["content"], SILENCE);
    for (message, finish) in [
        (json!({ "content": null }), "length"),
        (json!({ "content": null }), "content_filter"),
        (json!({ "content": "hello" }), "stop"),
        (json!({ "content": [{ "type": "text", "text": "hello" }] }), "stop"),
        (json!({ "content": null, "refusal": "no" }), "stop"),
        (json!({ "content": null, "reasoning_content": "hm" }), "stop"),
        (json!({ "content": null, "tool_calls": [call("a", "{}")] }), "stop"),
        (json!(null), "stop"),
    ] {
        let same = answer(message, finish);
        assert_eq!(mended(&same), same);
    }
}

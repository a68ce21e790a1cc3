use aop_core::bucket::SessionId;
use aop_core::{CallId, ErrorCode, Failure, Output, Reply, Shown};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, ToolResult};

fn result(result: Result<Output, Failure>) -> Value {
    mapped(result, false)
}

fn mapped(result: Result<Output, Failure>, enveloped: bool) -> Value {
    let session = SessionId::new("s-1");
    let reply = Reply { id: CallId(Uuid::nil()), result, trace: None, session };
    let answer = Answer::new(reply, enveloped);
    let mapped = ToolResult::new(&answer, true);
    let value = serde_json::to_value(&mapped).unwrap();
    assert_eq!(
        serde_json::to_value(mapped.to_rmcp().unwrap()).unwrap(),
        value,
        "both types say the same"
    );
    value
}

fn output(json: &str, shown: Shown) -> Result<Output, Failure> {
    Ok(Output { json: RawValue::from_string(json.to_owned()).unwrap(), shown })
}

#[test]
fn text_is_read_as_it_is_and_values_as_json() {
    let text = |value: &Value| value["content"][0]["text"].as_str().unwrap().to_owned();
    assert_eq!(text(&result(output(r#""a\n\"b\"""#, Shown::Text))), "a\n\"b\"");
    assert_eq!(text(&result(output(r#""a""#, Shown::Json))), "\"a\"");
    assert_eq!(text(&result(output(r#"{"a":[1.5,null]}"#, Shown::Json))), r#"{"a":[1.5,null]}"#);
    assert_eq!(
        text(&result(output("7", Shown::Text))),
        "7",
        "a value is never mistaken for a string"
    );
}

#[test]
fn is_error_exactly_when_not_successful() {
    let good = result(output("null", Shown::Json));
    assert_eq!(
        (&good["isError"], &good["structuredContent"]),
        (&json!(false), &json!({ "success": true, "result": null }))
    );
    for code in ErrorCode::ALL {
        let bad = result(Err(Failure::executed(code, "no")));
        assert_eq!(
            (&bad["isError"], &bad["structuredContent"]["success"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(bad["structuredContent"]["code"], code.as_str());
        assert_eq!(bad["content"][0]["text"], "no");
    }
}

#[test]
fn floats_come_out_as_they_went_in() {
    for number in [
        "0.1",
        "3.1415926535897931",
        "1e300",
        "5e-324",
        "2.2250738585072011e-308",
        "9007199254740993",
    ] {
        let value = result(output(number, Shown::Json));
        let expected: Value = serde_json::from_str(number).unwrap();
        assert_eq!(value["structuredContent"]["result"], expected);
    }
}

#[test]
fn content_goes_out_as_it_is() {
    let block = r#"{"tag":"image","val":{"data":"AAE=","mime_type":"image/png"}}"#;
    let expected = json!([{ "type": "image", "data": "AAE=", "mimeType": "image/png" }]);
    let shown = result(output(block, Shown::Content));
    assert_eq!((&shown["content"], &shown["isError"]), (&expected, &json!(false)));
    assert!(shown.get("structuredContent").is_none());
    assert_eq!(shown["_meta"]["aop/session"], "s-1");
    let shown = mapped(output(&format!("[{block}]"), Shown::Content), true);
    assert_eq!(shown["content"], expected);
    assert_eq!(shown["structuredContent"]["result"][0]["tag"], "image");
}

#[test]
fn content_that_lies_is_a_failure_of_the_agent() {
    let block = r#"{"tag":"image","val":{"data":"AAE=","mime_type":"text/html"}}"#;
    let bad = result(output(block, Shown::Content));
    assert_eq!(bad["structuredContent"]["code"], "bad_output");
    assert_eq!(bad["isError"], true);
    assert!(bad["content"][0]["text"].as_str().unwrap().contains("text/html"));
}

use aop_core::{CallId, ErrorCode, Failure, Output, Reply};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::ToolResult;

fn result(result: Result<Output, Failure>) -> Value {
    let reply = Reply { id: CallId(Uuid::nil()), result, trace: None };
    let mapped = ToolResult::new(&reply, true);
    let value = serde_json::to_value(&mapped).unwrap();
    assert_eq!(
        serde_json::to_value(mapped.to_rmcp().unwrap()).unwrap(),
        value,
        "both types say the same"
    );
    value
}

fn output(json: &str, is_text: bool) -> Result<Output, Failure> {
    Ok(Output { json: RawValue::from_string(json.to_owned()).unwrap(), is_text })
}

#[test]
fn text_is_read_as_it_is_and_values_as_json() {
    let text = |value: &Value| value["content"][0]["text"].as_str().unwrap().to_owned();
    assert_eq!(text(&result(output(r#""a\n\"b\"""#, true))), "a\n\"b\"");
    assert_eq!(text(&result(output(r#""a""#, false))), "\"a\"");
    assert_eq!(text(&result(output(r#"{"a":[1.5,null]}"#, false))), r#"{"a":[1.5,null]}"#);
    assert_eq!(text(&result(output("7", true))), "7", "a value is never mistaken for a string");
}

#[test]
fn is_error_exactly_when_not_successful() {
    let good = result(output("null", false));
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
        let value = result(output(number, false));
        let expected: Value = serde_json::from_str(number).unwrap();
        assert_eq!(value["structuredContent"]["result"], expected);
    }
}

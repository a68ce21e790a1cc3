use aop_agent::testing::Script;
use serde_json::json;

use super::*;

fn call(name: &str, arguments: &str) -> ToolCall {
    ToolCall { id: "1".to_owned(), name: name.to_owned(), arguments: arguments.to_owned() }
}

#[test]
fn with_too_many_tools_those_that_fit_are_taken() {
    let mut host = Script::new();
    for number in 0..40 {
        host = host.tool(&format!("noise_{number}"), "Makes noise.", |_| Ok(json!(null)));
    }
    host = host.tool("dates_add", "Adds days to a date.", |_| Ok(json!(null)));
    host.run(|| {
        let toolbox = Toolbox::fill("date").unwrap();
        assert_eq!(toolbox.0.keys().collect::<Vec<_>>(), ["dates_add"]);
        assert_eq!(Toolbox::fill("noise").unwrap().offers().len(), TOOLS_MAX as usize);
    });
}

#[test]
fn long_answers_are_cut_between_characters() {
    let host = Script::new().tool("a_b", "Says ä.", |_| Ok(json!("ä".repeat(ANSWER_MAX_BYTES))));
    host.run(|| {
        let results = Toolbox::fill("").unwrap().call(&[call("a_b", "")]);
        let text = &results[0].text;
        assert!(text.len() < ANSWER_MAX_BYTES + 64 && text.ends_with("bytes left out]"), "{text}");
    });
}

#[test]
fn arguments_that_are_no_json_are_the_models_to_mend() {
    let host = Script::new().tool("a_b", "Does.", |_| Ok(json!("done")));
    let (results, seen) =
        host.run(|| Toolbox::fill("").unwrap().call(&[call("a_b", "{oops"), call("a_b", "{}")]));
    assert!(results[0].is_error && results[0].text.contains("invalid_arguments"));
    assert_eq!(results[1].text, r#""done""#);
    assert_eq!(seen.calls.len(), 2);
}

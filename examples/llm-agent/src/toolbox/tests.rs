use std::rc::Rc;

use aop_agent::testing::{self, Host, Script};
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
fn a_task_that_shares_no_word_with_too_many_tools_gets_the_first_by_name() {
    let mut host = Script::new();
    for number in (0..40).rev() {
        host = host.tool(&format!("noise_{number:02}"), "Makes noise.", |_| Ok(json!(null)));
    }
    host.run(|| {
        let offers = Toolbox::fill("What is the weather?").unwrap().offers();
        let names: Vec<_> = offers.into_iter().map(|tool| tool.name).collect();
        let first: Vec<_> = (0..TOOLS_MAX).map(|number| format!("noise_{number:02}")).collect();
        assert_eq!(names, first);
    });
}

/// A host whose policy permits no tools, or whose search is broken.
struct Refusing(&'static str);

impl Host for Refusing {
    fn discover(&self, _: &str, _: Option<u32>) -> Result<Vec<Summary>, Failure> {
        Err(Failure::new(self.0, "the agent's policy permits no tools"))
    }
}

#[test]
fn without_a_permitted_tool_there_is_an_empty_toolbox() {
    let results = testing::run(Rc::new(Refusing("permission_denied")), || {
        let toolbox = Toolbox::fill("anything").unwrap();
        assert_eq!(toolbox.offers(), []);
        toolbox.call(&[call("a_b", "{}")])
    });
    assert!(results[0].is_error);
    assert_eq!(results[0].text, "there is no tool `a_b`, nor any other");
    let broken = testing::run(Rc::new(Refusing("internal")), || Toolbox::fill("anything").err());
    assert!(broken.unwrap().contains("internal"));
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

use aop_agent::testing::Script;
use serde_json::json;

use super::*;
use crate::work;

fn team() -> Script {
    Script::new().tool("textkit_measure", "Count words of a text.", |arguments| {
        Ok(json!({ "words": arguments["text"].as_str().unwrap().split(' ').count() }))
    })
}

const PLAN: &str = r#"Here you are:
```json
{"stages": [[{"goal": "count", "tool": "textkit_measure", "arguments": {"text": "$material"}}]]}
```"#;

#[test]
fn the_model_plans_the_tools_work_and_the_model_answers() {
    let (done, seen) = team().says(PLAN).says("Three words.").run(|| work("How long?", "a b c"));
    let (answer, outcomes) = done.unwrap();
    assert_eq!(answer, "Three words.");
    assert_eq!(outcomes[0].answer.as_deref(), Ok(r#"{"words":3}"#));
    assert_eq!(seen.calls[0].arguments, r#"{"text":"a b c"}"#);
    assert_eq!(seen.requests.len(), 2);
}

#[test]
fn a_plan_that_breaks_a_rule_goes_back_once() {
    let host = team().says("I would rather not.").says(PLAN).says("Three.");
    let (done, seen) = host.run(|| work("How long?", "a b c"));
    assert_eq!(done.unwrap().0, "Three.");
    assert_eq!(seen.requests[1].messages.len(), 4);
    let unknown = PLAN.replace("textkit_measure", "textkit_delete");
    let host = team().says(&unknown).says(&unknown);
    let error = host.run(|| work("How long?", "")).0.unwrap_err();
    assert_eq!(error, "the model wrote no plan: there is no tool `textkit_delete`");
}

#[test]
fn what_a_model_writes_is_bounded() {
    let tools = [ToolDefinition {
        name: "a_b".to_owned(),
        description: String::new(),
        input_schema: "{}".to_owned(),
    }];
    for wrong in ["", "{", "}{", "{}", r#"{"stages": []}"#, r#"{"stages": [[]]}"#] {
        assert!(read(wrong, &tools).is_err(), "{wrong}");
    }
    let step = json!({ "goal": "g", "tool": "a_b" });
    let plan = |stages: usize, steps: usize| {
        json!({ "stages": vec![vec![step.clone(); steps]; stages] }).to_string()
    };
    assert_eq!(read(&plan(2, 2), &tools).unwrap().len(), 2);
    assert!(read(&plan(STAGES_MAX + 1, 1), &tools).is_err());
    assert!(read(&plan(1, STEPS_MAX + 1), &tools).is_err());
}

#[test]
fn without_anybody_to_delegate_to_there_is_no_plan() {
    let error = Script::new().says(PLAN).run(|| work("How long?", "")).0.unwrap_err();
    assert!(error.contains("policy"), "{error}");
}

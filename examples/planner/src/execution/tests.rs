use aop_agent::testing::Script;
use aop_agent::tools::Failure;
use serde_json::{Map, json};

use super::*;

fn step(goal: &str, tool: &str, text: &str) -> Step {
    let arguments = Map::from_iter([("text".to_owned(), json!(text))]);
    Step { goal: goal.to_owned(), call: Ok(Call { tool: tool.to_owned(), arguments }) }
}

#[test]
fn stages_build_on_each_other_and_failures_stay_alone() {
    let host = Script::new()
        .tool("case_up", "Capitals.", |arguments| {
            Ok(json!({ "text": arguments["text"].as_str().unwrap().to_uppercase(), "changed": 1 }))
        })
        .tool("case_fail", "Fails.", |_| Err(Failure::new("guest_error", "no")))
        .tool("case_count", "Counts.", |arguments| {
            Ok(json!(arguments["text"].as_str().unwrap().len()))
        });
    let unassigned = Step { goal: "paint".to_owned(), call: Err("nobody paints".to_owned()) };
    let stages = vec![
        vec![step("shout", "case_up", MATERIAL), step("fail", "case_fail", "x"), unassigned],
        vec![step("count", "case_count", ANSWER), step("again", "case_up", MATERIAL)],
    ];
    let (outcomes, seen) = host.run(|| run(stages, "ab"));
    let answers: Vec<_> = outcomes
        .iter()
        .map(|outcome| match &outcome.answer {
            Ok(text) | Err(text) => text.as_str(),
        })
        .collect();
    assert_eq!(answers, ["AB", "no (guest_error)", "nobody paints", "2", "AB"]);
    assert_eq!(outcomes[2].tool, None);
    assert_eq!(seen.progress.len(), 2);
    assert_eq!(seen.progress[1].2, "stage 2 of 2: 2 steps");
}

#[test]
fn answers_become_text() {
    assert_eq!(text(&json!("plain")), "plain");
    assert_eq!(text(&json!({ "summary": "short", "ratio": 0.5 })), "short");
    assert_eq!(text(&json!({ "sentences": ["One.", "Two."], "of_sentences": 9 })), "One. Two.");
    assert_eq!(text(&json!({ "a": "x", "b": "y" })), r#"{"a":"x","b":"y"}"#);
    assert_eq!(text(&json!([1, 2])), "[1,2]");
}

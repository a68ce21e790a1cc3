use aop_agent::testing::Script;
use serde_json::json;

use super::*;
use crate::work;

fn team() -> Script {
    Script::new()
        .tool("textkit_measure", "Count words of a text.", |_| Ok(json!({ "words": 3 })))
        .tool("textkit_summarize", "Summarize a text.", |_| Ok(json!({ "summary": "Short." })))
}

#[test]
fn every_line_is_a_step_and_then_waits() {
    team().run(|| {
        let stages = plan("summarize it; count words\n\nThen, count words\npaint it").unwrap();
        let goals: Vec<Vec<&str>> = stages
            .iter()
            .map(|stage| stage.iter().map(|step| step.goal.as_str()).collect())
            .collect();
        assert_eq!(goals, [vec!["summarize it", "count words"], vec!["count words", "paint it"]]);
        assert!(stages[1][1].call.is_err());
    });
}

#[test]
fn plans_are_bounded() {
    team().run(|| {
        assert!(plan(&"count words;".repeat(STEPS_MAX + 1)).unwrap_err().contains("64"));
        assert!(plan(&"then count words;".repeat(STAGES_MAX + 1)).unwrap_err().contains("stages"));
    });
}

#[test]
fn without_a_model_the_answers_are_put_together() {
    let (done, seen) = team().run(|| work("summarize it\ncount words\npaint it", "One two three."));
    let (answer, outcomes) = done.unwrap();
    assert_eq!(
        answer,
        "summarize it: Short.\n\ncount words: {\"words\":3}\n\npaint it: not done, no agent that may be called does this"
    );
    assert_eq!(outcomes.len(), 3);
    assert_eq!(seen.requests, []);
    assert!(team().run(|| work(" ", "")).0.unwrap_err().contains("empty"));
}

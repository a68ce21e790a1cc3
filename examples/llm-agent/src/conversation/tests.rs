use aop_agent::model::{ModelError, Part, Role};
use aop_agent::testing::Script;
use aop_agent::tools::Failure;
use serde_json::json;

use super::*;

fn counting() -> Script {
    Script::new().tool("textkit_measure", "Counts words.", |arguments| {
        match arguments["text"].as_str() {
            Some(text) => Ok(json!({ "words": text.split_whitespace().count() })),
            None => Err(Failure::new("invalid_arguments", "`text` is missing")),
        }
    })
}

#[test]
fn a_model_without_tools_just_answers() {
    let (answer, seen) = Script::new().says("Paris.").run(|| hold("The capital of France?", &[]));
    assert_eq!(answer.unwrap(), "Paris.");
    assert_eq!(seen.requests[0].tools, []);
}

#[test]
fn tools_are_offered_called_and_read() {
    let host = counting()
        .asks_for("textkit_measure", &json!({ "text": "one two three" }))
        .says("Three words.");
    let (answer, seen) = host.run(|| hold("How many words?", &[]));
    assert_eq!(answer.unwrap(), "Three words.");
    assert_eq!(seen.requests[0].tools[0].name, "textkit_measure");
    let [_, asked, answered] = &seen.requests[1].messages[..] else { panic!("{seen:?}") };
    assert_eq!((asked.role, answered.role), (Role::Assistant, Role::User));
    let Part::ToolResult(result) = &answered.parts[0] else { panic!("{answered:?}") };
    assert_eq!((result.text.as_str(), result.is_error), (r#"{"words":3}"#, false));
    assert_eq!(seen.progress[0].2, "calling textkit_measure");
}

#[test]
fn a_model_that_errs_is_told_and_may_try_again() {
    let host = counting()
        .asks_for("textkit_mesure", &json!({ "text": "a b" }))
        .asks_for("textkit_measure", &json!({ "words": "a b" }))
        .asks_for("textkit_measure", &json!({ "text": "a b" }))
        .says("Two.");
    let (answer, seen) = host.run(|| hold("How many words?", &[]));
    assert_eq!(answer.unwrap(), "Two.");
    // What does not exist is not called.
    assert_eq!(seen.calls.len(), 2);
    let errors = seen.requests[3].messages.iter().flat_map(|message| &message.parts);
    let errors: Vec<_> = errors
        .filter_map(|part| match part {
            Part::ToolResult(result) if result.is_error => Some(result.text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(
        errors,
        [
            "there is no tool `textkit_mesure`, only textkit_measure",
            "`text` is missing (invalid_arguments)"
        ]
    );
}

#[test]
fn rounds_are_bounded() {
    let mut host = counting().max_loops(3);
    for _ in 0..5 {
        host = host.asks_for("textkit_measure", &json!({ "text": "a" }));
    }
    let (answer, seen) = host.run(|| hold("Count for ever", &[]));
    assert!(answer.unwrap_err().contains("3 rounds"));
    assert_eq!(seen.requests.len(), 3);
}

#[test]
fn calls_of_one_message_are_bounded() {
    let call = |number: usize| ToolCall {
        id: number.to_string(),
        name: "textkit_measure".to_owned(),
        arguments: r#"{"text":"a"}"#.to_owned(),
    };
    let calls: Vec<ToolCall> = (0..CALLS_MAX + 2).map(call).collect();
    let (results, seen) = counting().run(|| super::call(&Toolbox::fill("").unwrap(), &calls));
    assert_eq!(seen.calls.len(), CALLS_MAX);
    assert_eq!(results.iter().filter(|result| result.is_error).count(), 2);
    assert!(results.iter().zip(&calls).all(|(result, call)| result.id == call.id));
}

#[test]
fn what_cannot_be_answered_says_why() {
    let run = |host: Script| host.run(|| hold("Anything", &[])).0.unwrap_err();
    assert!(run(Script::new()).contains("[model]"));
    assert!(run(Script::new().says(" ")).contains("said nothing"));
    let busy = Script::new().completes(Err(ModelError::Unavailable("no route".to_owned())));
    assert_eq!(run(busy), "no route");
    assert!(Script::new().says("x").run(|| hold(" ", &[])).0.unwrap_err().contains("empty"));
}

#[test]
fn a_conversation_goes_on_where_it_was() {
    let host = Script::new().config("memory", "1").says("Paris.").says("Rome.").says("Oslo.");
    let (_, seen) = host.run(|| {
        for task in ["France?", "Italy?", "Norway?"] {
            hold(task, &[]).unwrap();
        }
    });
    let told: Vec<usize> = seen.requests.iter().map(|request| request.messages.len()).collect();
    // Nothing before, then one exchange, of which only the last is kept.
    assert_eq!(told, [1, 3, 3]);
    assert_eq!(seen.requests[2].messages[0], Message::user("Italy?"));
    let host = Script::new().config("memory", "many").says("x");
    assert!(host.run(|| hold("Spain?", &[])).0.unwrap_err().contains("memory"));
}

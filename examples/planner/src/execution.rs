//! Carries out a plan: the steps of a stage at once, stage after stage.

use aop_agent::tools::{self, Invocation};
use aop_agent::{log, progress};
use serde_json::Value;

use crate::plan::{ANSWER, Call, MATERIAL, Stage, Step};

/// What became of a step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) goal: String,
    pub(crate) tool: Option<String>,
    /// As text; or why there is none.
    pub(crate) answer: Result<String, String>,
}

/// Runs all stages. A step that fails takes nobody with it.
pub(crate) fn run(stages: Vec<Stage>, material: &str) -> Vec<Outcome> {
    let count = stages.len();
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut answers = material.to_owned();
    for (number, stage) in stages.into_iter().enumerate() {
        let steps = stage.len();
        let done = run_stage(stage, material, &answers);
        let texts = done.iter().filter_map(|outcome| outcome.answer.as_deref().ok());
        answers = texts.collect::<Vec<_>>().join("\n");
        outcomes.extend(done);
        let message = format!("stage {} of {count}: {steps} steps", number + 1);
        // Progress is a courtesy: the work does not fail for it.
        if let Err(rule) = progress::report((number + 1) as f64, count as f64, message) {
            log::debug(rule);
        }
    }
    outcomes
}

fn run_stage(stage: Stage, material: &str, answers: &str) -> Vec<Outcome> {
    let invocation = |call: &Call| {
        let filled_in = call.arguments.iter().map(|(name, value)| {
            let value = match value.as_str() {
                Some(MATERIAL) => Value::from(material),
                Some(ANSWER) => Value::from(answers),
                _ => value.clone(),
            };
            (name.clone(), value)
        });
        let arguments: Value = filled_in.collect::<serde_json::Map<_, _>>().into();
        Invocation { tool: call.tool.clone(), arguments: arguments.to_string() }
    };
    let calls: Vec<Invocation> =
        stage.iter().filter_map(|step| step.call.as_ref().ok().map(invocation)).collect();
    let mut results = tools::call_many::<Value>(&calls).into_iter();
    let outcome = |Step { goal, call }: Step| match call {
        Err(why) => Outcome { goal, tool: None, answer: Err(why) },
        Ok(call) => {
            let answer = match results.next() {
                Some(Ok(value)) => Ok(text(&value)),
                Some(Err(failure)) => Err(failure.to_string()),
                None => Err("the host gave no answer".to_owned()),
            };
            Outcome { goal, tool: Some(call.tool), answer }
        }
    };
    stage.into_iter().map(outcome).collect()
}

/// What a tool answered as text for the next: text stays as it is, also where it is all there is in an object.
fn text(value: &Value) -> String {
    let words = match value {
        Value::Object(members) => {
            let mut texts = members.values().filter_map(words);
            texts.next().filter(|_| texts.next().is_none())
        }
        _ => words(value),
    };
    words.unwrap_or_else(|| value.to_string())
}

/// Text, or the texts of a list.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if !items.is_empty() => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            texts.map(|texts| texts.join(" "))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;

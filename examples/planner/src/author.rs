//! The plan that a model writes, and its words on what came of it.
//!
//! A plan of a model is checked like any text from outside: it may only name tools that the planner may call,
//! and it is bounded. A plan that breaks a rule goes back to the model with the rule, once.

use aop_agent::model::{Request, ToolDefinition};
use aop_agent::tools;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::execution::Outcome;
use crate::plan::{ANSWER, Call, MATERIAL, STAGES_MAX, STEPS_MAX, Stage, Step};

/// Tools that the model chooses from: what it still reads with care.
const TOOLS_MAX: u32 = 32;
/// How often a model may write a plan.
const ATTEMPTS_MAX: usize = 2;
/// As much of the material as the model sees for planning: the tools get all of it.
const GLIMPSE_MAX_BYTES: usize = 2 << 10;

#[derive(Deserialize)]
struct Written {
    stages: Vec<Vec<WrittenStep>>,
}

#[derive(Deserialize)]
struct WrittenStep {
    goal: String,
    tool: String,
    #[serde(default)]
    arguments: Map<String, Value>,
}

/// Lets the model plan a task with the tools that fit it.
pub(crate) fn plan(task: &str, material: &str) -> Result<Vec<Stage>, String> {
    let tools = offers(task)?;
    let mut request = Request::new().system(instructions(&tools)).user(format!(
        "The task:\n{task}\n\nThe material begins like this:\n{}",
        &material[..material.floor_char_boundary(GLIMPSE_MAX_BYTES)]
    ));
    let mut rule = String::new();
    for _ in 0..ATTEMPTS_MAX {
        let completion = request.complete().map_err(|error| error.to_string())?;
        let text = completion.text();
        match read(&text, &tools) {
            Ok(stages) => return Ok(stages),
            Err(broken) => {
                request = request.assistant(text).user(format!("That is no plan: {broken}."));
                rule = broken;
            }
        }
    }
    Err(format!("the model wrote no plan: {rule}"))
}

/// Lets the model answer the task from what came of it.
pub(crate) fn answer(task: &str, outcomes: &[Outcome]) -> Result<String, String> {
    let told: Vec<Value> = outcomes
        .iter()
        .map(|outcome| match &outcome.answer {
            Ok(answer) => json!({ "step": outcome.goal, "answer": answer }),
            Err(why) => json!({ "step": outcome.goal, "failed": why }),
        })
        .collect();
    let request = Request::new()
        .system(
            "Answer the task from what its steps gave. Say what could not be done. Add nothing.",
        )
        .user(format!("The task:\n{task}\n\nThe steps:\n{}", Value::from(told)));
    Ok(request.complete().map_err(|error| error.to_string())?.text())
}

fn offers(task: &str) -> Result<Vec<ToolDefinition>, String> {
    let all = tools::discover("", TOOLS_MAX + 1).map_err(|failure| failure.to_string())?;
    let found = if all.len() > TOOLS_MAX as usize {
        tools::discover(task, TOOLS_MAX).map_err(|failure| failure.to_string())?
    } else {
        all
    };
    let definitions = found.iter().map(|tool| tools::describe(&tool.name));
    let definitions = definitions.collect::<Result<Vec<_>, _>>();
    let definitions = definitions.map_err(|failure| failure.to_string())?;
    if definitions.is_empty() {
        return Err(
            "there is nobody to delegate to: the planner's policy permits no tool".to_owned()
        );
    }
    Ok(definitions.into_iter().map(ToolDefinition::from).collect())
}

fn instructions(tools: &[ToolDefinition]) -> String {
    let line = |tool: &ToolDefinition| {
        format!("- {}: {} Arguments: {}", tool.name, tool.description, tool.input_schema)
    };
    let tools = tools.iter().map(line).collect::<Vec<_>>().join("\n");
    format!(
        r#"You plan work for these tools:
{tools}

Answer with JSON only: {{"stages": [[{{"goal": "what the step is for", "tool": "name", "arguments": {{}}}}]]}}. The steps of a stage run at the same time, the stages one after the other. Where an argument is to be the whole material, write "{MATERIAL}"; where it is to be the answers of the stage before, write "{ANSWER}". At most {STEPS_MAX} steps in {STAGES_MAX} stages; use as few as the task needs."#
    )
}

/// A plan from the text of a model, which likes to wrap JSON in a fence.
fn read(text: &str, tools: &[ToolDefinition]) -> Result<Vec<Stage>, String> {
    let (Some(start), Some(end)) = (text.find('{'), text.rfind('}')) else {
        return Err("it holds no JSON object".to_owned());
    };
    let written: Written = serde_json::from_str(text.get(start..=end).unwrap_or_default())
        .map_err(|error| error.to_string())?;
    if written.stages.iter().all(Vec::is_empty) {
        return Err("it has no steps".to_owned());
    }
    if written.stages.len() > STAGES_MAX
        || written.stages.iter().map(Vec::len).sum::<usize>() > STEPS_MAX
    {
        return Err(format!("it has more than {STEPS_MAX} steps or {STAGES_MAX} stages"));
    }
    let step = |step: WrittenStep| {
        if !tools.iter().any(|tool| tool.name == step.tool) {
            return Err(format!("there is no tool `{}`", step.tool));
        }
        let call = Call { tool: step.tool, arguments: step.arguments };
        Ok(Step { goal: step.goal, call: Ok(call) })
    };
    written.stages.into_iter().map(|stage| stage.into_iter().map(step).collect()).collect()
}

#[cfg(test)]
mod tests;

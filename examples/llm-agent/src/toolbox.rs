//! The tools that the model is offered: those that the agent's policy permits.

use std::collections::BTreeMap;

use aop_agent::log;
use aop_agent::model::{ToolCall, ToolDefinition, ToolResult};
use aop_agent::tools::{self, Definition, Failure, Invocation, Summary};

/// Tools that are offered at once. Models choose badly among more, and each costs tokens in every round.
const TOOLS_MAX: u32 = 32;
/// As much of an answer as the model reads: the rest would push the task out of its sight.
const ANSWER_MAX_BYTES: usize = 32 << 10;

/// See the module's documentation.
pub(crate) struct Toolbox(BTreeMap<String, Definition>);

impl Toolbox {
    /// Takes all the tools that the agent may call, or, when there are too many, those that fit the task. A task that
    /// shares no word with any of them still needs some: it gets the first by name.
    pub(crate) fn fill(task: &str) -> Result<Self, String> {
        let mut chosen = find("", TOOLS_MAX + 1)?;
        if chosen.len() > TOOLS_MAX as usize {
            let fitting = find(task, TOOLS_MAX)?;
            if fitting.is_empty() {
                // Hosts list by name.
                chosen.truncate(TOOLS_MAX as usize);
            } else {
                chosen = fitting;
            }
        }
        let mut definitions = BTreeMap::new();
        for tool in chosen {
            match tools::describe(&tool.name) {
                Ok(definition) => {
                    definitions.insert(tool.name, definition);
                }
                // It left in between.
                Err(failure) => log::warn(format!("{}: {failure}", tool.name)),
            }
        }
        Ok(Self(definitions))
    }

    /// As the model sees them.
    pub(crate) fn offers(&self) -> Vec<ToolDefinition> {
        self.0.values().cloned().map(ToolDefinition::from).collect()
    }

    /// Calls tools at once. What cannot be called gets a result that says why.
    pub(crate) fn call(&self, calls: &[ToolCall]) -> Vec<ToolResult> {
        let checked: Vec<Result<Invocation, String>> =
            calls.iter().map(|call| self.check(call)).collect();
        let legal: Vec<Invocation> = checked.iter().filter_map(|c| c.clone().ok()).collect();
        let mut answers = tools::call_many_json(&legal).into_iter();
        let result = |(call, checked): (&ToolCall, Result<Invocation, String>)| match checked {
            Err(why) => call.error(why),
            Ok(_) => match answers.next() {
                Some(Ok(answer)) => call.result(cut(answer)),
                Some(Err(failure)) => call.error(cut(in_words(&failure))),
                None => call.error("the host gave no answer"),
            },
        };
        calls.iter().zip(checked).map(result).collect()
    }

    /// A model may name tools that do not exist; calls of those must not leave the agent.
    fn check(&self, call: &ToolCall) -> Result<Invocation, String> {
        if self.0.is_empty() {
            return Err(format!("there is no tool `{}`, nor any other", call.name));
        }
        if !self.0.contains_key(&call.name) {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            return Err(format!("there is no tool `{}`, only {}", call.name, known.join(", ")));
        }
        // Some models leave the arguments of a tool without parameters empty.
        let text = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
        Ok(Invocation { tool: call.name.clone(), arguments: text.to_owned() })
    }
}

/// Searches what the agent may call. A policy that permits no tools makes an agent without any, which still has its
/// model.
fn find(query: &str, limit: u32) -> Result<Vec<Summary>, String> {
    match tools::discover(query, limit) {
        Err(failure) if failure.code == "permission_denied" => Ok(Vec::new()),
        found => found.map_err(|failure| failure.to_string()),
    }
}

/// What a model needs to do better: what is wrong, and in which argument.
fn in_words(failure: &Failure) -> String {
    match &failure.details {
        Some(details) => format!("{failure}: {details}"),
        None => failure.to_string(),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > ANSWER_MAX_BYTES {
        let end = text.floor_char_boundary(ANSWER_MAX_BYTES);
        let left_out = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("\n[{left_out} bytes left out]"));
    }
    text
}

#[cfg(test)]
mod tests;

//! The loop: the model speaks, its tools are called, it reads what they answered, until it is done.
//!
//! It is bounded by `max_loops` of the settings, by the deadline of the call and by the token budgets, which
//! the host keeps. A model may ask for a tool that does not exist or with arguments that are no JSON; it is
//! told so and may try again, within the same bounds.

use aop_agent::model::{self, Completion, Message, Request, StopReason, ToolCall, ToolResult};
use aop_agent::{log, progress};

use crate::images;
use crate::memory::Memory;
use crate::toolbox::Toolbox;

/// Tools that are called for one message of the model; more at once is a model that went astray.
const CALLS_MAX: usize = 32;

/// Does a task and gives the answer.
pub(crate) fn hold(task: &str, images: &[String]) -> Result<String, String> {
    if task.trim().is_empty() {
        return Err("the task is empty: say what to do".to_owned());
    }
    let Some(binding) = model::bound() else {
        return Err("no model is bound to this agent: its settings need a [model]".to_owned());
    };
    let toolbox = Toolbox::fill(task)?;
    let mut memory = Memory::open()?;
    let mut request = memory.recall(Request::new()).message(images::attach(task, images)?);
    request.tools = toolbox.offers();
    for round in 0..binding.max_loops {
        let completion = request.complete().map_err(|error| error.to_string())?;
        let calls: Vec<ToolCall> = completion.tool_calls().cloned().collect();
        if calls.is_empty() {
            let answer = answer(&completion)?;
            memory.keep(task, &answer)?;
            return Ok(answer);
        }
        tell(round, binding.max_loops, &calls);
        request =
            request.message(completion.message()).message(Message::results(call(&toolbox, &calls)));
    }
    Err(format!(
        "no answer within {} rounds: make the task smaller, or raise `max_loops` in the agent's [model]",
        binding.max_loops
    ))
}

/// What the model said in the end.
fn answer(completion: &Completion) -> Result<String, String> {
    let text = completion.text();
    match completion.stop {
        StopReason::Filtered => Err("the model's provider withheld the answer".to_owned()),
        StopReason::Length if text.is_empty() => {
            Err("the model ran out of tokens before it said anything: raise `max_tokens`"
                .to_owned())
        }
        _ if text.trim().is_empty() => Err("the model said nothing".to_owned()),
        _ => Ok(text),
    }
}

/// Calls what the model asked for, all at once; every call gets a result, in order.
fn call(toolbox: &Toolbox, calls: &[ToolCall]) -> Vec<ToolResult> {
    let (wanted, surplus) = calls.split_at(calls.len().min(CALLS_MAX));
    let mut results = toolbox.call(wanted);
    let message = format!("not called: ask for {CALLS_MAX} tools at a time at most");
    results.extend(surplus.iter().map(|call| call.error(message.as_str())));
    results
}

fn tell(round: u32, max_loops: u32, calls: &[ToolCall]) {
    let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
    let message = format!("calling {}", names.join(", "));
    // Progress is a courtesy: a task does not fail for it.
    if let Err(rule) = progress::report(f64::from(round + 1), f64::from(max_loops), message) {
        log::debug(rule);
    }
}

#[cfg(test)]
mod tests;

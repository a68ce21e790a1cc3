//! An agent that delegates: it splits a task into steps, finds an agent for each by what its tools do, lets
//! them work at the same time, and puts their answers together.
//!
//! With a model in its settings, the model writes the plan and the answer ([`author`]). Without one, the task's
//! own words are the plan ([`words`]), so the same team works without any key, and the same way every time.

mod author;
mod crew;
mod execution;
mod plan;
mod words;

aop_agent::agent! { agent: Planner, wit: "wit/planner.wit" }

use aop_agent::model;
use exports::examples::planner::planning as wit;

use execution::Outcome;

struct Planner;

impl wit::Guest for Planner {
    fn work(task: String, material: Option<String>) -> Result<wit::Report, String> {
        let (answer, outcomes) = work(&task, material.as_deref().unwrap_or_default())?;
        let outcomes = outcomes.into_iter().map(|outcome| wit::Outcome {
            goal: outcome.goal,
            tool: outcome.tool,
            success: outcome.answer.is_ok(),
            answer: outcome.answer.unwrap_or_else(|why| why),
        });
        Ok(wit::Report { answer, outcomes: outcomes.collect() })
    }
}

/// Plans, delegates, and puts the answers together.
fn work(task: &str, material: &str) -> Result<(String, Vec<Outcome>), String> {
    if task.trim().is_empty() {
        return Err("the task is empty: write one step per line".to_owned());
    }
    if model::bound().is_none() {
        let outcomes = execution::run(words::plan(task)?, material);
        return Ok((words::answer(&outcomes), outcomes));
    }
    let outcomes = execution::run(author::plan(task, material)?, material);
    Ok((author::answer(task, &outcomes)?, outcomes))
}

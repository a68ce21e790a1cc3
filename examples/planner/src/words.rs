//! The plan that a task's own words make: a step per line, and "then" where one waits for the others.

use crate::crew;
use crate::execution::Outcome;
use crate::plan::{ANSWER, MATERIAL, STAGES_MAX, STEPS_MAX, Stage, Step};

/// Reads the steps of a task and finds somebody for each.
pub(crate) fn plan(task: &str) -> Result<Vec<Stage>, String> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut steps = 0;
    for line in task.split(['\n', ';']).map(str::trim).filter(|line| !line.is_empty()) {
        steps += 1;
        if steps > STEPS_MAX {
            return Err(format!("a task has {STEPS_MAX} steps at most"));
        }
        let later = after_then(line);
        if stages.is_empty() || later.is_some() {
            stages.push(Stage::new());
        }
        let goal = later.unwrap_or(line);
        let subject = if stages.len() == 1 { MATERIAL } else { ANSWER };
        let step = Step { goal: goal.to_owned(), call: crew::assign(goal, subject) };
        if let Some(stage) = stages.last_mut() {
            stage.push(step);
        }
    }
    if stages.len() > STAGES_MAX {
        return Err(format!("a task has {STAGES_MAX} stages at most: write \"then\" less often"));
    }
    Ok(stages)
}

/// What follows "then" at the beginning of a line.
fn after_then(line: &str) -> Option<&str> {
    let (first, rest) = line.split_once(char::is_whitespace)?;
    first.trim_end_matches(',').eq_ignore_ascii_case("then").then(|| rest.trim_start())
}

/// The outcomes as text.
pub(crate) fn answer(outcomes: &[Outcome]) -> String {
    let line = |outcome: &Outcome| match &outcome.answer {
        Ok(answer) => format!("{}: {answer}", outcome.goal),
        Err(why) => format!("{}: not done, {why}", outcome.goal),
    };
    outcomes.iter().map(line).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests;

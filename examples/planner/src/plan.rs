//! What is to be done, by whom, and in which order.

use serde_json::{Map, Value};

/// Steps of one plan: more is a batch, not a plan.
pub(crate) const STEPS_MAX: usize = 64;
/// Stages of one plan. Each waits for the one before, so they add up to the time of the call.
pub(crate) const STAGES_MAX: usize = 8;

/// Stands for the material as the value of an argument.
pub(crate) const MATERIAL: &str = "$material";
/// Stands for the answers of the stage before as the value of an argument.
pub(crate) const ANSWER: &str = "$answer";

/// Steps that run at the same time.
pub(crate) type Stage = Vec<Step>;

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    /// What is to be done, in words.
    pub(crate) goal: String,
    /// How; or why nobody can.
    pub(crate) call: Result<Call, String>,
}

/// A tool with its arguments, in which [`MATERIAL`] and [`ANSWER`] may stand.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) tool: String,
    pub(crate) arguments: Map<String, Value>,
}

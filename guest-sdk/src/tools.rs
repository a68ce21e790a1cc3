//! Tools of other agents.
//!
//! Which ones an agent may call is its operator's choice (`tools` under `[policy]` in its settings). A call
//! inherits the deadline and the budget of the call that makes it.
//!
//! ```
//! # #[cfg(not(target_family = "wasm"))] {
//! use aop_agent::tools::{self, Invocation};
//! use serde::Deserialize;
//! use serde_json::json;
//!
//! #[derive(Deserialize)]
//! struct Forecast {
//!     celsius: f64,
//! }
//!
//! /// The warmest of some places.
//! fn warmest(places: &[&str]) -> Result<f64, tools::Failure> {
//!     let calls = places.iter().map(|place| Invocation::new("weather", &json!({ "place": place })));
//!     let calls = calls.collect::<Result<Vec<_>, _>>()?;
//!     let mut warmest = f64::NEG_INFINITY;
//!     for forecast in tools::call_many::<Forecast>(&calls) {
//!         warmest = warmest.max(forecast?.celsius);
//!     }
//!     Ok(warmest)
//! }
//!
//! # let host = aop_agent::testing::Script::new()
//! #     .tool("weather", "Tells the weather.", |arguments| {
//! #         Ok(json!({ "celsius": if arguments["place"] == "Oslo" { 3.0 } else { 21.0 } }))
//! #     });
//! # host.run(|| assert_eq!(warmest(&["Oslo", "Rome"]).unwrap(), 21.0));
//! # }
//! ```

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use crate::bindings::aop::agent::tools::{Definition, Invocation, Summary};
use crate::host::with;

/// How a call failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// A stable code, such as `not_found`, `invalid_arguments`, `permission_denied`, `loop_detected`,
    /// `deadline_exceeded`, `rate_limited` or `guest_error`.
    pub code: String,
    /// What is wrong, in words.
    pub message: String,
    /// The typed error of the tool, or the list of violations.
    pub details: Option<Box<Value>>,
    /// How long to wait before trying again, when that helps.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure without details.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), details: None, retry_after: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Failure {}

impl Invocation {
    /// A call of a tool with whatever serialises to a JSON object.
    ///
    /// # Errors
    /// The arguments are no JSON (`invalid_arguments`), such as a map whose keys are not text.
    pub fn new(
        tool: impl Into<String>,
        arguments: &(impl Serialize + ?Sized),
    ) -> Result<Self, Failure> {
        let arguments = serde_json::to_string(arguments)
            .map_err(|error| Failure::new("invalid_arguments", error.to_string()))?;
        Ok(Self { tool: tool.into(), arguments })
    }
}

impl Definition {
    /// The JSON Schema of the arguments; none when it is not JSON.
    #[must_use]
    pub fn arguments(&self) -> Option<Value> {
        serde_json::from_str(&self.input_schema).ok()
    }
}

/// Searches by words for what a tool should do: the best first, at most `limit` (10 when none is given, 100
/// at most). An empty query finds every tool that the agent may call.
///
/// # Errors
/// The host could not search.
pub fn discover(query: &str, limit: impl Into<Option<u32>>) -> Result<Vec<Summary>, Failure> {
    with(|host| host.discover(query, limit.into()))
}

/// Reads the definition of one tool.
///
/// # Errors
/// There is no such tool (`not_found`), or the agent may not call it (`permission_denied`).
pub fn describe(tool: &str) -> Result<Definition, Failure> {
    with(|host| host.describe(tool))
}

/// Calls one tool and waits for its answer.
///
/// # Errors
/// What the tool or the host answered; `bad_output` when the answer does not fit `T`.
pub fn call<T: DeserializeOwned>(
    tool: &str,
    arguments: &(impl Serialize + ?Sized),
) -> Result<T, Failure> {
    read(with(|host| host.call(&Invocation::new(tool, arguments)?)))
}

/// Calls one tool with JSON text, as models write it, and gives its answer back as JSON text.
///
/// # Errors
/// What the tool or the host answered.
pub fn call_json(tool: &str, arguments: &str) -> Result<String, Failure> {
    let invocation = Invocation { tool: tool.to_owned(), arguments: arguments.to_owned() };
    with(|host| host.call(&invocation))
}

/// Calls many tools at once and waits for all. Each has an answer of its own, in the order of the calls;
/// at most 1000 calls, of which a bounded number run at one time.
pub fn call_many<T: DeserializeOwned>(invocations: &[Invocation]) -> Vec<Result<T, Failure>> {
    let results = with(|host| host.call_many(invocations));
    results.into_iter().map(read).collect()
}

/// The same with answers as JSON text.
pub fn call_many_json(invocations: &[Invocation]) -> Vec<Result<String, Failure>> {
    with(|host| host.call_many(invocations))
}

fn read<T: DeserializeOwned>(answer: Result<String, Failure>) -> Result<T, Failure> {
    serde_json::from_str(&answer?).map_err(|error| {
        Failure::new("bad_output", format!("the tool's answer is not what was expected: {error}"))
    })
}

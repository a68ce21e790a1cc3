//! The result envelope: the paper's standardized output format, one shape for every tool.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{ErrorCode, Failure, Output};

/// What a call answers, as JSON: `{"success": true, "result": …}` or
/// `{"success": false, "error": …, "code": …, "details": …?, "retry_after_ms": …?}` (paper §4.3).
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Envelope<'a> {
    /// The tool answered.
    Success {
        /// Always `true`.
        success: bool,
        /// The result as compact JSON; `null` for a function without one.
        result: &'a RawValue,
    },
    /// The call failed.
    Failure {
        /// Always `false`.
        success: bool,
        /// For people and models.
        error: &'a str,
        /// The stable code.
        code: ErrorCode,
        /// The guest's typed error, or a list of violations.
        #[serde(skip_serializing_if = "Option::is_none")]
        details: Option<&'a RawValue>,
        /// How long to wait before trying again, when that helps.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
}

impl<'a> Envelope<'a> {
    /// Wraps how a call ended.
    #[must_use]
    pub fn new(result: &'a Result<Output, Failure>) -> Self {
        match result {
            Ok(output) => Self::Success { success: true, result: &output.json },
            Err(failure) => Self::Failure {
                success: false,
                error: &failure.message,
                code: failure.code,
                details: failure.details.as_deref(),
                retry_after_ms: failure
                    .retry_after
                    .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            },
        }
    }
}

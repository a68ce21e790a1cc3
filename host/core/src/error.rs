//! The closed set of failures a call can end in.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Violation;

/// A stable code that travels in envelopes, metrics and between nodes. The set is closed: a new
/// meaning needs a new release of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The arguments do not fit the tool's input schema. Nothing ran.
    InvalidArguments,
    /// No such tool or agent is visible to the caller.
    NotFound,
    /// The call's deadline passed. The guest was stopped.
    DeadlineExceeded,
    /// The caller went away or cancelled. The guest was stopped.
    Cancelled,
    /// The host or agent has no capacity left for the call now.
    ResourceExhausted,
    /// The caller sends more calls than it may.
    RateLimited,
    /// The agent cannot serve now (loading, draining, no replica).
    Unavailable,
    /// The policy refuses it.
    PermissionDenied,
    /// The guest returned an error of its own.
    GuestError,
    /// The guest trapped, panicked or exited.
    GuestTrapped,
    /// The guest hit one of its limits (memory, tables, stack, output size).
    GuestLimit,
    /// Agents call each other in a cycle or too deeply.
    LoopDetected,
    /// The guest's output does not fit the tool's output schema.
    BadOutput,
    /// The host failed. This is a bug or a broken machine.
    Internal,
}

/// The four kinds of failure that stay apart end to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The guest returned an error.
    GuestReturned,
    /// The guest trapped, ran too long, or broke a limit.
    GuestBroke,
    /// The host refused: policy, limit, or bad arguments.
    HostRefused,
    /// The host failed.
    HostFailed,
}

impl ErrorCode {
    /// Every code, in a fixed order.
    pub const ALL: [Self; 14] = [
        Self::InvalidArguments,
        Self::NotFound,
        Self::DeadlineExceeded,
        Self::Cancelled,
        Self::ResourceExhausted,
        Self::RateLimited,
        Self::Unavailable,
        Self::PermissionDenied,
        Self::GuestError,
        Self::GuestTrapped,
        Self::GuestLimit,
        Self::LoopDetected,
        Self::BadOutput,
        Self::Internal,
    ];

    /// The stable string, as in envelopes and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArguments => "invalid_arguments",
            Self::NotFound => "not_found",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Cancelled => "cancelled",
            Self::ResourceExhausted => "resource_exhausted",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::PermissionDenied => "permission_denied",
            Self::GuestError => "guest_error",
            Self::GuestTrapped => "guest_trapped",
            Self::GuestLimit => "guest_limit",
            Self::LoopDetected => "loop_detected",
            Self::BadOutput => "bad_output",
            Self::Internal => "internal",
        }
    }

    /// Which of the four kinds of failure this is.
    #[must_use]
    pub const fn class(self) -> FailureClass {
        match self {
            Self::GuestError => FailureClass::GuestReturned,
            Self::GuestTrapped | Self::GuestLimit | Self::DeadlineExceeded | Self::BadOutput => {
                FailureClass::GuestBroke
            }
            Self::InvalidArguments
            | Self::NotFound
            | Self::Cancelled
            | Self::ResourceExhausted
            | Self::RateLimited
            | Self::Unavailable
            | Self::PermissionDenied
            | Self::LoopDetected => FailureClass::HostRefused,
            Self::Internal => FailureClass::HostFailed,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a call failed, as its caller may know it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The stable code.
    pub code: ErrorCode,
    /// For people and models: what is wrong and what to do.
    pub message: String,
    /// Compact JSON: the guest's typed error, or a list of violations.
    pub details: Option<Box<RawValue>>,
    /// When waiting helps: how long.
    pub retry_after: Option<Duration>,
    /// Whether guest code may have run, so that repeating a non-idempotent call is unsafe.
    pub executed: bool,
}

impl Failure {
    /// A failure before any guest code ran.
    #[must_use]
    pub fn before_execution(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: None, retry_after: None, executed: false }
    }

    /// A failure during or after execution.
    #[must_use]
    pub fn executed(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { executed: true, ..Self::before_execution(code, message) }
    }

    /// Arguments that do not fit the input schema: every violation in words and in the details.
    #[must_use]
    pub fn invalid_arguments(violations: &[Violation]) -> Self {
        let mut message = String::from("the arguments do not fit the tool's input schema:");
        for Violation { pointer, message: what } in violations {
            let place = if pointer.is_empty() { "(root)" } else { pointer };
            message.push_str("\n- ");
            message.push_str(place);
            message.push_str(": ");
            message.push_str(what);
        }
        let failure = Self::before_execution(ErrorCode::InvalidArguments, message);
        match serde_json::value::to_raw_value(violations) {
            Ok(details) => failure.with_details(details),
            Err(_) => failure,
        }
    }

    /// Adds machine-readable details.
    #[must_use]
    pub fn with_details(mut self, details: Box<RawValue>) -> Self {
        self.details = Some(details);
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

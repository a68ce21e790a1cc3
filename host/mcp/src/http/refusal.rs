//! What a request is refused with before either path takes it.

use aop_core::{Challenge, Scope};
use http::{HeaderValue, StatusCode};
use rmcp::ErrorData;
use rmcp::model::{ErrorCode, RequestId};

use crate::scope;

/// A request that was refused at the door.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) id: Option<RequestId>,
    pub(super) error: ErrorData,
    /// What the caller lacks.
    pub(super) challenge: Option<Box<HeaderValue>>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            status,
            id: None,
            error: ErrorData::new(code, message.into(), None),
            challenge: None,
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::INVALID_REQUEST, message)
    }

    pub(super) fn unparsable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::PARSE_ERROR, message)
    }

    /// The server has no place for it now.
    pub(super) fn full(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, OVERLOADED, message)
    }

    /// The caller may not (MCP, authorization).
    pub(super) fn insufficient(challenge: Option<&Challenge>, scope: Scope) -> Self {
        let reason = format!(
            "Forbidden: this needs the scope `{scope}`, which the credential does not have"
        );
        let refusal = Self::new(StatusCode::FORBIDDEN, FORBIDDEN, reason);
        Self { challenge: scope::challenge(challenge, scope).map(Box::new), ..refusal }
    }

    pub(super) fn no_session() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            ErrorCode::INVALID_REQUEST,
            "Session not found: open a new one",
        )
    }

    pub(super) fn with_id(mut self, id: Option<RequestId>) -> Self {
        self.id = id;
        self
    }
}

/// In the range that JSON-RPC leaves to servers; MCP names none for this.
pub(crate) const OVERLOADED: ErrorCode = ErrorCode(-32000);
/// The same, for a caller that may not.
const FORBIDDEN: ErrorCode = ErrorCode(-32003);

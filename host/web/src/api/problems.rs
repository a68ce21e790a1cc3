//! The one mapping of failures to status codes.

use std::time::Duration;

use aop_core::{AdminError, CatalogError};
use axum::extract::multipart::{MultipartError, MultipartRejection};
use http::StatusCode;

use crate::problem::{Problem, quoted};

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        let (status, code) = match &error {
            CatalogError::NoSuchAgent(_) => (StatusCode::NOT_FOUND, "not_found"),
            CatalogError::OwnedByFile { .. } => (StatusCode::CONFLICT, "owned_by_file"),
            CatalogError::OwnedElsewhere { .. } => (StatusCode::CONFLICT, "owned_elsewhere"),
            CatalogError::NoEarlierRevision(_) => (StatusCode::CONFLICT, "no_earlier_revision"),
            CatalogError::Refused { .. } => (StatusCode::FORBIDDEN, "permission_denied"),
            CatalogError::Rejected(_) => (StatusCode::UNPROCESSABLE_ENTITY, "rejected"),
            CatalogError::OverQuota(_) => (StatusCode::INSUFFICIENT_STORAGE, "resource_exhausted"),
            CatalogError::Lapsed => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            CatalogError::Draining => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            CatalogError::Internal(reason) => {
                tracing::error!(reason, "the catalogue failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        let (status, code) = match &error {
            AdminError::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            AdminError::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            AdminError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_arguments"),
            AdminError::Forbidden(_) => (StatusCode::FORBIDDEN, "permission_denied"),
            AdminError::Lapsed => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            AdminError::Failed(reason) => {
                tracing::error!(reason, "managing access failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
        };
        Self::new(status, code, error.to_string())
    }
}

pub(super) fn no_such_agent(name: &str) -> Problem {
    CatalogError::NoSuchAgent(quoted(name)).into()
}

/// A request whose parts are well-formed, but wrong.
pub(super) fn invalid(message: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_arguments", message)
}

pub(super) fn grants_refused() -> Problem {
    let message = "settings that grant something (a `[policy]`, a `[model]`, an `[export]` or `share`) are refused in uploads: put the agent and its settings into an agents directory, or set `uploads_may_grant = true` under `[web]` in aop.toml";
    Problem::new(StatusCode::FORBIDDEN, "permission_denied", message)
}

pub(super) fn secrets_refused() -> Problem {
    let message = "settings whose `http` headers name secrets (`{secret:NAME}`) send them to a host of the uploader's choice, so uploading them needs the scope `tenant:admin` besides `agents:write`: let whoever manages the tenant's secrets load the agent, or put it into an agents directory";
    Problem::new(StatusCode::FORBIDDEN, "permission_denied", message)
}

/// Waiting helps here, which the status says with a header.
pub(super) fn too_many_uploads() -> Problem {
    let message = "too many uploads of the tenant wait already: send them one after another";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "resource_exhausted", message)
}

pub(super) fn crowded_out() -> Problem {
    let message = "the upload came too slowly while others waited for their turns: send it again, over a faster connection or when there are fewer";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "deadline_exceeded", message)
}

pub(super) fn too_large(max_bytes: usize) -> Problem {
    let message = format!(
        "the upload has more than {max_bytes} bytes: strip the component, or raise `upload_max` under `[web]` in aop.toml"
    );
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
}

pub(super) fn encoded() -> Problem {
    let message = "send the body as it is: no `Content-Encoding` is understood here";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
}

pub(super) fn not_multipart(_: MultipartRejection) -> Problem {
    let message = "send multipart/form-data with the field `component` (the .wasm file) and, if wanted, \
                   `settings` (TOML text)";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
}

/// A body that ended early or is not what its header says.
pub(super) fn unreadable(error: &MultipartError, max_bytes: usize) -> Problem {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large(max_bytes);
    }
    let message = format!("the upload cannot be read: {}", error.body_text());
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", message)
}

pub(super) fn too_slow(what: &str, limit: Duration) -> Problem {
    let message = format!("the {what} took longer than {} s", limit.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, "deadline_exceeded", message)
}

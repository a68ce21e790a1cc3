//! The zone that this host belongs to, and what names of others resolve to.

use std::sync::Arc;

use aop_core::federation::Federation;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::Value;

use super::{AppRef, Name, name};
use crate::app::{App, By};
use crate::problem::Problem;

/// Longest name that is resolved: a DNS name.
const NAME_MAX_BYTES: usize = 253;

fn federation(app: &App) -> Result<&Arc<dyn Federation>, Problem> {
    let none = || {
        let message = "this host belongs to no zone: set `[zone] name`, and run `aop zone keygen`";
        Problem::new(StatusCode::NOT_FOUND, "not_found", message)
    };
    app.state.federation.as_ref().ok_or_else(none)
}

pub(super) async fn show(State(app): AppRef) -> Result<Json<Value>, Problem> {
    Ok(Json(federation(&app)?.status()))
}

pub(super) async fn resolve(
    State(app): AppRef,
    By(caller): By,
    path: Name,
) -> Result<Json<Value>, Problem> {
    let name = name(path)?;
    if name.len() > NAME_MAX_BYTES {
        let message = format!("a name has at most {NAME_MAX_BYTES} bytes");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_arguments", message));
    }
    Ok(Json(federation(&app)?.trace(&caller, &name).await))
}

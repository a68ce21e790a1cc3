//! The zone, `/api/v1/cluster`: how it stands, and tokens with which nodes join it. It concerns every tenant: only
//! whoever manages them all may look into it.

use std::sync::Arc;

use aop_core::audit::{Action, Actor, Outcome};
use aop_core::cluster::{ClusterError, ClusterStatus, JoinTokenGrant, JoinTokenRequest};
use aop_core::{AuditEvent, Caller};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use http::StatusCode;

use super::{AppRef, problems, whole};
use crate::app::{App, By};
use crate::problem::{Problem, quoted};

impl From<ClusterError> for Problem {
    fn from(error: ClusterError) -> Self {
        let (status, code) = match &error {
            ClusterError::NoZone => (StatusCode::CONFLICT, "no_zone"),
            ClusterError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_arguments"),
            ClusterError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self::new(status, code, error.to_string())
    }
}

pub(super) async fn status(State(app): AppRef) -> Result<Json<ClusterStatus>, Problem> {
    Ok(Json(app.state.cluster.status().await?))
}

pub(super) async fn join_token(
    app: AppRef,
    By(caller): By,
    request: Result<Json<JoinTokenRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<JoinTokenGrant>), Problem> {
    let Json(request) = request.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(error.status(), "too_large", quoted(&error.body_text()))
        }
        _ => problems::invalid(error.body_text()),
    })?;
    whole(make(app.0, caller, request)).await
}

async fn make(
    app: Arc<App>,
    caller: Caller,
    request: JoinTokenRequest,
) -> Result<(StatusCode, Json<JoinTokenGrant>), Problem> {
    let made = app.state.cluster.join_token(request).await;
    let (outcome, detail) = match &made {
        Ok(_) => {
            (Outcome::Done, format!("for {} nodes and {} s", request.uses, request.lifetime_s))
        }
        Err(error) => (Outcome::Failed, error.to_string()),
    };
    app.state.audit.note(AuditEvent {
        who: Actor::Caller(&caller.subject),
        outcome,
        detail: &detail,
        ..AuditEvent::of_host(Action::TokenCreate, "")
    });
    Ok((StatusCode::CREATED, Json(made?)))
}

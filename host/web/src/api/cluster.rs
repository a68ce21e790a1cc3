//! The zone, `/api/v1/cluster`: how it stands, tokens with which nodes join it, and the servers that this host mounts. It concerns every tenant: only
//! whoever manages them all may look into it.

use aop_core::AuditEvent;
use aop_core::audit::{Action, Actor, Outcome};
use aop_core::cluster::{
    ClusterError, ClusterStatus, JoinTokenGrant, JoinTokenRequest, ServerStatus,
};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use http::StatusCode;
use serde::Serialize;

use super::{AppRef, problems};
use crate::app::By;
use crate::problem::Problem;

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

#[derive(Serialize)]
pub(super) struct Servers {
    servers: Vec<ServerStatus>,
}

/// The MCP servers that this host mounts, in a zone or not.
pub(super) async fn servers(State(app): AppRef) -> Json<Servers> {
    Json(Servers { servers: app.state.servers.servers() })
}

pub(super) async fn join_token(
    State(app): AppRef,
    By(caller): By,
    request: Result<Json<JoinTokenRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<JoinTokenGrant>), Problem> {
    let Json(request) = request.map_err(|error| problems::invalid(error.body_text()))?;
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

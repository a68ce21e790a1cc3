//! The zone, `/api/v1/cluster`: how it stands, who may join it and who belongs to it no more; and the servers that this
//! host mounts. It concerns every tenant: only
//! whoever manages them all may look into it.

use aop_core::audit::{Action, Actor, Outcome};
use aop_core::cluster::{
    ClusterError, ClusterStatus, EvictRequest, EvictionReport, JoinTokenGrant, JoinTokenRequest,
    KeyRotation, RotateKeyRequest, ServerStatus,
};
use aop_core::{AuditEvent, Caller};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use http::StatusCode;
use serde::Serialize;

use super::body::InTime;
use super::{AppRef, problems, whole};
use crate::app::{App, By};
use crate::problem::{Problem, reason};

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

type Asked<T> = InTime<Result<Json<T>, JsonRejection>>;

fn asked<T>(InTime(request): Asked<T>) -> Result<T, Problem> {
    request.map(|Json(request)| request).map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(error.status(), "too_large", reason(&error.body_text()))
        }
        _ => problems::invalid(reason(&error.body_text())),
    })
}

pub(super) async fn join_token(
    State(app): AppRef,
    By(caller): By,
    request: Asked<JoinTokenRequest>,
) -> Result<(StatusCode, Json<JoinTokenGrant>), Problem> {
    let request = asked(request)?;
    whole(async move {
        let made = app.state.cluster.join_token(request).await;
        note(&app, &caller, Action::TokenCreate, "", &made, |_| {
            format!("for {} nodes and {} s", request.uses, request.lifetime_s)
        });
        Ok((StatusCode::CREATED, Json(made?)))
    })
    .await
}

pub(super) async fn evict(
    State(app): AppRef,
    By(caller): By,
    request: Asked<EvictRequest>,
) -> Result<Json<EvictionReport>, Problem> {
    let request = asked(request)?;
    whole(async move {
        let node = request.node.clone();
        let evicted = app.state.cluster.evict(request).await;
        note(&app, &caller, Action::NodeEvict, node.as_str(), &evicted, |_| String::new());
        Ok(Json(evicted?))
    })
    .await
}

pub(super) async fn rotate_key(
    State(app): AppRef,
    By(caller): By,
    request: Asked<RotateKeyRequest>,
) -> Result<(StatusCode, Json<KeyRotation>), Problem> {
    let request = asked(request)?;
    whole(async move {
        let rotated = app.state.cluster.rotate_key(request).await;
        note(&app, &caller, Action::ZoneKeyRotate, "", &rotated, |_| {
            format!("the one before counts for {} s more", request.overlap_s)
        });
        Ok((StatusCode::CREATED, Json(rotated?)))
    })
    .await
}

/// Notes what became of a request in the audit log.
fn note<T>(
    app: &App,
    caller: &Caller,
    action: Action,
    target: &str,
    result: &Result<T, ClusterError>,
    detail: impl FnOnce(&T) -> String,
) {
    let (outcome, detail) = match result {
        Ok(done) => (Outcome::Done, detail(done)),
        Err(error) => (Outcome::Failed, error.to_string()),
    };
    app.state.audit.note(AuditEvent {
        who: Actor::Caller(&caller.subject),
        outcome,
        detail: &detail,
        ..AuditEvent::of_host(action, target)
    });
}

//! The zone, `/api/v1/cluster`: how it stands, and tokens with which nodes join it.

use aop_core::cluster::{ClusterError, ClusterStatus, JoinTokenGrant, JoinTokenRequest};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use http::StatusCode;

use super::{AppRef, problems, tenant};
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
    tenant(&app)?;
    Ok(Json(app.state.cluster.status().await?))
}

pub(super) async fn join_token(
    State(app): AppRef,
    request: Result<Json<JoinTokenRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<JoinTokenGrant>), Problem> {
    tenant(&app)?;
    let Json(request) = request.map_err(|error| problems::invalid(error.body_text()))?;
    Ok((StatusCode::CREATED, Json(app.state.cluster.join_token(request).await?)))
}

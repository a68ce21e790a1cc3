//! Keys and secrets of a tenant, and the tenants themselves.

use std::time::Duration;

use aop_core::{
    AdminError, ApiKey, CreatedKey, KeyId, NewKey, Secret, SecretEntry, SecretName, Tenant,
    TenantName,
};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::body::InTime;
use super::{AppRef, Name, name, problems};
use crate::app::{By, Still};
use crate::problem::{Problem, quoted, reason as shown};

#[derive(Serialize)]
pub(super) struct Keys {
    keys: Vec<ApiKey>,
}

#[derive(Serialize)]
struct NewlyCreated {
    key: ApiKey,
    /// The whole key.
    text: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// How long the replaced key stays valid.
    #[serde(default)]
    overlap_seconds: u64,
}

#[derive(Serialize)]
pub(super) struct SecretList {
    secrets: Vec<SecretEntry>,
}

#[derive(Serialize)]
pub(super) struct Tenants {
    tenants: Vec<Tenant>,
}

#[derive(Serialize)]
pub(super) struct TenantDetails {
    tenant: Tenant,
    agents: usize,
    tools: usize,
    keys: usize,
    secrets: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTenant {
    name: String,
}

type Body<T> = InTime<Result<Json<T>, JsonRejection>>;

fn body<T>(InTime(body): Body<T>) -> Result<T, Problem> {
    body.map(|Json(body)| body)
        .map_err(|rejection| refused(rejection.status(), &rejection.body_text()))
}

/// A body that could not be read.
fn refused(status: StatusCode, reason: &str) -> Problem {
    let code = match status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        StatusCode::UNPROCESSABLE_ENTITY => "invalid_arguments",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        _ => "bad_request",
    };
    Problem::new(status, code, shown(reason))
}

/// What a stranger's name means: there is nothing of that name.
fn key_id(path: Name) -> Result<KeyId, Problem> {
    let text = name(path)?;
    KeyId::new(&text).map_err(|error| AdminError::NotFound(error.to_string()).into())
}

fn secret_name(path: Name) -> Result<SecretName, Problem> {
    SecretName::new(&name(path)?).map_err(|error| problems::invalid(error.to_string()))
}

fn tenant_name(path: Name) -> Result<TenantName, Problem> {
    let text = name(path)?;
    TenantName::new(&text).map_err(|_| no_tenant(&text))
}

fn no_tenant(name: &str) -> Problem {
    AdminError::NotFound(format!("no tenant `{}`: see `aop tenant list`", quoted(name))).into()
}

/// An answer with a key in it must not stay in any cache.
fn created(created: CreatedKey) -> Response {
    let text = created.text.expose().to_owned();
    let body = Json(NewlyCreated { key: created.key, text });
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (StatusCode::CREATED, no_store, body).into_response()
}

pub(super) async fn list_keys(State(app): AppRef, By(by): By) -> Result<Json<Keys>, Problem> {
    Ok(Json(Keys { keys: app.state.admin.keys(&by).await? }))
}

pub(super) async fn create_key(
    State(app): AppRef,
    By(by): By,
    still: Still,
    new: Body<NewKey>,
) -> Result<Response, Problem> {
    Ok(created(still.admin(&app).create_key(&by, body(new)?).await?))
}

pub(super) async fn revoke_key(
    State(app): AppRef,
    By(by): By,
    still: Still,
    id: Name,
) -> Result<Json<ApiKey>, Problem> {
    Ok(Json(still.admin(&app).revoke_key(&by, &key_id(id)?).await?))
}

pub(super) async fn rotate_key(
    State(app): AppRef,
    By(by): By,
    still: Still,
    id: Name,
    rotation: Body<Rotation>,
) -> Result<Response, Problem> {
    let (id, rotation) = (key_id(id)?, body(rotation)?);
    let overlap = Duration::from_secs(rotation.overlap_seconds);
    Ok(created(still.admin(&app).rotate_key(&by, &id, overlap).await?))
}

pub(super) async fn list_secrets(
    State(app): AppRef,
    By(by): By,
) -> Result<Json<SecretList>, Problem> {
    Ok(Json(SecretList { secrets: app.state.admin.secrets(&by).await? }))
}

/// The body is the value, as it is.
pub(super) async fn set_secret(
    State(app): AppRef,
    By(by): By,
    still: Still,
    path: Name,
    InTime(value): InTime<Result<Bytes, BytesRejection>>,
) -> Result<Json<SecretEntry>, Problem> {
    let name = secret_name(path)?;
    let value = value.map_err(|rejection| refused(rejection.status(), &rejection.body_text()))?;
    let value = String::from_utf8(value.into())
        .map_err(|_| problems::invalid("a secret is UTF-8 text: encode other bytes first"))?;
    Ok(Json(still.admin(&app).set_secret(&by, name, Secret::new(value)).await?))
}

pub(super) async fn delete_secret(
    State(app): AppRef,
    By(by): By,
    still: Still,
    path: Name,
) -> Result<StatusCode, Problem> {
    still.admin(&app).delete_secret(&by, &secret_name(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn list_tenants(State(app): AppRef) -> Result<Json<Tenants>, Problem> {
    Ok(Json(Tenants { tenants: app.state.admin.tenants().await? }))
}

pub(super) async fn create_tenant(
    State(app): AppRef,
    By(by): By,
    still: Still,
    new: Body<NewTenant>,
) -> Result<(StatusCode, Json<Tenant>), Problem> {
    let name = TenantName::new(&body(new)?.name);
    let name = name.map_err(|error| problems::invalid(error.to_string()))?;
    let tenant = still.admin(&app).create_tenant(&by, name).await?;
    Ok((StatusCode::CREATED, Json(tenant)))
}

pub(super) async fn show_tenant(
    State(app): AppRef,
    By(by): By,
    path: Name,
) -> Result<Json<TenantDetails>, Problem> {
    let name = tenant_name(path)?;
    let tenants = app.state.admin.tenants().await?;
    let tenant = tenants.into_iter().find(|tenant| tenant.name == name);
    let tenant = tenant.ok_or_else(|| no_tenant(&name))?;
    let of_tenant = aop_core::Caller { tenant: name.clone(), ..by };
    let catalog = &app.state.catalog;
    Ok(Json(TenantDetails {
        agents: catalog.list(&name).len(),
        tools: catalog.tools(&name).tools.len(),
        keys: app.state.admin.keys(&of_tenant).await?.len(),
        secrets: app.state.admin.secrets(&of_tenant).await?.len(),
        tenant,
    }))
}

pub(super) async fn delete_tenant(
    State(app): AppRef,
    By(by): By,
    still: Still,
    path: Name,
) -> Result<StatusCode, Problem> {
    still.admin(&app).delete_tenant(&by, &tenant_name(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

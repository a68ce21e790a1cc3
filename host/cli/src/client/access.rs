//! The part of the admin API that is about tenants, keys and secrets.

use std::time::Duration;

use aop_core::{ApiKey, KeyId, NewKey, Secret, SecretEntry, SecretName, Tenant, TenantName};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Client;
use super::admin::Content;
use crate::exit::CommandError;

/// `GET tenants`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Tenants {
    pub(crate) tenants: Vec<Tenant>,
}

/// `GET tenants/{name}`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TenantDetails {
    pub(crate) tenant: Tenant,
    pub(crate) agents: u64,
    pub(crate) tools: u64,
    pub(crate) keys: u64,
    pub(crate) secrets: u64,
}

/// `GET keys`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Keys {
    pub(crate) keys: Vec<ApiKey>,
}

/// `POST keys`.
#[derive(Serialize, Deserialize)]
pub(crate) struct NewlyCreated {
    pub(crate) key: ApiKey,
    pub(crate) text: String,
}

/// `GET secrets`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) secrets: Vec<SecretEntry>,
}

impl Client {
    pub(crate) async fn tenants(&self) -> Result<Tenants, CommandError> {
        self.admin(Method::GET, "tenants", Content::None).await
    }

    pub(crate) async fn tenant(&self, name: &TenantName) -> Result<TenantDetails, CommandError> {
        self.admin(Method::GET, &format!("tenants/{name}"), Content::None).await
    }

    pub(crate) async fn create_tenant(&self, name: &TenantName) -> Result<Tenant, CommandError> {
        self.admin(Method::POST, "tenants", Content::Json(json!({ "name": name }))).await
    }

    pub(crate) async fn delete_tenant(&self, name: &TenantName) -> Result<(), CommandError> {
        self.exchange(Method::DELETE, &format!("tenants/{name}"), Content::None).await.map(drop)
    }

    pub(crate) async fn keys(&self) -> Result<Keys, CommandError> {
        self.admin(Method::GET, "keys", Content::None).await
    }

    pub(crate) async fn create_key(&self, new: &NewKey) -> Result<NewlyCreated, CommandError> {
        self.admin(Method::POST, "keys", Content::Json(serde_json::to_value(new)?)).await
    }

    pub(crate) async fn revoke_key(&self, id: &KeyId) -> Result<ApiKey, CommandError> {
        self.admin(Method::DELETE, &format!("keys/{id}"), Content::None).await
    }

    /// The old key stays valid for `overlap`.
    pub(crate) async fn rotate_key(
        &self,
        id: &KeyId,
        overlap: Duration,
    ) -> Result<NewlyCreated, CommandError> {
        let body = json!({ "overlap_seconds": overlap.as_secs() });
        self.admin(Method::POST, &format!("keys/{id}/rotate"), Content::Json(body)).await
    }

    pub(crate) async fn secrets(&self) -> Result<Secrets, CommandError> {
        self.admin(Method::GET, "secrets", Content::None).await
    }

    pub(crate) async fn set_secret(
        &self,
        name: &SecretName,
        value: &Secret,
    ) -> Result<SecretEntry, CommandError> {
        let content = Content::Text(value.expose().to_owned());
        self.admin(Method::PUT, &format!("secrets/{name}"), content).await
    }

    pub(crate) async fn delete_secret(&self, name: &SecretName) -> Result<(), CommandError> {
        self.exchange(Method::DELETE, &format!("secrets/{name}"), Content::None).await.map(drop)
    }
}

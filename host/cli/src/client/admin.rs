//! The admin API, `/api/v1`.

use anyhow::Context as _;
use aop_core::cluster::{
    ClusterStatus, EvictRequest, EvictionReport, JoinTokenGrant, JoinTokenRequest, KeyRotation,
    RotateKeyRequest, ServerStatus,
};
use aop_core::{AgentStatus, RevisionStatus};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Client, body};
use crate::exit::{CommandError, failure, misuse};

/// `GET agents`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Agents {
    pub(crate) agents: Vec<AgentStatus>,
}

/// `GET agents/{name}`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AgentDetails {
    pub(crate) agent: AgentStatus,
    pub(crate) revisions: Vec<RevisionStatus>,
    pub(crate) stats: serde_json::Map<String, serde_json::Value>,
    /// Empty of a host that knows no quotas.
    #[serde(default)]
    pub(crate) quotas: Vec<QuotaUse>,
}

/// One quota of an agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct QuotaUse {
    pub(crate) quota: String,
    pub(crate) limit: Option<u64>,
    pub(crate) used: Option<u64>,
    pub(crate) refused: u64,
}

/// `GET cluster/servers`.
#[derive(Debug, Deserialize)]
struct Servers {
    servers: Vec<ServerStatus>,
}

/// What a request carries.
pub(super) enum Content {
    None,
    Form(Form),
    Json(serde_json::Value),
    Text(String),
}

/// How the host refuses.
#[derive(Deserialize)]
pub(super) struct Problem {
    pub(super) message: String,
}

impl Problem {
    /// Why a caller was turned away, and what to do on a command line.
    pub(super) fn unauthenticated(self) -> String {
        format!("{}. Give a key with --key or AOP_KEY", self.message)
    }
}

impl Client {
    /// Every agent.
    pub(crate) async fn agents(&self) -> Result<Agents, CommandError> {
        self.admin(Method::GET, "agents", Content::None).await
    }

    /// One agent.
    pub(crate) async fn agent(&self, name: &str) -> Result<AgentDetails, CommandError> {
        self.admin(Method::GET, &format!("agents/{}", segment(name)?), Content::None).await
    }

    /// Loads a component with its settings as TOML.
    pub(crate) async fn load_agent(
        &self,
        name: &str,
        component: Vec<u8>,
        settings: Option<String>,
    ) -> Result<AgentStatus, CommandError> {
        let component = Part::bytes(component)
            .file_name(format!("{name}.wasm"))
            .mime_str("application/wasm")?;
        let mut form = Form::new().part("component", component);
        if let Some(settings) = settings {
            form = form.text("settings", settings);
        }
        self.admin(Method::PUT, &format!("agents/{}", segment(name)?), Content::Form(form)).await
    }

    /// Removes an agent.
    pub(crate) async fn unload_agent(&self, name: &str) -> Result<(), CommandError> {
        self.exchange(Method::DELETE, &format!("agents/{}", segment(name)?), Content::None).await?;
        Ok(())
    }

    /// Goes back a revision.
    pub(crate) async fn roll_back_agent(&self, name: &str) -> Result<AgentStatus, CommandError> {
        self.admin(Method::POST, &format!("agents/{}/rollback", segment(name)?), Content::None)
            .await
    }

    /// The zone.
    pub(crate) async fn cluster(&self) -> Result<ClusterStatus, CommandError> {
        self.admin(Method::GET, "cluster", Content::None).await
    }

    /// The MCP servers that the host mounts.
    pub(crate) async fn servers(&self) -> Result<Vec<ServerStatus>, CommandError> {
        let Servers { servers } = self.admin(Method::GET, "cluster/servers", Content::None).await?;
        Ok(servers)
    }

    /// A token with which nodes join it.
    pub(crate) async fn join_token(
        &self,
        request: &JoinTokenRequest,
    ) -> Result<JoinTokenGrant, CommandError> {
        let content = Content::Json(serde_json::to_value(request)?);
        self.admin(Method::POST, "cluster/join-tokens", content).await
    }

    /// Evicts a node from it.
    pub(crate) async fn evict(
        &self,
        request: &EvictRequest,
    ) -> Result<EvictionReport, CommandError> {
        let content = Content::Json(serde_json::to_value(request)?);
        self.admin(Method::POST, "cluster/evictions", content).await
    }

    /// Gives it a new key.
    pub(crate) async fn rotate_cluster_key(
        &self,
        request: &RotateKeyRequest,
    ) -> Result<KeyRotation, CommandError> {
        let content = Content::Json(serde_json::to_value(request)?);
        self.admin(Method::POST, "cluster/key-rotations", content).await
    }

    /// The host's zone.
    pub(crate) async fn zone(&self) -> Result<serde_json::Value, CommandError> {
        self.admin(Method::GET, "zone", Content::None).await
    }

    /// What a name of another zone is, and how the host found out.
    pub(crate) async fn resolve_name(&self, name: &str) -> Result<serde_json::Value, CommandError> {
        let is_plain = !name.is_empty()
            && name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'));
        if !is_plain || name.starts_with('.') {
            return Err(misuse(format!(
                "`{name}` is not a full name: write it like `textkit.eu.acme.example`"
            )));
        }
        self.admin(Method::GET, &format!("zone/names/{name}"), Content::None).await
    }

    pub(super) async fn admin<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: Content,
    ) -> Result<T, CommandError> {
        let text = self.exchange(method, path, content).await?;
        Ok(serde_json::from_str(&text)
            .context("the host's answer is malformed: is it another release?")?)
    }

    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        content: Content,
    ) -> Result<String, CommandError> {
        let url = self.endpoint.api.join(path).context("the path of the request is malformed")?;
        let request = self.http.request(method, url.clone());
        let request = match content {
            Content::None => request,
            Content::Form(form) => request.multipart(form),
            Content::Json(value) => request.json(&value),
            Content::Text(text) => request.header("content-type", "text/plain").body(text),
        };
        let response = self.send(request).await?;
        let status = response.status();
        let text = body(response).await?;
        if status.is_success() {
            return Ok(text);
        }
        let Ok(problem) = serde_json::from_str::<Problem>(&text) else {
            return Err(failure(format!("{url} answered {status}: is it an AOP host?")));
        };
        let refused = |message| anyhow::Error::new(Refused { status, message });
        Err(match status {
            // A name that does not exist is a mistake of the question.
            StatusCode::NOT_FOUND => CommandError::Usage(refused(problem.message)),
            // Here the credential comes from the command line.
            StatusCode::UNAUTHORIZED => CommandError::Usage(refused(problem.unauthenticated())),
            _ => CommandError::Failure(refused(problem.message)),
        })
    }
}

/// A refusal of the host, in its words.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Refused {
    status: StatusCode,
    message: String,
}

/// How the host refused, if it was the host that did.
pub(crate) fn status_of(error: &CommandError) -> Option<StatusCode> {
    match error {
        CommandError::Usage(error) | CommandError::Failure(error) => {
            error.downcast_ref::<Refused>().map(|refused| refused.status)
        }
        CommandError::Reported | CommandError::Unchecked => None,
    }
}

/// An agent's name goes into a path: what no agent can be called is refused here.
fn segment(name: &str) -> Result<&str, CommandError> {
    let is_plain = !name.is_empty()
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'));
    if is_plain {
        Ok(name)
    } else {
        Err(misuse(format!("`{name}` is not an agent's name: see `aop agent list`")))
    }
}

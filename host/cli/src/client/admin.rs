//! The admin API, `/api/v1`.

use anyhow::Context as _;
use aop_core::cluster::{ClusterStatus, JoinTokenGrant, JoinTokenRequest};
use aop_core::{AgentStatus, RevisionStatus};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
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

/// How the API refuses.
#[derive(Deserialize)]
struct Problem {
    message: String,
}

impl Client {
    /// Every agent.
    pub(crate) async fn agents(&self) -> Result<Agents, CommandError> {
        self.admin(Method::GET, "agents", None).await
    }

    /// One agent.
    pub(crate) async fn agent(&self, name: &str) -> Result<AgentDetails, CommandError> {
        self.admin(Method::GET, &format!("agents/{}", segment(name)?), None).await
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
        self.admin(Method::PUT, &format!("agents/{}", segment(name)?), Some(form)).await
    }

    /// Removes an agent.
    pub(crate) async fn unload_agent(&self, name: &str) -> Result<(), CommandError> {
        self.exchange(Method::DELETE, &format!("agents/{}", segment(name)?), None).await?;
        Ok(())
    }

    /// Goes back a revision.
    pub(crate) async fn roll_back_agent(&self, name: &str) -> Result<AgentStatus, CommandError> {
        self.admin(Method::POST, &format!("agents/{}/rollback", segment(name)?), None).await
    }

    /// The zone.
    pub(crate) async fn cluster(&self) -> Result<ClusterStatus, CommandError> {
        self.admin(Method::GET, "cluster", None).await
    }

    /// A token with which nodes join it.
    pub(crate) async fn join_token(
        &self,
        request: &JoinTokenRequest,
    ) -> Result<JoinTokenGrant, CommandError> {
        let url = self.url("cluster/join-tokens")?;
        let text = self.answered(&url, self.http.post(url.clone()).json(request)).await?;
        read(&text)
    }

    /// The host's zone.
    pub(crate) async fn zone(&self) -> Result<serde_json::Value, CommandError> {
        self.admin(Method::GET, "zone", None).await
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
        self.admin(Method::GET, &format!("zone/names/{name}"), None).await
    }

    async fn admin<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        form: Option<Form>,
    ) -> Result<T, CommandError> {
        read(&self.exchange(method, path, form).await?)
    }

    fn url(&self, path: &str) -> Result<Url, CommandError> {
        Ok(self.endpoint.api.join(path).context("the path of the request is malformed")?)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        form: Option<Form>,
    ) -> Result<String, CommandError> {
        let url = self.url(path)?;
        let mut request = self.http.request(method, url.clone());
        if let Some(form) = form {
            request = request.multipart(form);
        }
        self.answered(&url, request).await
    }

    async fn answered(&self, url: &Url, request: RequestBuilder) -> Result<String, CommandError> {
        let response = self.send(request).await?;
        let status = response.status();
        let text = body(response).await?;
        if status.is_success() {
            return Ok(text);
        }
        match serde_json::from_str::<Problem>(&text) {
            // A name that does not exist is a mistake of the question.
            Ok(problem) if status == StatusCode::NOT_FOUND => Err(misuse(problem.message)),
            Ok(problem) => Err(failure(problem.message)),
            Err(_) => Err(failure(format!("{url} answered {status}: is it an AOP host?"))),
        }
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, CommandError> {
    Ok(serde_json::from_str(text)
        .context("the host's answer is malformed: is it another release?")?)
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

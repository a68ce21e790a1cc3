//! The admin API, `/api/v1`: agents, their revisions and figures, the tools, keys and secrets of a tenant, the tenants
//! themselves, and the zone. Who may do what was decided by the [gate](crate::gate).
//!
//! Handlers only translate. What is served is described by `openapi.json` beside this file, and a test
//! holds the two together: paths, methods, status codes and the shape of every answer.

mod access;
mod body;
mod cluster;
mod problems;
mod upload;
mod zone;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use aop_core::audit::{Action, Actor, Outcome};
use aop_core::quota::Figure;
use aop_core::{
    AgentName, AgentStatus, Audit, AuditEvent, Caller, CatalogError, Digest, LoadRequest, Origin,
    RevisionStatus, Scope, Secret, TenantName, Tool,
};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tracing::Instrument as _;

use crate::AgentStats;
use crate::app::{App, By, Still, off_the_reactor};
use crate::problem::Problem;

type AppRef = State<Arc<App>>;
type Name = Result<Path<String>, PathRejection>;

/// The largest JSON body: a key with its name and scopes takes less than a kilobyte.
const BODY_MAX_BYTES: usize = 8 << 10;

/// Every path of the API with what it answers to.
pub(crate) fn routes(upload_max_bytes: usize) -> [(&'static str, MethodRouter<Arc<App>>); 20] {
    let upload_limit = DefaultBodyLimit::max(upload_max_bytes);
    // One more, so that a value that is too long is told so by its own limit.
    let secret_limit = DefaultBodyLimit::max(Secret::LENGTH_MAX_BYTES + 1);
    let body_limit = || DefaultBodyLimit::max(BODY_MAX_BYTES);
    [
        ("/api/v1/agents", get(list_agents)),
        (
            "/api/v1/agents/{name}",
            get(show_agent).put(load_agent).delete(unload_agent).layer(upload_limit),
        ),
        ("/api/v1/agents/{name}/rollback", post(roll_back_agent)),
        ("/api/v1/tools", get(list_tools)),
        ("/api/v1/cluster", get(cluster::status)),
        ("/api/v1/cluster/servers", get(cluster::servers)),
        ("/api/v1/cluster/join-tokens", post(cluster::join_token).layer(body_limit())),
        ("/api/v1/cluster/evictions", post(cluster::evict).layer(body_limit())),
        ("/api/v1/cluster/key-rotations", post(cluster::rotate_key).layer(body_limit())),
        ("/api/v1/zone", get(zone::show)),
        ("/api/v1/zone/names/{name}", get(zone::resolve)),
        ("/api/v1/usage", get(show_usage)),
        ("/api/v1/keys", get(access::list_keys).post(access::create_key).layer(body_limit())),
        ("/api/v1/keys/{name}", delete(access::revoke_key)),
        ("/api/v1/keys/{name}/rotate", post(access::rotate_key).layer(body_limit())),
        ("/api/v1/secrets", get(access::list_secrets)),
        (
            "/api/v1/secrets/{name}",
            put(access::set_secret).delete(access::delete_secret).layer(secret_limit),
        ),
        (
            "/api/v1/tenants",
            get(access::list_tenants).post(access::create_tenant).layer(body_limit()),
        ),
        ("/api/v1/tenants/{name}", get(access::show_tenant).delete(access::delete_tenant)),
        ("/api/v1/openapi.json", get(openapi)),
    ]
}

#[derive(Serialize)]
struct Agents {
    agents: Vec<AgentStatus>,
}

#[derive(Serialize)]
struct AgentDetails {
    agent: AgentStatus,
    revisions: Vec<RevisionStatus>,
    stats: AgentStats,
    quotas: Vec<Figure>,
}

#[derive(Serialize)]
struct Usage {
    tenant: TenantName,
    quotas: Vec<Figure>,
    lane_wait_seconds: f64,
}

#[derive(Serialize)]
struct Tools<'a> {
    tools: &'a [Arc<Tool>],
}

fn name(path: Name) -> Result<String, Problem> {
    let Path(name) =
        path.map_err(|error| Problem::new(error.status(), "bad_request", error.body_text()))?;
    Ok(name)
}

async fn list_agents(State(app): AppRef, By(by): By) -> Result<Response, Problem> {
    let tenant = by.tenant;
    off_the_reactor(move || {
        Json(Agents { agents: app.state.catalog.list(&tenant) }).into_response()
    })
    .await
}

async fn show_agent(
    State(app): AppRef,
    By(by): By,
    path: Name,
) -> Result<Json<AgentDetails>, Problem> {
    let (tenant, name) = (by.tenant, name(path)?);
    let agent =
        app.state.catalog.show(&tenant, &name).ok_or_else(|| problems::no_such_agent(&name))?;
    let revisions = app.state.catalog.revisions(&tenant, &name).await?;
    let stats = app.state.metrics.stats(&tenant, &name);
    let account = app.state.accounts.agent(&tenant, &name);
    let quotas = account.map(|account| account.figures(Instant::now())).unwrap_or_default();
    Ok(Json(AgentDetails { agent, revisions, stats, quotas }))
}

async fn show_usage(State(app): AppRef, By(by): By) -> Json<Usage> {
    let tenant = by.tenant;
    let account = app.state.accounts.tenant(&tenant);
    Json(Usage {
        quotas: account.figures(Instant::now()),
        lane_wait_seconds: account.turn_wait().as_secs_f64(),
        tenant,
    })
}

async fn load_agent(
    State(app): AppRef,
    By(by): By,
    still: Still,
    path: Name,
    request: upload::Request,
) -> Result<Response, Problem> {
    let (caller, name) = (by, name(path)?);
    let name = AgentName::new(&name).map_err(|error| problems::invalid(error.to_string()))?;
    // Held until the component is loaded. A host that is busy with others leaves this one unread, so
    // that the sender's own network holds it.
    let agent = app.state.accounts.payer(&caller.tenant, &name);
    let mut turn = app.uploads.turn(agent.party()).await.ok_or_else(problems::too_many_uploads)?;
    let received = AtomicU64::new(0);
    let upload::Upload { component, settings } = tokio::select! {
        read = upload::read(request, app.state.upload_max_bytes, &received) => read?,
        () = app.uploads.crowded_out(&received) => return Err(problems::crowded_out()),
    };
    turn.has_read();
    still.check()?;
    let standing = still.standing();
    whole(async move {
        let _turn = turn;
        let change = Change { audit: &*app.state.audit, caller: &caller, agent: &name };
        if settings.grant_anything() && !app.state.uploads_may_grant {
            change.refuse("web.uploads_may_grant", "settings in an upload may not grant anything");
            return Err(problems::grants_refused());
        }
        // A rule may name any host, and the policy of another agent need not: who loads agents would read every secret.
        if settings.name_secrets() && !caller.scopes.has(Scope::TenantAdmin) {
            let rule = "settings in an upload name secrets, and the caller may not manage them";
            change.refuse("policy.http", rule);
            return Err(problems::secrets_refused());
        }
        let tenant = &caller.tenant;
        // What another tenant shares under that name stays its own.
        let is_own = |known: AgentStatus| !matches!(known.origin, Origin::Elsewhere { .. });
        let is_new = !app.state.catalog.show(tenant, &name).is_some_and(is_own);
        let digest = Digest::of(&component).to_string();
        let name = name.clone();
        let request = LoadRequest { name, id: None, component, settings, standing };
        let loaded = app.state.catalog.load(tenant, request).await;
        let agent = change.note(Action::AgentLoad, &digest, loaded)?;
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        Ok((status, Json(agent)).into_response())
    })
    .await
}

async fn unload_agent(State(app): AppRef, By(by): By, path: Name) -> Result<StatusCode, Problem> {
    let (caller, name) = (by, name(path)?);
    whole(async move {
        let unloaded = app.state.catalog.unload(&caller.tenant, &name).await;
        change_of(&app, &caller, &name, Action::AgentUnload, unloaded)?;
        app.state.metrics.unloaded(&caller.tenant, &name);
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

async fn roll_back_agent(
    State(app): AppRef,
    By(by): By,
    path: Name,
) -> Result<Json<AgentStatus>, Problem> {
    let (caller, name) = (by, name(path)?);
    whole(async move {
        let back = app.state.catalog.rollback(&caller.tenant, &name).await;
        Ok(Json(change_of(&app, &caller, &name, Action::AgentRollback, back)?))
    })
    .await
}

/// Makes a change and writes it down as a task of its own: a client that closes its connection in between must not be
/// able to have one without the other.
async fn whole<T: Send + 'static>(
    change: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let ended = tokio::spawn(change.in_current_span()).await;
    ended.unwrap_or_else(|error| Err(Problem::internal(format!("the change ended early: {error}"))))
}

/// A change that somebody asked for.
struct Change<'a> {
    audit: &'a dyn Audit,
    caller: &'a Caller,
    agent: &'a AgentName,
}

impl Change<'_> {
    /// Writes down how it ended.
    fn note<T>(
        &self,
        action: Action,
        subject: &str,
        result: Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let (outcome, reason) = match &result {
            Ok(_) => (Outcome::Done, String::new()),
            Err(CatalogError::Refused { setting, reason }) => {
                self.refuse(setting, reason);
                return result;
            }
            // What does not exist was no attempt at anything.
            Err(CatalogError::NoSuchAgent(_)) => return result,
            Err(error) => (Outcome::Failed, error.to_string()),
        };
        self.audit.note(AuditEvent { outcome, ..self.event(action, subject, &reason) });
        result
    }

    /// Writes down that a setting of the host refuses it.
    fn refuse(&self, setting: &str, rule: &str) {
        let event = self.event(Action::PolicyRefuse, setting, rule);
        self.audit.note(AuditEvent { outcome: Outcome::Refused, ..event });
    }

    const fn event<'e>(
        &'e self,
        action: Action,
        subject: &'e str,
        detail: &'e str,
    ) -> AuditEvent<'e> {
        AuditEvent {
            who: Actor::Caller(&self.caller.subject),
            action,
            outcome: Outcome::Done,
            tenant: Some(&self.caller.tenant),
            agent: Some(self.agent),
            subject,
            detail,
        }
    }
}

/// Writes down how a change of an agent ended. What has no agent's name changes nothing.
fn change_of<T>(
    app: &App,
    caller: &Caller,
    name: &str,
    action: Action,
    result: Result<T, CatalogError>,
) -> Result<T, CatalogError> {
    match AgentName::new(name) {
        Ok(agent) => {
            Change { audit: &*app.state.audit, caller, agent: &agent }.note(action, "", result)
        }
        Err(_) => result,
    }
}

async fn list_tools(State(app): AppRef, By(by): By) -> Result<Response, Problem> {
    let tenant = by.tenant;
    let tools = app.state.catalog.tools(&tenant);
    off_the_reactor(move || Json(Tools { tools: &tools.tools }).into_response()).await
}

async fn openapi() -> Response {
    const DOCUMENT: &str = include_str!("openapi.json");
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], DOCUMENT)
        .into_response()
}

#[cfg(test)]
mod tests;

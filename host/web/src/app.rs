//! The routes that are not MCP's: health, metrics, the admin API, and an index of them all, which for browsers is the
//! dashboard.

use std::convert::Infallible;
use std::sync::Arc;

use aop_core::cluster::{Cluster, ReportServers};
use aop_core::federation::Federation;
use aop_core::quota::Accounts;
use aop_core::{Admin, AdminError, Audit, Caller, Catalog, Scope, Standing};
use axum::Router;
use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde::Serialize;

use crate::gate::{ProtectedResource, WELL_KNOWN};
use crate::problem::{Problem, quoted};
use crate::uploads::Uploads;
use crate::{Metrics, Readiness, api, dashboard};

/// The default of [`AppState::upload_max_bytes`]: 72 MiB holds a 64 MiB component, more than three
/// times the largest language runtime (Python, 18 MB), with its settings.
pub const UPLOAD_MAX_BYTES: usize = 72 << 20;

/// What the routes stand on.
#[derive(Clone)]
pub struct AppState {
    /// The agents.
    pub catalog: Arc<dyn Catalog>,
    /// The zone.
    pub cluster: Arc<dyn Cluster>,
    /// The MCP servers that it mounts.
    pub servers: Arc<dyn ReportServers>,
    /// The other zones; none for a host that belongs to none.
    pub federation: Option<Arc<dyn Federation>>,
    /// What tenants and agents may use, and use.
    pub accounts: Arc<Accounts>,
    /// Tenants, keys and secrets.
    pub admin: Arc<dyn Admin>,
    /// What clients that want a token are told.
    pub resource: ProtectedResource,
    /// Where it is written down who changed what.
    pub audit: Arc<dyn Audit>,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// Whether the host wants traffic.
    pub readiness: Readiness,
    /// The name in the index.
    pub server_name: String,
    /// The most that one upload may have: the component, its settings and the framing of both.
    pub upload_max_bytes: usize,
    /// Whether settings in an upload may grant a policy or a model. Whoever reaches the API could
    /// otherwise read what the host's own user can read.
    pub uploads_may_grant: bool,
}

/// The state of every handler.
pub(crate) struct App {
    pub(crate) state: AppState,
    pub(crate) uploads: Uploads,
}

/// Builds the routes. The result has a fallback of its own (a 404 in JSON): merge routers without one
/// into it, then wrap everything with a [`Gate`](crate::Gate), without which no route has a caller, and that with a
/// [`Guard`](crate::Guard).
pub fn router(state: AppState) -> Router {
    let upload_max_bytes = state.upload_max_bytes;
    let app = Arc::new(App { state, uploads: Uploads::default() });
    let mut router = Router::new()
        .route("/", get(index))
        .merge(dashboard::routes())
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route(WELL_KNOWN, get(protected_host))
        .route(&format!("{WELL_KNOWN}/{{*path}}"), get(protected_resource));
    for (path, methods) in api::routes(upload_max_bytes) {
        router = router.route(path, methods);
    }
    router.method_not_allowed_fallback(method_not_allowed).fallback(not_found).with_state(app)
}

async fn not_found(uri: Uri) -> Problem {
    let message = format!("there is nothing at `{}`: see / for what there is", quoted(uri.path()));
    Problem::new(StatusCode::NOT_FOUND, "not_found", message)
}

/// The router adds the `Allow` header.
async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::wrong_method(&method, uri.path())
}

/// Touches nothing that could be busy: it answers as long as the process can.
async fn healthz() -> &'static str {
    "ok\n"
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
}

async fn readyz(State(app): State<Arc<App>>) -> Result<axum::Json<Ready>, Problem> {
    match app.state.readiness.obstacle() {
        None => Ok(axum::Json(Ready { ready: true })),
        Some(reason) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", reason)),
    }
}

/// Whoever asks, as the gate found. Without a gate in front, nobody does.
pub(crate) struct By(pub(crate) Caller);

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Problem> {
        let standing = parts.extensions.get::<Standing>().map(Standing::caller);
        let caller = standing.or_else(|| parts.extensions.get()).cloned();
        caller.map(Self).ok_or_else(|| {
            let message = "this host asks for a credential";
            Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", message)
        })
    }
}

/// Whether whoever asks may still have it, which is asked after a body was read. Without a gate in front, nobody can take
/// it away.
pub(crate) struct Still(Option<Standing>);

impl Still {
    pub(crate) fn of(extensions: &http::Extensions) -> Self {
        Self(extensions.get().cloned())
    }

    /// Fails when the caller's word counts no more. The gate says the rest.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        match &self.0 {
            Some(standing) if !standing.holds() => Err(AdminError::Lapsed.into()),
            _ => Ok(()),
        }
    }

    /// For what goes on after the body was read.
    pub(crate) fn standing(&self) -> Option<Standing> {
        self.0.clone()
    }

    /// What manages access, for whoever asks: what comes in between its last look and a change is looked at there.
    pub(crate) fn admin(self, app: &App) -> Arc<dyn Admin> {
        let admin = Arc::clone(&app.state.admin);
        match self.0 {
            Some(standing) => admin.under(standing),
            None => admin,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Still {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// RFC 9728, for the host as a whole.
async fn protected_host(state: State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    metadata(&state, &headers, "")
}

/// The same for one path of it. Whether a tenant of that name exists is not told.
async fn protected_resource(
    state: State<Arc<App>>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let is_endpoint = path == "mcp"
        || path.strip_prefix("t/").and_then(|rest| rest.strip_suffix("/mcp")).is_some_and(
            |tenant| {
                !tenant.is_empty() && tenant.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
            },
        );
    if !is_endpoint {
        return Err(no_metadata());
    }
    metadata(&state, &headers, &format!("/{path}"))
}

fn metadata(app: &App, headers: &HeaderMap, path: &str) -> Result<Response, Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let metadata = app.state.resource.metadata(host, path).ok_or_else(no_metadata)?;
    Ok(axum::Json(metadata).into_response())
}

fn no_metadata() -> Problem {
    let message = "this host takes no tokens here: its keys are API keys";
    Problem::new(StatusCode::NOT_FOUND, "not_found", message)
}

/// The figures of the caller's tenant; those of all tenants and of the host itself only for whoever manages them.
async fn metrics(State(app): State<Arc<App>>, By(by): By) -> Result<Response, Problem> {
    let text = off_the_reactor(move || {
        let only = (!by.scopes.has(Scope::ClusterAdmin)).then_some(&by.tenant);
        app.state.metrics.render(&*app.state.catalog, only)
    })
    .await?;
    let kind =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// Runs work that takes milliseconds with thousands of agents where it delays no timer and no call.
pub(crate) async fn off_the_reactor<T, F>(work: F) -> Result<T, Problem>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Problem::internal(format!("the answer could not be put together: {error}"))
    })
}

/// What there is to see, and in one sentence what it is.
const LINKS: [(&str, &str); 9] = [
    ("/mcp", "MCP endpoint (streamable HTTP): point an MCP client here"),
    ("/healthz", "whether the process is up"),
    ("/readyz", "whether the host wants traffic"),
    ("/metrics", "metrics in the OpenMetrics format"),
    ("/api/v1/agents", "the loaded agents"),
    ("/api/v1/tools", "their tools"),
    ("/api/v1/cluster", "the zone that this host is in"),
    ("/api/v1/usage", "what is used of quotas"),
    ("/api/v1/openapi.json", "the admin API"),
];

#[derive(Serialize)]
struct Index<'a> {
    name: &'a str,
    version: &'a str,
    ready: bool,
    links: [Link; LINKS.len()],
}

#[derive(Serialize)]
struct Link {
    href: &'static str,
    description: &'static str,
}

async fn index(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let name = app.state.server_name.as_str();
    let wants_html = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if wants_html {
        return dashboard::page();
    }
    let links = LINKS.map(|(href, description)| Link { href, description });
    // As `/readyz` does: a host that lacks something is not ready, whatever its phase.
    let ready = app.state.readiness.obstacle().is_none();
    axum::Json(Index { name, version: env!("CARGO_PKG_VERSION"), ready, links }).into_response()
}

#[cfg(test)]
mod tests;

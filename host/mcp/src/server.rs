//! The server as the binary sees it.

use std::sync::Arc;

use aop_core::federation::Federation;
use aop_core::{BoxFuture, Caller, Catalog, Invoke, Library, Tasks, Tenancy, Tenant};
use tokio_util::sync::CancellationToken;

use crate::beside::Beside;
use crate::changes::Changes;
use crate::config::McpConfig;
use crate::edge::Edge;
use crate::error::McpError;
use crate::http::Http;
use crate::measure::Counters;
use crate::session::{SessionLimits, Sessions};
use crate::stdio;

/// What the edge serves.
#[derive(Clone)]
pub struct McpParts {
    /// Whose tools exist.
    pub catalog: Arc<dyn Catalog>,
    /// Runs calls. It answers an unknown tool with `not_found`, not executed.
    pub invoke: Arc<dyn Invoke>,
    /// Finds tools.
    pub library: Library,
    /// The other zones; none for a host that belongs to none.
    pub federation: Option<Arc<dyn Federation>>,
    /// The hub that the registry tells of changes.
    pub changes: Arc<Changes>,
    /// Where tasks are kept; without it no call becomes one.
    pub tasks: Option<Arc<dyn Tasks>>,
}

/// The MCP server. Clones are the same server.
#[derive(Clone)]
pub struct McpServer {
    edge: Arc<Edge>,
    sessions: Arc<Sessions>,
    http: Arc<Http>,
    draining: CancellationToken,
}

impl McpServer {
    /// A server that listens nowhere yet.
    #[must_use]
    pub fn new(config: McpConfig, parts: McpParts) -> Self {
        Self::with_fast_path(config, parts, true)
    }

    pub(crate) fn with_fast_path(config: McpConfig, parts: McpParts, fast_path: bool) -> Self {
        let limits = SessionLimits {
            sessions_max: config.sessions_max,
            pending_max: config.pending_max,
            idle_timeout: config.session_idle_timeout,
            list_changed_window: config.list_changed_window,
            subscriptions_max: config.subscriptions_max,
        };
        let draining = CancellationToken::new();
        let changes = parts.changes.clone();
        let edge = Arc::new(Edge::new(config, parts));
        let sessions = Sessions::new(limits, changes, draining.clone(), edge.counters.clone());
        let http = Arc::new(Http::new(edge.clone(), sessions.clone(), draining.clone(), fast_path));
        Self { edge, sessions, http, draining }
    }

    /// `/mcp` in front of `others`, for the [`Caller`] that whoever mounts it puts into the extensions of a request. A request
    /// without one is refused.
    ///
    /// It also trusts the `Host` and `Origin` of a request: a guard against DNS rebinding belongs in front,
    /// as `web` has for the whole application.
    pub fn beside<S>(&self, others: S) -> Beside<S> {
        Beside::new(Arc::clone(&self.http), others)
    }

    /// Serves one client, which is `caller`, on standard input and output until it closes them or `shutdown` resolves.
    /// Running calls may then still answer: for `stdio_grace` after the client left, to their own
    /// deadlines after `shutdown`. Dropping the future stops everything at once.
    ///
    /// # Errors
    /// [`McpError`] when the standard streams fail.
    pub async fn serve_stdio(
        &self,
        caller: Caller,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), McpError> {
        let (input, output) = rmcp::transport::stdio_pipes();
        self.serve_pipe(caller, input, output, shutdown).await
    }

    /// [`Self::serve_stdio`] on any pair of streams.
    pub(crate) async fn serve_pipe<R, W>(
        &self,
        caller: Caller,
        input: R,
        output: W,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), McpError>
    where
        R: tokio::io::AsyncRead + Send + Unpin + 'static,
        W: tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        stdio::serve(self.edge.clone(), caller, self.draining.clone(), input, output, shutdown)
            .await
    }

    /// Refuses new requests, ends event streams, calls whose client would have to come back, and every session
    /// without a running request. What runs is answered. For a graceful shutdown; there is no way back.
    pub fn drain(&self) {
        self.draining.cancel();
        self.edge.parked.close();
        self.sessions.drain();
    }

    #[cfg(test)]
    pub(crate) fn edge(&self) -> &Edge {
        &self.edge
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.edge.counters
    }

    pub(crate) fn calls_parked(&self) -> u64 {
        self.edge.parked.count() as u64
    }

    pub(crate) fn tasks_running(&self) -> u64 {
        self.edge.tasks.as_ref().map_or(0, |tasks| tasks.count() as u64)
    }

    pub(crate) fn sessions_open(&self) -> u64 {
        self.sessions.count() as u64
    }

    pub(crate) fn streams_open(&self) -> u64 {
        self.http.streams_open() as u64
    }
}

impl Tenancy for McpServer {
    fn begin(&self, _: &Tenant) {}

    fn end<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let tenant = &tenant.name;
            self.sessions.end(tenant);
            self.edge.parked.end(tenant);
            if let Some(tasks) = &self.edge.tasks {
                tasks.end(tenant).await;
            }
            self.edge.forget(tenant);
            self.edge.parts.changes.forget(tenant);
            Ok(())
        })
    }
}

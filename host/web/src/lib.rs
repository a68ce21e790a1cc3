//! The web side of the host: the HTTP server that everything on the one port runs in, the guard in
//! front of it, health, metrics and the admin API. MCP itself is another router that `cli` merges in.
//!
//! What bounds it: [`Server`] bounds connections, headers and the patience with slow clients;
//! [`Guard`] lets no web page reach a host by tricks of name resolution or forged forms; [`Gate`] lets nobody in whom
//! `access` does not know; uploads are
//! bounded in size, time and number; metric series are bounded by the loaded agents.
//!
//! Nothing here decides anything about agents: handlers translate HTTP to the traits of `aop-core`
//! and back, with one mapping of errors to status codes.

mod api;
mod app;
mod dashboard;
mod error;
mod gate;
mod guard;
mod metrics;
mod problem;
mod readiness;
mod server;
#[cfg(test)]
mod testing;
mod uploads;

pub use app::{AppState, UPLOAD_MAX_BYTES, router};
pub use error::WebError;
pub use gate::{Gate, Gated, ProtectedResource};
pub use guard::{Guard, GuardConfig, Guarded};
pub use metrics::{AgentStats, Metrics};
pub use readiness::{Phase, Readiness};
pub use server::{Server, ServerConfig};

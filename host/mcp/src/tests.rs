//! The whole edge against fakes of the traits it serves, driven as HTTP requests without a socket.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests, and what a fuzz target stands on")]
#![cfg_attr(
    not(test),
    allow(dead_code, unused_imports, reason = "a fuzz target uses a part of it")
)]

#[cfg(test)]
mod asking;
pub(crate) mod compared;
#[cfg(test)]
mod differential;
mod fakes;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod listening;
pub(crate) mod requests;
#[cfg(test)]
mod rounds;
#[cfg(test)]
mod scopes;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod socket;
#[cfg(test)]
mod stateless;

pub(crate) use self::fakes::{CALL_ID, World, skill, tool};
pub(crate) use self::requests::{Answer, post, send};

use aop_core::{Caller, Scopes, Subject, TenantName};
use axum::Router;
use axum::body::Body;
use http::Request;
use tower::util::MapRequest;

use crate::{Beside, McpServer};

/// Whoever uses a host that is open to its own machine.
pub(crate) fn local(tenant: &str) -> Caller {
    Caller::local(TenantName::new(tenant).unwrap())
}

type Mounted = MapRequest<Beside<Router>, fn(Request<Body>) -> Request<Body>>;

/// The server as the host mounts it: a request gets its caller in front. Here whoever asks says so: the tenant in the
/// path, in `test-subject` a key, in `test-scopes` the scopes.
pub(crate) fn mounted(server: &McpServer) -> Mounted {
    MapRequest::new(server.beside(Router::new()), |mut request| {
        let path = request.uri().path().to_owned();
        let tenant = path.strip_prefix("/t/").and_then(|rest| rest.strip_suffix("/mcp"));
        let mut caller = local(tenant.unwrap_or("default"));
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
        if let Some(id) = header("test-subject") {
            caller.subject = Subject::Key { id: id.into() };
        }
        if let Some(scopes) = header("test-scopes") {
            let scopes = scopes.split_whitespace().map(|scope| scope.parse().unwrap());
            caller.scopes = scopes.collect::<Scopes>();
        }
        if tenant.is_some() {
            *request.uri_mut() = "/mcp".parse().unwrap();
        }
        request.extensions_mut().insert(caller);
        request
    })
}

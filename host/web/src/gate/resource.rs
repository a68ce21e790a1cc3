//! This host as a protected resource of OAuth (RFC 9728).

use axum::body::Body;
use http::{Request, header};
use serde::Serialize;

/// Where the document about a resource is, in front of the resource's own path.
pub(crate) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What clients that want a token are told.
#[derive(Debug, Clone, Default)]
pub struct ProtectedResource {
    /// What the host is called.
    pub name: String,
    /// The issuers whose tokens are believed. Without one, there is no such document.
    pub issuers: Vec<String>,
    /// What the host's own URL begins with, such as `https://aop.example.com`; without it, `http://` and the host that a request
    /// names, which the guard has checked.
    pub public_url: Option<String>,
}

/// The document.
#[derive(Debug, Serialize)]
pub(crate) struct Metadata<'a> {
    resource: String,
    authorization_servers: &'a [String],
    scopes_supported: Vec<&'static str>,
    bearer_methods_supported: [&'static str; 1],
    resource_name: &'a str,
}

impl ProtectedResource {
    fn base(&self, host: Option<&str>) -> Option<String> {
        match &self.public_url {
            Some(url) => Some(url.trim_end_matches('/').to_owned()),
            None => host.map(|host| format!("http://{host}")),
        }
    }

    /// Where the document about the resource of a request is; none when there is none.
    pub(super) fn metadata_url(
        &self,
        request: &Request<Body>,
        tenant: Option<&str>,
    ) -> Option<String> {
        if self.issuers.is_empty() {
            return None;
        }
        let base = self.base(host(request))?;
        // The admin API is no resource of its own: a token for MCP works there, as far as its scopes go.
        let path = match tenant {
            // A name with other characters is no tenant's, and must not end a quoted string.
            Some(tenant) if tenant.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') => {
                format!("/t/{tenant}/mcp")
            }
            _ => "/mcp".to_owned(),
        };
        Some(format!("{base}{WELL_KNOWN}{path}"))
    }

    /// The document about the resource at `path`; none when there is none.
    pub(crate) fn metadata(&self, host: Option<&str>, path: &str) -> Option<Metadata<'_>> {
        if self.issuers.is_empty() {
            return None;
        }
        Some(Metadata {
            resource: format!("{}{path}", self.base(host)?),
            authorization_servers: &self.issuers,
            scopes_supported: aop_core::Scope::ALL.iter().map(|scope| scope.as_str()).collect(),
            bearer_methods_supported: ["header"],
            resource_name: &self.name,
        })
    }
}

/// The host that a request names.
fn host(request: &Request<Body>) -> Option<&str> {
    let named = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    named.or_else(|| request.uri().authority().map(http::uri::Authority::as_str))
}

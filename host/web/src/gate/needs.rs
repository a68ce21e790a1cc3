//! What each route needs. A route without a line here needs `cluster:admin`.

use aop_core::{Scope, Scopes};
use http::Method;

/// What a request needs to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Anybody may.
    Nothing,
    /// Somebody who is known; what they may do is decided by what is in the body.
    Caller,
    /// This scope.
    Scope(Scope),
    /// The path has other methods. Whoever may use one of them is told which; for everybody else it is as a path without a
    /// line.
    OtherMethod,
}

const LIST: Need = Need::Scope(Scope::ToolsList);
const WRITE: Need = Need::Scope(Scope::AgentsWrite);
const TENANT: Need = Need::Scope(Scope::TenantAdmin);
const CLUSTER: Need = Need::Scope(Scope::ClusterAdmin);

/// Methods, a path in which `{}` stands for one segment and a last `*` for any rest, and what it needs.
pub(crate) const ROUTES: &[(&[Method], &str, Need)] = &[
    (&[Method::GET], "/", Need::Nothing),
    // The page without what it shows.
    (&[Method::GET], "/dashboard.css", Need::Nothing),
    (&[Method::GET], "/dashboard.js", Need::Nothing),
    (&[Method::GET], "/healthz", Need::Nothing),
    (&[Method::GET], "/readyz", Need::Nothing),
    // Clients come for these before they have anything (RFC 9728).
    (&[Method::GET], "/.well-known/oauth-protected-resource", Need::Nothing),
    (&[Method::GET], "/.well-known/oauth-protected-resource/*", Need::Nothing),
    (&[Method::GET, Method::POST, Method::DELETE], "/mcp", Need::Caller),
    (&[Method::GET], "/metrics", TENANT),
    (&[Method::GET], "/api/v1/openapi.json", Need::Nothing),
    (&[Method::GET], "/api/v1/agents", LIST),
    (&[Method::GET], "/api/v1/agents/{}", LIST),
    (&[Method::PUT, Method::DELETE], "/api/v1/agents/{}", WRITE),
    (&[Method::POST], "/api/v1/agents/{}/rollback", WRITE),
    (&[Method::GET], "/api/v1/tools", LIST),
    (&[Method::GET, Method::POST], "/api/v1/keys", TENANT),
    (&[Method::DELETE], "/api/v1/keys/{}", TENANT),
    (&[Method::POST], "/api/v1/keys/{}/rotate", TENANT),
    (&[Method::GET], "/api/v1/secrets", TENANT),
    (&[Method::PUT, Method::DELETE], "/api/v1/secrets/{}", TENANT),
    (&[Method::GET], "/api/v1/usage", TENANT),
    // It tells of every tenant's exports, and of the zones that the host trusts.
    (&[Method::GET], "/api/v1/zone", CLUSTER),
    (&[Method::GET], "/api/v1/zone/names/{}", LIST),
    // Other zones prove who they are with signatures of their own.
    (&[Method::POST], "/zone/v1/resolve", Need::Nothing),
    (&[Method::POST], "/zone/v1/search", Need::Nothing),
    (&[Method::GET], "/zone/v1/descriptors/{}", Need::Nothing),
    (&[Method::POST], "/zone/v1/mcp", Need::Nothing),
    (&[Method::GET, Method::POST], "/zone/v1/below/*", Need::Nothing),
    (&[Method::GET], "/.well-known/aop-zone.json", Need::Nothing),
    (&[Method::GET], "/.well-known/ai-catalog.json", Need::Nothing),
    (&[Method::GET], "/.well-known/agent-card.json", Need::Nothing),
    (&[Method::GET], "/v0.1/servers", Need::Nothing),
    (&[Method::GET], "/v0.1/servers/{}/versions", Need::Nothing),
    (&[Method::GET], "/v0.1/servers/{}/versions/{}", Need::Nothing),
    (&[Method::GET], "/api/v1/cluster", CLUSTER),
    (&[Method::GET], "/api/v1/cluster/servers", CLUSTER),
    (&[Method::POST], "/api/v1/cluster/join-tokens", CLUSTER),
    (&[Method::POST], "/api/v1/cluster/evictions", CLUSTER),
    (&[Method::POST], "/api/v1/cluster/key-rotations", CLUSTER),
    (&[Method::GET, Method::POST], "/api/v1/tenants", CLUSTER),
    (&[Method::GET, Method::DELETE], "/api/v1/tenants/{}", CLUSTER),
];

/// What a request needs.
pub(crate) fn needs(method: &Method, path: &str) -> Need {
    // The one path that is called often comes first; HEAD asks for what GET answers.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    if path == "/mcp" {
        return Need::Caller;
    }
    let mut lines = lines(path).peekable();
    let without = if lines.peek().is_some() { Need::OtherMethod } else { CLUSTER };
    lines.find(|(methods, _)| methods.contains(method)).map_or(without, |(_, need)| need)
}

/// The methods that a path has, as `Allow` tells them, if the scopes are enough for one of them.
pub(crate) fn allowed(path: &str, scopes: Scopes) -> Option<String> {
    let may = |need: Need| match need {
        Need::Nothing | Need::Caller => true,
        Need::Scope(scope) => scopes.has(scope),
        Need::OtherMethod => false,
    };
    if !lines(path).any(|(_, need)| may(need)) {
        return None;
    }
    let methods = lines(path).flat_map(|(methods, _)| methods);
    let methods: Vec<_> = methods
        .map(|method| if method == Method::GET { "GET,HEAD" } else { method.as_str() })
        .collect();
    Some(methods.join(","))
}

/// The lines of a path: methods, and what they need.
fn lines(path: &str) -> impl Iterator<Item = (&'static [Method], Need)> {
    let of_path = ROUTES.iter().filter(move |(_, pattern, _)| matches(pattern, path));
    of_path.map(|(methods, _, need)| (*methods, *need))
}

fn matches(pattern: &str, path: &str) -> bool {
    if let Some(front) = pattern.strip_suffix('*') {
        return path.starts_with(front);
    }
    let (mut expected, mut found) = (pattern.split('/'), path.split('/'));
    loop {
        match (expected.next(), found.next()) {
            (None, None) => return true,
            (Some("{}"), Some(segment)) if !segment.is_empty() => {}
            (Some(expected), Some(found)) if expected == found => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_line_is_for_the_cluster_admin() {
        for path in [
            "/api/v1/new",
            "/api/v1/agents/a/b",
            "/api/v1/agents/",
            "/API/v1/tools",
            "//mcp",
            "/mcp/",
            "/debug",
        ] {
            assert_eq!(needs(&Method::GET, path), CLUSTER, "{path}");
        }
        assert_eq!(needs(&Method::GET, "/api/v1/zone"), CLUSTER, "it tells of every tenant");
    }

    #[test]
    fn another_method_is_told_to_whoever_may_use_one_that_is_there() {
        assert_eq!(needs(&Method::PATCH, "/api/v1/agents/a"), Need::OtherMethod);
        assert_eq!(needs(&Method::POST, "/healthz"), Need::OtherMethod);
        let (none, list) = (Scopes::from(vec![]), Scopes::from(vec![Scope::ToolsList]));
        assert_eq!(allowed("/healthz", none).as_deref(), Some("GET,HEAD"));
        assert_eq!(allowed("/api/v1/agents/a", none), None);
        assert_eq!(allowed("/api/v1/agents/a", list).as_deref(), Some("GET,HEAD,PUT,DELETE"));
        assert_eq!(allowed("/api/v1/keys", list), None);
        assert_eq!(allowed("/api/v1/new", Scopes::ALL), None);
    }

    #[test]
    fn lines_match_segment_by_segment() {
        assert_eq!(needs(&Method::HEAD, "/healthz"), Need::Nothing);
        assert_eq!(needs(&Method::GET, "/api/v1/agents/echo"), LIST);
        assert_eq!(needs(&Method::DELETE, "/api/v1/agents/echo"), WRITE);
        assert_eq!(
            needs(&Method::GET, "/.well-known/oauth-protected-resource/t/a/mcp"),
            Need::Nothing
        );
        assert_eq!(needs(&Method::PUT, "/mcp"), Need::Caller);
    }
}

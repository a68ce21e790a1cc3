//! The dashboard: three files that a browser loads, and that show what the admin API gives to whoever looks.
//!
//! The page itself says nothing of the host, so anybody may load it; what it shows passes the same gate as any request,
//! with a key that its user types and that stays in the page's memory. There are no cookies, so there is nothing
//! that another site could ride on, and the policy below allows no script, style or connection but the host's own
//! (OWASP, Content Security Policy and Cross-Site Request Forgery Prevention cheat sheets). No build step and no
//! library: what is served is what is read here.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderName, HeaderValue, header};

const PAGE: &str = include_str!("dashboard/index.html");
const STYLE: &str = include_str!("dashboard/dashboard.css");
const SCRIPT: &str = include_str!("dashboard/dashboard.js");

const CONTENT_SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// What the page loads.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/dashboard.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
        .route("/dashboard.js", get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }))
}

/// The page.
pub(crate) fn page() -> Response {
    file("text/html; charset=utf-8", PAGE)
}

fn file(kind: &'static str, text: &'static str) -> Response {
    const HEADERS: [(HeaderName, &str); 6] = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        // A new version of the host must not meet an old page.
        (header::CACHE_CONTROL, "no-cache"),
        // Programs get an index in JSON at the page's address.
        (header::VARY, "accept"),
    ];
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
        .headers_mut()
        .extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

#[cfg(test)]
mod tests;

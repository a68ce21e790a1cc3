//! CORS for the origins that the operator trusts, as the Fetch standard has it.

use axum::body::Body;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};

use super::VARY_ORIGIN;

/// How long a browser may remember that a request is allowed: ten minutes, so that taking an origin
/// away works soon.
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("600");

/// The answer to a preflight request of a trusted origin; none for any other request. Everything is
/// allowed to it, since the operator trusts it, and the methods and headers of MCP grow over time.
pub(super) fn preflight(request: &Request<Body>, origin: &HeaderValue) -> Option<Response<Body>> {
    let method = request.headers().get(ACCESS_CONTROL_REQUEST_METHOD);
    let method = method.filter(|_| request.method() == Method::OPTIONS)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS);
    if let Some(asked) = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    headers.append(VARY_ORIGIN.0, VARY_ORIGIN.1);
    Some(response)
}

/// Lets a page of a trusted origin read a response, headers such as `Mcp-Session-Id` included.
pub(super) fn expose(response: &mut Response<Body>, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    headers.append(VARY_ORIGIN.0, VARY_ORIGIN.1);
}

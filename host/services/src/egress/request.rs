//! Makes a guest's request fit for the wire: what is between two hops is the host's, so that no header can make
//! a server see another request, or another host, than the one that was checked.

use std::sync::Arc;

use aop_core::egress::{EgressBody, EgressError};
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Uri, Version};
use http_body::Body as _;

use super::body::RequestBody;
use super::inject::Injected;
use crate::network::Target;
use crate::share::Place;

/// Headers that end at the next hop.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The request in origin form, with headers and body as the host will send them.
pub(super) fn prepare(
    request: Request<EgressBody>,
    target: &Target,
    body_max_bytes: u64,
    place: Arc<Place>,
    injected: Injected,
) -> Result<Request<EgressBody>, EgressError> {
    let (mut parts, body) = request.into_parts();
    // TRACE asks a server to repeat the request, with what the host added to it.
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        let message = format!("{} is not for agents: request the URL itself", parts.method);
        return Err(EgressError::Denied(message));
    }
    let declared = content_length(&parts.headers)?;
    remove_hop_by_hop(&mut parts.headers);
    for name in [HOST, CONTENT_LENGTH, EXPECT] {
        parts.headers.remove(name);
    }
    let host = HeaderValue::try_from(target.host_header())
        .map_err(|error| EgressError::Denied(format!("the URL's host: {error}")))?;
    parts.headers.insert(HOST, host);
    injected.apply(&mut parts.headers);
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    parts.uri = Uri::try_from(path)
        .map_err(|error| EgressError::Denied(format!("the URL's path: {error}")))?;
    parts.version = Version::HTTP_11;
    let length = declared.or(body.size_hint().exact());
    if length.is_some_and(|length| length > body_max_bytes) {
        return Err(EgressError::Protocol(format!(
            "the request's body is larger than {body_max_bytes} bytes"
        )));
    }
    let body: EgressBody = Box::pin(RequestBody::new(body, length, body_max_bytes, place));
    Ok(Request::from_parts(parts, body))
}

/// Removes what is between two hops, with what the connection itself names.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// The length that the guest announces. Two that differ are how one request becomes two.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, EgressError> {
    let wrong = || EgressError::Denied("the request's Content-Length is not one number".to_owned());
    let mut found = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let text = value.to_str().map_err(|_| wrong())?;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let length = text.parse::<u64>().map_err(|_| wrong())?;
        if found.is_some_and(|other| other != length) {
            return Err(wrong());
        }
        found = Some(length);
    }
    Ok(found)
}

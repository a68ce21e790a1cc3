//! How the web side says no: one JSON shape, `{"code": …, "message": …}`.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};
use serde::Serialize;

/// A refusal or failure as its caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// Stable, for programs.
    pub(crate) code: &'static str,
    /// For people: what is wrong and what to do.
    pub(crate) message: String,
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'a str,
    message: &'a str,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// Whoever answers with it adds the `Allow` header.
    pub(crate) fn wrong_method(method: &Method, path: &str) -> Self {
        let message = format!(
            "{} does not work on `{}`: see the `Allow` header",
            quoted(method.as_str()),
            quoted(path)
        );
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

/// What a client should wait before it tries a host that is loading, draining or full again.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = axum::Json(Body { code: self.code, message: &self.message });
        let mut response = (self.status, body).into_response();
        let is_passing = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
        if is_passing.contains(&self.status) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

/// Client text that goes into a message: short, and without what a terminal would interpret.
pub(crate) fn quoted(text: &str) -> String {
    shortened(text, 80)
}

/// Why a body could not be read, with client text in it: as long as its point takes.
pub(crate) fn reason(text: &str) -> String {
    shortened(text, 600)
}

fn shortened(text: &str, chars_max: usize) -> String {
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(chars_max).collect();
    if text.chars().nth(chars_max).is_some() {
        shown.push('…');
    }
    shown
}

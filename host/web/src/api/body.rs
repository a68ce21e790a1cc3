//! Reading a small body in bounded time. The server itself only notices senders that stop: one byte now and then would hold
//! a connection for hours, and a tenant could so hold all of them.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use http::{HeaderMap, HeaderValue, header};
use tokio::time::timeout;

use super::problems;
use crate::app::Still;
use crate::problem::Problem;

/// How long a body may take in total: the largest, a secret of 64 KiB, at 20 kbit/s. As long as an MCP request may by default.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Refuses a body that is not what it seems: nothing here is unpacked.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let is_plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).iter().all(is_plain) {
        Ok(())
    } else {
        Err(problems::encoded())
    }
}

/// What was read of a request before that was over, from whoever's word still counted then.
pub(super) struct InTime<T>(pub(super) T);

impl<S, T> FromRequest<S> for InTime<T>
where
    S: Send + Sync,
    T: FromRequest<S, Rejection = Infallible>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_encoding(request.headers())?;
        let still = Still::of(request.extensions());
        match timeout(BODY_TIMEOUT, T::from_request(request, state)).await {
            Ok(Ok(read)) => still.check().map(|()| Self(read)),
            Ok(Err(never)) => match never {},
            Err(_) => Err(problems::too_slow("body", BODY_TIMEOUT)),
        }
    }
}

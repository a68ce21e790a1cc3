//! Keeps web pages away from a host on the same machine or network.
//!
//! A browser lets any page send requests to `127.0.0.1`, and an attacker can point a name of their
//! own at that address (DNS rebinding). Two headers that pages cannot forge tell such requests apart:
//! `Host` must be a name this host knows itself by, and `Origin`, which browsers add, must be this
//! host itself or a page the operator trusts. Trusted pages also get the CORS answers without which
//! a browser would hide every response from them.
//!
//! It wraps the whole app, MCP included, as a plain service: a request that passes costs a few
//! comparisons and no allocation, which a layer on each route would not achieve.

mod cors;
mod rules;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::IntoResponse as _;
use http::{HeaderValue, Request, Response, StatusCode, header};
use pin_project_lite::pin_project;

use self::rules::{Decision, Denial, Rules};
use crate::WebError;
use crate::problem::{Problem, quoted};

/// What a [`Guard`] lets through.
#[derive(Debug, Clone)]
pub struct GuardConfig {
    /// Where the host listens. Its IP address is an allowed host, and so are `localhost`,
    /// `127.0.0.1` and `[::1]`. A host that listens everywhere (`0.0.0.0`, `[::]`) may be called by
    /// any IP address: rebinding needs a name.
    pub bound: SocketAddr,
    /// Further hosts, `name` or `name:port`, such as the name of a proxy in front.
    pub allowed_hosts: Vec<String>,
    /// Web pages of other origins that may call this host, such as `http://localhost:6274`.
    pub allowed_origins: Vec<String>,
}

/// Checks `Host` and `Origin` of every request. A [`tower::Layer`]; clones share the rules.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Rules>);

impl Guard {
    /// Reads the configuration.
    ///
    /// # Errors
    /// [`WebError::AllowedHost`] and [`WebError::AllowedOrigin`] for entries that no request could match.
    pub fn new(config: &GuardConfig) -> Result<Self, WebError> {
        Rules::new(config).map(|rules| Self(Arc::new(rules)))
    }
}

impl<S> tower::Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, rules: Arc::clone(&self.0) }
    }
}

/// An app behind a [`Guard`].
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> tower::Service<Request<Body>> for Guarded<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = GuardedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let origin = match self.rules.check(&request) {
            Decision::Pass => None,
            Decision::CrossOrigin(origin) => match cors::preflight(&request, &origin) {
                Some(answer) => return GuardedFuture::answered(answer),
                None => Some(origin),
            },
            Decision::Deny(denial) => {
                let problem = refusal(denial);
                tracing::debug!(message = problem.message, "refused a request");
                return GuardedFuture::answered(problem.into_response());
            }
        };
        GuardedFuture { progress: Progress::Passed { future: self.inner.call(request), origin } }
    }
}

pin_project! {
    /// The future of a [`Guarded`] app.
    pub struct GuardedFuture<F> {
        #[pin]
        progress: Progress<F>,
    }
}

pin_project! {
    #[project = Projection]
    enum Progress<F> {
        /// The app works on it; the origin is that of a trusted page elsewhere.
        Passed { #[pin] future: F, origin: Option<HeaderValue> },
        /// The guard has answered; taken when the answer has been given.
        Answered { answer: Option<Response<Body>> },
    }
}

impl<F> GuardedFuture<F> {
    fn answered(answer: Response<Body>) -> Self {
        Self { progress: Progress::Answered { answer: Some(answer) } }
    }
}

impl<F> Future for GuardedFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().progress.project() {
            Projection::Passed { future, origin } => {
                let Ok(mut response) = ready!(future.poll(cx));
                if let Some(origin) = origin.take() {
                    cors::expose(&mut response, origin);
                }
                Poll::Ready(Ok(response))
            }
            Projection::Answered { answer } => {
                answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer)))
            }
        }
    }
}

fn refusal(denial: Denial<'_>) -> Problem {
    let text = |value: &[u8]| quoted(&String::from_utf8_lossy(value));
    let (status, code, message) = match denial {
        Denial::NoHost => (
            StatusCode::BAD_REQUEST,
            "bad_request",
            "the request needs exactly one `Host` header with a valid host".to_owned(),
        ),
        Denial::Host(host) => (
            StatusCode::FORBIDDEN,
            "permission_denied",
            format!(
                "this host does not answer to `{}`: the operator can allow that name with \
                 `allowed_hosts` under `[web]` in aop.toml",
                text(host)
            ),
        ),
        Denial::Origin(origin) => (
            StatusCode::FORBIDDEN,
            "permission_denied",
            format!(
                "web pages of `{}` may not call this host: the operator can allow them with \
                 `allowed_origins` under `[web]` in aop.toml",
                text(origin)
            ),
        ),
    };
    Problem::new(status, code, message)
}

/// The header that tells caches that an answer depends on who asked.
const VARY_ORIGIN: (header::HeaderName, HeaderValue) =
    (header::VARY, HeaderValue::from_static("origin"));

#[cfg(test)]
mod tests;

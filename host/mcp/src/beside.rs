//! The endpoint in front of everything else that one port serves.
//!
//! Calls are most of what comes to a host, and its path is one of many: looking for it in a router, with the services that
//! are copied and boxed on the way, costs as much as reading the request. So it is looked at first.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use aop_core::BoxFuture;
use axum::body::Body;
use futures::future::Either;
use http::{Request, Response};

use crate::http::Http;

/// Where clients find MCP.
const PATH: &str = "/mcp";

/// An app with `/mcp` in front of it. Clones are the same.
#[derive(Clone)]
pub struct Beside<S> {
    http: Arc<Http>,
    others: S,
}

impl<S> Beside<S> {
    pub(crate) const fn new(http: Arc<Http>, others: S) -> Self {
        Self { http, others }
    }
}

type Answered = Result<Response<Body>, Infallible>;

impl<S> tower::Service<Request<Body>> for Beside<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<BoxFuture<'static, Answered>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.others.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != PATH {
            return Either::Right(self.others.call(request));
        }
        let http = Arc::clone(&self.http);
        Either::Left(Box::pin(async move { Ok(http.handle(request).await) }))
    }
}

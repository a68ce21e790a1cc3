//! One connection, from its acceptance to its close.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aop_core::fair::Place;
use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tower::ServiceExt as _;
use tower::util::Oneshot;

use super::TICK;
use super::clock::{Clock, Stall};
use super::repoll::Repoll;
use super::wire::Wire;
use crate::gate::Peer;

/// What a connection needs besides its socket.
pub(super) struct Connection<S> {
    pub(super) http: http1::Builder,
    pub(super) app: S,
    pub(super) clock: Arc<Clock>,
    pub(super) stall_timeout: Duration,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) peer: Option<Peer>,
    /// Of those that its address may have.
    pub(super) place: Option<Place>,
}

impl<S> Connection<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    /// Serves requests until the client leaves, breaks a bound, or the server drains, or until an answer turns the connection
    /// into something else than HTTP, which is then bounded by whoever keeps it.
    pub(super) async fn drive<Io>(self, io: Io)
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { http, app, clock, stall_timeout, mut draining, peer, place: _place } = self;
        let wire = Wire::new(
            io,
            Stall::new(Arc::clone(&clock), stall_timeout),
            Arc::clone(&clock),
            draining.clone(),
        );
        let service = PerRequest {
            app,
            clock: Arc::clone(&clock),
            stall_timeout,
            peer,
            unread: Arc::default(),
        };
        let connection = http.serve_connection(TokioIo::new(wire), service).with_upgrades();
        let mut connection = pin!(Repoll::new(connection));
        let mut tick = interval_at(Instant::now() + TICK, TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = false;
        loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
                    }
                    return;
                }
                _ = draining.changed(), if !told => {
                    told = true;
                    connection.as_mut().get().graceful_shutdown();
                }
                now = tick.tick() => clock.advance_to(now),
            }
        }
    }
}

struct PerRequest<S> {
    app: S,
    clock: Arc<Clock>,
    stall_timeout: Duration,
    peer: Option<Peer>,
    /// Whether something of the body of the request that is served now was not read yet. HTTP/1.1 has one at a time.
    unread: Arc<AtomicBool>,
}

impl<S> hyper::service::Service<Request<Incoming>> for PerRequest<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering<Oneshot<S, Request<Body>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let is_empty = request.body().is_end_stream();
        self.unread.store(!is_empty, Ordering::Relaxed);
        let mut request = request.map(|body| {
            if is_empty {
                return Body::empty();
            }
            let stall = Stall::new(Arc::clone(&self.clock), self.stall_timeout);
            Body::new(WatchedBody { body, stall, unread: Arc::clone(&self.unread) })
        });
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        let answering = self.app.clone().oneshot(request);
        Answering { answering, unread: Arc::clone(&self.unread) }
    }
}

pin_project! {
    /// An answer that says when it is the last of its connection.
    ///
    /// Behind a body that nobody read there is no next request: hyper closes the connection after the answer, and a client
    /// that was not told would send its next request into the close. Reading what is left instead would let everybody who
    /// is refused keep the host reading.
    struct Answering<F> {
        #[pin]
        answering: F,
        unread: Arc<AtomicBool>,
    }
}

impl<F> Future for Answering<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut answer = ready!(this.answering.poll(cx));
        if let Ok(answer) = &mut answer
            && this.unread.load(Ordering::Relaxed)
        {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(answer)
    }
}

fn bytes(frame: &Option<Result<Frame<Bytes>, hyper::Error>>) -> usize {
    let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
    data.map_or(0, Bytes::len)
}

/// A request body whose sender must not stop in the middle, nor nearly.
struct WatchedBody {
    body: Incoming,
    stall: Stall,
    unread: Arc<AtomicBool>,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let poll = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(poll, Poll::Ready(None)) || self.body.is_end_stream() {
            self.unread.store(false, Ordering::Relaxed);
        }
        match self.stall.check(poll, bytes) {
            Poll::Ready(Ok(frame)) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
            Poll::Ready(Err(stalled)) => Poll::Ready(Some(Err(stalled.into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

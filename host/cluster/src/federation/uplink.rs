//! The connection that a zone keeps to its parent when it cannot be reached itself.
//!
//! It asks its parent to turn an HTTP/1.1 connection around, and then answers over it, in HTTP/2, what it would answer at
//! its own port: the zone protocol and nothing else. Its parent is nobody special over it. When the connection ends, for
//! whatever reason, it makes another one, after a pause that grows.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use aop_core::BoxFuture;
use aop_core::federation::TransportError;
use axum::Router;
use axum::body::Body;
use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{self, Sender};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::Zone;
use super::attached::{
    ALIVE_INTERVAL, ALIVE_TIMEOUT, CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, STREAMS_ALL,
};
use super::below;
use super::book::Peer;
use super::http::protocol;
use super::name::ZoneName;
use super::relay::{PROOF, PROTOCOL};
use super::resolver::TRIED_MAX;

/// How long the parent may take to turn a connection around.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// The first and the longest pause before the parent is tried again: the names of a zone that is down for a moment are
/// missed, and a thousand zones whose parent is down shall not keep it there.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A connection that stood this long was a good one: what comes after it begins with the first pause.
const STEADY: Duration = Duration::from_secs(30);
/// How often it is looked whether the operator named another parent.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the parent may take nothing more of an answer.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer that are handed over together; a larger one waits until its turn, see [`in_pieces`].
const PIECE_BYTES: usize = 64 << 10;
/// Headers of one request.
const HEADERS_MAX_BYTES: u32 = 16 << 10;

/// A stream that a connection was turned into.
pub trait UplinkStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> UplinkStream for T {}

/// Opens a connection for something else than HTTP/1.1.
pub trait OpenUplink: Send + Sync {
    /// Sends a request with an `Upgrade`, and gives the stream when the other side agrees.
    ///
    /// # Errors
    /// [`TransportError`], with what the other side says against it.
    fn open(
        &self,
        request: Request<Bytes>,
        time: Duration,
    ) -> BoxFuture<'_, Result<Box<dyn UplinkStream>, TransportError>>;
}

/// How the connection to the parent stands; for people.
#[derive(Debug, Default)]
pub(super) struct Standing {
    parent: Option<ZoneName>,
    is_up: bool,
    /// Why it is not up.
    reason: String,
}

/// Keeps a zone connected to its parent until it is dropped.
pub struct Uplink {
    stop: CancellationToken,
    keeping: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Uplink {
    /// Begins.
    #[must_use]
    pub fn start(zone: &Arc<Zone>, way: Arc<dyn OpenUplink>) -> Self {
        let stop = CancellationToken::new();
        let keeping = tokio::spawn(keep(Arc::downgrade(zone), way, stop.clone()));
        Self { stop, keeping: Mutex::new(Some(AbortOnDropHandle::new(keeping))) }
    }

    /// Takes nothing more, and waits for what is under way, at most `grace`.
    pub async fn stop(&self, grace: Duration) {
        self.stop.cancel();
        let keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeping) = keeping {
            let _ = timeout(grace, keeping).await;
        }
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(PAUSE_MIN)
        .with_max_delay(PAUSE_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

async fn keep(zone: Weak<Zone>, way: Arc<dyn OpenUplink>, stop: CancellationToken) {
    // Which process this is, for a parent that has not noticed yet that an earlier connection is gone.
    let node = Uuid::new_v4();
    let (mut waits, mut said) = (pauses(), String::new());
    loop {
        let began = Instant::now();
        let reason = {
            let Some(zone) = zone.upgrade() else { return };
            let reason = match once(&zone, &*way, node, &stop).await {
                Ok(()) => "the connection ended".to_owned(),
                Err(reason) => reason,
            };
            zone.note_uplink(false, &reason);
            reason
        };
        if stop.is_cancelled() {
            return;
        }
        // Once for each reason, however often it is tried.
        if reason != said {
            tracing::warn!(reason, "other zones cannot reach this one: its parent is tried again");
            said = reason;
        }
        if began.elapsed() >= STEADY {
            said.clear();
            waits = pauses();
        }
        let pause = waits.next().unwrap_or(PAUSE_MAX);
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// One connection, from its first byte to its end.
async fn once(
    zone: &Arc<Zone>,
    way: &dyn OpenUplink,
    node: Uuid,
    stop: &CancellationToken,
) -> Result<(), String> {
    let book = zone.authority().book();
    let (parent, peer) =
        book.parent().ok_or("it has no parent yet: `aop zone peer --parent URL`")?;
    let opening = open(zone, way, node, (parent, peer));
    let stream = match stop.run_until_cancelled(opening).await {
        Some(opened) => opened?,
        None => return Ok(()),
    };
    zone.note_uplink(true, "");
    tracing::info!(%parent, "other zones reach this one through its parent");
    tokio::select! {
        ended = serve(protocol(Arc::clone(zone)), stream, stop) => {
            ended.map_err(|error| format!("the connection to {parent} broke: {error}"))
        }
        () = until_other_parent(zone, (parent, peer)) => Err("the operator changed the parent".to_owned()),
    }
}

async fn open(
    zone: &Zone,
    way: &dyn OpenUplink,
    node: Uuid,
    (parent, peer): (&ZoneName, &Peer),
) -> Result<Box<dyn UplinkStream>, String> {
    let authority = zone.authority();
    let mut reason = format!("{parent} has no endpoint");
    for endpoint in below::through(&peer.endpoints, authority.zone()).iter().take(TRIED_MAX) {
        // Good once, so each attempt has its own.
        let proofs = authority.attach(parent, node).map_err(|error| error.to_string())?;
        let request = Request::get(&endpoint.url)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, HeaderValue::from_static(PROTOCOL))
            .header(PROOF, proofs.join(","))
            .body(Bytes::new())
            .map_err(|error| error.to_string())?;
        match way.open(request, OPEN_TIMEOUT).await {
            Ok(stream) => return Ok(stream),
            Err(error) => reason = format!("{}: {error}", endpoint.url),
        }
    }
    Err(reason)
}

async fn serve(
    router: Router,
    stream: Box<dyn UplinkStream>,
    stop: &CancellationToken,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request: Request<Incoming>| {
        let bounds = below::bounds(request.method(), request.uri().path());
        let until = Instant::now() + bounds.map_or(STALL_TIMEOUT, |bounds| bounds.time);
        let answering = router.clone().oneshot(request.map(Body::new));
        async move { answering.await.map(|answer| in_pieces(answer, until)) }
    });
    let connection = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::try_from(STREAMS_ALL).unwrap_or(u32::MAX))
        // Who asks over the parent may go away at once, all of them together; that shall not end the connection.
        .max_pending_accept_reset_streams(STREAMS_ALL)
        .max_header_list_size(HEADERS_MAX_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(ALIVE_INTERVAL)
        .keep_alive_timeout(ALIVE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// An answer of which nothing stays but a piece when the parent does not take it in time. What HTTP/2 has taken cannot be taken
/// back, and it takes a body's frames whole; so it gets copies of pieces, and the rest waits where it can be dropped.
fn in_pieces(answer: Response<Body>, until: Instant) -> Response<Body> {
    if answer.body().size_hint().upper().is_some_and(|bytes| bytes <= PIECE_BYTES as u64) {
        return answer;
    }
    let (head, body) = answer.into_parts();
    let (pieces, taken) = mpsc::channel(1);
    let handing = AbortOnDropHandle::new(tokio::spawn(hand_over(body, pieces, until)));
    let body = futures::stream::try_unfold((taken, handing), async |(mut taken, handing)| {
        match taken.recv().await {
            Some(Some(piece)) => Ok(Some((piece, (taken, handing)))),
            Some(None) => Ok(None),
            None => Err(axum::BoxError::from("the answer broke, or was not taken in time")),
        }
    });
    Response::from_parts(head, Body::from_stream(body))
}

/// Hands over a body and then nothing, which says that it is whole. None when it does not come that far.
async fn hand_over(mut body: Body, pieces: Sender<Option<Bytes>>, until: Instant) -> Option<()> {
    let send = async |piece| {
        let until = until.min(Instant::now() + STALL_TIMEOUT);
        timeout_at(until, pieces.send(piece)).await.ok()?.ok()
    };
    while let Some(frame) = timeout_at(until, body.frame()).await.ok()? {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        for piece in data.chunks(PIECE_BYTES) {
            send(Some(Bytes::copy_from_slice(piece))).await?;
        }
    }
    send(None).await
}

/// Until the parent is another one, or reached elsewhere.
async fn until_other_parent(zone: &Zone, (parent, peer): (&ZoneName, &Peer)) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let book = zone.authority().book();
        let is_same = book
            .parent()
            .is_some_and(|(name, now)| name == parent && now.endpoints == peer.endpoints);
        if !is_same {
            return;
        }
    }
}

impl Zone {
    fn note_uplink(&self, is_up: bool, reason: &str) {
        let parent = self.authority().book().parent().map(|(parent, _)| parent.clone());
        let mut standing = self.uplink.lock().unwrap_or_else(PoisonError::into_inner);
        *standing = Some(Standing { parent, is_up, reason: reason.to_owned() });
    }

    /// Whether the connection to the parent stands; none for a zone that keeps none.
    pub(super) fn is_uplink_up(&self) -> Option<bool> {
        let standing = self.uplink.lock().unwrap_or_else(PoisonError::into_inner);
        standing.as_ref().map(|standing| standing.is_up)
    }

    /// How the connection to the parent stands, as JSON; null for a zone that keeps none.
    pub(super) fn uplink_status(&self) -> Value {
        let standing = self.uplink.lock().unwrap_or_else(PoisonError::into_inner);
        standing.as_ref().map_or(Value::Null, |standing| {
            json!({
                "parent": standing.parent,
                "connected": standing.is_up,
                "reason": standing.reason,
            })
        })
    }
}

#[cfg(test)]
mod tests;

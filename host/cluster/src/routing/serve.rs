//! Calls that other nodes pass on to this one, and the components that they pull.
//!
//! | | |
//! |---|---|
//! | `POST /mcp` | a call; see [`wire`](super::wire). With a progress token, the answer is a stream of events |
//! | `GET /component/{digest}` | the bytes of a component |
//! | `POST /name` | a name of another zone that this node owns, see [`names`](super::names) |
//! | `GET /alive` | nothing, at once: whether this node still turns |
//!
//! A call runs within its stream: when the stream is reset, because the caller went away or the node behind it
//! died, the future of the call is dropped and the guest stops. What bounds it: streams per connection, bytes per
//! request, and bytes of all requests that are read or run at one time.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aop_core::bucket::SessionId;
use aop_core::{
    BoxFuture, Call, CallId, Digest, ErrorCode, Failure, Holdings, Invoke, Lineage, NodeId,
    Progress, Reply, Target,
};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::names::{self, AnswerNames};
use super::peers::STREAMS_MAX;
use super::wire::{self, FORM, PROTOCOL, REQUEST_MAX_BYTES, Request, WAITING_MAX};
use crate::membership::{PeerStream, ServeHttp2};

/// Bytes of all requests that are read or run at one time, in KiB: four of the largest, or thousands of ordinary
/// ones. Further ones wait unread.
const READING_MAX_KIB: usize = 256 << 10;
/// How long a request waits for that; then another node may have room.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a request may take to arrive: the largest one over 100 Mbit/s.
const READING_TIMEOUT: Duration = Duration::from_secs(10);
/// Headers of one request.
const HEADERS_MAX_BYTES: u32 = 16 << 10;
/// How often a caller with calls here is asked whether it lives, so that calls of a frozen one stop.
const ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Reports of progress that wait for the connection; further ones are dropped, as the trait says.
const REPORTS_MAX: usize = 16;
/// Bytes of one request, and of all of a connection, that may be ahead of this node.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Response = http::Response<Body>;

/// Serves the other nodes.
pub(super) struct PeerServer(Arc<Inner>);

struct Inner {
    invoke: Arc<dyn Invoke>,
    holdings: Arc<dyn Holdings>,
    /// None of a host that belongs to no zone that others know.
    names: Arc<OnceLock<Arc<dyn AnswerNames>>>,
    reading: Arc<Semaphore>,
    served: AtomicU64,
    stop: CancellationToken,
}

impl PeerServer {
    pub(super) fn new(
        invoke: Arc<dyn Invoke>,
        holdings: Arc<dyn Holdings>,
        names: Arc<OnceLock<Arc<dyn AnswerNames>>>,
        stop: CancellationToken,
    ) -> Self {
        let reading = Arc::new(Semaphore::new(READING_MAX_KIB));
        Self(Arc::new(Inner { invoke, holdings, names, reading, served: AtomicU64::new(0), stop }))
    }

    /// Calls that were run for other nodes.
    pub(super) fn served(&self) -> u64 {
        self.0.served.load(Ordering::Relaxed)
    }
}

impl ServeHttp2 for PeerServer {
    fn serve(&self, peer: NodeId, stream: PeerStream) -> BoxFuture<'static, ()> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let service = service_fn(|request| {
                let inner = Arc::clone(&inner);
                async move { Ok::<_, Infallible>(inner.answer(request).await) }
            });
            let connection = Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(u32::try_from(STREAMS_MAX).unwrap_or(u32::MAX))
                // Calls may be cancelled together before this node looked at them; that ends no connection.
                .max_pending_accept_reset_streams(STREAMS_MAX)
                .max_header_list_size(HEADERS_MAX_BYTES)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .keep_alive_interval(ALIVE_INTERVAL)
                .keep_alive_timeout(ALIVE_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = inner.stop.cancelled() => {
                    // What runs finishes; the peer opens no more streams here.
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "a connection of another node ended");
            }
        })
    }
}

impl Inner {
    async fn answer(self: Arc<Self>, request: http::Request<Incoming>) -> Response {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/mcp") => match self.read(request).await {
                Ok((bytes, room)) => self.call(bytes, room).await,
                Err(status) => empty(status),
            },
            (&Method::POST, names::PATH) => self.name(request).await,
            (&Method::GET, "/alive") => empty(StatusCode::NO_CONTENT),
            (&Method::GET, path) => match path.strip_prefix("/component/") {
                Some(digest) => self.component(digest).await,
                None => empty(StatusCode::NOT_FOUND),
            },
            _ => empty(StatusCode::NOT_FOUND),
        }
    }

    /// The body of a request, once there is room for it, and that room: whoever runs the call keeps it, since the
    /// arguments are there for as long.
    async fn read(
        &self,
        request: http::Request<Incoming>,
    ) -> Result<(Bytes, OwnedSemaphorePermit), StatusCode> {
        let length = content_length(request.headers()).ok_or(StatusCode::LENGTH_REQUIRED)?;
        if length > REQUEST_MAX_BYTES {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let kib = u32::try_from(length / 1024 + 1).map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
        let room = Arc::clone(&self.reading).acquire_many_owned(kib);
        let room = tokio::time::timeout(ROOM_TIMEOUT, room).await;
        let room = room.ok().and_then(Result::ok).ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        let read = Limited::new(request.into_body(), length).collect();
        let body = tokio::time::timeout(READING_TIMEOUT, read).await;
        let body = body.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
        let body = body.map_err(|_| StatusCode::BAD_REQUEST)?;
        Ok((body.to_bytes(), room))
    }

    /// Resolves a name for the node that asks. Nobody is asked in turn.
    async fn name(&self, request: http::Request<Incoming>) -> Response {
        let Some(names) = self.names.get() else { return empty(StatusCode::NOT_FOUND) };
        let read = Limited::new(request.into_body(), names::QUESTION_MAX_BYTES).collect();
        let Ok(Ok(body)) = tokio::time::timeout(READING_TIMEOUT, read).await else {
            return empty(StatusCode::BAD_REQUEST);
        };
        let body = body.to_bytes();
        let Ok(name) = std::str::from_utf8(&body) else { return empty(StatusCode::BAD_REQUEST) };
        match names.answer(name).await {
            Some(answer) => whole(answer),
            None => empty(StatusCode::NOT_FOUND),
        }
    }

    async fn call(self: Arc<Self>, bytes: Bytes, room: OwnedSemaphorePermit) -> Response {
        let received = Instant::now();
        let progress = match serde_json::from_slice::<Request<'_>>(&bytes) {
            Ok(request) => request.params.meta.progress_token,
            Err(_) => return empty(StatusCode::BAD_REQUEST),
        };
        let Some(token) = progress else {
            return whole(self.run(&bytes, received, None).await);
        };
        let (reports, mut events) = mpsc::channel(REPORTS_MAX);
        let sink = Arc::new(Reports { token, reports: reports.clone() });
        // Ends with the body, and so with the stream.
        let running = AbortOnDropHandle::new(tokio::spawn(async move {
            let answer = self.run(&bytes, received, Some(sink)).await;
            drop(room);
            // The receiver goes away only together with this task.
            let _ = reports.send(answer).await;
        }));
        let events = futures::stream::poll_fn(move |cx| {
            let _ = &running;
            events.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(as_event(&event)))))
        });
        let mut response = http::Response::new(StreamBody::new(events).boxed_unsync());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        response
    }

    /// Runs a call and writes its answer.
    async fn run(&self, bytes: &[u8], received: Instant, sink: Option<Arc<Reports>>) -> Vec<u8> {
        self.served.fetch_add(1, Ordering::Relaxed);
        let request = match serde_json::from_slice::<Request<'_>>(bytes) {
            Ok(request) => request,
            Err(error) => return refusal(0, error.to_string()),
        };
        let id = request.id;
        let (call, lineage) = match read_call(&request, received, sink) {
            Ok(read) => read,
            Err(reason) => return refusal(id, reason),
        };
        let calls_before = request.params.meta.calls_left;
        let reply = self.invoke.invoke(call).await;
        let calls = lineage.map_or(0, |lineage| calls_before.saturating_sub(lineage.calls_left()));
        wire::answer(id, &reply, calls)
    }

    async fn component(&self, digest: &str) -> Response {
        let Ok(digest) = digest.parse::<Digest>() else { return empty(StatusCode::BAD_REQUEST) };
        match self.holdings.component(digest).await {
            Some(bytes) => whole(bytes),
            None => empty(StatusCode::NOT_FOUND),
        }
    }
}

/// What a request asks for, as the dispatcher takes it.
fn read_call<'a>(
    request: &'a Request<'_>,
    received: Instant,
    sink: Option<Arc<Reports>>,
) -> Result<(Call<'a>, Option<Arc<Lineage>>), String> {
    let (params, meta) = (&request.params, &request.params.meta);
    if meta.form > FORM || meta.protocol != PROTOCOL || request.method != "tools/call" {
        return Err(format!(
            "this node understands `tools/call` of {PROTOCOL} in form {FORM}: run the same release on all nodes"
        ));
    }
    if meta.waiting.len() > WAITING_MAX {
        return Err(format!("more than {WAITING_MAX} agents wait for the call"));
    }
    let target = match (&meta.agent, &meta.feature) {
        (Some(agent), Some(feature)) => Target::Feature {
            agent,
            feature: wire::feature_named(feature).ok_or("this node does not know the feature")?,
        },
        _ => Target::Tool(&params.name),
    };
    let session = match &meta.session {
        None => None,
        Some(text) => Some(SessionId::new(text).ok_or("the session has no possible name")?),
    };
    let lineage = Lineage::resumed(meta.waiting.clone(), meta.calls_left);
    let progress = sink.map(|sink| sink as Arc<dyn Progress>);
    let caller = meta.caller.clone().into_owned();
    let call = Call {
        timeout: Some(Duration::from_millis(meta.deadline_ms)),
        // A malformed trace is ignored, as W3C Trace Context says.
        trace: meta.traceparent.as_deref().and_then(|text| text.parse().ok()),
        progress,
        session,
        lineage: lineage.clone(),
        here: true,
        ..Call::new(caller, target, params.arguments.get(), received)
    };
    Ok((call, lineage))
}

/// Reports of progress on their way into the stream.
struct Reports {
    token: u32,
    reports: mpsc::Sender<Vec<u8>>,
}

impl Progress for Reports {
    fn report(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        // A sink that is full drops the report.
        let _ = self.reports.try_send(wire::report(self.token, progress, total, message));
    }
}

/// One message as a server-sent event. JSON has no line breaks of its own.
fn as_event(message: &[u8]) -> Bytes {
    [b"data: ", message, b"\n\n"].concat().into()
}

/// The answer to a request that no dispatcher saw.
fn refusal(id: u32, reason: String) -> Vec<u8> {
    let failure = Failure::before_execution(ErrorCode::Internal, reason);
    let reply = Reply { id: CallId::begin(), result: Err(failure), trace: None, session: None };
    wire::answer(id, &reply, 0)
}

fn whole(bytes: Vec<u8>) -> Response {
    http::Response::new(Full::new(Bytes::from(bytes)).boxed_unsync())
}

fn empty(status: StatusCode) -> Response {
    let mut response = http::Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = status;
    response
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

//! The door: everything that happens to an HTTP request before one of the two paths takes it.
//!
//! The body is read once, bounded in size and time, and scanned once. What no path could accept is
//! answered here with a JSON-RPC error; what holds a resource (a session, an event stream) takes its
//! place here; and every response carries a guard, so that a client that leaves cancels its call.

mod refusal;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use aop_core::fair::{self, Place};
use aop_core::{Caller, Challenge, Scope, Standing, TenantName, TraceContext};
use axum::body::Body;
use bytes::Bytes;
use futures::FutureExt as _;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use rmcp::model::{ErrorCode, RequestId};
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::arrival::Arrival;
use crate::bodies::Bodies;
use crate::complaint;
use crate::edge::Edge;
use crate::fast;
use crate::handler::Handler;
use crate::message::{self, Outline, Scanned};
use crate::scope;
use crate::session::{Session, Sessions};

pub(crate) use refusal::OVERLOADED;
use refusal::Refusal;

/// The HTTP side of the server.
pub(crate) struct Http {
    edge: Arc<Edge>,
    sessions: Arc<Sessions>,
    streams: fair::Parts<TenantName>,
    bodies: Bodies,
    draining: CancellationToken,
    service: StreamableHttpService<Handler, Sessions>,
    /// The tests compare both paths; a server always has both.
    fast_path: bool,
}

/// What lives as long as a response: dropping it tells the call that nobody waits.
struct Hold {
    _gone: DropGuard,
    _stream: Option<Place>,
}

/// A response body and what lives as long.
struct Held {
    body: BoxBody<Bytes, Infallible>,
    _hold: Hold,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Http {
    pub(crate) fn new(
        edge: Arc<Edge>,
        sessions: Arc<Sessions>,
        draining: CancellationToken,
        fast_path: bool,
    ) -> Self {
        let config = StreamableHttpServerConfig::default()
            // `web` checks Host and Origin in front of the whole application, with the hosts the
            // operator configured; a second list here would only disagree with it.
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_json_response(true)
            // Streams cannot be resumed, so clients are not told to try.
            .with_sse_retry(None)
            .with_max_request_body_bytes(edge.config.body_max_bytes);
        let handler = Handler::new(edge.clone(), draining.clone());
        let service =
            StreamableHttpService::new(move || Ok(handler.clone()), sessions.clone(), config);
        let streams = fair::Parts::new(edge.config.streams_max);
        let bodies = Bodies::new(edge.config.body_max_bytes);
        Self { edge, sessions, streams, bodies, draining, service, fast_path }
    }

    /// Event streams open now.
    pub(crate) fn streams_open(&self) -> usize {
        self.streams.whole().held() as usize
    }

    /// Answers one request.
    pub(crate) async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let received = Instant::now();
        match self.admit(request, received).await {
            Ok(response) => response,
            Err(refusal) => self.refuse(&refusal),
        }
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Body> {
        self.edge.counters.refused.add();
        let body = fast::complaint(refusal.id.as_ref(), &refusal.error);
        let mut response = json(refusal.status, body);
        if let Some(challenge) = &refusal.challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::clone(challenge));
        }
        if matches!(refusal.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
        {
            let seconds = self.edge.config.retry_after.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        response
    }

    async fn admit(
        &self,
        request: Request<Body>,
        received: Instant,
    ) -> Result<Response<Body>, Refusal> {
        if self.draining.is_cancelled() {
            return Err(Refusal::full(
                StatusCode::SERVICE_UNAVAILABLE,
                "The server is shutting down",
            ));
        }
        let (mut parts, body) = request.into_parts();
        // Whoever mounts this decides who that is. Without a decision, nobody is let in.
        let known = parts.extensions.get::<Standing>().map(|standing| standing.caller().clone());
        let caller = known.or_else(|| parts.extensions.remove::<Caller>()).ok_or_else(|| {
            let reason = "Unauthorized: nothing says who asks";
            Refusal::new(StatusCode::UNAUTHORIZED, ErrorCode::INVALID_REQUEST, reason)
        })?;
        if parts.method == Method::POST {
            self.post(caller, parts, body, received).await
        } else {
            self.other(caller, parts, received).await
        }
    }

    /// GET opens a session's stream, DELETE ends a session, and `rmcp` knows what else to say.
    async fn other(
        &self,
        caller: Caller,
        parts: Parts,
        received: Instant,
    ) -> Result<Response<Body>, Refusal> {
        let session = match session_id(&parts.headers) {
            Some(id) => {
                let found = self.sessions.find(id, &caller, parts.extensions.get());
                Some(found.ok_or_else(Refusal::no_session)?)
            }
            None => None,
        };
        if parts.method == Method::GET && !caller.scopes.has(Scope::ToolsList) {
            let challenge = parts.extensions.get::<Challenge>();
            return Err(Refusal::insufficient(challenge, Scope::ToolsList));
        }
        let stream =
            if parts.method == Method::GET { Some(self.open_stream(&caller)?) } else { None };
        let arrival = arrive(caller, &parts, received, Bytes::new(), session.as_deref());
        let is_delete = parts.method == Method::DELETE;
        let mut response = self.full(arrival, parts, None, stream, None).await;
        if is_delete && response.status() == StatusCode::ACCEPTED {
            // rmcp's 202 says "later", but the session is gone; clients know 200 and 204.
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        Ok(response)
    }

    async fn post(
        &self,
        caller: Caller,
        parts: Parts,
        body: Body,
        received: Instant,
    ) -> Result<Response<Body>, Refusal> {
        if !is_json(&parts.headers) {
            let reason = "Unsupported Media Type: Content-Type must be application/json";
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ErrorCode::INVALID_REQUEST,
                reason,
            ));
        }
        let body = self.read(&caller.tenant, &parts, body).await?;
        let scanned = message::scan(&body, self.edge.config.json_depth_max)
            .map_err(|error| Refusal::unparsable(error.to_string()))?;
        if self.fast_path
            && let Some(response) = self.fast(&caller, &parts, scanned, received).await
        {
            self.edge.counters.fast.add();
            return response;
        }
        if scanned.containers > message::CONTAINERS_MAX {
            let reason = format!(
                "Invalid Request: the message has {} objects and arrays, and may have {}: send less at once",
                scanned.containers,
                message::CONTAINERS_MAX
            );
            return Err(Refusal::invalid(reason));
        }
        let outline = message::outline(scanned.text).map_err(|error| match error {
            message::OutlineError::Json(_) => Refusal::unparsable(error.to_string()),
            _ => Refusal::invalid(error.to_string()),
        })?;
        let id = outline.id.clone();
        self.dispatch(caller, parts, body.clone(), outline, received)
            .await
            .map_err(|refusal| refusal.with_id(id))
    }

    /// Takes a plain request that keeps every rule; none for any other.
    async fn fast(
        &self,
        caller: &Caller,
        parts: &Parts,
        scanned: Scanned<'_>,
        received: Instant,
    ) -> Option<Result<Response<Body>, Refusal>> {
        let request = message::plain(scanned)?;
        if scope::lacking(caller, Some(request.method.name())).is_some()
            || !self.edge.is_quick(caller, &request)
        {
            return None;
        }
        let origin = fast::Origin { caller, received, trace: trace_of(&parts.headers) };
        if fast::admits_stateless(&parts.headers, &request) {
            let message = fast::answer(&self.edge, &request, &origin, true).await;
            return Some(Ok(json(StatusCode::OK, message)));
        }
        if !fast::admits_sessional(&parts.headers, &request) {
            return None;
        }
        let id = session_id(&parts.headers)?;
        let session = self.sessions.find(id, caller, parts.extensions.get())?;
        // Log lines come before the answer: they need a stream.
        if !session.is_open() || session.following().wants_logs() {
            return None;
        }
        // What stands in the way of the request is told by the other path.
        let running = session.begin(request.key.clone()).ok()?;
        let message = tokio::select! {
            biased;
            () = running.cancelled.cancelled() => None,
            message = fast::answer(&self.edge, &request, &origin, false) => Some(message),
        };
        Some(match message {
            Some(message) => Ok(json(StatusCode::OK, message)),
            None if session.is_open() => Ok(accepted()),
            None => Err(Refusal::no_session().with_id(Some(request.key))),
        })
    }

    /// Takes what a message needs, and hands it to `rmcp`.
    async fn dispatch(
        &self,
        caller: Caller,
        mut parts: Parts,
        body: Bytes,
        outline: Outline<'_>,
        received: Instant,
    ) -> Result<Response<Body>, Refusal> {
        if let Some(scope) = scope::lacking(&caller, outline.method.as_deref()) {
            return Err(Refusal::insufficient(parts.extensions.get::<Challenge>(), scope));
        }
        let session = match session_id(&parts.headers) {
            // The stateless revision has no sessions: the header means nothing to it.
            Some(id) if !outline.stateless => {
                let found = self.sessions.find(id, &caller, parts.extensions.get());
                Some(found.ok_or_else(Refusal::no_session)?)
            }
            _ => None,
        };
        let is_request = outline.method.is_some() && outline.id.is_some();
        if is_request && session.as_ref().is_some_and(|session| !session.has_room()) {
            let reason =
                "Too many requests of this session wait for answers: let some finish first";
            return Err(Refusal::full(StatusCode::TOO_MANY_REQUESTS, reason));
        }
        let mut stream = None;
        match outline.method.as_deref() {
            // SEP-2575: a client that tries the old handshake in the new revision must learn at once
            // that there is none.
            Some("initialize") if outline.stateless => {
                return Err(Refusal::new(
                    StatusCode::NOT_FOUND,
                    ErrorCode::METHOD_NOT_FOUND,
                    "2026-07-28 has no initialize: call server/discover, or any method directly",
                ));
            }
            Some("initialize") if session.is_none() => {
                let slot = self.sessions.take_slot(&caller.tenant).ok_or_else(|| {
                    Refusal::full(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "Too many sessions are open: try again later",
                    )
                })?;
                parts.extensions.insert(slot);
            }
            Some("subscriptions/listen") => stream = Some(self.open_stream(&caller)?),
            _ => {}
        }
        let arrival = arrive(caller, &parts, received, body.clone(), session.as_deref());
        Ok(self.full(arrival, parts, Some(body), stream, outline.id).await)
    }

    fn open_stream(&self, caller: &Caller) -> Result<Place, Refusal> {
        self.streams.try_place(&caller.tenant).ok_or_else(|| {
            Refusal::full(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many event streams are open: try again later",
            )
        })
    }

    /// `rmcp`'s service.
    async fn full(
        &self,
        arrival: Arrival,
        mut parts: Parts,
        body: Option<Bytes>,
        stream: Option<Place>,
        id: Option<RequestId>,
    ) -> Response<Body> {
        self.edge.counters.full.add();
        // From here on, dropping this future or its response means that nobody waits.
        let hold = Hold { _gone: arrival.gone.clone().drop_guard(), _stream: stream };
        parts.extensions.insert(arrival);
        let message = body.unwrap_or_default();
        let request = Request::from_parts(parts, Full::new(message.clone()));
        let (parts, body) = self.service.handle(request).await.into_parts();
        if parts.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            // The door checked the media type: this is rmcp's word for a message of no known shape.
            return self.refuse(&Refusal::invalid(complaint::of_shape(&message)).with_id(id));
        }
        if parts.status.is_client_error() && !is_json(&parts.headers) {
            return self.reword(parts, body, id).await;
        }
        Response::from_parts(parts, Body::new(Held { body, _hold: hold }))
    }

    /// What rmcp refuses in plain words, as the error that clients of this protocol read.
    async fn reword(
        &self,
        parts: http::response::Parts,
        body: BoxBody<Bytes, Infallible>,
        id: Option<RequestId>,
    ) -> Response<Body> {
        let Ok(words) = body.collect().await;
        let words = String::from_utf8_lossy(&words.to_bytes()).into_owned();
        let refusal = Refusal::new(parts.status, ErrorCode::INVALID_REQUEST, words).with_id(id);
        let mut response = self.refuse(&refusal);
        if let Some(allowed) = parts.headers.get(header::ALLOW) {
            response.headers_mut().insert(header::ALLOW, allowed.clone());
        }
        response
    }

    async fn read(&self, of: &TenantName, parts: &Parts, body: Body) -> Result<Bytes, Refusal> {
        let max = self.edge.config.body_max_bytes;
        let too_large = || {
            let reason = format!("Payload Too Large: a message may have {max} bytes");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::INVALID_REQUEST, reason)
        };
        let announced = parts
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > max) {
            return Err(too_large());
        }
        let mut reading = std::pin::pin!(Limited::new(body, max).collect());
        // Most bodies arrive with their head: no timer for those.
        let read = match reading.as_mut().now_or_never() {
            Some(read) => read,
            None => {
                let Some(_room) = self.bodies.room(of, announced.unwrap_or(max)) else {
                    let reason = "Too many large messages are on their way: try again later";
                    return Err(Refusal::full(StatusCode::SERVICE_UNAVAILABLE, reason));
                };
                let read = tokio::time::timeout(self.edge.config.body_timeout, reading).await;
                // Meanwhile the credential may have ended, or the tenant's name have become another's.
                if parts.extensions.get::<Standing>().is_some_and(|standing| !standing.holds()) {
                    let refusal = Refusal::invalid("Unauthorized: the credential has ended");
                    return Err(Refusal { status: StatusCode::UNAUTHORIZED, ..refusal });
                }
                read.map_err(|_| {
                    let reason = "Request Timeout: the body did not arrive in time";
                    Refusal::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::INVALID_REQUEST, reason)
                })?
            }
        };
        match read {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
            Err(error) => {
                Err(Refusal::invalid(format!("Bad Request: the body could not be read: {error}")))
            }
        }
    }
}

fn arrive(
    caller: Caller,
    parts: &Parts,
    received: Instant,
    message: Bytes,
    session: Option<&Session>,
) -> Arrival {
    let standing = parts.extensions.get::<Standing>().cloned();
    let trace = trace_of(&parts.headers);
    let gone = session.map_or_else(CancellationToken::new, Session::child_token);
    let following = session.map(|session| session.following().clone());
    Arrival { caller, standing, received, message, trace, following, gone }
}

fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    headers.get("traceparent").and_then(|value| value.to_str().ok()?.parse().ok())
}

fn session_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("mcp-session-id").map(|value| value.to_str().unwrap_or_default())
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| {
        let essence = value.split_once(';').map_or(value, |(essence, _)| essence);
        essence.trim().eq_ignore_ascii_case("application/json")
    })
}

fn json(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The end of a request that its client cancelled: the protocol wants no answer, HTTP wants one.
fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

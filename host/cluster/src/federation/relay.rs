//! The way through this zone to those below it that cannot be reached.
//!
//! | route | what |
//! |---|---|
//! | `GET /zone/v1/below/{zone}` | that zone asks, by `Upgrade`, that this connection becomes the way to it |
//! | `/zone/v1/below/{zone}/…` | what the zone protocol has, passed on over that connection as it is |
//!
//! What is passed on is neither read nor changed: who may ask what is decided by the zone below, by the token that it gave,
//! and the zone that asks checks the signatures of the zone below. Whoever goes away ends what runs for it there.

use std::sync::Arc;
use std::time::Duration;

use aop_core::Digest;
use aop_core::fair::Place;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, timeout, timeout_at};

use super::attached::{AttachError, From, Passing};
use super::below::{self, Bounds};
use super::http::{BODY_TIMEOUT, Door, Refusal};
use super::name::ZoneName;
use super::wire::{self, NoCall};
use crate::http2::{SendError, Stream};

mod places;

pub(super) use places::Places;
use places::Unread;

/// What a connection is turned into.
pub(super) const PROTOCOL: &str = "aop-zone-1";
/// Carries the word of the zone that asks for it.
pub(super) const PROOF: HeaderName = HeaderName::from_static("aop-zone-proof");
/// How long turning a connection around may take.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Headers that are passed on. Of an answer only when to ask again is: browsers take it for this host's, so neither what it is
/// nor how to log in is the zone's below to say.
const ASKED: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::ACCEPT,
    HeaderName::from_static("mcp-protocol-version"),
    HeaderName::from_static("mcp-method"),
    HeaderName::from_static("mcp-name"),
];

/// Turns a connection of a zone below around.
pub(super) async fn attach(
    State(door): State<Arc<Door>>,
    Path(child): Path<String>,
    mut request: Request<Body>,
) -> Result<Response, Refusal> {
    let _place = door.attaching()?;
    let wanted = request.headers().get(header::UPGRADE).is_some_and(|wanted| wanted == PROTOCOL);
    if !wanted || request.extensions().get::<OnUpgrade>().is_none() {
        let message = "a connection of a zone below becomes one by `Upgrade: aop-zone-1`, which what is between must let through";
        return Err(door.refuse(StatusCode::UPGRADE_REQUIRED, message));
    }
    let Ok(child) = child.parse::<ZoneName>() else {
        return Err(door.refuse(StatusCode::NOT_FOUND, "this is no zone"));
    };
    let proofs = request.headers().get(PROOF).and_then(|proofs| proofs.to_str().ok());
    let admitted = door.zone.admit(&child, proofs.unwrap_or_default()).map_err(|error| {
        let (status, message) = match error {
            AttachError::Unexpected(_) => (
                StatusCode::NOT_FOUND,
                "this zone expects no connection of that one: `aop zone delegate … --attached` there",
            ),
            AttachError::Untrusted(_) => (
                StatusCode::FORBIDDEN,
                "the zone's word is not believed, its log says why: compare the key that it pinned with `aop zone keys`, and the clocks",
            ),
            AttachError::Crowded(_) | AttachError::Broken(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "the zone keeps too many connections")
            }
        };
        door.refuse(status, message)
    })?;
    let upgrade = hyper::upgrade::on(&mut request);
    let zone = Arc::clone(&door.zone);
    tokio::spawn(async move {
        match timeout(UPGRADE_TIMEOUT, upgrade).await {
            Ok(Ok(stream)) => {
                if zone.keep(&child, admitted, stream).await {
                    zone.greet(&child).await;
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(zone = %child, %error, "a connection of a zone below was not turned around");
            }
            Err(_) => {}
        }
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static(PROTOCOL)),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// Passes a request on to a zone below.
pub(super) async fn relay(
    State(door): State<Arc<Door>>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let unknown = || Refusal(StatusCode::NOT_FOUND, "this zone passes nothing of that kind on");
    let (child, rest) = below::split(head.uri.path()).ok_or_else(unknown)?;
    let bounds = below::bounds(&head.method, rest).ok_or_else(unknown)?;
    let child: ZoneName = child.parse().map_err(|_| unknown())?;
    let book = door.zone.authority().book();
    let peer = book.attaching(&child).filter(|(zone, _)| **zone == child);
    let (_, peer) = peer.ok_or_else(unknown)?;
    let token = head.headers.get(header::AUTHORIZATION);
    let token = token.map(|token| Digest::of(token.as_bytes()));
    let is_known = token.is_some_and(|token| door.places.is_good(&child, &token));
    let place = door.places.enter(&child, is_known).ok_or_else(|| door.busy())?;
    let max_bytes = bounds.request_max_bytes;
    let body = door.places.read((&child, is_known), body, max_bytes, BODY_TIMEOUT).await;
    let body = body.map_err(|unread| match unread {
        Unread::TooLarge => door.too_large(),
        Unread::NoRoom => door.busy(),
        Unread::Late => door.too_slow(),
    })?;
    let deadline = Instant::now() + bounds.time;
    let request = onward(&child, rest, &head, body).ok_or_else(unknown)?;
    let from = if is_known { From::Known } else { From::Stranger };
    door.zone.counters().relayed.add();
    let sending = door.zone.ways().attached.send(&child, peer, from, request);
    match timeout_at(deadline, sending).await {
        Ok(Ok(passing)) => {
            let is_good = judged(passing.response.status(), rest, bounds);
            if let (Some(token), Some(is_good)) = (token, is_good) {
                door.places.judge(&child, token, is_good);
            }
            Ok(answer(passing, place, deadline, bounds))
        }
        Ok(Err(SendError::Full)) => Err(door.busy()),
        Ok(Err(SendError::NotSent(reason))) if bounds.is_call => Ok(not_begun(&reason)),
        Ok(Err(SendError::NotSent(_))) => Err(door.refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "the zone below keeps no connection to this one now",
        )),
        Ok(Err(SendError::Lost(_))) => {
            Err(Refusal(StatusCode::BAD_GATEWAY, "the connection of the zone below broke"))
        }
        Err(_) => Err(Refusal(StatusCode::GATEWAY_TIMEOUT, "the zone below took too long")),
    }
}

/// Whether an answer says that its token was good. Where it is the zone's below that one, a call that did not begin may be
/// answered by those before it, who cannot tell.
fn judged(status: StatusCode, rest: &str, bounds: Bounds) -> Option<bool> {
    match status {
        StatusCode::OK if !bounds.is_call || below::split(rest).is_none() => Some(true),
        StatusCode::UNAUTHORIZED => Some(false),
        _ => None,
    }
}

fn onward(child: &ZoneName, rest: &str, head: &Parts, body: Bytes) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::try_from(format!("http://{child}{rest}")).ok()?;
    for name in ASKED {
        if let Some(value) = head.headers.get(&name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    Some(request)
}

/// The answer to a call that surely did not begin, in a form that the zones of all releases take for that.
fn not_begun(reason: &str) -> Response {
    let no = NoCall { id: None, code: -32600, message: reason.to_owned() };
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], wire::write_error(&no)).into_response()
}

/// An answer that is passed on while it arrives, as far and as long as it may.
fn answer(passing: Passing, place: Place, deadline: Instant, bounds: Bounds) -> Response {
    struct Arriving {
        body: Limited<Incoming>,
        _held: (Stream, Place),
    }
    let Passing { response, stream } = passing;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, bounds.answer_max_bytes);
    let arriving = Arriving { body, _held: (stream, place) };
    let frames = futures::stream::try_unfold(arriving, move |mut arriving| async move {
        loop {
            let frame = timeout_at(deadline, arriving.body.frame()).await;
            let late = |_| axum::BoxError::from("the zone below took too long");
            match frame.map_err(late)?.transpose()?.map(hyper::body::Frame::into_data) {
                Some(Ok(data)) => return Ok::<_, axum::BoxError>(Some((data, arriving))),
                // Trailers: there are none in this protocol.
                Some(Err(_)) => {}
                None => return Ok(None),
            }
        }
    });
    let mut response = Response::new(Body::from_stream(frames));
    *response.status_mut() = head.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(after) = head.headers.get(header::RETRY_AFTER) {
        headers.insert(header::RETRY_AFTER, after.clone());
    }
    response
}

//! The zone protocol over HTTP, on the port that everything is served on. For strangers, so everything is bounded
//! before it is read: bodies, names, time, and how many are looked at together.
//!
//! | route | what |
//! |---|---|
//! | `POST /zone/v1/resolve` | names, batched |
//! | `POST /zone/v1/search` | tools by words, here and below |
//! | `GET /zone/v1/descriptors/{sha256}` | the tools of an exported agent |
//! | `POST /zone/v1/mcp` | `tools/call` of an exported tool |
//! | `GET /.well-known/aop-zone.json` | who this zone is: its apex and keys |
//!
//! A token that this zone gave out says which zone asks; without one it is a stranger. A token that is none is refused
//! rather than taken for a stranger's, so that a mistake shows.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Zone;
use super::book::Relation;
use super::message::{
    HOPS_MAX, NAMES_MAX, QUERY_CHARS_MAX, REQUEST_ID_CHARS_MAX, REQUEST_MAX_BYTES, ResolveRequest,
    SearchRequest, patience,
};
use super::name::ZoneName;
use super::zone::as_asker;

/// Questions of other zones that are looked at together. Each is a few signatures at most.
const QUESTIONS_MAX: usize = 64;
/// Searches of other zones under way: each waits for zones below.
const SEARCHES_MAX: usize = 32;
/// Calls of other zones under way; the agents' own limits say how many of them run.
const CALLS_MAX: usize = 512;
/// The largest call: the arguments that a host accepts by default, and what is around them.
const CALL_MAX_BYTES: usize = 5 << 20;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

struct Door {
    zone: Arc<Zone>,
    questions: Semaphore,
    searches: Semaphore,
    calls: Semaphore,
}

/// The routes of a zone.
pub fn router(zone: Arc<Zone>) -> Router {
    let door = Door {
        zone,
        questions: Semaphore::new(QUESTIONS_MAX),
        searches: Semaphore::new(SEARCHES_MAX),
        calls: Semaphore::new(CALLS_MAX),
    };
    Router::new()
        .route("/zone/v1/resolve", post(resolve))
        .route("/zone/v1/search", post(search))
        .route("/zone/v1/descriptors/{digest}", get(descriptor))
        .route("/zone/v1/mcp", post(call))
        .route("/.well-known/aop-zone.json", get(well_known))
        .with_state(Arc::new(door))
}

/// A request that is not answered.
struct Refusal(StatusCode, &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, message) = self;
        let code = match status {
            StatusCode::UNAUTHORIZED => "permission_denied",
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => "resource_exhausted",
            StatusCode::NOT_FOUND => "not_found",
            _ => "invalid_arguments",
        };
        let mut response =
            (status, axum::Json(json!({ "code": code, "message": message }))).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

type Who = Option<(ZoneName, Relation)>;

impl Door {
    fn enter<'a>(&self, door: &'a Semaphore) -> Result<SemaphorePermit<'a>, Refusal> {
        door.try_acquire().map_err(|_| {
            self.refuse(StatusCode::SERVICE_UNAVAILABLE, "the zone is busy: ask again shortly")
        })
    }

    fn refuse(&self, status: StatusCode, message: &'static str) -> Refusal {
        self.zone.counters().turned_away.add();
        Refusal(status, message)
    }

    async fn who(&self, headers: &HeaderMap) -> Result<Who, Refusal> {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
        let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        let mut who = self.zone.asker(token);
        if who.is_none() {
            // It may have been given out a moment ago.
            let zone = Arc::clone(&self.zone);
            let looked = tokio::task::spawn_blocking(move || zone.authority().reload()).await;
            if matches!(looked, Ok(Ok(true))) {
                who = self.zone.asker(token);
            }
        }
        if who.is_none() {
            let message = "this zone did not give out that token, or gave out another one since";
            return Err(self.refuse(StatusCode::UNAUTHORIZED, message));
        }
        Ok(who)
    }

    async fn body(&self, body: Body, max_bytes: usize) -> Result<Bytes, Refusal> {
        let reading = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, max_bytes));
        match reading.await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(_)) => Err(self.refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")),
            Err(_) => Err(self.refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive")),
        }
    }

    async fn read<T: DeserializeOwned>(&self, body: Body) -> Result<T, Refusal> {
        let bytes = self.body(body, REQUEST_MAX_BYTES).await?;
        serde_json::from_slice(&bytes).map_err(|_| {
            self.refuse(StatusCode::BAD_REQUEST, "the body is not a request of this protocol")
        })
    }
}

fn json_of(value: &impl Serialize) -> Response {
    axum::Json(value).into_response()
}

async fn resolve(
    State(door): State<Arc<Door>>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let _place = door.enter(&door.questions)?;
    let (head, body) = request.into_parts();
    let who = door.who(&head.headers).await?;
    let request: ResolveRequest = door.read(body).await?;
    let is_sound = (1..=NAMES_MAX).contains(&request.names.len())
        && request.hops <= HOPS_MAX
        && request.via.len() <= usize::from(HOPS_MAX);
    if !is_sound {
        return Err(door.refuse(StatusCode::BAD_REQUEST, "1 to 32 names, and at most 8 hops"));
    }
    let answer = door.zone.answer(&request, as_asker(who.as_ref())).map_err(|error| {
        tracing::error!(%error, "this zone cannot answer others");
        door.refuse(StatusCode::INTERNAL_SERVER_ERROR, "the zone cannot answer")
    })?;
    Ok(json_of(&answer))
}

async fn search(
    State(door): State<Arc<Door>>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let _place = door.enter(&door.searches)?;
    let (head, body) = request.into_parts();
    let who = door.who(&head.headers).await?;
    let request: SearchRequest = door.read(body).await?;
    let is_sound = request.query.chars().count() <= QUERY_CHARS_MAX
        && request.hops <= HOPS_MAX
        && request.via.len() <= usize::from(HOPS_MAX)
        && (1..=REQUEST_ID_CHARS_MAX).contains(&request.request_id.len());
    if !is_sound {
        return Err(door.refuse(StatusCode::BAD_REQUEST, "the search breaks a limit"));
    }
    let searching = door.zone.search_for(&request, as_asker(who.as_ref()));
    match tokio::time::timeout(patience(request.deadline_ms), searching).await {
        Ok(answer) => Ok(json_of(&answer)),
        Err(_) => Err(door.refuse(StatusCode::GATEWAY_TIMEOUT, "the search took too long")),
    }
}

async fn descriptor(
    State(door): State<Arc<Door>>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let _place = door.enter(&door.questions)?;
    let who = door.who(&headers).await?;
    let table = door.zone.authority().exported();
    let asker = as_asker(who.as_ref());
    let found = table
        .agents()
        .find(|exported| exported.is_for(asker) && exported.digest.hex() == digest)
        .map(|exported| exported.descriptor.clone());
    let Some(descriptor) = found else {
        return Err(Refusal(StatusCode::NOT_FOUND, "there is no such descriptor"));
    };
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind)], descriptor).into_response())
}

async fn call(State(door): State<Arc<Door>>, request: Request<Body>) -> Result<Response, Refusal> {
    let _place = door.enter(&door.calls)?;
    let (head, body) = request.into_parts();
    let who = door.who(&head.headers).await?;
    let body = door.body(body, CALL_MAX_BYTES).await?;
    let answer = door.zone.receive(&body, &head.headers, as_asker(who.as_ref())).await;
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind)], answer).into_response())
}

async fn well_known(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let _place = door.enter(&door.questions)?;
    let who = door.who(&headers).await?;
    let document = super::well_known::write(door.zone.authority(), as_asker(who.as_ref()));
    document.map(|document| json_of(&document)).map_err(|_| {
        door.refuse(StatusCode::INTERNAL_SERVER_ERROR, "the zone cannot say who it is")
    })
}

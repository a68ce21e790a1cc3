//! The zone protocol over HTTP, on the port that everything is served on. For strangers, so everything is bounded
//! before it is read: bodies, names, time, and how many are looked at together.
//!
//! | route | what |
//! |---|---|
//! | `POST /zone/v1/resolve` | names, batched |
//! | `POST /zone/v1/search` | tools by words, here and below |
//! | `GET /zone/v1/descriptors/{sha256}` | the tools of an exported agent |
//! | `POST /zone/v1/mcp` | `tools/call` of an exported tool; `server/discover` and `tools/list` for clients that are no zone |
//! | `GET /.well-known/aop-zone.json` | who this zone is: its apex and keys |
//! | `/zone/v1/below/{zone}` | the way to a zone below that cannot be reached, see [`relay`] |
//!
//! A token that this zone gave out says which zone asks; without one it is a stranger. A token that is none is refused
//! rather than taken for a stranger's, so that a mistake shows. Strangers have places of their own, few ones, so that
//! whoever sends slowly or in masses without a token keeps no zone that is known from being answered.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Zone;
use super::adapters::{Page, World};
use super::book::Relation;
use super::listing;
use super::message::{
    HOPS_MAX, NAMES_MAX, QUERY_CHARS_MAX, REQUEST_ID_CHARS_MAX, REQUEST_MAX_BYTES, ResolveRequest,
    SearchRequest, patience,
};
use super::name::ZoneName;
use super::relay;
use super::zone::as_asker;

/// Questions that are looked at together, of known zones and of strangers. Each is a few signatures at most.
const QUESTIONS_MAX: Places = Places { known: 64, strangers: 32 };
/// Connections of zones below that are looked at together. None is waited for meanwhile, so that these are enough however many
/// of them are a stranger's.
const ATTACHING_MAX: usize = 16;
/// Searches under way: each waits for zones below.
const SEARCHES_MAX: Places = Places { known: 32, strangers: 8 };
/// Calls under way; the agents' own limits say how many of them run.
const CALLS_MAX: Places = Places { known: 512, strangers: 64 };
/// KiB of all calls together, from when they are read until they are answered: a few dozen of the largest.
const CALLS_MAX_KIB: Places = Places { known: 256 << 10, strangers: 32 << 10 };
/// The largest call: the arguments that a host accepts by default, and what is around them.
pub(super) const CALL_MAX_BYTES: usize = 5 << 20;
/// Looks at the files at one time for tokens that are not known.
const LOOKS_MAX: usize = 2;
/// How long a body may take to arrive.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How many there may be at one time.
#[derive(Clone, Copy)]
struct Places {
    known: usize,
    strangers: usize,
}

/// The same, as they are taken.
pub(super) struct Pool {
    known: Semaphore,
    strangers: Semaphore,
}

impl Pool {
    const fn new(places: Places) -> Self {
        Self {
            known: Semaphore::const_new(places.known),
            strangers: Semaphore::const_new(places.strangers),
        }
    }

    const fn of(&self, is_known: bool) -> &Semaphore {
        if is_known { &self.known } else { &self.strangers }
    }
}

pub(super) struct Door {
    pub(super) zone: Arc<Zone>,
    questions: Pool,
    attaching: Semaphore,
    searches: Pool,
    calls: Pool,
    calls_kib: Pool,
    pub(super) places: relay::Places,
    looks: Semaphore,
}

/// The routes of a zone.
pub fn router(zone: Arc<Zone>) -> Router {
    let door = Arc::new(Door::new(zone));
    Router::new()
        .route("/.well-known/ai-catalog.json", get(catalog))
        .route("/.well-known/agent-card.json", get(card))
        .route("/v0.1/servers", get(servers))
        .route("/v0.1/servers/{name}/versions", get(versions))
        .route("/v0.1/servers/{name}/versions/{version}", get(version))
        .route("/zone/v1/below/{zone}", get(relay::attach))
        .with_state(Arc::clone(&door))
        .merge(of_protocol(door))
}

/// What zones ask each other, without the rest; for a connection that carries nothing else.
pub(super) fn protocol(zone: Arc<Zone>) -> Router {
    of_protocol(Arc::new(Door::new(zone)))
}

fn of_protocol(door: Arc<Door>) -> Router {
    Router::new()
        .route("/zone/v1/resolve", post(resolve))
        .route("/zone/v1/search", post(search))
        .route("/zone/v1/descriptors/{digest}", get(descriptor))
        .route("/zone/v1/mcp", post(call))
        .route("/.well-known/aop-zone.json", get(well_known))
        .route("/zone/v1/below/{zone}/{*rest}", get(relay::relay).post(relay::relay))
        .with_state(door)
}

impl Door {
    fn new(zone: Arc<Zone>) -> Self {
        Self {
            zone,
            questions: Pool::new(QUESTIONS_MAX),
            attaching: Semaphore::new(ATTACHING_MAX),
            searches: Pool::new(SEARCHES_MAX),
            calls: Pool::new(CALLS_MAX),
            calls_kib: Pool::new(CALLS_MAX_KIB),
            places: relay::Places::default(),
            looks: Semaphore::new(LOOKS_MAX),
        }
    }
}

/// A request that is not answered.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, message) = self;
        let code = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "permission_denied",
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
    fn enter<'a>(&self, pool: &'a Pool, is_known: bool) -> Result<SemaphorePermit<'a>, Refusal> {
        pool.of(is_known).try_acquire().map_err(|_| self.busy())
    }

    /// A place for a connection of a zone below. Whoever holds it awaits nothing.
    pub(super) fn attaching(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.attaching.try_acquire().map_err(|_| self.busy())
    }

    /// Room for a body, by its length; for the largest one when it does not say it.
    fn room<'a>(
        &self,
        pool: &'a Pool,
        is_known: bool,
        headers: &HeaderMap,
        max_bytes: usize,
    ) -> Result<SemaphorePermit<'a>, Refusal> {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let length = length.and_then(|value| value.parse().ok()).unwrap_or(max_bytes);
        if length > max_bytes {
            return Err(self.too_large());
        }
        let kib = u32::try_from(length / 1024 + 1).unwrap_or(u32::MAX);
        pool.of(is_known).try_acquire_many(kib).map_err(|_| self.busy())
    }

    pub(super) fn busy(&self) -> Refusal {
        self.refuse(StatusCode::SERVICE_UNAVAILABLE, "the zone is busy: ask again shortly")
    }

    pub(super) fn too_large(&self) -> Refusal {
        self.refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
    }

    pub(super) fn too_slow(&self) -> Refusal {
        self.refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive")
    }

    pub(super) fn refuse(&self, status: StatusCode, message: &'static str) -> Refusal {
        self.zone.counters().turned_away.add();
        Refusal(status, message)
    }

    async fn who(&self, headers: &HeaderMap) -> Result<Who, Refusal> {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
        let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        let mut who = self.zone.asker(token);
        if who.is_none()
            && let Ok(_look) = self.looks.try_acquire()
        {
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
            Ok(Err(_)) => Err(self.too_large()),
            Err(_) => Err(self.too_slow()),
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
    let (head, body) = request.into_parts();
    let who = door.who(&head.headers).await?;
    let _place = door.enter(&door.questions, who.is_some())?;
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
    let (head, body) = request.into_parts();
    let who = door.who(&head.headers).await?;
    let _place = door.enter(&door.searches, who.is_some())?;
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
    let who = door.who(&headers).await?;
    let _place = door.enter(&door.questions, who.is_some())?;
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
    let (head, body) = request.into_parts();
    let who = door.who(&head.headers).await?;
    let kind = HeaderValue::from_static("application/json");
    if let Some(question) = listing::Question::of(&head.headers) {
        let _place = door.enter(&door.questions, who.is_some())?;
        let body = door.body(body, REQUEST_MAX_BYTES).await?;
        let authority = door.zone.authority();
        let answer = listing::answer(question, &body, authority, as_asker(who.as_ref()));
        return Ok(([(header::CONTENT_TYPE, kind)], answer).into_response());
    }
    // Before anything is read: whoever names no tool that it may call gets no further.
    if let Err(refused) = door.zone.may_call(&head.headers, as_asker(who.as_ref())) {
        return Ok(([(header::CONTENT_TYPE, kind)], refused).into_response());
    }
    let _place = door.enter(&door.calls, who.is_some())?;
    let _room = door.room(&door.calls_kib, who.is_some(), &head.headers, CALL_MAX_BYTES)?;
    let body = door.body(body, CALL_MAX_BYTES).await?;
    let answer = door.zone.receive(&body, &head.headers, as_asker(who.as_ref())).await;
    Ok(([(header::CONTENT_TYPE, kind)], answer).into_response())
}

async fn well_known(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let who = door.who(&headers).await?;
    let _place = door.enter(&door.questions, who.is_some())?;
    let document = super::well_known::write(door.zone.authority(), as_asker(who.as_ref()));
    document.map(|document| json_of(&document)).map_err(|_| {
        door.refuse(StatusCode::INTERNAL_SERVER_ERROR, "the zone cannot say who it is")
    })
}

/// Whoever asks for what is for the world is a stranger, whatever it shows.
fn look(door: &Door) -> Result<SemaphorePermit<'_>, Refusal> {
    door.enter(&door.questions, false)
}

async fn catalog(State(door): State<Arc<Door>>) -> Result<Response, Refusal> {
    let _place = look(&door)?;
    Ok(World(door.zone.authority()).catalog().into_response())
}

async fn card(State(door): State<Arc<Door>>) -> Result<Response, Refusal> {
    let _place = look(&door)?;
    Ok(World(door.zone.authority()).card().into_response())
}

async fn servers(
    State(door): State<Arc<Door>>,
    Query(page): Query<Page>,
) -> Result<Response, Refusal> {
    let _place = look(&door)?;
    Ok(World(door.zone.authority()).servers(&page).into_response())
}

async fn versions(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let _place = look(&door)?;
    Ok(World(door.zone.authority()).versions(&name).into_response())
}

async fn version(
    State(door): State<Arc<Door>>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let _place = look(&door)?;
    Ok(World(door.zone.authority()).version(&name, &version).into_response())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt as _;

    use super::*;
    use crate::federation::book::{Book, Token};
    use crate::federation::testing::{World, zone_name};

    /// A body that never ends.
    fn endless() -> Body {
        Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>())
    }

    fn request(path: &str, token: Option<&Token>, tool: &str, body: Body) -> Request<Body> {
        let request = Request::builder().method("POST").uri(path).header("mcp-name", tool);
        let bearer = token.map(|token| format!("Bearer {}", token.secret()));
        bearer
            .into_iter()
            .fold(request, |request, value| request.header(header::AUTHORIZATION, value))
            .body(body)
            .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_who_send_slowly_keep_no_known_zone_out() {
        let world = World::of(&["a", "b.a"], Duration::from_secs(300));
        world.at("a").agents.add("writer", Some(&["world"]));
        let zone = &world.at("a").zone;
        let token = Token::generate().unwrap();
        let mut book = Book::clone(&zone.authority().book());
        book.peers.get_mut(&zone_name("b.a")).unwrap().accepts = Some(token.digest());
        zone.authority().replace_book(book);
        let router = router(Arc::clone(zone));
        for path in ["/zone/v1/resolve", "/zone/v1/search", "/zone/v1/mcp"] {
            let slow: Vec<_> = (0..100)
                .map(|_| router.clone().oneshot(request(path, None, "writer_run", endless())))
                .map(tokio::spawn)
                .collect();
            // Each of them gets its turn.
            for _ in 0..slow.len() {
                tokio::task::yield_now().await;
            }
            let send = |token: Option<&Token>| {
                let body = Body::from("{}");
                router.clone().oneshot(request(path, token, "writer_run", body))
            };
            let known = send(Some(&token)).await.unwrap();
            assert_ne!(known.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            let stranger = send(None).await.unwrap();
            assert_eq!(stranger.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            for task in slow {
                task.abort();
                let _ = task.await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_of_what_is_not_exported_is_refused_unread() {
        let world = World::of(&["a"], Duration::from_secs(300));
        world.at("a").agents.add("hidden", None);
        let router = router(Arc::clone(&world.at("a").zone));
        for tool in ["hidden_run", "nothing", ""] {
            let sent = router.clone().oneshot(request("/zone/v1/mcp", None, tool, endless()));
            let answer = sent.await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            let body = to_bytes(answer.into_body(), 1000).await.unwrap();
            assert!(String::from_utf8_lossy(&body).contains("-32602"), "{tool}");
        }
    }
}

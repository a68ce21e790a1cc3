//! Requests that are open, and whether what their callers showed still counts.
//!
//! A credential is checked when a request comes, and a request may last: a stream of events has no end of its own, and a body
//! may come slowly. So those that are not answered at once are noted here, and every second it is asked whether their
//! callers' credentials still hold. Where one was revoked or has expired, its tenant is gone, or it came in without one and the host is open no more,
//! the request is dropped, which stops its call, and its stream ends. What bounds it: an entry for each open request, of which there are as many as connections.
//!
//! Each of them holds a connection. No tenant has all of those: who has its share of what is free is answered 503, before
//! anything of the request begins, and the connection is closed.
//!
//! What a request opened beyond itself (a session, a call that waits for its client) asks for itself, by the
//! [`Standing`] in the request's extensions.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};

use aop_core::{Bond, Challenge, Standing, TenantName, fair};
use axum::body::{Body, Bytes};
use axum::response::IntoResponse as _;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};

use super::{Need, set, wanted};
use crate::problem::Problem;

/// Answers up to this size are not followed: they are written to the end at once, or lie in the buffers of their connection.
const HELD_BYTES: u64 = 64 << 10;
/// What is handed over at a time of those that are: as much as a connection buffers.
const PIECE_BYTES: usize = 64 << 10;

/// The requests that are open.
pub(super) struct Open {
    entries: Mutex<Entries>,
    /// As many connections as there can be.
    max: u32,
    /// How many entries there are, for a look without the lock.
    held: AtomicU32,
    /// Requests that were refused because there was no room.
    refused: AtomicU64,
}

#[derive(Default)]
struct Entries {
    by_id: HashMap<u64, Arc<Entry>>,
    /// How many of them are each tenant's.
    of_tenants: HashMap<TenantName, u32>,
    next_id: u64,
    /// Whether a task looks after them.
    is_watched: bool,
}

struct Entry {
    standing: Standing,
    /// Whether it ends as soon as the standing does. What changes something is spared once: it may have ended its own standing
    /// (the first key of a host, a rotation), and the new key is in its answer.
    is_warned: AtomicBool,
    is_over: AtomicBool,
    /// Whoever drives the request.
    waker: Mutex<Option<Waker>>,
}

impl Entries {
    fn held(&self) -> u32 {
        u32::try_from(self.by_id.len()).unwrap_or(u32::MAX)
    }

    fn give_back(&mut self, tenant: &TenantName) {
        match self.of_tenants.get_mut(tenant) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.of_tenants.remove(tenant)),
        }
    }
}

impl Open {
    pub(super) fn new(connections_max: usize) -> Self {
        let max = u32::try_from(connections_max).unwrap_or(u32::MAX);
        Self { entries: Mutex::default(), max, held: AtomicU32::new(0), refused: AtomicU64::new(0) }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let entries = self.entries();
        entries.by_id.is_empty() && entries.of_tenants.is_empty()
    }

    /// Whether a tenant may have one more connection that waits. Asked before anything begins: what began is answered.
    pub(super) fn has_room(&self, tenant: &TenantName) -> bool {
        let held = self.held.load(Ordering::Relaxed);
        // No tenant has more than all have, so nobody takes the lock where there is room for anybody.
        if held < fair::share(self.max, held) {
            return true;
        }
        let entries = self.entries();
        let of_tenant = entries.of_tenants.get(tenant).copied().unwrap_or(0);
        entries.held() < self.max && of_tenant < fair::share(self.max, entries.held())
    }

    /// To a tenant that has its share of the connections. This one is free again afterwards.
    pub(super) fn crowded(&self) -> Response<Body> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let message = "too many requests of this tenant wait for their answers: try again when some have theirs";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "resource_exhausted", message);
        let mut response = problem.into_response();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }

    /// How often that was said.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn note(self: &Arc<Self>, standing: Standing, need: Need) -> Noted {
        let mut entries = self.entries();
        *entries.of_tenants.entry(standing.caller().tenant.clone()).or_default() += 1;
        let entry = Arc::new(Entry {
            standing,
            is_warned: AtomicBool::new(need == Need::Caller),
            is_over: AtomicBool::new(false),
            waker: Mutex::default(),
        });
        let id = entries.next_id;
        entries.next_id += 1;
        entries.by_id.insert(id, Arc::clone(&entry));
        self.held.store(entries.held(), Ordering::Relaxed);
        if !std::mem::replace(&mut entries.is_watched, true) {
            tokio::spawn(watch(Arc::downgrade(self)));
        }
        drop(entries);
        Noted { open: Arc::clone(self), id, entry }
    }
}

/// Ends what should not be open any more, until nothing is.
async fn watch(open: Weak<Open>) {
    loop {
        tokio::time::sleep(Standing::ASKED_EVERY).await;
        let Some(open) = open.upgrade() else { return };
        let known: Vec<_> = {
            let mut entries = open.entries();
            entries.is_watched = !entries.by_id.is_empty();
            if !entries.is_watched {
                return;
            }
            entries.by_id.values().cloned().collect()
        };
        for entry in known.iter().filter(|entry| !entry.standing.holds()) {
            if !entry.is_warned.swap(true, Ordering::SeqCst) {
                continue;
            }
            entry.is_over.store(true, Ordering::SeqCst);
            let waker = entry.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// A request in the list, until this is dropped.
struct Noted {
    open: Arc<Open>,
    id: u64,
    entry: Arc<Entry>,
}

impl Noted {
    /// Whether it has to end; if not, the task is woken when it has.
    fn is_over(&self, cx: &Context<'_>) -> bool {
        let mut waker = self.entry.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        drop(waker);
        self.entry.is_over.load(Ordering::SeqCst)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let mut entries = self.open.entries();
        entries.by_id.remove(&self.id);
        entries.give_back(&self.entry.standing.caller().tenant);
        self.open.held.store(entries.held(), Ordering::Relaxed);
    }
}

/// What a request whose caller can lose its standing is followed with.
pub(super) struct Followed {
    open: Arc<Open>,
    standing: Standing,
    challenge: Challenge,
    need: Need,
    /// From when it was not answered at once.
    noted: Option<Noted>,
}

impl Followed {
    pub(super) const fn new(
        open: Arc<Open>,
        standing: Standing,
        challenge: Challenge,
        need: Need,
    ) -> Self {
        Self { open, standing, challenge, need, noted: None }
    }

    /// What the request is answered with instead, when it has to end before anything came of it.
    pub(super) fn ended(&mut self, cx: &Context<'_>) -> Option<Response<Body>> {
        let noted =
            self.noted.get_or_insert_with(|| self.open.note(self.standing.clone(), self.need));
        noted.is_over(cx).then(|| self.refusal())
    }

    fn refusal(&self) -> Response<Body> {
        let is_open = self.standing.known().bond == Bond::Open;
        let message = match is_open {
            true => "this host was open when the request came, and asks for a credential now",
            false => "the credential is not valid any more: it has expired or was revoked",
        };
        let mut response =
            Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", message).into_response();
        // RFC 6750, section 3.1: no error is named to whoever showed nothing.
        let error = (!is_open).then_some("invalid_token");
        let value = self.challenge.header(error, &wanted(self.need));
        set(response.headers_mut(), &header::WWW_AUTHENTICATE, &value);
        response
    }

    /// Follows an answer that goes on, or is large enough to hold its connection for as long as its reader likes.
    pub(super) fn follow(self, answer: Response<Body>) -> Response<Body> {
        // The caller was known: behind the gate it was seen that its word counts no more.
        if answer.status() == StatusCode::UNAUTHORIZED && !self.standing.holds() {
            return self.refusal();
        }
        if answer.body().size_hint().exact().is_some_and(|bytes| bytes <= HELD_BYTES) {
            return answer;
        }
        let noted = self.noted.unwrap_or_else(|| self.open.note(self.standing, self.need));
        answer.map(|body| Body::new(Stream { going: Some((body, noted)), rest: Bytes::new() }))
    }
}

/// A body that ends when its caller's word counts no more. It comes in pieces, and its end is not told ahead: whoever writes
/// it drops a body of which nothing more comes, while a large last piece still waits for its reader.
struct Stream {
    going: Option<(Body, Noted)>,
    /// Of the last frame.
    rest: Bytes,
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some((body, noted)) = &mut this.going else { return Poll::Ready(None) };
        if noted.is_over(cx) {
            // Dropping the body tells whoever writes it that nobody reads.
            this.going = None;
            this.rest = Bytes::new();
            return Poll::Ready(None);
        }
        if this.rest.is_empty() {
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => {
                    this.going = None;
                    return Poll::Ready(other);
                }
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.going.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let Some((body, _)) = &self.going else { return SizeHint::with_exact(0) };
        let (rest, inner) = (self.rest.len() as u64, body.size_hint());
        let mut hint = SizeHint::new();
        // The upper bound first: it must not be below the lower one.
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(inner.lower() + rest);
        hint
    }
}

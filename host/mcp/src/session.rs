//! Sessions of the revisions before 2026-07-28.
//!
//! `rmcp` brings a session manager of its own. This one replaces it because a host needs what that
//! lacks: a cap of which no tenant has all, a bound on waiting requests, an end with the credential of its client, expiry that spares a session with an open stream or a
//! running call, an owner per session, and a deletion that stops the session's calls at once. It
//! gives up resuming a broken stream: an answer belongs to the connection that asked, and a closed
//! connection cancels its calls.
//!
//! A session is an inbox that `rmcp`'s service loop reads ([`transport`]), and a table of requests
//! that wait for their answers. A request is answered either through a stream of its own (rmcp's
//! path) or by whoever registered it directly (the fast path).

mod manager;
mod transport;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use aop_core::fair::{Parts, Place};
use aop_core::{Caller, Standing, TenantName};
use futures::{Stream, StreamExt as _};
use rmcp::model::{
    ClientJsonRpcMessage, Extensions, GetExtensions as _, RequestId, ServerJsonRpcMessage,
};
use rmcp::service::OriginatingRequestId;
use rmcp::transport::streamable_http_server::session::{ServerSseMessage, SessionId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::changes::{Changes, Subscription, Versions};
use crate::following::Following;
use crate::measure::Counters;

/// Messages that may wait between a session and its service, or in one answer's stream. Fixed: it
/// only has to cover the hand-over; whoever is ahead waits.
const QUEUE_LENGTH: usize = 32;

/// What bounds sessions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionLimits {
    pub(crate) sessions_max: usize,
    pub(crate) pending_max: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) list_changed_window: Duration,
    pub(crate) subscriptions_max: usize,
}

/// Every session of the server.
pub(crate) struct Sessions {
    limits: SessionLimits,
    slots: Parts<TenantName>,
    changes: Arc<Changes>,
    draining: CancellationToken,
    open: Mutex<Open>,
    counters: Arc<Counters>,
    me: Weak<Self>,
}

#[derive(Default)]
struct Open {
    sessions: HashMap<SessionId, Arc<Session>>,
    /// Whether a task looks for idle ones.
    reaped: bool,
}

/// A place for one more session, taken before it is created and given back when it ends.
#[derive(Debug, Clone)]
pub(crate) struct Slot(Arc<Mutex<Option<Place>>>);

/// One session.
pub(crate) struct Session {
    /// Whose it is.
    caller: OnceLock<Caller>,
    following: Arc<Following>,
    inbox: mpsc::Sender<ClientJsonRpcMessage>,
    state: Mutex<State>,
    pending_max: usize,
    /// Cancelled when the session ends, and with it everything that runs for it.
    closed: CancellationToken,
    draining: CancellationToken,
}

#[derive(Default)]
struct State {
    pending: HashMap<RequestId, Waiting>,
    opening: Option<oneshot::Sender<ServerJsonRpcMessage>>,
    opened: bool,
    streams: usize,
    last_used: Option<Instant>,
    /// The newest changes that a stream of this session told of.
    announced: Versions,
    slot: Option<Place>,
    /// Of the credential that was used last; none without a gate in front.
    standing: Option<Standing>,
}

/// A request that runs. It keeps its id from being used again until nothing of it runs any more,
/// cancelled or not: an answer could not be told from that to another request of the same id.
struct Waiting {
    /// Stops it.
    stop: CancellationToken,
    /// The stream that `rmcp`'s path answers through; none for the fast path, and none once it was
    /// cancelled.
    answer: Option<mpsc::Sender<ServerSseMessage>>,
}

/// A session could not take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Busy {
    #[error("too many requests of this session wait for answers: let some finish first")]
    Full,
    #[error("a request with this id is already running in this session: ids must be unique")]
    Duplicate,
    #[error("the session has ended: open a new one")]
    Ended,
}

/// A session failed. `rmcp` turns this into a 500, so nothing a client does may lead here.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the session was not opened through this server's HTTP edge")]
    Foreign,
    #[error("the session ended while it was opened")]
    Ended,
    #[error("the request that this message belongs to has no stream any more")]
    Unrouted,
}

impl Sessions {
    pub(crate) fn new(
        limits: SessionLimits,
        changes: Arc<Changes>,
        draining: CancellationToken,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            limits,
            slots: Parts::new(limits.sessions_max),
            changes,
            draining,
            open: Mutex::default(),
            counters,
            me: me.clone(),
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for one more session of a tenant; none when the server is full, or the tenant has its part.
    pub(crate) fn take_slot(&self, tenant: &TenantName) -> Option<Slot> {
        let place = self.slots.try_place(tenant)?;
        Some(Slot(Arc::new(Mutex::new(Some(place)))))
    }

    /// Sessions open now.
    pub(crate) fn count(&self) -> usize {
        self.open().sessions.len()
    }

    /// The session of that id, if it is this caller's. Somebody else's does not exist. From now on it lives as long as
    /// `standing`: a client that renews its credential keeps its session.
    pub(crate) fn find(
        &self,
        id: &str,
        caller: &Caller,
        standing: Option<&Standing>,
    ) -> Option<Arc<Session>> {
        let session = self.open().sessions.get(id).cloned()?;
        if !session.caller.get().is_some_and(|whose| whose.is(caller)) {
            return None;
        }
        if let Some(standing) = standing {
            session.state().standing = Some(standing.clone());
        }
        Some(session)
    }

    /// Ends the sessions of a tenant, with what runs for them.
    pub(crate) fn end(&self, tenant: &TenantName) {
        let is_of_tenant =
            |session: &Session| session.caller.get().is_some_and(|caller| caller.tenant == *tenant);
        let mut ended = Vec::new();
        self.open().sessions.retain(|_, session| {
            let ends = is_of_tenant(session);
            if ends {
                ended.push(session.clone());
            }
            !ends
        });
        for session in ended {
            session.end();
        }
    }

    /// Ends every session that has nothing left to answer. The others end with their last answer.
    pub(crate) fn drain(&self) {
        let sessions: Vec<_> = self.open().sessions.values().cloned().collect();
        for session in sessions {
            session.close_if_drained();
        }
    }

    fn get(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.open().sessions.get(id).cloned()
    }

    /// Ends sessions that idled too long, and those whose client may not have them any more, for as long as there are
    /// sessions.
    async fn reap(me: Weak<Self>, idle_timeout: Duration) {
        let pause = (idle_timeout / 4).clamp(REAP_PAUSE_MIN, Standing::ASKED_EVERY);
        loop {
            tokio::time::sleep(pause).await;
            let Some(sessions) = me.upgrade() else { return };
            let mut open = sessions.open();
            let (mut expired, mut revoked) = (Vec::new(), Vec::new());
            open.sessions.retain(|_, session| {
                let ended = match session.holds() {
                    true if session.is_idle(idle_timeout) => &mut expired,
                    true => return true,
                    false => &mut revoked,
                };
                ended.push(session.clone());
                false
            });
            let done = open.sessions.is_empty();
            open.reaped = !done;
            drop(open);
            for session in expired {
                sessions.counters.sessions_expired.add();
                session.closed.cancel();
            }
            for session in revoked {
                sessions.counters.sessions_revoked.add();
                session.end();
            }
            if done {
                return;
            }
        }
    }
}

/// How often idle sessions are looked for, at most.
const REAP_PAUSE_MIN: Duration = Duration::from_millis(100);

impl Session {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        self.state().last_used = Some(Instant::now());
    }

    /// Whether its `initialize` was answered, so that requests need nothing more from `rmcp`.
    pub(crate) fn is_open(&self) -> bool {
        self.state().opened && !self.closed.is_cancelled()
    }

    /// Whether it can take one more request.
    pub(crate) fn has_room(&self) -> bool {
        self.state().pending.len() < self.pending_max
    }

    /// Whether its client may still have it.
    fn holds(&self) -> bool {
        let standing = self.state().standing.clone();
        standing.is_none_or(|standing| standing.holds())
    }

    fn is_idle(&self, timeout: Duration) -> bool {
        let state = self.state();
        state.pending.is_empty()
            && state.streams == 0
            && state.last_used.is_none_or(|at| at.elapsed() >= timeout)
    }

    /// Ends it: its place is free, and what still waits in streams ends with it.
    fn end(&self) {
        self.closed.cancel();
        let mut state = self.state();
        state.pending.clear();
        state.opening = None;
        state.slot = None;
    }

    fn close_if_drained(&self) {
        if self.draining.is_cancelled() && self.state().pending.is_empty() {
            self.closed.cancel();
        }
    }

    fn register(&self, id: RequestId, waiting: Waiting) -> Result<(), Busy> {
        if self.closed.is_cancelled() {
            return Err(Busy::Ended);
        }
        let mut state = self.state();
        if state.pending.contains_key(&id) {
            return Err(Busy::Duplicate);
        }
        if state.pending.len() >= self.pending_max {
            return Err(Busy::Full);
        }
        state.pending.insert(id, waiting);
        Ok(())
    }

    /// Takes a request that ended off the table; gives back where its answer goes.
    fn unregister(&self, id: &RequestId) -> Option<mpsc::Sender<ServerSseMessage>> {
        let mut state = self.state();
        let answer = state.pending.remove(id).and_then(|waiting| waiting.answer);
        state.last_used = Some(Instant::now());
        drop(state);
        self.close_if_drained();
        answer
    }

    /// Stops a request and lets go of whoever waits for it. Its end takes it off the table.
    fn cancel(&self, id: &RequestId) {
        let mut state = self.state();
        let Some(waiting) = state.pending.get_mut(id) else { return };
        waiting.stop.cancel();
        waiting.answer = None;
    }

    /// Cancelled when nobody waits for a request of this session any more: at the latest when the
    /// session ends.
    pub(crate) fn child_token(&self) -> CancellationToken {
        self.closed.child_token()
    }

    /// Registers a request that the fast path answers.
    ///
    /// # Errors
    /// [`Busy`].
    pub(crate) fn begin(self: &Arc<Self>, id: RequestId) -> Result<Direct, Busy> {
        let cancelled = self.closed.child_token();
        let waiting = Waiting { stop: cancelled.clone(), answer: None };
        self.register(id.clone(), waiting)?;
        Ok(Direct { session: self.clone(), id, cancelled })
    }

    /// Where a message of the service goes; none when nobody waits for it.
    fn route(&self, message: &ServerJsonRpcMessage) -> Option<mpsc::Sender<ServerSseMessage>> {
        match message {
            ServerJsonRpcMessage::Response(response) => self.unregister(&response.id),
            ServerJsonRpcMessage::Error(error) => self.unregister(error.id.as_ref()?),
            ServerJsonRpcMessage::Notification(notification) => {
                self.stream_of(notification.notification.extensions())
            }
            ServerJsonRpcMessage::Request(request) => self.stream_of(request.request.extensions()),
        }
    }

    /// The stream of the request that a message belongs to.
    fn stream_of(&self, extensions: &Extensions) -> Option<mpsc::Sender<ServerSseMessage>> {
        let OriginatingRequestId(id) = extensions.get()?;
        self.state().pending.get(id)?.answer.clone()
    }

    /// What the client follows besides the answers to its requests.
    pub(crate) const fn following(&self) -> &Arc<Following> {
        &self.following
    }

    /// Hands the answer to `initialize` to whoever waits for it; gives other messages back.
    fn finish_opening(&self, message: ServerJsonRpcMessage) -> Option<ServerJsonRpcMessage> {
        let mut state = self.state();
        let Some(opening) = state.opening.take() else { return Some(message) };
        state.opened = matches!(message, ServerJsonRpcMessage::Response(_));
        drop(state);
        // The client may have left already.
        let _ = opening.send(message);
        None
    }

    /// A stream that tells of every change that no stream of this session told of, until the
    /// session ends.
    ///
    /// A change counts as told when the stream is read, not before: one that breaks leaves it to
    /// the session's others, and to the next.
    fn announcements(
        self: Arc<Self>,
        changes: Subscription,
        window: Duration,
    ) -> impl Stream<Item = ServerSseMessage> + Send + Sync + 'static {
        let open = OpenStream::new(self);
        let batches =
            futures::stream::unfold((open, changes), move |(open, mut changes)| async move {
                let session = &open.0;
                loop {
                    let known = session.state().announced;
                    let versions = tokio::select! {
                        () = session.closed.cancelled() => return None,
                        () = session.draining.cancelled() => return None,
                        versions = changes.after(known, window) => versions,
                    };
                    // With several streams, one of them tells: the protocol wants every message once.
                    let known = session.state().tell(versions);
                    let news = session.following.news(known, versions);
                    if !news.is_empty() {
                        let messages = news.into_iter().map(ServerJsonRpcMessage::notification);
                        let messages =
                            messages.map(ServerSseMessage::from_message).collect::<Vec<_>>();
                        return Some((futures::stream::iter(messages), (open, changes)));
                    }
                }
            });
        batches.flatten()
    }
}

impl State {
    /// Notes that these changes were told of; gives back which were before.
    fn tell(&mut self, versions: Versions) -> Versions {
        let known = self.announced;
        self.announced = known.max(versions);
        known
    }
}

/// Keeps a session from idling out while one of its streams is open.
struct OpenStream(Arc<Session>);

impl OpenStream {
    fn new(session: Arc<Session>) -> Self {
        session.state().streams += 1;
        Self(session)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.streams -= 1;
        state.last_used = Some(Instant::now());
    }
}

/// A request that the fast path answers, for as long as it runs.
pub(crate) struct Direct {
    session: Arc<Session>,
    id: RequestId,
    /// Cancelled by `notifications/cancelled` and by the end of the session.
    pub(crate) cancelled: CancellationToken,
}

impl Drop for Direct {
    fn drop(&mut self) {
        self.session.unregister(&self.id);
    }
}

//! Sessions of the revisions before 2026-07-28.
//!
//! `rmcp` brings a session manager of its own. This one replaces it because a host needs what that
//! lacks: a cap, a bound on waiting requests, expiry that spares a session with an open stream or a
//! running call, a tenant per session, and a deletion that stops the session's calls at once. It
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

use aop_core::TenantName;
use rmcp::model::{
    ClientJsonRpcMessage, ProgressToken, RequestId, ServerJsonRpcMessage, ServerNotification,
    ToolListChangedNotification,
};
use rmcp::transport::streamable_http_server::session::{ServerSseMessage, SessionId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::changes::{Changes, Subscription};
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
}

/// Every session of the server.
pub(crate) struct Sessions {
    limits: SessionLimits,
    slots: Arc<Semaphore>,
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
pub(crate) struct Slot(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

/// One session.
pub(crate) struct Session {
    tenant: OnceLock<TenantName>,
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
    progress: HashMap<ProgressToken, RequestId>,
    opening: Option<oneshot::Sender<ServerJsonRpcMessage>>,
    opened: bool,
    streams: usize,
    last_used: Option<Instant>,
    /// The newest version of the tool set that a stream of this session told of.
    announced: u64,
    slot: Option<OwnedSemaphorePermit>,
}

/// Who waits for the answer to a request.
enum Waiting {
    /// A stream, fed through `rmcp`.
    Stream { messages: mpsc::Sender<ServerSseMessage>, progress: Option<ProgressToken> },
    /// The fast path, which only wants to know when to stop.
    Direct(CancellationToken),
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
            slots: Arc::new(Semaphore::new(limits.sessions_max)),
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

    /// Takes a place for one more session; none when the server is full.
    pub(crate) fn take_slot(&self) -> Option<Slot> {
        let permit = self.slots.clone().try_acquire_owned().ok()?;
        Some(Slot(Arc::new(Mutex::new(Some(permit)))))
    }

    /// Sessions open now.
    pub(crate) fn count(&self) -> usize {
        self.open().sessions.len()
    }

    /// The session of that id, if it is this tenant's.
    pub(crate) fn find(&self, id: &str, tenant: &TenantName) -> Option<Arc<Session>> {
        let session = self.open().sessions.get(id).cloned()?;
        (session.tenant.get() == Some(tenant)).then_some(session)
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

    /// Ends sessions that idled too long, for as long as there are sessions.
    async fn reap(me: Weak<Self>, idle_timeout: Duration) {
        let pause = (idle_timeout / 4).max(REAP_PAUSE_MIN);
        loop {
            tokio::time::sleep(pause).await;
            let Some(sessions) = me.upgrade() else { return };
            let mut open = sessions.open();
            let mut expired = Vec::new();
            open.sessions.retain(|_, session| {
                let keep = !session.is_idle(idle_timeout);
                if !keep {
                    expired.push(session.clone());
                }
                keep
            });
            let done = open.sessions.is_empty();
            open.reaped = !done;
            drop(open);
            for session in expired {
                sessions.counters.sessions_expired.add();
                session.closed.cancel();
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

    fn is_idle(&self, timeout: Duration) -> bool {
        let state = self.state();
        state.pending.is_empty()
            && state.streams == 0
            && state.last_used.is_none_or(|at| at.elapsed() >= timeout)
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
        if let Waiting::Stream { progress: Some(token), .. } = &waiting {
            state.progress.insert(token.clone(), id.clone());
        }
        state.pending.insert(id, waiting);
        Ok(())
    }

    fn unregister(&self, id: &RequestId) -> Option<Waiting> {
        let mut state = self.state();
        let waiting = state.pending.remove(id);
        if let Some(Waiting::Stream { progress: Some(token), .. }) = &waiting {
            state.progress.remove(token);
        }
        state.last_used = Some(Instant::now());
        drop(state);
        self.close_if_drained();
        waiting
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
        self.register(id.clone(), Waiting::Direct(cancelled.clone()))?;
        Ok(Direct { session: self.clone(), id, cancelled })
    }

    /// Where a message of the service goes; none when nobody waits for it.
    fn route(&self, message: &ServerJsonRpcMessage) -> Option<mpsc::Sender<ServerSseMessage>> {
        let answered = match message {
            ServerJsonRpcMessage::Response(response) => Some(&response.id),
            ServerJsonRpcMessage::Error(error) => error.id.as_ref(),
            ServerJsonRpcMessage::Notification(notification) => {
                let ServerNotification::ProgressNotification(progress) = &notification.notification
                else {
                    return None;
                };
                let state = self.state();
                let id = state.progress.get(&progress.params.progress_token)?;
                return match state.pending.get(id) {
                    Some(Waiting::Stream { messages, .. }) => Some(messages.clone()),
                    _ => None,
                };
            }
            ServerJsonRpcMessage::Request(_) => None,
        };
        match self.unregister(answered?)? {
            Waiting::Stream { messages, .. } => Some(messages),
            Waiting::Direct(_) => None,
        }
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

    /// Tells a stream of every change that no stream of this session told of, until either ends.
    async fn announce(
        self: Arc<Self>,
        mut changes: Subscription,
        window: Duration,
        stream: mpsc::Sender<ServerSseMessage>,
    ) {
        let _open = OpenStream::new(self.clone());
        loop {
            let known = self.state().announced;
            let version = tokio::select! {
                () = self.closed.cancelled() => return,
                () = self.draining.cancelled() => return,
                () = stream.closed() => return,
                version = changes.after(known, window) => version,
            };
            // With several streams, one of them tells: the protocol wants every message once.
            let first = std::mem::replace(&mut self.state().announced, version) != version;
            if first && stream.send(list_changed()).await.is_err() {
                return;
            }
        }
    }
}

fn list_changed() -> ServerSseMessage {
    ServerSseMessage::from_message(ServerJsonRpcMessage::notification(
        ServerNotification::ToolListChangedNotification(ToolListChangedNotification::default()),
    ))
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

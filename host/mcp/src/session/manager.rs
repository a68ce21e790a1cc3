//! What `rmcp`'s HTTP service asks of a session manager.
//!
//! That service turns every error from here into a 500, so whatever a client can cause is answered
//! in its stream or ignored instead.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures::{Stream, StreamExt as _};
use rmcp::ErrorData;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, GetExtensions as _, JsonRpcNotification,
    ServerJsonRpcMessage,
};
use rmcp::transport::streamable_http_server::session::{
    ServerSseMessage, SessionId, SessionManager,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::transport::{Messages, SessionTransport};
use super::{Busy, QUEUE_LENGTH, Session, SessionError, Sessions, Slot, State, Waiting};
use crate::arrival::Arrival;
use crate::following::Following;

impl SessionManager for Sessions {
    type Error = SessionError;
    type Transport = SessionTransport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), SessionError> {
        let id: SessionId = Uuid::new_v4().to_string().into();
        let (inbox, from_client) = mpsc::channel(QUEUE_LENGTH);
        let state = State { last_used: Some(Instant::now()), ..State::default() };
        let session = Arc::new(Session {
            caller: OnceLock::new(),
            following: Arc::new(Following::new(
                self.changes.clone(),
                self.limits.subscriptions_max,
            )),
            inbox,
            state: Mutex::new(state),
            pending_max: self.limits.pending_max,
            closed: CancellationToken::new(),
            draining: self.draining.clone(),
        });
        let mut open = self.open();
        open.sessions.insert(id.clone(), session.clone());
        if !std::mem::replace(&mut open.reaped, true) {
            tokio::spawn(Self::reap(self.me.clone(), self.limits.idle_timeout));
        }
        drop(open);
        Ok((id, SessionTransport::new(session, from_client)))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        mut message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, SessionError> {
        let session = self.get(id).ok_or(SessionError::Ended)?;
        let (opening, answer) = oneshot::channel();
        {
            let ClientJsonRpcMessage::Request(request) = &mut message else {
                return Err(SessionError::Foreign);
            };
            let extensions = request.request.extensions_mut();
            let arrival = Arrival::of(extensions).ok_or(SessionError::Foreign)?;
            let (caller, standing) = (arrival.caller.clone(), arrival.standing.clone());
            let slot = extensions
                .get::<http::request::Parts>()
                .and_then(|parts| parts.extensions.get::<Slot>())
                .ok_or(SessionError::Foreign)?;
            let mut state = session.state();
            state.slot = slot.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            state.standing = standing;
            state.announced = self.changes.subscribe(&caller.tenant).versions();
            state.opening = Some(opening);
            let _ = session.caller.set(caller);
        }
        // A client that leaves now will never know the session's id.
        let abandoned = session.closed.clone().drop_guard();
        session.inbox.send(message).await.map_err(|_| SessionError::Ended)?;
        let answer = answer.await.map_err(|_| SessionError::Ended)?;
        abandoned.disarm();
        Ok(answer)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, SessionError> {
        let session = self.get(id);
        if let Some(session) = &session {
            session.touch();
        }
        Ok(session.is_some_and(|session| !session.closed.is_cancelled()))
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), SessionError> {
        let session = self.open().sessions.remove(id);
        if let Some(session) = session {
            session.end();
        }
        Ok(())
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        mut message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionError> {
        let (messages, stream) = mpsc::channel(QUEUE_LENGTH);
        let ClientJsonRpcMessage::Request(request) = &mut message else {
            return Err(SessionError::Foreign);
        };
        let request_id = request.id.clone();
        let arrival = Arrival::of(request.request.extensions()).ok_or(SessionError::Foreign)?;
        let stop = arrival.gone.clone();
        let registered = match self.get(id) {
            None => Err(Busy::Ended),
            Some(session) => {
                let waiting = Waiting { stop, answer: Some(messages.clone()) };
                session.register(request_id.clone(), waiting).map(|()| session)
            }
        };
        let refused = match registered {
            Ok(session) => match session.inbox.send(message).await {
                Ok(()) => None,
                Err(_) => {
                    session.unregister(&request_id);
                    Some(Busy::Ended)
                }
            },
            Err(busy) => Some(busy),
        };
        if let Some(busy) = refused {
            let error = ErrorData::invalid_request(busy.to_string(), None);
            let error = ServerJsonRpcMessage::error(error, Some(request_id));
            // The queue is empty, so there is room.
            let _ = messages.try_send(ServerSseMessage::from_message(error));
        }
        Ok(Messages::new(stream))
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), SessionError> {
        let Some(session) = self.get(id) else { return Ok(()) };
        if let ClientJsonRpcMessage::Notification(JsonRpcNotification {
            notification: ClientNotification::CancelledNotification(cancelled),
            ..
        }) = &message
        {
            // Not for the service: it would forget the request at once, and take the answer that
            // still comes for that to the next request of the same id.
            if let Some(request_id) = &cancelled.params.request_id {
                session.cancel(request_id);
            }
            return Ok(());
        }
        // A session that ended meanwhile has nothing to tell its client.
        let _ = session.inbox.send(message).await;
        Ok(())
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionError> {
        let announcements = self.get(id).and_then(|session| {
            let changes = self.changes.subscribe(&session.caller.get()?.tenant);
            Some(session.announcements(changes, self.limits.list_changed_window))
        });
        // A session that ended meanwhile has nothing to tell.
        Ok(futures::stream::iter(announcements).flatten())
    }

    async fn resume(
        &self,
        id: &SessionId,
        _last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionError> {
        // Events carry no ids, so there is nothing to resume but the stream itself.
        self.create_standalone_stream(id).await
    }
}

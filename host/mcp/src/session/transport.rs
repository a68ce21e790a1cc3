//! The two ends of a session: what `rmcp`'s service loop reads and writes, and the stream that an
//! HTTP response is made of.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use rmcp::transport::streamable_http_server::session::ServerSseMessage;
use tokio::sync::mpsc;

use super::{Session, SessionError};

/// A session as a transport.
pub(crate) struct SessionTransport {
    session: Arc<Session>,
    from_client: mpsc::Receiver<ClientJsonRpcMessage>,
}

impl SessionTransport {
    pub(super) const fn new(
        session: Arc<Session>,
        from_client: mpsc::Receiver<ClientJsonRpcMessage>,
    ) -> Self {
        Self { session, from_client }
    }
}

impl Transport<RoleServer> for SessionTransport {
    type Error = SessionError;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), SessionError>> + Send + 'static {
        let message = self.session.finish_opening(message);
        let stream = message.as_ref().and_then(|message| self.session.route(message));
        async move {
            let Some(message) = message else { return Ok(()) };
            // A client that left needs no answer, but whoever asks it something must hear of it.
            let is_question = matches!(message, ServerJsonRpcMessage::Request(_));
            let sent = match stream {
                Some(stream) => stream.send(ServerSseMessage::from_message(message)).await.is_ok(),
                None => false,
            };
            if is_question && !sent { Err(SessionError::Unrouted) } else { Ok(()) }
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        tokio::select! {
            () = self.session.closed.cancelled() => None,
            message = self.from_client.recv() => message,
        }
    }

    async fn close(&mut self) -> Result<(), SessionError> {
        self.session.closed.cancel();
        Ok(())
    }
}

/// Messages on their way into a response.
pub(crate) struct Messages(mpsc::Receiver<ServerSseMessage>);

impl Messages {
    pub(super) const fn new(messages: mpsc::Receiver<ServerSseMessage>) -> Self {
        Self(messages)
    }
}

impl Stream for Messages {
    type Item = ServerSseMessage;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<ServerSseMessage>> {
        self.0.poll_recv(context)
    }
}

//! One client on a pair of streams, one JSON-RPC message per line.
//!
//! A reader ([`lines`]) cuts the input into bounded lines and decides line by line: plain requests
//! run right here, concurrently, and everything else goes through `rmcp`'s service loop. A writer
//! joins what is ready into one write, so pipelined calls do not cost a system call each. At most
//! `pending_max` requests run at once: beyond, reading stops until one is answered, which a client
//! that pipelines sees as backpressure and never as an error.

mod lines;
mod output;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aop_core::Caller;
use bytes::Bytes;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, ErrorCode, GetExtensions as _,
    JsonRpcNotification, RequestId, ServerJsonRpcMessage, ServerResult,
};
use rmcp::service::{QuitReason, serve_server_with_ct};
use rmcp::transport::{Transport, TransportAdapterIdentity};
use rmcp::{ErrorData, RoleServer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use self::lines::{Line, Lines};
use self::output::{announce, write};
use crate::arrival::Arrival;
use crate::complaint;
use crate::edge::Edge;
use crate::error::McpError;
use crate::fast;
use crate::following::Following;
use crate::handler::Handler;
use crate::http::OVERLOADED;
use crate::message::{self, Outline, Scanned};

/// Messages that may wait to be written. Fixed: it covers what one write joins; whoever is ahead of
/// the client waits.
const OUTPUT_QUEUE_LENGTH: usize = 256;
/// Messages that may wait for `rmcp`'s loop. Fixed: it only covers the hand-over.
const SERVICE_QUEUE_LENGTH: usize = 32;

/// What the tasks of one connection share.
struct Connection {
    edge: Arc<Edge>,
    caller: Caller,
    output: mpsc::Sender<Vec<u8>>,
    /// Requests that run, on either path. A request keeps its id from being used again until
    /// nothing of it runs any more, cancelled or not.
    running: Mutex<HashMap<RequestId, Stop>>,
    pending: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// Cancelled when no further request will come: ends subscriptions.
    ending: CancellationToken,
    /// Cancelled when no answer is wanted any more.
    stop: CancellationToken,
    era: Mutex<Era>,
    following: Arc<Following>,
}

/// How to stop a request that runs.
struct Stop {
    token: CancellationToken,
    /// Whether its client cancelled it, so that it wants no answer.
    cancelled: bool,
}

/// A request of the fast path, for as long as it runs.
struct Running<'a> {
    connection: &'a Connection,
    key: RequestId,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.connection.running().remove(&self.key);
    }
}

/// How the connection was opened: decides what a request must carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Era {
    Unknown,
    /// `initialize` was answered.
    Session,
    /// The first request carried the stateless revision.
    Stateless,
}

/// Serves one client. See [`McpServer::serve_stdio`](crate::McpServer::serve_stdio).
pub(crate) async fn serve<R, W>(
    edge: Arc<Edge>,
    caller: Caller,
    draining: CancellationToken,
    input: R,
    output: W,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), McpError>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let changes = edge.parts.changes.subscribe(&caller.tenant);
    let (to_output, from_connection) = mpsc::channel(OUTPUT_QUEUE_LENGTH);
    let (to_service, from_client) = mpsc::channel(SERVICE_QUEUE_LENGTH);
    let stop = CancellationToken::new();
    // Dropping this future leaves nothing behind.
    let _stopped = stop.clone().drop_guard();
    let connection = Arc::new(Connection::new(edge.clone(), caller, to_output, stop.clone()));
    let transport = Pipe { connection: connection.clone(), from_client };
    let handler = Handler::new(edge.clone(), draining.clone());
    // A child: the service cancels its token when it ends, and answers may still be wanted then.
    let service = tokio::spawn(run_service(handler, transport, stop.child_token()));
    let writer = tokio::spawn(write(output, from_connection, stop.clone()));
    let announcer = tokio::spawn(announce(connection.clone(), changes, draining.clone()));

    let lines = Lines::new(input, edge.config.body_max_bytes);
    let left = tokio::select! {
        read = read(&connection, lines, to_service) => read.map(|()| true),
        () = shutdown => Ok(false),
        () = draining.cancelled() => Ok(false),
        () = stop.cancelled() => Ok(true),
    };
    connection.ending.cancel();
    if *left.as_ref().unwrap_or(&true) {
        // The client left: what it asked last may still be on the way out.
        let _ = tokio::time::timeout(edge.config.stdio_grace, connection.idle()).await;
    } else {
        connection.idle().await;
    }
    announcer.abort();
    drop(connection);
    // The service ended with its input; its last answers are in the writer's queue.
    let _ = tokio::time::timeout(edge.config.stdio_grace, service).await;
    stop.cancel();
    // A client that stopped reading does not keep the process.
    let written = tokio::time::timeout(edge.config.stdio_grace, writer).await;
    left?;
    match written {
        Ok(Ok(written)) => written.map_err(McpError::Io),
        _ => Ok(()),
    }
}

async fn run_service(handler: Handler, transport: Pipe, stop: CancellationToken) {
    match serve_server_with_ct::<_, _, _, TransportAdapterIdentity>(handler, transport, stop).await
    {
        Ok(service) => {
            if let Ok(QuitReason::JoinError(error)) = service.waiting().await {
                tracing::error!(%error, "the MCP service of standard input and output failed");
            }
        }
        Err(error) => tracing::debug!(%error, "no MCP connection was opened on standard input"),
    }
}

/// Reads until the input ends. Returning drops the way into the service, which ends it.
async fn read<R: AsyncRead + Send + Unpin>(
    connection: &Arc<Connection>,
    mut lines: Lines<R>,
    to_service: mpsc::Sender<ClientJsonRpcMessage>,
) -> Result<(), McpError> {
    loop {
        let line = match lines.next().await? {
            Line::End => return Ok(()),
            Line::TooLong => {
                let max = connection.edge.config.body_max_bytes;
                let reason = format!("Invalid Request: a message may have {max} bytes");
                connection.complain(None, &ErrorData::invalid_request(reason, None)).await;
                continue;
            }
            Line::Message(line) => line,
        };
        if let Some(message) = connection.take(line).await
            && to_service.send(message).await.is_err()
        {
            return Ok(());
        }
    }
}

impl Connection {
    fn new(
        edge: Arc<Edge>,
        caller: Caller,
        output: mpsc::Sender<Vec<u8>>,
        stop: CancellationToken,
    ) -> Self {
        let following = Following::new(edge.parts.changes.clone(), edge.config.subscriptions_max);
        Self {
            caller,
            output,
            running: Mutex::default(),
            pending: Arc::new(Semaphore::new(edge.config.pending_max)),
            streams: Arc::new(Semaphore::new(edge.config.streams_max)),
            ending: stop.child_token(),
            stop,
            era: Mutex::new(Era::Unknown),
            following: Arc::new(following),
            edge,
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<RequestId, Stop>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn era(&self) -> std::sync::MutexGuard<'_, Era> {
        self.era.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no request runs.
    async fn idle(&self) {
        let all = u32::try_from(self.edge.config.pending_max).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let _ = self.pending.acquire_many(all).await;
    }

    async fn complain(&self, id: Option<RequestId>, error: &ErrorData) {
        self.edge.counters.refused.add();
        let _ = self.output.send(fast::complaint(id, error)).await;
    }

    /// Deals with one line; gives back what the service has to deal with.
    async fn take(self: &Arc<Self>, line: Bytes) -> Option<ClientJsonRpcMessage> {
        let scanned = match message::scan(&line, self.edge.config.json_depth_max) {
            Ok(scanned) => scanned,
            Err(error) => {
                let error = ErrorData::new(ErrorCode::PARSE_ERROR, error.to_string(), None);
                self.complain(None, &error).await;
                return None;
            }
        };
        if self.take_plain(&line, scanned).await {
            self.edge.counters.fast.add();
            return None;
        }
        let outline = match message::outline(scanned.text) {
            Ok(outline) => outline,
            Err(error) => {
                let code = match &error {
                    message::OutlineError::Json(_) => ErrorCode::PARSE_ERROR,
                    _ => ErrorCode::INVALID_REQUEST,
                };
                self.complain(None, &ErrorData::new(code, error.to_string(), None)).await;
                return None;
            }
        };
        let Ok(mut message) = serde_json::from_slice::<ClientJsonRpcMessage>(&line) else {
            // Other notifications than MCP's are none of ours, as JSON-RPC has it: no answer.
            if outline.id.is_some() || outline.method.is_none() {
                let reason = complaint::of_shape(&line);
                self.complain(outline.id, &ErrorData::invalid_request(reason, None)).await;
            }
            return None;
        };
        self.edge.counters.full.add();
        match &mut message {
            ClientJsonRpcMessage::Request(request) => {
                let id = request.id.clone();
                let admitted = self.admit(&id, &mut request.request, &outline, line.clone()).await;
                if let Err(error) = admitted {
                    self.complain(outline.id, &error).await;
                    return None;
                }
            }
            ClientJsonRpcMessage::Notification(JsonRpcNotification {
                notification: ClientNotification::CancelledNotification(_),
                ..
            }) => {
                // Not for the service: it would forget the request at once, and take the answer
                // that still comes for that to the next request of the same id.
                if let Some(id) = outline.cancels {
                    self.cancel(&id);
                }
                return None;
            }
            _ => {}
        }
        Some(message)
    }

    /// Notes that a request runs, and how it is stopped.
    fn begin(&self, id: &RequestId, token: CancellationToken) -> Result<(), ErrorData> {
        match self.running().entry(id.clone()) {
            Entry::Occupied(_) => {
                let reason = "a request with this id is already running: ids must be unique";
                Err(ErrorData::invalid_request(reason, None))
            }
            Entry::Vacant(free) => {
                free.insert(Stop { token, cancelled: false });
                Ok(())
            }
        }
    }

    fn cancel(&self, id: &RequestId) {
        if let Some(stop) = self.running().get_mut(id) {
            stop.cancelled = true;
            stop.token.cancel();
        }
    }

    /// Notes that the service is done with a request. Whether its client still wants the answer.
    fn finish(&self, message: &ServerJsonRpcMessage) -> bool {
        let id = match message {
            ServerJsonRpcMessage::Response(response) => Some(&response.id),
            ServerJsonRpcMessage::Error(error) => error.id.as_ref(),
            _ => None,
        };
        id.and_then(|id| self.running().remove(id)).is_none_or(|stop| !stop.cancelled)
    }

    /// Gives a request its place and its circumstances; it holds both until it is answered.
    async fn admit(
        &self,
        id: &RequestId,
        request: &mut ClientRequest,
        outline: &Outline<'_>,
        line: Bytes,
    ) -> Result<(), ErrorData> {
        if outline.stateless && !matches!(request, ClientRequest::DiscoverRequest(_)) {
            let mut era = self.era();
            if *era == Era::Unknown {
                *era = Era::Stateless;
            }
        }
        let mut arrival = self.arrival(line);
        // A subscription waits for ever: it must not hold a place that calls need.
        let place = if matches!(request, ClientRequest::SubscriptionsListenRequest(_)) {
            arrival.gone = self.ending.child_token();
            self.streams.clone().try_acquire_owned().map_err(|_| {
                ErrorData::new(OVERLOADED, "Too many event streams are open: close one first", None)
            })?
        } else {
            let place = self.pending.clone().acquire_owned().await;
            place.map_err(|_| ErrorData::internal_error("the connection is closing", None))?
        };
        self.begin(id, arrival.gone.clone())?;
        request.extensions_mut().insert(Arc::new(place));
        request.extensions_mut().insert(arrival);
        Ok(())
    }

    fn arrival(&self, message: Bytes) -> Arrival {
        Arrival {
            caller: self.caller.clone(),
            standing: None,
            received: Instant::now(),
            message,
            trace: None,
            following: Some(self.following.clone()),
            gone: self.stop.child_token(),
        }
    }

    /// Starts a plain request, if the line is one and the connection is open for it.
    async fn take_plain(self: &Arc<Self>, line: &Bytes, scanned: Scanned<'_>) -> bool {
        let era = *self.era();
        let Some(request) = message::plain(scanned) else { return false };
        if self.following.wants_logs() || !self.edge.is_quick(&self.caller, &request) {
            return false;
        }
        let stateless = request.meta.is_stateless();
        let admitted = match era {
            Era::Unknown => false,
            Era::Session => stateless || request.meta.is_sessional(),
            Era::Stateless => stateless,
        };
        if !admitted {
            return false;
        }
        let Ok(permit) = self.pending.clone().acquire_owned().await else { return false };
        let key = request.key;
        let arrival = self.arrival(line.clone());
        if let Err(error) = self.begin(&key, arrival.gone.clone()) {
            self.complain(Some(key), &error).await;
            return true;
        }
        let connection = self.clone();
        tokio::spawn(async move {
            // Ends before the answer goes out: whoever has that may use the id again.
            let running = Running { connection: &connection, key };
            let answer = connection.answer(arrival, stateless).await;
            drop(running);
            if let Some(answer) = answer {
                let _ = connection.output.send(answer).await;
            }
            drop(permit);
        });
        true
    }

    /// Runs a plain request; none when it was cancelled. The line is parsed again because what was
    /// parsed borrows from it.
    async fn answer(&self, arrival: Arrival, stateless: bool) -> Option<Vec<u8>> {
        let line = arrival.message.clone();
        let text = std::str::from_utf8(&line).ok()?;
        let request = message::plain(Scanned { text, surrogates: false, containers: 0 })?;
        let Arrival { caller, received, trace, gone, .. } = &arrival;
        let origin = fast::Origin { caller, received: *received, trace: *trace };
        tokio::select! {
            biased;
            () = gone.cancelled() => None,
            answer = fast::answer(&self.edge, &request, &origin, stateless) => Some(answer),
        }
    }
}

/// The connection as a transport for `rmcp`.
struct Pipe {
    connection: Arc<Connection>,
    from_client: mpsc::Receiver<ClientJsonRpcMessage>,
}

impl Transport<RoleServer> for Pipe {
    type Error = std::io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = std::io::Result<()>> + Send + 'static {
        if let ServerJsonRpcMessage::Response(response) = &message
            && matches!(response.result, ServerResult::InitializeResult(_))
        {
            *self.connection.era() = Era::Session;
        }
        let wanted = self.connection.finish(&message);
        let output = self.connection.output.clone();
        async move {
            if !wanted {
                return Ok(());
            }
            let message = serde_json::to_vec(&message)?;
            output.send(message).await.map_err(|_| std::io::ErrorKind::BrokenPipe.into())
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        self.from_client.recv().await
    }

    async fn close(&mut self) -> std::io::Result<()> {
        self.from_client.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests;

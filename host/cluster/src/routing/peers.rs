//! HTTP/2 connections to the other nodes, pooled: one client per peer, which opens a further connection when the
//! ones it has carry many streams, up to a cap, and closes what was idle for a while.
//!
//! What bounds it: connections per peer, streams per connection, and the bytes of a request and of an answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aop_core::NodeId;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::membership::Connect;

/// Connections to one peer at most. One carries what a core can encrypt; more than a few fight for the cores.
const CONNECTIONS_MAX: usize = 4;
/// Streams on every connection from which on another one is opened: streams of one connection wait for each
/// other's bytes.
const STREAMS_GROW: usize = 32;
/// Streams on one connection at most; what the other side allows.
pub(super) const STREAMS_MAX: usize = 1024;
/// How long a connection may be idle before it is closed, as long as another is open or nobody calls.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How often a peer with calls under way is asked whether it lives, and how long it may take to say so. A node
/// that is frozen is noticed by gossip too; this is what frees calls that no other replica can take.
const ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes that one answer, and all answers of a connection, may be ahead of their reader.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// The body of a request.
pub(crate) type Body = Full<Bytes>;

/// The clients of all peers.
pub(super) struct Peers {
    connect: Arc<dyn Connect>,
    peers: Mutex<HashMap<NodeId, Arc<Peer>>>,
}

/// The client of one peer.
struct Peer {
    node: NodeId,
    connections: Mutex<Vec<Connection>>,
    /// Held while the first connection is opened, so that a hundred callers do not open a hundred.
    opening: tokio::sync::Mutex<()>,
    is_growing: AtomicBool,
}

struct Connection {
    sender: SendRequest<Body>,
    streams: Arc<AtomicUsize>,
    idle_since: Instant,
    /// Ends whatever drives the connection, and with it every stream.
    _end: DropGuard,
}

/// Runs what drives one connection. hyper drives it in tasks of its own, which would outlive the pool.
#[derive(Clone)]
pub(crate) struct Drivers(pub(crate) CancellationToken);

impl<F> Executor<F> for Drivers
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, driver: F) {
        let end = self.0.clone();
        tokio::spawn(async move { end.run_until_cancelled(driver).await });
    }
}

/// Why a request got no answer.
#[derive(Debug)]
pub(crate) enum SendError {
    /// It never left, or was refused unread: nothing ran.
    NotSent(String),
    /// There are as many under way as may be.
    Full,
    /// The connection broke after it left: it may have run.
    Lost(String),
}

/// An answer that is being read, and its place among the streams.
pub(super) struct Exchange {
    pub(super) response: Response<Incoming>,
    pub(super) stream: Stream,
}

/// One stream of a connection.
pub(crate) struct Stream(Arc<AtomicUsize>);

impl Stream {
    pub(crate) fn begin(streams: &Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(streams))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the pool has for one more stream.
enum Take {
    Ready(SendRequest<Body>, Stream),
    /// The same, and another connection would do it good.
    Crowded(SendRequest<Body>, Stream),
    Full,
    Empty,
}

impl Peers {
    pub(super) fn new(connect: Arc<dyn Connect>) -> Self {
        Self { connect, peers: Mutex::default() }
    }

    /// Sends a request. Dropping the future, or the answer, resets the stream, which stops what runs there.
    pub(super) async fn send(
        &self,
        node: &NodeId,
        request: Request<Body>,
    ) -> Result<Exchange, SendError> {
        let peer = self.peer(node);
        let (mut sender, stream) = peer.stream(&self.connect).await?;
        match sender.try_send_request(request).await {
            Ok(response) => Ok(Exchange { response, stream }),
            Err(mut error) => {
                let reason = error.error().to_string();
                if error.take_message().is_some() || was_refused(error.error()) {
                    Err(SendError::NotSent(reason))
                } else {
                    Err(SendError::Lost(reason))
                }
            }
        }
    }

    /// Closes connections that were idle for long, and those to nodes that are no members any more: whoever
    /// waits for one of these learns it at once.
    pub(super) fn tend(&self, is_member: impl Fn(&NodeId) -> bool, now: Instant) {
        let mut peers = self.peers();
        peers.retain(|node, peer| {
            if !is_member(node) {
                peer.connections().clear();
                return false;
            }
            peer.shrink(now);
            true
        });
    }

    /// Open connections, and calls under way, over all peers.
    pub(super) fn counts(&self) -> (usize, usize) {
        let peers = self.peers();
        peers.values().fold((0, 0), |(open, streams), peer| {
            let connections = peer.connections();
            let under_way = connections.iter().map(Connection::under_way).sum::<usize>();
            (open + connections.len(), streams + under_way)
        })
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<NodeId, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peer(&self, node: &NodeId) -> Arc<Peer> {
        let mut peers = self.peers();
        if let Some(peer) = peers.get(node) {
            return Arc::clone(peer);
        }
        let peer = Arc::new(Peer {
            node: node.clone(),
            connections: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            is_growing: AtomicBool::new(false),
        });
        peers.insert(node.clone(), Arc::clone(&peer));
        peer
    }
}

impl Peer {
    fn connections(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream on some connection, which is opened if there is none.
    async fn stream(
        self: &Arc<Self>,
        connect: &Arc<dyn Connect>,
    ) -> Result<(SendRequest<Body>, Stream), SendError> {
        match self.take() {
            Take::Ready(sender, stream) => return Ok((sender, stream)),
            Take::Crowded(sender, stream) => {
                self.grow(connect);
                return Ok((sender, stream));
            }
            Take::Full => return Err(SendError::Full),
            Take::Empty => {}
        }
        let _turn = self.opening.lock().await;
        // Somebody else may have opened one meanwhile.
        if let Take::Ready(sender, stream) | Take::Crowded(sender, stream) = self.take() {
            return Ok((sender, stream));
        }
        let connection = open(&**connect, &self.node).await.map_err(SendError::NotSent)?;
        let taken = (connection.sender.clone(), Stream::begin(&connection.streams));
        self.connections().push(connection);
        Ok(taken)
    }

    fn take(&self) -> Take {
        let mut connections = self.connections();
        connections.retain(|connection| !connection.sender.is_closed());
        let count = connections.len();
        let Some(quietest) = connections.iter_mut().min_by_key(|connection| connection.under_way())
        else {
            return Take::Empty;
        };
        let streams = quietest.under_way();
        if streams >= STREAMS_MAX {
            return Take::Full;
        }
        quietest.idle_since = Instant::now();
        let (sender, stream) = (quietest.sender.clone(), Stream::begin(&quietest.streams));
        if streams >= STREAMS_GROW && count < CONNECTIONS_MAX {
            Take::Crowded(sender, stream)
        } else {
            Take::Ready(sender, stream)
        }
    }

    /// Opens another connection, beside the callers.
    fn grow(self: &Arc<Self>, connect: &Arc<dyn Connect>) {
        if self.is_growing.swap(true, Ordering::Relaxed) {
            return;
        }
        let (peer, connect) = (Arc::clone(self), Arc::clone(connect));
        tokio::spawn(async move {
            if let Ok(connection) = open(&*connect, &peer.node).await {
                peer.connections().push(connection);
            }
            peer.is_growing.store(false, Ordering::Relaxed);
        });
    }

    fn shrink(&self, now: Instant) {
        self.connections().retain(|connection| {
            connection.under_way() > 0 || now.duration_since(connection.idle_since) < IDLE_MAX
        });
    }
}

impl Connection {
    fn under_way(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }
}

async fn open(connect: &dyn Connect, node: &NodeId) -> Result<Connection, String> {
    let stream = connect.connect(node).await.map_err(|error| error.to_string())?;
    let end = CancellationToken::new();
    let (sender, driver) = Builder::new(Drivers(end.clone()))
        .timer(TokioTimer::new())
        .keep_alive_interval(ALIVE_INTERVAL)
        .keep_alive_timeout(ALIVE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_max_send_streams(STREAMS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let node = node.clone();
    Drivers(end.clone()).execute(async move {
        if let Err(error) = driver.await {
            tracing::debug!(%node, %error, "a connection to another node ended");
        }
    });
    Ok(Connection {
        sender,
        streams: Arc::default(),
        idle_since: Instant::now(),
        _end: end.drop_guard(),
    })
}

/// Whether the other side says that it did not process the stream (RFC 9113, sections 6.8 and 8.7).
pub(crate) fn was_refused(error: &hyper::Error) -> bool {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.reason() == Some(h2::Reason::REFUSED_STREAM)
            || (cause.is_go_away()
                && cause.is_remote()
                && cause.reason() == Some(h2::Reason::NO_ERROR))
    })
}

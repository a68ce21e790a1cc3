//! HTTP/2 connections to the other nodes, pooled: one client per peer, which opens a further connection when the
//! ones it has carry many streams, up to a cap, and closes what was idle for a while.
//!
//! What bounds it: connections per peer, streams per connection, and the bytes of a request and of an answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aop_core::NodeId;
use bytes::Bytes;
use http::Request;

use crate::http2::{Exchange, Http2, Opening, SendError};
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
    http2: Http2,
    /// Whether a stream can begin on it, as of the last look.
    is_open: bool,
    idle_since: Instant,
}

/// What the pool has for one more stream.
enum Take {
    Ready(Opening),
    /// The same, and another connection would do it good.
    Crowded(Opening),
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
        request: Request<Bytes>,
    ) -> Result<Exchange, SendError> {
        self.peer(node).stream(&self.connect).await?.send(request).await
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
            let under_way =
                connections.iter().map(|connection| connection.http2.under_way()).sum::<usize>();
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
    async fn stream(self: &Arc<Self>, connect: &Arc<dyn Connect>) -> Result<Opening, SendError> {
        match self.take() {
            Take::Ready(opening) => return Ok(opening),
            Take::Crowded(opening) => {
                self.grow(connect);
                return Ok(opening);
            }
            Take::Full => return Err(SendError::Full),
            Take::Empty => {}
        }
        let _turn = self.opening.lock().await;
        // Somebody else may have opened one meanwhile.
        if let Take::Ready(opening) | Take::Crowded(opening) = self.take() {
            return Ok(opening);
        }
        let connection = open(&**connect, &self.node).await.map_err(SendError::NotSent)?;
        let opening = connection.http2.open();
        self.connections().push(connection);
        Ok(opening)
    }

    fn take(&self) -> Take {
        let mut connections = self.connections();
        // Where the other side lets no more begin, what is under way comes to its end.
        connections.retain_mut(|connection| {
            connection.is_open = connection.http2.is_open();
            connection.is_open || connection.http2.under_way() > 0
        });
        let count = connections.iter().filter(|connection| connection.is_open).count();
        let open = connections.iter_mut().filter(|connection| connection.is_open);
        let Some(quietest) = open.min_by_key(|connection| connection.http2.under_way()) else {
            // One that lets nothing begin and nothing end must not have more and more opened.
            let is_full = connections.len() >= CONNECTIONS_MAX;
            return if is_full { Take::Full } else { Take::Empty };
        };
        let streams = quietest.http2.under_way();
        if streams >= STREAMS_MAX {
            return Take::Full;
        }
        quietest.idle_since = Instant::now();
        let opening = quietest.http2.open();
        if streams >= STREAMS_GROW && count < CONNECTIONS_MAX {
            Take::Crowded(opening)
        } else {
            Take::Ready(opening)
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
            connection.http2.under_way() > 0 || now.duration_since(connection.idle_since) < IDLE_MAX
        });
    }
}

async fn open(connect: &dyn Connect, node: &NodeId) -> Result<Connection, String> {
    let stream = connect.connect(node).await.map_err(|error| error.to_string())?;
    let http2 = Http2::begin(stream, STREAMS_MAX, node.to_string()).await;
    let http2 = http2.map_err(|error| error.to_string())?;
    Ok(Connection { http2, is_open: true, idle_since: Instant::now() })
}

//! chitchat over the authenticated connections between nodes, instead of over UDP.
//!
//! One stream per direction and pair of nodes, opened when there is something to say and closed when
//! there was nothing for a while. `send` never waits: it puts the message into the stream's queue,
//! and drops it when the queue is full. A node that is slow or gone costs the others nothing; gossip
//! repairs what was lost.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chitchat::ChitchatMessage;
use chitchat::transport::{Socket, Transport};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::codec::{Codec, FRAME_MAX_BYTES, bytes_of};
use crate::membership::frame;
use crate::membership::identity::Protocol;
use crate::membership::peer::{Connector, Expect, PeerStream};

/// Messages that wait for a stream. A round sends one or two to a peer; more means that it is stuck.
const QUEUE_MAX: usize = 16;
/// Messages that wait to be processed, from all peers together.
const INBOX_MAX: usize = 512;
/// Streams to others at one time: every node of a zone, twice over for addresses that changed.
const STREAMS_MAX: usize = 512;
/// A stream without messages is closed after this: at 200 nodes a pair talks about once a minute.
const IDLE_MAX: Duration = Duration::from_secs(180);
/// A stream is opened anew after this, so that a node whose certificate was not renewed drops out.
const AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// How long a peer that could not be reached is left alone. Shorter than the time that a partition
/// takes to be noticed, so that healing is noticed at once.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one message may take to be written.
const WRITE_MAX: Duration = Duration::from_secs(5);

/// What a stream begins with.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    /// Where the sender is reached; answers go there.
    endpoint: SocketAddr,
}

/// Counts of messages.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    /// Because a queue was full or a peer not reachable.
    pub(crate) dropped: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    /// Streams that broke the format.
    pub(crate) malformed: AtomicU64,
}

/// The streams of this node.
#[derive(Clone)]
pub(crate) struct Streams(Arc<Inner>);

struct Inner {
    endpoint: SocketAddr,
    connector: Connector,
    outgoing: Mutex<HashMap<SocketAddr, mpsc::Sender<Vec<u8>>>>,
    inbox: mpsc::Sender<(SocketAddr, ChitchatMessage)>,
    received: Arc<AsyncMutex<mpsc::Receiver<(SocketAddr, ChitchatMessage)>>>,
    traffic: Traffic,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Streams {
    pub(crate) fn new(
        endpoint: SocketAddr,
        connector: Connector,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (inbox, received) = mpsc::channel(INBOX_MAX);
        Self(Arc::new(Inner {
            endpoint,
            connector,
            outgoing: Mutex::default(),
            inbox,
            received: Arc::new(AsyncMutex::new(received)),
            traffic: Traffic::default(),
            tasks,
            stop,
        }))
    }

    pub(crate) fn traffic(&self) -> &Traffic {
        &self.0.traffic
    }

    /// Reads a stream that a member opened, until it ends.
    pub(crate) async fn receive(&self, mut stream: PeerStream) {
        let inner = &self.0;
        let Ok(Some(Hello { endpoint })) = frame::read_json(&mut stream).await else { return };
        let mut codec = Codec::default();
        let ended = tokio::time::timeout(AGE_MAX + IDLE_MAX, async {
            loop {
                let read = frame::read(&mut stream, FRAME_MAX_BYTES);
                let Ok(read) = tokio::time::timeout(IDLE_MAX * 2, read).await else {
                    return Ok(());
                };
                let Some(bytes) = read? else { return Ok(()) };
                let message = codec.decode(&bytes)?;
                inner.traffic.received.fetch_add(1, Ordering::Relaxed);
                // A full inbox means that this node is behind: gossip repairs what is dropped.
                if inner.inbox.try_send((endpoint, message)).is_err() {
                    inner.traffic.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
        .await;
        if let Ok(Err(error)) = ended {
            let error: std::io::Error = error;
            if error.kind() == std::io::ErrorKind::InvalidData {
                inner.traffic.malformed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%endpoint, %error, "a member sent malformed gossip");
            }
        }
    }

    /// Queues a message, or drops it.
    fn send(&self, to: SocketAddr, message: &ChitchatMessage) {
        let inner = &self.0;
        let Some(bytes) = bytes_of(message) else {
            inner.traffic.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut outgoing = inner.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = outgoing.get(&to).filter(|queue| !queue.is_closed()) {
            if queue.try_send(bytes).is_err() {
                inner.traffic.dropped.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        outgoing.retain(|_, queue| !queue.is_closed());
        if outgoing.len() >= STREAMS_MAX {
            inner.traffic.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        // A fresh queue has room.
        let _ = queue.try_send(bytes);
        outgoing.insert(to, queue);
        let streams = self.clone();
        inner.tasks.spawn(async move {
            let stop = streams.0.stop.clone();
            tokio::select! {
                () = streams.write(to, queued) => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Opens a stream and writes what is queued, until it breaks, idles or is old.
    async fn write(&self, to: SocketAddr, mut queued: mpsc::Receiver<Vec<u8>>) {
        let inner = &self.0;
        match inner.connector.open(to, Protocol::Gossip, Expect::Member).await {
            Ok(mut stream) => {
                let hello = Hello { endpoint: inner.endpoint };
                let evicted = inner.connector.until_evicted(&stream);
                let writing = async {
                    if frame::write_json(&mut stream, &hello).await.is_ok() {
                        let writing = self.write_all(&mut stream, &mut queued);
                        let _ = tokio::time::timeout(AGE_MAX, writing).await;
                    }
                };
                tokio::select! {
                    () = writing => {}
                    () = evicted => {}
                }
            }
            Err(error) => {
                tracing::debug!(address = %to, %error, "a node cannot be reached for gossip");
                // Meanwhile messages to it fill the queue and are dropped.
                tokio::time::sleep(PAUSE).await;
            }
        }
        // From here on `send` makes a new queue; what is in this one is lost.
        queued.close();
        while queued.recv().await.is_some() {
            inner.traffic.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn write_all(&self, stream: &mut PeerStream, queued: &mut mpsc::Receiver<Vec<u8>>) {
        let traffic = &self.0.traffic;
        let mut codec = Codec::default();
        while let Ok(Some(bytes)) = tokio::time::timeout(IDLE_MAX, queued.recv()).await {
            let Ok(bytes) = codec.encode(bytes) else { return };
            match tokio::time::timeout(WRITE_MAX, frame::write(stream, &bytes)).await {
                Ok(Ok(())) => {
                    traffic.sent.fetch_add(1, Ordering::Relaxed);
                    traffic.sent_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                }
                _ => return,
            }
        }
    }
}

#[async_trait]
impl Transport for Streams {
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(StreamSocket(self.clone())))
    }
}

struct StreamSocket(Streams);

#[async_trait]
impl Socket for StreamSocket {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        self.0.send(to, &message);
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        // Only one chitchat runs at a time; a restarted one takes over where the last one stopped.
        let received = self.0.0.received.clone().lock_owned().await.recv().await;
        received.ok_or_else(|| anyhow::anyhow!("the node stops"))
    }
}

//! Accepting connections of other nodes, and of everybody else who finds the port.
//!
//! What bounds it: handshakes at one time, also those of one address, the time of one, and connections of members at one
//! time, also those of one member: nobody takes all places.
//! Connections beyond are closed unread, so that whoever floods the port costs a few hundred sockets
//! and no more; members that have their connections keep them, and those that want new ones get
//! their turn when stuck handshakes time out.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aop_core::NodeId;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{PeerStream, peer_of};
use crate::membership::MembershipError;
use crate::membership::identity::{Identity, Protocol};

/// What bounds a listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListenerLimits {
    /// Handshakes at one time. A handshake costs a socket, some kilobytes and a millisecond of a core;
    /// 200 nodes that start at once fit.
    pub(crate) handshakes_max: usize,
    /// How long a handshake may take: a slow network needs one second.
    pub(crate) handshake_timeout: Duration,
    /// Those of one address: half of all, because many nodes may be behind one.
    pub(crate) handshakes_per_address_max: usize,
    /// Authenticated connections at one time: 200 nodes, each with gossip, questions and some for calls.
    pub(crate) connections_max: usize,
    /// Those of one member: it keeps a few, and opens new ones before the old ones are seen to be gone.
    pub(crate) connections_per_member_max: usize,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            handshakes_max: 512,
            handshake_timeout: Duration::from_secs(3),
            handshakes_per_address_max: 256,
            connections_max: 4096,
            connections_per_member_max: 128,
        }
    }
}

/// How many places each of those who take them has.
#[derive(Debug)]
struct Shares<K: Ord> {
    taken: Arc<Mutex<BTreeMap<K, usize>>>,
    max: usize,
}

/// One of them.
struct Share<K: Ord> {
    taken: Arc<Mutex<BTreeMap<K, usize>>>,
    key: K,
}

impl<K: Ord + Clone> Shares<K> {
    fn new(max: usize) -> Self {
        Self { taken: Arc::default(), max }
    }

    /// A place for somebody, unless that one has as many as anybody may.
    fn take(&self, key: K) -> Option<Share<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(key.clone()).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Share { taken: Arc::clone(&self.taken), key })
    }
}

impl<K: Ord> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

/// How long to wait when the system has no socket left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// A connection whose other side has proven what its protocol asks for.
pub(crate) struct Accepted {
    /// Its protocol.
    pub(crate) protocol: Protocol,
    /// Who it is; none when it joins.
    pub(crate) peer: Option<NodeId>,
    /// The connection.
    pub(crate) stream: PeerStream,
    /// Its place among the connections.
    pub(crate) _place: OwnedSemaphorePermit,
}

/// What became of the connections.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Refused before or in the handshake: strangers, noise, timeouts.
    pub(crate) refused: AtomicU64,
    /// Closed because too many came at once.
    pub(crate) crowded: AtomicU64,
}

/// The port of a node.
pub(crate) struct Listener {
    listener: TcpListener,
    identity: Arc<Identity>,
    limits: ListenerLimits,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    addresses: Shares<IpAddr>,
    members: Arc<Shares<NodeId>>,
    counts: Arc<Counts>,
}

impl Listener {
    pub(crate) fn new(
        listener: TcpListener,
        identity: Arc<Identity>,
        limits: ListenerLimits,
    ) -> Self {
        Self {
            listener,
            identity,
            limits,
            handshakes: Arc::new(Semaphore::new(limits.handshakes_max)),
            connections: Arc::new(Semaphore::new(limits.connections_max)),
            addresses: Shares::new(limits.handshakes_per_address_max),
            members: Arc::new(Shares::new(limits.connections_per_member_max)),
            counts: Arc::default(),
        }
    }

    pub(crate) fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// Accepts until `stop`. Every authenticated connection becomes a task of `tasks` that `serve` fills.
    pub(crate) async fn run<F, S>(self, tasks: TaskTracker, stop: CancellationToken, serve: S)
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(Accepted) -> F + Clone + Send + Sync + 'static,
    {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, address)) => {
                    self.receive(stream, address, &tasks, &stop, serve.clone())
                }
                // The connection was gone before it was accepted, or the system is out of sockets.
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }

    fn receive<F, S>(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        tasks: &TaskTracker,
        stop: &CancellationToken,
        serve: S,
    ) where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(Accepted) -> F + Send + Sync + 'static,
    {
        let turn = self.addresses.take(address.ip());
        let turn = turn.zip(self.handshakes.clone().try_acquire_owned().ok());
        let Some(turn) = turn else {
            self.counts.crowded.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let members = Arc::clone(&self.members);
        let (identity, counts) = (self.identity.clone(), self.counts.clone());
        let (timeout, connections) = (self.limits.handshake_timeout, self.connections.clone());
        let stop = stop.clone();
        tasks.spawn(async move {
            let handshake = async {
                let shaken = tokio::time::timeout(timeout, shake(stream, &identity)).await;
                drop(turn);
                match shaken {
                    Ok(Ok(shaken)) => Some(shaken),
                    Ok(Err(error)) => {
                        counts.refused.fetch_add(1, Ordering::Relaxed);
                        tracing::debug!(%address, %error, "refused a connection");
                        None
                    }
                    Err(_) => {
                        counts.refused.fetch_add(1, Ordering::Relaxed);
                        None
                    }
                }
            };
            let served = async {
                let Some((protocol, peer, stream)) = handshake.await else { return };
                let share = peer.clone().map(|peer| members.take(peer));
                let place = connections.try_acquire_owned();
                let (Ok(place), None | Some(Some(_))) = (place, &share) else {
                    counts.crowded.fetch_add(1, Ordering::Relaxed);
                    return;
                };
                let evicted = until_evicted(&identity, protocol, peer.clone());
                let serving = serve(Accepted { protocol, peer, stream, _place: place });
                tokio::select! {
                    () = serving => {}
                    () = evicted => {}
                }
            };
            tokio::select! {
                () = served => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Ends when the other side of a connection was evicted. One that asks for a new certificate is told so.
async fn until_evicted(identity: &Identity, protocol: Protocol, peer: Option<NodeId>) {
    match peer.filter(|_| protocol != Protocol::Renew) {
        Some(peer) => identity.until_evicted(&peer).await,
        None => std::future::pending().await,
    }
}

/// The handshake: reads which protocol is wanted, and demands the certificate that it needs.
async fn shake(
    stream: TcpStream,
    identity: &Identity,
) -> Result<(Protocol, Option<NodeId>, PeerStream), MembershipError> {
    let failed = |error: std::io::Error| MembershipError::Certificate(error.to_string());
    stream.set_nodelay(true).map_err(failed)?;
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream)
        .await
        .map_err(failed)?;
    let protocol = start.client_hello().alpn().and_then(Protocol::of_alpn).ok_or_else(|| {
        MembershipError::Certificate("it speaks no protocol of a zone".to_owned())
    })?;
    let config = identity.tls().server(protocol);
    let stream = PeerStream::Server(start.into_stream(config).await.map_err(failed)?);
    let peer = match protocol {
        Protocol::Join => None,
        _ => Some(peer_of(stream.get_ref().1.peer_certificates())?),
    };
    Ok((protocol, peer, stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_places_of_others_and_what_ends_is_given_back() {
        let shares = Shares::new(2);
        let of_one = [shares.take(1), shares.take(1), shares.take(1)];
        assert_eq!(of_one.iter().flatten().count(), 2);
        assert!(shares.take(2).is_some());
        drop(of_one);
        assert!(shares.take(1).is_some());
        assert!(shares.taken.lock().unwrap().is_empty(), "nothing is kept of who is gone");
    }
}

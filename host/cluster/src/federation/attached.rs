//! Connections that zones below keep to this one, because they cannot be reached: behind NAT, or a firewall that lets
//! nothing in. Over each, the roles are turned around: this zone asks, in HTTP/2, and the zone below answers as it would at
//! its own port.
//!
//! A connection is a child's when a key that this zone pinned for it signed a word that is good once, for a short time and
//! for this zone only. What travels over it is believed exactly as far as what travels over the network: records are
//! checked up to a pinned key, and tokens say who asks. A child that is delegated no more, or whose key is not pinned any
//! more, gets nothing at once, and its connections end.
//!
//! What bounds it: connections of one child, streams of one connection, of which neither this zone nor known zones nor
//! strangers take all, and bytes that are ahead of their reader. A connection's window has room for those of all its streams,
//! so that who reads slowly holds up nobody else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::TokioTimer;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::Zone;
use super::book::{Book, Peer};
use super::key::{KEYS_MAX, Thumbprint};
use super::name::ZoneName;
use super::record::{self, Attach, RecordError, SKEW_S};
use crate::http2::{self, SendError, Stream};

/// Connections of one child: one for each of its nodes that keeps one.
const CONNECTIONS_MAX: usize = 8;
/// Words of one child that are remembered while they might be used again.
const USED_MAX: usize = 64;
/// How often at most the log says that a connection of one child is refused, in seconds.
const WARN_EVERY_S: u64 = 60;
/// Streams of one connection that this zone itself, zones that are known there, and strangers may have under way.
const STREAMS_MAX: [usize; 3] = [128, 96, 32];
/// Streams of one connection at most.
pub(super) const STREAMS_ALL: usize = STREAMS_MAX[0] + STREAMS_MAX[1] + STREAMS_MAX[2];
/// Bytes of one stream that may be ahead of their reader, and of all of them.
pub(super) const STREAM_WINDOW_BYTES: u32 = 256 << 10;
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
const _: () =
    assert!(STREAMS_ALL as u64 * STREAM_WINDOW_BYTES as u64 <= CONNECTION_WINDOW_BYTES as u64);
/// How often the other side is asked whether it lives, also when nothing is under way: what is between forgets connections
/// that are silent for longer than about a minute. And how long it may take to answer.
pub(super) const ALIVE_INTERVAL: Duration = Duration::from_secs(20);
pub(super) const ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The body of a request.
type Body = Full<Bytes>;

/// Runs what drives one connection. hyper drives it in tasks of its own, which would outlive the connection.
#[derive(Clone)]
struct Drivers(CancellationToken);

impl<F> Executor<F> for Drivers
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, driver: F) {
        let end = self.0.clone();
        tokio::spawn(async move { end.run_until_cancelled(driver).await });
    }
}

/// Who sends something over a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    /// This zone.
    This,
    /// A zone that shows a token that the child took before.
    Known,
    /// Anybody else.
    Stranger,
}

/// Why a connection is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttachError {
    /// This zone does not expect it.
    #[error("no such zone is expected: `aop zone delegate {0} --attached --key THUMBPRINT`")]
    Unexpected(ZoneName),
    /// The word is not believed.
    #[error(transparent)]
    Untrusted(RecordError),
    /// There are as many as there may be.
    #[error("{0} has {CONNECTIONS_MAX} connections, or made {USED_MAX} within minutes")]
    Crowded(ZoneName),
    /// It broke before it could be used.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
}

/// Whose a connection is.
#[derive(Debug)]
pub(super) struct Admitted {
    zone: ZoneName,
    node: Uuid,
    kid: Thumbprint,
}

struct Connection {
    number: u64,
    node: Uuid,
    /// The key by which it was believed.
    kid: Thumbprint,
    sender: SendRequest<Body>,
    streams: [Arc<AtomicUsize>; 3],
    /// Ends whatever drives the connection, and with it every stream.
    _end: DropGuard,
}

/// An answer that is on its way, and its place among the streams. Dropping it resets the stream.
pub(super) struct Passing {
    pub(super) response: Response<Incoming>,
    pub(super) stream: Stream,
}

/// The connections of all children.
pub(super) struct Attached {
    /// Words from before that, in Unix seconds, may have been used: who knew of it is gone.
    began_s: AtomicU64,
    children: Mutex<BTreeMap<ZoneName, Vec<Connection>>>,
    /// Words that were used and might be again, and when that ends, in Unix seconds.
    used: Mutex<BTreeMap<ZoneName, Vec<(Uuid, u64)>>>,
    /// When it was said last that a child's connection is refused, in Unix seconds: anybody can have it said.
    warned: Mutex<BTreeMap<ZoneName, u64>>,
    numbers: AtomicU64,
}

impl Attached {
    pub(super) fn new(now_s: u64) -> Self {
        Self {
            began_s: AtomicU64::new(now_s),
            children: Mutex::default(),
            used: Mutex::default(),
            warned: Mutex::default(),
            numbers: AtomicU64::new(0),
        }
    }

    fn children(&self) -> MutexGuard<'_, BTreeMap<ZoneName, Vec<Connection>>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections of a child that stand.
    pub(super) fn count(&self, child: &ZoneName) -> usize {
        let children = self.children();
        let connections = children.get(child).map_or(&[][..], Vec::as_slice);
        connections.iter().filter(|connection| !connection.sender.is_closed()).count()
    }

    /// Children that have a connection.
    pub(super) fn zones(&self) -> usize {
        self.children().len()
    }

    /// Keeps a connection for as long as it stands. A later one of the same node takes the place of its earlier one, which
    /// may be dead without anybody having noticed.
    ///
    /// # Errors
    /// Why it does not stand.
    pub(super) async fn keep<Io>(
        self: &Arc<Self>,
        admitted: Admitted,
        io: Io,
    ) -> Result<(), AttachError>
    where
        Io: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let end = CancellationToken::new();
        let (sender, driver) = Builder::new(Drivers(end.clone()))
            .timer(TokioTimer::new())
            .keep_alive_interval(ALIVE_INTERVAL)
            .keep_alive_timeout(ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_max_send_streams(STREAMS_ALL)
            .handshake(io)
            .await?;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let Admitted { zone, node, kid } = admitted;
        {
            let mut children = self.children();
            let connections = children.entry(zone.clone()).or_default();
            // Others may have come since this one was admitted.
            if is_crowded(connections, node) {
                return Err(AttachError::Crowded(zone));
            }
            tracing::info!(%zone, %node, key = %kid, "a zone below keeps a connection to this one");
            connections.retain(|connection| connection.node != node);
            connections.push(Connection {
                number,
                node,
                kid,
                sender,
                streams: Default::default(),
                _end: end.clone().drop_guard(),
            });
        }
        let attached = Arc::downgrade(self);
        tokio::spawn(async move {
            let ended = end.run_until_cancelled(driver).await;
            let error = ended.and_then(Result::err).map(|error| error.to_string());
            tracing::info!(%zone, %node, error, "the connection of a zone below ended");
            if let Some(attached) = attached.upgrade() {
                attached.remove(&zone, number);
            }
        });
        Ok(())
    }

    fn remove(&self, child: &ZoneName, number: u64) {
        let mut children = self.children();
        if let Some(connections) = children.get_mut(child) {
            connections.retain(|connection| connection.number != number);
            if connections.is_empty() {
                children.remove(child);
            }
        }
    }

    /// Ends the connections of those who may not have one any more.
    pub(super) fn review(&self, book: &Book) {
        self.children().retain(|child, connections| {
            let peer = book.attaching(child).filter(|(zone, _)| *zone == child);
            connections.retain(|one| peer.is_some_and(|(_, peer)| peer.keys.contains(&one.kid)));
            !connections.is_empty()
        });
    }

    /// Sends a request to a child, as the book has it now. What is dropped, the future or its answer, ends what was begun
    /// there.
    ///
    /// # Errors
    /// [`SendError`].
    pub(super) async fn send(
        &self,
        child: &ZoneName,
        peer: &Peer,
        from: From,
        mut request: Request<Body>,
    ) -> Result<Passing, SendError> {
        loop {
            let (number, mut sender, stream) = self.take(child, peer, from)?;
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => return Ok(Passing { response, stream }),
                Err(error) => error,
            };
            let reason = error.error().to_string();
            match error.take_message() {
                // The connection ended meanwhile; there may be another one.
                Some(unsent) => {
                    self.remove(child, number);
                    request = unsent;
                }
                None if was_refused(error.error()) => return Err(SendError::NotSent(reason)),
                None => return Err(SendError::Lost(reason)),
            }
        }
    }

    fn take(
        &self,
        child: &ZoneName,
        peer: &Peer,
        from: From,
    ) -> Result<(u64, SendRequest<Body>, Stream), SendError> {
        let children = self.children();
        let connections = children.get(child).map_or(&[][..], Vec::as_slice);
        let class = from as usize;
        let under_way =
            |connection: &&Connection| connection.streams[class].load(Ordering::Relaxed);
        let quietest = connections
            .iter()
            .filter(|one| !one.sender.is_closed() && peer.keys.contains(&one.kid))
            .min_by_key(under_way);
        let Some(quietest) = quietest else {
            let reason = format!("{child} keeps no connection to the zone above it now");
            return Err(SendError::NotSent(reason));
        };
        if under_way(&quietest) >= STREAMS_MAX[class] {
            return Err(SendError::Full);
        }
        let stream = Stream::begin(&quietest.streams[class]);
        Ok((quietest.number, quietest.sender.clone(), stream))
    }

    /// Whether it is time to say again that a connection of a child is refused.
    fn may_warn(&self, child: &ZoneName, now_s: u64) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let last = warned.entry(child.clone()).or_default();
        let is_due = now_s.abs_diff(*last) >= WARN_EVERY_S;
        if is_due {
            *last = now_s;
        }
        is_due
    }

    /// Takes note of a word that is used.
    fn use_once(&self, child: &ZoneName, word: &Attach, now_s: u64) -> Result<(), AttachError> {
        let replayed = || AttachError::Untrusted(RecordError::Replayed(child.to_string()));
        // A clock that was ahead when this host began has been set since; what was used by then is remembered.
        let began_s = self.began_s.fetch_min(now_s, Ordering::Relaxed).min(now_s);
        if word.iat + SKEW_S < began_s {
            return Err(replayed());
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used = used.entry(child.clone()).or_default();
        used.retain(|(_, until)| *until > now_s);
        if used.iter().any(|(known, _)| *known == word.id) {
            return Err(replayed());
        }
        if used.len() >= USED_MAX {
            return Err(AttachError::Crowded(child.clone()));
        }
        used.push((word.id, word.exp));
        Ok(())
    }
}

/// Whether there is no room for one more: a connection of a node that has one stands in for that.
fn is_crowded(connections: &[Connection], node: Uuid) -> bool {
    connections.len() >= CONNECTIONS_MAX && connections.iter().all(|one| one.node != node)
}

/// Whether the other side says that it did not process the stream (RFC 9113, sections 6.8 and 8.7).
fn was_refused(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    cause.is_some_and(http2::was_refused)
}

impl Zone {
    /// Whether a connection is the child's that it says it is: one of `proofs`, the same word signed by each of its keys,
    /// is by a key that is pinned here.
    ///
    /// # Errors
    /// [`AttachError`].
    pub(super) fn admit(&self, child: &ZoneName, proofs: &str) -> Result<Admitted, AttachError> {
        let admitted = self.admitted(child, proofs);
        if let Err(error) = &admitted {
            self.note_refused(child, error);
        }
        admitted
    }

    /// Keeps a connection of an admitted child that was turned around. Whether it stands.
    pub(super) async fn keep<Io>(&self, child: &ZoneName, admitted: Admitted, io: Io) -> bool
    where
        Io: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        match self.ways().attached.keep(admitted, io).await {
            Ok(()) => {
                self.counters().attachments.add();
                return true;
            }
            // Others of its nodes came while this one was turned around.
            Err(error @ AttachError::Crowded(_)) => self.note_refused(child, &error),
            Err(error) => {
                tracing::debug!(zone = %child, %error, "a connection of a zone below is not kept");
            }
        }
        false
    }

    /// Counts that a connection is not taken, and says so now and then.
    fn note_refused(&self, child: &ZoneName, error: &AttachError) {
        self.counters().attachments_refused.add();
        if let AttachError::Untrusted(error) = error {
            self.counters().refuse(error);
        }
        let is_expected = !matches!(error, AttachError::Unexpected(_));
        if is_expected && self.ways().attached.may_warn(child, self.authority().now_s()) {
            tracing::warn!(zone = %child, %error, "refused a connection that shall be a zone's below");
        }
    }

    fn admitted(&self, child: &ZoneName, proofs: &str) -> Result<Admitted, AttachError> {
        let authority = self.authority();
        let (book, now_s) = (authority.book(), authority.now_s());
        let peer = book.attaching(child).filter(|(zone, _)| *zone == child);
        let (_, peer) = peer.ok_or_else(|| AttachError::Unexpected(child.clone()))?;
        let attached = &self.ways().attached;
        let mut refused = None;
        for jws in proofs.split(',').take(KEYS_MAX) {
            let verified =
                record::verify_attach(jws.trim(), child, |kid| peer.keys.contains(kid), now_s);
            let attach = match verified {
                Ok(verified) if verified.body.to != *authority.zone() => {
                    let reason = format!("it is for {}", verified.body.to);
                    return Err(AttachError::Untrusted(RecordError::Bailiwick(reason)));
                }
                Ok(verified) => verified,
                Err(error) => {
                    refused.get_or_insert(error);
                    continue;
                }
            };
            let node = attach.body.node;
            let children = attached.children();
            let is_crowded = children.get(child).is_some_and(|all| is_crowded(all, node));
            drop(children);
            if is_crowded {
                return Err(AttachError::Crowded(child.clone()));
            }
            attached.use_once(child, &attach.body, now_s)?;
            return Ok(Admitted { zone: child.clone(), node, kid: attach.kid });
        }
        Err(AttachError::Untrusted(refused.unwrap_or(RecordError::Signature)))
    }

    /// Asks a child that has just come for what its exports are found by, instead of at the next round.
    pub(super) async fn greet(self: &Arc<Self>, child: &ZoneName) {
        let book = self.authority().book();
        let peer = book.peers.get(child).map(|peer| (child.clone(), peer.clone()));
        self.learn(peer).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::ZoneKey;
    use super::super::testing::zone_name;
    use super::*;

    #[test]
    fn a_clock_that_was_ahead_when_the_parent_began_keeps_nobody_out_once_it_is_set() {
        const NOW_S: u64 = 1_000_000;
        const AHEAD_S: u64 = 3600;
        let child = zone_name("a.b");
        let key = ZoneKey::fleeting().unwrap().public().clone();
        let word = |iat: u64| Attach {
            zone: child.clone(),
            to: zone_name("b"),
            node: Uuid::new_v4(),
            id: Uuid::new_v4(),
            key: key.clone(),
            iat,
            exp: iat + 120,
        };
        let attached = Attached::new(NOW_S + AHEAD_S);
        assert!(attached.use_once(&child, &word(NOW_S), NOW_S + AHEAD_S).is_err());
        let fresh = word(NOW_S);
        assert!(attached.use_once(&child, &fresh, NOW_S).is_ok());
        assert!(attached.use_once(&child, &fresh, NOW_S).is_err());
        assert!(attached.use_once(&child, &word(NOW_S - SKEW_S - 1), NOW_S).is_err());
    }
}

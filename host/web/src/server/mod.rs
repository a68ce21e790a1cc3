//! The HTTP/1.1 server.
//!
//! What bounds it: a cap on connections, of which no address has all, the size of request headers, how long a client may
//! take to send them, and how slowly it may send the body it announced or read its answer. At shutdown
//! idle connections close at once and busy ones finish their request within a grace period, while new ones have one
//! answer each, so that whoever asks learns that the host drains.
//!
//! Why not `axum::serve`: it has none of these bounds. What they cost is kept off the path of a
//! request: one coarse [`Clock`] per server is moved on by a slow tick of each connection, so a
//! request arms no timer and reads no clock.

mod clock;
mod connection;
mod repoll;
mod wire;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aop_core::fair::{Parts, Place};
use aop_core::{Measure, Sample};
use axum::body::Body;
use http::{Request, Response};
use hyper::server::conn::http1;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use self::clock::{Clock, CoarseTimer};
use self::connection::Connection;
use crate::WebError;
use crate::gate::Peer;

/// The bounds of a [`Server`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Connections open at one time; further ones get a short 503. 4,096 by default: many times the
    /// clients that two cores can serve, while the buffers of all of them, 64 KiB in each direction,
    /// stay near 0.5 GB at worst. The process needs as many file descriptors, and some for its files.
    pub connections_max: usize,
    /// Size of a request line with its headers; more is a 431. 32 KiB by default: four times what
    /// browsers and proxies send, a small part of a connection's buffer.
    pub header_max_bytes: usize,
    /// How long a client may take from opening a connection, or from its last answer, to the end of
    /// the next request's headers. So this is also how long an idle connection is kept. 30 s by
    /// default: clients reuse connections within that, and a slow-header attack needs more than a
    /// hundred new connections a second to fill the cap.
    pub header_read_timeout: Duration,
    /// How long a client may be waited for, for the next 64 KiB of a body it announced or of its answer (or for the end of
    /// either), before the connection is closed. 30 s by default: longer than any pause of a working network.
    pub stall_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            header_max_bytes: 32 << 10,
            header_read_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
        }
    }
}

/// The most that one connection buffers in either direction. 64 KiB keeps large bodies at a few
/// system calls per MiB; hyper's own default of 400 KiB would let 4,096 connections hold 3.3 GB.
const BUFFER_MAX_BYTES: usize = 64 << 10;
/// How often the coarse clock of a connection moves on, and so how late a timeout may fire. One
/// wake-up a second costs 4,096 idle connections less than 1 % of a core.
const TICK: Duration = Duration::from_secs(1);
/// Refused connections that are told why at one time. Beyond that they are closed without a word:
/// whoever opens so many does not read the answers.
const REFUSALS_MAX: usize = 64;
/// How long a refused connection may take to read its 503.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// The first and the longest pause after accepting failed, as it does when no file descriptor is
/// free. Doubling: short enough not to be noticed once, long enough not to spin.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// An HTTP/1.1 server. Clones share its numbers.
#[derive(Debug, Clone, Default)]
pub struct Server {
    config: ServerConfig,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    accept_errors: AtomicU64,
}

/// Anything connections come from, so that tests bring their own.
pub(crate) trait Accept: Send {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection, and whose it is. Cancel-safe.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Option<Peer>)>> + Send;
}

impl Accept for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, Option<Peer>)> {
        let (stream, address) = TcpListener::accept(self).await?;
        // Without it, the small packets of event streams wait 40 ms for the client's delayed ACK.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        Ok((stream, Some(Peer(address.ip()))))
    }
}

impl Server {
    /// A server with these bounds.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        Self { config, counts: Arc::default() }
    }

    /// Serves `app` on `listener` until `shutdown` resolves, then lets running requests finish for
    /// at most `grace` and cuts off the rest. Meanwhile it goes on to answer one request of each new connection.
    ///
    /// # Errors
    /// [`WebError::Listener`] when the socket is broken for good.
    pub async fn serve<S, F>(
        &self,
        listener: TcpListener,
        app: S,
        shutdown: F,
        grace: Duration,
    ) -> Result<(), WebError>
    where
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
        F: Future<Output = ()> + Send,
    {
        self.serve_from(listener, app, shutdown, grace).await
    }

    async fn serve_from<A, S, F>(
        &self,
        mut source: A,
        app: S,
        shutdown: F,
        grace: Duration,
    ) -> Result<(), WebError>
    where
        A: Accept,
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
        F: Future<Output = ()> + Send,
    {
        let clock = Arc::new(Clock::new());
        let http = self.http(&clock);
        let addresses = Parts::new(self.config.connections_max);
        let (refusals, pause) = (JoinSet::new(), Pause::default());
        let mut reception =
            Reception { server: self, http, app, clock, addresses, refusals, pause };
        let (drain, draining) = watch::channel(false);
        let mut connections = JoinSet::new();
        let serving = reception.receive(&mut source, &mut connections, draining);
        tokio::select! {
            biased;
            () = shutdown => {}
            broken = serving => return Err(broken),
        }
        drain.send_replace(true);
        let deadline = Instant::now() + grace;
        let (close, closing) = watch::channel(false);
        let mut late = JoinSet::new();
        reception.http.keep_alive(false);
        {
            // Whoever asks now is told: `/readyz` is what a load balancer waits for, and a closed port tells it nothing.
            let mut ended = pin!(self.drain(connections, deadline));
            tokio::select! {
                biased;
                () = &mut ended => {}
                broken = reception.receive(&mut source, &mut late, closing) => {
                    tracing::warn!(error = %broken, "no more connections are accepted while the host drains");
                    ended.await;
                }
            }
        }
        drop(source);
        close.send_replace(true);
        // Most were told that the host drains; a call that began before it refused any is one of those that may finish.
        self.drain(late, deadline).await;
        Ok(())
    }

    fn http(&self, clock: &Arc<Clock>) -> http1::Builder {
        let mut http = http1::Builder::new();
        // The number of headers stays at hyper's 100: other numbers allocate for every request.
        http.timer(CoarseTimer(Arc::clone(clock)))
            .header_read_timeout(self.config.header_read_timeout)
            .max_header_size(self.config.header_max_bytes)
            .max_buf_size(BUFFER_MAX_BYTES.max(self.config.header_max_bytes));
        http
    }

    fn ended(&self, result: Result<(), JoinError>) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = result
            && error.is_panic()
        {
            tracing::error!(%error, "a request handler panicked: this is a bug in the host");
        }
    }

    /// Decides whether accepting may work again, and when.
    fn accept_failed(&self, pause: &mut Pause, error: io::Error) -> Result<(), WebError> {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput};
        match error.kind() {
            // The client went away before it was accepted; the next one is fine.
            ConnectionAborted | ConnectionRefused | ConnectionReset => Ok(()),
            // EINVAL: the socket does not listen any more.
            InvalidInput => Err(WebError::Listener(error)),
            _ => {
                self.counts.accept_errors.fetch_add(1, Ordering::Relaxed);
                pause.lengthen();
                tracing::warn!(%error, "cannot accept connections; trying again");
                Ok(())
            }
        }
    }

    async fn drain(&self, mut connections: JoinSet<()>, deadline: Instant) {
        let all_ended = async {
            while let Some(ended) = connections.join_next().await {
                self.ended(ended);
            }
        };
        if timeout_at(deadline, all_ended).await.is_err() {
            let cut_off = connections.len();
            tracing::warn!(cut_off, "requests outlived the grace period");
            connections.abort_all();
            while let Some(ended) = connections.join_next().await {
                self.ended(ended);
            }
        }
    }
}

/// Where connections come in.
struct Reception<'a, S> {
    server: &'a Server,
    http: http1::Builder,
    app: S,
    clock: Arc<Clock>,
    addresses: Parts<IpAddr>,
    refusals: JoinSet<Result<io::Result<()>, Elapsed>>,
    pause: Pause,
}

impl<S> Reception<'_, S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    /// Accepts connections, which go on until `draining` says so, until it is dropped or the socket is broken for good.
    async fn receive<A: Accept>(
        &mut self,
        source: &mut A,
        connections: &mut JoinSet<()>,
        draining: watch::Receiver<bool>,
    ) -> WebError {
        loop {
            let (io, peer) = tokio::select! {
                biased;
                Some(ended) = connections.join_next() => {
                    self.server.ended(ended);
                    continue;
                }
                Some(_) = self.refusals.join_next() => continue,
                accepted = self.pause.before(source) => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => match self.server.accept_failed(&mut self.pause, error) {
                        Ok(()) => continue,
                        Err(broken) => return broken,
                    },
                },
            };
            self.pause = Pause::default();
            let (counts, max) = (&self.server.counts, self.server.config.connections_max);
            let place = peer.map(|peer| place_of(&self.addresses, peer));
            if counts.open.load(Ordering::Relaxed) >= max as u64 || matches!(place, Some(None)) {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                if self.refusals.len() < REFUSALS_MAX {
                    self.refusals.spawn(timeout(REFUSAL_TIMEOUT, wire::refuse(io)));
                }
                continue;
            }
            self.clock.advance_to(Instant::now());
            counts.accepted.fetch_add(1, Ordering::Relaxed);
            counts.open.fetch_add(1, Ordering::Relaxed);
            let connection = Connection {
                http: self.http.clone(),
                app: self.app.clone(),
                clock: Arc::clone(&self.clock),
                stall_timeout: self.server.config.stall_timeout,
                draining: draining.clone(),
                peer,
                place: place.flatten(),
            };
            connections.spawn(connection.drive(io));
        }
    }
}

/// A place for one more connection, if there is one. This machine's count as well, so that others share what is free.
fn place_of(addresses: &Parts<IpAddr>, peer: Peer) -> Option<Place> {
    match network(peer) {
        Some(network) => addresses.try_place(&network),
        None => addresses.try_place_of_whole(),
    }
}

/// Whose connections are counted together; none for this machine, whose proxies speak for everybody. A proxy elsewhere gets
/// most of all connections, as any other address does. A /64 of IPv6 counts as one: whoever has one address often has it all.
fn network(Peer(address): Peer) -> Option<IpAddr> {
    match address.to_canonical() {
        local if local.is_loopback() => None,
        IpAddr::V6(v6) => {
            Some(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))))
        }
        v4 => Some(v4),
    }
}

/// The pause before accepting again. Lives outside the future that sleeps, which is dropped whenever
/// a connection ends meanwhile.
#[derive(Debug, Default)]
struct Pause {
    length: Duration,
    until: Option<Instant>,
}

impl Pause {
    async fn before<A: Accept>(&self, source: &mut A) -> io::Result<(A::Io, Option<Peer>)> {
        if let Some(until) = self.until {
            sleep_until(until).await;
        }
        source.accept().await
    }

    fn lengthen(&mut self) {
        self.length = (self.length * 2).clamp(ACCEPT_PAUSE_MIN, ACCEPT_PAUSE_MAX);
        self.until = Some(Instant::now() + self.length);
    }
}

impl Measure for Server {
    fn measure(&self) -> Vec<Sample> {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &*self.counts;
        vec![
            Sample::gauge(
                "http_connections_open",
                "HTTP connections open now.",
                read(&counts.open),
            ),
            Sample::counter(
                "http_connections",
                "HTTP connections accepted.",
                read(&counts.accepted),
            ),
            Sample::counter(
                "http_connections_refused",
                "HTTP connections refused because too many were open.",
                read(&counts.refused),
            ),
            Sample::counter(
                "http_accept_errors",
                "Failures to accept a connection, such as no free file descriptor.",
                read(&counts.accept_errors),
            ),
        ]
    }
}

#[cfg(test)]
mod tests;

//! Connections to servers: a name is resolved once, its addresses are checked, and one of those is connected
//! to, so that no answer of a name server can change in between.
//!
//! HTTP/1.1 only: a connection carries one request at a time, so one agent's slow body holds up nobody else.
//! Neither proxies of the environment nor redirects are followed: both would lead past the check.

mod pool;
mod target;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aop_core::BoxFuture;
use aop_core::egress::EgressBody;
use aop_core::fair::Parts;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

pub(crate) use aop_core::policy::is_public;
pub(crate) use pool::Owner;
use pool::{Pool, Server};
pub(crate) use target::Target;

/// Addresses of one name that are tried: names with more have them for spreading load.
const ADDRESSES_TRIED_MAX: usize = 4;
/// The head of a response, as large as web servers commonly allow requests.
const HEAD_MAX_BYTES: usize = 64 << 10;
/// Headers of a response.
const HEADERS_MAX: usize = 128;
/// Names that are looked up at one time. Each holds a thread until the system answers, whether or not anybody
/// still waits; tokio has 512 threads for this and for everything else that blocks.
const LOOKUPS_MAX: usize = 32;

/// Of those, what all agents together may have under way: the rest is the host's, for its own servers. No tenant may have
/// all of it.
const LOOKUPS_OF_AGENTS_MAX: usize = 28;
/// Of those, what one agent may have under way: one that asks for names that are never answered leaves the rest to
/// the others.
const LOOKUPS_PER_OWNER_MAX: usize = 4;

/// The process's, as the threads are.
static LOOKUPS: Semaphore = Semaphore::const_new(LOOKUPS_MAX);
/// Reading the system's certificates: once is enough, and who is late waits for the first.
static CERTIFICATES: Semaphore = Semaphore::const_new(1);

/// Finds the addresses of a name.
pub trait ResolveName: Send + Sync {
    /// The addresses of `host`, which is no literal address.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// Asks the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl ResolveName for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let host = host.to_owned();
            let look_up = move || (host.as_str(), 0).to_socket_addrs();
            let found = blocking(&LOOKUPS, look_up).await??;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Runs what blocks on a thread of its own. Its place is free when it ends, not when nobody waits for it any more:
/// it cannot be stopped.
async fn blocking<T: Send + 'static>(
    places: &'static Semaphore,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let place = places.acquire().await.map_err(io::Error::other)?;
    let working = tokio::task::spawn_blocking(move || {
        let _place = place;
        work()
    });
    working.await.map_err(io::Error::other)
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("`{0}` has no address")]
    NoAddress(String),
    #[error("`{0}` leads only to addresses that are refused")]
    Refused(String),
    #[error("cannot connect to `{host}`: {reason}")]
    Connect { host: String, reason: String },
    #[error("no connection to `{0}` in time")]
    ConnectTimeout(String),
    #[error("`{0}` did not answer in time")]
    AnswerTimeout(String),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// The way to servers. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

struct Inner {
    resolver: Box<dyn ResolveName>,
    tls: OnceLock<TlsConnector>,
    pool: Arc<Pool>,
    opened: AtomicU64,
    lookups: Mutex<HashMap<Owner, Arc<Semaphore>>>,
    /// By the tenant's id among parties.
    lookups_of_tenants: Parts<u64>,
}

impl Inner {
    /// Looks a name up. It goes on when nobody waits any more, and keeps its place until the system answers: so the
    /// places count threads, not patience.
    async fn look_up(self: &Arc<Self>, owner: &Owner, host: &str) -> Vec<IpAddr> {
        let place = match self.lookups_of(owner) {
            Some(places) => {
                let (of_agent, party) = (places.acquire_owned().await.ok(), owner.party());
                Some((of_agent, self.lookups_of_tenants.place(&party.tenant.id, party).await))
            }
            None => None,
        };
        let (inner, host) = (Arc::clone(self), host.to_owned());
        let looking = tokio::spawn(async move {
            let found = inner.resolver.resolve(&host).await;
            drop(place);
            found
        });
        looking.await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// The host's own are bounded by its configuration: it asks for the names of its providers only.
    fn lookups_of(&self, owner: &Owner) -> Option<Arc<Semaphore>> {
        if *owner == Owner::HOST {
            return None;
        }
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        if lookups.len() == lookups.capacity() {
            // Before it grows: an owner without a lookup costs nothing to note again.
            lookups.retain(|_, places| places.available_permits() < LOOKUPS_PER_OWNER_MAX);
        }
        let places = lookups.entry(owner.clone());
        let places = places.or_insert_with(|| Arc::new(Semaphore::new(LOOKUPS_PER_OWNER_MAX)));
        Some(Arc::clone(places))
    }
}

impl Network {
    /// A network that trusts the certificates the operating system trusts, which are read when they are first
    /// needed: a host whose agents stay at home needs none.
    #[must_use]
    pub fn new(resolver: impl ResolveName + 'static) -> Self {
        Self::over(resolver, OnceLock::new())
    }

    fn over(resolver: impl ResolveName + 'static, tls: OnceLock<TlsConnector>) -> Self {
        let (resolver, pool, opened, lookups) =
            (Box::new(resolver), Arc::default(), AtomicU64::new(0), Mutex::default());
        let lookups_of_tenants = Parts::new(LOOKUPS_OF_AGENTS_MAX);
        let inner = Inner { resolver, tls, pool, opened, lookups, lookups_of_tenants };
        Self { inner: Arc::new(inner) }
    }

    #[cfg(test)]
    pub(crate) fn with_tls(resolver: impl ResolveName + 'static, config: ClientConfig) -> Self {
        Self::over(resolver, OnceLock::from(connector(config)))
    }

    async fn tls(&self) -> Result<TlsConnector, String> {
        if let Some(tls) = self.inner.tls.get() {
            return Ok(tls.clone());
        }
        let inner = Arc::clone(&self.inner);
        let reading = blocking(&CERTIFICATES, move || keep(&inner.tls, trusting_the_system));
        reading.await.map_err(|error| error.to_string())?
    }

    /// Connections that wait.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.inner.pool.count()
    }

    /// Connections opened so far.
    pub(crate) fn opened(&self) -> u64 {
        self.inner.opened.load(Ordering::Relaxed)
    }

    /// Sends a request in origin form to an address that `admits`, within `connect` until the connection stands
    /// and `answer` until the head of the response is there. Only connections of the same owner are used again.
    pub(crate) async fn send(
        &self,
        owner: &Owner,
        target: &Target,
        admits: impl Fn(IpAddr) -> bool,
        request: Request<EgressBody>,
        (connect, answer): (Duration, Duration),
    ) -> Result<Response<Incoming>, NetworkError> {
        let timeout = |_| NetworkError::ConnectTimeout(target.host.clone());
        let connecting =
            tokio::time::timeout(connect, self.connect(owner, target, &admits, connect));
        let connection = connecting.await.map_err(timeout)??;
        let waiting = tokio::time::timeout(answer, self.exchange(connection, request, connect));
        let late = |_| NetworkError::AnswerTimeout(target.host.clone());
        waiting.await.map_err(late)?
    }

    /// Sends a request on a connection of its own, which may become something else than HTTP: the response says whether it
    /// does. Otherwise like [`Network::send`].
    pub(crate) async fn send_alone(
        &self,
        owner: &Owner,
        target: &Target,
        admits: impl Fn(IpAddr) -> bool,
        request: Request<EgressBody>,
        (connect, answer): (Duration, Duration),
    ) -> Result<Response<Incoming>, NetworkError> {
        let timeout = |_| NetworkError::ConnectTimeout(target.host.clone());
        let connecting = async {
            let servers = self.servers(owner, target, &admits).await?;
            self.open_first(servers, target, connect, Use::Once).await
        };
        let connecting = tokio::time::timeout(connect, connecting).await;
        let mut connection = connecting.map_err(timeout)??;
        let late = |_| NetworkError::AnswerTimeout(target.host.clone());
        let sending = tokio::time::timeout(answer, connection.sender.send_request(request));
        Ok(sending.await.map_err(late)??)
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        request: Request<EgressBody>,
        connect: Duration,
    ) -> Result<Response<Incoming>, NetworkError> {
        let response = match connection.sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut error) => match error.take_message() {
                // The server had closed it while it waited, before anything of the request was written.
                Some(request) if connection.is_reused => {
                    let timeout =
                        |_| NetworkError::ConnectTimeout(connection.server.target.host.clone());
                    let connecting = tokio::time::timeout(
                        connect,
                        self.open(connection.server.clone(), Use::Pooled),
                    );
                    connection = connecting.await.map_err(timeout)??;
                    connection.sender.send_request(request).await?
                }
                _ => return Err(error.into_error().into()),
            },
        };
        self.keep(connection);
        Ok(response)
    }

    /// Gives a connection back once its response was read to the end.
    fn keep(&self, connection: Connection) {
        let Connection { mut sender, server, .. } = connection;
        let pool = Arc::clone(&self.inner.pool);
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                pool.give_back(server, sender);
            }
        });
    }

    async fn connect(
        &self,
        owner: &Owner,
        target: &Target,
        admits: &impl Fn(IpAddr) -> bool,
        limit: Duration,
    ) -> Result<Connection, NetworkError> {
        let servers = self.servers(owner, target, admits).await?;
        if let Some((server, sender)) =
            servers.iter().find_map(|server| Some((server, self.inner.pool.take(server)?)))
        {
            return Ok(Connection { sender, server: server.clone(), is_reused: true });
        }
        self.open_first(servers, target, limit, Use::Pooled).await
    }

    /// The addresses of a target that may be gone to, the first few.
    async fn servers(
        &self,
        owner: &Owner,
        target: &Target,
        admits: &impl Fn(IpAddr) -> bool,
    ) -> Result<Vec<Server>, NetworkError> {
        let addresses = match target.literal() {
            Some(address) => vec![address],
            None => self.inner.look_up(owner, &target.host).await,
        };
        if addresses.is_empty() {
            return Err(NetworkError::NoAddress(target.host.clone()));
        }
        let servers = addresses
            .into_iter()
            .filter(|address| admits(*address))
            .take(ADDRESSES_TRIED_MAX)
            .map(|address| Server {
                owner: owner.clone(),
                target: target.clone(),
                address: SocketAddr::new(address, target.port),
            })
            .collect();
        Ok(servers)
    }

    async fn open_first(
        &self,
        servers: Vec<Server>,
        target: &Target,
        limit: Duration,
        purpose: Use,
    ) -> Result<Connection, NetworkError> {
        // An address that swallows packets must leave time for the next one.
        let share = limit / u32::try_from(servers.len().max(1)).unwrap_or(u32::MAX);
        let mut outcome = Err(NetworkError::Refused(target.host.clone()));
        for server in servers {
            let late = |_| NetworkError::ConnectTimeout(target.host.clone());
            let opening = tokio::time::timeout(share, self.open(server, purpose));
            outcome = opening.await.map_err(late).flatten();
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    async fn open(&self, server: Server, purpose: Use) -> Result<Connection, NetworkError> {
        let failed = |error: &dyn std::fmt::Display| NetworkError::Connect {
            host: server.target.host.clone(),
            reason: error.to_string(),
        };
        let stream = TcpStream::connect(server.address).await.map_err(|error| failed(&error))?;
        // It only costs latency where it fails.
        let _ = stream.set_nodelay(true);
        let sender = if server.target.is_tls {
            let name =
                ServerName::try_from(server.target.host.clone()).map_err(|error| failed(&error))?;
            let tls = self.tls().await.map_err(|reason| failed(&reason))?;
            let stream = tls.connect(name, stream).await.map_err(|error| failed(&error))?;
            handshake(stream, purpose).await?
        } else {
            handshake(stream, purpose).await?
        };
        self.inner.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Connection { sender, server, is_reused: false })
    }
}

/// The value, made if there is none. What fails is tried again the next time: a file that was missing may be there.
fn keep<T: Clone, E>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    match cell.get() {
        Some(value) => Ok(value.clone()),
        None => make().map(|value| cell.get_or_init(|| value).clone()),
    }
}

fn trusting_the_system() -> Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_platform_verifier())
        .map_err(|error| format!("the certificates of the system cannot be read: {error}"))?
        .with_no_client_auth();
    Ok(connector(config))
}

fn connector(mut config: ClientConfig) -> TlsConnector {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

struct Connection {
    sender: SendRequest<EgressBody>,
    server: Server,
    is_reused: bool,
}

/// What a connection is opened for.
#[derive(Clone, Copy)]
enum Use {
    /// One request after the other.
    Pooled,
    /// One request, after which it may be something else than HTTP.
    Once,
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    purpose: Use,
) -> Result<SendRequest<EgressBody>, NetworkError> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    // What goes wrong is told to whoever waits for the response or its body.
    tokio::spawn(async move {
        match purpose {
            Use::Pooled => drop(connection.await),
            Use::Once => drop(connection.with_upgrades().await),
        }
    });
    Ok(sender)
}

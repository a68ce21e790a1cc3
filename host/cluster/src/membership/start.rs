//! Starting a membership: found a zone, join one, or come back to it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::belonging::Belonging;
use super::documents::{DocumentStore, RETRY_PAUSE, Wanted};
use super::exchange::Answerer;
use super::gossip::contacts::Contacts;
use super::gossip::keys::{self, Keys};
use super::gossip::transport::Streams;
use super::gossip::{Gossip, GossipConfig};
use super::identity::{Identity, IdentityDirectory, NodeKey, Protocol, files};
use super::peer::{Accepted, Connector, Listener, ListenerLimits, ServeHttp2};
use super::token::{JoinToken, Tokens};
use super::{Membership, MembershipError, join, unix_now};
use crate::ZoneName;

/// Where a node listens for others when nobody says: this machine only. A second one on the same
/// machine takes a free port.
pub const DEFAULT_ENDPOINT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8100);
/// What a zone is called when nobody says (`internal` is reserved for private use).
pub const DEFAULT_ZONE: &str = "zone.internal";
/// How often names in `join` are resolved: a zone in Kubernetes changes its addresses.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);
/// How often a node looks whether it holds the zone's key now.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How often the addresses of other nodes are written when new ones came: what is lost in between is heard
/// again from those that were written.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// Documents that are fetched at one time.
const FETCHES_MAX: usize = 8;

/// What a membership is told.
#[derive(Debug, Clone)]
pub struct MembershipConfig {
    /// The zone to found; none for whatever the data directory or the token says.
    pub zone: Option<ZoneName>,
    /// Where to listen for other nodes; none for where it was last, or [`DEFAULT_ENDPOINT`].
    pub listen: Option<SocketAddr>,
    /// Where other nodes reach it, when that is not where it listens.
    pub advertise: Option<SocketAddr>,
    /// Where the zone is: `HOST:PORT` each.
    pub join: Vec<String>,
    /// What lets this node in, the first time.
    pub token: Option<String>,
    /// What the operator says of it.
    pub labels: BTreeMap<String, String>,
    /// How much it takes compared with others.
    pub capacity: u32,
    /// Between two rounds of gossip.
    pub gossip_interval: Duration,
}

impl Membership {
    /// Starts this node's membership. `http2` serves the calls of other nodes.
    ///
    /// A data directory that belongs to a zone comes back to it; else a token joins one; else, with
    /// nothing to join, a zone is founded.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn start(
        directory: &IdentityDirectory,
        config: &MembershipConfig,
        http2: Arc<dyn ServeHttp2>,
    ) -> Result<Arc<Self>, MembershipError> {
        let (identity, through) = identify(directory, config).await?;
        let identity = Arc::new(identity);
        let (listener, endpoint) = listen(directory, config).await?;
        let contacts = Arc::new(Contacts::open(endpoint, directory.file("contacts.json")));
        // Whoever let this node in is remembered before anything else can happen to it.
        contacts.saw(through.into_iter().collect());
        remember(&contacts);
        let gossip_config = GossipConfig {
            zone: identity.zone().clone(),
            node: identity.id().clone(),
            endpoint,
            interval: config.gossip_interval,
        };
        let own = own_keys(config, &identity)?;
        let gossip = Arc::new(Gossip::new(gossip_config, own, contacts.clone()));
        let documents = Arc::new(DocumentStore::new(identity.id().clone()));
        let connector = Connector::new(identity.clone());
        let tokens = Tokens::open(directory.file("tokens.json"))?;
        let answerer = Arc::new(Answerer::new(
            identity.clone(),
            connector.clone(),
            tokens,
            documents.clone(),
            gossip.clone(),
        ));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let belonging = Belonging {
            identity: identity.clone(),
            connector: connector.clone(),
            gossip: gossip.clone(),
            documents: documents.clone(),
            contacts: contacts.clone(),
            is_locked_out: Arc::default(),
            stop: stop.clone(),
        };
        let streams = Streams::new(endpoint, connector.clone(), tasks.clone(), stop.clone());
        let listener = Listener::new(listener, identity.clone(), ListenerLimits::default());
        let membership = Arc::new(Self {
            counts: listener.counts(),
            identity,
            connector,
            belonging,
            gossip,
            documents,
            answerer,
            streams,
            contacts,
            routes: OnceLock::new(),
            quotas: OnceLock::new(),
            tasks,
            stop,
        });
        membership.run(listener, names(config), http2);
        tracing::info!(
            zone = %membership.identity.zone(),
            node = %membership.identity.id(),
            %endpoint,
            "this host is a node of a zone"
        );
        Ok(membership)
    }

    fn run(&self, listener: Listener, names: Vec<String>, http2: Arc<dyn ServeHttp2>) {
        let stop = &self.stop;
        let (streams, answerer) = (self.streams.clone(), self.answerer.clone());
        let accept = listener.run(self.tasks.clone(), stop.clone(), move |accepted| {
            serve(accepted, streams.clone(), answerer.clone(), http2.clone())
        });
        self.tasks.spawn(accept);

        let (gossip, streams, identity) =
            (self.gossip.clone(), self.streams.clone(), self.identity.clone());
        let stopping = stop.clone();
        self.tasks.spawn(async move {
            gossip.run(&streams, || identity.next_generation(unix_now()), stopping).await;
        });
        let belonging = self.belonging.clone();
        self.tasks.spawn(join::keep_fresh(
            self.identity.clone(),
            self.connector.clone(),
            self.answerer.clone(),
            self.contacts.clone(),
            move || belonging.end(),
            stop.clone(),
        ));
        self.tasks.spawn(self.belonging.clone().run());
        self.tasks.spawn(keep_contacts(self.contacts.clone(), names, stop.clone()));
        self.tasks.spawn(watch_authority(self.identity.clone(), self.gossip.clone(), stop.clone()));
        self.tasks.spawn(fetch_documents(
            self.gossip.clone(),
            self.documents.clone(),
            self.answerer.clone(),
            self.tasks.clone(),
            stop.clone(),
        ));
    }
}

/// The identity of this node: the one it has, or the one that joining or founding gives; and who let it in.
async fn identify(
    directory: &IdentityDirectory,
    config: &MembershipConfig,
) -> Result<(Identity, Option<SocketAddr>), MembershipError> {
    let now = unix_now();
    let known = |identity| (identity, None);
    let joined = |(identity, through)| (identity, Some(through));
    if directory.is_evicted() {
        let token = config.token.as_deref().ok_or(MembershipError::Evicted)?;
        // One that is still in a file from the first time is not meant to bring the node back.
        if JoinToken::read(token)?.ends <= now {
            return Err(MembershipError::Evicted);
        }
        directory.forget_evicted()?;
        tracing::warn!("this node was evicted: it joins as another one, with a new key");
    }
    let (identity, through) = match (NodeKey::open(directory)?.resume(now)?, &config.token) {
        (Ok(identity), Some(token)) if is_locked_out(&identity, now) => {
            tracing::info!("the certificate of this node ended long ago: joining anew");
            joined(join::join(NodeKey::open(directory)?, &config.join, token).await?)
        }
        (Ok(identity), Some(token)) if is_of_another_key(&identity, token, now) => {
            tracing::info!(
                "the join token is of another key than this node's zone has: asking whether the zone's key was rotated"
            );
            match join::join(NodeKey::open(directory)?, &config.join, token).await {
                Ok((joined, through)) => (joined, Some(through)),
                Err(
                    error @ (MembershipError::OtherZone { .. }
                    | MembershipError::TokenOfOtherZone { .. }),
                ) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "the join token is of no use: this node tries with what it has");
                    known(identity)
                }
            }
        }
        (Ok(identity), _) => known(identity),
        (Err(key), Some(token)) => joined(join::join(key, &config.join, token).await?),
        (Err(_), None) if !config.join.is_empty() => return Err(MembershipError::NoToken),
        (Err(key), None) => {
            let default = || DEFAULT_ZONE.parse();
            let zone = config.zone.clone().map_or_else(default, Ok);
            let zone = zone.map_err(|error| MembershipError::Malformed(error.to_string()))?;
            known(key.found(&zone, now)?)
        }
    };
    match &config.zone {
        Some(wanted) if wanted != identity.zone() => Err(MembershipError::OtherZone {
            held: identity.zone().to_string(),
            wanted: wanted.to_string(),
        }),
        _ => Ok((identity, through)),
    }
}

/// Where the zone is: what the operator says, and what the token knows.
fn names(config: &MembershipConfig) -> Vec<String> {
    let token = config.token.as_deref().and_then(|token| JoinToken::read(token).ok());
    config.join.iter().cloned().chain(token.map(|token| token.endpoint.to_string())).collect()
}

/// Whether nobody would renew the certificate any more.
fn is_locked_out(identity: &Identity, now: u64) -> bool {
    let (_, ends) = identity.validity();
    !identity.authority().is_held()
        && now.saturating_sub(ends) > super::identity::tls::RENEWAL_GRACE.as_secs()
}

/// Whether a token that can be used is of an authority that this node does not know: a later one of its zone, or that of
/// another zone. Only the zone of the token can tell which.
fn is_of_another_key(identity: &Identity, token: &str, now: u64) -> bool {
    let trust = identity.trust().borrow().clone();
    JoinToken::read(token).is_ok_and(|token| token.ends > now && !trust.has_fingerprint(token.zone))
}

/// Opens the port, and says where others find it.
async fn listen(
    directory: &IdentityDirectory,
    config: &MembershipConfig,
) -> Result<(TcpListener, SocketAddr), MembershipError> {
    let path = directory.file("endpoint");
    let last = files::read(&path)?.and_then(|text| text.trim().parse().ok());
    let listener = match config.listen {
        // A free port stays the same over restarts, so that others find this node again.
        Some(address) if address.port() == 0 => {
            let last = last.filter(|last: &SocketAddr| last.ip() == address.ip());
            bind_or(last.unwrap_or(address), address).await?
        }
        Some(address) => bind(address).await?,
        None => {
            let last = last.filter(|last| !last.ip().is_unspecified());
            let free = SocketAddr::new(DEFAULT_ENDPOINT.ip(), 0);
            bind_or(last.unwrap_or(DEFAULT_ENDPOINT), free).await?
        }
    };
    let bound = listener
        .local_addr()
        .map_err(|source| MembershipError::Listen { address: DEFAULT_ENDPOINT, source })?;
    if config.advertise.is_none() && bound.ip().is_unspecified() {
        return Err(MembershipError::NoAddress(bound));
    }
    files::write_private(&path, bound.to_string().as_bytes())?;
    match config.advertise {
        // A port of 0 stands for the one that was picked.
        Some(address) if address.port() == 0 => {
            Ok((listener, SocketAddr::new(address.ip(), bound.port())))
        }
        Some(address) => Ok((listener, address)),
        None => Ok((listener, bound)),
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, MembershipError> {
    TcpListener::bind(address).await.map_err(|source| MembershipError::Listen { address, source })
}

async fn bind_or(first: SocketAddr, second: SocketAddr) -> Result<TcpListener, MembershipError> {
    match bind(first).await {
        Err(MembershipError::Listen { source, .. })
            if source.kind() == std::io::ErrorKind::AddrInUse =>
        {
            bind(second).await
        }
        bound => bound,
    }
}

fn own_keys(config: &MembershipConfig, identity: &Identity) -> Result<Keys, MembershipError> {
    let mut own = Keys::new();
    keys::set(&mut own, keys::CAPACITY, config.capacity.to_string())?;
    if !config.labels.is_empty() {
        let labels = serde_json::to_string(&config.labels)
            .map_err(|error| MembershipError::Malformed(error.to_string()))?;
        keys::set(&mut own, keys::LABELS, labels)?;
    }
    if identity.authority().is_held() {
        keys::set(&mut own, keys::AUTHORITY, keys::YES)?;
    }
    Ok(own)
}

/// Serves an authenticated connection by its protocol.
async fn serve(
    accepted: Accepted,
    streams: Streams,
    answerer: Arc<Answerer>,
    http2: Arc<dyn ServeHttp2>,
) {
    let Accepted { protocol, peer, stream, _place } = accepted;
    match (protocol, peer) {
        (Protocol::Gossip, Some(_)) => streams.receive(stream).await,
        (Protocol::Http2, Some(peer)) => http2.serve(peer, stream).await,
        (_, peer) => {
            if let Err(error) = answerer.serve(protocol, peer, stream).await {
                tracing::debug!(?protocol, %error, "a connection with a node broke");
            }
        }
    }
}

/// Resolves the operator's names again and again, and keeps the list of addresses on disk.
async fn keep_contacts(contacts: Arc<Contacts>, names: Vec<String>, stop: CancellationToken) {
    let mut interval = tokio::time::interval(RESOLVE_INTERVAL);
    let mut write = tokio::time::interval(WRITE_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => contacts.set_seeds(join::resolve(&names).await),
            _ = write.tick() => remember(&contacts),
        }
    }
}

/// Writes where other nodes are, if that changed.
pub(super) fn remember(contacts: &Contacts) {
    if let Err(error) = contacts.write() {
        tracing::warn!(%error, "the addresses of other nodes are not remembered yet");
    }
}

/// Tells others when this node holds the zone's key, or no longer does.
async fn watch_authority(identity: Arc<Identity>, gossip: Arc<Gossip>, stop: CancellationToken) {
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let is_held = identity.authority().is_held();
        gossip.say(|own| {
            if is_held {
                own.insert(keys::AUTHORITY.to_owned(), keys::YES.to_owned());
            } else {
                own.remove(keys::AUTHORITY);
            }
        });
    }
}

/// Fetches what members publish, whenever the view changes, and again what could not be had.
async fn fetch_documents(
    gossip: Arc<Gossip>,
    documents: Arc<DocumentStore>,
    answerer: Arc<Answerer>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let mut view = gossip.view();
    let places = Arc::new(Semaphore::new(FETCHES_MAX));
    let mut again = tokio::time::interval(RETRY_PAUSE);
    loop {
        let now = view.borrow_and_update().clone();
        for wanted in documents.look(&now, Instant::now()) {
            let (gossip, documents, answerer) =
                (gossip.clone(), documents.clone(), answerer.clone());
            let (places, stop) = (places.clone(), stop.clone());
            tasks.spawn(async move {
                let fetch = async {
                    tokio::time::sleep(wanted.wait).await;
                    let _place = places.acquire().await;
                    let bytes = fetch(&answerer, &wanted).await;
                    let view = gossip.view().borrow().clone();
                    documents.fetched(wanted.digest, bytes, &view, Instant::now());
                };
                tokio::select! {
                    () = fetch => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = view.changed() => if changed.is_err() { return },
            _ = again.tick() => {}
        }
    }
}

/// The bytes of a document from the first who has them.
async fn fetch(answerer: &Answerer, wanted: &Wanted) -> Option<bytes::Bytes> {
    for holder in &wanted.holders {
        match answerer.fetch(holder, wanted.digest).await {
            Ok(bytes) if aop_core::Digest::of(&bytes) == wanted.digest => return Some(bytes),
            Ok(_) => tracing::error!(
                node = %holder,
                digest = %wanted.digest,
                "a node sent a document that is not the one with this digest"
            ),
            Err(error) => tracing::debug!(node = %holder, %error, "a document was not to be had"),
        }
    }
    None
}

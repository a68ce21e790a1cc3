//! Who is in the zone.
//!
//! A node has a key, and a certificate that the zone's authority signed; with it, every connection
//! between nodes is mutually authenticated. Members are trusted as a whole: what one says of itself,
//! of callers and of tenants is believed.
//!
//! Members gossip who lives and a few small values each; what is larger travels by digest. Together
//! that is a [`View`] of the zone and its [`Documents`], which routing stands on. A host that is in no
//! zone runs none of this.

mod agree;
mod belonging;
mod catalogue;
mod documents;
mod error;
mod exchange;
mod frame;
mod gossip;
mod identity;
mod join;
mod members;
mod peer;
mod report;
mod start;
#[cfg(test)]
mod tests;
pub(crate) mod token;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aop_core::cluster::{
    ClusterError, ClusterStatus, EvictRequest, EvictionReport, JoinTokenGrant, JoinTokenRequest,
    KeyRotation, ReportRoutes, RotateKeyRequest,
};
use aop_core::quota::Accounts;
use aop_core::{BoxFuture, NodeId};
use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use agree::Agreed;
pub use catalogue::{Catalogue, CatalogueAgent, CatalogueTool};
pub use error::MembershipError;
pub use identity::IdentityDirectory;
pub use members::{DOCUMENT_MAX_BYTES, Document, Documents, Members};
pub use peer::{Connect, PeerStream, ServeHttp2};
pub use start::{DEFAULT_ENDPOINT, DEFAULT_ZONE, MembershipConfig};
pub use view::{DocumentVersion, Load, Member, View};

pub(crate) use gossip::keys::VALUE_MAX_BYTES;

use self::belonging::Belonging;
use self::documents::DocumentStore;
use self::exchange::Answerer;
use self::gossip::contacts::Contacts;
use self::gossip::transport::Streams;
use self::gossip::{Gossip, keys};
use self::identity::{Identity, Protocol};
use self::peer::{Connector, Counts, Expect};
use crate::quota::{Neighbour, Surroundings, ZoneQuotas};

/// How long the parts of a membership that is left may take to end.
const END_MAX: Duration = Duration::from_secs(1);

/// This node's membership of its zone, from [`start`](Membership::start) to
/// [`leave`](Membership::leave).
pub struct Membership {
    identity: Arc<Identity>,
    connector: Connector,
    belonging: Belonging,
    gossip: Arc<Gossip>,
    documents: Arc<DocumentStore>,
    answerer: Arc<Answerer>,
    streams: Streams,
    contacts: Arc<Contacts>,
    counts: Arc<Counts>,
    routes: OnceLock<Arc<dyn ReportRoutes>>,
    quotas: OnceLock<Arc<ZoneQuotas>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Membership {
    /// Where other nodes reach this one.
    #[must_use]
    pub fn endpoint(&self) -> SocketAddr {
        self.gossip.endpoint()
    }

    /// Says what routing knows when the zone's status is asked for. Only the first one counts.
    pub fn report_routes(&self, routes: Arc<dyn ReportRoutes>) {
        let _ = self.routes.set(routes);
    }

    /// Keeps something alike on all nodes, until this node leaves.
    pub fn agree(self: &Arc<Self>, agreed: Arc<dyn Agreed>) {
        let (members, stop) = (Arc::clone(self), self.stop.clone());
        self.tasks.spawn(agree::run(members, agreed, stop));
    }

    /// Has quotas of tenants hold for all nodes together, until this node leaves; `file` remembers which nodes there are,
    /// and `company` says that there must be some, since this one did not just found its zone. Only the first time counts.
    pub fn share_quotas(self: &Arc<Self>, accounts: Arc<Accounts>, file: PathBuf, company: bool) {
        self.quotas.get_or_init(|| {
            let parts = ZoneQuotas::open(accounts, file, company, &**self);
            let (around, stop) = (Arc::clone(self), self.stop.clone());
            self.tasks.spawn(Arc::clone(&parts).run(around, stop));
            parts
        });
    }

    /// Tells everybody that this node takes no more calls, before its last ones finish.
    pub async fn drain(&self) {
        self.gossip.say(|own| keys::set(own, keys::DRAIN, keys::YES)).ok();
        self.gossip.tell_everybody().await;
    }

    /// Says goodbye and ends.
    pub async fn leave(&self) {
        start::remember(&self.contacts);
        self.gossip.say(|own| keys::set(own, keys::LEFT, keys::YES)).ok();
        self.gossip.tell_everybody().await;
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(END_MAX, self.tasks.wait()).await.is_err() {
            tracing::debug!("connections with other nodes were cut");
        }
    }

    /// What this node sees of the zone.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        report::status(self)
    }

    /// Makes a join token, here or at a member that holds the zone's key.
    ///
    /// # Errors
    /// [`ClusterError::Invalid`] out of bounds, [`ClusterError::Unavailable`] when nobody can.
    pub async fn join_token(
        &self,
        request: JoinTokenRequest,
    ) -> Result<JoinTokenGrant, ClusterError> {
        match self.answerer.join_token(request).await {
            Ok(token) => Ok(JoinTokenGrant {
                token,
                endpoint: self.endpoint(),
                zone: self.identity.zone().to_string(),
            }),
            Err(error) => Err(cluster_error(error)),
        }
    }

    /// Evicts a node: its certificate counts no more, on any node.
    ///
    /// # Errors
    /// [`ClusterError::Invalid`] when it is this node, unknown and not said to be `absent`, or too many are evicted;
    /// [`ClusterError::Unavailable`] when it cannot be remembered.
    pub async fn evict(&self, request: &EvictRequest) -> Result<EvictionReport, ClusterError> {
        let node = &request.node;
        let view = self.gossip.view().borrow().clone();
        let known = view.member(node);
        let is_known = known.is_some()
            || node == self.identity.id()
            || self.identity.trust().borrow().is_evicted(node)
            || self.quotas.get().is_some_and(|quotas| quotas.knows(node));
        if !is_known && !request.absent {
            return Err(ClusterError::Invalid(format!(
                "no node {node} is known here: look at `aop cluster status`, or evict it with --absent all the same, when it has left or was away for so long that it was forgotten"
            )));
        }
        let report = EvictionReport {
            node: node.clone(),
            was_member: known.is_some(),
            held_authority: known.is_some_and(|member| member.holds_authority),
            is_new: self.belonging.evict(node).await.map_err(cluster_error)?,
        };
        Ok(report)
    }

    /// Makes a new key for the zone, here or at a member that holds it.
    ///
    /// # Errors
    /// [`ClusterError::Invalid`] out of bounds or while one is under way, [`ClusterError::Unavailable`] when
    /// nobody can.
    pub async fn rotate_key(&self, request: RotateKeyRequest) -> Result<KeyRotation, ClusterError> {
        let retires_unix_s = self.answerer.rotate_key(request).await.map_err(cluster_error)?;
        Ok(KeyRotation { zone: self.identity.zone().to_string(), retires_unix_s })
    }
}

fn cluster_error(error: MembershipError) -> ClusterError {
    match error {
        MembershipError::Refused(reason) => ClusterError::Invalid(reason),
        error => ClusterError::Unavailable(error.to_string()),
    }
}

impl Surroundings for Membership {
    fn me(&self) -> &NodeId {
        self.identity.id()
    }

    fn neighbours(&self) -> Option<Vec<Neighbour>> {
        self.gossip.neighbours()
    }

    fn evicted(&self) -> BTreeSet<NodeId> {
        self.identity.trust().borrow().evicted().map(|evicted| evicted.node).collect()
    }

    fn say(&self, said: BTreeMap<u8, String>) {
        if let Err(error) = self.gossip.say(|own| keys::set_quotas(own, said)) {
            tracing::error!(%error, "the zone cannot be told what this node uses of quotas");
        }
    }
}

impl Connect for Membership {
    fn connect<'a>(
        &'a self,
        node: &'a NodeId,
    ) -> BoxFuture<'a, Result<PeerStream, MembershipError>> {
        Box::pin(async move {
            let endpoint = self.gossip.endpoint_of(node)?;
            self.connector.open(endpoint, Protocol::Http2, Expect::Node(node)).await
        })
    }
}

impl Members for Membership {
    fn node(&self) -> &NodeId {
        self.identity.id()
    }

    fn view(&self) -> watch::Receiver<Arc<View>> {
        self.gossip.view()
    }

    fn documents(&self) -> watch::Receiver<Arc<Documents>> {
        self.documents.published()
    }

    fn publish(
        &self,
        name: &'static str,
        bytes: Bytes,
    ) -> Result<DocumentVersion, MembershipError> {
        if !keys::is_document_name(name) {
            return Err(MembershipError::Malformed(format!("`{name}` is no name of a document")));
        }
        if !documents::fits(&bytes) {
            return Err(MembershipError::TooLarge {
                what: "a document",
                bytes: bytes.len(),
                max: DOCUMENT_MAX_BYTES,
            });
        }
        let (version, is_new) = self.documents.publish(name, bytes);
        if is_new {
            let value = keys::write_version(version);
            self.gossip.say(|own| keys::set(own, &keys::document_key(name), value))?;
        }
        Ok(version)
    }

    fn set_load(&self, load: Load) {
        // Its value is a few digits.
        self.gossip.say(|own| keys::set(own, keys::LOAD, load.percent().to_string())).ok();
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Seconds since the Unix epoch.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

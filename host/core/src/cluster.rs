//! What a host tells of its zone, and the traits by which the admin API and the command line reach
//! it. `cluster` implements [`Cluster`]; routing adds what it knows as a [`ReportRoutes`].

use core::net::SocketAddr;
use core::ops::RangeInclusive;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{AgentName, BoxFuture, Digest, Generation, NodeId, RevisionNumber, TenantName};

/// How a node stands, as one other sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It takes calls.
    Alive,
    /// It finishes its calls and takes no new ones.
    Draining,
    /// It said goodbye.
    Left,
    /// Nothing was heard of it for longer than its own rhythm explains.
    Silent,
}

impl MemberState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Alive, Self::Draining, Self::Left, Self::Silent];

    /// As it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Draining => "draining",
            Self::Left => "left",
            Self::Silent => "silent",
        }
    }
}

/// One node of the zone, as the answering host sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Which.
    pub node: NodeId,
    /// Which life of it.
    pub generation: Generation,
    /// How it stands.
    pub state: MemberState,
    /// Where other nodes reach it.
    pub endpoint: SocketAddr,
    /// All addresses of a node that lives more than once at one time, because its data directory was copied; else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubled: Vec<SocketAddr>,
    /// How busy it is, in percent.
    pub load_percent: u8,
    /// How much it takes compared with others.
    pub capacity: u32,
    /// What its operator says of it.
    pub labels: BTreeMap<String, String>,
    /// Whether it can let nodes into the zone.
    pub holds_authority: bool,
    /// Milliseconds since news of it arrived; 0 for the answering host.
    pub lag_ms: u64,
    /// What it offers; none before it said so.
    pub catalogue: Option<CatalogueStatus>,
}

/// What a node offers, and whether the answering host knows it already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogueStatus {
    /// Grows with every change.
    pub serial: u64,
    /// Of its text.
    pub digest: Digest,
    /// Whether the answering host has it.
    pub fetched: bool,
    /// Agents in it; 0 until it is fetched.
    pub agents: usize,
}

/// An agent that lives on several nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// Whose.
    pub tenant: TenantName,
    /// Which.
    pub agent: AgentName,
    /// Its revision.
    pub revision: RevisionNumber,
    /// Its component.
    pub digest: Digest,
    /// How many replicas it should have; none when it lives where it was loaded.
    pub wanted: Option<u32>,
    /// Where it serves.
    pub nodes: Vec<NodeId>,
}

/// What a breaker between this host and another node does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerStatus {
    /// The node behind it.
    pub node: NodeId,
    /// The tool.
    pub tool: String,
    /// `closed`, `open` or `half_open`.
    pub state: String,
}

/// A suspicion that the zone is in parts that do not hear each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspectedPartition {
    /// Who fell silent, together and without a goodbye.
    pub silent: Vec<NodeId>,
    /// Milliseconds since the first of them did.
    pub for_ms: u64,
}

/// The paper's version vector V_i (section 6.2), one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeVersion {
    /// Which life of the node.
    pub generation: Generation,
    /// How many changes of it are known: V_i\[j\].
    pub version: u64,
}

/// A node whose key counts no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvictedNode {
    /// Which.
    pub node: NodeId,
    /// The node that was told to evict it; the evicted node itself, as that one sees it when it was only refused.
    pub by: NodeId,
    /// When, in seconds since the Unix epoch.
    pub at_unix_s: u64,
}

/// A zone as one of its hosts sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The zone.
    pub zone: String,
    /// The answering host.
    pub node: NodeId,
    /// Where other nodes reach it; what `--join` takes.
    pub endpoint: SocketAddr,
    /// Over every live node's catalogue. Equal on all hosts once nothing changes any more.
    pub registry_digest: Digest,
    /// V_i. Equal on all hosts once nothing changes any more.
    pub versions: BTreeMap<NodeId, NodeVersion>,
    /// Every node that is known, in the order of their ids.
    pub members: Vec<MemberStatus>,
    /// Whether the zone seems to be in parts.
    pub partition: Option<SuspectedPartition>,
    /// Nodes that were evicted, in the order of their ids.
    #[serde(default)]
    pub evicted: Vec<EvictedNode>,
    /// Seconds until the zone's key before this one stops to count, after a rotation.
    #[serde(default)]
    pub key_retires_in_s: Option<u64>,
    /// Seconds until this host's certificate ends. It renews it at half of its life.
    pub certificate_ends_in_s: u64,
    /// Agents with replicas.
    pub replicas: Vec<ReplicaStatus>,
    /// Breakers that are not closed.
    pub breakers: Vec<BreakerStatus>,
    /// What this host and those that it hears have of tenants' quotas.
    #[serde(default)]
    pub quotas: Option<QuotaParts>,
}

/// What some nodes have together of tenants' quotas, which hold for the whole zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaParts {
    /// Which part of every quota: 1000 when nobody is silent.
    pub reach_permille: u32,
    /// Nodes that keep an even part though they are not heard, in case they live.
    pub silent: Vec<NodeId>,
}

/// What a join token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokenRequest {
    /// Seconds that it can be used.
    pub lifetime_s: u64,
    /// Nodes that it lets in.
    pub uses: u32,
}

impl JoinTokenRequest {
    /// The longest life of a token: it is a key to the zone that lies about in scripts.
    pub const LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    /// The most nodes that one token lets in: a whole zone.
    pub const USES_MAX: u32 = 200;
}

/// A token with which a node joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokenGrant {
    /// The token. Whoever has it can join.
    pub token: String,
    /// Where to join: the answering host.
    pub endpoint: SocketAddr,
    /// The zone.
    pub zone: String,
}

/// Which node does not belong to the zone any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvictRequest {
    /// Its id.
    pub node: NodeId,
    /// Also one that no node knows now.
    #[serde(default)]
    pub absent: bool,
}

/// What an eviction did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvictionReport {
    /// Whose.
    pub node: NodeId,
    /// Whether the node was a live member, as the answering host sees it.
    pub was_member: bool,
    /// Whether it held the zone's key, which should be rotated then.
    pub held_authority: bool,
    /// Whether it was not evicted before.
    pub is_new: bool,
}

/// How the zone gets a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateKeyRequest {
    /// Seconds that certificates of the key before still count. Nodes that are up renew within seconds; one
    /// that is away for longer joins again.
    pub overlap_s: u64,
    /// Also while an earlier key still counts: that one ends with this overlap, too.
    #[serde(default)]
    pub again: bool,
}

impl RotateKeyRequest {
    /// The bounds of the overlap: long enough for every live node to renew, and no longer than a node's
    /// certificate can be renewed after its end.
    pub const OVERLAP: RangeInclusive<Duration> =
        Duration::from_secs(30)..=Duration::from_secs(90 * 24 * 60 * 60);
}

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotation {
    /// The zone.
    pub zone: String,
    /// When the key before stops to count, in seconds since the Unix epoch.
    pub retires_unix_s: u64,
}

/// Why the zone could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// This host is alone.
    #[error(
        "this host is in no zone: `aop cluster join-token` makes one of it, `aop serve --join HOST:PORT --token TOKEN` lets it join one"
    )]
    NoZone,
    /// The question makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The zone cannot do it now.
    #[error("{0}")]
    Unavailable(String),
}

/// The zone of this host.
pub trait Cluster: Send + Sync {
    /// What this host sees of it.
    ///
    /// # Errors
    /// [`ClusterError::NoZone`].
    fn status(&self) -> BoxFuture<'_, Result<ClusterStatus, ClusterError>>;

    /// Makes a token with which nodes join. A host that is in no zone founds one.
    ///
    /// # Errors
    /// [`ClusterError`].
    fn join_token(
        &self,
        request: JoinTokenRequest,
    ) -> BoxFuture<'_, Result<JoinTokenGrant, ClusterError>>;

    /// Evicts a node: every other one refuses it from then on, whatever its certificate says.
    ///
    /// # Errors
    /// [`ClusterError`].
    fn evict(&self, request: EvictRequest) -> BoxFuture<'_, Result<EvictionReport, ClusterError>>;

    /// Gives the zone a new key.
    ///
    /// # Errors
    /// [`ClusterError`].
    fn rotate_key(
        &self,
        request: RotateKeyRequest,
    ) -> BoxFuture<'_, Result<KeyRotation, ClusterError>>;
}

/// What routing knows of the zone, for its status.
pub trait ReportRoutes: Send + Sync {
    /// Agents with replicas.
    fn replicas(&self) -> Vec<ReplicaStatus>;

    /// Breakers that are not closed.
    fn breakers(&self) -> Vec<BreakerStatus>;
}

/// How a mounted server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// It was never reached so far.
    Connecting,
    /// It answers, and its tools are listed.
    Up,
    /// It does not answer, and is tried again.
    Down,
}

impl ServerState {
    /// As it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// An MCP server that this host mounts: one url of the paper's C = ⟨U, τ⟩ (equation 5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The agent that its tools belong to.
    pub name: AgentName,
    /// Who sees it.
    pub tenant: TenantName,
    /// τ: `streamable-http` or `stdio`.
    pub transport: String,
    /// Its URL without a query, or its program.
    pub place: String,
    /// How it stands.
    pub state: ServerState,
    /// Milliseconds since that began.
    pub for_ms: u64,
    /// What it says it is.
    pub server: Option<String>,
    /// The revision of MCP that it speaks.
    pub protocol: Option<String>,
    /// Tools that are listed of it.
    pub tools: usize,
    /// Calls that it works on for this host.
    pub calls_running: u32,
    /// Why it is not up, or why its tools are not listed.
    pub error: Option<String>,
    /// Milliseconds until it is tried again.
    pub retry_in_ms: Option<u64>,
    /// What of it was left out, and why.
    pub notes: Vec<String>,
}

/// The servers that this host mounts. `mcp` implements it.
pub trait ReportServers: Send + Sync {
    /// All of them, in the order of the configuration.
    fn servers(&self) -> Vec<ServerStatus>;
}

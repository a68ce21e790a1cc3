//! Which agents and tools exist here. `registry` implements it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::interface::{Feature, Refusal};
use crate::supply::{OciReference, Provenance};
use crate::{
    AgentId, AgentName, BoxFuture, Digest, Revision, RevisionNumber, Settings, Source, Standing,
    State, TenantName, Tool, ToolName,
};

/// Where an agent's component comes from, and so who may change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Origin {
    /// A file in a watched agents directory: only the file changes it.
    File {
        /// The component.
        path: PathBuf,
    },
    /// Loaded through the API; lives in the data directory.
    Api,
    /// It runs elsewhere: only its owner changes it. Never stored.
    Elsewhere {
        /// Who publishes it here.
        #[serde(flatten)]
        source: Source,
        /// Where it runs: node names, a URL, a zone.
        places: Vec<String>,
    },
}

/// What `aop agent list` shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The name.
    pub name: AgentName,
    /// The identity; none until its first successful load.
    pub id: Option<AgentId>,
    /// Where the newest attempt to load it stands, or what serves now.
    pub state: State,
    /// The revision that serves; none when none does.
    pub revision: Option<RevisionNumber>,
    /// Its component.
    pub digest: Option<Digest>,
    /// Where its component was had from, as its settings say: a claim of whoever loaded it, which no host checks. What runs
    /// is what `digest` says, and who vouches for it is in `provenance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<OciReference>,
    /// Who signed its component; none when nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether a rollback holds it at its digest until the file changes.
    pub pinned: bool,
    /// What it is for.
    pub description: String,
    /// The names of its tools.
    pub tools: Vec<ToolName>,
    /// Functions that could not become tools.
    pub refused: Vec<Refusal>,
    /// Why the newest load failed, in words that say what to do.
    pub error: Option<String>,
    /// Warnings of the newest load, such as uncomfortable names.
    pub warnings: Vec<String>,
    /// Calls that run now.
    pub in_flight: u32,
    /// The most calls that may run at once.
    pub concurrency: u32,
}

/// One revision that a rollback can go to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevisionStatus {
    /// Which.
    pub number: RevisionNumber,
    /// Its component.
    pub digest: Digest,
    /// When it was first loaded, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// Whether it serves now.
    pub serving: bool,
}

/// A component to load through the API.
pub struct LoadRequest {
    /// The agent's name.
    pub name: AgentName,
    /// The identity that a new agent gets, when it has one already on another node; else a fresh one.
    pub id: Option<AgentId>,
    /// The component.
    pub component: Vec<u8>,
    /// Its settings.
    pub settings: Settings,
    /// Who asks, where that may cease to count while the component is compiled: asked again before it serves.
    pub standing: Option<Standing>,
}

/// Why a change of the catalogue was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogError {
    /// No such agent.
    #[error("no agent `{0}` is loaded: see `aop agent list`")]
    NoSuchAgent(String),
    /// A file owns the name.
    #[error("agent `{name}` is owned by the file {path}: change or remove that file instead")]
    OwnedByFile {
        /// The agent.
        name: AgentName,
        /// Its component.
        path: String,
    },
    /// It runs elsewhere.
    #[error("agent `{name}` runs elsewhere ({places}): change it there")]
    OwnedElsewhere {
        /// The agent.
        name: AgentName,
        /// Where it runs.
        places: String,
    },
    /// There is no earlier revision.
    #[error("agent `{0}` has no earlier revision to roll back to")]
    NoEarlierRevision(AgentName),
    /// The component or its settings cannot be loaded. What served before still does.
    #[error("{0}")]
    Rejected(String),
    /// The host's operator permits no such component, or no such settings. What served before still does.
    #[error("{reason}")]
    Refused {
        /// The setting that refuses it.
        setting: &'static str,
        /// What is refused, and what would be permitted.
        reason: String,
    },
    /// It is larger than what a quota leaves. Waiting does not help; unloading something does.
    #[error("{0}")]
    OverQuota(String),
    /// Whoever asked may not any more.
    #[error("the credential is not valid any more: nothing was changed")]
    Lapsed,
    /// The host is shutting down.
    #[error("the host is draining: try another node, or again later")]
    Draining,
    /// The host failed.
    #[error("{0}")]
    Internal(String),
}

/// The agents of a tenant, and how to change them.
pub trait Catalog: Send + Sync {
    /// Every agent in name order, those that failed to load included.
    fn list(&self, tenant: &TenantName) -> Vec<AgentStatus>;

    /// One agent.
    fn show(&self, tenant: &TenantName, name: &str) -> Option<AgentStatus>;

    /// The revisions of an agent, newest first.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchAgent`].
    fn revisions<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<RevisionStatus>, CatalogError>>;

    /// Loads a component, as a new agent or as a new revision.
    ///
    /// # Errors
    /// [`CatalogError`]; what served before still does.
    fn load<'a>(
        &'a self,
        tenant: &'a TenantName,
        request: LoadRequest,
    ) -> BoxFuture<'a, Result<AgentStatus, CatalogError>>;

    /// Removes an agent that was loaded through the API, with its revisions.
    ///
    /// # Errors
    /// [`CatalogError`].
    fn unload<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), CatalogError>>;

    /// Goes back to the revision before the one that serves.
    ///
    /// # Errors
    /// [`CatalogError`].
    fn rollback<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<AgentStatus, CatalogError>>;

    /// The tools of a tenant. Cheap: the same `Arc` until the set changes.
    fn tools(&self, tenant: &TenantName) -> Arc<ToolList>;

    /// The agents of a tenant that offer a feature now, in name order.
    fn offering(&self, tenant: &TenantName, feature: Feature) -> Vec<AgentName>;
}

/// The tools of a tenant at one moment.
#[derive(Debug, Default)]
pub struct ToolList {
    /// Grows with every change of the set.
    pub generation: u64,
    /// In name order.
    pub tools: Vec<Arc<Tool>>,
}

/// Finds what a tool name means now. On the path of every call.
pub trait Resolve: Send + Sync {
    /// The serving revision that owns `tool`, by its name or an alias.
    fn resolve(&self, tenant: &TenantName, tool: &str) -> Option<Route>;

    /// The serving revision of an agent that offers `feature`.
    fn resolve_feature(
        &self,
        tenant: &TenantName,
        agent: &str,
        feature: Feature,
    ) -> Option<FeatureRoute>;
}

/// Where a call goes.
#[derive(Clone)]
pub struct Route {
    /// The revision; holding it keeps it alive.
    pub revision: Arc<Revision>,
    /// The tool, one of the revision's.
    pub tool: Arc<Tool>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("agent", &self.revision.agent)
            .field("tool", &self.tool.name)
            .finish_non_exhaustive()
    }
}

/// Where a call for a feature goes.
#[derive(Clone)]
pub struct FeatureRoute {
    /// The revision; holding it keeps it alive.
    pub revision: Arc<Revision>,
    /// Index into [`Interface::functions`](crate::Interface::functions).
    pub function: usize,
}

/// Something that an agent offers besides tools and that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// The list of resources.
    Resources,
    /// The list of prompts.
    Prompts,
    /// What is inside the resource of this URI.
    Resource(String),
}

impl Offer {
    /// The longest URI of a resource, in bytes: what browsers and proxies carry.
    pub const URI_MAX_BYTES: usize = 2048;

    /// The scheme of the files of skills (SEP-2640). It is no agent's, whatever one is called.
    pub const SKILL_SCHEME: &str = "skill";

    /// Schemes that say the same everywhere, which no agent of such a name can have for its own.
    const COMMON_SCHEMES: [&str; 14] = [
        "about",
        "blob",
        "data",
        "file",
        "ftp",
        "git",
        "http",
        "https",
        "javascript",
        "mailto",
        "ui",
        "urn",
        "ws",
        "wss",
    ];

    /// Whose a URI is: that of the agent that its scheme names, or, among the files of skills, its authority. Nobody
    /// says that it is a URI, or that there is such an agent.
    #[must_use]
    pub fn owner(uri: &str) -> Option<&str> {
        let (scheme, rest) = uri.split_once(':')?;
        if scheme == Self::SKILL_SCHEME {
            return rest.strip_prefix("//")?.split('/').next();
        }
        (!Self::COMMON_SCHEMES.contains(&scheme)).then_some(scheme)
    }
}

/// Is told when the tools of a tenant changed. Must not block.
pub trait Listen: Send + Sync {
    /// The set of tools changed (names, schemas or descriptions).
    fn tools_changed(&self, tenant: &TenantName);

    /// Something else that the tenant's agents offer changed.
    fn offer_changed(&self, tenant: &TenantName, offer: Offer);
}

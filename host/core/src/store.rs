//! What must survive a restart: agents, their revisions, settings and published names.
//! `store` implements it; component bytes live as files beside it, named by digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    AgentId, AgentName, BoxFuture, Digest, Origin, RevisionNumber, Settings, TenantName, ToolName,
};

/// An agent as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Its identity.
    pub id: AgentId,
    /// Its name.
    pub name: AgentName,
    /// Where it comes from.
    pub origin: Origin,
    /// The revision that serves after a restart.
    pub active: RevisionNumber,
    /// After a rollback of a file's agent: the digest the file had then. While the file still has
    /// it, `active` serves instead of the file.
    pub pinned_against: Option<Digest>,
    /// Every name a function was ever published under, by [`Function::path`]; the first is the one
    /// it is listed as unless settings rename it.
    ///
    /// [`Function::path`]: crate::interface::Function::path
    pub published: BTreeMap<String, Vec<ToolName>>,
}

/// A revision as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRecord {
    /// Which.
    pub number: RevisionNumber,
    /// The component.
    pub digest: Digest,
    /// The settings.
    pub settings: Settings,
    /// When it was first loaded, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
}

/// A revision to store.
#[derive(Debug, Clone)]
pub struct NewRevision {
    /// The agent's identity: the stored one, or a fresh one for a new agent.
    pub id: AgentId,
    /// The agent's name.
    pub name: AgentName,
    /// Where it comes from.
    pub origin: Origin,
    /// The component.
    pub digest: Digest,
    /// The settings.
    pub settings: Settings,
    /// All names published so far, this revision's included.
    pub published: BTreeMap<String, Vec<ToolName>>,
    /// How many revisions of the agent are kept, this one included: one at least, [`Store::REVISIONS_KEPT`] at most.
    pub kept: usize,
    /// Milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
}

/// The store could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed the record since it was read.
    #[error("the record changed meanwhile: read it again")]
    Conflict,
    /// No such record.
    #[error("no such record")]
    Missing,
    /// The medium failed (disk full, corrupt, locked).
    #[error("the store failed: {0}")]
    Failed(String),
}

/// The durable store. Every write is durable when its future resolves, and atomic.
pub trait Store: Send + Sync {
    /// Every agent of a tenant, in name order.
    ///
    /// # Errors
    /// [`StoreError`].
    fn agents<'a>(
        &'a self,
        tenant: &'a TenantName,
    ) -> BoxFuture<'a, Result<Vec<AgentRecord>, StoreError>>;

    /// The revisions of an agent, newest first.
    ///
    /// # Errors
    /// [`StoreError`]; none for an unknown agent is an empty list.
    fn revisions<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a AgentName,
    ) -> BoxFuture<'a, Result<Vec<RevisionRecord>, StoreError>>;

    /// Appends revisions in one transaction, each as its agent's active one and unpinned, creating
    /// agents that are new. A revision equal to the active one in digest and settings adds nothing.
    /// Revisions beyond the newest that it says are kept are forgotten.
    /// Answers the resulting records in the order given.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written.
    fn append<'a>(
        &'a self,
        tenant: &'a TenantName,
        revisions: Vec<NewRevision>,
    ) -> BoxFuture<'a, Result<Vec<AgentRecord>, StoreError>>;

    /// Makes an existing revision the active one, pinned against a digest when a file owns the agent.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is no such agent or revision.
    fn activate<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a AgentName,
        number: RevisionNumber,
        pinned_against: Option<Digest>,
    ) -> BoxFuture<'a, Result<AgentRecord, StoreError>>;

    /// Forgets an agent and its revisions. Forgetting an unknown one succeeds.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a AgentName,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Every digest that some revision of any tenant refers to, for collecting the others.
    ///
    /// # Errors
    /// [`StoreError`].
    fn digests(&self) -> BoxFuture<'_, Result<Vec<Digest>, StoreError>>;

    /// Those of them to which some revision refers of a tenant's agents that came through the API, but one.
    ///
    /// # Errors
    /// [`StoreError`].
    fn uploaded<'a>(
        &'a self,
        tenant: &'a TenantName,
        except: &'a AgentName,
    ) -> BoxFuture<'a, Result<Vec<Digest>, StoreError>>;
}

impl dyn Store {
    /// How many revisions of an agent are kept for rollback: enough to undo a bad day, few enough
    /// that components of 18 MB do not fill a disk.
    pub const REVISIONS_KEPT: usize = 10;
}

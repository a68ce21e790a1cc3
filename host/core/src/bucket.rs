//! What an agent remembers between calls: `wasi:keyvalue` buckets. `store` implements them.

use std::fmt;

use crate::{AgentId, BoxFuture, Subject, TenantName};

/// A conversation that a client continues by its id (`_meta["aop/session"]`). The id alone opens nothing: a
/// bucket also belongs to the caller that the edge authenticated, and to one agent. Ids are often a client's own
/// (`chat-1`), so two callers may have the same one for two conversations.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionId(String);

impl SessionId {
    /// The longest id in bytes: a UUID, a hash, or a client's own key.
    pub const LENGTH_MAX: usize = 128;

    /// Checks an id from outside: 1 to [`Self::LENGTH_MAX`] visible ASCII characters.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=Self::LENGTH_MAX).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }

    /// As the client gave it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which bucket, within a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BucketScope {
    /// Shared by the agents of the tenant.
    Tenant,
    /// Of one agent, over all its callers.
    Agent(AgentId),
    /// Of one agent in one conversation of one caller.
    Session(AgentId, Subject, SessionId),
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// Whose.
    pub tenant: TenantName,
    /// Which of theirs.
    pub scope: BucketScope,
}

/// Longest key in bytes: a path or a URL fits, and keys are what a search reads.
pub const KEY_MAX_BYTES: usize = 1 << 10;
/// Largest value in bytes: a long conversation fits, and a value is read and written as a whole. Larger things
/// belong into files.
pub const VALUE_MAX_BYTES: usize = 1 << 20;
/// Most that one write may have, keys and values together: several of the largest values fit. All writes of a host may
/// go through one place, and those of others wait while one is made.
pub const WRITE_MAX_BYTES: usize = 4 << 20;
/// Most keys of one [`KeyPage`]: 1 MiB of the longest.
pub const PAGE_KEYS_MAX: u32 = 1000;

/// What a bucket may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketQuota {
    /// Entries.
    pub keys_max: u64,
    /// Keys and values together.
    pub bytes_max: u64,
    /// What the agent may remember in all of its buckets together; none is what the host lets every agent.
    pub agent_bytes_max: Option<u64>,
    /// What the agents of the tenant may remember together.
    pub tenant_bytes_max: Option<u64>,
}

/// A page of a bucket's keys, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<String>,
    /// Where the next page begins; none after the last.
    pub next: Option<String>,
}

/// Why a bucket could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BucketError {
    /// The bucket is full, or the key or value is too long.
    #[error("{0}")]
    Quota(String),
    /// Too much of the tenant's waits to be written already.
    #[error("{0}")]
    Busy(String),
    /// The value changed since it was read.
    #[error("the value changed meanwhile: read it again")]
    Conflict,
    /// The value is not what the operation needs.
    #[error("{0}")]
    Invalid(String),
    /// The medium failed.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// The buckets. Every write is durable when its future resolves, and atomic.
pub trait Buckets: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// [`BucketError`].
    fn get<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, BucketError>>;

    /// Whether there is a value, without reading it where that is less.
    ///
    /// # Errors
    /// [`BucketError`].
    fn exists<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<bool, BucketError>> {
        Box::pin(async move { Ok(self.get(bucket, key).await?.is_some()) })
    }

    /// Sets keys, all or none: [`WRITE_MAX_BYTES`] at most.
    ///
    /// # Errors
    /// [`BucketError`].
    fn set<'a>(
        &'a self,
        bucket: &'a Bucket,
        quota: BucketQuota,
        entries: &'a [(String, Vec<u8>)],
    ) -> BoxFuture<'a, Result<(), BucketError>>;

    /// Removes keys, all or none. Removing an absent one succeeds.
    ///
    /// # Errors
    /// [`BucketError`].
    fn delete<'a>(
        &'a self,
        bucket: &'a Bucket,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<(), BucketError>>;

    /// Sets a key if its value is still `expected` (none: if it is absent).
    ///
    /// # Errors
    /// [`BucketError::Conflict`] when it is not.
    fn swap<'a>(
        &'a self,
        bucket: &'a Bucket,
        quota: BucketQuota,
        key: &'a str,
        expected: Option<&'a [u8]>,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), BucketError>>;

    /// Keys in order, from `after` (exclusive) on, at most `limit` and [`PAGE_KEYS_MAX`].
    ///
    /// # Errors
    /// [`BucketError`].
    fn keys<'a>(
        &'a self,
        bucket: &'a Bucket,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<KeyPage, BucketError>>;
}

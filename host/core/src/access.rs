//! Tenants, keys and secrets: what they are, where they are kept, and how they are managed.
//!
//! [`AccessStore`] is the durable side, which `store` implements; [`Admin`] is what the admin API and the command
//! line ask for, which `access` implements with the rules in between. Whoever keeps something of a tenant in memory
//! or on disk is a [`Tenancy`], so that deleting one leaves nothing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    BoxFuture, Caller, Scopes, Secret, SecretName, Standing, StoreError, Tenant, TenantName,
};

/// The public half of an API key: what finds it, is listed, and may appear in logs. 12 of `[a-z2-7]`, which is 60 bits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct KeyId(Arc<str>);

/// The text is not the id of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "that is not the id of a key: it has {} of a-z and 2-7, as `aop key list` shows it",
    KeyId::LENGTH
)]
pub struct KeyIdError;

impl KeyId {
    /// Characters of an id.
    pub const LENGTH: usize = 12;

    /// Reads an id.
    ///
    /// # Errors
    /// [`KeyIdError`] when `text` has another form.
    pub fn new(text: &str) -> Result<Self, KeyIdError> {
        let form = |c: u8| c.is_ascii_lowercase() || (b'2'..=b'7').contains(&c);
        let fits = text.len() == Self::LENGTH && text.bytes().all(form);
        if fits { Ok(Self(text.into())) } else { Err(KeyIdError) }
    }

    /// The id as text.
    #[must_use]
    pub const fn as_arc(&self) -> &Arc<str> {
        &self.0
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for KeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// An API key as it is listed: everything but what opens the door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Finds it.
    pub id: KeyId,
    /// For whom it speaks.
    pub tenant: TenantName,
    /// The id of the first key of its rotation: sessions and tasks go on with the key that replaces it.
    pub subject: KeyId,
    /// What it is for, in its owner's words.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// From when on it is not valid, in milliseconds since the Unix epoch; none for never.
    pub expires_unix_ms: Option<u64>,
    /// When it was revoked, in milliseconds since the Unix epoch; none when it was not. Revoked keys stay listed
    /// for a while, so that a stranger's key can be told from one that was taken away.
    pub revoked_unix_ms: Option<u64>,
    /// When it was used last, to a minute, in milliseconds since the Unix epoch; none when it never was.
    pub last_used_unix_ms: Option<u64>,
}

impl ApiKey {
    /// Whether it opens the door at this time.
    #[must_use]
    pub fn is_valid(&self, now_unix_ms: u64) -> bool {
        self.revoked_unix_ms.is_none()
            && self.expires_unix_ms.is_none_or(|expires| now_unix_ms < expires)
    }

    /// Whether its time is over, which is as plain on another node.
    #[must_use]
    pub fn has_expired(&self, now_unix_ms: u64) -> bool {
        self.expires_unix_ms.is_some_and(|expires| expires <= now_unix_ms)
    }

    /// Of an invalid key, whether it was revoked and when it ended, in milliseconds since the Unix epoch. Where not all can be kept, the
    /// least goes first: that one expired is plain everywhere, that one was revoked only as long as it is remembered.
    #[must_use]
    pub fn ended(&self) -> (bool, u64) {
        let ended = self.revoked_unix_ms.or(self.expires_unix_ms);
        (self.revoked_unix_ms.is_some(), ended.unwrap_or(u64::MAX))
    }
}

/// An API key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// What is listed.
    #[serde(flatten)]
    pub key: ApiKey,
    /// The hash of the whole key. See `access` for which, and why that is enough.
    pub hash: [u8; 32],
}

/// A key to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// How long it is valid, in seconds; none for ever.
    #[serde(default)]
    pub expires_in_seconds: Option<u64>,
}

/// A key that was just created: the only time that all of it is shown.
pub struct CreatedKey {
    /// What will be listed.
    pub key: ApiKey,
    /// The whole key.
    pub text: Secret,
}

/// A secret as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretEntry {
    /// Its name.
    pub name: SecretName,
    /// When its value was set last, in milliseconds since the Unix epoch.
    pub updated_unix_ms: u64,
}

/// A secret as it is stored: encrypted, bound to its tenant and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// Whose.
    pub tenant: TenantName,
    /// What is listed.
    pub entry: SecretEntry,
    /// The value, encrypted.
    pub sealed: Vec<u8>,
}

/// Where tenants, keys and secrets are kept. Every write is durable when its future resolves, and atomic.
pub trait AccessStore: Send + Sync {
    /// Every tenant, in name order. `default` is always among them.
    ///
    /// # Errors
    /// [`StoreError`].
    fn tenants(&self) -> BoxFuture<'_, Result<Vec<Tenant>, StoreError>>;

    /// Keeps a new tenant.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it exists.
    fn add_tenant(&self, tenant: Tenant) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Keeps that a tenant was created at a later time.
    ///
    /// # Errors
    /// [`StoreError`]. One that is gone stays so.
    fn renew_tenant(&self, tenant: Tenant) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes a tenant and every row of it, overwritten on the disk.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is no such tenant.
    fn remove_tenant<'a>(&'a self, tenant: &'a TenantName)
    -> BoxFuture<'a, Result<(), StoreError>>;

    /// Every key of every tenant, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn keys(&self) -> BoxFuture<'_, Result<Vec<KeyRecord>, StoreError>>;

    /// Keeps keys, new or changed, all or none; a tenant that is gone meanwhile gets none.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when a key's tenant does not exist.
    fn put_keys(&self, keys: Vec<KeyRecord>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Forgets keys.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove_keys(&self, keys: Vec<KeyId>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Notes when keys were used last, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`StoreError`].
    fn note_used(&self, used: Vec<(KeyId, u64)>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Whether a key was ever created here, those that are gone included: such a host does not open again.
    ///
    /// # Errors
    /// [`StoreError`].
    fn had_keys(&self) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// The secrets of a tenant, or of all, in name order.
    ///
    /// # Errors
    /// [`StoreError`].
    fn secrets<'a>(
        &'a self,
        tenant: Option<&'a TenantName>,
    ) -> BoxFuture<'a, Result<Vec<SealedSecret>, StoreError>>;

    /// One secret.
    ///
    /// # Errors
    /// [`StoreError`].
    fn secret<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<Option<SealedSecret>, StoreError>>;

    /// Keeps secrets, new or changed, all or none.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when a secret's tenant does not exist.
    fn put_secrets(&self, secrets: Vec<SealedSecret>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Forgets a secret, overwritten on the disk; whether there was one.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove_secret<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;
}

/// Whoever keeps something of tenants.
pub trait Tenancy: Send + Sync {
    /// A tenant exists from now on. It begins again when another node of the zone made it later than this one did.
    fn begin(&self, tenant: &Tenant);

    /// A tenant is about to be forgotten: stops what runs for it and drops what is kept of it. Ending one that never
    /// began succeeds. What hosts share may have something of a later tenant of that name already, which stays.
    ///
    /// # Errors
    /// Why something of it is left. The tenant then stays, and can be deleted again.
    fn end<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<(), String>>;
}

/// Why something was not managed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// There is no such thing, or it is another tenant's.
    #[error("{0}")]
    NotFound(String),
    /// It is there already, or something stands in its way.
    #[error("{0}")]
    Conflict(String),
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The caller may not.
    #[error("{0}")]
    Forbidden(String),
    /// The caller's word counts no more: its credential ended, or its tenant did, after the request had begun.
    #[error("the credential is not valid any more: nothing was changed")]
    Lapsed,
    /// The host failed.
    #[error("{0}")]
    Failed(String),
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// How tenants, keys and secrets are managed. Everything is done for the caller's tenant but what concerns tenants
/// themselves; whether the caller has the scope for it was checked in front.
pub trait Admin: Send + Sync {
    /// The same for whoever's word may end: nothing is changed once it counts no more. That is looked at where
    /// what could end it cannot come in between.
    fn under(self: Arc<Self>, standing: Standing) -> Arc<dyn Admin>;

    /// Every tenant, in name order.
    ///
    /// # Errors
    /// [`AdminError`].
    fn tenants(&self) -> BoxFuture<'_, Result<Vec<Tenant>, AdminError>>;

    /// Creates a tenant.
    ///
    /// # Errors
    /// [`AdminError`].
    fn create_tenant<'a>(
        &'a self,
        by: &'a Caller,
        name: TenantName,
    ) -> BoxFuture<'a, Result<Tenant, AdminError>>;

    /// Removes a tenant and everything of it.
    ///
    /// # Errors
    /// [`AdminError`].
    fn delete_tenant<'a>(
        &'a self,
        by: &'a Caller,
        name: &'a TenantName,
    ) -> BoxFuture<'a, Result<(), AdminError>>;

    /// The keys of the caller's tenant, the oldest first.
    ///
    /// # Errors
    /// [`AdminError`].
    fn keys<'a>(&'a self, by: &'a Caller) -> BoxFuture<'a, Result<Vec<ApiKey>, AdminError>>;

    /// Creates a key, with no scope that the caller has not.
    ///
    /// # Errors
    /// [`AdminError`].
    fn create_key<'a>(
        &'a self,
        by: &'a Caller,
        new: NewKey,
    ) -> BoxFuture<'a, Result<CreatedKey, AdminError>>;

    /// Makes a key worthless at once.
    ///
    /// # Errors
    /// [`AdminError`].
    fn revoke_key<'a>(
        &'a self,
        by: &'a Caller,
        id: &'a KeyId,
    ) -> BoxFuture<'a, Result<ApiKey, AdminError>>;

    /// Creates a key that replaces another one: the same subject and scopes. The old one stays valid for `overlap`.
    ///
    /// # Errors
    /// [`AdminError`].
    fn rotate_key<'a>(
        &'a self,
        by: &'a Caller,
        id: &'a KeyId,
        overlap: Duration,
    ) -> BoxFuture<'a, Result<CreatedKey, AdminError>>;

    /// The secrets of the caller's tenant, in name order, without their values.
    ///
    /// # Errors
    /// [`AdminError`].
    fn secrets<'a>(&'a self, by: &'a Caller)
    -> BoxFuture<'a, Result<Vec<SecretEntry>, AdminError>>;

    /// Sets a secret of the caller's tenant.
    ///
    /// # Errors
    /// [`AdminError`].
    fn set_secret<'a>(
        &'a self,
        by: &'a Caller,
        name: SecretName,
        value: Secret,
    ) -> BoxFuture<'a, Result<SecretEntry, AdminError>>;

    /// Forgets a secret of the caller's tenant.
    ///
    /// # Errors
    /// [`AdminError`].
    fn delete_secret<'a>(
        &'a self,
        by: &'a Caller,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<(), AdminError>>;
}

//! What the nodes of a zone have alike: tenants, keys and secrets, as one document that each node makes of what
//! it has and merges with what the others have.
//!
//! | | of two, holds |
//! |---|---|
//! | tenant, secret | the later of being set and being deleted |
//! | key | revoked if one is, and the earlier end; what else it says never changes |
//!
//! Keys travel as hashes. Secrets travel as they lie on the disk: encrypted with the operator's key of the
//! secrets, which is not in the data directory and never travels, so that nodes read each other's secrets only when
//! their operator gave them the same key.
//!
//! Times order what concerns one tenant or secret; a node that changes something it knows of makes its time later
//! than what it knows, so that a clock that is behind loses nothing.
//!
//! What bounds it: the bounds of a host's tenants and keys, 8 MiB of secrets; deletions are remembered for 30 days. A node
//! that was away for longer brings back what was deleted meanwhile.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::SystemTime;

use aop_core::audit::Action;
use aop_core::{
    AuditEvent, KeyRecord, SealedSecret, SecretEntry, SecretName, StoreError, Tenant, TenantName,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::access::{Access, unix_ms};
use crate::admin::{INVALID_KEPT_MS, KEYS_MAX, SECRETS_PER_TENANT_MAX, TENANTS_MAX};
use crate::departures::Departed;

/// The version of the document.
const FORMAT: u32 = 1;
/// What the secrets in it may have together, sealed. With more none travels, so that nobody's secrets keep the
/// revocation of a key from the other nodes; a zone's document has 32 MiB at the most.
const SECRETS_MAX_BYTES: usize = 8 << 20;

/// See the module's documentation.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    format: u32,
    tenants: Vec<Tenant>,
    keys: Vec<KeyRecord>,
    secrets: Vec<SharedSecret>,
    departed: Vec<Departed>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SharedSecret {
    tenant: TenantName,
    name: SecretName,
    updated_unix_ms: u64,
    /// In Base64.
    sealed: String,
}

impl Access {
    /// This host is a node of a zone: from now on it remembers what was deleted, in `file`, so that others learn of
    /// it. Ends deletions that a crash interrupted.
    pub async fn share(&self, file: PathBuf) {
        self.inner.departures.remember_in(file);
        let _changing = self.inner.changing.lock().await;
        if let Err(error) = self.let_go(Vec::new()).await {
            // With the next document of another node it is tried again.
            tracing::warn!(%error, "what was deleted in the zone is not gone here yet");
        }
        self.inner.changed();
    }

    /// Differs whenever [`shared`](Self::shared) does.
    #[must_use]
    pub fn shared_version(&self) -> u64 {
        self.inner.version.load(std::sync::atomic::Ordering::Acquire)
    }

    /// What this host has, for the other nodes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn shared(&self) -> Result<Vec<u8>, StoreError> {
        let _changing = self.inner.changing.lock().await;
        let now = unix_ms(SystemTime::now());
        let mut tenants = self.inner.store.tenants().await?;
        for tenant in &mut tenants {
            // They exist by themselves, at every node since another time.
            if self.is_fixed(&tenant.name) {
                tenant.created_unix_ms = 0;
            }
        }
        let mut keys = self.inner.store.keys().await?;
        keys.retain(|record| !is_long_invalid(record, now));
        // When a key was used is each node's own business.
        keys.iter_mut().for_each(|record| record.key.last_used_unix_ms = None);
        let mut secrets = self.inner.store.secrets(None).await?;
        let bytes: usize = secrets.iter().map(|secret| secret.sealed.len()).sum();
        if bytes > SECRETS_MAX_BYTES {
            tracing::error!(
                bytes,
                max = SECRETS_MAX_BYTES,
                "the secrets are too large together to reach the other nodes: make them smaller or fewer"
            );
            secrets.clear();
        }
        let secrets = secrets.into_iter().map(|secret| SharedSecret {
            tenant: secret.tenant,
            name: secret.entry.name,
            updated_unix_ms: secret.entry.updated_unix_ms,
            sealed: STANDARD.encode(secret.sealed),
        });
        let document = Document {
            format: FORMAT,
            tenants,
            keys,
            secrets: secrets.collect(),
            departed: self.inner.departures.all(now),
        };
        serde_json::to_vec(&document).map_err(|error| StoreError::Failed(error.to_string()))
    }

    /// Takes in what another node has.
    ///
    /// # Errors
    /// Why the document makes no sense, or could not be kept.
    pub async fn merge_shared(&self, document: &[u8]) -> Result<(), String> {
        let document: Document =
            serde_json::from_slice(document).map_err(|error| error.to_string())?;
        if document.format != FORMAT {
            return Err(format!("it has the format {}", document.format));
        }
        let _changing = self.inner.changing.lock().await;
        let merged = self.merge(document).await;
        merged.map_err(|error| error.to_string())
    }

    async fn merge(&self, document: Document) -> Result<(), StoreError> {
        let now = unix_ms(SystemTime::now());
        let news = self.inner.departures.news(&document.departed, now);
        // What ends a key waits for nothing; new ones follow below, when their tenants are the right ones.
        let mut is_changed = self.merge_keys(document.keys.clone(), now, &|_| false).await?;
        is_changed |= !news.is_empty();
        let let_go = self.let_go(news).await;
        is_changed |= self.merge_tenants(document.tenants).await?;
        // What belongs to the next tenant of a name would be in the hands of the one that could not be removed yet.
        let pending = self.pending().await?;
        let takes = |tenant: &TenantName| !pending.contains(tenant);
        is_changed |= self.merge_keys(document.keys, now, &takes).await?;
        is_changed |= self.merge_secrets(document.secrets, &takes).await?;
        if is_changed {
            self.inner.changed();
        }
        let_go
    }

    /// Remembers what was deleted elsewhere, and removes whatever of all that was deleted is still here: a removal
    /// that failed is tried again, and does not hold up others.
    async fn let_go(&self, departed: Vec<Departed>) -> Result<(), StoreError> {
        if !departed.is_empty() {
            let noted = self.inner.departures.note(&departed);
            noted.map_err(|error| StoreError::Failed(error.to_string()))?;
        }
        let all = self.inner.departures.all(unix_ms(SystemTime::now()));
        if all.is_empty() {
            return Ok(());
        }
        let tenants = self.inner.store.tenants().await?;
        let secrets = self.inner.store.secrets(None).await?;
        let mut ended = Ok(());
        let mut told = Told::new(self);
        for gone in all {
            let removed = match &gone.secret {
                None => {
                    let is_older = |tenant: &&Tenant| {
                        tenant.name == gone.tenant && tenant.created_unix_ms <= gone.at_unix_ms
                    };
                    let found = tenants.iter().find(is_older);
                    let Some(tenant) = found.filter(|_| !self.is_fixed(&gone.tenant)) else {
                        continue;
                    };
                    tracing::info!(tenant = %gone.tenant, "a tenant was deleted on another node");
                    let removed = self.forget_tenant(tenant).await;
                    if removed.is_ok() {
                        told.note(Action::TenantDelete, &gone.tenant, &gone.tenant);
                    }
                    removed.map_err(StoreError::Failed)
                }
                Some(name) => {
                    let is_older = |secret: &SealedSecret| {
                        secret.tenant == gone.tenant
                            && secret.entry.name == *name
                            && secret.entry.updated_unix_ms <= gone.at_unix_ms
                    };
                    if !secrets.iter().any(is_older) {
                        continue;
                    }
                    let removed = self.inner.store.remove_secret(&gone.tenant, name).await;
                    if removed.is_ok() {
                        told.note(Action::SecretDelete, &gone.tenant, name.as_str());
                    }
                    removed.map(drop)
                }
            };
            ended = ended.and(removed);
        }
        ended
    }

    /// The tenants that were deleted and whose removal here failed: it is tried again.
    async fn pending(&self) -> Result<HashSet<TenantName>, StoreError> {
        let stored = self.inner.store.tenants().await?;
        let pending = stored.into_iter().filter(|tenant| self.is_pending(tenant));
        Ok(pending.map(|tenant| tenant.name).collect())
    }

    fn is_pending(&self, tenant: &Tenant) -> bool {
        let at = self.inner.departures.at(&tenant.name, None);
        !self.is_fixed(&tenant.name) && at.is_some_and(|at| tenant.created_unix_ms <= at)
    }

    /// Whether a tenant exists on this host whatever anybody says.
    fn is_fixed(&self, tenant: &TenantName) -> bool {
        *tenant == TenantName::default_tenant() || self.inner.configured.contains(tenant)
    }

    async fn merge_tenants(&self, tenants: Vec<Tenant>) -> Result<bool, StoreError> {
        let (mut is_changed, mut told) = (false, Told::new(self));
        let stored = self.inner.store.tenants().await?;
        let stored: HashMap<_, _> =
            stored.into_iter().map(|tenant| (tenant.name.clone(), tenant)).collect();
        for tenant in tenants {
            let known = self.inner.tenants.load_full();
            let ours = stored.get(&tenant.name);
            if ours.is_some_and(|ours| self.is_pending(ours)) {
                continue;
            }
            if ours.is_some_and(|ours| ours.created_unix_ms < tenant.created_unix_ms)
                && !self.is_fixed(&tenant.name)
            {
                // What was deleted in between must not take it along.
                self.inner.store.renew_tenant(tenant.clone()).await?;
                self.begin_tenant(&tenant);
                is_changed = true;
            }
            let is_gone = self
                .inner
                .departures
                .at(&tenant.name, None)
                .is_some_and(|at| tenant.created_unix_ms <= at);
            // One that is known and not kept is what a removal left that ended halfway.
            if (known.contains_key(&tenant.name) && ours.is_some()) || is_gone {
                continue;
            }
            if known.len() >= TENANTS_MAX {
                tracing::error!(tenant = %tenant.name, "the zone has more tenants than a host keeps");
                continue;
            }
            let name = tenant.name.clone();
            match self.inner.store.add_tenant(tenant.clone()).await {
                Ok(()) => told.note(Action::TenantCreate, &name, &name),
                // It was kept before, and not there yet.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
            self.begin_tenant(&tenant);
            is_changed = true;
        }
        Ok(is_changed)
    }

    /// `takes` says whose new keys are taken in.
    async fn merge_keys(
        &self,
        keys: Vec<KeyRecord>,
        now: u64,
        takes: &(dyn Fn(&TenantName) -> bool + Sync),
    ) -> Result<bool, StoreError> {
        let tenants = self.inner.tenants.load_full();
        let mut room = KEYS_MAX.saturating_sub(self.inner.keys.len());
        let (mut changed, mut changes) = (Vec::new(), Vec::new());
        for theirs in keys {
            // One of a tenant that was deleted is none of the tenant that has its name now.
            let gone = self.inner.departures.at(&theirs.key.tenant, None);
            if is_long_invalid(&theirs, now)
                || !tenants.contains_key(&theirs.key.tenant)
                || gone.is_some_and(|at| theirs.key.created_unix_ms <= at)
            {
                continue;
            }
            match self.inner.keys.get(&theirs.key.id) {
                None if !takes(&theirs.key.tenant) => {}
                None if room == 0 => {
                    tracing::error!(key = %theirs.key.id, "the zone has more keys than a host keeps");
                }
                None => {
                    room -= 1;
                    let (tenant, id) = (theirs.key.tenant.clone(), theirs.key.id.clone());
                    changes.push((Action::KeyCreate, tenant, id));
                    changed.push(theirs);
                }
                // One id is never given twice; whoever says so is not believed.
                Some(ours) if ours.hash != theirs.hash => {}
                Some(ours) => {
                    let merged = merged(&ours, &theirs);
                    if merged != ours {
                        let is_revoked = merged.key.revoked_unix_ms != ours.key.revoked_unix_ms;
                        // Only a rotation gives a key an earlier end.
                        let action = if is_revoked { Action::KeyRevoke } else { Action::KeyRotate };
                        let key = &merged.key;
                        changes.push((action, key.tenant.clone(), key.id.clone()));
                        changed.push(merged);
                    }
                }
            }
        }
        if changed.is_empty() {
            return Ok(false);
        }
        self.inner.store.put_keys(changed.clone()).await?;
        self.inner.keys.put(&changed);
        self.inner.close();
        let mut told = Told::new(self);
        for (action, tenant, id) in changes {
            told.note(action, &tenant, id.as_str());
        }
        Ok(true)
    }

    async fn merge_secrets(
        &self,
        secrets: Vec<SharedSecret>,
        takes: &(dyn Fn(&TenantName) -> bool + Sync),
    ) -> Result<bool, StoreError> {
        let tenants = self.inner.tenants.load_full();
        let known = self.inner.store.secrets(None).await?;
        let mut changed = Vec::new();
        for theirs in secrets {
            let Ok(sealed) = STANDARD.decode(&theirs.sealed) else { continue };
            let departures = &self.inner.departures;
            let gone = departures.at(&theirs.tenant, Some(&theirs.name));
            let gone = gone.max(departures.at(&theirs.tenant, None));
            if gone.is_some_and(|at| theirs.updated_unix_ms <= at)
                || !tenants.contains_key(&theirs.tenant)
                || !takes(&theirs.tenant)
            {
                continue;
            }
            let entry = SecretEntry { name: theirs.name, updated_unix_ms: theirs.updated_unix_ms };
            let theirs = SealedSecret { tenant: theirs.tenant, entry, sealed };
            let of_tenant = known.iter().filter(|secret| secret.tenant == theirs.tenant);
            let ours = of_tenant.clone().find(|secret| secret.entry.name == theirs.entry.name);
            let is_new = match ours {
                None => of_tenant.count() < SECRETS_PER_TENANT_MAX,
                Some(ours) => self.replaces(&theirs, ours),
            };
            if is_new {
                changed.push(theirs);
            }
        }
        if changed.is_empty() {
            return Ok(false);
        }
        let of = changed
            .iter()
            .map(|secret: &SealedSecret| (secret.tenant.clone(), secret.entry.name.clone()));
        let of: Vec<_> = of.collect();
        self.inner.store.put_secrets(changed).await?;
        let mut told = Told::new(self);
        for (tenant, name) in of {
            told.note(Action::SecretSet, &tenant, name.as_str());
        }
        Ok(true)
    }

    /// Whether another node's value of a secret is to be kept here. Of one value, encrypted with two keys, the one
    /// with this host's newest key stays.
    fn replaces(&self, theirs: &SealedSecret, ours: &SealedSecret) -> bool {
        let is_current = |secret: &SealedSecret| {
            self.inner.vault.as_ref().is_some_and(|vault| vault.is_current(&secret.sealed))
        };
        let rank = |secret: &SealedSecret| (secret.entry.updated_unix_ms, is_current(secret));
        (rank(theirs), &theirs.sealed) > (rank(ours), &ours.sealed)
    }
}

/// Changes that are written down one by one when another node tells of them. A node that joins may be told of all
/// that a zone has, which the log's queue would not hold.
const NOTED_MAX: u32 = 256;

/// Writes down what changed here because another node said so.
struct Told<'a> {
    access: &'a Access,
    noted: u32,
    /// What was not written down one by one.
    more: Vec<(Action, u32)>,
}

impl<'a> Told<'a> {
    const fn new(access: &'a Access) -> Self {
        Self { access, noted: 0, more: Vec::new() }
    }

    fn note(&mut self, action: Action, tenant: &TenantName, subject: &str) {
        if self.noted == NOTED_MAX {
            match self.more.iter_mut().find(|(of, _)| *of == action) {
                Some((_, count)) => *count += 1,
                None => self.more.push((action, 1)),
            }
            return;
        }
        self.noted += 1;
        self.access.inner.audit.note(AuditEvent {
            tenant: Some(tenant),
            detail: "as the zone has it",
            ..AuditEvent::of_host(action, subject)
        });
    }
}

impl Drop for Told<'_> {
    /// What was not written down by name is counted.
    fn drop(&mut self) {
        for (action, more) in &self.more {
            let detail = format!("as the zone has it: {more} more changes like it");
            let event = AuditEvent { detail: &detail, ..AuditEvent::of_host(*action, "") };
            self.access.inner.audit.note(event);
        }
    }
}

/// What two nodes know of one key.
fn merged(ours: &KeyRecord, theirs: &KeyRecord) -> KeyRecord {
    let earlier = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let mut merged = ours.clone();
    merged.key.revoked_unix_ms = earlier(ours.key.revoked_unix_ms, theirs.key.revoked_unix_ms);
    merged.key.expires_unix_ms = earlier(ours.key.expires_unix_ms, theirs.key.expires_unix_ms);
    merged
}

/// Whether a key is about to be forgotten anyway.
fn is_long_invalid(record: &KeyRecord, now: u64) -> bool {
    let ended = record.key.revoked_unix_ms.or(record.key.expires_unix_ms);
    !record.key.is_valid(now)
        && ended.is_some_and(|ended| ended.saturating_add(INVALID_KEPT_MS) <= now)
}

#[cfg(test)]
mod tests;

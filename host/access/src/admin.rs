//! Managing tenants, keys and secrets: the rules between the admin API and the store.
//!
//! Whoever may manage keys hands out no scope that they have not themselves. Everything that changes passes
//! [`Access::whole`]: it happens to its end once it began, and is noted however it ends. The caller's connection may close at
//! any time, and half a change is worse than either. It begins with the lock of changes ([`Access::begin`]), behind which the
//! caller's word is looked at once more: what was revoked while a request was on its way changes nothing.

mod change;
mod secrets;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aop_core::audit::Action;
use aop_core::{
    Admin, AdminError, ApiKey, BoxFuture, Caller, CreatedKey, KeyId, KeyRecord, NewKey, Secret,
    SecretEntry, SecretName, Standing, StoreError, Tenant, TenantName,
};

use crate::access::{Access, unix_ms};
use crate::departures::Departed;
use crate::key::{self, generate};

/// Tenants of one host: each has tables of its own in memory.
pub(crate) const TENANTS_MAX: usize = 10_000;
/// Valid keys of one tenant.
const KEYS_PER_TENANT_MAX: usize = 1_000;
/// Keys of one tenant that are not valid any more and still listed: beyond, the oldest go early.
const INVALID_PER_TENANT_MAX: usize = 1_000;
/// Keys of the host: a table of this size is copied whenever one changes.
pub(crate) const KEYS_MAX: usize = 100_000;
/// Longest name of a key.
const KEY_NAME_CHARS_MAX: usize = 128;
/// The longest that a key may be valid: ten years. One that shall live longer gets no end.
const EXPIRY_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
/// The longest that a replaced key stays valid.
const OVERLAP_MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// How long a key that is not valid any more is listed.
pub(crate) const INVALID_KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// Secrets of one tenant.
pub(crate) const SECRETS_PER_TENANT_MAX: usize = 1_000;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Access {
    async fn add_tenant(&self, by: &Caller, name: TenantName) -> Result<Tenant, AdminError> {
        let _changing = self.begin().await?;
        let tenants = self.inner.tenants.load_full();
        if tenants.len() >= TENANTS_MAX {
            return Err(AdminError::Conflict(format!(
                "the host has {TENANTS_MAX} tenants, which is the most: delete one first"
            )));
        }
        let created_unix_ms = self.later_than_gone(&name, None);
        let tenant = Tenant { name: name.clone(), created_unix_ms };
        self.inner.store.add_tenant(tenant.clone()).await.map_err(|error| match error {
            StoreError::Conflict => {
                AdminError::Conflict(format!("the tenant `{name}` exists already"))
            }
            other => other.into(),
        })?;
        self.begin_tenant(&tenant);
        self.inner.changed();
        self.note(by, Action::TenantCreate, &name, &name);
        Ok(tenant)
    }

    /// A tenant that is stored exists from now on. Whoever calls this holds the lock of changes.
    pub(crate) fn begin_tenant(&self, tenant: &Tenant) {
        let mut changed = (*self.inner.tenants.load_full()).clone();
        // Before anyone can act for it.
        self.tell_begin(tenant);
        changed.insert(tenant.name.clone(), tenant.created_unix_ms);
        self.inner.tenants.store(changed.into());
    }

    /// Tells whoever keeps something of tenants: what lets go last begins first, since the others use it.
    pub(crate) fn tell_begin(&self, tenant: &Tenant) {
        self.inner.tenancies.iter().rev().for_each(|tenancy| tenancy.begin(tenant));
    }

    /// Now, or later when the zone knows that a tenant or secret of this name was deleted later than now: a
    /// clock that is behind must not undo what is done now.
    fn later_than_gone(&self, tenant: &TenantName, secret: Option<&SecretName>) -> u64 {
        let gone = self.inner.departures.at(tenant, secret);
        let gone = gone.max(self.inner.departures.at(tenant, None));
        unix_ms(SystemTime::now()).max(gone.map_or(0, |at| at.saturating_add(1)))
    }

    /// Remembers for the zone, when there is one, that something is being deleted.
    fn note_gone(
        &self,
        tenant: &TenantName,
        secret: Option<&SecretName>,
        at_unix_ms: u64,
    ) -> Result<(), AdminError> {
        let gone = Departed { tenant: tenant.clone(), secret: secret.cloned(), at_unix_ms };
        let noted = self.inner.departures.note(&[gone]);
        noted.map_err(|error| {
            AdminError::Failed(format!(
                "the other nodes of the zone could not learn of it, so nothing was deleted: {error}"
            ))
        })
    }

    async fn remove_tenant(&self, by: &Caller, name: &TenantName) -> Result<(), AdminError> {
        if *name == TenantName::default_tenant() {
            let reason =
                "the tenant `default` cannot be deleted: it is whose agents the directories hold";
            return Err(AdminError::Conflict(reason.to_owned()));
        }
        if self.inner.configured.contains(name) {
            return Err(AdminError::Conflict(format!(
                "the configuration names the tenant `{name}`: take `[tenants.{name}]` out of aop.toml and start the host again first"
            )));
        }
        let _changing = self.begin().await?;
        let tenants = self.inner.tenants.load_full();
        if !tenants.contains_key(name) {
            return Err(no_tenant(name));
        }
        let stored = self.inner.store.tenants().await?;
        // One whose removal ended halfway is not there any more, and may be elsewhere.
        let gone = Tenant { name: name.clone(), created_unix_ms: unix_ms(SystemTime::now()) };
        let tenant = stored.into_iter().find(|tenant| tenant.name == *name).unwrap_or(gone);
        self.note_gone(name, None, unix_ms(SystemTime::now()).max(tenant.created_unix_ms))?;
        self.forget_tenant(&tenant).await.map_err(|reason| {
            AdminError::Failed(format!(
                "the tenant `{name}` could not be removed whole: {reason}. Delete it again"
            ))
        })?;
        self.inner.changed();
        self.note(by, Action::TenantDelete, name, name);
        Ok(())
    }

    /// Removes everything of a tenant. Whoever calls this holds the lock of changes.
    pub(crate) async fn forget_tenant(&self, tenant: &Tenant) -> Result<(), String> {
        let (tenants, name) = (self.inner.tenants.load_full(), &tenant.name);
        // First nobody can act for it any more, then what it has goes, then that it existed.
        let mut changed = (*tenants).clone();
        changed.remove(name);
        self.inner.tenants.store(changed.into());
        self.inner.keys.retain(|key| key.tenant != *name);
        // In order, and no further than what succeeds: what is used is not removed.
        let mut ended = Ok(());
        for tenancy in &self.inner.tenancies {
            ended = tenancy.end(tenant).await;
            if ended.is_err() {
                break;
            }
        }
        let removed = match ended {
            Ok(()) => self.inner.store.remove_tenant(name).await.map_err(|error| error.to_string()),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = removed {
            // Its keys stay worthless until the next start; so much is safe, and it can be deleted again.
            self.inner.tenants.store(tenants);
            return Err(reason);
        }
        Ok(())
    }

    fn check_new(&self, by: &Caller, new: &NewKey) -> Result<Option<u64>, AdminError> {
        let invalid = |message: String| Err(AdminError::Invalid(message));
        let name = new.name.trim();
        if name.is_empty()
            || name.chars().count() > KEY_NAME_CHARS_MAX
            || name.contains(char::is_control)
        {
            return invalid(format!(
                "a key's name has 1 to {KEY_NAME_CHARS_MAX} characters and no control characters"
            ));
        }
        if new.scopes.is_empty() {
            return invalid(
                "a key without scopes may do nothing: name at least one, such as tools:call"
                    .to_owned(),
            );
        }
        if !new.scopes.within(by.scopes) {
            return Err(AdminError::Forbidden(format!(
                "nobody hands out more than they have: your scopes are {}",
                by.scopes
            )));
        }
        let expiry = new.expires_in_seconds.map(Duration::from_secs);
        match expiry {
            Some(expiry) if expiry.is_zero() || expiry > EXPIRY_MAX => {
                invalid("a key expires after 1 second to 3660 days, or never".to_owned())
            }
            expiry => {
                Ok(expiry.map(|expiry| unix_ms(SystemTime::now()).saturating_add(millis(expiry))))
            }
        }
    }

    /// Makes room for one key. Invalid ones do not stand in its way: those that are so for long go, and the oldest of
    /// them when there are too many, of this tenant or of the host. In a zone, one that was revoked stays for its time: a node that did not hear of
    /// it would bring it back as valid. Whoever calls this holds the lock of changes.
    async fn make_room(&self, tenant: &TenantName) -> Result<(), AdminError> {
        let now = unix_ms(SystemTime::now());
        let keys = self.inner.keys.of(tenant);
        let valid = keys.iter().filter(|key| key.is_valid(now)).count();
        if valid >= KEYS_PER_TENANT_MAX {
            return Err(AdminError::Conflict(format!(
                "the tenant has {valid} valid keys, which is the most: revoke one first"
            )));
        }
        let is_shared = self.inner.departures.are_shared();
        let may_go = |key: &ApiKey| !is_shared || key.has_expired(now);
        let (old, mut invalid): (Vec<_>, Vec<_>) = keys
            .iter()
            .filter(|key| !key.is_valid(now))
            .partition(|key| key.ended().1.saturating_add(INVALID_KEPT_MS) <= now);
        invalid.sort_by_key(|key| key.ended());
        let surplus = invalid.len().saturating_sub(INVALID_PER_TENANT_MAX);
        let early = invalid.iter().copied().filter(|key| may_go(key)).take(surplus);
        let mut gone: HashSet<_> = old.into_iter().chain(early).map(|key| key.id.clone()).collect();
        if invalid.len() - gone.len().min(invalid.len()) > INVALID_PER_TENANT_MAX {
            return Err(AdminError::Conflict(format!(
                "more than {INVALID_PER_TENANT_MAX} keys of the tenant were revoked within 30 days, which all nodes of the zone have to remember: let keys expire instead (`--expires`), or wait"
            )));
        }
        if gone.is_empty() && self.inner.keys.len() >= KEYS_MAX {
            gone.extend(self.inner.keys.oldest(now, &may_go));
            if gone.is_empty() {
                return Err(AdminError::Conflict(format!(
                    "the host has {KEYS_MAX} keys, which is the most: revoke some, or wait until those that were revoked are forgotten, after 30 days"
                )));
            }
        }
        if !gone.is_empty() {
            self.inner.store.remove_keys(gone.iter().cloned().collect()).await?;
            self.inner.keys.retain(|key| !gone.contains(&key.id));
        }
        Ok(())
    }

    async fn put_keys(&self, records: Vec<KeyRecord>) -> Result<(), AdminError> {
        self.inner.store.put_keys(records.clone()).await.map_err(|error| match error {
            StoreError::Missing => AdminError::NotFound("the tenant is gone".to_owned()),
            other => other.into(),
        })?;
        self.inner.keys.put(&records);
        self.inner.close();
        self.inner.changed();
        Ok(())
    }

    async fn add_key(&self, by: &Caller, new: NewKey) -> Result<CreatedKey, AdminError> {
        let expires_unix_ms = self.check_new(by, &new)?;
        let _changing = self.begin().await?;
        self.make_room(&by.tenant).await?;
        let (id, text) = generate();
        let key = ApiKey {
            id: id.clone(),
            tenant: by.tenant.clone(),
            subject: id,
            name: new.name.trim().to_owned(),
            scopes: new.scopes,
            created_unix_ms: self.later_than_gone(&by.tenant, None),
            expires_unix_ms,
            revoked_unix_ms: None,
            last_used_unix_ms: None,
        };
        let hash = key::hash(text.expose()).into();
        self.put_keys(vec![KeyRecord { key: key.clone(), hash }]).await?;
        self.note(by, Action::KeyCreate, &key.tenant, key.id.as_str());
        Ok(CreatedKey { key, text })
    }

    /// A key of the caller's tenant. Another's does not exist.
    fn key_of(&self, by: &Caller, id: &KeyId) -> Result<KeyRecord, AdminError> {
        let found = self.inner.keys.get(id).filter(|record| record.key.tenant == by.tenant);
        found.ok_or_else(|| AdminError::NotFound(format!("no key `{id}`: see `aop key list`")))
    }

    async fn end_key(&self, by: &Caller, id: &KeyId) -> Result<ApiKey, AdminError> {
        let _changing = self.begin().await?;
        let mut found = self.key_of(by, id)?;
        if !found.key.scopes.within(by.scopes) {
            return Err(beyond(by));
        }
        if found.key.revoked_unix_ms.is_none() {
            found.key.revoked_unix_ms = Some(unix_ms(SystemTime::now()));
            self.put_keys(vec![found.clone()]).await?;
            self.note(by, Action::KeyRevoke, &found.key.tenant, id.as_str());
        }
        Ok(found.key)
    }

    async fn replace_key(
        &self,
        by: &Caller,
        id: &KeyId,
        overlap: Duration,
    ) -> Result<CreatedKey, AdminError> {
        if overlap > OVERLAP_MAX {
            return Err(AdminError::Invalid(
                "a replaced key stays valid for 90 days at most".to_owned(),
            ));
        }
        let _changing = self.begin().await?;
        let mut old = self.key_of(by, id)?;
        let now = unix_ms(SystemTime::now());
        if !old.key.is_valid(now) {
            return Err(AdminError::Conflict(format!(
                "the key `{id}` is not valid any more: create a new one"
            )));
        }
        if !old.key.scopes.within(by.scopes) {
            return Err(beyond(by));
        }
        self.make_room(&by.tenant).await?;
        let (new_id, text) = generate();
        // A key that had an end lives as long again.
        let lifetime =
            old.key.expires_unix_ms.map(|end| end.saturating_sub(old.key.created_unix_ms));
        let key = ApiKey {
            id: new_id,
            created_unix_ms: self.later_than_gone(&old.key.tenant, None),
            expires_unix_ms: lifetime.map(|lifetime| now.saturating_add(lifetime)),
            last_used_unix_ms: None,
            ..old.key.clone()
        };
        let until = now.saturating_add(millis(overlap));
        old.key.expires_unix_ms = Some(old.key.expires_unix_ms.map_or(until, |end| end.min(until)));
        let hash = key::hash(text.expose()).into();
        self.put_keys(vec![old, KeyRecord { key: key.clone(), hash }]).await?;
        self.note(by, Action::KeyRotate, &key.tenant, id.as_str());
        Ok(CreatedKey { key, text })
    }
}

/// Whoever could end or replace a key that may do more than they would lock out those who manage them.
fn beyond(by: &Caller) -> AdminError {
    AdminError::Forbidden(format!("the key has scopes that you have not: yours are {}", by.scopes))
}

fn no_tenant(name: &TenantName) -> AdminError {
    AdminError::NotFound(format!("no tenant `{name}`: see `aop tenant list`"))
}

impl Admin for Access {
    fn under(self: Arc<Self>, standing: Standing) -> Arc<dyn Admin> {
        Arc::new(Self { inner: self.inner.clone(), standing: Some(standing) })
    }

    fn tenants(&self) -> BoxFuture<'_, Result<Vec<Tenant>, AdminError>> {
        Box::pin(async { Ok(self.inner.store.tenants().await?) })
    }

    fn create_tenant<'a>(
        &'a self,
        by: &'a Caller,
        name: TenantName,
    ) -> BoxFuture<'a, Result<Tenant, AdminError>> {
        let what = name.clone();
        self.whole(by, (Action::TenantCreate, &what, &what), |access, by| async move {
            access.add_tenant(&by, name).await
        })
    }

    fn delete_tenant<'a>(
        &'a self,
        by: &'a Caller,
        name: &'a TenantName,
    ) -> BoxFuture<'a, Result<(), AdminError>> {
        let of = name.clone();
        self.whole(by, (Action::TenantDelete, name, name), |access, by| async move {
            access.remove_tenant(&by, &of).await
        })
    }

    fn keys<'a>(&'a self, by: &'a Caller) -> BoxFuture<'a, Result<Vec<ApiKey>, AdminError>> {
        Box::pin(async { Ok(self.inner.keys.of(&by.tenant)) })
    }

    fn create_key<'a>(
        &'a self,
        by: &'a Caller,
        new: NewKey,
    ) -> BoxFuture<'a, Result<CreatedKey, AdminError>> {
        self.whole(by, (Action::KeyCreate, &by.tenant, ""), |access, by| async move {
            access.add_key(&by, new).await
        })
    }

    fn revoke_key<'a>(
        &'a self,
        by: &'a Caller,
        id: &'a KeyId,
    ) -> BoxFuture<'a, Result<ApiKey, AdminError>> {
        let of = id.clone();
        self.whole(by, (Action::KeyRevoke, &by.tenant, id.as_str()), |access, by| async move {
            access.end_key(&by, &of).await
        })
    }

    fn rotate_key<'a>(
        &'a self,
        by: &'a Caller,
        id: &'a KeyId,
        overlap: Duration,
    ) -> BoxFuture<'a, Result<CreatedKey, AdminError>> {
        let of = id.clone();
        self.whole(by, (Action::KeyRotate, &by.tenant, id.as_str()), move |access, by| async move {
            access.replace_key(&by, &of, overlap).await
        })
    }

    fn secrets<'a>(
        &'a self,
        by: &'a Caller,
    ) -> BoxFuture<'a, Result<Vec<SecretEntry>, AdminError>> {
        Box::pin(async {
            let secrets = self.inner.store.secrets(Some(&by.tenant)).await?;
            Ok(secrets.into_iter().map(|secret| secret.entry).collect())
        })
    }

    fn set_secret<'a>(
        &'a self,
        by: &'a Caller,
        name: SecretName,
        value: Secret,
    ) -> BoxFuture<'a, Result<SecretEntry, AdminError>> {
        let of = name.clone();
        self.whole(by, (Action::SecretSet, &by.tenant, name.as_str()), |access, by| async move {
            access.put_secret(&by, of, value).await
        })
    }

    fn delete_secret<'a>(
        &'a self,
        by: &'a Caller,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<(), AdminError>> {
        let of = name.clone();
        self.whole(by, (Action::SecretDelete, &by.tenant, name.as_str()), |access, by| async move {
            access.remove_secret(&by, &of).await
        })
    }
}

#[cfg(test)]
mod tests;

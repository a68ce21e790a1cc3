//! Secrets of a tenant: sealed before they reach the store, never shown.

use std::time::SystemTime;

use aop_core::audit::Action;
use aop_core::{AdminError, Caller, SealedSecret, Secret, SecretEntry, SecretName, StoreError};

use super::SECRETS_PER_TENANT_MAX;
use crate::access::{Access, unix_ms};

impl Access {
    pub(super) async fn put_secret(
        &self,
        by: &Caller,
        name: SecretName,
        value: Secret,
    ) -> Result<SecretEntry, AdminError> {
        let Some(vault) = &self.inner.vault else {
            return Err(AdminError::Conflict(
                "this host has no key to encrypt secrets with: make one with `openssl rand -hex 32 > FILE`, and name the file as `secrets_key_file` under `[access]` in aop.toml, or put it into AOP_SECRETS_KEY".to_owned(),
            ));
        };
        let length = value.expose().len();
        if length == 0 || length > Secret::LENGTH_MAX_BYTES {
            return Err(AdminError::Invalid(format!(
                "a secret has 1 to {} bytes, not {length}",
                Secret::LENGTH_MAX_BYTES
            )));
        }
        let _changing = self.begin().await?;
        let known = self.inner.store.secrets(Some(&by.tenant)).await?;
        let before = known.iter().find(|secret| secret.entry.name == name);
        let before = before.map(|secret| secret.entry.updated_unix_ms);
        if before.is_none() && known.len() >= SECRETS_PER_TENANT_MAX {
            return Err(AdminError::Conflict(format!(
                "the tenant has {SECRETS_PER_TENANT_MAX} secrets, which is the most: delete one first"
            )));
        }
        let updated_unix_ms = self
            .later_than_gone(&by.tenant, Some(&name))
            .max(before.map_or(0, |at| at.saturating_add(1)));
        let entry = SecretEntry { name, updated_unix_ms };
        let sealed = vault.seal(&by.tenant, &entry.name, &value);
        let secret = SealedSecret { tenant: by.tenant.clone(), entry: entry.clone(), sealed };
        self.inner.store.put_secrets(vec![secret]).await.map_err(|error| match error {
            StoreError::Missing => AdminError::NotFound("the tenant is gone".to_owned()),
            other => other.into(),
        })?;
        self.inner.changed();
        self.note(by, Action::SecretSet, &by.tenant, entry.name.as_str());
        Ok(entry)
    }

    pub(super) async fn remove_secret(
        &self,
        by: &Caller,
        name: &SecretName,
    ) -> Result<(), AdminError> {
        let _changing = self.begin().await?;
        let missing = || AdminError::NotFound(format!("no secret `{name}`: see `aop secret list`"));
        let known = self.inner.store.secret(&by.tenant, name).await?.ok_or_else(missing)?;
        let at = unix_ms(SystemTime::now()).max(known.entry.updated_unix_ms);
        self.note_gone(&by.tenant, Some(name), at)?;
        if !self.inner.store.remove_secret(&by.tenant, name).await? {
            return Err(missing());
        }
        self.inner.changed();
        self.note(by, Action::SecretDelete, &by.tenant, name.as_str());
        Ok(())
    }
}

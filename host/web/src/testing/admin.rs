//! A fake of what manages tenants, keys and secrets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aop_core::{
    Admin, AdminError, ApiKey, BoxFuture, Caller, CreatedKey, KeyId, NewKey, Secret, SecretEntry,
    SecretName, Standing, Tenant, TenantName,
};

/// Remembers tenants, keys and secrets for as long as a test takes.
#[derive(Default)]
pub(crate) struct FakeAdmin {
    tenants: Mutex<BTreeMap<TenantName, Tenant>>,
    keys: Mutex<Vec<ApiKey>>,
    secrets: Mutex<BTreeMap<(TenantName, SecretName), u64>>,
}

fn key_of(by: &Caller, number: usize, new: NewKey) -> ApiKey {
    let id =
        KeyId::new(&format!("aaaaaaaaaaa{}", char::from(b'a' + u8::try_from(number).unwrap())))
            .unwrap();
    ApiKey {
        id: id.clone(),
        tenant: by.tenant.clone(),
        subject: id,
        name: new.name,
        scopes: new.scopes,
        created_unix_ms: 1,
        expires_unix_ms: new.expires_in_seconds.map(|seconds| seconds * 1000),
        revoked_unix_ms: None,
        last_used_unix_ms: None,
    }
}

fn missing<T>(what: &str) -> Result<T, AdminError> {
    Err(AdminError::NotFound(format!("no such {what}")))
}

impl Admin for FakeAdmin {
    fn under(self: Arc<Self>, _: Standing) -> Arc<dyn Admin> {
        self
    }

    fn tenants(&self) -> BoxFuture<'_, Result<Vec<Tenant>, AdminError>> {
        Box::pin(async { Ok(self.tenants.lock().unwrap().values().cloned().collect()) })
    }

    fn create_tenant<'a>(
        &'a self,
        _: &'a Caller,
        name: TenantName,
    ) -> BoxFuture<'a, Result<Tenant, AdminError>> {
        Box::pin(async move {
            let tenant = Tenant { name: name.clone(), created_unix_ms: 1 };
            match self.tenants.lock().unwrap().insert(name, tenant.clone()) {
                None => Ok(tenant),
                Some(_) => Err(AdminError::Conflict("it exists".to_owned())),
            }
        })
    }

    fn delete_tenant<'a>(
        &'a self,
        _: &'a Caller,
        name: &'a TenantName,
    ) -> BoxFuture<'a, Result<(), AdminError>> {
        Box::pin(async move {
            let removed = self.tenants.lock().unwrap().remove(name);
            removed.map(|_| ()).map_or_else(|| missing("tenant"), Ok)
        })
    }

    fn keys<'a>(&'a self, by: &'a Caller) -> BoxFuture<'a, Result<Vec<ApiKey>, AdminError>> {
        Box::pin(async {
            let keys = self.keys.lock().unwrap();
            Ok(keys.iter().filter(|key| key.tenant == by.tenant).cloned().collect())
        })
    }

    fn create_key<'a>(
        &'a self,
        by: &'a Caller,
        new: NewKey,
    ) -> BoxFuture<'a, Result<CreatedKey, AdminError>> {
        Box::pin(async move {
            if !new.scopes.within(by.scopes) {
                return Err(AdminError::Forbidden("more than you have".to_owned()));
            }
            let mut keys = self.keys.lock().unwrap();
            let key = key_of(by, keys.len(), new);
            keys.push(key.clone());
            Ok(CreatedKey { key, text: Secret::new("aop_x_y".to_owned()) })
        })
    }

    fn revoke_key<'a>(
        &'a self,
        by: &'a Caller,
        id: &'a KeyId,
    ) -> BoxFuture<'a, Result<ApiKey, AdminError>> {
        Box::pin(async move {
            let mut keys = self.keys.lock().unwrap();
            let key = keys.iter_mut().find(|key| key.id == *id && key.tenant == by.tenant);
            let Some(key) = key else { return missing("key") };
            key.revoked_unix_ms = Some(2);
            Ok(key.clone())
        })
    }

    fn rotate_key<'a>(
        &'a self,
        by: &'a Caller,
        id: &'a KeyId,
        _: Duration,
    ) -> BoxFuture<'a, Result<CreatedKey, AdminError>> {
        Box::pin(async move {
            let keys = self.keys.lock().unwrap();
            let Some(old) = keys.iter().find(|key| key.id == *id) else { return missing("key") };
            let new =
                NewKey { name: old.name.clone(), scopes: old.scopes, expires_in_seconds: None };
            let key = key_of(by, keys.len(), new);
            Ok(CreatedKey { key, text: Secret::new("aop_x_z".to_owned()) })
        })
    }

    fn secrets<'a>(
        &'a self,
        by: &'a Caller,
    ) -> BoxFuture<'a, Result<Vec<SecretEntry>, AdminError>> {
        Box::pin(async {
            let secrets = self.secrets.lock().unwrap();
            let of_tenant = secrets.iter().filter(|((tenant, _), _)| *tenant == by.tenant);
            let entry = |((_, name), at): (&(TenantName, SecretName), &u64)| SecretEntry {
                name: name.clone(),
                updated_unix_ms: *at,
            };
            Ok(of_tenant.map(entry).collect())
        })
    }

    fn set_secret<'a>(
        &'a self,
        by: &'a Caller,
        name: SecretName,
        value: Secret,
    ) -> BoxFuture<'a, Result<SecretEntry, AdminError>> {
        Box::pin(async move {
            if value.expose().is_empty() {
                return Err(AdminError::Invalid("empty".to_owned()));
            }
            self.secrets.lock().unwrap().insert((by.tenant.clone(), name.clone()), 3);
            Ok(SecretEntry { name, updated_unix_ms: 3 })
        })
    }

    fn delete_secret<'a>(
        &'a self,
        by: &'a Caller,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<(), AdminError>> {
        Box::pin(async move {
            let removed = self.secrets.lock().unwrap().remove(&(by.tenant.clone(), name.clone()));
            removed.map(|_| ()).map_or_else(|| missing("secret"), Ok)
        })
    }
}

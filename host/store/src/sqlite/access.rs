//! Tenants, keys and secrets.
//!
//! What is deleted is overwritten in the file (`secure_delete`), and after a tenant went, the write-ahead log, where older
//! versions of its rows may be, is merged and cut off: a copy of the data directory then holds nothing of it.

use aop_core::{
    AccessStore, ApiKey, BoxFuture, KeyId, KeyRecord, SealedSecret, SecretEntry, SecretName,
    StoreError, Tenant, TenantName,
};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, params};

use super::SqliteStore;
use crate::error::failed;

impl AccessStore for SqliteStore {
    fn tenants(&self) -> BoxFuture<'_, Result<Vec<Tenant>, StoreError>> {
        Box::pin(self.readers.read(|connection| {
            let sql = "SELECT name, created_unix_ms FROM tenants ORDER BY name";
            all(connection, sql, [], |row| Ok((row.get::<_, String>(0)?, time(row.get(1)?))))?
                .into_iter()
                .map(|(name, created_unix_ms)| Ok(Tenant { name: tenant(&name)?, created_unix_ms }))
                .collect()
        }))
    }

    fn add_tenant(&self, tenant: Tenant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |connection| {
            let sql = "INSERT INTO tenants (name, created_unix_ms) VALUES (?1, ?2)";
            let created = milliseconds(tenant.created_unix_ms);
            match connection.execute(sql, params![tenant.name.as_str(), created]) {
                Err(error) if is_constraint(&error) => Err(StoreError::Conflict),
                done => done.map(|_| ()).map_err(|error| failed(&error)),
            }
        }))
    }

    fn renew_tenant(&self, tenant: Tenant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |connection| {
            let sql = "UPDATE tenants SET created_unix_ms = ?2 WHERE name = ?1";
            let created = milliseconds(tenant.created_unix_ms);
            let renewed = connection.execute(sql, params![tenant.name.as_str(), created]);
            renewed.map(|_| ()).map_err(|error| failed(&error))
        }))
    }

    fn remove_tenant<'a>(
        &'a self,
        tenant: &'a TenantName,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let tenant = tenant.clone();
        Box::pin(async move {
            let removed =
                self.writer.write(move |connection| remove_tenant(connection, &tenant)).await;
            match removed {
                // An earlier try removed it and could not cut off the log, which is what is left to do.
                Ok(()) | Err(StoreError::Missing) => self.writer.checkpoint().await,
                Err(error) => Err(error),
            }
        })
    }

    fn keys(&self) -> BoxFuture<'_, Result<Vec<KeyRecord>, StoreError>> {
        Box::pin(self.readers.read(|connection| {
            let sql =
                "SELECT id, tenant, subject, name, scopes, hash, created_unix_ms, expires_unix_ms,
                              revoked_unix_ms, last_used_unix_ms
                       FROM api_keys ORDER BY created_unix_ms, id";
            all(connection, sql, [], StoredKey::read)?.into_iter().map(StoredKey::decode).collect()
        }))
    }

    fn put_keys(&self, keys: Vec<KeyRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |connection| {
            keys.iter().try_for_each(|record| put_key(connection, record))
        }))
    }

    fn remove_keys(&self, keys: Vec<KeyId>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |connection| {
            keys.iter().try_for_each(|id| {
                let sql = "DELETE FROM api_keys WHERE id = ?1";
                run(connection, sql, [id.as_str()]).map(|_| ())
            })
        }))
    }

    fn note_used(&self, used: Vec<(KeyId, u64)>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |connection| {
            used.iter().try_for_each(|(id, at)| {
                let sql = "UPDATE api_keys SET last_used_unix_ms = ?2 WHERE id = ?1";
                run(connection, sql, params![id.as_str(), milliseconds(*at)]).map(|_| ())
            })
        }))
    }

    fn had_keys(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.readers.read(|connection| {
            let had = connection
                .query_row("SELECT EXISTS (SELECT 1 FROM had_keys)", [], |row| row.get(0));
            had.map_err(|error| failed(&error))
        }))
    }

    fn secrets<'a>(
        &'a self,
        tenant: Option<&'a TenantName>,
    ) -> BoxFuture<'a, Result<Vec<SealedSecret>, StoreError>> {
        let tenant = tenant.map(|tenant| tenant.as_str().to_owned());
        Box::pin(self.readers.read(move |connection| {
            let sql = "SELECT tenant, name, updated_unix_ms, sealed FROM secrets
                       WHERE ?1 IS NULL OR tenant = ?1 ORDER BY tenant, name";
            all(connection, sql, [tenant], StoredSecret::read)?
                .into_iter()
                .map(StoredSecret::decode)
                .collect()
        }))
    }

    fn secret<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<Option<SealedSecret>, StoreError>> {
        let (tenant, name) = (tenant.as_str().to_owned(), name.as_str().to_owned());
        Box::pin(self.readers.read(move |connection| {
            let sql = "SELECT tenant, name, updated_unix_ms, sealed FROM secrets WHERE tenant = ?1 AND name = ?2";
            let read = || {
                connection.prepare_cached(sql)?.query_row([tenant, name], StoredSecret::read).optional()
            };
            read().map_err(|error| failed(&error))?.map(StoredSecret::decode).transpose()
        }))
    }

    fn put_secrets(&self, secrets: Vec<SealedSecret>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.written_over(move |connection| {
            secrets.iter().try_for_each(|secret| {
                let sql = "INSERT INTO secrets (tenant, name, updated_unix_ms, sealed) VALUES (?1, ?2, ?3, ?4)
                           ON CONFLICT (tenant, name) DO UPDATE SET
                               updated_unix_ms = excluded.updated_unix_ms, sealed = excluded.sealed";
                let entry = &secret.entry;
                let updated = milliseconds(entry.updated_unix_ms);
                let values = params![secret.tenant.as_str(), entry.name.as_str(), updated, secret.sealed];
                owned(connection.execute(sql, values))
            })
        }))
    }

    fn remove_secret<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let (tenant, name) = (tenant.as_str().to_owned(), name.as_str().to_owned());
        Box::pin(self.written_over(move |connection| {
            let sql = "DELETE FROM secrets WHERE tenant = ?1 AND name = ?2";
            run(connection, sql, [tenant, name]).map(|rows| rows > 0)
        }))
    }
}

impl SqliteStore {
    /// A write after which what it replaces is in no file any more. When the log cannot be cut off, what was written stands all
    /// the same, and the next checkpoint does it: the older value is encrypted there, too.
    async fn written_over<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let written = self.writer.write(write).await?;
        let _ = self.writer.checkpoint().await;
        Ok(written)
    }
}

/// Everything of a tenant. What agents remember and revisions go with their owners.
fn remove_tenant(connection: &Connection, tenant: &TenantName) -> Result<(), StoreError> {
    const TABLES: [&str; 6] = ["owners", "agents", "spent_tokens", "tasks", "api_keys", "secrets"];
    for table in TABLES {
        run(connection, &format!("DELETE FROM {table} WHERE tenant = ?1"), [tenant.as_str()])?;
    }
    match run(connection, "DELETE FROM tenants WHERE name = ?1", [tenant.as_str()])? {
        0 => Err(StoreError::Missing),
        _ => Ok(()),
    }
}

fn put_key(connection: &Connection, record: &KeyRecord) -> Result<(), StoreError> {
    let key = &record.key;
    let scopes = serde_json::to_string(&key.scopes)
        .map_err(|error| StoreError::Failed(format!("a value cannot be stored: {error}")))?;
    let sql = "INSERT INTO api_keys (id, tenant, subject, name, scopes, hash, created_unix_ms,
                                     expires_unix_ms, revoked_unix_ms, last_used_unix_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
               ON CONFLICT (id) DO UPDATE SET
                   expires_unix_ms = excluded.expires_unix_ms, revoked_unix_ms = excluded.revoked_unix_ms";
    owned(connection.execute(
        sql,
        params![
            key.id.as_str(),
            key.tenant.as_str(),
            key.subject.as_str(),
            key.name,
            scopes,
            record.hash,
            milliseconds(key.created_unix_ms),
            key.expires_unix_ms.map(milliseconds),
            key.revoked_unix_ms.map(milliseconds),
            key.last_used_unix_ms.map(milliseconds),
        ],
    ))
}

struct StoredKey {
    texts: [String; 5],
    hash: [u8; 32],
    times: [Option<u64>; 4],
}

impl StoredKey {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let at = |index| row.get::<_, Option<i64>>(index).map(|at| at.map(time));
        Ok(Self {
            texts: [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?],
            hash: row.get(5)?,
            times: [at(6)?, at(7)?, at(8)?, at(9)?],
        })
    }

    fn decode(self) -> Result<KeyRecord, StoreError> {
        let [id, of_tenant, subject, name, scopes] = self.texts;
        let id_of = |text: &str| KeyId::new(text).map_err(|error| wrong(&error));
        let [created, expires_unix_ms, revoked_unix_ms, last_used_unix_ms] = self.times;
        let key = ApiKey {
            id: id_of(&id)?,
            tenant: tenant(&of_tenant)?,
            subject: id_of(&subject)?,
            name,
            scopes: serde_json::from_str(&scopes).map_err(|error| wrong(&error))?,
            created_unix_ms: created.unwrap_or(0),
            expires_unix_ms,
            revoked_unix_ms,
            last_used_unix_ms,
        };
        Ok(KeyRecord { key, hash: self.hash })
    }
}

struct StoredSecret {
    tenant: String,
    name: String,
    updated_unix_ms: u64,
    sealed: Vec<u8>,
}

impl StoredSecret {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let updated_unix_ms = time(row.get(2)?);
        Ok(Self { tenant: row.get(0)?, name: row.get(1)?, updated_unix_ms, sealed: row.get(3)? })
    }

    fn decode(self) -> Result<SealedSecret, StoreError> {
        let name = SecretName::new(&self.name).map_err(|error| wrong(&error))?;
        let entry = SecretEntry { name, updated_unix_ms: self.updated_unix_ms };
        Ok(SealedSecret { tenant: tenant(&self.tenant)?, entry, sealed: self.sealed })
    }
}

fn all<T, P: rusqlite::Params>(
    connection: &Connection,
    sql: &str,
    values: P,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let rows = || {
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map(values, read)?;
        rows.collect::<rusqlite::Result<Vec<T>>>()
    };
    rows().map_err(|error| failed(&error))
}

fn run<P: rusqlite::Params>(
    connection: &Connection,
    sql: &str,
    values: P,
) -> Result<usize, StoreError> {
    let done = || connection.prepare_cached(sql)?.execute(values);
    done().map_err(|error: rusqlite::Error| failed(&error))
}

/// A row whose tenant does not exist is refused by the foreign key.
fn owned(done: rusqlite::Result<usize>) -> Result<(), StoreError> {
    match done {
        Err(error) if is_constraint(&error) => Err(StoreError::Missing),
        done => done.map(|_| ()).map_err(|error| failed(&error)),
    }
}

fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

fn tenant(name: &str) -> Result<TenantName, StoreError> {
    TenantName::new(name).map_err(|error| wrong(&error))
}

fn wrong(error: &dyn std::error::Error) -> StoreError {
    StoreError::Failed(format!("the store holds something wrong: {error}"))
}

/// SQLite's integers are signed. No clock is near the difference.
fn milliseconds(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap_or(i64::MAX)
}

fn time(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

#[cfg(test)]
mod tests;

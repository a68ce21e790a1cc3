//! Tenants of one name, one after another, on several hosts.
//!
//! A tenant is told from the next one of its name by when it was created. Hosts of a zone learn at different times that a tenant is
//! gone and that there is another one: in between, the calls of one that do not know it yet must not read or change what the
//! new one remembers, nor leave anything, and what they learn late must not take along what is new. So each thing that is
//! kept is of a tenant of some time, and the row of a tenant's sum, which every write changes last, says until when
//! tenants of its name are gone.
//!
//! Hosts that share a database and no zone have tenants of one name that were created at different times. What they remember
//! together goes with whichever is deleted; of those that are older than that one, agents remember nothing until their tenants are
//! deleted and created, too.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use aop_core::bucket::BucketError;
use aop_core::{StoreError, Tenant, TenantName};
use deadpool_postgres::Transaction;

use super::PostgresBuckets;
use super::buckets::{NOW, Refused, rows};

/// Rows of a tenant that goes, at once: milliseconds where values are small. Where they are large and the database is slow,
/// so many take longer than a statement may, and then there are fewer.
const FORGOTTEN_AT_ONCE: u64 = 1_000;
/// How long a tenant that is gone is known to be: as long as a zone remembers it. 30 days, in milliseconds.
const GONE_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// Until when the tenants of a statement's `$1` are gone.
pub(super) const ENDED: &str = "(SELECT coalesce(max(ended_unix_ms), -1) FROM aop_tenant_totals AS total WHERE total.tenant = $1)";

/// When the tenants of this host were created.
#[derive(Default)]
pub(super) struct Begun(RwLock<HashMap<TenantName, i64>>);

impl Begun {
    /// Of a tenant that is here.
    pub(super) fn since(&self, tenant: &TenantName) -> Result<i64, BucketError> {
        let begun = self.0.read().unwrap_or_else(PoisonError::into_inner);
        begun.get(tenant).copied().ok_or_else(|| BucketError::from(gone()))
    }
}

/// What the last calls of a tenant that is gone are told.
pub(super) fn gone() -> Refused {
    let reason = "the tenant was deleted, here or on another host with this state database; where it is still there, delete it and create it again";
    Refused::Bucket(BucketError::Failed(reason.to_owned()))
}

fn created(tenant: &Tenant) -> i64 {
    i64::try_from(tenant.created_unix_ms).unwrap_or(i64::MAX)
}

impl PostgresBuckets {
    /// The agents of a tenant may remember from now on.
    pub fn begin_tenant(&self, tenant: &Tenant) {
        let mut begun = self.begun.0.write().unwrap_or_else(PoisonError::into_inner);
        begun.insert(tenant.name.clone(), created(tenant));
    }

    /// Forgets everything that the agents of a tenant remember, and of those of its name before it. One of its name that was
    /// created later keeps what it has.
    ///
    /// # Errors
    /// [`StoreError`]; what was forgotten by then stays forgotten, and the next attempt forgets the rest.
    pub async fn forget_tenant(&self, tenant: &Tenant) -> Result<(), StoreError> {
        {
            let mut begun = self.begun.0.write().unwrap_or_else(PoisonError::into_inner);
            if begun.get(&tenant.name).is_some_and(|since| *since <= created(tenant)) {
                begun.remove(&tenant.name);
            }
        }
        let forgotten = self.forget_until(tenant.name.as_str(), created(tenant)).await;
        forgotten.map_err(|refused| StoreError::Failed(BucketError::from(refused).to_string()))
    }

    async fn forget_until(&self, tenant: &str, until: i64) -> Result<(), Refused> {
        // Writes that had their sum before are seen below; those that come after are refused.
        self.change(async |change| {
            let sql = format!(
                "INSERT INTO aop_tenant_totals (tenant, charged_bytes, ended_unix_ms, forgotten_unix_ms)
                 VALUES ($1, 0, $2, {NOW})
                 ON CONFLICT (tenant) DO UPDATE
                 SET ended_unix_ms = greatest(aop_tenant_totals.ended_unix_ms, excluded.ended_unix_ms),
                     forgotten_unix_ms = excluded.forgotten_unix_ms"
            );
            rows(change, &sql, &[&tenant, &until]).await
        })
        .await?;
        let entries = "DELETE FROM aop_entries WHERE (bucket, key) IN (
                           SELECT bucket, key FROM aop_entries JOIN aop_buckets ON aop_buckets.id = bucket
                                                   JOIN aop_owners ON aop_owners.id = owner
                           WHERE tenant = $1 AND since_unix_ms <= $2";
        self.forget_in_pieces(entries, tenant, until).await?;
        // Conversations without entries are rows, too, and there may be as many.
        let buckets = "DELETE FROM aop_buckets WHERE id IN (
                           SELECT aop_buckets.id FROM aop_buckets JOIN aop_owners ON aop_owners.id = owner
                           WHERE tenant = $1 AND since_unix_ms <= $2";
        self.forget_in_pieces(buckets, tenant, until).await?;
        self.change(async |change| {
            let sql = "DELETE FROM aop_owners WHERE tenant = $1 AND since_unix_ms <= $2
                       RETURNING charged_bytes";
            let mut charged = 0_i64;
            for owner in rows(change, sql, &[&tenant, &until]).await? {
                charged += owner.try_get::<_, i64>(0)?;
            }
            let sql = "UPDATE aop_tenant_totals SET charged_bytes = charged_bytes - $2
                       WHERE tenant = $1";
            rows(change, sql, &[&tenant, &charged]).await
        })
        .await?;
        Ok(())
    }

    /// Deletes what a statement finds, which lacks its last `LIMIT …)`, in pieces of which each fits into the time of a
    /// statement: one that does not is tried again with half as much.
    async fn forget_in_pieces(&self, sql: &str, tenant: &str, until: i64) -> Result<(), Refused> {
        let mut piece = FORGOTTEN_AT_ONCE;
        loop {
            let deleting = self.change(async |change| {
                let statement = change.prepare_cached(&format!("{sql} LIMIT {piece})")).await?;
                Ok(change.execute(&statement, &[&tenant, &until]).await?)
            });
            match deleting.await {
                Ok(deleted) if deleted < piece => return Ok(()),
                Ok(_) => {}
                Err(Refused::Slow(_)) if piece > 1 => piece /= 2,
                Err(refused) => return Err(refused),
            }
        }
    }
}

/// Forgets that tenants are gone, where every host knows it by now.
pub(super) async fn forget_gone(change: &Transaction<'_>) -> Result<(), Refused> {
    let sql = format!(
        "DELETE FROM aop_tenant_totals
         WHERE charged_bytes = 0 AND forgotten_unix_ms <= {NOW} - {GONE_KEPT_MS}"
    );
    rows(change, &sql, &[]).await.map(|_| ())
}

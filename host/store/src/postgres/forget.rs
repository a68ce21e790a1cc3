//! Conversations that nobody uses any more are forgotten.

use std::time::Duration;

use aop_core::StoreError;
use aop_core::bucket::BucketError;
use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::buckets::{Change, NOW, Refused, charge, find, rows};
use super::{PostgresBuckets, tenancy};
use crate::bounds::{BUCKET_CHARGE_BYTES, Place};

/// Conversations that are looked up at once to be forgotten; each is forgotten in a transaction of its own.
const FORGOTTEN_AT_ONCE: i64 = 64;

impl PostgresBuckets {
    /// Forgets conversations that nobody used for `untouched_for`, on any host. Answers how many.
    ///
    /// # Errors
    /// [`StoreError`]; what was forgotten by then stays forgotten.
    pub async fn forget_sessions(&self, untouched_for: Duration) -> Result<u64, StoreError> {
        let age = i64::try_from(untouched_for.as_millis()).unwrap_or(i64::MAX);
        let failed = |refused| StoreError::Failed(BucketError::from(refused).to_string());
        let mut forgotten = 0;
        loop {
            let old = self.change(async |change| old_sessions(change, age).await);
            let old = old.await.map_err(failed)?;
            if old.is_empty() {
                let forgetting = self.change(async |change| tenancy::forget_gone(change).await);
                return forgetting.await.map(|()| forgotten).map_err(failed);
            }
            for place in old {
                let one = self.change(async |change| forget(change, &place, age).await);
                forgotten += u64::from(one.await.map_err(failed)?);
            }
        }
    }
}

/// Conversations that are unused for longer than `age_ms`, the oldest first.
async fn old_sessions(change: &Transaction<'_>, age_ms: i64) -> Result<Vec<Place>, Refused> {
    let sql = format!(
        "SELECT tenant, agent, session
         FROM aop_buckets JOIN aop_owners ON aop_owners.id = owner
         WHERE session <> '' AND touched_unix_ms <= {NOW} - $1
         ORDER BY touched_unix_ms LIMIT {FORGOTTEN_AT_ONCE}"
    );
    let found = rows(change, &sql, &[&age_ms]).await?;
    let place = |row: Row| {
        let (tenant, agent, session) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(Place { tenant, agent, session })
    };
    found.into_iter().map(place).collect()
}

/// Forgets one, unless it was used meanwhile; whether it did.
async fn forget(change: &Transaction<'_>, place: &Place, age_ms: i64) -> Result<bool, Refused> {
    let whoever = (place, i64::MAX);
    let Some(opened) = find(change, whoever).await? else { return Ok(false) };
    let sql = format!(
        "DELETE FROM aop_buckets WHERE id = $1 AND touched_unix_ms <= {NOW} - $2 RETURNING id"
    );
    if rows(change, &sql, &[&opened.bucket, &age_ms]).await?.is_empty() {
        return Ok(false);
    }
    let what = Change { keys: -opened.keys, bytes: -opened.bytes, charge: -BUCKET_CHARGE_BYTES };
    charge(change, (&place.tenant, &opened), &what).await?;
    Ok(true)
}

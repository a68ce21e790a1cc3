//! Buckets in Postgres.
//!
//! A write takes the row of its owner first and keeps it to its end, so writes of one agent come one after another, and what it
//! will leave behind can be summed up before anything is written. The sum over all tenants is read without a lock: writes of
//! different tenants at the same moment may pass that one limit by as much as they write. A write ends with the sum of its
//! tenant, in whose row stands whether that is gone ([`tenancy`](super::tenancy)): then nothing of it is kept.

use std::collections::BTreeMap;

use aop_core::BoxFuture;
use aop_core::bucket::{Bucket, BucketError, BucketQuota, Buckets, KeyPage, PAGE_KEYS_MAX};
use deadpool_postgres::{Object, Transaction};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql};

use super::tenancy::{ENDED, gone};
use super::{Failed, PostgresBuckets};
use crate::bounds::{
    BUCKET_CHARGE_BYTES, Ceilings, KEY_CHARGE_BYTES, Place, Sums, check_sizes, kib_of_write,
    total_bytes,
};

/// When a conversation was last used is kept to this, so that not every use is a write.
const TOUCH_EVERY_MS: i64 = 60 * 60 * 1000;
/// The database's clock, in milliseconds since the Unix epoch: that of hosts may differ.
pub(super) const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Lets an operation fail in the words of buckets, or in the database's.
pub(super) enum Refused {
    Bucket(BucketError),
    Failed(Failed),
    /// A statement took longer than it may: less of the same may work.
    Slow(Failed),
}

impl From<Failed> for Refused {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<tokio_postgres::Error> for Refused {
    fn from(error: tokio_postgres::Error) -> Self {
        if error.code() == Some(&SqlState::QUERY_CANCELED) {
            Self::Slow(error.into())
        } else {
            Self::Failed(error.into())
        }
    }
}

impl From<BucketError> for Refused {
    fn from(error: BucketError) -> Self {
        Self::Bucket(error)
    }
}

impl From<Refused> for BucketError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Bucket(error) => error,
            Refused::Failed(Failed(reason)) | Refused::Slow(Failed(reason)) => Self::Failed(reason),
        }
    }
}

/// A bucket whose owner is ours until the transaction ends.
pub(super) struct Opened {
    /// When the tenant that works there was created.
    since: i64,
    owner: i64,
    pub(super) bucket: i64,
    pub(super) keys: i64,
    pub(super) bytes: i64,
}

/// What changes in a bucket.
#[derive(Default)]
pub(super) struct Change {
    pub(super) keys: i64,
    pub(super) bytes: i64,
    /// Of the bucket itself, when it begins or ends.
    pub(super) charge: i64,
}

impl Change {
    const fn charged(&self) -> i64 {
        self.bytes + KEY_CHARGE_BYTES * self.keys + self.charge
    }
}

pub(super) type Parameters<'p> = &'p [&'p (dyn ToSql + Sync)];

pub(super) async fn rows(
    change: &Transaction<'_>,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<Vec<Row>, Refused> {
    let statement = change.prepare_cached(sql).await?;
    Ok(change.query(&statement, parameters).await?)
}

async fn one(
    change: &Transaction<'_>,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<Row, Refused> {
    let row = rows(change, sql, parameters).await?.into_iter().next();
    row.ok_or_else(|| Failed("the state database lost a row that it had".to_owned()).into())
}

/// Opens a bucket for writing; both it and its owner begin to exist.
async fn open(change: &Transaction<'_>, (place, since): (&Place, i64)) -> Result<Opened, Refused> {
    let row = one(
        change,
        "INSERT INTO aop_owners (tenant, agent, since_unix_ms) VALUES ($1, $2, $3)
         ON CONFLICT (tenant, agent) DO UPDATE
         SET since_unix_ms = least(aop_owners.since_unix_ms, excluded.since_unix_ms)
         RETURNING id",
        &[&place.tenant, &place.agent, &since],
    )
    .await?;
    let owner: i64 = row.try_get(0)?;
    let sql = format!(
        "INSERT INTO aop_buckets (owner, session, touched_unix_ms) VALUES ($1, $2, {NOW})
         ON CONFLICT (owner, session) DO UPDATE SET touched_unix_ms = excluded.touched_unix_ms
         RETURNING id, keys, bytes"
    );
    let row = one(change, &sql, &[&owner, &place.session]).await?;
    let (bucket, keys, bytes) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(Opened { since, owner, bucket, keys, bytes })
}

/// The same for a bucket that must exist already.
pub(super) async fn find(
    change: &Transaction<'_>,
    (place, since): (&Place, i64),
) -> Result<Option<Opened>, Refused> {
    let owner = rows(
        change,
        "SELECT id FROM aop_owners WHERE tenant = $1 AND agent = $2 FOR UPDATE",
        &[&place.tenant, &place.agent],
    )
    .await?;
    let Some(owner) = owner.first() else { return Ok(None) };
    let owner: i64 = owner.try_get(0)?;
    let found = rows(
        change,
        "SELECT id, keys, bytes FROM aop_buckets WHERE owner = $1 AND session = $2",
        &[&owner, &place.session],
    )
    .await?;
    let Some(row) = found.first() else { return Ok(None) };
    let (bucket, keys, bytes) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(Some(Opened { since, owner, bucket, keys, bytes }))
}

/// Keeps the sums in step with a change, and answers them: of the agent, the tenant and all. One of a tenant that is gone
/// fails.
pub(super) async fn charge(
    change: &Transaction<'_>,
    (tenant, opened): (&str, &Opened),
    what: &Change,
) -> Result<Sums, Refused> {
    let (keys, bytes) = (opened.keys + what.keys, opened.bytes + what.bytes);
    let sql = "UPDATE aop_buckets SET keys = $2, bytes = $3 WHERE id = $1 RETURNING id";
    rows(change, sql, &[&opened.bucket, &keys, &bytes]).await?;
    let sql = "UPDATE aop_owners SET charged_bytes = charged_bytes + $2 WHERE id = $1
               RETURNING charged_bytes";
    let agent: i64 = one(change, sql, &[&opened.owner, &what.charged()]).await?.try_get(0)?;
    let sql = "INSERT INTO aop_tenant_totals (tenant, charged_bytes) VALUES ($1, $2)
               ON CONFLICT (tenant) DO UPDATE
               SET charged_bytes = aop_tenant_totals.charged_bytes + excluded.charged_bytes
               WHERE aop_tenant_totals.ended_unix_ms < $3
               RETURNING charged_bytes";
    let counted = rows(change, sql, &[&tenant, &what.charged(), &opened.since]).await?;
    let of_tenant: i64 = counted.first().ok_or_else(gone)?.try_get(0)?;
    let sql = "SELECT coalesce(sum(charged_bytes), 0)::bigint FROM aop_tenant_totals";
    let all: i64 = one(change, sql, &[]).await?.try_get(0)?;
    let whole = |sum: i64| u64::try_from(sum).unwrap_or(0);
    Ok(Sums {
        keys: whole(keys),
        bytes: whole(bytes),
        agent: whole(agent),
        tenant: whole(of_tenant),
        all: whole(all),
    })
}

/// Writes entries and checks what that leaves behind. Whoever calls commits, or drops what is too much.
async fn put(
    change: &Transaction<'_>,
    (tenant, opened): (&str, &Opened),
    entries: &[(String, Vec<u8>)],
    (quota, ceilings): (BucketQuota, Ceilings),
) -> Result<(), Refused> {
    // Of several entries with one key the last counts.
    let last: BTreeMap<&[u8], &[u8]> =
        entries.iter().map(|(key, value)| (key.as_bytes(), value.as_slice())).collect();
    let (keys, values): (Vec<&[u8]>, Vec<&[u8]>) = last.into_iter().unzip();
    let sql = "SELECT count(*), coalesce(sum(octet_length(key) + octet_length(value)), 0)::bigint
               FROM aop_entries WHERE bucket = $1 AND key = ANY($2)";
    let row = one(change, sql, &[&opened.bucket, &keys]).await?;
    let (keys_before, bytes_before): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let length = |parts: &[&[u8]]| parts.iter().map(|part| part.len() as i64).sum::<i64>();
    let what = Change {
        keys: keys.len() as i64 - keys_before,
        bytes: length(&keys) + length(&values) - bytes_before,
        charge: if opened.keys == 0 { BUCKET_CHARGE_BYTES } else { 0 },
    };
    charge(change, (tenant, opened), &what).await?.check(quota, ceilings)?;
    let sql = "INSERT INTO aop_entries (bucket, key, value)
               SELECT $1, * FROM unnest($2::bytea[], $3::bytea[])
               ON CONFLICT (bucket, key) DO UPDATE SET value = excluded.value";
    let statement = change.prepare_cached(sql).await?;
    change.execute(&statement, &[&opened.bucket, &keys, &values]).await?;
    Ok(())
}

async fn delete(
    change: &Transaction<'_>,
    (tenant, opened): (&str, &Opened),
    keys: &[String],
) -> Result<(), Refused> {
    let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    let gone = rows(
        change,
        "DELETE FROM aop_entries WHERE bucket = $1 AND key = ANY($2)
         RETURNING (octet_length(key) + octet_length(value))::bigint",
        &[&opened.bucket, &keys],
    )
    .await?;
    let mut what = Change { keys: -(gone.len() as i64), ..Change::default() };
    for row in &gone {
        what.bytes -= row.try_get::<_, i64>(0)?;
    }
    // An empty bucket is the same as none.
    let is_empty = opened.keys + what.keys == 0;
    if is_empty {
        what.charge = -BUCKET_CHARGE_BYTES;
    }
    charge(change, (tenant, opened), &what).await?;
    let sql = if is_empty {
        "DELETE FROM aop_buckets WHERE id = $1".to_owned()
    } else {
        format!("UPDATE aop_buckets SET touched_unix_ms = {NOW} WHERE id = $1")
    };
    rows(change, &sql, &[&opened.bucket]).await?;
    Ok(())
}

impl PostgresBuckets {
    /// Runs one change of so many bytes at a place, all or nothing.
    async fn change_at<T>(
        &self,
        (place, bytes): (&Place, usize),
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let _waiting = self.waiting.hold(place, kib_of_write(bytes)?)?;
        self.at(place, async |connection| {
            let change = connection.transaction().await?;
            let done = work(&change).await?;
            change.commit().await?;
            Ok(done)
        })
        .await
    }

    /// What `column` says of an entry, if there is one.
    async fn read<T: for<'r> FromSql<'r>>(
        &self,
        bucket: &Bucket,
        asked: (&'static str, &str),
    ) -> Result<Option<T>, Refused> {
        let (place, since) = (Place::from(bucket), self.begun.since(&bucket.tenant)?);
        self.at(&place, async |connection| -> Result<_, Refused> {
            let Some((found, stale)) = get(connection, (&place, since), asked).await? else {
                return Ok(None);
            };
            if let Some(bucket) = stale {
                let sql = format!("UPDATE aop_buckets SET touched_unix_ms = {NOW} WHERE id = $1");
                // Somebody who writes there keeps it too; a value that was read is no failure.
                let _ = connection.execute(&sql, &[&bucket]).await;
            }
            Ok(Some(found))
        })
        .await
    }

    /// Runs one change of the host's own, all or nothing.
    pub(super) async fn change<T>(
        &self,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        self.within(async |connection| {
            let change = connection.transaction().await?;
            let done = work(&change).await?;
            change.commit().await?;
            Ok(done)
        })
        .await
    }
}

/// What `column` says of an entry, and whether its conversation wants to be noted as used.
async fn get<T: for<'r> FromSql<'r>>(
    connection: &Object,
    (place, since): (&Place, i64),
    (column, key): (&'static str, &str),
) -> Result<Option<(T, Option<i64>)>, Refused> {
    let sql = format!(
        "SELECT {column}, aop_buckets.id, session <> '' AND touched_unix_ms < {NOW} - {TOUCH_EVERY_MS}
         FROM aop_owners JOIN aop_buckets ON owner = aop_owners.id
                         JOIN aop_entries ON bucket = aop_buckets.id
         WHERE tenant = $1 AND agent = $2 AND session = $3 AND key = $4 AND {ENDED} < $5"
    );
    let statement = connection.prepare_cached(&sql).await?;
    let key = key.as_bytes();
    let of: Parameters<'_> = &[&place.tenant, &place.agent, &place.session, &key, &since];
    let found = connection.query_opt(&statement, of).await?;
    let Some(row) = found else { return Ok(None) };
    let is_stale: bool = row.try_get(2)?;
    Ok(Some((row.try_get(0)?, is_stale.then(|| row.try_get(1)).transpose()?)))
}

async fn page(
    connection: &Object,
    (place, since): (&Place, i64),
    after: Option<&str>,
    limit: u32,
) -> Result<KeyPage, Refused> {
    let limit = limit.clamp(1, PAGE_KEYS_MAX);
    let sql = format!(
        "SELECT key FROM aop_owners JOIN aop_buckets ON owner = aop_owners.id
                         JOIN aop_entries ON bucket = aop_buckets.id
         WHERE tenant = $1 AND agent = $2 AND session = $3 AND ($4::bytea IS NULL OR key > $4)
           AND {ENDED} < $6
         ORDER BY key LIMIT $5"
    );
    let statement = connection.prepare_cached(&sql).await?;
    let (after, most) = (after.map(str::as_bytes), i64::from(limit) + 1);
    let of: Parameters<'_> = &[&place.tenant, &place.agent, &place.session, &after, &most, &since];
    let found = connection.query(&statement, of).await?;
    let is_last = found.len() <= limit as usize;
    let mut keys = Vec::with_capacity(found.len().min(limit as usize));
    for row in found.iter().take(limit as usize) {
        let key = String::from_utf8(row.try_get(0)?);
        keys.push(
            key.map_err(|_| Failed("the state database has a key that is no text".to_owned()))?,
        );
    }
    let next = if is_last { None } else { keys.last().cloned() };
    Ok(KeyPage { keys, next })
}

impl Buckets for PostgresBuckets {
    fn get<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, BucketError>> {
        Box::pin(async move { Ok(self.read(bucket, ("value", key)).await?) })
    }

    fn exists<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<bool, BucketError>> {
        Box::pin(async move {
            let found: Option<bool> = self.read(bucket, ("true", key)).await?;
            Ok(found.is_some())
        })
    }

    fn set<'a>(
        &'a self,
        bucket: &'a Bucket,
        quota: BucketQuota,
        entries: &'a [(String, Vec<u8>)],
    ) -> BoxFuture<'a, Result<(), BucketError>> {
        Box::pin(async move {
            if entries.is_empty() {
                return Ok(());
            }
            check_sizes(entries.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
            let bytes = total_bytes(entries, quota)?;
            let (place, since) = (Place::from(bucket), self.begun.since(&bucket.tenant)?);
            let limits = (quota, self.ceilings);
            let setting = self.change_at((&place, bytes), async |change| {
                let opened = open(change, (&place, since)).await?;
                put(change, (&place.tenant, &opened), entries, limits).await
            });
            Ok(setting.await?)
        })
    }

    fn delete<'a>(
        &'a self,
        bucket: &'a Bucket,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<(), BucketError>> {
        Box::pin(async move {
            let (place, since) = (Place::from(bucket), self.begun.since(&bucket.tenant)?);
            let bytes = keys.iter().map(String::len).sum();
            let deleting = self.change_at((&place, bytes), async |change| {
                let Some(opened) = find(change, (&place, since)).await? else { return Ok(()) };
                delete(change, (&place.tenant, &opened), keys).await
            });
            Ok(deleting.await?)
        })
    }

    fn swap<'a>(
        &'a self,
        bucket: &'a Bucket,
        quota: BucketQuota,
        key: &'a str,
        expected: Option<&'a [u8]>,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), BucketError>> {
        Box::pin(async move {
            check_sizes(std::iter::once((key, value.as_slice())))?;
            let (place, since) = (Place::from(bucket), self.begun.since(&bucket.tenant)?);
            let bytes = key.len() + expected.map_or(0, <[u8]>::len) + value.len();
            let (limits, entries) = ((quota, self.ceilings), [(key.to_owned(), value)]);
            let swapping = self.change_at((&place, bytes), async |change| {
                let opened = open(change, (&place, since)).await?;
                let sql = "SELECT value FROM aop_entries WHERE bucket = $1 AND key = $2";
                let stored = rows(change, sql, &[&opened.bucket, &key.as_bytes()]).await?;
                let stored = stored.first().map(|row| row.try_get::<_, &[u8]>(0)).transpose()?;
                if stored != expected {
                    return Err(BucketError::Conflict.into());
                }
                put(change, (&place.tenant, &opened), &entries, limits).await
            });
            Ok(swapping.await?)
        })
    }

    fn keys<'a>(
        &'a self,
        bucket: &'a Bucket,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<KeyPage, BucketError>> {
        Box::pin(async move {
            let (place, since) = (Place::from(bucket), self.begun.since(&bucket.tenant)?);
            let whose = (&place, since);
            let reading =
                self.at(&place, async |connection| page(connection, whose, after, limit).await);
            Ok(reading.await?)
        })
    }
}

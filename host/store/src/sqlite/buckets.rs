//! Buckets in SQLite.
//!
//! A write happens first and is measured afterwards, inside the same savepoint: the triggers of the schema
//! have summed it up by then, and what is over a limit is undone as a whole. Three limits hold a bucket: its own
//! quota, its agent's share over all conversations, its tenant's quota, and what the whole store may hold.
//!
//! All writes of the host share one thread, so an agent has a few on their way to it at a time (see `turns`), and a tenant
//! as many as one of the largest has bytes: another tenant waits for no more of each. What waits for all of that is
//! bounded in bytes, too. Reads share a few connections, in turns likewise.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aop_core::bucket::{
    Bucket, BucketError, BucketQuota, Buckets, KeyPage, PAGE_KEYS_MAX, WRITE_MAX_BYTES,
};
use aop_core::{BoxFuture, StoreError};
use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::SqliteStore;
use crate::bounds::{Ceilings, Place, Sums, check_sizes, kib_of_write, total_bytes};
use crate::error::failed;

/// When a conversation was last used is kept to this, so that not every use is a write.
const TOUCH_EVERY: Duration = Duration::from_secs(60 * 60);
/// Buckets that one write forgets: each may hold thousands of entries, and other writes wait meanwhile.
const FORGOTTEN_AT_ONCE: u32 = 16;

/// Keys and values that are on their way to the thread, in KiB: they are copied for it.
pub(super) const QUEUED_MAX_KIB: usize = 64 << 10;
/// Those of one tenant: one of the largest writes, or thousands of common ones.
pub(super) const QUEUED_OF_TENANT_MAX_KIB: usize = WRITE_MAX_BYTES >> 10;

/// Lets a write fail in the store's words and in those of buckets.
enum Refused {
    Bucket(BucketError),
    Store(StoreError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(failed(&error))
    }
}

impl From<Refused> for BucketError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Bucket(error) => error,
            Refused::Store(StoreError::Failed(reason)) => Self::Failed(reason),
            Refused::Store(error) => Self::Failed(error.to_string()),
        }
    }
}

impl Place {
    fn find(&self, connection: &Connection) -> rusqlite::Result<Option<i64>> {
        connection
            .prepare_cached(
                "SELECT buckets.id FROM buckets JOIN owners ON owners.id = owner
                 WHERE tenant = ?1 AND agent = ?2 AND session = ?3",
            )?
            .query_row(params![self.tenant, self.agent, self.session], |row| row.get(0))
            .optional()
    }

    /// The bucket, which begins to exist when it is written to first.
    ///
    /// # Errors
    /// Also when the tenant is gone: what its last calls write must not be there for the next one of its name.
    fn open(&self, connection: &Connection) -> Result<i64, Refused> {
        let now = now_unix_ms();
        if let Some(bucket) = self.find(connection)? {
            touch(connection, bucket, now)?;
            return Ok(bucket);
        }
        connection
            .prepare_cached(
                "INSERT INTO owners (tenant, agent)
                 SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM tenants WHERE name = ?1)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![self.tenant, self.agent])?;
        let made = connection
            .prepare_cached(
                "INSERT INTO buckets (owner, session, touched_unix_ms)
                 SELECT id, ?3, ?4 FROM owners WHERE tenant = ?1 AND agent = ?2 RETURNING id",
            )?
            .query_row(params![self.tenant, self.agent, self.session, now], |row| row.get(0))
            .optional()?;
        made.ok_or_else(|| Refused::Bucket(BucketError::Failed("the tenant is gone".to_owned())))
    }
}

fn touch(connection: &Connection, bucket: i64, now: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE buckets SET touched_unix_ms = ?2 WHERE id = ?1 AND touched_unix_ms < ?3",
        )?
        .execute(params![bucket, now, now.saturating_sub(milliseconds(TOUCH_EVERY))])
        .map(|_| ())
}

fn put(
    connection: &Connection,
    bucket: i64,
    entries: &[(String, Vec<u8>)],
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO entries (bucket, key, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (bucket, key) DO UPDATE SET value = excluded.value",
    )?;
    entries
        .iter()
        .try_for_each(|(key, value)| statement.execute(params![bucket, key, value]).map(|_| ()))
}

/// Measures what a write left behind.
fn check(
    connection: &Connection,
    bucket: i64,
    quota: BucketQuota,
    ceilings: Ceilings,
) -> Result<(), Refused> {
    let sums = connection
        .prepare_cached(
            "SELECT keys, bytes, owners.charged_bytes, tenant_totals.charged_bytes, state_total.charged_bytes
             FROM buckets JOIN owners ON owners.id = owner JOIN tenant_totals USING (tenant), state_total
             WHERE buckets.id = ?1",
        )?
        .query_row([bucket], |row| {
            let sum = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            let (keys, bytes) = (sum(0)?, sum(1)?);
            Ok(Sums { keys, bytes, agent: sum(2)?, tenant: sum(3)?, all: sum(4)? })
        })?;
    sums.check(quota, ceilings).map_err(Refused::Bucket)
}

fn value_of(connection: &Connection, bucket: i64, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT value FROM entries WHERE bucket = ?1 AND key = ?2")?
        .query_row(params![bucket, key], |row| row.get(0))
        .optional()
}

fn swap(
    connection: &Connection,
    place: &Place,
    (key, expected): (&str, Option<&[u8]>),
    value: Vec<u8>,
) -> Result<i64, Refused> {
    let stored = match place.find(connection)? {
        Some(bucket) => value_of(connection, bucket, key)?,
        None => None,
    };
    if stored.as_deref() != expected {
        return Err(Refused::Bucket(BucketError::Conflict));
    }
    let bucket = place.open(connection)?;
    put(connection, bucket, &[(key.to_owned(), value)])?;
    Ok(bucket)
}

fn delete(connection: &Connection, place: &Place, keys: &[String]) -> rusqlite::Result<()> {
    let Some(bucket) = place.find(connection)? else { return Ok(()) };
    let mut statement =
        connection.prepare_cached("DELETE FROM entries WHERE bucket = ?1 AND key = ?2")?;
    for key in keys {
        statement.execute(params![bucket, key])?;
    }
    touch(connection, bucket, now_unix_ms())?;
    // An empty bucket is the same as none.
    connection
        .prepare_cached("DELETE FROM buckets WHERE id = ?1 AND keys = 0")?
        .execute([bucket])
        .map(|_| ())
}

fn page(
    connection: &Connection,
    place: &Place,
    after: Option<&str>,
    limit: u32,
) -> rusqlite::Result<KeyPage> {
    let limit = limit.clamp(1, PAGE_KEYS_MAX);
    let Some(bucket) = place.find(connection)? else { return Ok(KeyPage::default()) };
    let mut statement = connection.prepare_cached(
        "SELECT key FROM entries WHERE bucket = ?1 AND (?2 IS NULL OR key > ?2) ORDER BY key LIMIT ?3",
    )?;
    let rows = statement.query_map(params![bucket, after, limit + 1], |row| row.get(0))?;
    let mut keys = rows.collect::<rusqlite::Result<Vec<String>>>()?;
    let is_last = keys.len() <= limit as usize;
    keys.truncate(limit as usize);
    let next = if is_last { None } else { keys.last().cloned() };
    Ok(KeyPage { keys, next })
}

/// Forgets the conversations that are longest unused since `before`, as many as one write takes.
fn forget_some(connection: &Connection, before: i64) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "DELETE FROM buckets WHERE id IN (
                 SELECT id FROM buckets WHERE session <> '' AND touched_unix_ms <= ?1
                 ORDER BY touched_unix_ms LIMIT ?2)",
        )?
        .execute(params![before, FORGOTTEN_AT_ONCE])
}

impl SqliteStore {
    /// Forgets conversations that nobody used for `untouched_for`, a few per write so that other writes get
    /// their turn. Answers how many.
    ///
    /// # Errors
    /// [`StoreError`]; what was forgotten by then stays forgotten.
    pub async fn forget_sessions(&self, untouched_for: Duration) -> Result<u64, StoreError> {
        let before = now_unix_ms().saturating_sub(milliseconds(untouched_for));
        let mut forgotten = 0;
        loop {
            let count = self
                .writer
                .write(move |connection| {
                    forget_some(connection, before).map_err(|error| failed(&error))
                })
                .await?;
            forgotten += count as u64;
            if count < FORGOTTEN_AT_ONCE as usize {
                return Ok(forgotten);
            }
        }
    }

    /// Writes so many bytes in turn. What is written is made when the turn has come: it may copy what its caller holds.
    async fn write_at<W>(
        &self,
        place: &Place,
        bytes: usize,
        work: impl FnOnce() -> W + Send,
    ) -> Result<(), BucketError>
    where
        W: FnOnce(&Connection) -> Result<(), Refused> + Send + 'static,
    {
        let kib = kib_of_write(bytes)?;
        let waiting = self.waiting.hold(place, kib)?;
        let turn = self.turns.take(&place.owner(), 1).await.map_err(Refused::Store)?;
        let room = self.rooms.take(&place.of_tenant(), kib).await.map_err(Refused::Store)?;
        let closed = |_| BucketError::Failed("the store is closed".to_owned());
        let room_kib = Arc::clone(&self.room_kib);
        let room_of_all = room_kib.acquire_many_owned(kib).await.map_err(closed)?;
        let work = work();
        // They go with the work: a caller that gives up does not make room while the thread has what it wrote.
        let held = (waiting, turn, room, room_of_all);
        let work = move |connection: &Connection| {
            let _held = held;
            work(connection)
        };
        Ok(self.writer.write(work).await?)
    }

    /// Reads in the turns of the agent and of its tenant.
    async fn read_at<T: Send + 'static>(
        &self,
        place: &Place,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, BucketError> {
        let agent = self.reads_of_agents.take(&place.owner(), 1).await.map_err(Refused::Store)?;
        let tenant =
            self.reads_of_tenants.take(&place.of_tenant(), 1).await.map_err(Refused::Store)?;
        // As of a write, its turns go with it.
        let held = (agent, tenant);
        let read = move |connection: &Connection| {
            let _held = held;
            work(connection).map_err(|error| failed(&error))
        };
        Ok(self.readers.read(read).await.map_err(Refused::Store)?)
    }

    /// What was found, after its conversation was noted as used where that is due.
    async fn used<T>(&self, place: &Place, found: Found<T>) -> Result<Option<T>, BucketError> {
        let Some((found, stale)) = found else { return Ok(None) };
        if let Some(bucket) = stale {
            let touching = || {
                move |connection: &Connection| -> Result<(), Refused> {
                    Ok(touch(connection, bucket, now_unix_ms())?)
                }
            };
            self.write_at(place, 0, touching).await?;
        }
        Ok(Some(found))
    }
}

/// What is there, and the bucket when it wants to be touched.
type Found<T> = Option<(T, Option<i64>)>;

/// What is asked of an entry.
#[derive(Clone, Copy)]
enum Asked {
    Value,
    /// Nothing: that it is there, without its value, which may have hundreds of pages.
    One,
}

fn look_up<T: FromSql>(
    connection: &Connection,
    place: &Place,
    (asked, key): (Asked, &str),
) -> rusqlite::Result<Found<T>> {
    let stale = now_unix_ms().saturating_sub(milliseconds(TOUCH_EVERY));
    let column = match asked {
        Asked::Value => "value",
        Asked::One => "1",
    };
    connection
        .prepare_cached(&format!(
            "SELECT {column}, buckets.id, session <> '' AND touched_unix_ms < ?5
             FROM owners JOIN buckets ON owner = owners.id JOIN entries ON bucket = buckets.id
             WHERE tenant = ?1 AND agent = ?2 AND session = ?3 AND key = ?4",
        ))?
        .query_row(params![place.tenant, place.agent, place.session, key, stale], |row| {
            let is_stale: bool = row.get(2)?;
            Ok((row.get(0)?, is_stale.then(|| row.get(1)).transpose()?))
        })
        .optional()
}

impl Buckets for SqliteStore {
    fn get<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, BucketError>> {
        let (place, key) = (Place::from(bucket), key.to_owned());
        Box::pin(async move {
            let asked = place.clone();
            let read =
                move |connection: &Connection| look_up(connection, &asked, (Asked::Value, &key));
            self.used(&place, self.read_at(&place, read).await?).await
        })
    }

    fn exists<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<bool, BucketError>> {
        let (place, key) = (Place::from(bucket), key.to_owned());
        Box::pin(async move {
            let asked = place.clone();
            let read =
                move |connection: &Connection| look_up(connection, &asked, (Asked::One, &key));
            let found: Option<i64> = self.used(&place, self.read_at(&place, read).await?).await?;
            Ok(found.is_some())
        })
    }

    fn set<'a>(
        &'a self,
        bucket: &'a Bucket,
        quota: BucketQuota,
        entries: &'a [(String, Vec<u8>)],
    ) -> BoxFuture<'a, Result<(), BucketError>> {
        let ceilings = self.ceilings;
        Box::pin(async move {
            if entries.is_empty() {
                return Ok(());
            }
            check_sizes(entries.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
            let bytes = total_bytes(entries, quota)?;
            let place = Place::from(bucket);
            let work = || {
                let (place, entries) = (place.clone(), entries.to_vec());
                move |connection: &Connection| -> Result<(), Refused> {
                    let bucket = place.open(connection)?;
                    put(connection, bucket, &entries)?;
                    check(connection, bucket, quota, ceilings)
                }
            };
            self.write_at(&place, bytes, work).await
        })
    }

    fn delete<'a>(
        &'a self,
        bucket: &'a Bucket,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<(), BucketError>> {
        let place = Place::from(bucket);
        Box::pin(async move {
            let work = || {
                let (place, keys) = (place.clone(), keys.to_vec());
                move |connection: &Connection| -> Result<(), Refused> {
                    Ok(delete(connection, &place, &keys)?)
                }
            };
            self.write_at(&place, keys.iter().map(String::len).sum(), work).await
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
        let ceilings = self.ceilings;
        Box::pin(async move {
            check_sizes(std::iter::once((key, value.as_slice())))?;
            let place = Place::from(bucket);
            let bytes = key.len() + expected.map_or(0, <[u8]>::len) + value.len();
            let work = || {
                let (place, key) = (place.clone(), key.to_owned());
                let expected = expected.map(<[u8]>::to_vec);
                move |connection: &Connection| -> Result<(), Refused> {
                    let bucket = swap(connection, &place, (&key, expected.as_deref()), value)?;
                    check(connection, bucket, quota, ceilings)
                }
            };
            self.write_at(&place, bytes, work).await
        })
    }

    fn keys<'a>(
        &'a self,
        bucket: &'a Bucket,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<KeyPage, BucketError>> {
        let (place, after) = (Place::from(bucket), after.map(str::to_owned));
        Box::pin(async move {
            let asked = place.clone();
            let read =
                move |connection: &Connection| page(connection, &asked, after.as_deref(), limit);
            self.read_at(&place, read).await
        })
    }
}

fn now_unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, milliseconds)
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

//! Tasks: rows that are written when a task begins and ends, and forgotten when it has expired.
//!
//! What tasks left behind is bounded in bytes, for all tenants together and for each: results are as large as the tools
//! answer, and they share the store with the agents themselves and with the keys. A result that would be too much is
//! refused, and its task goes on working until it is ended with something small.

use aop_core::{BoxFuture, StoreError, TaskError, TaskRecord, TaskState, Tasks, TenantName};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::SqliteStore;
use crate::bounds::part_of_tenant;
use crate::error::failed;

/// An outcome of this size is kept whatever is there already: room for an error that says why the result is
/// not. Tasks are bounded in number, so a thousand of them add a megabyte.
const ALWAYS_KEPT_MAX_BYTES: usize = 1 << 10;

/// So many callers take all places of their tenant, none of them alone.
const CALLERS_TO_FILL_A_TENANT: u32 = 4;

/// How many tasks a tenant has, and one of its callers.
const COUNT: &str = "SELECT count(*), coalesce(sum(subject = ?2), 0) FROM tasks WHERE tenant = ?1";

/// Ends what was running when the host stopped. The directory is locked, so nothing runs now.
pub(super) fn interrupt(connection: &Connection) -> Result<(), rusqlite::Error> {
    let sql = "UPDATE tasks SET state = 'failed' WHERE state = 'working'";
    connection.execute(sql, []).map(|_| ())
}

impl Tasks for SqliteStore {
    fn begin(&self, task: TaskRecord, tasks_max: u32) -> BoxFuture<'_, Result<(), TaskError>> {
        Box::pin(async move {
            let begun = self.writer.write(move |connection| {
                let begun = begin(connection, &task, tasks_max).map_err(|error| failed(&error))?;
                begun.ok_or(StoreError::Missing)
            });
            if begun.await? { Ok(()) } else { Err(TaskError::Full) }
        })
    }

    fn find<'a>(
        &'a self,
        tenant: &'a TenantName,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<TaskRecord>, StoreError>> {
        let (tenant, id) = (tenant.clone(), id.to_owned());
        Box::pin(self.readers.read(move |connection| find(connection, tenant, id)))
    }

    fn end<'a>(
        &'a self,
        tenant: &'a TenantName,
        id: &'a str,
        state: TaskState,
        outcome: Option<String>,
        updated_unix_ms: u64,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let ending = Ending {
            tenant: tenant.as_str().to_owned(),
            id: id.to_owned(),
            state,
            outcome,
            updated: milliseconds(updated_unix_ms),
        };
        let outcomes_max_bytes = self.task_outcomes_max_bytes;
        Box::pin(self.writer.write(move |connection| ending.write(connection, outcomes_max_bytes)))
    }
}

/// How a task ends.
struct Ending {
    tenant: String,
    id: String,
    state: TaskState,
    outcome: Option<String>,
    updated: i64,
}

impl Ending {
    fn write(&self, connection: &Connection, outcomes_max_bytes: u64) -> Result<(), StoreError> {
        let outcome_bytes = self.outcome.as_ref().map_or(0, String::len);
        if outcome_bytes > ALWAYS_KEPT_MAX_BYTES {
            let kept = self.make_room(connection).map_err(|error| failed(&error))?;
            let fits = |kept: u64, max: u64| kept.saturating_add(outcome_bytes as u64) <= max;
            if !fits(kept.all, outcomes_max_bytes)
                || !fits(kept.tenant, part_of_tenant(outcomes_max_bytes))
            {
                // In both cases the same: how much is kept of others is not the caller's to know.
                return Err(StoreError::Failed(format!(
                    "the result has {outcome_bytes} bytes, and this host has no room for it beside the results that it keeps, of which the tenant's other tasks have {} bytes: try again when some have expired",
                    kept.tenant
                )));
            }
        }
        let sql = "UPDATE tasks SET state = ?3, outcome = ?4, updated_unix_ms = ?5
                   WHERE tenant = ?1 AND id = ?2 AND state = 'working'";
        let values = params![self.tenant, self.id, self.state.as_str(), self.outcome, self.updated];
        connection.execute(sql, values).map(|_| ()).map_err(|error| failed(&error))
    }

    /// Forgets what has expired; answers what stays.
    fn make_room(&self, connection: &Connection) -> Result<Kept, rusqlite::Error> {
        forget(connection, self.updated)?;
        // Kept by triggers: as many rows as tenants of which something is kept.
        let sql = "SELECT coalesce(sum(outcome_bytes), 0),
                          coalesce(sum(outcome_bytes) FILTER (WHERE tenant = ?1), 0)
                   FROM task_totals";
        let mut statement = connection.prepare_cached(sql)?;
        statement.query_row([&self.tenant], |row| {
            let sum = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            Ok(Kept { all: sum(0)?, tenant: sum(1)? })
        })
    }
}

/// Bytes of outcomes that are kept.
struct Kept {
    all: u64,
    tenant: u64,
}

/// Forgets the tasks that have expired. One that still works stays: its end would have nowhere to go.
fn forget(connection: &Connection, now: i64) -> Result<(), rusqlite::Error> {
    let sql = "DELETE FROM tasks WHERE expires_unix_ms <= ?1 AND state <> 'working'";
    connection.execute(sql, [now]).map(|_| ())
}

/// Whether there was a place for it; none when its tenant is gone.
fn begin(
    connection: &Connection,
    task: &TaskRecord,
    tasks_max: u32,
) -> Result<Option<bool>, rusqlite::Error> {
    let (created, updated, expires) = (
        milliseconds(task.created_unix_ms),
        milliseconds(task.updated_unix_ms),
        milliseconds(task.expires_unix_ms),
    );
    forget(connection, created)?;
    let tenant = task.tenant.as_str();
    let (of_tenant, of_caller): (u32, u32) = connection
        .prepare_cached(COUNT)?
        .query_row(params![tenant, task.subject], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let share = (tasks_max / CALLERS_TO_FILL_A_TENANT).max(1);
    if of_tenant >= tasks_max || of_caller >= share {
        let sql = "DELETE FROM tasks WHERE rowid = (
                       SELECT rowid FROM tasks WHERE tenant = ?1 AND subject = ?2 AND state <> 'working'
                       ORDER BY created_unix_ms LIMIT 1)";
        if connection.prepare_cached(sql)?.execute(params![tenant, task.subject])? == 0 {
            return Ok(Some(false));
        }
    }
    let sql = "INSERT INTO tasks (tenant, id, subject, state, created_unix_ms, updated_unix_ms, expires_unix_ms, outcome)
               SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
               WHERE EXISTS (SELECT 1 FROM tenants WHERE name = ?1)";
    let (subject, state, outcome) = (&task.subject, task.state.as_str(), &task.outcome);
    let values = params![tenant, task.id, subject, state, created, updated, expires, outcome];
    Ok((connection.execute(sql, values)? > 0).then_some(true))
}

fn find(
    connection: &Connection,
    tenant: TenantName,
    id: String,
) -> Result<Option<TaskRecord>, StoreError> {
    let sql = "SELECT state, created_unix_ms, updated_unix_ms, expires_unix_ms, outcome, subject
               FROM tasks WHERE tenant = ?1 AND id = ?2";
    let read = || {
        let mut statement = connection.prepare_cached(sql)?;
        let row = statement.query_row(params![tenant.as_str(), id], |row| {
            let state: String = row.get(0)?;
            let times = [row.get::<_, i64>(1)?, row.get(2)?, row.get(3)?];
            Ok((state, times, row.get::<_, Option<String>>(4)?, row.get::<_, String>(5)?))
        });
        row.optional()
    };
    let Some((state, times, outcome, subject)) = read().map_err(|error| failed(&error))? else {
        return Ok(None);
    };
    let states =
        [TaskState::Working, TaskState::Completed, TaskState::Failed, TaskState::Cancelled];
    let state = states.into_iter().find(|known| known.as_str() == state);
    let state =
        state.ok_or_else(|| StoreError::Failed("a task is in a state that is none".to_owned()))?;
    let [created_unix_ms, updated_unix_ms, expires_unix_ms] =
        times.map(|time| u64::try_from(time).unwrap_or(0));
    let task = TaskRecord {
        id,
        tenant,
        subject,
        state,
        created_unix_ms,
        updated_unix_ms,
        expires_unix_ms,
        outcome,
    };
    Ok(Some(task))
}

/// SQLite's integers are signed. No clock is near the difference.
fn milliseconds(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

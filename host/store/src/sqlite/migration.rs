//! The schema, as the steps that lead to it. A released step never changes; a new one is added.

use std::path::Path;

use rusqlite::Connection;

use super::refused;
use crate::OpenError;

/// Step `n` leads from `user_version` n to n + 1.
const STEPS: [&str; 7] = [
    // Settings, origin and published names are JSON, because nothing ever asks for a part of them.
    "CREATE TABLE agents (
        tenant TEXT NOT NULL,
        name TEXT NOT NULL,
        id BLOB NOT NULL UNIQUE,
        origin TEXT NOT NULL,
        active INTEGER NOT NULL,
        pinned_against BLOB,
        published TEXT NOT NULL,
        PRIMARY KEY (tenant, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE revisions (
        tenant TEXT NOT NULL,
        name TEXT NOT NULL,
        number INTEGER NOT NULL,
        digest BLOB NOT NULL,
        settings TEXT NOT NULL,
        created_unix_ms INTEGER NOT NULL,
        PRIMARY KEY (tenant, name, number),
        FOREIGN KEY (tenant, name) REFERENCES agents (tenant, name) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX revisions_by_digest ON revisions (digest);",
    include_str!("state.sql"),
    include_str!("tasks.sql"),
    include_str!("tenant_totals.sql"),
    include_str!("access.sql"),
    // At most one row: the last line of the audit log, its number and its hash.
    "CREATE TABLE audit_end (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        place TEXT NOT NULL
    ) STRICT;",
    include_str!("task_totals.sql"),
];

/// Brings the schema up to date.
pub(super) fn run(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| refused(path, &error);
    let found: u32 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let done = found as usize;
    let Some(missing) = STEPS.get(done..) else {
        let supported = u32::try_from(STEPS.len()).unwrap_or(u32::MAX);
        return Err(OpenError::Newer { path: path.to_owned(), found, supported });
    };
    for (step, version) in missing.iter().zip(found + 1..) {
        connection
            .execute_batch(&format!(
                "BEGIN IMMEDIATE; {step} PRAGMA user_version = {version}; COMMIT;"
            ))
            .map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_outcomes_take_is_summed_up_for_tasks_from_before() {
        let connection = Connection::open_in_memory().unwrap();
        for step in &STEPS[..6] {
            connection.execute_batch(step).unwrap();
        }
        connection.pragma_update(None, "user_version", 6).unwrap();
        let task = "INSERT INTO tasks (tenant, id, state, created_unix_ms, updated_unix_ms, expires_unix_ms, outcome)
                    VALUES (?1, ?2, 'completed', 0, 0, 0, ?3)";
        for (tenant, id, outcome) in
            [("a", "1", "12"), ("a", "2", "ä"), ("b", "3", "1"), ("b", "4", "")]
        {
            connection.execute(task, [tenant, id, outcome]).unwrap();
        }
        run(&connection, Path::new("memory")).unwrap();
        let total = |tenant: &str| {
            let sql = "SELECT outcome_bytes FROM task_totals WHERE tenant = ?1";
            connection.query_row(sql, [tenant], |row| row.get::<_, i64>(0)).unwrap()
        };
        assert_eq!((total("a"), total("b")), (4, 1));
    }
}

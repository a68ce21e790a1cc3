//! The tables, as the steps that lead to them. A released step never changes; a new one is added.

use deadpool_postgres::Object;

use super::{PostgresError, describe};

/// Step `n` leads from version n to n + 1.
const STEPS: [&str; 2] = [include_str!("schema.sql"), include_str!("tenancy.sql")];

/// Held while the tables change, so that hosts which start together do not change them twice. Any number that
/// nobody else uses: "aop" in ASCII.
const ADVISORY_LOCK: i64 = 0x61_6f_70;

/// Brings the tables up to date.
pub(super) async fn run(connection: &mut Object, place: &str) -> Result<(), PostgresError> {
    let failed = |error: tokio_postgres::Error| PostgresError::Unusable {
        place: place.to_owned(),
        reason: describe(&error),
    };
    let encoding: String = connection
        .query_one("SHOW server_encoding", &[])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    if encoding != "UTF8" {
        let reason = format!("its encoding is {encoding}: create it with `ENCODING 'UTF8'`");
        return Err(PostgresError::Unusable { place: place.to_owned(), reason });
    }
    let change = connection.transaction().await.map_err(failed)?;
    change.execute("SELECT pg_advisory_xact_lock($1)", &[&ADVISORY_LOCK]).await.map_err(failed)?;
    change
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS aop_schema (
                 one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
                 version INTEGER NOT NULL
             );
             INSERT INTO aop_schema (version) VALUES (0) ON CONFLICT DO NOTHING",
        )
        .await
        .map_err(failed)?;
    let found: i32 = change
        .query_one("SELECT version FROM aop_schema", &[])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    let supported = i32::try_from(STEPS.len()).unwrap_or(i32::MAX);
    let missing = usize::try_from(found).ok().and_then(|done| STEPS.get(done..));
    let Some(missing) = missing else {
        return Err(PostgresError::Newer { place: place.to_owned(), found, supported });
    };
    for step in missing {
        change.batch_execute(step).await.map_err(failed)?;
    }
    change
        .execute("UPDATE aop_schema SET version = $1 WHERE version <> $1", &[&supported])
        .await
        .map_err(failed)?;
    change.commit().await.map_err(failed)
}

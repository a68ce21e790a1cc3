//! Tokens that agents spent with language models, per day: what keeps a restart from handing out the
//! day's budgets again.

use aop_core::model::{SpentTokens, TokenLedger};
use aop_core::{AgentId, BoxFuture, StoreError, TenantName};
use rusqlite::{Connection, params};

use super::SqliteStore;
use crate::error::failed;

impl TokenLedger for SqliteStore {
    fn spent(&self, day: u64) -> BoxFuture<'_, Result<Vec<SpentTokens>, StoreError>> {
        Box::pin(self.writer.write(move |connection| {
            let rows = read(connection, day.cast_signed()).map_err(|error| failed(&error))?;
            rows.into_iter().map(decode).collect()
        }))
    }

    fn spend(&self, day: u64, spent: SpentTokens) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |connection| {
            add(connection, day.cast_signed(), &spent).map_err(|error| failed(&error))
        }))
    }
}

type Row = (String, [u8; 16], u64);

/// The rows of a day. Earlier days are of no use any more and go.
fn read(connection: &Connection, day: i64) -> rusqlite::Result<Vec<Row>> {
    connection.prepare_cached("DELETE FROM spent_tokens WHERE day < ?1")?.execute([day])?;
    connection
        .prepare_cached("SELECT tenant, agent, tokens FROM spent_tokens WHERE day = ?1")?
        .query_map([day], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.cast_unsigned()))
        })?
        .collect()
}

/// What a tenant that was deleted spent last comes late: it leaves no row.
fn add(connection: &Connection, day: i64, spent: &SpentTokens) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO spent_tokens (day, tenant, agent, tokens)
         SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM tenants WHERE name = ?2)
         ON CONFLICT (day, tenant, agent) DO UPDATE SET tokens = tokens + excluded.tokens",
    )?;
    statement.execute(params![
        day,
        spent.tenant.as_str(),
        spent.agent.0.as_bytes(),
        i64::try_from(spent.tokens).unwrap_or(i64::MAX),
    ])?;
    Ok(())
}

fn decode((tenant, agent, tokens): Row) -> Result<SpentTokens, StoreError> {
    let tenant = TenantName::new(&tenant)
        .map_err(|error| StoreError::Failed(format!("the store holds a wrong tenant: {error}")))?;
    Ok(SpentTokens { tenant, agent: AgentId(uuid::Uuid::from_bytes(agent)), tokens })
}

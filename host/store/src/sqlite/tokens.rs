//! Tokens that agents spent with language models, per day: what keeps a restart from handing out the
//! day's budgets again.

use aop_core::{AgentId, StoreError, TenantName};
use rusqlite::params;

use super::SqliteStore;
use crate::error::failed;

/// What one agent spent on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpentTokens {
    /// Whose.
    pub tenant: TenantName,
    /// The agent; it may be gone by now.
    pub agent: AgentId,
    /// How many, read and written.
    pub tokens: u64,
}

impl SqliteStore {
    /// What was spent on a day (days since the Unix epoch), and forgets earlier days.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn spent_tokens(&self, day: u64) -> Result<Vec<SpentTokens>, StoreError> {
        self.writer
            .write(move |connection| {
                let run = || {
                    let day = day.cast_signed();
                    connection
                        .prepare_cached("DELETE FROM spent_tokens WHERE day < ?1")?
                        .execute([day])?;
                    connection
                        .prepare_cached(
                            "SELECT tenant, agent, tokens FROM spent_tokens WHERE day = ?1",
                        )?
                        .query_map([day], |row| {
                            Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.cast_unsigned()))
                        })?
                        .collect::<rusqlite::Result<Vec<(String, [u8; 16], u64)>>>()
                };
                run().map_err(|error| failed(&error))?.into_iter().map(decode).collect()
            })
            .await
    }

    /// Adds to what an agent spent on a day.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn spend_tokens(&self, day: u64, spent: SpentTokens) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                let run = || {
                    connection
                        .prepare_cached(
                            "INSERT INTO spent_tokens (day, tenant, agent, tokens) VALUES (?1, ?2, ?3, ?4)
                             ON CONFLICT (day, tenant, agent) DO UPDATE SET tokens = tokens + excluded.tokens",
                        )?
                        .execute(params![
                            day.cast_signed(),
                            spent.tenant.as_str(),
                            spent.agent.0.as_bytes(),
                            i64::try_from(spent.tokens).unwrap_or(i64::MAX),
                        ])
                };
                run().map(|_| ()).map_err(|error| failed(&error))
            })
            .await
    }
}

fn decode((tenant, agent, tokens): (String, [u8; 16], u64)) -> Result<SpentTokens, StoreError> {
    let tenant = TenantName::new(&tenant)
        .map_err(|error| StoreError::Failed(format!("the store holds a wrong tenant: {error}")))?;
    Ok(SpentTokens { tenant, agent: AgentId(uuid::Uuid::from_bytes(agent)), tokens })
}

//! What agents remember, in Postgres: conversations outlive the host that began them, and go on on another.
//!
//! Only [`Buckets`](aop_core::bucket::Buckets) are here. Agents, keys and tasks stay in each host's own store: a host of a zone
//! has agents that its neighbours have not, and its tasks run in it. All hosts that use one database share what their
//! tenants' agents remember, so hosts that should not must have a database (or a schema, by `search_path`) each.
//!
//! Every wait is bounded: for a connection, for a lock, for a statement, and for all of one operation together. A database that
//! goes away fails what is under way, and what comes meanwhile after [`ACQUIRE_TIMEOUT`]; nothing has to be
//! restarted when it comes back. A write whose commit was not answered may have happened; it is never repeated here.

mod buckets;
mod connect;
mod forget;
mod migration;
mod tenancy;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

use crate::bounds::{Ceilings, Place, Waiting};
use crate::turns::Turns;
use aop_core::StoreError;
use tenancy::Begun;

/// How long an operation may wait for one of the connections, or for a new one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a statement may run in the database. All of them find their rows by an index, but for one sum over the tenants.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a statement may wait for a row that somebody else writes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one operation may take in all: longer than any of its statements, for a network that swallows answers.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(20);

/// Where the database is, and how it is used.
#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgres://user@host:5432/database?sslmode=…`.
    pub url: String,
    /// The password, when the URL has none.
    pub password: Option<String>,
    /// Connections of this host.
    pub connections_max: usize,
    /// As of [`StoreConfig`](crate::StoreConfig), over all hosts together.
    pub state_max_bytes: u64,
    /// As of [`StoreConfig`](crate::StoreConfig).
    pub agent_state_max_bytes: u64,
}

/// Never shows the password.
impl std::fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresConfig").field("place", &self.place()).finish_non_exhaustive()
    }
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The URL is none.
    #[error(
        "the URL of the database is wrong: {0}: write it like `postgres://aop@db.example:5432/aop`"
    )]
    Url(String),
    /// Nobody answers there, or not as wished.
    #[error("cannot use the database {place}: {reason}")]
    Unusable {
        /// Where it is, without the password.
        place: String,
        /// Why.
        reason: String,
    },
    /// A newer release wrote the tables.
    #[error(
        "the database {place} has schema version {found}, but this release knows versions up to {supported}: start the newer release, or use another database"
    )]
    Newer {
        /// Where it is.
        place: String,
        /// Its schema version.
        found: i32,
        /// The newest of this release.
        supported: i32,
    },
}

/// See the module's documentation. Clones share their connections.
#[derive(Clone)]
pub struct PostgresBuckets {
    pool: Pool,
    /// One connection to ask whether the database answers, whatever work goes on.
    probing: Pool,
    ceilings: Ceilings,
    waiting: Arc<Waiting>,
    /// A quarter of the connections for each agent, and three quarters for each tenant.
    agents: Arc<Turns>,
    tenants: Arc<Turns>,
    begun: Arc<Begun>,
}

impl PostgresBuckets {
    /// Connects, and brings the tables up to date; hosts that start together wait for each other with that.
    ///
    /// # Errors
    /// [`PostgresError`], within [`ACQUIRE_TIMEOUT`] and [`OPERATION_TIMEOUT`] together.
    pub async fn open(config: &PostgresConfig) -> Result<Self, PostgresError> {
        let place = config.place();
        let unusable = |reason| PostgresError::Unusable { place: place.clone(), reason };
        let pool = connect::pool(config)?;
        let mut connection = connection(&pool).await.map_err(unusable)?;
        let migrating = migration::run(&mut connection, &place);
        tokio::time::timeout(OPERATION_TIMEOUT, migrating)
            .await
            .unwrap_or_else(|_| Err(unusable("it does not answer in time".to_owned())))?;
        drop(connection);
        let ceilings = Ceilings {
            all_max_bytes: config.state_max_bytes,
            agent_max_bytes: config.agent_state_max_bytes,
        };
        let probing = connect::pool(&PostgresConfig { connections_max: 1, ..config.clone() })?;
        let part = |quarters: usize| Turns::new((config.connections_max * quarters / 4).max(1));
        let (agents, tenants, begun) = (part(1), part(3), Arc::default());
        let waiting = Arc::new(Waiting::new());
        Ok(Self { pool, probing, ceilings, waiting, agents, tenants, begun })
    }

    /// Whether the database answers now, over a connection of its own: that all others work is no reason to say that it is
    /// away.
    ///
    /// # Errors
    /// Why not, in words for the operator, within seconds.
    pub async fn probe(&self) -> Result<(), String> {
        let probing = within(&self.probing, async |connection| -> Result<(), Failed> {
            connection.simple_query("SELECT 1").await?;
            Ok(())
        });
        probing.await.map_err(|Failed(reason)| reason)
    }

    /// Connections that are open, and of those, in use.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.size, status.size - status.available.min(status.size))
    }

    /// Runs one operation on a connection. One that does not come to its end in time takes the connection with it, since
    /// nobody knows what that still does.
    async fn within<T, E: From<Failed> + From<tokio_postgres::Error>>(
        &self,
        operation: impl AsyncFnOnce(&mut Object) -> Result<T, E>,
    ) -> Result<T, E> {
        within(&self.pool, operation).await
    }

    /// The same for one place, in its owner's turn and its tenant's: one that uses the database without end leaves
    /// connections to others.
    async fn at<T, E: From<Failed> + From<tokio_postgres::Error>>(
        &self,
        place: &Place,
        operation: impl AsyncFnOnce(&mut Object) -> Result<T, E>,
    ) -> Result<T, E> {
        let taking = async {
            let of_agent = self.agents.take(&place.owner(), 1).await?;
            Ok::<_, StoreError>((of_agent, self.tenants.take(&place.of_tenant(), 1).await?))
        };
        let turns = tokio::time::timeout(ACQUIRE_TIMEOUT, taking).await;
        let _turns = turns
            .map_err(|_| {
                Failed("others of the same tenant keep the state database busy".to_owned())
            })?
            .map_err(|error| Failed(error.to_string()))?;
        self.within(operation).await
    }
}

const LATE: &str = "the state database does not answer in time";

/// A connection during an operation. Unless that ended, nobody knows what it still does there: then it is closed.
struct Lent(Option<Object>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}

async fn within<T, E: From<Failed> + From<tokio_postgres::Error>>(
    pool: &Pool,
    operation: impl AsyncFnOnce(&mut Object) -> Result<T, E>,
) -> Result<T, E> {
    let mut lent = Lent(Some(connection(pool).await.map_err(Failed)?));
    let Some(connection) = &mut lent.0 else { return Err(Failed(LATE.to_owned()).into()) };
    let ended = tokio::time::timeout(OPERATION_TIMEOUT, operation(connection)).await;
    let ended = ended.map_err(|_| Failed(LATE.to_owned()))?;
    // It ended: the connection is good for the next one.
    drop(lent.0.take());
    ended
}

/// Why an operation failed, in one sentence.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        Self(describe(&error))
    }
}

async fn connection(pool: &Pool) -> Result<Object, String> {
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => describe(&error),
        PoolError::Timeout(TimeoutType::Wait) => format!(
            "all {} connections to the state database are in use: raise `connections_max` under [state.database], or see why it is slow",
            pool.status().max_size
        ),
        PoolError::Timeout(_) => "the state database gave no connection in time".to_owned(),
        error => error.to_string(),
    })
}

/// One sentence for an operator. Postgres' own messages name what is wrong, and no values.
fn describe(error: &tokio_postgres::Error) -> String {
    let advice = match error.code() {
        Some(code)
            if *code == SqlState::INVALID_PASSWORD
                || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
        {
            "it refuses the user or the password: see `url` and `password_env`"
        }
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => {
            "there is no such database: create it, empty"
        }
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            "the user may not do that: let it create tables in the database"
        }
        Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => {
            "it has no connection left: lower `connections_max`, or raise its `max_connections`"
        }
        Some(code) if *code == SqlState::DISK_FULL => "its disk is full",
        Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => {
            "it only reads: name the primary in `url`"
        }
        Some(code)
            if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE =>
        {
            "it is too slow, or another host writes the same: try again"
        }
        Some(_) => "it refuses",
        None => "it cannot be reached",
    };
    let mut reason =
        error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    if let Some(cause) = std::error::Error::source(error).filter(|_| error.as_db_error().is_none())
    {
        reason = format!("{reason}: {cause}");
    }
    format!("{advice} ({reason})")
}

//! Where agents remember things: in the host's own store, or in a database that hosts share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use aop_core::bucket::Buckets;
use aop_core::{BoxFuture, Measure, Sample, StoreError, Tenancy, Tenant};
use aop_store::{PostgresBuckets, PostgresConfig, SqliteStore};
use aop_web::{Metrics, Readiness};
use tokio::task::JoinHandle;

use crate::config::{ServicesConfig, StateDatabase};
use crate::environment;

/// How often the database is asked whether it is there. Load balancers ask hosts about as often.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// What keeps conversations.
#[derive(Clone)]
pub(crate) enum Remembering {
    Own(Arc<SqliteStore>),
    Shared(Arc<Shared>),
}

/// A database that hosts share.
pub(crate) struct Shared {
    buckets: PostgresBuckets,
    is_up: AtomicBool,
    losses: AtomicU64,
}

impl Remembering {
    /// Connects to the database, if the configuration names one.
    pub(crate) async fn open(
        config: &ServicesConfig,
        own: &Arc<SqliteStore>,
    ) -> anyhow::Result<Self> {
        let database = &config.state_database;
        let Some(url) = &database.url else {
            anyhow::ensure!(
                database.password_env.is_none() && database.password_file.is_none(),
                "`[state.database]` has a password and no `url`: set it, or remove the password"
            );
            return Ok(Self::Own(own.clone()));
        };
        let config = PostgresConfig {
            url: url.clone(),
            password: password(database)?,
            connections_max: database.connections_max,
            state_max_bytes: config.state_max_bytes,
            agent_state_max_bytes: config.agent_state_max_bytes,
        };
        let buckets = PostgresBuckets::open(&config).await.context("`[state.database]`")?;
        tracing::info!(database = config.place(), "agents remember in a shared database");
        let (is_up, losses) = (AtomicBool::new(true), AtomicU64::new(0));
        Ok(Self::Shared(Arc::new(Shared { buckets, is_up, losses })))
    }

    pub(crate) fn buckets(&self) -> Arc<dyn Buckets> {
        match self {
            Self::Own(store) => store.clone(),
            Self::Shared(shared) => Arc::new(shared.buckets.clone()),
        }
    }

    pub(crate) const fn shared(&self) -> Option<&Arc<Shared>> {
        match self {
            Self::Own(_) => None,
            Self::Shared(shared) => Some(shared),
        }
    }

    pub(crate) fn register(&self, metrics: &Metrics) {
        if let Self::Shared(shared) = self {
            metrics.register(shared.clone());
        }
    }

    /// Forgets conversations that nobody used for so long.
    pub(crate) async fn forget_sessions(&self, unused: Duration) -> Result<u64, StoreError> {
        match self {
            Self::Own(store) => store.forget_sessions(unused).await,
            Self::Shared(shared) => shared.buckets.forget_sessions(unused).await,
        }
    }
}

/// The password, from where the configuration says.
fn password(database: &StateDatabase) -> anyhow::Result<Option<String>> {
    if let Some(variable) = &database.password_env {
        let value = environment::texts().remove(variable).filter(|value| !value.is_empty());
        return value.map(Some).ok_or_else(|| {
            anyhow::anyhow!(
                "`[state.database] password_env` names {variable}, which the environment does not have: set it"
            )
        });
    }
    let Some(path) = &database.password_file else { return Ok(None) };
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("cannot read `[state.database] password_file` {}", path.display())
    })?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

impl Shared {
    /// Says in the host's readiness whether the database is there, for as long as the handle lives.
    pub(crate) fn watch(self: &Arc<Self>, readiness: &Readiness) -> Watching {
        let (shared, readiness) = (Arc::clone(self), readiness.clone());
        Watching(tokio::spawn(async move {
            loop {
                tokio::time::sleep(PROBE_EVERY).await;
                let probed = shared.buckets.probe().await;
                let was_up = shared.is_up.swap(probed.is_ok(), Ordering::Relaxed);
                match &probed {
                    Ok(()) if !was_up => tracing::info!("the state database is back"),
                    Err(reason) if was_up => {
                        shared.losses.fetch_add(1, Ordering::Relaxed);
                        tracing::error!(
                            reason,
                            "the state database is away: agents cannot remember"
                        );
                    }
                    _ => {}
                }
                // Anybody may ask whether the host is ready; why it is not is in the log.
                readiness.lacks(probed.err().map(|_| "the state database is away".to_owned()));
            }
        }))
    }
}

/// Ends the watch when it is dropped.
pub(crate) struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tenancy for Shared {
    fn begin(&self, tenant: &Tenant) {
        self.buckets.begin_tenant(tenant);
    }

    fn end<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            self.buckets.forget_tenant(tenant).await.map_err(|error| error.to_string())
        })
    }
}

impl Measure for Shared {
    fn measure(&self) -> Vec<Sample> {
        let (open, used) = self.buckets.connections();
        vec![
            Sample::gauge(
                "state_database_up",
                "Whether the shared state database answers",
                u64::from(self.is_up.load(Ordering::Relaxed)),
            ),
            Sample::gauge(
                "state_database_connections",
                "Connections to the shared state database",
                open as u64,
            ),
            Sample::gauge(
                "state_database_connections_used",
                "Connections to the shared state database that work",
                used as u64,
            ),
            Sample::counter(
                "state_database_losses",
                "Times that the shared state database stopped answering",
                self.losses.load(Ordering::Relaxed),
            ),
        ]
    }
}

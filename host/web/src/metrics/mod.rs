//! What the host tells Prometheus, and the figures of each agent.
//!
//! What bounds it: an agent gets its series at its first call, so idle agents cost nothing; series of
//! agents that are gone are removed at the next scrape; beyond [`SERIES_MAX`] agents, calls are
//! counted without naming theirs. Names that clients send never become labels.
//!
//! Why not `prometheus_client`'s own metric families: a call touches about ten numbers of one agent.
//! Here that is one lookup and ten atomic additions, there it would be ten lookups by label set. The
//! crate still does the encoding.

mod collect;
mod process;
mod quotas;
mod series;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use aop_core::quota::Accounts;
use aop_core::{
    AgentName, BoxFuture, CallRecord, Catalog, Measure, Observe, Tenancy, Tenant, TenantName,
};

use self::collect::Scrape;
pub use self::series::AgentStats;
use self::series::Series;

/// Agents with series of their own. Three times the 10,000 agents that a host is built for; at about
/// 3 KiB each the worst case is 100 MB.
const SERIES_MAX: usize = 32_768;

/// Counts calls and collects what other crates measure.
pub struct Metrics {
    tenants: RwLock<HashMap<TenantName, TenantSeries>>,
    measures: RwLock<Vec<Arc<dyn Measure>>>,
    accounts: OnceLock<Arc<Accounts>>,
    started: Instant,
    series_max: usize,
}

#[derive(Default)]
struct TenantSeries {
    agents: HashMap<AgentName, Arc<Series>>,
    /// Calls that ended before an agent was found, and those of agents beyond the limit.
    unnamed: Arc<Series>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Counts from zero; the uptime starts now.
    #[must_use]
    pub fn new() -> Self {
        Self::with_series_max(SERIES_MAX)
    }

    fn with_series_max(series_max: usize) -> Self {
        Self {
            tenants: RwLock::default(),
            measures: RwLock::default(),
            accounts: OnceLock::new(),
            started: Instant::now(),
            series_max,
        }
    }

    /// Adds something whose numbers every scrape reads, in the order of registration.
    pub fn register(&self, measure: Arc<dyn Measure>) {
        self.measures.write().unwrap_or_else(PoisonError::into_inner).push(measure);
    }

    /// Adds what tenants and agents use of their quotas. The first accounts stay.
    pub fn watch(&self, accounts: Arc<Accounts>) {
        let _ = self.accounts.set(accounts);
    }

    /// The figures of one agent since its series began: at its first call after a start, or after it
    /// was unloaded. All zero for an agent that was not called.
    #[must_use]
    pub fn stats(&self, tenant: &TenantName, agent: &str) -> AgentStats {
        let series = self.read().get(tenant).and_then(|tenant| tenant.agents.get(agent)).cloned();
        series.map_or_else(AgentStats::default, |series| series.stats())
    }

    /// Everything in the OpenMetrics text format, or only what is `only` that tenant's. Also forgets the agents that `catalog` does not
    /// list any more. Takes milliseconds for each thousand agents: not for a reactor thread.
    #[must_use]
    pub fn render(&self, catalog: &dyn Catalog, only: Option<&TenantName>) -> String {
        let mut scrape = Scrape::new(self.started.elapsed());
        let mut gone = Vec::new();
        let shown = |tenant: &TenantName| only.is_none_or(|only| only == tenant);
        for (tenant, agent, series) in self.snapshot().into_iter().filter(|row| shown(&row.0)) {
            let Some(agent) = agent else {
                scrape.push(tenant, None, series, None);
                continue;
            };
            let status = catalog.show(&tenant, &agent);
            if status.is_none() && series.is_idle() {
                gone.push((tenant, agent));
            } else {
                scrape.push(tenant, Some(agent), series, status.map(|status| status.concurrency));
            }
        }
        self.forget(&gone);
        if let Some(accounts) = self.accounts.get() {
            let all = accounts.all();
            let mine = |tenant: &Option<TenantName>| only.is_none() || tenant.as_ref() == only;
            scrape.accounts(all.into_iter().filter(|(tenant, _)| mine(tenant)).collect());
        }
        if only.is_some() {
            // What the host as a whole does would tell of the others.
            return scrape.encode();
        }
        let measures = self.measures.read().unwrap_or_else(PoisonError::into_inner).clone();
        for measure in measures {
            scrape.extend(measure.measure());
        }
        scrape.extend(process::measure());
        scrape.encode()
    }

    fn snapshot(&self) -> Vec<(TenantName, Option<AgentName>, Arc<Series>)> {
        let tenants = self.read();
        let mut all = Vec::new();
        for (tenant, series) in tenants.iter() {
            all.push((tenant.clone(), None, Arc::clone(&series.unnamed)));
            let agents = series.agents.iter();
            all.extend(
                agents.map(|(agent, series)| {
                    (tenant.clone(), Some(agent.clone()), Arc::clone(series))
                }),
            );
        }
        drop(tenants);
        all.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        all
    }

    fn forget(&self, gone: &[(TenantName, AgentName)]) {
        if gone.is_empty() {
            return;
        }
        let mut tenants = self.write();
        for (tenant, agent) in gone {
            if let Some(tenant) = tenants.get_mut(tenant)
                && tenant.agents.get(agent).is_some_and(|series| series.is_idle())
            {
                tenant.agents.remove(agent);
            }
        }
    }

    /// Drops the series of an agent that was just unloaded, so that a successor of the same name
    /// starts from zero. Calls that still run keep it until the next scrape.
    pub(crate) fn unloaded(&self, tenant: &TenantName, agent: &str) {
        if let Ok(agent) = AgentName::new(agent) {
            self.forget(&[(tenant.clone(), agent)]);
        }
    }

    /// Runs `note` on the series of an agent, under the read lock except for the agent's first call.
    fn with(&self, tenant: &TenantName, agent: Option<&AgentName>, note: impl Fn(&Series)) {
        let tenants = self.read();
        if let Some(known) = tenants.get(tenant) {
            let series = match agent {
                Some(agent) => known
                    .agents
                    .get(agent)
                    .or_else(|| self.is_full(&tenants).then_some(&known.unnamed)),
                None => Some(&known.unnamed),
            };
            if let Some(series) = series {
                return note(series);
            }
        }
        drop(tenants);
        let mut tenants = self.write();
        let is_full = self.is_full(&tenants);
        let tenant = tenants.entry(tenant.clone()).or_default();
        match agent {
            Some(agent) if !is_full => note(tenant.agents.entry(agent.clone()).or_default()),
            _ => note(&tenant.unnamed),
        }
    }

    fn is_full(&self, tenants: &HashMap<TenantName, TenantSeries>) -> bool {
        tenants.values().map(|tenant| tenant.agents.len()).sum::<usize>() >= self.series_max
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<TenantName, TenantSeries>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<TenantName, TenantSeries>> {
        self.tenants.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tenancy for Metrics {
    fn begin(&self, _: &Tenant) {}

    fn end<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<(), String>> {
        self.write().remove(&tenant.name);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Observe for Metrics {
    fn started(&self, tenant: &TenantName, agent: &AgentName) {
        self.with(tenant, Some(agent), Series::started);
    }

    fn finished(&self, record: &CallRecord<'_>, ran: bool) {
        self.with(record.tenant, record.agent, |series| series.finished(record, ran));
    }
}

#[cfg(test)]
mod tests;

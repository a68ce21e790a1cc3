//! Tokens per day (UTC), of an agent and of a tenant.
//!
//! What a completion may take at most is reserved before it is sent and settled by what it took, so that
//! completions at one time cannot overdraw a budget together. The counters live in memory, one per agent that
//! spoke today; a ledger keeps them over a restart.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use aop_core::model::{
    ModelBinding, ModelError, Reserved, Spender, SpentTokens, TokenLedger, Usage,
};
use aop_core::quota::{Account, Resource, Share};
use aop_core::{AgentId, TenantName};

use super::Clock;

/// Agents that are counted per day: as many as a host can be configured to load.
const AGENTS_MAX: usize = 1_000_000;
const DAY_SECONDS: u64 = 24 * 60 * 60;

pub(super) struct Budgets {
    today: Mutex<Today>,
    tenant_max: u64,
    agents_max: usize,
    ledger: Option<Arc<dyn TokenLedger>>,
    clock: Clock,
}

#[derive(Default)]
struct Today {
    day: u64,
    agents: HashMap<AgentId, u64>,
    tenants: HashMap<TenantName, u64>,
}

impl Today {
    fn add(&mut self, agent: AgentId, tenant: &TenantName, tokens: u64) {
        let agent = self.agents.entry(agent).or_default();
        *agent = agent.saturating_add(tokens);
        let tenant = self.tenants.entry(tenant.clone()).or_default();
        *tenant = tenant.saturating_add(tokens);
    }

    /// Counts what was spent of a reservation, where that is still counted: of a tenant that was deleted since, nothing is.
    fn spend(&mut self, spender: &Spender, tokens: u64) {
        if let Some(agent) = self.agents.get_mut(&spender.agent) {
            *agent = agent.saturating_add(tokens);
        }
        if let Some(tenant) = self.tenants.get_mut(&spender.tenant) {
            *tenant = tenant.saturating_add(tokens);
        }
    }

    /// The other nodes of the zone learn from the account what was used here.
    fn tell(&self, spender: &Spender) {
        let used = self.tenants.get(&spender.tenant).copied().unwrap_or_default();
        spender.payer.tenant.note_tokens(self.day, used);
    }

    fn subtract(&mut self, spender: &Spender, tokens: u64) {
        if let Some(agent) = self.agents.get_mut(&spender.agent) {
            *agent = agent.saturating_sub(tokens);
        }
        if let Some(tenant) = self.tenants.get_mut(&spender.tenant) {
            *tenant = tenant.saturating_sub(tokens);
        }
    }
}

impl Budgets {
    pub(super) fn new(tenant_max: u64, ledger: Option<Arc<dyn TokenLedger>>, clock: Clock) -> Self {
        Self { today: Mutex::default(), tenant_max, agents_max: AGENTS_MAX, ledger, clock }
    }

    fn day(&self) -> u64 {
        (self.clock)().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()) / DAY_SECONDS
    }

    /// The counters of this day.
    fn today<T>(&self, work: impl FnOnce(&mut Today) -> T) -> T {
        let day = self.day();
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if today.day != day {
            *today = Today { day, ..Today::default() };
        }
        work(&mut today)
    }

    pub(super) async fn restore(&self) {
        let (Some(ledger), day) = (&self.ledger, self.day()) else { return };
        match ledger.spent(day).await {
            Ok(spent) => self.today(|today| {
                // Midnight may have passed meanwhile.
                let spent = if today.day == day { spent } else { Vec::new() };
                for SpentTokens { tenant, agent, tokens } in spent {
                    today.add(agent, &tenant, tokens);
                }
            }),
            Err(error) => tracing::error!(%error, "today's token budgets begin anew"),
        }
    }

    /// Reserves what a completion may take at most.
    pub(super) fn reserve(
        self: &Arc<Self>,
        spender: &Spender,
        binding: &ModelBinding,
        size: Usage,
    ) -> Result<Reservation, ModelError> {
        let wanted = total(size);
        self.today(|today| {
            let payer = &spender.payer;
            // Also when it is refused: what was used before a restart is known to nobody else yet.
            today.tell(spender);
            let day = today.day;
            let in_zone = |limit| payer.tenant.tokens_here(day, limit);
            let tenant_max =
                payer.tenant.limit(Resource::Tokens).map_or(self.tenant_max, in_zone);
            let whose = match payer.tenant.share() {
                Share::WHOLE => "the tenant",
                _ => "the tenant, on this node of the zone,",
            };
            let over = |account: &Account, whose: &str, used: u64, budget: u64| {
                (used.saturating_add(wanted) > budget).then(|| {
                    account.count_refusal(Resource::Tokens);
                    ModelError::Budget(format!(
                        "{whose} used {used} of {budget} tokens of today (UTC), and this completion may take {wanted}"
                    ))
                })
            };
            let agent = today.agents.get(&spender.agent).copied();
            if agent.is_none() && today.agents.len() >= self.agents_max {
                return Err(ModelError::Budget("too many agents asked models today".to_owned()));
            }
            let tenant = today.tenants.get(&spender.tenant).copied().unwrap_or_default();
            let agent_used = agent.unwrap_or_default();
            let refusal = over(&payer.agent, "the agent", agent_used, binding.tokens_per_day)
                .or_else(|| over(&payer.tenant, whose, tenant, tenant_max));
            if let Some(refusal) = refusal {
                return Err(refusal);
            }
            today.add(spender.agent, &spender.tenant, wanted);
            today.tell(spender);
            Ok(())
        })?;
        Ok(Reservation {
            budgets: Arc::clone(self),
            spender: spender.clone(),
            day: self.day(),
            size,
            is_sent: AtomicBool::new(false),
            is_settled: false,
        })
    }

    fn settle(&self, day: u64, spender: &Spender, reserved: u64, spent: u64) {
        self.today(|today| {
            // Yesterday's counters are gone.
            if today.day == day {
                today.subtract(spender, reserved);
                today.spend(spender, spent);
                today.tell(spender);
            }
        });
        let (Some(ledger), Ok(runtime)) = (&self.ledger, tokio::runtime::Handle::try_current())
        else {
            return;
        };
        if spent > 0 {
            let Spender { tenant, agent, .. } = spender.clone();
            let ledger = Arc::clone(ledger);
            runtime.spawn(async move {
                let spent = SpentTokens { tenant, agent, tokens: spent };
                if let Err(error) = ledger.spend(day, spent).await {
                    tracing::error!(%error, "spent tokens were not written down");
                }
            });
        }
    }

    /// Forgets what a tenant used that is deleted: the next one of its name has used nothing.
    pub(super) fn forget(&self, tenant: &TenantName) {
        self.today(|today| {
            today.tenants.remove(tenant);
        });
    }

    #[cfg(test)]
    pub(super) fn with_agents_max(mut self, agents_max: usize) -> Self {
        self.agents_max = agents_max;
        self
    }

    #[cfg(test)]
    pub(super) fn used(&self, spender: &Spender) -> (u64, u64) {
        self.today(|today| {
            let of = |count: Option<&u64>| count.copied().unwrap_or_default();
            (of(today.agents.get(&spender.agent)), of(today.tenants.get(&spender.tenant)))
        })
    }
}

fn total(usage: Usage) -> u64 {
    usage.input_tokens.saturating_add(usage.output_tokens)
}

/// Tokens set aside. Dropped without being settled, they are spent if the provider may have worked for them: nobody
/// says what a completion cost that was not read to its end.
pub(super) struct Reservation {
    budgets: Arc<Budgets>,
    spender: Spender,
    day: u64,
    size: Usage,
    is_sent: AtomicBool,
    is_settled: bool,
}

impl Reservation {
    /// What was reserved.
    pub(super) fn size(&self) -> Usage {
        self.size
    }

    /// Whose it is.
    pub(super) fn spender(&self) -> &Spender {
        &self.spender
    }

    /// From now on the provider may work, and bill it.
    pub(super) fn sent(&self) {
        self.is_sent.store(true, Ordering::Relaxed);
    }

    /// It did no work.
    pub(super) fn refused(&self) {
        self.is_sent.store(false, Ordering::Relaxed);
    }

    /// Gives back what was not used.
    pub(super) fn settle(&mut self, usage: Usage) {
        if !std::mem::replace(&mut self.is_settled, true) {
            self.budgets.settle(self.day, &self.spender, total(self.size), total(usage));
        }
    }
}

impl Reserved for Reservation {
    fn settle(&mut self, usage: Usage) {
        Self::settle(self, usage);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let is_sent = self.is_sent.load(Ordering::Relaxed);
        self.settle(if is_sent { self.size } else { Usage::default() });
    }
}

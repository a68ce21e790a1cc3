//! The accounts of a host, and the three that a call is charged to.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use super::account::{Owner, nanos, narrow};
use super::{Account, Quota, Resource, Share};
use crate::fair::{Party, Permits, Place};
use crate::{AgentName, BoxFuture, Digest, Failure, Limits, Tenancy, Tenant, TenantName};

/// How long to wait for memory or a place that is in use: most calls are short.
const IN_USE_RETRY_AFTER: Duration = Duration::from_secs(1);
/// The part of its CPU time per minute that must be back before a call begins: one that begins with the first millisecond
/// would do nothing but wait.
const CPU_FRACTION: u64 = 16;
/// Tenants that ended and are remembered, because a call of theirs may still be on its way.
const GONE_MAX: usize = 10_000;

/// Who pays for a call: whatever it uses is used of all three.
pub struct Payer {
    /// The agent that runs.
    pub agent: Arc<Account>,
    /// The tenant that calls it.
    pub tenant: Arc<Account>,
    /// The host.
    pub node: Arc<Account>,
    /// What the tenant may hold of the agent's places, where another tenant shares the agent with it: never all.
    pub part: Option<Arc<Permits>>,
}

impl Payer {
    /// One that has no limits and no neighbours, for calls without a host around them.
    #[must_use]
    pub fn nobody() -> Arc<Self> {
        static NOBODY: LazyLock<Arc<Payer>> = LazyLock::new(|| {
            let account =
                || Arc::new(Account::new(Owner::Node, Permits::new(Permits::UNLIMITED, 1)));
            Arc::new(Payer { agent: account(), tenant: account(), node: account(), part: None })
        });
        Arc::clone(&NOBODY)
    }

    /// From the nearest to the widest.
    #[must_use]
    pub fn accounts(&self) -> [&Account; 3] {
        [&self.agent, &self.tenant, &self.node]
    }

    /// Its place in the order of turns.
    #[must_use]
    pub fn party(&self) -> Party {
        Party { tenant: self.tenant.flow(), agent: self.agent.flow() }
    }

    /// Whether another call may begin now. One that was `passed_on` by another node of the zone has begun there: it is
    /// one call of its tenant.
    ///
    /// # Errors
    /// Which quota refuses it, and when that ends.
    pub fn begin(&self, now: Instant, passed_on: bool) -> Result<(), Failure> {
        let begins = |account: &Account| !passed_on || !matches!(account.owner(), Owner::Tenant(_));
        for (index, account) in self.accounts().into_iter().enumerate() {
            if let Err((resource, after)) = may_begin(account, begins(account), now) {
                for begun in self.accounts().into_iter().take(index).filter(|a| begins(a)) {
                    begun.calls.give_back(1, now);
                }
                return Err(account.refuse(resource, Some(after)));
            }
        }
        Ok(())
    }

    /// Takes a place in the queues of all three, until it is dropped. Those of the node, and of an agent that another
    /// tenant shares, are several tenants': none of them may have all.
    ///
    /// # Errors
    /// Whose queue has none.
    pub fn enqueue(&self) -> Result<[Place; 3], &Account> {
        let tenant = self.tenant.flow().id;
        let [agent, of_tenant, node] = self.accounts();
        let of_agent = match self.part {
            Some(_) => agent.queue.try_place(&tenant),
            None => agent.queue.try_place_of_whole(),
        };
        Ok([
            of_agent.ok_or(agent)?,
            of_tenant.queue.try_place_of_whole().ok_or(of_tenant)?,
            node.queue.try_place(&tenant).ok_or(node)?,
        ])
    }

    /// Charges CPU time that was used until `now`.
    pub fn used_cpu(&self, time: Duration, now: Instant) {
        for account in self.accounts() {
            account.cpu.charge(nanos(time), now);
        }
    }

    /// How long a guest has to pause until there is CPU time for it again.
    #[must_use]
    pub fn cpu_pause(&self, now: Instant) -> Option<Duration> {
        self.accounts().into_iter().filter_map(|account| account.cpu.wait(1, now)).max()
    }

    /// Charges bytes that went out or came in.
    pub fn used_egress(&self, bytes: u64, now: Instant) {
        for account in self.accounts() {
            account.egress.charge(bytes, now);
        }
    }

    /// Whether a byte more may go out or come in.
    ///
    /// # Errors
    /// Which quota refuses it.
    pub fn may_use_egress(&self, now: Instant) -> Result<(), Failure> {
        self.accounts().into_iter().try_for_each(|account| match account.egress.wait(1, now) {
            Some(after) => Err(account.refuse(Resource::Egress, Some(after))),
            None => Ok(()),
        })
    }

    /// Whether an instance that waits for a call may keep its memory: never more than half of what there is, so that
    /// what idles does not keep others from running.
    #[must_use]
    pub fn may_idle(&self) -> bool {
        self.accounts().into_iter().all(|account| {
            account.memory.limit().is_none_or(|limit| account.memory.used() <= limit / 2)
        })
    }
}

fn may_begin(account: &Account, begins: bool, now: Instant) -> Result<(), (Resource, Duration)> {
    if let Some(limit) = account.cpu.limit()
        // Of a part that is next to nothing, as little: something must be able to begin everywhere.
        && let Some(after) =
            account.cpu.wait((account.share().part_of(limit) / CPU_FRACTION).max(1), now)
    {
        return Err((Resource::Cpu, after));
    }
    if account.memory.limit().is_some_and(|limit| account.memory.used() >= limit) {
        return Err((Resource::Memory, IN_USE_RETRY_AFTER));
    }
    match begins {
        true => account.calls.take(1, now).map_err(|after| (Resource::Calls, after)),
        false => Ok(()),
    }
}

/// Which part of their quotas tenants have on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// Those that are not named.
    pub others: Share,
    /// Those that use more or less than others.
    pub named: HashMap<TenantKey, Share>,
}

/// A tenant's name in eight bytes: what nodes tell each other of its quota fits a few bytes of gossip. Two names that have
/// one key share what they use, which two of 100,000 names do once in four billion zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantKey(pub [u8; 8]);

impl TenantKey {
    /// A tenant's.
    #[must_use]
    pub fn of(tenant: &TenantName) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *Digest::of(tenant.as_str().as_bytes()).as_bytes();
        Self([a, b, c, d, e, f, g, h])
    }
}

impl Shares {
    /// A tenant's.
    #[must_use]
    pub fn of(&self, tenant: &TenantName) -> Share {
        match self.named.is_empty() {
            true => self.others,
            false => self.named.get(&TenantKey::of(tenant)).copied().unwrap_or(self.others),
        }
    }
}

/// The accounts of a host: one of the node, one of each tenant, one of each agent. They stay while their agents and
/// tenants do, whatever revisions come and go, so that loading an agent anew forgives it nothing. A late call of a tenant that
/// has ended pays with an account of its own, which nobody finds.
pub struct Accounts {
    node: Arc<Account>,
    tenants: RwLock<Tenants>,
}

struct Tenants {
    default: Quota,
    named: HashMap<TenantName, Quota>,
    /// Those that ended, while none of their names began again.
    gone: HashSet<TenantName>,
    live: HashMap<TenantName, Live>,
    shares: Shares,
}

/// What is kept of a tenant.
struct Live {
    account: Arc<Account>,
    agents: HashMap<AgentName, Weak<Payer>>,
    /// Its parts of the agents that others share with it, by the agents' flows, while it holds or wants something of them.
    parts: HashMap<u64, Weak<Permits>>,
}

impl Accounts {
    /// A node on which that many instances may live, with a quota of its own, and with one for tenants that have none.
    #[must_use]
    pub fn new(node: &Quota, tenant: Quota, instances_max: u32) -> Arc<Self> {
        let account = Account::new(Owner::Node, Permits::new(instances_max, 1));
        let places = node.concurrency.map_or(instances_max, narrow).min(instances_max);
        account.set(node, places, node.queue);
        Arc::new(Self {
            node: Arc::new(account),
            tenants: RwLock::new(Tenants {
                default: tenant,
                named: HashMap::new(),
                gone: HashSet::new(),
                live: HashMap::new(),
                shares: Shares { others: Share::WHOLE, named: HashMap::new() },
            }),
        })
    }

    /// Gives a tenant a quota of its own, or with none the one of all others, from now on.
    pub fn set_tenant(&self, name: &TenantName, quota: Option<Quota>) {
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        match quota {
            Some(quota) => tenants.named.insert(name.clone(), quota),
            None => tenants.named.remove(name),
        };
        if let Some(tenant) = tenants.live.get(name) {
            set_tenant(&tenant.account, tenants.quota(name));
        }
    }

    /// Has so much of every tenant's quota on this node from now on.
    pub fn set_shares(&self, shares: Shares, now: Instant) {
        if self.read(|tenants| tenants.shares == shares) {
            return;
        }
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        for (name, tenant) in &tenants.live {
            tenant.account.set_share(shares.of(name), Some(now));
        }
        tenants.shares = shares;
    }

    /// The accounts of tenants of whose quotas nodes have parts.
    #[must_use]
    pub fn shared(&self) -> Vec<(TenantName, Arc<Account>)> {
        self.read(|tenants| {
            let live = tenants.live.iter().filter(|(_, tenant)| tenant.account.is_shared());
            live.map(|(name, tenant)| (name.clone(), Arc::clone(&tenant.account))).collect()
        })
    }

    /// The node's.
    #[must_use]
    pub const fn node(&self) -> &Arc<Account> {
        &self.node
    }

    /// A tenant's.
    #[must_use]
    pub fn tenant(&self, name: &TenantName) -> Arc<Account> {
        let known =
            self.read(|tenants| tenants.live.get(name).map(|tenant| Arc::clone(&tenant.account)));
        known.unwrap_or_else(|| self.write(name, |tenant| Arc::clone(&tenant.account)))
    }

    /// Who pays for calls of an agent that its own tenant makes.
    #[must_use]
    pub fn payer(&self, tenant: &TenantName, agent: &AgentName) -> Arc<Payer> {
        // On the path of every call of an agent that runs elsewhere: they must not wait for each other.
        let known = |tenants: &Tenants| tenants.live.get(tenant)?.agents.get(agent)?.upgrade();
        if let Some(payer) = self.read(known) {
            return payer;
        }
        self.write(tenant, |live| {
            if let Some(payer) = live.agents.get(agent).and_then(Weak::upgrade) {
                return payer;
            }
            if live.agents.len() == live.agents.capacity() {
                // Before it grows, so that the sweep is paid for by the insertions since the last one.
                live.agents.retain(|_, payer| payer.strong_count() > 0);
            }
            let places = Permits::new(Permits::UNLIMITED, 1);
            let payer = Arc::new(Payer {
                agent: Arc::new(Account::new(Owner::Agent(agent.clone()), places)),
                tenant: Arc::clone(&live.account),
                node: Arc::clone(&self.node),
                part: None,
            });
            live.agents.insert(agent.clone(), Arc::downgrade(&payer));
            payer
        })
    }

    /// Who pays when `tenant` calls an agent that is shared with it: the agent as for everybody, and the tenant that
    /// calls.
    #[must_use]
    pub fn on_behalf_of(&self, tenant: &TenantName, agent: &Payer) -> Arc<Payer> {
        let flow = agent.agent.flow().id;
        let known = self.read(|tenants| {
            let live = tenants.live.get(tenant)?;
            Some((Arc::clone(&live.account), live.parts.get(&flow)?.upgrade()?))
        });
        let (tenant, part) = known.unwrap_or_else(|| {
            self.write(tenant, |live| (Arc::clone(&live.account), live.part(flow, &agent.agent)))
        });
        Arc::new(Payer {
            agent: Arc::clone(&agent.agent),
            tenant,
            node: Arc::clone(&agent.node),
            part: Some(part),
        })
    }

    /// Charges a tenant and the node for a call that no agent runs: of one of the host's own tools, or of one that does not
    /// exist. It begins like any other.
    ///
    /// # Errors
    /// Whose quota refuses it, and when that ends.
    pub fn begin_without_agent(&self, tenant: &TenantName, now: Instant) -> Result<(), Failure> {
        let (tenant, node) = (self.tenant(tenant), &self.node);
        let begin = |account: &Account| {
            let begun = account.calls.take(1, now);
            begun.map_err(|after| account.refuse(Resource::Calls, Some(after)))
        };
        begin(&tenant)?;
        begin(node).inspect_err(|_| tenant.calls.give_back(1, now))
    }

    /// The account of an agent, when it is loaded.
    #[must_use]
    pub fn agent(&self, tenant: &TenantName, agent: &str) -> Option<Arc<Account>> {
        let payer = self.read(|tenants| tenants.live.get(tenant)?.agents.get(agent)?.upgrade())?;
        Some(Arc::clone(&payer.agent))
    }

    /// Every account that exists now, with the tenant of those that have one: first the node's, then each tenant's before
    /// those of its agents, by name.
    #[must_use]
    pub fn all(&self) -> Vec<(Option<TenantName>, Arc<Account>)> {
        let mut all = Vec::new();
        self.read(|tenants| {
            for (name, tenant) in &tenants.live {
                all.push((Some(name.clone()), Arc::clone(&tenant.account)));
                let agents = tenant.agents.values().filter_map(Weak::upgrade);
                all.extend(agents.map(|payer| (Some(name.clone()), Arc::clone(&payer.agent))));
            }
        });
        let key = |account: &Account| match account.owner() {
            Owner::Agent(agent) => Some(agent.clone()),
            Owner::Tenant(_) | Owner::Node => None,
        };
        all.sort_by_cached_key(|(tenant, account)| (tenant.clone(), key(account)));
        all.insert(0, (None, Arc::clone(&self.node)));
        all
    }

    fn read<T>(&self, work: impl FnOnce(&Tenants) -> T) -> T {
        work(&self.tenants.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, name: &TenantName, work: impl FnOnce(&mut Live) -> T) -> T {
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        let Tenants { default, named, gone, live, shares } = &mut *tenants;
        let make = || {
            let places = Permits::part_of(Arc::clone(&self.node.places), Permits::UNLIMITED, 1);
            let account = Arc::new(Account::new(Owner::Tenant(name.clone()), places));
            set_tenant(&account, named.get(name).unwrap_or(default));
            account.set_share(shares.of(name), None);
            Live { account, agents: HashMap::new(), parts: HashMap::new() }
        };
        match gone.contains(name) {
            true => work(&mut make()),
            false => work(live.entry(name.clone()).or_insert_with(make)),
        }
    }
}

impl Live {
    /// Its part of an agent's places.
    fn part(&mut self, flow: u64, agent: &Account) -> Arc<Permits> {
        if let Some(part) = self.parts.get(&flow).and_then(Weak::upgrade) {
            return part;
        }
        if self.parts.len() == self.parts.capacity() {
            // Before it grows, as above.
            self.parts.retain(|_, part| part.strong_count() > 0);
        }
        let part = Arc::new(Permits::part_of(Arc::clone(&agent.places), Permits::UNLIMITED, 1));
        self.parts.insert(flow, Arc::downgrade(&part));
        part
    }
}

impl Tenancy for Accounts {
    fn begin(&self, tenant: &Tenant) {
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        tenants.gone.remove(&tenant.name);
    }

    fn end<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<(), String>> {
        // What the configuration says of a tenant holds for the next one of that name.
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        if tenants.gone.len() >= GONE_MAX {
            // Calls end within seconds of their tenant: those of so many others are over.
            tenants.gone.clear();
        }
        tenants.gone.insert(tenant.name.clone());
        tenants.live.remove(&tenant.name);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Tenants {
    fn quota(&self, name: &TenantName) -> &Quota {
        self.named.get(name).unwrap_or(&self.default)
    }
}

impl Payer {
    /// Holds the agent to what the settings of its revision say, from now on.
    pub fn set_agent(&self, quota: &Quota, limits: &Limits) {
        self.agent.set(quota, limits.concurrency, Some(u64::from(limits.queue)));
        self.agent.lines.set(limits.log_lines_per_second);
        self.agent.verbose_lines.set(limits.log_lines_per_second);
    }
}

fn set_tenant(account: &Account, quota: &Quota) {
    account.set(quota, quota.concurrency.map_or(Permits::UNLIMITED, narrow), quota.queue);
}

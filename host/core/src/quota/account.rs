//! What one owner may use, and what it uses.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::share::{Share, Tokens};
use super::{Lines, Quota, Rate, Resource};
use crate::fair::{Flow, Parts, Permits};
use crate::{AgentName, TenantName};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Stands for no limit, where an `Option` would not fit an atomic.
const NONE: u64 = u64::MAX;

/// CPU time that a tenant may use per second without taking turns with others, and at once: half a core, in pieces that
/// delay nobody noticeably. Small calls stay below it; whoever sends many that are just small enough does not.
const COURTESY_PER_SECOND: Duration = Duration::from_millis(500);
const COURTESY_AT_ONCE: Duration = Duration::from_millis(20);

/// Lines about calls of one agent in which the host failed: as many as an operator reads.
const HOST_LINES_PER_SECOND: u32 = 10;

/// Numbers the accounts of the process, for the order of turns.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Whose account it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// An agent, under whichever tenant.
    Agent(AgentName),
    /// A tenant.
    Tenant(TenantName),
    /// The host itself.
    Node,
}

/// A limit on what is held at one time.
#[derive(Debug)]
pub(super) struct Amount {
    used: AtomicU64,
    max: AtomicU64,
}

impl Amount {
    const fn new() -> Self {
        Self { used: AtomicU64::new(0), max: AtomicU64::new(NONE) }
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn limit(&self) -> Option<u64> {
        Some(self.max.load(Ordering::Relaxed)).filter(|max| *max != NONE)
    }

    fn set(&self, max: Option<u64>) {
        self.max.store(max.unwrap_or(NONE), Ordering::Relaxed);
    }

    /// Whether so much more still fits; then it is held.
    pub(super) fn take(&self, more: u64) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let grown = |used: u64| used.checked_add(more).filter(|total| max == NONE || *total <= max);
        self.used.try_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }

    pub(super) fn add(&self, more: u64) {
        self.used.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, less: u64) {
        self.used.fetch_sub(less, Ordering::Relaxed);
    }
}

/// What one owner may use, and what it uses.
pub struct Account {
    owner: Owner,
    id: u64,
    weight: AtomicU32,
    /// Of its calls.
    pub places: Arc<Permits>,
    /// How many its quota says; those of `places` are the part of this node.
    concurrency: AtomicU32,
    /// Of calls that another node of the zone passed here, which hold a place of the quota there: as many as leave places
    /// to others.
    pub passed_on: Arc<Permits>,
    pub(super) tokens: Mutex<Tokens>,
    pub(super) calls: Rate,
    pub(super) cpu: Rate,
    pub(super) egress: Rate,
    pub(super) memory: Amount,
    pub(super) code: Amount,
    /// Calls that wait. Where several tenants' do, each has a part of it, by the tenant's flow.
    pub(super) queue: Parts<u64>,
    queue_wait_ms: AtomicU64,
    stored_max_bytes: AtomicU64,
    components_max_bytes: AtomicU64,
    tokens_per_day: AtomicU64,
    /// CPU time that was used without a turn.
    courtesy: Rate,
    executions: AtomicU32,
    turn_wait_nanos: AtomicU64,
    /// Of the host's log about single calls of it that fail.
    pub lines: Lines,
    /// Of the host's log about its other calls: they leave no line about a failure out.
    pub verbose_lines: Lines,
    /// Of the host's log about calls of it in which the host itself failed. An agent may have found out how to bring that about.
    pub host_lines: Lines,
    refused: [AtomicU64; Resource::ALL.len()],
}

/// One limit of an owner, what is used of it, and how often it refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figure {
    /// Which, with its unit.
    pub quota: &'static str,
    /// None when nothing limits it.
    pub limit: Option<u64>,
    /// What this node may use of it now: less than the limit when other nodes of the zone have parts of it.
    pub here: Option<u64>,
    /// None where only the store or a ledger knows.
    pub used: Option<u64>,
    /// Refusals since the start.
    pub refused: u64,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl Account {
    pub(super) fn new(owner: Owner, places: Permits) -> Self {
        let concurrency = AtomicU32::new(places.capacity());
        let passed_on = Arc::new(places.sibling());
        let courtesy = Rate::per(SECOND);
        courtesy.set(Some(nanos(COURTESY_PER_SECOND)), Some(nanos(COURTESY_AT_ONCE)));
        Self {
            owner,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            weight: AtomicU32::new(Flow::WEIGHT_DEFAULT),
            places: Arc::new(places),
            concurrency,
            passed_on,
            tokens: Mutex::default(),
            calls: Rate::per(SECOND),
            cpu: Rate::per(MINUTE),
            egress: Rate::per(HOUR),
            memory: Amount::new(),
            code: Amount::new(),
            queue: Parts::new(usize::MAX),
            queue_wait_ms: AtomicU64::new(NONE),
            stored_max_bytes: AtomicU64::new(NONE),
            components_max_bytes: AtomicU64::new(NONE),
            tokens_per_day: AtomicU64::new(NONE),
            courtesy,
            executions: AtomicU32::new(0),
            turn_wait_nanos: AtomicU64::new(0),
            lines: Lines::default(),
            verbose_lines: Lines::default(),
            host_lines: Lines::per_second(HOST_LINES_PER_SECOND),
            refused: Default::default(),
        }
    }

    /// Holds the owner to another quota from now on. What is used stays used.
    pub(super) fn set(&self, quota: &Quota, concurrency: u32, queue: Option<u64>) {
        let weight = quota.weight.map_or(Flow::WEIGHT_DEFAULT, narrow);
        self.weight.store(weight.clamp(1, Flow::WEIGHT_MAX), Ordering::Relaxed);
        self.calls.set(quota.calls_per_second, quota.burst);
        let cpu = quota.cpu_ms_per_minute.map(|ms| ms.saturating_mul(1_000_000));
        self.cpu.set(cpu, None);
        self.egress.set(quota.egress_bytes_per_hour, None);
        self.memory.set(quota.memory_max_bytes);
        self.code.set(quota.code_max_bytes);
        self.queue.whole().set_capacity(queue.map_or(Permits::UNLIMITED, narrow));
        let store = |place: &AtomicU64, limit: Option<u64>| {
            place.store(limit.unwrap_or(NONE), Ordering::Relaxed);
        };
        store(&self.queue_wait_ms, quota.queue_wait_ms);
        store(&self.stored_max_bytes, quota.stored_max_bytes);
        store(&self.components_max_bytes, quota.components_max_bytes);
        store(&self.tokens_per_day, quota.tokens_per_day);
        self.concurrency.store(concurrency, Ordering::Relaxed);
        self.apply_places();
    }

    /// Has as many places as its part of the quota is, and always one.
    pub(super) fn apply_places(&self) {
        let concurrency = self.concurrency.load(Ordering::Relaxed);
        let capacity = match self.share() {
            Share::WHOLE => concurrency,
            _ if concurrency == Permits::UNLIMITED => concurrency,
            share => narrow(share.part_of(u64::from(concurrency))).max(1),
        };
        if capacity != self.places.capacity() {
            self.places.set_capacity(capacity);
        }
    }

    /// Whose it is.
    #[must_use]
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Its place among others of its kind.
    #[must_use]
    pub fn flow(&self) -> Flow {
        Flow { id: self.id, weight: self.weight.load(Ordering::Relaxed) }
    }

    /// How long a call may wait for its place.
    #[must_use]
    pub fn queue_wait(&self) -> Option<Duration> {
        self.limit(Resource::QueueWait).map(Duration::from_millis)
    }

    /// Calls that wait.
    #[must_use]
    pub fn queued(&self) -> u64 {
        u64::from(self.queue.whole().held())
    }

    /// Counts an execution, for as long as the guard lives.
    #[must_use]
    pub fn execute(&self) -> Execution<'_> {
        self.executions.fetch_add(1, Ordering::Relaxed);
        Execution(self)
    }

    /// Executions that go on.
    #[must_use]
    pub fn executions(&self) -> u32 {
        self.executions.load(Ordering::Relaxed)
    }

    /// Notes CPU time that was used without taking turns.
    pub fn used_without_turn(&self, time: Duration, now: Instant) {
        self.courtesy.charge(nanos(time), now);
    }

    /// Whether it used so much without taking turns that it has to take them from the beginning.
    #[must_use]
    pub fn must_take_turns(&self, now: Instant) -> bool {
        self.courtesy.wait(1, now).is_some()
    }

    /// Notes how long one of its guests waited for its turn.
    pub fn waited_for_turn(&self, time: Duration) {
        self.turn_wait_nanos.fetch_add(nanos(time), Ordering::Relaxed);
    }

    /// How long its guests waited for their turns, all together.
    #[must_use]
    pub fn turn_wait(&self) -> Duration {
        Duration::from_nanos(self.turn_wait_nanos.load(Ordering::Relaxed))
    }

    /// Counts that something was refused.
    pub fn count_refusal(&self, resource: Resource) {
        self.refused[resource as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often something was refused.
    pub(super) fn refusals(&self, resource: Resource) -> u64 {
        self.refused[resource as usize].load(Ordering::Relaxed)
    }

    /// What it may use of something.
    #[must_use]
    pub fn limit(&self, resource: Resource) -> Option<u64> {
        let read =
            |place: &AtomicU64| Some(place.load(Ordering::Relaxed)).filter(|limit| *limit != NONE);
        let limited = |capacity| (capacity != Permits::UNLIMITED).then_some(u64::from(capacity));
        match resource {
            Resource::Calls => self.calls.limit(),
            Resource::Concurrency => limited(self.concurrency.load(Ordering::Relaxed)),
            Resource::Queue => limited(self.queue.whole().capacity()),
            Resource::QueueWait => read(&self.queue_wait_ms),
            Resource::Memory => self.memory.limit(),
            Resource::Cpu => self.cpu.limit().map(|nanos| nanos / 1_000_000),
            Resource::Code => self.code.limit(),
            Resource::Stored => read(&self.stored_max_bytes),
            Resource::Components => read(&self.components_max_bytes),
            Resource::Egress => self.egress.limit(),
            Resource::Tokens => read(&self.tokens_per_day),
        }
    }

    /// Every limit with what is used of it.
    #[must_use]
    pub fn figures(&self, now: Instant) -> Vec<Figure> {
        let used = |resource| match resource {
            Resource::Calls => Some(self.calls.used(now)),
            Resource::Concurrency => Some(u64::from(self.places.held())),
            Resource::Queue => Some(self.queued()),
            Resource::Memory => Some(self.memory.used()),
            Resource::Cpu => Some(self.cpu.used(now) / 1_000_000),
            Resource::Code => Some(self.code.used()),
            Resource::Egress => Some(self.egress.used(now)),
            Resource::QueueWait | Resource::Stored | Resource::Components | Resource::Tokens => {
                None
            }
        };
        let figure = |resource: Resource| Figure {
            quota: resource.as_str(),
            limit: self.limit(resource),
            here: self.limit_here(resource),
            used: used(resource),
            refused: self.refusals(resource),
        };
        Resource::ALL.into_iter().map(figure).collect()
    }
}

/// Counts an execution until it is dropped.
pub struct Execution<'a>(&'a Account);

impl Drop for Execution<'_> {
    fn drop(&mut self) {
        self.0.executions.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

//! Quotas of tenants hold for the zone: every node has a part of each, and all parts together are never more than the
//! whole.
//!
//! Nobody gives parts out, so that nobody has to be reached. Each node says in its gossip how much it wants of a tenant's
//! quota, as a weight, and takes its weight's part of all weights that it has heard ([`ledger`]). Four rules keep the sum
//! below the whole:
//!
//! - A weight that grows counts for others at once, and for its node only [`LEASE`] later, when everybody has heard of it;
//!   one that shrinks counts for its node at once, and for others [`LEASE`] later. So nobody uses a weight that others do
//!   not count.
//! - A node that was not heard for [`SILENT`] keeps an even part, for as long as it may be alive: it sees the others as
//!   silent just then and goes back to no more than that part itself. So both sides of a cut have what is theirs, and
//!   nobody lends across it.
//! - A node that joins counts for nothing before everybody must have heard of it, [`LEASE`] and [`SILENT`] after nobody fell
//!   silent.
//! - Silent nodes are forgotten only by a majority, [`FORGET`] after the last one fell silent; who is in a minority for [`FENCE`], which is shorter,
//!   goes back to nothing. Who said goodbye or was evicted is forgotten at once.
//!
//! What that stands on: gossip arrives within [`LEASE`] where it arrives at all, which takes 2 s among 100 nodes, and
//! clocks run equally fast. What stays beyond it, and is documented:
//!
//! - every node may run one call at one time, and begin one at once, however small its part is;
//! - a call that runs keeps its place when the part of its node shrinks;
//! - a process that was frozen uses its old part until its next look, half a second;
//! - an operator who evicts a node that still runs without being reached gives on what that one still uses.
//!
//! Idle nodes say nothing and have equal weights of 1; a busy one says up to 1024. What is said of a tenant takes 20 bytes,
//! and a node says at most 8 kB: beyond some 350 tenants with unequal demand, the others are not lent to.

mod ledger;
mod said;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use aop_core::NodeId;
use aop_core::cluster::QuotaParts;
use aop_core::quota::{Accounts, Share, Shares, Taken, TenantKey, ZoneTokens};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::ledger::{Ledger, Remembered, Sight};
use crate::durable;
pub(crate) use said::{KEYS_MAX, PREFIX};

/// How long everybody takes to hear of a weight, twice over.
const LEASE: Duration = Duration::from_secs(6);
/// How long a node may not be heard before it is silent; shorter than [`LEASE`], so that both sides of a cut know.
const SILENT: Duration = Duration::from_secs(5);
/// After which time a minority has nothing.
const FENCE: Duration = Duration::from_secs(10 * 60);
/// After which time a majority gives on what silent nodes had; gossip has forgotten them by then.
const FORGET: Duration = Duration::from_secs(20 * 60);
/// How often a node looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Over which time demand is measured.
const DEMAND_INTERVAL: Duration = Duration::from_secs(2);

/// What this node knows of another one, now.
#[derive(Debug, Clone)]
pub(crate) struct Neighbour {
    pub(crate) node: NodeId,
    /// None of one that this node has only heard of.
    pub(crate) heard: Option<Instant>,
    /// It ended on purpose.
    pub(crate) has_left: bool,
    /// What it says of quotas.
    pub(crate) said: BTreeMap<u8, String>,
}

/// What a node sees of its zone.
pub(crate) trait Surroundings: Send + Sync {
    /// Which node it is.
    fn me(&self) -> &NodeId;
    /// Every other node that gossip knows; none when this one was evicted.
    fn neighbours(&self) -> Option<Vec<Neighbour>>;
    /// Nodes that were evicted.
    fn evicted(&self) -> BTreeSet<NodeId>;
    /// Says something of quotas to the others.
    fn say(&self, said: BTreeMap<u8, String>);
}

/// The parts of this node. See the module's documentation.
pub(crate) struct ZoneQuotas {
    accounts: Arc<Accounts>,
    /// Where the nodes of the zone are remembered.
    file: PathBuf,
    state: Mutex<State>,
    said_count: AtomicU64,
}

struct State {
    ledger: Ledger,
    remembered: Option<Remembered>,
    before: HashMap<TenantKey, Taken>,
    measured: Instant,
}

impl ZoneQuotas {
    /// Begins with what is remembered, and has taken its parts when this returns. A node that does not found its zone
    /// has company there, and where that is not remembered, no part of anything before it hears of it.
    pub(crate) fn open(
        accounts: Arc<Accounts>,
        file: PathBuf,
        company: bool,
        around: &dyn Surroundings,
    ) -> Arc<Self> {
        let now = Instant::now();
        let remembered = recall(&file).unwrap_or_else(|error| {
            tracing::warn!(
                path = %file.display(),
                %error,
                "the nodes of the zone are not remembered: this node has no part of tenants' quotas until it hears one of them"
            );
            None
        });
        if company && remembered.is_none() {
            tracing::info!(
                "the other nodes of the zone are not known yet: this node has no part of tenants' quotas before it hears one, or for 20 minutes"
            );
        }
        let ledger = Ledger::new(around.me().clone(), remembered.as_ref(), company, now);
        let state = State { ledger, remembered, before: HashMap::new(), measured: now };
        let said_count = AtomicU64::new(0);
        let parts = Arc::new(Self { accounts, file, state: Mutex::new(state), said_count });
        parts.look(around, now, today());
        parts
    }

    /// Looks again and again until `stop`.
    pub(crate) async fn run(
        self: Arc<Self>,
        around: Arc<dyn Surroundings>,
        stop: CancellationToken,
    ) {
        let mut complaint = None;
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = look.tick() => {}
            }
            let parts = Arc::clone(&self);
            let around = Arc::clone(&around);
            let write = parts.look(&*around, Instant::now(), today());
            if let Some(known) = write {
                let file = self.file.clone();
                let writing = tokio::task::spawn_blocking(move || {
                    let bytes = serde_json::to_vec(&known)?;
                    durable::write(&file, &bytes).map(|()| known)
                });
                let written = match writing.await {
                    Ok(written) => written,
                    Err(error) => Err(std::io::Error::other(error)),
                };
                match written {
                    Ok(known) => {
                        self.state().remembered = Some(known);
                        complaint = None;
                    }
                    // It is tried at every look, and said once. By its kind: the text names another temporary file each time.
                    Err(error) if complaint == Some(error.kind()) => {}
                    Err(error) => {
                        tracing::warn!(
                            path = %self.file.display(),
                            %error,
                            "the nodes of the zone are not written down: a restart takes them for those that it last could write"
                        );
                        complaint = Some(error.kind());
                    }
                }
            }
        }
    }

    /// Takes in what is to be seen, says what is wanted, and takes its parts. Answers which nodes are to be remembered,
    /// when those are others.
    fn look(&self, around: &dyn Surroundings, now: Instant, day: u64) -> Option<Remembered> {
        let mut state = self.state();
        let State { ledger, remembered, before, measured } = &mut *state;
        match around.neighbours() {
            None => ledger.leave(now),
            Some(neighbours) => {
                let sights = neighbours.into_iter().map(|neighbour| Sight {
                    is_heard: neighbour
                        .heard
                        .is_some_and(|heard| now.duration_since(heard) < SILENT),
                    node: neighbour.node,
                    has_left: neighbour.has_left,
                    said: neighbour.said,
                });
                ledger.see(sights.collect(), &around.evicted(), day, now);
            }
        }
        let shared = self.accounts.shared();
        let elapsed = now.duration_since(*measured);
        if elapsed >= DEMAND_INTERVAL {
            let last = std::mem::take(before);
            for (tenant, account) in &shared {
                let key = TenantKey::of(tenant);
                if let Some(last) = last.get(&key) {
                    ledger.want(key, account.demand(last, elapsed), now);
                }
                let (used_day, used) = account.tokens_used();
                ledger.used_tokens(key, if used_day == day { used } else { 0 });
                before.insert(key, account.taken());
            }
            ledger.forget_wants(|key| before.contains_key(key));
            *measured = now;
            around.say(ledger.say(day, now));
        }
        let is_cut = ledger.is_cut();
        for (tenant, account) in &shared {
            // On each side of a cut, what was known before it is divided: nobody may count twice what is left.
            if !is_cut || account.zone_day() != day {
                let (here, elsewhere) = ledger.tokens(&TenantKey::of(tenant), day, now);
                account.set_zone_tokens(ZoneTokens { day, here, elsewhere });
            }
        }
        let (others, named) = ledger.shares(now);
        self.accounts.set_shares(Shares { others, named }, now.into_std());
        self.said_count.store(ledger.said_count() as u64, Ordering::Relaxed);
        let known = ledger.known();
        (remembered.as_ref() != Some(&known)).then_some(known)
    }

    /// Whether a node counts, heard or not.
    pub(crate) fn knows(&self, node: &NodeId) -> bool {
        self.state().ledger.known().contains_key(node)
    }

    /// For the zone's status.
    pub(crate) fn status(&self) -> QuotaParts {
        let state = self.state();
        let (pool, silent) = state.ledger.pool(Instant::now());
        QuotaParts { reach_permille: pool.billionths() / 1_000_000, silent }
    }

    /// Tenants of which this node says how much it wants.
    pub(crate) fn said_count(&self) -> u64 {
        self.said_count.load(Ordering::Relaxed)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was written down; none before anything was.
fn recall(file: &Path) -> std::io::Result<Option<Remembered>> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// In days since the Unix epoch, as budgets of tokens count them.
fn today() -> u64 {
    const DAY_SECONDS: u64 = 24 * 60 * 60;
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs()) / DAY_SECONDS
}

/// Share arithmetic that the ledger needs and nobody else.
fn part(weight: u64, all: u64) -> Share {
    if weight == 0 { Share::NOTHING } else { Share::of(weight, all) }
}

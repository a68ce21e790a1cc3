//! Who has which part: pure, with the time passed in. The rules are in the documentation of the [module](super).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use aop_core::NodeId;
use aop_core::quota::{Share, TenantKey};
use tokio::time::Instant;

use super::said::{self, Entries, Entry};
use super::window::Window;
use super::{FENCE, FORGET, LEASE, SILENT, part};

/// What everybody wants who says nothing.
const WEIGHT_MIN: u16 = 1;
/// The most that a node wants.
const WEIGHT_MAX: u16 = 1 << said::EXPONENT_MAX;
/// How long demand must have been lower before less is wanted: parts are slow to come back.
const HOLD: Duration = Duration::from_secs(15);

/// What a node remembers of its zone over a restart: every node that counts, and the part in billionths that is kept for
/// one that is silent.
pub(super) type Remembered = BTreeMap<NodeId, Option<u32>>;

/// One node, as it is seen now.
pub(super) struct Sight {
    pub(super) node: NodeId,
    pub(super) is_heard: bool,
    pub(super) has_left: bool,
    pub(super) said: BTreeMap<u8, String>,
}

/// What this node knows of another.
struct Other {
    /// Since when it is silent, and which part it keeps meanwhile.
    silent: Option<(Instant, Share)>,
    /// When it was heard first and last by this life of this node; none of one that it has only heard of.
    heard: Option<(Instant, Instant)>,
    /// It was there in an earlier life of this node.
    is_remembered: bool,
    /// What it has of tenants that it does not name: 1, or 0 while it is silent.
    base: Window<u16>,
    weights: HashMap<TenantKey, Window<u16>>,
    /// As it was read last.
    said: BTreeMap<u8, String>,
}

/// What this node wants of a tenant's quota.
struct Want {
    weight: u16,
    /// Since when it could be less.
    less_since: Option<Instant>,
}

/// See the module's documentation.
pub(super) struct Ledger {
    me: NodeId,
    others: BTreeMap<NodeId, Other>,
    /// Which part of all quotas this node and those it hears have together.
    pool: Window<Share>,
    /// What those say that it hears: the least counts.
    heard_pool: Window<Share>,
    /// What this node counts for of tenants that it does not name: nothing before all others know it.
    base: Window<u16>,
    /// Since when nobody fell silent, while it counts for nothing.
    settling_since: Instant,
    wants: HashMap<TenantKey, Want>,
    used: HashMap<TenantKey, u64>,
    /// What it said of weights and of tokens.
    said: HashMap<TenantKey, Window<u16>>,
    said_tokens: HashMap<TenantKey, Window<u64>>,
    day: u64,
    /// Of the day, by node; those that are gone used them all the same.
    tokens: BTreeMap<NodeId, HashMap<TenantKey, u64>>,
    /// Since when it is in a minority.
    minority_since: Option<Instant>,
    /// Since when it knows of nobody, though there should be somebody.
    lost_since: Option<Instant>,
    has_left: bool,
}

impl Ledger {
    /// With what is remembered of the zone's nodes. One that may have `company` of which it remembers nothing, since it
    /// joins or because what it wrote down is gone, or that has heard nobody since it joined, has nothing before it hears
    /// one that knows the zone.
    pub(super) fn new(
        me: NodeId,
        remembered: Option<&Remembered>,
        company: bool,
        now: Instant,
    ) -> Self {
        let others: BTreeMap<_, _> =
            remembered.into_iter().flatten().filter(|(node, _)| **node != me).collect();
        let is_lost = remembered.map_or(company, Remembered::is_empty);
        let is_alone = others.is_empty() && !is_lost;
        let even = Share::of(1, others.len() as u64 + 1);
        let silent = |(node, kept): (&NodeId, &Option<u32>)| {
            let kept = kept.map_or(even, Share::from_billionths);
            let other = Other { is_remembered: true, ..Other::new() };
            (node.clone(), Other { silent: Some((now, kept)), base: Window::new(0), ..other })
        };
        let was_counted = remembered.is_some_and(|nodes| nodes.contains_key(&me));
        let base = match is_alone {
            true => Window::new(WEIGHT_MIN),
            // Others may have forgotten it.
            false if was_counted => Window::after(0, WEIGHT_MIN, now),
            false => Window::new(0),
        };
        let mut ledger = Self {
            me,
            others: others.into_iter().map(silent).collect(),
            pool: Window::new(Share::WHOLE),
            heard_pool: Window::new(Share::WHOLE),
            base,
            settling_since: now,
            wants: HashMap::new(),
            used: HashMap::new(),
            said: HashMap::new(),
            said_tokens: HashMap::new(),
            day: 0,
            tokens: BTreeMap::new(),
            minority_since: None,
            lost_since: is_lost.then_some(now),
            has_left: false,
        };
        ledger.divide(now);
        ledger
    }

    /// This node does not belong to the zone any more.
    pub(super) fn leave(&mut self, now: Instant) {
        self.has_left = true;
        self.divide(now);
    }

    /// Takes in what is to be seen now.
    pub(super) fn see(
        &mut self,
        sights: Vec<Sight>,
        evicted: &BTreeSet<NodeId>,
        day: u64,
        now: Instant,
    ) {
        if self.day != day {
            self.day = day;
            self.tokens.clear();
            // What is said is read again, for its day.
            self.others.values_mut().for_each(|other| other.said.clear());
        }
        self.others.retain(|node, _| !evicted.contains(node));
        let (heard, unheard): (Vec<_>, Vec<_>) = sights
            .into_iter()
            .filter(|sight| sight.node != self.me && !evicted.contains(&sight.node))
            .partition(|sight| sight.is_heard || sight.has_left);
        let is_here: BTreeSet<_> = heard.iter().map(|sight| sight.node.clone()).collect();
        for sight in heard {
            if sight.has_left {
                self.others.remove(&sight.node);
                continue;
            }
            if sight.said.get(&0).is_some_and(|text| said::read_pool(text).is_some()) {
                self.lost_since = None;
            }
            let other = self.others.entry(sight.node.clone()).or_insert_with(Other::new);
            other.hear(sight.said, self.tokens.entry(sight.node).or_default(), day, now);
        }
        self.silence(&is_here, unheard, now);
        self.settle(now);
        if self.lost_since.is_some_and(|since| now.duration_since(since) >= FORGET) {
            self.lost_since = None;
        }
        self.forget(now);
        self.divide(now);
    }

    /// Whoever is not heard is silent, also when gossip has forgotten it.
    fn silence(&mut self, heard: &BTreeSet<NodeId>, hearsay: Vec<Sight>, now: Instant) {
        let settled = self.others.values().filter(|other| other.is_settled(now)).count() as u64;
        let mut fell_silent = false;
        self.others.retain(|node, other| {
            if heard.contains(node) || other.silent.is_some() {
                return true;
            }
            fell_silent = true;
            // One that has just come did not count for anything yet.
            let is_new =
                other.heard.is_some_and(|(first, last)| last.duration_since(first) < LEASE);
            let others = if other.is_settled(now) { settled } else { settled + 1 };
            other.fall_silent(Share::of(1, others + 1), now);
            !is_new || other.is_remembered
        });
        // Who knows its zone hears only of those that come, before they are heard, and of those that it forgot.
        let knows_all = self.base.min(now) > 0;
        for sight in hearsay.into_iter().filter(|_| !knows_all) {
            // It was there before this node.
            let even = Share::of(1, self.others.len() as u64 + 1);
            self.others.entry(sight.node).or_insert_with(|| Other {
                silent: Some((now, even)),
                base: Window::new(0),
                ..Other::new()
            });
        }
        if fell_silent {
            self.settling_since = now;
        }
    }

    /// Begins to count, once everybody must have heard of this node.
    fn settle(&mut self, now: Instant) {
        let (present, _) = self.counts();
        if self.is_lost() || present == 1 && !self.others.is_empty() {
            self.settling_since = now;
        }
        if now.duration_since(self.settling_since) >= LEASE + SILENT {
            self.base.set(WEIGHT_MIN, now);
        }
    }

    /// Drops silent nodes, when that is for this side to decide.
    fn forget(&mut self, now: Instant) {
        let (present, all) = self.counts();
        let newest = self.others.values().filter_map(|other| other.silent).map(|(at, _)| at).max();
        // Whoever is silent may hear others that are, whose time in a minority began with the last of them.
        let is_long_ago = newest.is_some_and(|newest| now.duration_since(newest) >= FORGET);
        if 2 * present > all && is_long_ago {
            self.others.retain(|_, other| other.silent.is_none());
        }
        let (present, all) = self.counts();
        if 2 * present < all {
            // A start in a minority may be one of many.
            let was_whole = self.others.values().any(|other| other.heard.is_some());
            let since = if was_whole { Some(now) } else { now.checked_sub(FENCE).or(Some(now)) };
            self.minority_since = self.minority_since.or(since);
        } else {
            self.minority_since = None;
        }
    }

    /// This node and those that it hears, and all.
    fn counts(&self) -> (usize, usize) {
        let present = self.others.values().filter(|other| other.silent.is_none()).count();
        (present + 1, self.others.len() + 1)
    }

    fn divide(&mut self, now: Instant) {
        let is_fenced = self.minority_since.is_some_and(|since| now.duration_since(since) >= FENCE);
        let pool = if self.has_left || self.is_lost() || is_fenced {
            Share::NOTHING
        } else {
            let kept = self.others.values().filter_map(|other| other.silent);
            kept.fold(Share::WHOLE, |left, (_, kept)| left.minus(kept))
        };
        self.pool.set(pool, now);
        // Who came later than others fell silent does not know what they kept.
        let heard = self.others.values().filter(|other| other.silent.is_none());
        let heard = heard.filter_map(|other| said::read_pool(other.said.get(&0)?));
        self.heard_pool.set(heard.fold(Share::WHOLE, Share::min), now);
    }

    /// Whether this node has heard of nobody so far, though there should be somebody.
    pub(super) const fn is_lost(&self) -> bool {
        self.lost_since.is_some()
    }

    /// Whether somebody is silent.
    pub(super) fn is_cut(&self) -> bool {
        self.has_left || self.is_lost() || self.others.values().any(|other| other.silent.is_some())
    }

    /// Notes how much of a tenant's quota is used here.
    pub(super) fn want(&mut self, tenant: TenantKey, demand: Share, now: Instant) {
        // Twice of what is used, so that it can grow, as a power of two, so that gossip is quiet.
        let wanted = demand.part_of(2 * u64::from(WEIGHT_MAX)).max(1).next_power_of_two();
        let wanted = u16::try_from(wanted).unwrap_or(WEIGHT_MAX).min(WEIGHT_MAX);
        let want =
            self.wants.entry(tenant).or_insert(Want { weight: WEIGHT_MIN, less_since: None });
        // More is wanted at once, less only after a while.
        if wanted >= want.weight || now.duration_since(*want.less_since.get_or_insert(now)) >= HOLD
        {
            *want = Want { weight: wanted, less_since: None };
        }
    }

    /// Notes how many tokens were used here today.
    pub(super) fn used_tokens(&mut self, tenant: TenantKey, used: u64) {
        self.used.insert(tenant, used);
    }

    /// Wants nothing more of tenants that have no quota, or are gone.
    pub(super) fn forget_wants(&mut self, is_here: impl Fn(&TenantKey) -> bool) {
        self.wants.retain(|tenant, _| is_here(tenant));
        self.used.retain(|tenant, _| is_here(tenant));
    }

    /// What is to be said. From now on it counts as said.
    pub(super) fn say(&mut self, day: u64, now: Instant) -> BTreeMap<u8, String> {
        let mut entries = Entries::new();
        for tenant in self.wants.keys().chain(self.used.keys()) {
            let weight = self.wants.get(tenant).map_or(WEIGHT_MIN, |want| want.weight);
            let tokens = self.used.get(tenant).copied().unwrap_or(0);
            if weight > WEIGHT_MIN || tokens > 0 {
                entries.insert(*tenant, Entry { weight, tokens });
            }
        }
        let (mut texts, said) = said::write(day, &entries);
        if self.base.get() > 0 {
            // So that who joins sees who knows the zone, and what is kept for silent nodes.
            said::write_pool(&mut texts, day, self.pool.get());
        }
        let zero = Entry { weight: WEIGHT_MIN, tokens: 0 };
        for tenant in said.keys() {
            self.said.entry(*tenant).or_insert(Window::new(WEIGHT_MIN));
            self.said_tokens.entry(*tenant).or_insert(Window::new(0));
        }
        for (tenant, window) in &mut self.said {
            window.set(said.get(tenant).unwrap_or(&zero).weight, now);
        }
        for (tenant, window) in &mut self.said_tokens {
            window.set(said.get(tenant).unwrap_or(&zero).tokens, now);
        }
        self.said.retain(|_, window| !window.is_settled(WEIGHT_MIN, now));
        self.said_tokens.retain(|_, window| !window.is_settled(0, now));
        texts
    }

    /// Tenants of which something is said.
    pub(super) fn said_count(&self) -> usize {
        self.said.len().max(self.said_tokens.len())
    }

    /// This node's part of the quotas of all tenants: of those that nobody names, and of those that somebody does.
    pub(super) fn shares(&self, now: Instant) -> (Share, HashMap<TenantKey, Share>) {
        let (pool, base) = (self.reach(now), self.base.min(now));
        let bases: u64 = self.others.values().map(|other| u64::from(other.base.max(now))).sum();
        let mut elsewhere: HashMap<TenantKey, u64> = HashMap::new();
        for other in self.others.values() {
            let own = u64::from(other.base.max(now));
            for (tenant, weight) in &other.weights {
                let sum = elsewhere.entry(*tenant).or_insert(bases);
                *sum = *sum - own + u64::from(weight.max(now));
            }
        }
        for tenant in self.said.keys() {
            elsewhere.entry(*tenant).or_insert(bases);
        }
        let of = |weight: u16, others: u64| {
            pool.times(part(u64::from(weight), u64::from(weight) + others))
        };
        let named = elsewhere.into_iter().map(|(tenant, others)| {
            let said = self.said.get(&tenant).map_or(WEIGHT_MIN, |weight| weight.min(now));
            // A node that has just begun counts for nothing yet, whatever it says.
            let weight = if base == 0 { 0 } else { said };
            (tenant, of(weight, others))
        });
        (of(base, bases), named.collect())
    }

    /// Tokens of a tenant today: what this node used for all that others know, and what the others used.
    pub(super) fn tokens(&self, tenant: &TenantKey, day: u64, now: Instant) -> (u64, u64) {
        if self.day != day {
            return (0, 0);
        }
        let here = self.said_tokens.get(tenant).map_or(0, |tokens| tokens.min(now));
        let elsewhere = self.tokens.iter().filter(|(node, _)| **node != self.me);
        let elsewhere = elsewhere.filter_map(|(_, tokens)| tokens.get(tenant));
        (here, elsewhere.fold(0, |sum: u64, tokens| sum.saturating_add(*tokens)))
    }

    /// Every node that counts, this one included; none while it knows of nobody.
    pub(super) fn known(&self) -> Remembered {
        if self.is_lost() {
            return Remembered::new();
        }
        let kept = |other: &Other| other.silent.map(|(_, kept)| kept.billionths());
        let others = self.others.iter().map(|(node, other)| (node.clone(), kept(other)));
        let counts = self.base.get() > 0;
        others.chain(counts.then(|| (self.me.clone(), None))).collect()
    }

    fn reach(&self, now: Instant) -> Share {
        self.pool.min(now).min(self.heard_pool.min(now))
    }

    /// Which part this side has, and who is silent.
    pub(super) fn pool(&self, now: Instant) -> (Share, Vec<NodeId>) {
        let silent = self.others.iter().filter(|(_, other)| other.silent.is_some());
        (self.reach(now), silent.map(|(node, _)| node.clone()).collect())
    }
}

impl Other {
    fn new() -> Self {
        Self {
            silent: None,
            heard: None,
            is_remembered: false,
            base: Window::new(WEIGHT_MIN),
            weights: HashMap::new(),
            said: BTreeMap::new(),
        }
    }

    fn hear(
        &mut self,
        said: BTreeMap<u8, String>,
        tokens: &mut HashMap<TenantKey, u64>,
        day: u64,
        now: Instant,
    ) {
        let is_back = self.silent.take().is_some();
        self.heard = Some((self.heard.map_or(now, |(first, _)| first), now));
        self.base.set(WEIGHT_MIN, now);
        if is_back || said != self.said {
            let mut heard = HashMap::new();
            for (tenant, entry) in said.values().flat_map(|text| said::read(text, day)) {
                heard.insert(tenant, entry.weight);
                if entry.tokens > 0 {
                    let most = tokens.entry(tenant).or_default();
                    *most = entry.tokens.max(*most);
                }
            }
            for tenant in heard.keys() {
                self.weights.entry(*tenant).or_insert(Window::new(WEIGHT_MIN));
            }
            for (tenant, window) in &mut self.weights {
                window.set(heard.get(tenant).copied().unwrap_or(WEIGHT_MIN), now);
            }
            self.said = said;
        }
        self.weights.retain(|_, window| !window.is_settled(WEIGHT_MIN, now));
    }

    /// Whether everybody must know it.
    fn is_settled(&self, now: Instant) -> bool {
        self.is_remembered
            || self.heard.is_some_and(|(first, _)| now.duration_since(first) >= 2 * LEASE)
    }

    fn fall_silent(&mut self, kept: Share, now: Instant) {
        self.silent = Some((now, kept));
        self.base.set(0, now);
        self.weights.values_mut().for_each(|window| window.set(0, now));
    }
}

//! What was resolved, kept at three levels in one cache, keyed by who may see it and the name (paper §7.5):
//!
//! | level | scope | at most |
//! |---|---|---|
//! | L1 | one caller of this node | 60 s |
//! | L2 | the zone, as this node has it | 300 s |
//! | L3 | the zones that ask this one, at their parent's resolver | 900 s |
//!
//! An entry is fresh for the shortest of its level's time, its record's `ttl` and the tool list's `ttlMs`; that a
//! name is absent counts for 30 seconds at most. After that it is kept while there is room, because an outage may
//! have use for it until its record expires. What only one caller may see stays at L1, what only this zone may see
//! never enters L3; [`Reach`] says which, and [`Cache::put`] is the one place that looks.
//!
//! `quick_cache` bounds the memory and evicts; moka would, too, but it reads the clock itself, and here time is passed
//! in, so that hours of lookups are tested in milliseconds. Health is never cached.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aop_core::TenantName;
use quick_cache::Weighter;
use quick_cache::sync::Cache as Storage;
use serde::Serialize;
use tokio::time::Instant;

use super::name::FullName;

/// What all names of all levels may take together, their proofs included.
pub const CACHE_MAX_BYTES: u64 = 64 << 20;
/// What an entry takes beside its value and its name: keys, times, and its place in the table.
const ENTRY_BYTES: u64 = 256;

/// What a value takes in memory.
pub trait Weigh {
    /// In bytes, roughly and never too little; what several share is counted for each.
    fn bytes(&self) -> u64;
}

#[derive(Debug, Clone)]
struct Scales;

impl<V: Weigh> Weighter<(Scope, FullName), Entry<V>> for Scales {
    fn weight(&self, key: &(Scope, FullName), entry: &Entry<V>) -> u64 {
        ENTRY_BYTES + key.1.as_str().len() as u64 + entry.value.bytes()
    }
}

/// A level of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Level {
    /// Of one caller.
    L1,
    /// Of the zone.
    L2,
    /// Of the zones that ask.
    L3,
}

impl Level {
    /// Every level.
    pub const ALL: [Self; 3] = [Self::L1, Self::L2, Self::L3];

    /// The longest that an entry is fresh here.
    #[must_use]
    pub const fn cap(self) -> Duration {
        Duration::from_secs(match self {
            Self::L1 => 60,
            Self::L2 => 300,
            Self::L3 => 900,
        })
    }
}

/// Who may see what was resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// The caller who asked.
    Caller,
    /// Everybody in the zone that asked.
    Zone,
    /// Everybody.
    World,
}

/// Who asks a level.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A caller of this node.
    Caller(TenantName),
    /// This zone.
    Zone,
    /// Other zones.
    Peers,
}

impl Scope {
    /// The level it is served by.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::Caller(_) => Level::L1,
            Self::Zone => Level::L2,
            Self::Peers => Level::L3,
        }
    }

    const fn admits(&self, reach: Reach) -> bool {
        match self {
            Self::Caller(_) => true,
            Self::Zone => !matches!(reach, Reach::Caller),
            Self::Peers => matches!(reach, Reach::World),
        }
    }
}

/// How long a value may be believed at which level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// What its record or list says, whichever is shorter.
    pub ttl: Duration,
    /// What is left until it expires.
    pub life: Duration,
}

/// A value and how old it is.
#[derive(Debug, Clone)]
pub struct Entry<V> {
    /// The value.
    pub value: V,
    /// Until when it is fresh.
    pub fresh_until: Instant,
    /// Until when it may be used in an outage.
    pub expires: Instant,
}

/// Lookups of one level.
#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    stale: AtomicU64,
}

/// The cache. Cheap to ask: a hit is one lookup in a sharded table.
pub struct Cache<V: Weigh + Clone> {
    entries: Storage<(Scope, FullName), Entry<V>, Scales>,
    counts: [Counts; 3],
}

impl<V: Weigh + Clone> Cache<V> {
    /// An empty cache of so many bytes.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        // Only the size of its first table.
        let likely = usize::try_from(max_bytes / (4 * ENTRY_BYTES)).unwrap_or(usize::MAX);
        let entries = Storage::with_weighter(likely, max_bytes, Scales);
        Self { entries, counts: Default::default() }
    }

    /// A fresh entry, if its value still holds.
    pub fn fresh(
        &self,
        scope: &Scope,
        name: &FullName,
        now: Instant,
        holds: impl FnOnce(&V) -> bool,
    ) -> Option<Entry<V>> {
        let found =
            self.look(scope, name).filter(|entry| now < entry.fresh_until && holds(&entry.value));
        let counts = self.counts(scope.level());
        let count = if found.is_some() { &counts.hits } else { &counts.misses };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// An entry for an outage: it may be old, but has not expired, and its value still holds.
    pub fn stale(
        &self,
        scope: &Scope,
        name: &FullName,
        now: Instant,
        holds: impl FnOnce(&V) -> bool,
    ) -> Option<Entry<V>> {
        let found =
            self.look(scope, name).filter(|entry| now < entry.expires && holds(&entry.value));
        if found.is_some() {
            self.counts(scope.level()).stale.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    /// An entry, however old, for a look that is not counted.
    pub fn peek(&self, scope: &Scope, name: &FullName) -> Option<Entry<V>> {
        self.look(scope, name)
    }

    fn look(&self, scope: &Scope, name: &FullName) -> Option<Entry<V>> {
        self.entries.get(&(scope.clone(), name.clone()))
    }

    /// Keeps a value in a scope that may have it. `times` are what is left of them:
    /// a name is not fresh for longer because it was copied from another level.
    pub fn put(
        &self,
        scope: &Scope,
        name: &FullName,
        value: V,
        reach: Reach,
        times: Times,
        now: Instant,
    ) {
        if !scope.admits(reach) || times.ttl.is_zero() || times.life.is_zero() {
            return;
        }
        let fresh = scope.level().cap().min(times.ttl).min(times.life);
        let entry = Entry { value, fresh_until: now + fresh, expires: now + times.life };
        self.entries.insert((scope.clone(), name.clone()), entry);
    }

    /// Makes an entry old earlier than it would be.
    pub fn shorten(&self, scope: &Scope, name: &FullName, fresh_until: Instant) {
        if let Some(entry) = self.look(scope, name)
            && fresh_until < entry.fresh_until
        {
            self.entries.insert((scope.clone(), name.clone()), Entry { fresh_until, ..entry });
        }
    }

    const fn counts(&self, level: Level) -> &Counts {
        &self.counts[level as usize]
    }

    /// Hits, misses and stale answers of a level so far.
    #[must_use]
    pub fn figures(&self, level: Level) -> [u64; 3] {
        let counts = self.counts(level);
        [&counts.hits, &counts.misses, &counts.stale].map(|count| count.load(Ordering::Relaxed))
    }

    /// Names kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }
}

#[cfg(test)]
mod tests;

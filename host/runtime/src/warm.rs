//! Instances that wait for their agent's next call (`lifetime = "warm"`).
//!
//! One serves one call at a time. It is thrown away when it trapped, passed a deadline, was
//! cancelled, served its share of calls, or idled too long; what a caller left in it is visible to
//! the agent's later calls, which is why the lifetime is the operator's choice, per agent.
//!
//! What idles takes places of the instance pool from what would run. So all agents share one
//! [`Shelf`]: it holds a part of the pool at most, and gives up the instance that idled longest,
//! whoever's it is, when another has to go there or a call finds the pool full.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use aop_core::fair::Place;
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::state::State;

/// What may idle, as a part of the instances that may live: as much is left for calls that run.
const IDLE_FRACTION: u32 = 2;

/// A live instance.
pub(crate) struct Live {
    pub(crate) store: Store<State>,
    pub(crate) instance: Instance,
    pub(crate) calls: u32,
    /// Of an instance without a slot of the pool.
    pub(crate) _place: Option<Place>,
}

/// The idle instances of all agents.
pub(crate) struct Shelf<T = Live> {
    instances_max: usize,
    places: Mutex<Places<T>>,
}

struct Places<T> {
    /// By when they came: the longest idle first.
    idle: BTreeMap<u64, Idle<T>>,
    pools: HashMap<u64, Pool>,
    /// The next number, of an instance or of a pool.
    next: u64,
}

struct Idle<T> {
    pool: u64,
    since: Instant,
    live: T,
}

/// One pool's part of the shelf.
#[derive(Default)]
struct Pool {
    /// Its instances, the longest idle first.
    idle: VecDeque<u64>,
    /// Whether a task looks for expired ones.
    reaping: bool,
}

/// The idle instances of one agent's revision.
pub(crate) struct WarmPool<T: Send + 'static = Live> {
    shelf: Arc<Shelf<T>>,
    id: u64,
    calls_max: u32,
    idle_max: Duration,
}

impl<T: Send + 'static> Shelf<T> {
    /// The shelf of a host on which that many instances may live at once.
    pub(crate) fn new(instances_max: u32) -> Arc<Self> {
        let idle_max = (instances_max / IDLE_FRACTION).max(1);
        Arc::new(Self {
            instances_max: usize::try_from(idle_max).unwrap_or(usize::MAX),
            places: Mutex::new(Places { idle: BTreeMap::new(), pools: HashMap::new(), next: 0 }),
        })
    }

    /// A place for the instances of one agent.
    pub(crate) fn pool(self: &Arc<Self>, calls_max: u32, idle_max: Duration) -> Arc<WarmPool<T>> {
        let mut places = self.places();
        let id = places.number();
        places.pools.insert(id, Pool::default());
        drop(places);
        Arc::new(WarmPool { shelf: Arc::clone(self), id, calls_max, idle_max })
    }

    /// Throws away the instance that idled longest. Whether there was one.
    pub(crate) fn evict(&self) -> bool {
        // Dropped with the lock free: it frees the memory of a whole instance.
        let evicted = self.places().take_longest_idle();
        evicted.is_some()
    }

    fn places(&self) -> MutexGuard<'_, Places<T>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Places<T> {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn take_longest_idle(&mut self) -> Option<T> {
        let (_, idle) = self.idle.pop_first()?;
        // Numbers grow, so it is the longest idle one of its pool as well.
        if let Some(pool) = self.pools.get_mut(&idle.pool) {
            pool.idle.pop_front();
        }
        Some(idle.live)
    }
}

impl WarmPool {
    /// Keeps an instance whose call ended well.
    pub(crate) fn keep(self: &Arc<Self>, mut live: Live) {
        live.store.data().end();
        live.calls += 1;
        if live.calls < self.calls_max {
            self.put(live);
        }
    }
}

impl<T: Send + 'static> WarmPool<T> {
    /// The instance that was used last, if one waits.
    pub(crate) fn take(&self) -> Option<T> {
        let mut places = self.shelf.places();
        let number = places.pools.get_mut(&self.id)?.idle.pop_back()?;
        places.idle.remove(&number).map(|idle| idle.live)
    }

    fn put(self: &Arc<Self>, live: T) {
        let mut guard = self.shelf.places();
        let places = &mut *guard;
        let number = places.number();
        let Some(pool) = places.pools.get_mut(&self.id) else { return };
        pool.idle.push_back(number);
        if !std::mem::replace(&mut pool.reaping, true) {
            tokio::spawn(reap(Arc::downgrade(self), self.idle_max));
        }
        places.idle.insert(number, Idle { pool: self.id, since: Instant::now(), live });
        let is_over = places.idle.len() > self.shelf.instances_max;
        let evicted = if is_over { places.take_longest_idle() } else { None };
        drop(guard);
        drop(evicted);
    }

    /// Drops what idled too long. The time until the next one has; none when no instance is left.
    fn expire(&self, now: Instant) -> Option<Duration> {
        let mut guard = self.shelf.places();
        let Places { idle, pools, .. } = &mut *guard;
        let pool = pools.get_mut(&self.id)?;
        let mut expired = Vec::new();
        let next = loop {
            let Some(number) = pool.idle.front() else { break None };
            let idled = idle
                .get(number)
                .map_or(self.idle_max, |idle| now.saturating_duration_since(idle.since));
            if idled < self.idle_max {
                break Some(self.idle_max - idled);
            }
            expired.extend(idle.remove(number));
            pool.idle.pop_front();
        };
        pool.reaping = next.is_some();
        drop(guard);
        drop(expired);
        next
    }
}

impl<T: Send + 'static> Drop for WarmPool<T> {
    fn drop(&mut self) {
        let mut places = self.shelf.places();
        let Some(pool) = places.pools.remove(&self.id) else { return };
        let gone: Vec<_> =
            pool.idle.iter().filter_map(|number| places.idle.remove(number)).collect();
        drop(places);
        drop(gone);
    }
}

async fn reap<T: Send + 'static>(pool: Weak<WarmPool<T>>, mut wait: Duration) {
    loop {
        tokio::time::sleep(wait).await;
        let Some(pool) = pool.upgrade() else { return };
        match pool.expire(Instant::now()) {
            Some(next) => wait = next,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests;

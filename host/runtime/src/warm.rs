//! Instances that wait for their agent's next call (`lifetime = "warm"`).
//!
//! One serves one call at a time. It is thrown away when it trapped, passed a deadline, was
//! cancelled, served its share of calls, or idled too long; what a caller left in it is visible to
//! the agent's later calls, which is why the lifetime is the operator's choice, per agent.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use wasmtime::Store;
use wasmtime::component::Instance;

use crate::state::State;

/// A live instance.
pub(crate) struct Live {
    pub(crate) store: Store<State>,
    pub(crate) instance: Instance,
    pub(crate) calls: u32,
}

/// The idle instances of one agent's revision.
pub(crate) struct WarmPool {
    calls_max: u32,
    idle_max: Duration,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// The longest idle first.
    instances: Vec<(Instant, Live)>,
    reaping: bool,
}

impl WarmPool {
    pub(crate) fn new(calls_max: u32, idle_max: Duration) -> Arc<Self> {
        Arc::new(Self { calls_max, idle_max, idle: Mutex::default() })
    }

    /// The instance that was used last, if one waits.
    pub(crate) fn take(&self) -> Option<Live> {
        self.lock().instances.pop().map(|(_, live)| live)
    }

    /// Keeps an instance whose call ended well.
    pub(crate) fn keep(self: &Arc<Self>, mut live: Live) {
        live.calls += 1;
        if live.calls >= self.calls_max {
            return;
        }
        let mut idle = self.lock();
        idle.instances.push((Instant::now(), live));
        if !idle.reaping {
            idle.reaping = true;
            tokio::spawn(reap(Arc::downgrade(self), self.idle_max));
        }
    }

    /// Drops what idled too long. The time until the next one has; none when no instance is left.
    fn expire(&self, now: Instant) -> Option<Duration> {
        let mut idle = self.lock();
        let expired = idle
            .instances
            .iter()
            .take_while(|(since, _)| now.saturating_duration_since(*since) >= self.idle_max)
            .count();
        let dead: Vec<_> = idle.instances.drain(..expired).collect();
        let next = idle
            .instances
            .first()
            .map(|(since, _)| self.idle_max.saturating_sub(now.saturating_duration_since(*since)));
        idle.reaping = next.is_some();
        drop(idle);
        drop(dead);
        next
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn reap(pool: Weak<WarmPool>, mut wait: Duration) {
    loop {
        tokio::time::sleep(wait).await;
        let Some(pool) = pool.upgrade() else { return };
        match pool.expire(Instant::now()) {
            Some(next) => wait = next,
            None => return,
        }
    }
}

//! Zones that lately let a lookup wait in vain. Where an older answer is at hand, nobody waits for such a zone again for a
//! while: the old answer is given at once, and the zone is asked behind it, as RFC 8767 has it.
//!
//! What bounds it: so many zones, and one question behind all lookups of a name.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::WeakShared;
use quick_cache::sync::Cache as Storage;
use tokio::time::Instant;

use super::super::name::{FullName, ZoneName};
use super::{ResolveError, Resolver, Walked};

/// How long a zone is not waited for.
const SILENT_FOR: Duration = Duration::from_secs(30);
/// What is refused sooner costs nobody anything, and is noticed to be back sooner when it is asked.
const WAITED_MIN: Duration = Duration::from_secs(1);
/// Zones that are remembered.
const ZONES_MAX: usize = 1024;

/// Until when each zone is not waited for.
#[derive(Debug)]
pub(super) struct Silent(Storage<ZoneName, Instant>);

impl Default for Silent {
    fn default() -> Self {
        Self(Storage::new(ZONES_MAX))
    }
}

impl Silent {
    fn has(&self, name: &FullName, now: Instant) -> bool {
        self.0.get(&name.zone()).is_some_and(|until| now < until)
    }
}

impl Resolver {
    /// Whether the zones that would know a name let somebody wait in vain lately.
    pub(super) fn is_silent(&self, name: &FullName, now: Instant) -> bool {
        self.silent.has(name, now)
    }

    /// Takes note of how a lookup that began at some time ended.
    pub(super) fn note_silence(&self, name: &FullName, began: Instant, walked: &Walked) {
        let now = Instant::now();
        let was_in_vain = matches!(walked, Err(ResolveError::Unreachable { .. }));
        if was_in_vain && now.duration_since(began) >= WAITED_MIN {
            self.silent.0.insert(name.zone(), now + SILENT_FOR);
        } else if !was_in_vain {
            self.silent.0.remove(&name.zone());
        }
    }

    /// Looks a name up for whoever asks next, unless that is under way.
    pub(super) fn look_behind(self: &Arc<Self>, name: &FullName) {
        let is_under_way = {
            let flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            let flight = flights.get(name).and_then(WeakShared::upgrade);
            flight.is_some_and(|flight| flight.peek().is_none())
        };
        if is_under_way {
            return;
        }
        let (resolver, name, began) = (Arc::clone(self), name.clone(), Instant::now());
        if let Some(flight) = self.flight(&name) {
            tokio::spawn(async move {
                let walked = flight.await;
                resolver.note_silence(&name, began, &walked);
            });
        }
    }
}

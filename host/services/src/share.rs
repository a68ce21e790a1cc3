//! A part for each agent and each tenant of something that all agents of the host share, so that none can take it all.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aop_core::fair::{self, Parts, Party};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// One agent may hold this part of what the host has: four have to work together to keep others out.
const SHARE_DIVISOR: usize = 4;

/// Places of a host, and the part of them that each agent may hold. It remembers the agents and tenants that hold or wait
/// for one, and no others.
pub(crate) struct Portions<K> {
    /// By the tenant's id among parties.
    places: Parts<u64>,
    places_max: usize,
    agents: Places<K>,
}

/// Places of each of many. It remembers those of whom somebody holds or waits for one, and no others.
pub(crate) struct Places<K>(Mutex<HashMap<K, Weak<Semaphore>>>);

impl<K> Default for Places<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq> Places<K> {
    /// The places of one, which has `max` of them.
    pub(crate) fn of(&self, key: K, max: usize) -> Arc<Semaphore> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = all.get(&key).and_then(Weak::upgrade) {
            return places;
        }
        all.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        all.insert(key, Arc::downgrade(&places));
        places
    }
}

/// A place, until it is dropped.
pub(crate) struct Place {
    _of_host: fair::Place,
    _of_agent: OwnedSemaphorePermit,
    _of_more: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Held together with a place of something else.
    pub(crate) fn with(self, more: Option<OwnedSemaphorePermit>) -> Self {
        Self { _of_more: more, ..self }
    }
}

impl<K: Hash + Eq> Portions<K> {
    pub(crate) fn new(places_max: usize) -> Self {
        Self { places: Parts::new(places_max), places_max, agents: Places::default() }
    }

    /// Waits for a place: first for one of the agent's part, then in fair turn with those who want the same.
    ///
    /// # Errors
    /// Never: nobody closes the semaphores.
    pub(crate) async fn place(&self, agent: K, party: Party) -> Result<Place, AcquireError> {
        let of_agent = self.agents.of(agent, self.agent_max()).acquire_owned().await?;
        let of_host = self.places.place(&party.tenant.id, party).await;
        Ok(Place { _of_host: of_host, _of_agent: of_agent, _of_more: None })
    }

    /// How many there are.
    pub(crate) const fn places_max(&self) -> usize {
        self.places_max
    }

    /// How many one agent may hold.
    pub(crate) fn agent_max(&self) -> usize {
        (self.places_max / SHARE_DIVISOR).max(1)
    }

    /// How many are held.
    pub(crate) fn held(&self) -> usize {
        self.places.whole().held() as usize
    }
}

#[cfg(test)]
mod tests {
    use aop_core::fair::Flow;

    use super::*;

    fn party(tenant: u64) -> Party {
        let flow = |id| Flow { id, weight: Flow::WEIGHT_DEFAULT };
        Party { tenant: flow(tenant), agent: flow(tenant) }
    }

    #[tokio::test]
    async fn one_agent_leaves_places_to_others() {
        let shares = Portions::new(8);
        let place = |agent| shares.place(agent, party(agent));
        let first = [place(1).await.unwrap(), place(1).await.unwrap()];
        let mut third = Box::pin(place(1));
        assert!(futures::poll!(&mut third).is_pending(), "a quarter is taken");
        let _other = place(2).await.unwrap();
        assert_eq!(shares.held(), 3, "who waits for its own share holds nothing of the host's");
        drop(first);
        drop(third.await.unwrap());
        assert_eq!(shares.held(), 1);
        let _another = place(3).await.unwrap();
        assert_eq!(shares.agents.0.lock().unwrap().len(), 2, "nobody remembers the first");
    }

    #[tokio::test]
    async fn all_agents_together_have_what_the_host_has() {
        let shares = Portions::new(2);
        let held = [1, 2].map(|agent| shares.place(agent, party(agent)));
        let _held = futures::future::join_all(held).await;
        assert!(futures::poll!(Box::pin(shares.place(3, party(3)))).is_pending());
    }

    #[tokio::test]
    async fn the_agents_of_one_tenant_leave_places_to_others_and_take_turns_with_them() {
        let shares = Portions::new(4);
        let mut held = Vec::new();
        for agent in 0..3 {
            held.push(shares.place(agent, party(1)).await.unwrap());
        }
        let mut fourth = Box::pin(shares.place(3, party(1)));
        assert!(futures::poll!(&mut fourth).is_pending());
        let other = shares.place(4, party(2)).await.unwrap();
        let mut waiting = Box::pin(shares.place(5, party(3)));
        assert!(futures::poll!(&mut waiting).is_pending(), "all are taken");
        drop(other);
        assert!(futures::poll!(&mut waiting).is_ready());
        drop(held);
        fourth.await.unwrap();
    }
}

//! A part for each agent of something that all agents of the host share, so that none can take it all.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// One agent may hold this part of what the host has: four have to work together to keep others out.
const SHARE_DIVISOR: usize = 4;

/// Places of a host, and the part of them that each agent may hold. It remembers the agents that hold or wait
/// for one, and no others.
pub(crate) struct Shares<K> {
    places: Arc<Semaphore>,
    places_max: usize,
    agents: Mutex<HashMap<K, Weak<Semaphore>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _of_agent: OwnedSemaphorePermit,
    _of_host: OwnedSemaphorePermit,
}

impl<K: Hash + Eq> Shares<K> {
    pub(crate) fn new(places_max: usize) -> Self {
        let places = Arc::new(Semaphore::new(places_max));
        Self { places, places_max, agents: Mutex::default() }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// Never: nobody closes the semaphores.
    pub(crate) async fn place(&self, agent: K) -> Result<Place, AcquireError> {
        let of_agent = self.of(agent).acquire_owned().await?;
        let of_host = Arc::clone(&self.places).acquire_owned().await?;
        Ok(Place { _of_agent: of_agent, _of_host: of_host })
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
        self.places_max.saturating_sub(self.places.available_permits())
    }

    fn of(&self, agent: K) -> Arc<Semaphore> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = agents.get(&agent).and_then(Weak::upgrade) {
            return share;
        }
        agents.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.agent_max()));
        agents.insert(agent, Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_agent_leaves_places_to_others() {
        let shares = Shares::new(8);
        let first = [shares.place(1).await.unwrap(), shares.place(1).await.unwrap()];
        let mut third = Box::pin(shares.place(1));
        assert!(futures::poll!(&mut third).is_pending(), "a quarter is taken");
        let _other = shares.place(2).await.unwrap();
        assert_eq!(shares.held(), 3, "who waits for its own share holds nothing of the host's");
        drop(first);
        drop(third.await.unwrap());
        assert_eq!(shares.held(), 1);
        let _another = shares.place(3).await.unwrap();
        assert_eq!(shares.agents.lock().unwrap().len(), 2, "nobody remembers the first");
    }

    #[tokio::test]
    async fn all_agents_together_have_what_the_host_has() {
        let shares = Shares::new(2);
        let _held = [shares.place(1).await.unwrap(), shares.place(2).await.unwrap()];
        assert!(futures::poll!(Box::pin(shares.place(3))).is_pending());
    }
}

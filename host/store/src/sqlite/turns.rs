//! Turns at the writer, so that an agent that writes without end does not keep the others from it.
//!
//! The writer takes what comes first. An owner of buckets has at most [`WRITES_AT_ONCE`] writes on their way to it;
//! further ones wait here, in their order, in the futures of the calls that make them. An owner is known only while
//! something of it is on its way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aop_core::StoreError;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Writes of one owner that are on their way. As many as share a flush well, and a small part of one group.
const WRITES_AT_ONCE: usize = 8;

/// A tenant and an agent's id; no id for what the tenant's agents share.
pub(super) type Owner = (String, Vec<u8>);

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Turns {
    owners: Mutex<HashMap<Owner, Arc<Semaphore>>>,
}

/// One write of an owner, from before it waits until it has ended.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    owner: Owner,
    places: Arc<Semaphore>,
}

impl Turns {
    fn owners(&self) -> MutexGuard<'_, HashMap<Owner, Arc<Semaphore>>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, owner: &Owner) -> Turn<'_> {
        let mut owners = self.owners();
        let places =
            owners.entry(owner.clone()).or_insert_with(|| Arc::new(Semaphore::new(WRITES_AT_ONCE)));
        Turn { turns: self, owner: owner.clone(), places: Arc::clone(places) }
    }
}

impl Turn<'_> {
    /// Waits until it is the write's turn, which lasts until the permit is dropped. Cancel-safe.
    ///
    /// # Errors
    /// None as long as the store is open.
    pub(super) async fn take(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        let closed = |_| StoreError::Failed("the store is closed".to_owned());
        self.places.acquire().await.map_err(closed)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut owners = self.turns.owners();
        // The table's own and this one: references are made under the lock only.
        if Arc::strong_count(&self.places) == 2 {
            owners.remove(&self.owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// A permit, if there is one now.
    fn now<'a>(turn: &'a Turn<'_>) -> Option<SemaphorePermit<'a>> {
        match pin!(turn.take()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Some(permit.unwrap()),
            Poll::Pending => None,
        }
    }

    fn owner(agent: u8) -> Owner {
        ("default".to_owned(), vec![agent])
    }

    #[test]
    fn an_owner_has_few_writes_on_their_way_and_no_other_waits_for_it() {
        let turns = Turns::default();
        let greedy: Vec<_> = (0..WRITES_AT_ONCE + 1).map(|_| turns.of(&owner(1))).collect();
        let mut taken: Vec<_> =
            greedy[..WRITES_AT_ONCE].iter().map(|turn| now(turn).unwrap()).collect();
        assert!(now(&greedy[WRITES_AT_ONCE]).is_none(), "all places are taken");
        let other = turns.of(&owner(2));
        assert!(now(&other).is_some(), "another owner has places of its own");
        taken.pop();
        assert!(now(&greedy[WRITES_AT_ONCE]).is_some(), "a place comes back");
    }

    #[test]
    fn an_owner_is_forgotten_with_its_last_write() {
        let turns = Turns::default();
        let (first, second) = (turns.of(&owner(1)), turns.of(&owner(1)));
        drop(first);
        assert_eq!(turns.owners().len(), 1);
        drop(second);
        assert_eq!(turns.owners().len(), 0);
    }
}

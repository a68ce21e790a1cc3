//! Turns at what all owners of buckets share (a writer, connections), so that one that uses it without end does not keep the
//! others from it.
//!
//! An owner has a few operations on their way at a time; further ones wait here, in their order, in the futures of the
//! calls that make them. An owner is known only while something of it is on its way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aop_core::StoreError;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A tenant and an agent's id; no id for what the tenant's agents share.
pub(crate) type Owner = (String, Vec<u8>);

/// See the module's documentation.
pub(crate) struct Turns {
    at_once: usize,
    owners: Mutex<HashMap<Owner, Arc<Semaphore>>>,
}

/// One operation of an owner, from before it waits until it has ended.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    owner: Owner,
    places: Arc<Semaphore>,
}

impl Turns {
    fn owners(&self) -> MutexGuard<'_, HashMap<Owner, Arc<Semaphore>>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns of which each owner has `at_once`.
    pub(crate) fn new(at_once: usize) -> Self {
        Self { at_once, owners: Mutex::default() }
    }

    pub(crate) fn of(&self, owner: &Owner) -> Turn<'_> {
        let mut owners = self.owners();
        let places =
            owners.entry(owner.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.at_once)));
        Turn { turns: self, owner: owner.clone(), places: Arc::clone(places) }
    }
}

impl Turn<'_> {
    /// Waits until it is the operation's turn, which lasts until the permit is dropped. Cancel-safe.
    ///
    /// # Errors
    /// None as long as the store is open.
    pub(crate) async fn take(&self) -> Result<SemaphorePermit<'_>, StoreError> {
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
        let turns = Turns::new(2);
        let greedy: Vec<_> = (0..3).map(|_| turns.of(&owner(1))).collect();
        let mut taken: Vec<_> = greedy[..2].iter().map(|turn| now(turn).unwrap()).collect();
        assert!(now(&greedy[2]).is_none(), "all places are taken");
        let other = turns.of(&owner(2));
        assert!(now(&other).is_some(), "another owner has places of its own");
        taken.pop();
        assert!(now(&greedy[2]).is_some(), "a place comes back");
    }

    #[test]
    fn an_owner_is_forgotten_with_its_last_write() {
        let turns = Turns::new(2);
        let (first, second) = (turns.of(&owner(1)), turns.of(&owner(1)));
        drop(first);
        assert_eq!(turns.owners().len(), 1);
        drop(second);
        assert_eq!(turns.owners().len(), 0);
    }
}

//! Turns at what all owners of buckets share (a writer, connections), so that one that uses it without end does not keep the
//! others from it.
//!
//! An owner has a few operations on their way at a time; further ones wait here, in their order, in the futures of the
//! calls that make them. An owner is known only while something of it is on its way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aop_core::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A tenant and an agent's id; no id for what the tenant's agents share, and for the tenant itself.
pub(crate) type Owner = (String, Vec<u8>);

/// See the module's documentation.
pub(crate) struct Turns {
    at_once: usize,
    owners: Mutex<HashMap<Owner, Arc<Semaphore>>>,
}

/// A place in the order of an owner, from before it waits.
struct Turn {
    turns: Arc<Turns>,
    owner: Owner,
    places: Arc<Semaphore>,
}

/// Places of an owner, until they are dropped. They may go with work that outlives whoever asked for it.
pub(crate) struct Taken {
    // Before the turn, which looks whether it is the last.
    _places: OwnedSemaphorePermit,
    _turn: Turn,
}

impl Turns {
    fn owners(&self) -> MutexGuard<'_, HashMap<Owner, Arc<Semaphore>>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns of which each owner has `at_once`.
    pub(crate) fn new(at_once: usize) -> Arc<Self> {
        Arc::new(Self { at_once, owners: Mutex::default() })
    }

    fn of(self: &Arc<Self>, owner: &Owner) -> Turn {
        let mut owners = self.owners();
        let places =
            owners.entry(owner.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.at_once)));
        Turn { turns: Arc::clone(self), owner: owner.clone(), places: Arc::clone(places) }
    }

    /// Waits until it is the turn of an operation that needs so many of the owner's places. Cancel-safe.
    ///
    /// # Errors
    /// None as long as the store is open.
    pub(crate) async fn take(
        self: &Arc<Self>,
        owner: &Owner,
        places: u32,
    ) -> Result<Taken, StoreError> {
        let closed = |_| StoreError::Failed("the store is closed".to_owned());
        let turn = self.of(owner);
        let taken = Arc::clone(&turn.places).acquire_many_owned(places).await.map_err(closed)?;
        Ok(Taken { _places: taken, _turn: turn })
    }

    /// So many places now, or none.
    pub(crate) fn try_take(self: &Arc<Self>, owner: &Owner, places: u32) -> Option<Taken> {
        let turn = self.of(owner);
        let taken = Arc::clone(&turn.places).try_acquire_many_owned(places).ok()?;
        Some(Taken { _places: taken, _turn: turn })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut owners = self.turns.owners();
        // The table's own and this one: references are made under the lock only, or by who has a turn.
        if Arc::strong_count(&self.places) == 2 {
            owners.remove(&self.owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What a future answers, if it does now.
    fn now(taking: Pin<&mut impl Future<Output = Result<Taken, StoreError>>>) -> Option<Taken> {
        match taking.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => Some(taken.unwrap()),
            Poll::Pending => None,
        }
    }

    fn owner(agent: u8) -> Owner {
        ("default".to_owned(), vec![agent])
    }

    #[test]
    fn an_owner_has_few_writes_on_their_way_and_no_other_waits_for_it() {
        let (turns, greedy) = (Turns::new(2), owner(1));
        let mut taken: Vec<_> =
            (0..2).map(|_| now(pin!(turns.take(&greedy, 1))).unwrap()).collect();
        let mut third = pin!(turns.take(&greedy, 1));
        assert!(now(third.as_mut()).is_none(), "all places are taken");
        assert!(turns.try_take(&greedy, 1).is_none());
        let other = owner(2);
        assert!(now(pin!(turns.take(&other, 2))).is_some(), "another owner has places of its own");
        taken.pop();
        assert!(now(third.as_mut()).is_some(), "a place comes back");
    }

    #[test]
    fn an_owner_is_forgotten_with_its_last_write() {
        let (turns, one) = (Turns::new(2), owner(1));
        let (first, second) = (turns.try_take(&one, 1).unwrap(), turns.try_take(&one, 1).unwrap());
        {
            let mut given_up = pin!(turns.take(&one, 1));
            assert!(now(given_up.as_mut()).is_none());
        }
        assert!(turns.try_take(&one, 1).is_none());
        drop(first);
        assert_eq!(turns.owners().len(), 1);
        drop(second);
        assert_eq!(turns.owners().len(), 0);
    }
}

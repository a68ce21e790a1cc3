//! Places of a host, of which every tenant can hold a part and none all.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Flow, Party, Permit, Permits};

/// Places of a whole, and the part of them that each of many may hold: what `share` of [`Permits`] leaves it. It
/// remembers those that hold or wait for one, and no others.
pub struct Parts<K> {
    whole: Arc<Permits>,
    /// What one may hold at the most, whatever is free.
    most: u32,
    parts: Mutex<HashMap<K, Weak<Permits>>>,
}

/// A place, until it is dropped.
pub struct Place {
    _of_whole: Permit<Arc<Permits>>,
    /// None where whoever has it may have all.
    _of_part: Option<Permit<Arc<Permits>>>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Place")
    }
}

impl<K: Hash + Eq + Clone> Parts<K> {
    /// That many places.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = u32::try_from(capacity).unwrap_or(Permits::UNLIMITED);
        let whole = Arc::new(Permits::new(capacity, 1));
        Self { whole, most: Permits::UNLIMITED, parts: Mutex::default() }
    }

    /// As many places as are wanted, of which nobody holds more than that many.
    #[must_use]
    pub fn each(most: u32) -> Self {
        Self { most, ..Self::new(usize::MAX) }
    }

    /// All of them.
    #[must_use]
    pub const fn whole(&self) -> &Arc<Permits> {
        &self.whole
    }

    /// The part of one. Whoever takes a place of it needs one of the whole, too.
    pub fn of(&self, key: &K) -> Arc<Permits> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = parts.get(key).and_then(Weak::upgrade) {
            return part;
        }
        if parts.len() == parts.capacity() {
            // Before it grows, so that the sweep is paid for by the insertions since the last one.
            parts.retain(|_, part| part.strong_count() > 0);
        }
        let part = Arc::new(Permits::part_of(Arc::clone(&self.whole), self.most, 1));
        parts.insert(key.clone(), Arc::downgrade(&part));
        part
    }

    /// Waits for a place in fair turn. Dropping the future leaves the queue.
    pub fn place(&self, key: &K, party: Party) -> impl Future<Output = Place> + Send + use<K> {
        let (part, whole) = (self.of(key), Arc::clone(&self.whole));
        async move {
            let of_part = Permits::acquire(part, party).await;
            Place { _of_whole: Permits::acquire(whole, party).await, _of_part: Some(of_part) }
        }
    }

    /// A place at once, where nobody waits: none when all are held, or all that one may hold.
    pub fn try_place(&self, key: &K) -> Option<Place> {
        let of_part = Permits::try_acquire(self.of(key), nobody())?;
        Some(Place { _of_part: Some(of_part), ..self.try_place_of_whole()? })
    }

    /// The same for whom no part is a bound: none when all are held.
    pub fn try_place_of_whole(&self) -> Option<Place> {
        let of_whole = Permits::try_acquire(Arc::clone(&self.whole), nobody())?;
        Some(Place { _of_whole: of_whole, _of_part: None })
    }
}

/// Turns mean nothing where nobody waits.
const fn nobody() -> Party {
    let flow = Flow { id: 0, weight: Flow::WEIGHT_DEFAULT };
    Party { tenant: flow, agent: flow }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_holds_all_and_what_is_given_back_is_anybodys() {
        let parts = Parts::new(9);
        let mut greedy = Vec::new();
        greedy.extend(std::iter::from_fn(|| parts.try_place(&"greedy")));
        assert_eq!(greedy.len(), 8);
        let other = parts.try_place(&"other").unwrap();
        assert!(parts.try_place(&"third").is_none(), "all are held");
        drop(other);
        assert!(parts.try_place(&"greedy").is_none());
        drop(parts.try_place(&"third").unwrap());
        greedy.clear();
        assert_eq!(parts.whole().held(), 0);
    }

    #[test]
    fn whose_all_of_them_are_may_hold_all() {
        let parts = Parts::new(3);
        let other = parts.try_place(&"other").unwrap();
        let own: Vec<_> = std::iter::from_fn(|| parts.try_place_of_whole()).collect();
        assert_eq!(own.len(), 2);
        drop(own);
        assert_eq!(parts.whole().held(), 1);
        drop(other);
        assert!(Parts::<u64>::new(0).try_place_of_whole().is_none());
        assert!(Parts::new(0).try_place(&1).is_none());
    }

    #[test]
    fn each_holds_as_many_as_it_may() {
        let parts = Parts::each(2);
        let held = [parts.try_place(&"a").unwrap(), parts.try_place(&"a").unwrap()];
        assert!(parts.try_place(&"a").is_none());
        parts.try_place(&"b").unwrap();
        drop(held);
        parts.try_place(&"a").unwrap();
    }

    #[test]
    fn who_holds_nothing_is_forgotten_before_the_table_grows() {
        let parts = Parts::new(4);
        for key in 0..10_000 {
            drop(parts.try_place(&key).unwrap());
        }
        assert!(parts.parts.lock().unwrap().capacity() < 100);
    }

    #[test]
    fn one_place_is_everybodys() {
        let parts = Parts::new(1);
        let only = parts.try_place(&"a").unwrap();
        assert!(parts.try_place(&"b").is_none());
        drop(only);
        parts.try_place(&"b").unwrap();
    }
}

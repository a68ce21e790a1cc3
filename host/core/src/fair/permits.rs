//! Places that are given out in fair turn.
//!
//! Nobody waits while a place is free, and then a place costs two additions: no lock, no allocation. Only who finds none
//! goes to the queue behind the lock. Written with the standard library alone, so that every crate can share it; tokio's
//! semaphore serves in order of arrival, by which whoever asks most gets most.

use std::collections::HashSet;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use super::{Party, Queue, Ticket};

/// What a part may hold of a whole, as a multiple of what is still free there (the dynamic thresholds of Choudhury and
/// Hahne, 1998): one greedy tenant gets 8/9 of a pool, two get 8/17 each, and always a part stays free for the next.
const SHARE_OF_FREE: u32 = 8;

/// Places of which each is held by one party at a time.
pub struct Permits(Arc<Places>);

struct Places {
    capacity: AtomicU32,
    held: AtomicU32,
    waiting: AtomicU32,
    whole: Option<Arc<Permits>>,
    line: Mutex<Line>,
    /// Whether this part is in the list of its whole.
    is_listed: AtomicBool,
    /// Parts of this whole in which somebody waits: they may hold more when places come free here.
    parts: Mutex<Vec<Weak<Self>>>,
    /// How many those are, so that nobody takes the lock while there are none.
    parts_listed: AtomicU32,
}

struct Line {
    queue: Queue<Waker>,
    /// Who was given a place and does not know yet.
    given: HashSet<Ticket>,
}

impl Permits {
    /// No limit: places are counted only.
    pub const UNLIMITED: u32 = u32::MAX;

    /// That many places, held for about `quantum` of whatever [`Permit::spend`] counts.
    #[must_use]
    pub fn new(capacity: u32, quantum: u64) -> Self {
        Self::made(None, capacity, quantum)
    }

    /// Places of which each also needs one of `whole`, and which must leave some of those to others.
    #[must_use]
    pub fn part_of(whole: Arc<Self>, capacity: u32, quantum: u64) -> Self {
        Self::made(Some(whole), capacity, quantum)
    }

    /// Further places of the same whole, as many as it leaves to one of its parts.
    #[must_use]
    pub fn sibling(&self) -> Self {
        Self::made(self.0.whole.clone(), Self::UNLIMITED, 1)
    }

    fn made(whole: Option<Arc<Self>>, capacity: u32, quantum: u64) -> Self {
        Self(Arc::new(Places {
            capacity: AtomicU32::new(capacity),
            held: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            whole,
            line: Mutex::new(Line { queue: Queue::new(quantum), given: HashSet::new() }),
            is_listed: AtomicBool::new(false),
            parts: Mutex::default(),
            parts_listed: AtomicU32::new(0),
        }))
    }

    /// Changes how many there are. Who holds one keeps it.
    pub fn set_capacity(&self, capacity: u32) {
        self.0.capacity.store(capacity, Ordering::SeqCst);
        self.0.give();
        self.0.wake_parts();
    }

    /// How many there are.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.0.capacity.load(Ordering::Relaxed)
    }

    /// How many are held.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.0.held.load(Ordering::Relaxed)
    }

    /// How many wait for one.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// A place at once, unless all are held or somebody waits already.
    pub fn try_acquire<P: Deref<Target = Self>>(permits: P, party: Party) -> Option<Permit<P>> {
        // Who waits is counted before he looks for a place, and a place is given back before its holder looks for
        // who waits: one of the two sees the other. Hence the order that all agree on, here and below.
        let is_free = permits.0.waiting.load(Ordering::SeqCst) == 0 && permits.0.take();
        is_free.then(|| Permit { permits, party, is_queued: false, spent: 1 })
    }

    /// Waits for a place in turn. Dropping the future leaves the queue.
    pub fn acquire<P: Deref<Target = Self> + Unpin>(permits: P, party: Party) -> Acquire<P> {
        Acquire { permits: Some(permits), party, ticket: None }
    }

    /// What one part may hold of it now. At least one, which then waits here in fair turn; and of several never all.
    fn share(&self) -> u32 {
        let capacity = self.capacity();
        if capacity == Self::UNLIMITED {
            return capacity;
        }
        // In the order that all agree on: a place that came free must not be overlooked by the part that waits for it.
        share(capacity, self.0.held.load(Ordering::SeqCst))
    }
}

/// What one part may hold of a whole of so many places, of which that many are held by all: at least one, and of several
/// never all.
#[must_use]
pub fn share(capacity: u32, held: u32) -> u32 {
    let free = capacity.saturating_sub(held);
    free.saturating_mul(SHARE_OF_FREE).min(capacity.saturating_sub(1)).max(1)
}

impl Places {
    fn take(&self) -> bool {
        let capacity = self.capacity.load(Ordering::SeqCst);
        let room = self.whole.as_ref().map_or(capacity, |whole| capacity.min(whole.share()));
        let counted = self.held.try_update(Ordering::SeqCst, Ordering::Relaxed, |held| {
            (held < room).then_some(held + 1)
        });
        counted.is_ok()
    }

    /// Gives free places to who waits.
    fn give(&self) {
        while self.waiting.load(Ordering::SeqCst) > 0 {
            let mut line = self.line();
            if line.queue.is_empty() || !self.take() {
                return;
            }
            let Some((ticket, waker)) = line.queue.pop() else {
                self.held.fetch_sub(1, Ordering::SeqCst);
                return;
            };
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            line.given.insert(ticket);
            drop(line);
            waker.wake();
        }
    }

    fn give_back(&self, party: Party, is_queued: bool, spent: u64) {
        let is_last = self.held.fetch_sub(1, Ordering::SeqCst) == 1;
        let somebody_waits = self.waiting.load(Ordering::SeqCst) > 0;
        if is_queued || somebody_waits {
            let mut line = self.line();
            if is_queued {
                line.queue.settle(party, spent);
            } else {
                line.queue.spend(party, spent);
            }
            if is_last && line.given.is_empty() {
                line.queue.reset();
            }
            drop(line);
            self.give();
        }
        self.wake_parts();
    }

    /// Makes the whole look here when places come free in it.
    fn list(self: &Arc<Self>) {
        if let Some(whole) = &self.whole
            && !self.is_listed.swap(true, Ordering::SeqCst)
        {
            whole.0.parts_mut().push(Arc::downgrade(self));
            whole.0.parts_listed.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Places came free: what each part may hold of them has grown.
    fn wake_parts(&self) {
        if self.parts_listed.load(Ordering::SeqCst) == 0 {
            return;
        }
        let listed = std::mem::take(&mut *self.parts_mut());
        self.parts_listed
            .fetch_sub(u32::try_from(listed.len()).unwrap_or(u32::MAX), Ordering::SeqCst);
        for part in listed.iter().filter_map(Weak::upgrade) {
            // First: who begins to wait from now on lists it again.
            part.is_listed.store(false, Ordering::SeqCst);
            part.give();
            if part.waiting.load(Ordering::SeqCst) > 0 {
                part.list();
                // A place that came free between the two was nobody's to give: no part was listed.
                part.give();
            }
        }
    }

    fn parts_mut(&self) -> MutexGuard<'_, Vec<Weak<Self>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place, until it is dropped.
pub struct Permit<P: Deref<Target = Permits>> {
    permits: P,
    party: Party,
    is_queued: bool,
    spent: u64,
}

impl<P: Deref<Target = Permits>> Permit<P> {
    /// Says what holding it cost, in the unit of the quantum. Without that, one.
    pub const fn spend(&mut self, spent: u64) {
        self.spent = spent;
    }
}

impl<P: Deref<Target = Permits>> Drop for Permit<P> {
    fn drop(&mut self) {
        self.permits.0.give_back(self.party, self.is_queued, self.spent);
    }
}

/// Waits for a place.
pub struct Acquire<P: Deref<Target = Permits> + Unpin> {
    /// None once it has the place.
    permits: Option<P>,
    party: Party,
    ticket: Option<Ticket>,
}

impl<P: Deref<Target = Permits> + Unpin> Future for Acquire<P> {
    type Output = Permit<P>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit<P>> {
        let this = self.get_mut();
        let Some(permits) = this.permits.take() else { return Poll::Pending };
        let ticket = match this.ticket {
            Some(ticket) => ticket,
            None if permits.0.waiting.load(Ordering::SeqCst) == 0 && permits.0.take() => {
                let party = this.party;
                return Poll::Ready(Permit { permits, party, is_queued: false, spent: 1 });
            }
            None => {
                let mut line = permits.0.line();
                let ticket = line.queue.push(this.party, cx.waker().clone());
                permits.0.waiting.fetch_add(1, Ordering::SeqCst);
                drop(line);
                permits.0.list();
                // A place may have come free since the look at the top.
                permits.0.give();
                *this.ticket.insert(ticket)
            }
        };
        let mut line = permits.0.line();
        if line.given.remove(&ticket) {
            drop(line);
            this.ticket = None;
            return Poll::Ready(Permit { permits, party: this.party, is_queued: true, spent: 1 });
        }
        if let Some(waker) = line.queue.get_mut(&ticket) {
            waker.clone_from(cx.waker());
        }
        drop(line);
        this.permits = Some(permits);
        Poll::Pending
    }
}

impl<P: Deref<Target = Permits> + Unpin> Drop for Acquire<P> {
    fn drop(&mut self) {
        let (Some(permits), Some(ticket)) = (&self.permits, self.ticket) else { return };
        let mut line = permits.0.line();
        if line.queue.remove(&ticket).is_some() {
            permits.0.waiting.fetch_sub(1, Ordering::SeqCst);
            drop(line);
        } else if line.given.remove(&ticket) {
            drop(line);
            // Nobody used the turn that it was given.
            permits.0.give_back(self.party, true, 0);
        }
    }
}

#[cfg(test)]
mod tests;

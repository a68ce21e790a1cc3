//! A call's stay at an instance: it waits for its turn, takes the instance out, and puts it back if all went well.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use aop_core::Failure;
use aop_core::bucket::SessionId;
use aop_core::handle::Handle;
use aop_core::interface::ResourceId;
use tokio::sync::{Mutex, OwnedMutexGuard};
use wasmtime::component::ResourceAny;

use super::table::Held;
use super::{HANDLES_MAX, Handles, mint, refusal};
use crate::codec::Taken;
use crate::warm::Live;

/// A call that was counted in at a place. Dropping it counts it out.
pub(super) struct Visit<L, R> {
    handles: Arc<Handles<L, R>>,
    place: u64,
    seat: Arc<Mutex<Option<L>>>,
}

/// A call that has a place for itself. Dropping it without [`Seat::keep`] ends the instance, so a call that traps,
/// is late or cancelled takes it along wherever it stopped.
pub(crate) struct Seat<L = Live, R = ResourceAny> {
    visit: Visit<L, R>,
    guard: OwnedMutexGuard<Option<L>>,
    /// Whether the instance, or its first one, is this call's to bring back.
    is_out: bool,
}

impl<L, R> Visit<L, R> {
    pub(super) const fn new(
        handles: Arc<Handles<L, R>>,
        place: u64,
        seat: Arc<Mutex<Option<L>>>,
    ) -> Self {
        Self { handles, place, seat }
    }

    /// Waits until no other call works there. None when the instance ended meanwhile.
    pub(super) async fn enter(self) -> Option<Seat<L, R>> {
        let guard = Arc::clone(&self.seat).lock_owned().await;
        guard.is_some().then(|| Seat { visit: self, guard, is_out: false })
    }
}

impl<L, R> Drop for Visit<L, R> {
    fn drop(&mut self) {
        let mut table = self.handles.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = table.place_mut(self.place) {
            place.visits -= 1;
            place.used = Instant::now();
        }
    }
}

impl<L, R: Copy> Seat<L, R> {
    /// A new place, which this call brings an instance to.
    pub(super) const fn fresh(visit: Visit<L, R>, guard: OwnedMutexGuard<Option<L>>) -> Self {
        Self { visit, guard, is_out: true }
    }

    /// The conversation that the place belongs to, if it has one yet.
    pub(crate) fn session(&self) -> Option<SessionId> {
        self.visit.handles.table().place(self.visit.place)?.session.clone()
    }

    /// Makes sure that a function which returns handles may return one.
    ///
    /// # Errors
    /// `resource_exhausted`.
    pub(crate) fn check_room(&self) -> Result<(), Failure> {
        let table = self.visit.handles.table();
        let is_full =
            table.place(self.visit.place).is_some_and(|place| place.handles() >= HANDLES_MAX);
        if is_full { Err(refusal::full_instance()) } else { Ok(()) }
    }

    /// What the handles stand for, in order. Those that are given away lead nowhere from now on.
    ///
    /// # Errors
    /// `invalid_arguments`, and all of them still lead where they led: a call before this one may have used one up,
    /// and one that is given away may stand there once.
    pub(crate) fn exchange(&self, taken: &[Taken]) -> Result<Vec<R>, Failure> {
        let mut table = self.visit.handles.table();
        let mut found = Vec::with_capacity(taken.len());
        let mut lost = Vec::new();
        for (index, one) in taken.iter().enumerate() {
            let is_again = |other: &Taken| other.handle == one.handle;
            let others = taken[..index].iter().chain(&taken[index + 1..]);
            if one.owned && others.filter(|other| is_again(other)).count() > 0 {
                return Err(refusal::twice(one));
            }
            let held = one.handle.and_then(|handle| table.held(handle.secret));
            match held.filter(|held| held.place == self.visit.place) {
                Some(held) => found.push(held.value),
                None => lost.push(one.clone()),
            }
        }
        if lost.is_empty() {
            for handle in taken.iter().filter(|one| one.owned).filter_map(|one| one.handle) {
                table.release(handle.secret);
            }
            return Ok(found);
        }
        drop(table);
        self.visit
            .handles
            .refused
            .fetch_add(lost.len() as u64, std::sync::atomic::Ordering::Relaxed);
        Err(refusal::nowhere(&lost))
    }

    /// Takes the instance out; none when this call brings the first one.
    pub(crate) fn take(&mut self) -> Option<L> {
        self.is_out = true;
        self.guard.take()
    }

    /// A handle of a resource that the guest returned.
    ///
    /// # Errors
    /// `guest_limit` when it returned too many.
    pub(crate) fn give(&self, resource: ResourceId, value: R) -> Result<Handle, Failure> {
        let node = self.visit.handles.node();
        let handle = mint(node).map_err(refusal::internal)?;
        let held = Held { node, place: self.visit.place, resource, value };
        let mut table = self.visit.handles.table();
        if table.place(self.visit.place).is_none() {
            // It lived too long while the call ran: the handle has expired before it is seen.
            return Ok(handle);
        }
        if table.hold(handle.secret, held, HANDLES_MAX) {
            Ok(handle)
        } else {
            Err(refusal::flooded())
        }
    }

    /// Ends the call: the instance waits for the next one, if a handle still leads to it. `session` names the
    /// conversation of one that had none.
    ///
    /// # Errors
    /// Those of `session`.
    pub(crate) fn keep(
        mut self,
        live: L,
        session: impl FnOnce() -> Result<SessionId, Failure>,
    ) -> Result<(), Failure> {
        let mut table = self.visit.handles.table();
        let place = table.place(self.visit.place).filter(|place| place.handles() > 0);
        let Some(place) = place else { return Ok(()) };
        if place.session.is_none() {
            let session = session()?;
            table.name(self.visit.place, &session);
        }
        drop(table);
        *self.guard = Some(live);
        self.is_out = false;
        Ok(())
    }
}

impl<L, R> Drop for Seat<L, R> {
    fn drop(&mut self) {
        if self.is_out {
            let mut table = self.visit.handles.table.lock().unwrap_or_else(PoisonError::into_inner);
            let buried = table.remove(self.visit.place);
            drop(table);
            drop(buried);
        }
    }
}

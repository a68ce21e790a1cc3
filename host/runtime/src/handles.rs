//! Handles that callers hold, and the instances that live on for them.
//!
//! A resource lives in the memory of the instance that made it, so a handle pins that instance: it outlives the
//! call, and the calls on its resources run in it, one after another. What comes of one conversation shares an
//! instance, so that its resources can meet; conversations, callers and agents never do.
//!
//! An instance ends, and with it all of its handles, when the last handle is dropped or given away, when it idles
//! or lives too long, when a call traps, passes its deadline, breaks a limit or is cancelled in it, and when its
//! revision is replaced or unloaded. Destructors run for what is dropped by a call; nobody would wait for those of
//! an instance that ends as a whole, so its memory goes without asking the guest.
//!
//! Everything is bounded: instances per agent, tenant and host ([`HandleBounds`]), handles per instance
//! ([`HANDLES_MAX`]), calls that wait for one ([`WAITING_MAX`]). Whoever presents a handle that leads nowhere
//! learns the same, whatever the reason.

mod refusal;
mod seat;
mod table;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use aop_core::bucket::SessionId;
use aop_core::handle::Handle;
use aop_core::{AgentName, Caller, Failure, Limits, Sample, TenantName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;
use wasmtime::component::ResourceAny;

use crate::codec::Taken;
use crate::warm::Live;

pub(crate) use seat::Seat;
use table::{Place, Table};

/// Handles of one instance. An agent that gives out more keeps lists, which are values.
pub(crate) const HANDLES_MAX: usize = 1_000;
/// Calls that run or wait at one instance. They run one after another, and each holds a place of its agent.
pub(crate) const WAITING_MAX: usize = 16;
/// How often expired instances are looked for while there are any. What has expired is refused at once; only its
/// memory waits.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// How many instances may live for handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandleBounds {
    /// On this host. Never more than half of those that may live at all, so that calls find a place.
    pub instances_max: u32,
    /// For the callers of one tenant.
    pub tenant_instances_max: u32,
}

impl Default for HandleBounds {
    /// A quarter of the instances of a host, and half of that for one tenant.
    fn default() -> Self {
        Self { instances_max: 512, tenant_instances_max: 256 }
    }
}

/// The handles of a host, and what they lead to: `L` in tests is no instance, and `R` no resource.
pub(crate) struct Handles<L = Live, R = ResourceAny> {
    /// What new handles name: a host may join a zone while it runs. What was given out before still leads here.
    node: Mutex<Uuid>,
    places: Arc<Semaphore>,
    tenant_instances_max: u32,
    table: Mutex<Table<L, R>>,
    expired: AtomicU64,
    refused: AtomicU64,
    me: Weak<Self>,
}

/// The instances of one revision of an agent that live for handles.
pub(crate) struct HandlePool<L = Live, R = ResourceAny> {
    handles: Arc<Handles<L, R>>,
    id: u64,
    places: Arc<Semaphore>,
    instances_max: u32,
    idle_max: Duration,
    lifetime: Duration,
}

/// Whose call it is.
#[derive(Clone, Copy)]
pub(crate) struct Visitor<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) agent: &'a AgentName,
    /// The conversation that it continues, if it names one.
    pub(crate) session: Option<&'a SessionId>,
}

impl<L, R: Copy> Handles<L, R> {
    /// `node` is this host's id, `instances_max` how many instances may live at all.
    pub(crate) fn new(node: Uuid, bounds: HandleBounds, instances_max: u32) -> Arc<Self> {
        let places = bounds.instances_max.min((instances_max / 2).max(1));
        Arc::new_cyclic(|me| Self {
            node: Mutex::new(node),
            places: Arc::new(Semaphore::new(places as usize)),
            tenant_instances_max: bounds.tenant_instances_max,
            table: Mutex::default(),
            expired: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            me: me.clone(),
        })
    }

    /// New handles name this node from now on.
    pub(crate) fn join(&self, node: Uuid) {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner) = node;
    }

    fn node(&self) -> Uuid {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instances of a revision under its limits.
    pub(crate) fn pool(self: &Arc<Self>, limits: &Limits) -> HandlePool<L, R> {
        HandlePool {
            id: self.table().number(),
            handles: Arc::clone(self),
            places: Arc::new(Semaphore::new(limits.handle_instances_max as usize)),
            instances_max: limits.handle_instances_max,
            idle_max: limits.handle_idle,
            lifetime: limits.handle_lifetime,
        }
    }

    /// Ends what callers of a tenant hold that is deleted, also of agents that others share with it: the next tenant of
    /// its name may have callers of the same names. A call that still runs there keeps nothing.
    pub(crate) fn forget(&self, tenant: &TenantName) {
        let gone = self.table().remove_tenant(tenant);
        // Dropped with the lock free: each frees the memory of an instance.
        drop(gone);
    }

    /// What is told of them.
    pub(crate) fn measure(&self) -> Vec<Sample> {
        let table = self.table();
        let (handles, instances) = (table.handles() as u64, table.places() as u64);
        drop(table);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            Sample::gauge("handles_live", "Handles that callers hold", handles),
            Sample::gauge("handle_instances_live", "Instances that live for handles", instances),
            Sample::counter(
                "handles_expired",
                "Handles that ended because their instance idled or lived too long",
                count(&self.expired),
            ),
            Sample::counter(
                "handles_refused",
                "Handles that were presented and lead nowhere: forged, another's, or ended",
                count(&self.refused),
            ),
        ]
    }

    /// Ends what idled or lived too long. Whether anything is left.
    fn expire(&self, now: Instant) -> bool {
        let mut table = self.table();
        let expired = table.expire(now);
        let is_left = table.places() > 0;
        table.reaping &= is_left;
        drop(table);
        let handles = expired.iter().map(Place::handles).sum::<usize>();
        self.expired.fetch_add(handles as u64, Ordering::Relaxed);
        // Dropped with the lock free: each frees the memory of an instance.
        drop(expired);
        is_left
    }

    fn table(&self) -> MutexGuard<'_, Table<L, R>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Send + 'static, R: Copy + Send + 'static> HandlePool<L, R> {
    /// The place in which a call with these handles runs, waiting for those before it: where the handles lead, that
    /// of the conversation, or a new one.
    ///
    /// # Errors
    /// `invalid_arguments` for a handle that leads nowhere, `resource_exhausted` when a bound is reached.
    pub(crate) async fn seat(
        &self,
        visitor: Visitor<'_>,
        taken: &[Taken],
    ) -> Result<Seat<L, R>, Failure> {
        loop {
            let Some(visit) = self.find(visitor, taken, Instant::now())? else {
                return self.begin(visitor, Instant::now());
            };
            match visit.enter().await {
                Some(seat) => return Ok(seat),
                None if taken.is_empty() => {}
                // What it waited for ended meanwhile.
                None => return Err(self.refuse(taken)),
            }
        }
    }

    /// Where the handles lead, or the conversation.
    fn find(
        &self,
        visitor: Visitor<'_>,
        taken: &[Taken],
        now: Instant,
    ) -> Result<Option<seat::Visit<L, R>>, Failure> {
        let mut table = self.handles.table();
        let place = if taken.is_empty() {
            visitor.session.and_then(|session| table.of_session((self.id, visitor.caller, session)))
        } else {
            let places = taken.iter().map(|taken| self.place_of(&table, visitor, taken, now));
            let places: Vec<_> = places.collect();
            match places.first().copied().flatten() {
                Some(first) if places.iter().all(|place| *place == Some(first)) => Some(first),
                Some(_) if places.iter().all(Option::is_some) => return Err(refusal::apart(taken)),
                _ => {
                    drop(table);
                    let lost = taken.iter().zip(places).filter(|(_, place)| place.is_none());
                    let lost: Vec<_> = lost.map(|(taken, _)| taken.clone()).collect();
                    return Err(self.refuse(&lost));
                }
            }
        };
        let Some(id) = place else { return Ok(None) };
        let Some(place) = table.place_mut(id).filter(|place| !place.is_expired(now)) else {
            return Ok(None);
        };
        if place.visits == WAITING_MAX {
            return Err(refusal::crowded());
        }
        place.visits += 1;
        let seat = Arc::clone(&place.seat);
        drop(table);
        Ok(Some(seat::Visit::new(Arc::clone(&self.handles), id, seat)))
    }

    /// Where one handle leads, if it is the visitor's.
    fn place_of(
        &self,
        table: &Table<L, R>,
        visitor: Visitor<'_>,
        taken: &Taken,
        now: Instant,
    ) -> Option<u64> {
        let handle = taken.handle?;
        let held = table.held(handle.secret).filter(|held| held.resource == taken.resource)?;
        if held.node != handle.node {
            return None;
        }
        let place = table.place(held.place)?;
        let is_own = place.pool == self.id && place.caller.is(visitor.caller);
        let same_conversation =
            visitor.session.is_none_or(|session| place.session.as_ref() == Some(session));
        (is_own && same_conversation && !place.is_expired(now)).then_some(held.place)
    }

    /// A place for one more instance.
    fn begin(&self, visitor: Visitor<'_>, now: Instant) -> Result<Seat<L, R>, Failure> {
        let mut table = self.handles.table();
        let permits = self.permits(&mut table, visitor, now)?;
        let seat = Arc::new(tokio::sync::Mutex::new(None));
        // Nobody else has it yet.
        let Ok(guard) = Arc::clone(&seat).try_lock_owned() else { return Err(refusal::crowded()) };
        let place = Place {
            pool: self.id,
            caller: visitor.caller.clone(),
            session: visitor.session.cloned(),
            seat: Arc::clone(&seat),
            secrets: Default::default(),
            begun: now,
            used: now,
            visits: 1,
            idle_max: self.idle_max,
            lifetime: self.lifetime,
            _permits: permits,
        };
        let id = table.insert(place);
        if !std::mem::replace(&mut table.reaping, true) {
            tokio::spawn(reap(self.handles.me.clone()));
        }
        drop(table);
        let visit = seat::Visit::new(Arc::clone(&self.handles), id, seat);
        Ok(Seat::fresh(visit, guard))
    }

    /// Leave to let one more instance live.
    fn permits(
        &self,
        table: &mut Table<L, R>,
        visitor: Visitor<'_>,
        now: Instant,
    ) -> Result<[OwnedSemaphorePermit; 3], Failure> {
        let Visitor { caller, agent, .. } = visitor;
        if self.instances_max == 0 {
            return Err(refusal::never(agent));
        }
        let take = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let soonest = |table: &Table<L, R>, pool| table.soonest_expiry(pool, now);
        let own = take(&self.places).ok_or_else(|| {
            refusal::full_agent(agent, self.instances_max, soonest(table, Some(self.id)))
        })?;
        let tenant_max = self.handles.tenant_instances_max;
        let of_tenant = table.tenant(&caller.tenant, tenant_max);
        let tenant = take(&of_tenant)
            .ok_or_else(|| refusal::full("this tenant", tenant_max, soonest(table, None)))?;
        let host = take(&self.handles.places).ok_or_else(|| {
            let places = table.places();
            refusal::full(
                "this host",
                u32::try_from(places).unwrap_or(u32::MAX),
                soonest(table, None),
            )
        })?;
        Ok([own, tenant, host])
    }

    fn refuse(&self, lost: &[Taken]) -> Failure {
        self.handles.refused.fetch_add(lost.len() as u64, Ordering::Relaxed);
        refusal::nowhere(lost)
    }
}

/// A revision is gone, and so is what lives for it.
impl<L, R> Drop for HandlePool<L, R> {
    fn drop(&mut self) {
        let mut table = self.handles.table.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = table.remove_pool(self.id);
        drop(table);
        drop(gone);
    }
}

async fn reap<L: Send + 'static, R: Copy + Send + 'static>(handles: Weak<Handles<L, R>>) {
    loop {
        tokio::time::sleep(EXPIRY_INTERVAL).await;
        let Some(handles) = handles.upgrade() else { return };
        if !handles.expire(Instant::now()) {
            return;
        }
    }
}

/// A new handle of this node.
fn mint(node: Uuid) -> Result<Handle, getrandom::Error> {
    let mut secret = [0; size_of::<u128>()];
    getrandom::fill(&mut secret)?;
    Ok(Handle { node, secret: u128::from_be_bytes(secret) })
}

#[cfg(test)]
mod tests;

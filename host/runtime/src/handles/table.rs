//! Which handles lead where. Pure: time is passed in, and nothing here waits.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aop_core::bucket::SessionId;
use aop_core::interface::ResourceId;
use aop_core::{Caller, Subject, TenantName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// The handles and the places that they lead to.
pub(super) struct Table<L, R> {
    /// By the secret of the handle.
    handles: HashMap<u128, Held<R>>,
    places: HashMap<u64, Place<L>>,
    /// The place of each conversation.
    sessions: HashMap<Conversation, u64>,
    tenants: HashMap<TenantName, Arc<Semaphore>>,
    next: u64,
    /// Whether a task looks for what expired.
    pub(super) reaping: bool,
}

/// A conversation of a caller with a revision: its pool, the caller's tenant and subject, and the session.
type Conversation = (u64, TenantName, Subject, SessionId);

fn conversation(pool: u64, caller: &Caller, session: &SessionId) -> Conversation {
    (pool, caller.tenant.clone(), caller.subject.clone(), session.clone())
}

/// What a handle stands for.
#[derive(Clone, Copy)]
pub(super) struct Held<R> {
    /// What the handle calls this host.
    pub(super) node: Uuid,
    pub(super) place: u64,
    pub(super) resource: ResourceId,
    pub(super) value: R,
}

/// An instance that lives for handles.
pub(super) struct Place<L> {
    /// The revision's.
    pub(super) pool: u64,
    pub(super) caller: Caller,
    /// None until its first handle is given out in a call that named no conversation.
    pub(super) session: Option<SessionId>,
    /// Who has it works in the instance; none in it when a call took it out, or it ended.
    pub(super) seat: Arc<tokio::sync::Mutex<Option<L>>>,
    /// Of the handles that lead here.
    pub(super) secrets: HashSet<u128>,
    pub(super) begun: Instant,
    /// When a call came or went last.
    pub(super) used: Instant,
    /// Calls that run or wait here.
    pub(super) visits: usize,
    pub(super) idle_max: Duration,
    pub(super) lifetime: Duration,
    /// Of the agent, the tenant and the host.
    pub(super) _permits: [OwnedSemaphorePermit; 3],
}

impl<L> Place<L> {
    pub(super) fn handles(&self) -> usize {
        self.secrets.len()
    }

    /// How long it still lives if nobody comes.
    fn left(&self, now: Instant) -> Duration {
        let life = (self.begun + self.lifetime).saturating_duration_since(now);
        // Nobody idles while a call runs.
        let idle = (self.used + self.idle_max).saturating_duration_since(now);
        if self.visits > 0 { life } else { life.min(idle) }
    }

    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.left(now).is_zero()
    }
}

impl<L, R> Default for Table<L, R> {
    fn default() -> Self {
        Self {
            handles: HashMap::new(),
            places: HashMap::new(),
            sessions: HashMap::new(),
            tenants: HashMap::new(),
            next: 0,
            reaping: false,
        }
    }
}

impl<L, R> Table<L, R> {
    /// A number that nothing else has.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn handles(&self) -> usize {
        self.handles.len()
    }

    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    pub(super) fn place(&self, id: u64) -> Option<&Place<L>> {
        self.places.get(&id)
    }

    pub(super) fn place_mut(&mut self, id: u64) -> Option<&mut Place<L>> {
        self.places.get_mut(&id)
    }

    /// The place of a conversation.
    pub(super) fn of_session(
        &self,
        (pool, caller, session): (u64, &Caller, &SessionId),
    ) -> Option<u64> {
        self.sessions.get(&conversation(pool, caller, session)).copied()
    }

    pub(super) fn insert(&mut self, place: Place<L>) -> u64 {
        let id = self.number();
        if let Some(session) = &place.session {
            self.sessions.insert(conversation(place.pool, &place.caller, session), id);
        }
        self.places.insert(id, place);
        id
    }

    /// Names the conversation of a place that began without one.
    pub(super) fn name(&mut self, id: u64, session: &SessionId) {
        let Some(place) = self.places.get_mut(&id).filter(|place| place.session.is_none()) else {
            return;
        };
        place.session = Some(session.clone());
        let key = conversation(place.pool, &place.caller, session);
        self.sessions.entry(key).or_insert(id);
    }

    /// Takes a place out, with its handles.
    pub(super) fn remove(&mut self, id: u64) -> Option<Place<L>> {
        let place = self.places.remove(&id)?;
        for secret in &place.secrets {
            self.handles.remove(secret);
        }
        if let Some(session) = &place.session {
            let key = conversation(place.pool, &place.caller, session);
            if self.sessions.get(&key) == Some(&id) {
                self.sessions.remove(&key);
            }
        }
        Some(place)
    }

    pub(super) fn remove_pool(&mut self, pool: u64) -> Vec<Place<L>> {
        self.remove_all(|place| place.pool == pool)
    }

    /// What callers of a tenant hold, and the tenant's places.
    pub(super) fn remove_tenant(&mut self, tenant: &TenantName) -> Vec<Place<L>> {
        self.tenants.remove(tenant);
        self.remove_all(|place| place.caller.tenant == *tenant)
    }

    pub(super) fn expire(&mut self, now: Instant) -> Vec<Place<L>> {
        self.remove_all(|place| place.is_expired(now))
    }

    fn remove_all(&mut self, is_over: impl Fn(&Place<L>) -> bool) -> Vec<Place<L>> {
        let over = self.places.iter().filter(|(_, place)| is_over(place));
        let over: Vec<_> = over.map(|(id, _)| *id).collect();
        over.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// How long until the first place expires, of a pool or of all.
    pub(super) fn soonest_expiry(&self, pool: Option<u64>, now: Instant) -> Option<Duration> {
        let places = self.places.values().filter(|place| pool.is_none_or(|id| place.pool == id));
        places.map(|place| place.left(now)).min()
    }

    /// The places of a tenant.
    pub(super) fn tenant(&mut self, tenant: &TenantName, max: u32) -> Arc<Semaphore> {
        if let Some(places) = self.tenants.get(tenant) {
            return Arc::clone(places);
        }
        if self.tenants.len() == self.tenants.capacity() {
            // Before it grows: a tenant without an instance costs nothing to note again.
            self.tenants.retain(|_, places| places.available_permits() < max as usize);
        }
        let places = Arc::new(Semaphore::new(max as usize));
        self.tenants.insert(tenant.clone(), Arc::clone(&places));
        places
    }

    /// What a secret stands for.
    pub(super) fn held(&self, secret: u128) -> Option<&Held<R>> {
        self.handles.get(&secret)
    }

    /// Notes a handle. Whether its place is there and had room.
    pub(super) fn hold(&mut self, secret: u128, held: Held<R>, max: usize) -> bool {
        let Some(place) = self.places.get_mut(&held.place).filter(|place| place.handles() < max)
        else {
            return false;
        };
        place.secrets.insert(secret);
        self.handles.insert(secret, held);
        true
    }

    /// Takes a handle out.
    pub(super) fn release(&mut self, secret: u128) -> Option<Held<R>> {
        let held = self.handles.remove(&secret)?;
        if let Some(place) = self.places.get_mut(&held.place) {
            place.secrets.remove(&secret);
        }
        Some(held)
    }
}

//! Finds who has a name: from the closest zone that is known for certain, down by referrals, each strictly closer to
//! the name than the last. So there are no loops, and at most as many steps as a name has labels.
//!
//! [`Resolver::resolve`] is the whole path: caches, this zone's own answers, one flight for all who ask for a name at
//! the same time, and what an outage leaves. [`walk`] asks other zones; nothing that they say is used before
//! [`proof`] has checked it against a key that was pinned, or that a zone vouched for which was checked before.

mod owner;
mod proof;
mod silent;
mod trace;
mod walk;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aop_core::{BoxFuture, ErrorCode, Failure, TenantName};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{Shared, WeakShared};
use quick_cache::Weighter;
use quick_cache::sync::Cache as Storage;
use tokio::time::Instant;

use super::authority::Authority;
use super::cache::{CACHE_MAX_BYTES, Cache, Entry, Reach, Scope, Times, Weigh};
use super::export::Asker;
use super::measure::Counters;
use super::message::{FailureKind, HOPS_MAX};
use super::name::{FullName, ZoneName};
use super::record::{Agent, RecordError, Verified};
use super::ways::Ways;

use proof::Seen;
pub use proof::{Cut, Until};
use silent::Silent;
pub use trace::Trace;
pub(super) use walk::{TRIED_MAX, in_order, millis, post};

/// How long a lookup may take in all, unless whoever asks has less time.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// What zones that are known below pinned ones may take: some thousands with short proofs.
const CUTS_MAX_BYTES: u64 = 16 << 20;
/// How many that likely are.
const CUTS_LIKELY: usize = 4096;
/// Lookups of different names under way at one time; more are refused, since each holds a connection.
const FLIGHTS_MAX: usize = 1024;

/// What a name turned out to be.
#[derive(Debug, Clone)]
pub enum Found {
    /// An agent, also when the name was one of its tools'.
    Agent(Arc<Verified<Agent>>),
    /// A zone.
    Zone,
    /// Nothing, says the zone that would have it.
    Absent,
}

/// A name, resolved.
#[derive(Debug)]
pub struct Resolved {
    /// What it is.
    pub found: Found,
    /// Its zone.
    pub cut: Arc<Cut>,
    /// Who may see this.
    pub reach: Reach,
    /// How long it was fresh, and might be believed, when it was found.
    pub times: Times,
    /// When it was found.
    pub at: Instant,
}

/// A resolved name, and whether that is old because the zones that would know better do not answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was found.
    pub resolved: Arc<Resolved>,
    /// Whether an outage is why it is old.
    pub is_stale: bool,
}

/// Why a name could not be resolved.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ResolveError {
    /// No zone is pinned that contains the name.
    #[error(
        "no zone is known that contains `{0}`: pin one with `aop zone peer --parent URL` or `--anchor URL`"
    )]
    NoAnchor(FullName),
    /// A zone on the way does not answer, and nothing older is known.
    #[error("the zone {zone} does not answer: {reason}")]
    Unreachable {
        /// Which.
        zone: ZoneName,
        /// Why.
        reason: String,
    },
    /// A zone on the way said something that cannot be believed.
    #[error("the answer of {zone} is not believed: {error}")]
    Refused {
        /// Which.
        zone: ZoneName,
        /// Why.
        error: RecordError,
    },
    /// A zone on the way cannot say.
    #[error("the zone {zone} cannot say: {message}")]
    Failed {
        /// Which.
        zone: ZoneName,
        /// Why, for programs.
        kind: FailureKind,
        /// Why, for people.
        message: String,
    },
    /// The question went in a circle or too far.
    #[error("the question went through {HOPS_MAX} zones without an answer")]
    TooFar,
    /// This zone cannot say what it would.
    #[error("this zone cannot answer: {0}")]
    Own(String),
    /// Too many lookups.
    #[error("{FLIGHTS_MAX} lookups are under way already: try again shortly")]
    Busy,
}

impl ResolveError {
    /// Whether it passes when the other zones are back, so that what is old is better than nothing.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Busy => true,
            Self::Failed { kind, .. } => matches!(kind, FailureKind::Unavailable),
            Self::NoAnchor(_) | Self::Refused { .. } | Self::TooFar | Self::Own(_) => false,
        }
    }

    /// As a caller hears it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let code = match self {
            Self::NoAnchor(_) => ErrorCode::NotFound,
            Self::Unreachable { .. } | Self::Refused { .. } => ErrorCode::Unavailable,
            Self::Failed { .. } => ErrorCode::Unavailable,
            Self::TooFar => ErrorCode::LoopDetected,
            Self::Busy => ErrorCode::ResourceExhausted,
            Self::Own(_) => ErrorCode::Internal,
        };
        Failure::before_execution(code, self.to_string())
    }
}

/// Who keeps the zone's second level for a name. A zone of one node keeps all of it itself.
pub trait Owners: Send + Sync {
    /// Asks the node that owns a name to resolve it; none when that is this node. The answer is what
    /// [`Zone::answer_node`](super::Zone::answer_node) of that node says.
    fn ask(&self, name: &FullName) -> Option<BoxFuture<'static, Result<Bytes, String>>>;
}

impl Weigh for Arc<Resolved> {
    fn bytes(&self) -> u64 {
        let record = match &self.found {
            // Once as it was signed, and once as it was read.
            Found::Agent(agent) => 2 * agent.jws.len() as u64,
            Found::Zone | Found::Absent => 0,
        };
        size_of::<Resolved>() as u64 + record + self.cut.bytes()
    }
}

#[derive(Debug, Clone)]
struct CutScales;

impl Weighter<ZoneName, Arc<Cut>> for CutScales {
    fn weight(&self, _: &ZoneName, cut: &Arc<Cut>) -> u64 {
        cut.bytes()
    }
}

type Walked = Result<Arc<Resolved>, ResolveError>;
/// A question to the node that owns a name, and what it said if that holds.
type Asking = Shared<BoxFuture<'static, Option<Answer>>>;
type Flight = Shared<BoxFuture<'static, Walked>>;

/// What resolving stands on.
pub struct ResolverParts {
    /// This zone.
    pub authority: Arc<Authority>,
    /// The ways to others.
    pub ways: Arc<Ways>,
    /// Who has the second level.
    pub owners: Arc<dyn Owners>,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// Resolves names. See the module's documentation.
pub struct Resolver {
    pub(super) parts: ResolverParts,
    pub(super) cache: Cache<Arc<Resolved>>,
    /// Zones that were checked.
    cuts: Storage<ZoneName, Arc<Cut>, CutScales>,
    seen: Seen,
    silent: Silent,
    flights: Mutex<HashMap<FullName, WeakShared<BoxFuture<'static, Walked>>>>,
    /// Questions to the owners of names.
    asked: Mutex<HashMap<FullName, WeakShared<BoxFuture<'static, Option<Answer>>>>>,
    /// Spreads requests over endpoints.
    turn: AtomicU64,
}

impl Resolver {
    /// A resolver that knows nothing yet.
    #[must_use]
    pub fn new(parts: ResolverParts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            cache: Cache::new(CACHE_MAX_BYTES),
            cuts: Storage::with_weighter(CUTS_LIKELY, CUTS_MAX_BYTES, CutScales),
            seen: Seen::default(),
            silent: Silent::default(),
            flights: Mutex::default(),
            asked: Mutex::default(),
            turn: AtomicU64::new(0),
        })
    }

    /// Resolves a name for a caller of this zone.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn resolve(
        self: &Arc<Self>,
        tenant: &TenantName,
        name: &FullName,
        trace: &Trace,
    ) -> Result<Answer, ResolveError> {
        let caller = Scope::Caller(tenant.clone());
        let now = Instant::now();
        if let Some(entry) = self.fresh(&caller, name, now) {
            trace.cached(&caller, &entry, now);
            return Ok(Answer { resolved: entry.value, is_stale: false });
        }
        trace.missed(&caller);
        if self.parts.authority.is_own(name) {
            return self.own(name, Asker::Itself).map(|resolved| {
                trace.own(&resolved);
                Answer { resolved: Arc::new(resolved), is_stale: false }
            });
        }
        match self.beyond(name, trace).await {
            Ok(answer) => {
                if !answer.is_stale {
                    let resolved = Arc::clone(&answer.resolved);
                    let times = self.left(&resolved, name, now);
                    self.cache.put(&caller, name, resolved, answer.resolved.reach, times, now);
                }
                Ok(answer)
            }
            Err(error) if error.is_outage() => match self.stale(&caller, name, now) {
                Some(entry) => Ok(old(entry, &caller, trace, now)),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// A fresh answer that holds under this zone's keys and book of now.
    pub(super) fn fresh(
        &self,
        scope: &Scope,
        name: &FullName,
        now: Instant,
    ) -> Option<Entry<Arc<Resolved>>> {
        self.cache.fresh(scope, name, now, |resolved| self.holds(resolved))
    }

    fn stale(&self, scope: &Scope, name: &FullName, now: Instant) -> Option<Entry<Arc<Resolved>>> {
        self.cache.stale(scope, name, now, |resolved| self.holds(resolved))
    }

    fn holds(&self, resolved: &Resolved) -> bool {
        resolved.cut.epoch == self.parts.authority.epoch()
    }

    /// Takes note of an apex that was believed outside of a lookup.
    ///
    /// # Errors
    /// [`RecordError::Replayed`] when a newer one was seen.
    pub(super) fn note_apex(&self, apex: &super::record::Apex) -> Result<(), RecordError> {
        self.seen.apex(apex)
    }

    /// A name is not fresh for longer than the list of tools that it leads to.
    pub(super) fn shorten(
        &self,
        tenant: &TenantName,
        name: &FullName,
        resolved: &Resolved,
        ttl: Duration,
    ) {
        if ttl >= resolved.times.ttl {
            return;
        }
        for scope in [Scope::Caller(tenant.clone()), Scope::Zone, Scope::Peers] {
            self.cache.shorten(&scope, name, resolved.at + ttl);
        }
    }

    /// What is left of an answer's times: the second level may have had it for a while.
    fn left(&self, resolved: &Arc<Resolved>, name: &FullName, now: Instant) -> Times {
        match self.cache.peek(&Scope::Zone, name) {
            Some(entry) if Arc::ptr_eq(&entry.value, resolved) => Times {
                ttl: entry.fresh_until.saturating_duration_since(now),
                life: entry.expires.saturating_duration_since(now),
            },
            _ => resolved.times,
        }
    }

    /// Resolves a name for the whole zone: what its owner does, for callers of every node.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn resolve_for_zone(
        self: &Arc<Self>,
        name: &FullName,
        trace: &Trace,
    ) -> Result<Answer, ResolveError> {
        let now = Instant::now();
        if let Some(entry) = self.fresh(&Scope::Zone, name, now) {
            trace.cached(&Scope::Zone, &entry, now);
            return Ok(Answer { resolved: entry.value, is_stale: false });
        }
        trace.missed(&Scope::Zone);
        if !trace.is_on()
            && self.is_silent(name, now)
            && let Some(entry) = self.stale(&Scope::Zone, name, now)
        {
            self.look_behind(name);
            return Ok(old(entry, &Scope::Zone, trace, now));
        }
        let walked = if trace.is_on() {
            // Whoever watches wants to see every step, so it is not shared.
            self.walk(name, trace).await
        } else {
            match self.flight(name) {
                Some(flight) => flight.await,
                None => Err(ResolveError::Busy),
            }
        };
        self.note_silence(name, now, &walked);
        match walked {
            Ok(resolved) => Ok(Answer { resolved, is_stale: false }),
            Err(error) if error.is_outage() => match self.stale(&Scope::Zone, name, now) {
                Some(entry) => Ok(old(entry, &Scope::Zone, trace, now)),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// The lookup of a name that is under way, or a new one. It ends when nobody waits for it any more.
    fn flight(self: &Arc<Self>, name: &FullName) -> Option<Flight> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(name).and_then(WeakShared::upgrade)
            && flight.peek().is_none()
        {
            return Some(flight);
        }
        if flights.len() >= FLIGHTS_MAX {
            flights
                .retain(|_, flight| flight.upgrade().is_some_and(|flight| flight.peek().is_none()));
            if flights.len() >= FLIGHTS_MAX {
                return None;
            }
        }
        let (resolver, own_name) = (Arc::clone(self), name.clone());
        let work = async move {
            let walked = resolver.walk(&own_name, &Trace::off()).await;
            resolver.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&own_name);
            walked
        };
        let flight = work.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(name.clone(), weak);
        }
        Some(flight)
    }

    /// What this zone has under a name of its own.
    ///
    /// # Errors
    /// [`ResolveError::Own`].
    pub(super) fn own(&self, name: &FullName, asker: Asker<'_>) -> Result<Resolved, ResolveError> {
        let authority = &self.parts.authority;
        let cut = self.own_cut()?;
        let presence = authority.presence();
        let (times, at) = (|ttl| Times { ttl, life: ttl }, Instant::now());
        if name.is_zone(authority.zone()) {
            let times = times(presence.ttl);
            return Ok(Resolved { found: Found::Zone, cut, reach: Reach::World, times, at });
        }
        let table = authority.exported();
        let mine = name.zone() == *authority.zone();
        let exported = table.find(name.label()).filter(|exported| mine && exported.is_for(asker));
        let Some(exported) = exported else {
            let times = times(presence.negative_ttl);
            return Ok(Resolved { found: Found::Absent, cut, reach: Reach::Caller, times, at });
        };
        let failed = |error: RecordError| ResolveError::Own(error.to_string());
        let jws = authority.agent(exported).map_err(failed)?;
        let keys = cut.keys();
        let verified =
            super::record::verify::<Agent>(&jws, authority.zone(), &keys, authority.now_s());
        Ok(Resolved {
            found: Found::Agent(Arc::new(verified.map_err(failed)?)),
            cut,
            reach: exported.reach(),
            times: times(presence.ttl),
            at,
        })
    }

    /// Keeps what was found for the zone, and for the zones that ask this one.
    fn keep(&self, name: &FullName, resolved: &Arc<Resolved>) {
        let now = Instant::now();
        for scope in [Scope::Zone, Scope::Peers] {
            if scope == Scope::Zone || resolved.cut.is_below(self.parts.authority.zone()) {
                let value = Arc::clone(resolved);
                self.cache.put(&scope, name, value, resolved.reach, resolved.times, now);
            }
        }
    }
}

fn old(entry: Entry<Arc<Resolved>>, scope: &Scope, trace: &Trace, now: Instant) -> Answer {
    trace.stale(scope, &entry, now);
    Answer { resolved: entry.value, is_stale: true }
}

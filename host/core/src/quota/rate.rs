//! So much per time, and so much at once: the generic cell rate algorithm, which is a token bucket in one number.
//!
//! The number is a time: until then everything that was used is paid for. Using something moves it on by what that is
//! worth in time, and it may be ahead of the clock by the burst. Unlike `governor`, which has the same algorithm, it can
//! be charged for what was used already (nobody knows beforehand how long a guest computes), it can owe, its amounts can
//! change while it is in use, and it is told the time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Stands for no limit, where an `Option` would not fit an atomic.
const NONE: u64 = u64::MAX;

/// A limit on what is used per window of time.
#[derive(Debug)]
pub struct Rate {
    window_nanos: u64,
    /// Units per window.
    amount: AtomicU64,
    /// Units at once.
    burst: AtomicU64,
    /// What times count from: the first that it is told.
    origin: OnceLock<Instant>,
    paid_until: AtomicU64,
}

impl Rate {
    /// No limit yet, on what is used per `window`.
    #[must_use]
    pub const fn per(window: Duration) -> Self {
        Self {
            window_nanos: saturated(window.as_nanos()),
            amount: AtomicU64::new(NONE),
            burst: AtomicU64::new(NONE),
            origin: OnceLock::new(),
            paid_until: AtomicU64::new(0),
        }
    }

    /// That many units per window, and `burst` of them at once; none is no limit. What was used stays used.
    pub fn set(&self, amount: Option<u64>, burst: Option<u64>) {
        self.burst.store(burst.or(amount).unwrap_or(NONE), Ordering::Relaxed);
        // At least 1: nothing at all is a matter of policy.
        self.amount.store(amount.map_or(NONE, |amount| amount.max(1)), Ordering::Relaxed);
    }

    /// Units per window.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        Some(self.amount.load(Ordering::Relaxed)).filter(|amount| *amount != NONE)
    }

    /// Uses units.
    ///
    /// # Errors
    /// How long it takes until so many are free; nothing was used.
    pub fn take(&self, units: u64, now: Instant) -> Result<(), Duration> {
        let Some(terms) = self.terms(now) else { return Ok(()) };
        let cost = terms.cost(units);
        let next = |paid: u64| paid.max(terms.now).saturating_add(cost);
        self.paid_until
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |paid| {
                (next(paid) <= terms.latest()).then(|| next(paid))
            })
            .map(drop)
            .map_err(|paid| Duration::from_nanos(next(paid).saturating_sub(terms.latest())))
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&self, units: u64, now: Instant) {
        let Some(terms) = self.terms(now) else { return };
        let cost = terms.cost(units);
        self.paid_until
            .update(Ordering::Relaxed, Ordering::Relaxed, |paid| paid.saturating_sub(cost));
    }

    /// Charges units that were used already. What is owed never grows beyond another burst.
    pub fn charge(&self, units: u64, now: Instant) {
        let Some(terms) = self.terms(now) else { return };
        let (cost, most) = (terms.cost(units), terms.latest().saturating_add(terms.tolerance));
        self.paid_until.update(Ordering::Relaxed, Ordering::Relaxed, |paid| {
            paid.max(terms.now).saturating_add(cost).min(most.max(paid))
        });
    }

    /// How long it takes until so many units are free; none when they are.
    #[must_use]
    pub fn wait(&self, units: u64, now: Instant) -> Option<Duration> {
        let terms = self.terms(now)?;
        let paid = self.paid_until.load(Ordering::Relaxed).max(terms.now);
        let late = paid.saturating_add(terms.cost(units)).saturating_sub(terms.latest());
        (late > 0).then(|| Duration::from_nanos(late))
    }

    /// Units that are used and not yet free again.
    #[must_use]
    pub fn used(&self, now: Instant) -> u64 {
        let Some(terms) = self.terms(now) else { return 0 };
        let ahead = self.paid_until.load(Ordering::Relaxed).saturating_sub(terms.now);
        let units = u128::from(ahead) * u128::from(terms.amount);
        saturated(units.div_ceil(u128::from(terms.window)))
    }

    fn terms(&self, now: Instant) -> Option<Terms> {
        let amount = self.limit()?;
        let origin = self.origin.get_or_init(|| now);
        let mut terms = Terms {
            now: saturated(now.saturating_duration_since(*origin).as_nanos()),
            amount,
            window: self.window_nanos,
            tolerance: 0,
        };
        terms.tolerance = terms.cost(self.burst.load(Ordering::Relaxed));
        Some(terms)
    }
}

/// A rate at one moment, in nanoseconds.
struct Terms {
    now: u64,
    amount: u64,
    window: u64,
    tolerance: u64,
}

impl Terms {
    /// The time in which so many units become free.
    fn cost(&self, units: u64) -> u64 {
        saturated(u128::from(units) * u128::from(self.window) / u128::from(self.amount))
    }

    /// Until when it may be paid ahead.
    const fn latest(&self) -> u64 {
        self.now.saturating_add(self.tolerance)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "checked in the line itself")]
const fn saturated(value: u128) -> u64 {
    if value > u64::MAX as u128 { u64::MAX } else { value as u64 }
}

#[cfg(test)]
mod tests;

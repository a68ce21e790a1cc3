//! So much per time, and so much at once: the generic cell rate algorithm, which is a token bucket in one number.
//!
//! The number is a time: until then everything that was used is paid for. Using something moves it on by what that is
//! worth in time, and it may be ahead of the clock by the burst. Unlike `governor`, which has the same algorithm, it can
//! be charged for what was used already (nobody knows beforehand how long a guest computes), it can owe, its amounts can
//! change while it is in use, and it is told the time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Share;

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
    /// The part of both that holds here, in billionths.
    share: AtomicU32,
    /// Units that were used so far.
    taken: AtomicU64,
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
            share: AtomicU32::new(Share::WHOLE.billionths()),
            taken: AtomicU64::new(0),
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

    /// The part of it that holds here.
    pub(super) fn share(&self) -> Share {
        Share::from_billionths(self.share.load(Ordering::Relaxed))
    }

    /// The window.
    pub(super) const fn window(&self) -> Duration {
        Duration::from_nanos(self.window_nanos)
    }

    /// Units that were used since the beginning, while there was a limit.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Another part of it holds here from now on. What was used stays used, and what a growing part would have let
    /// through before it grew is not free now. Without a time, nothing was used yet.
    pub(super) fn set_share(&self, share: Share, now: Option<Instant>) {
        let old = self.share();
        if share == old {
            return;
        }
        let before = now.and_then(|now| self.terms(now));
        self.share.store(share.billionths(), Ordering::Relaxed);
        let (Some(before), Some(after)) = (before, now.and_then(|now| self.terms(now))) else {
            return;
        };
        let scaled = |time: u64| {
            let old = u128::from(old.billionths().max(1));
            saturated(u128::from(time) * old / u128::from(share.billionths().max(1)))
        };
        self.paid_until.update(Ordering::Relaxed, Ordering::Relaxed, |paid| {
            let paid = paid.max(before.now);
            match paid.checked_sub(before.latest()) {
                // What is owed is owed in units.
                Some(late) if late > 0 => {
                    after.latest().saturating_add(scaled(late).min(after.tolerance))
                }
                _ => {
                    // What is free stays as much, but never more than fits.
                    after.latest() - scaled(before.latest() - paid).min(after.tolerance)
                }
            }
        });
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
            .map(|_| self.count(units))
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
        self.count(units);
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
        let units = saturated(units.div_ceil(u128::from(terms.window)));
        match terms.share {
            Share::WHOLE => units,
            share => share.part_of(units),
        }
    }

    fn terms(&self, now: Instant) -> Option<Terms> {
        let amount = self.limit()?;
        let origin = self.origin.get_or_init(|| now);
        let mut terms = Terms {
            now: saturated(now.saturating_duration_since(*origin).as_nanos()),
            amount,
            window: self.window_nanos,
            share: self.share(),
            tolerance: 0,
        };
        // A part of the burst in the part of the rate: the same time. But something must be able to begin everywhere.
        let burst = terms.whole(self.burst.load(Ordering::Relaxed));
        terms.tolerance = match terms.share {
            Share::WHOLE => burst,
            _ => burst.max(terms.cost(1)),
        };
        Some(terms)
    }

    fn count(&self, units: u64) {
        self.taken.fetch_add(units, Ordering::Relaxed);
    }
}

/// A rate at one moment, in nanoseconds.
struct Terms {
    now: u64,
    amount: u64,
    window: u64,
    share: Share,
    tolerance: u64,
}

impl Terms {
    /// The time in which so many units become free.
    fn cost(&self, units: u64) -> u64 {
        let whole = self.whole(units);
        match self.share {
            Share::WHOLE => whole,
            // Never for ever: the smallest part is a billionth.
            share => saturated(
                u128::from(whole) * u128::from(Share::WHOLE.billionths())
                    / u128::from(share.billionths().max(1)),
            ),
        }
    }

    /// The same if all of the rate were here.
    fn whole(&self, units: u64) -> u64 {
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

//! A value and what it was lately.

use tokio::time::Instant;

use super::LEASE;

/// A value, with those that it had within the last [`LEASE`]. There are at most as many as looks in that time.
#[derive(Debug, Clone)]
pub(super) struct Window<T> {
    now: T,
    /// With the time until which it counts.
    before: Vec<(Instant, T)>,
}

impl<T: Copy + Ord> Window<T> {
    /// It was never anything else.
    pub(super) const fn new(value: T) -> Self {
        Self { now: value, before: Vec::new() }
    }

    /// It was something else until just now.
    pub(super) fn after(before: T, value: T, now: Instant) -> Self {
        Self { now: value, before: vec![(now + LEASE, before)] }
    }

    pub(super) fn set(&mut self, value: T, now: Instant) {
        self.before.retain(|(until, _)| *until > now);
        if value != self.now {
            self.before.push((now + LEASE, self.now));
            self.now = value;
        }
    }

    pub(super) const fn get(&self) -> T {
        self.now
    }

    /// The largest that it was.
    pub(super) fn max(&self, now: Instant) -> T {
        self.counting(now).fold(self.now, T::max)
    }

    /// The smallest that it was.
    pub(super) fn min(&self, now: Instant) -> T {
        self.counting(now).fold(self.now, T::min)
    }

    fn counting(&self, now: Instant) -> impl Iterator<Item = T> {
        self.before.iter().filter(move |(until, _)| *until > now).map(|(_, value)| *value)
    }

    /// Whether it is this and was nothing else lately.
    pub(super) fn is_settled(&self, value: T, now: Instant) -> bool {
        self.now == value && self.counting(now).next().is_none()
    }
}

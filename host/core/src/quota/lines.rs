//! How many lines of the host's log may be about single calls of somebody.
//!
//! Who calls thousands of times a second, or breaks as often, must not fill the operator's disk. What is left out is counted,
//! and said with the next line.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Rate;

/// So many lines per second.
#[derive(Debug)]
pub struct Lines {
    rate: Rate,
    left_out: AtomicU64,
}

impl Default for Lines {
    fn default() -> Self {
        Self { rate: Rate::per(Duration::from_secs(1)), left_out: AtomicU64::new(0) }
    }
}

impl Lines {
    /// That many.
    #[must_use]
    pub fn per_second(lines: u32) -> Self {
        let this = Self::default();
        this.set(lines);
        this
    }

    /// Has so many from now on. One at least: that something breaks is not to be a secret.
    pub fn set(&self, per_second: u32) {
        self.rate.set(Some(u64::from(per_second.max(1))), None);
    }

    /// Asks for a line: how many were left out before it, or none when it is left out itself.
    #[must_use]
    pub fn take(&self, now: Instant) -> Option<u64> {
        match self.rate.take(1, now) {
            Ok(()) => Some(self.left_out.swap(0, Ordering::Relaxed)),
            Err(_) => {
                self.left_out.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

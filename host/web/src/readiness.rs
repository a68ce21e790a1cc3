//! Whether the host wants traffic, for load balancers and orchestrators.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the host is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Agents are being loaded for the first time; calls to those that are there work.
    Loading = 0,
    /// Serving.
    Ready = 1,
    /// Shutting down: running calls finish, new ones should go elsewhere.
    Draining = 2,
}

/// A handle on the host's phase: `cli` moves it, `/readyz` reads it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    phase: AtomicU8,
    missing: Mutex<Option<String>>,
}

impl Readiness {
    /// Starts in [`Phase::Loading`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Enters a phase. Draining is final: a load that completes meanwhile does not undo it.
    pub fn set(&self, phase: Phase) {
        self.0.phase.fetch_max(phase as u8, Ordering::Relaxed);
    }

    /// The current phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.0.phase.load(Ordering::Relaxed) {
            0 => Phase::Loading,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// Says that the host lacks something without which others should get its traffic, or that it has it again.
    pub fn lacks(&self, what: Option<String>) {
        *self.0.missing.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// Why the host does not want traffic; none when it does.
    pub(crate) fn obstacle(&self) -> Option<Cow<'static, str>> {
        match self.phase() {
            Phase::Loading => Some("the host is still loading its agents".into()),
            Phase::Ready => {
                let missing = self.0.missing.lock().unwrap_or_else(PoisonError::into_inner);
                missing.clone().map(Cow::Owned)
            }
            Phase::Draining => {
                Some("the host is draining: it finishes running calls and then exits".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_only_move_forward() {
        let readiness = Readiness::new();
        assert_eq!(readiness.phase(), Phase::Loading);
        readiness.clone().set(Phase::Ready);
        assert_eq!(readiness.phase(), Phase::Ready);
        readiness.set(Phase::Draining);
        readiness.set(Phase::Ready);
        assert_eq!(readiness.phase(), Phase::Draining);
    }

    #[test]
    fn a_ready_host_that_lacks_something_says_what() {
        let readiness = Readiness::new();
        readiness.lacks(Some("no database".to_owned()));
        assert!(readiness.obstacle().is_some_and(|why| why.contains("loading")));
        readiness.set(Phase::Ready);
        assert_eq!(readiness.obstacle().as_deref(), Some("no database"));
        readiness.lacks(None);
        assert_eq!(readiness.obstacle(), None);
    }
}

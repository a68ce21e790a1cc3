//! Calls that agents make: who called whom, and what they may use together.
//!
//! An agent that waits for a call further up cannot be called again below it: it would wait for itself as
//! soon as its concurrency is used up, and agents that delegate to each other would not end. Depth and
//! number of the calls under one root are bounded, since each takes an instance of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{AgentId, AgentName, ErrorCode, Failure};

/// How deep calls nest: a planner, its helpers, and their helpers, several times over.
pub const DEPTH_MAX: u32 = 8;
/// Calls under one root: enough for a batch of a thousand and its planning.
pub const CALLS_MAX: u32 = 2000;

/// The agents that wait for a call, the nearest first.
#[derive(Debug)]
pub struct Lineage {
    agent: AgentId,
    name: AgentName,
    depth: u32,
    parent: Option<Arc<Self>>,
    budget: Arc<Budget>,
}

/// What all calls under one root share.
#[derive(Debug)]
struct Budget {
    calls_left: AtomicU32,
}

impl Lineage {
    /// The lineage of the calls that `agent` makes while it runs under `parent`.
    #[must_use]
    pub fn of(agent: AgentId, name: AgentName, parent: Option<Arc<Self>>) -> Arc<Self> {
        let depth = parent.as_ref().map_or(1, |parent| parent.depth + 1);
        let budget = parent.as_ref().map_or_else(
            || Arc::new(Budget { calls_left: AtomicU32::new(CALLS_MAX) }),
            |parent| Arc::clone(&parent.budget),
        );
        Arc::new(Self { agent, name, depth, parent, budget })
    }

    /// The agents that wait, the nearest first.
    pub fn waiting(&self) -> impl Iterator<Item = (AgentId, &AgentName)> {
        std::iter::successors(Some(self), |lineage| lineage.parent.as_deref())
            .map(|lineage| (lineage.agent, &lineage.name))
    }

    /// How many calls the root may still lead to.
    #[must_use]
    pub fn calls_left(&self) -> u32 {
        self.budget.calls_left.load(Ordering::Relaxed)
    }

    /// Takes calls off that another node made under this root.
    pub fn spend(&self, calls: u32) {
        let left = &self.budget.calls_left;
        // The closure always answers, so this cannot fail.
        let _ = left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            Some(left.saturating_sub(calls))
        });
    }

    /// A lineage that came from another node: who waits there, the nearest first, and what its root may still
    /// lead to. None when nobody waits.
    #[must_use]
    pub fn resumed(waiting: Vec<(AgentId, AgentName)>, calls_left: u32) -> Option<Arc<Self>> {
        let budget = Arc::new(Budget { calls_left: AtomicU32::new(calls_left.min(CALLS_MAX)) });
        waiting.into_iter().rev().fold(None, |parent: Option<Arc<Self>>, (agent, name)| {
            let depth = parent.as_ref().map_or(1, |parent| parent.depth + 1);
            Some(Arc::new(Self { agent, name, depth, parent, budget: Arc::clone(&budget) }))
        })
    }

    /// Lets one more call through to `agent`, or says why not.
    ///
    /// # Errors
    /// `loop_detected` for a cycle or too deep a call, `resource_exhausted` when the root has made its calls.
    pub fn admit(&self, agent: AgentId) -> Result<(), Failure> {
        let looped =
            |message: String| Err(Failure::before_execution(ErrorCode::LoopDetected, message));
        if self.depth > DEPTH_MAX {
            return looped(format!("calls between agents nest {DEPTH_MAX} deep at most"));
        }
        let mut waiting = Some(self);
        while let Some(lineage) = waiting {
            if lineage.agent == agent {
                return looped(format!(
                    "`{}` waits for this call already: agents cannot call each other in a cycle",
                    lineage.name
                ));
            }
            waiting = lineage.parent.as_deref();
        }
        let calls = &self.budget.calls_left;
        calls
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .map(drop)
            .map_err(|_| {
                Failure::before_execution(
                    ErrorCode::ResourceExhausted,
                    format!("one call may lead to {CALLS_MAX} further ones at most"),
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn agent(number: u128) -> AgentId {
        AgentId(Uuid::from_u128(number))
    }

    fn chain(length: u32) -> Arc<Lineage> {
        let name = AgentName::new("a").unwrap();
        let mut lineage = Lineage::of(agent(0), name.clone(), None);
        for number in 1..length {
            lineage = Lineage::of(agent(u128::from(number)), name.clone(), Some(lineage));
        }
        lineage
    }

    #[test]
    fn a_cycle_is_refused_at_any_distance() {
        let lineage = chain(3);
        for waiting in 0..3 {
            let failure = lineage.admit(agent(waiting)).unwrap_err();
            assert_eq!(failure.code, ErrorCode::LoopDetected);
            assert!(!failure.executed);
        }
        lineage.admit(agent(3)).unwrap();
    }

    #[test]
    fn depth_is_bounded() {
        chain(DEPTH_MAX).admit(agent(99)).unwrap();
        let failure = chain(DEPTH_MAX + 1).admit(agent(99)).unwrap_err();
        assert_eq!(failure.code, ErrorCode::LoopDetected);
    }

    #[test]
    fn it_travels_whole() {
        let lineage = chain(3);
        lineage.admit(agent(9)).unwrap();
        let waiting = lineage.waiting().map(|(id, name)| (id, name.clone())).collect();
        let resumed = Lineage::resumed(waiting, lineage.calls_left()).unwrap();
        assert!(resumed.waiting().eq(lineage.waiting()));
        assert_eq!((resumed.depth, resumed.calls_left()), (3, CALLS_MAX - 1));
        resumed.admit(agent(0)).unwrap_err();
        lineage.spend(10);
        assert_eq!(lineage.calls_left(), CALLS_MAX - 11);
        assert!(Lineage::resumed(Vec::new(), 1).is_none());
    }

    #[test]
    fn the_calls_under_one_root_are_counted_together() {
        let root = chain(1);
        let name = AgentName::new("b").unwrap();
        let child = Lineage::of(agent(1), name, Some(Arc::clone(&root)));
        for _ in 0..CALLS_MAX / 2 {
            root.admit(agent(1)).unwrap();
            child.admit(agent(2)).unwrap();
        }
        for lineage in [root, child] {
            let failure = lineage.admit(agent(3)).unwrap_err();
            assert_eq!(failure.code, ErrorCode::ResourceExhausted);
        }
    }
}

//! One change of an agent at a time, without a lock that different agents share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aop_core::AgentName;
use tokio::sync::OwnedMutexGuard;

type Lock = tokio::sync::Mutex<()>;

/// Hands out turns by agent name, in the order they were asked for. Holds an entry only while
/// somebody has or awaits a turn.
#[derive(Default)]
pub(crate) struct Turns {
    locks: Mutex<HashMap<AgentName, Weak<Lock>>>,
}

/// The right to change one agent, until it drops.
pub(crate) struct Turn {
    guard: Option<OwnedMutexGuard<()>>,
    turns: Arc<Turns>,
    name: AgentName,
}

impl Turns {
    /// Waits for the turn of an agent. Giving up waiting is fine.
    pub(crate) async fn take(self: &Arc<Self>, name: &AgentName) -> Turn {
        // Made before waiting, so that giving up cleans up like finishing does.
        let mut turn = Turn { guard: None, turns: Arc::clone(self), name: name.clone() };
        let lock = self.lock(name);
        turn.guard = Some(lock.lock_owned().await);
        turn
    }

    fn lock(&self, name: &AgentName) -> Arc<Lock> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(Lock::new(()));
        locks.insert(name.clone(), Arc::downgrade(&lock));
        lock
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut locks = self.turns.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.get(&self.name).is_some_and(|lock| lock.strong_count() == 0) {
            locks.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};

    use super::*;

    fn name(text: &str) -> AgentName {
        AgentName::new(text).unwrap()
    }

    fn is_ready<T>(future: Pin<&mut impl Future<Output = T>>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn the_same_agent_waits_and_another_does_not() {
        let (turns, a, b) = (Arc::new(Turns::default()), name("a"), name("b"));
        let first = turns.take(&a).await;
        let other = turns.take(&b).await;
        {
            let mut second = pin!(turns.take(&a));
            assert!(!is_ready(second.as_mut()));
            drop(first);
            assert!(is_ready(second.as_mut()));
        }
        drop(other);
        assert!(turns.locks.lock().unwrap().is_empty(), "nothing is left");
    }

    #[tokio::test]
    async fn giving_up_leaves_nothing() {
        let (turns, a) = (Arc::new(Turns::default()), name("a"));
        let first = turns.take(&a).await;
        let mut second = Box::pin(turns.take(&a));
        assert!(!is_ready(second.as_mut()));
        drop(first);
        drop(second);
        assert!(turns.locks.lock().unwrap().is_empty());
        turns.take(&a).await;
    }
}

//! The life of a revision: one total, pure transition function (paper §6.1, equations 7 and 8).

use serde::{Deserialize, Serialize};

/// Where a revision is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Known, being compiled.
    Init,
    /// Compiled, its tools derived; not yet published.
    Registered,
    /// Serving, idle.
    Active,
    /// Serving, with calls in flight.
    Busy,
    /// Replaced or unloaded; its running calls finish, new ones go elsewhere.
    Draining,
    /// Could not be loaded. The reason is kept beside it.
    Error,
    /// Gone.
    Terminated,
}

impl State {
    /// Every state, in a fixed order.
    pub const ALL: [Self; 7] = [
        Self::Init,
        Self::Registered,
        Self::Active,
        Self::Busy,
        Self::Draining,
        Self::Error,
        Self::Terminated,
    ];

    /// The paper's spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::Registered => "REGISTERED",
            Self::Active => "ACTIVE",
            Self::Busy => "BUSY",
            Self::Draining => "DRAINING",
            Self::Error => "ERROR",
            Self::Terminated => "TERMINATED",
        }
    }
}

/// What can happen to a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// Compiled and derived, now or again after an error.
    Prepared,
    /// Its tools became visible.
    Published,
    /// A call began while none was running.
    Invoked,
    /// The last running call ended.
    Idle,
    /// A newer revision took over, or the agent was unloaded.
    Replaced,
    /// The last reference to it was dropped.
    Drained,
    /// It could not be loaded, or cannot serve any more.
    Failed,
}

impl Event {
    /// Every event, in a fixed order.
    pub const ALL: [Self; 7] = [
        Self::Prepared,
        Self::Published,
        Self::Invoked,
        Self::Idle,
        Self::Replaced,
        Self::Drained,
        Self::Failed,
    ];
}

/// δ : State × Event → State. An event that means nothing in a state leaves it as it is.
#[must_use]
pub const fn next(state: State, event: Event) -> State {
    match (state, event) {
        (State::Terminated, _) => State::Terminated,
        (_, Event::Failed) => State::Error,
        (State::Init | State::Error, Event::Prepared) => State::Registered,
        (State::Registered, Event::Published) | (State::Busy, Event::Idle) => State::Active,
        (State::Active, Event::Invoked) => State::Busy,
        (State::Active | State::Busy, Event::Replaced) => State::Draining,
        (State::Init | State::Registered | State::Error, Event::Replaced)
        | (State::Draining, Event::Drained) => State::Terminated,
        (state, _) => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table, so that a change of any pair is a change of this test.
    #[test]
    fn every_pair_of_state_and_event() {
        use State::{Active, Busy, Draining, Error, Init, Registered, Terminated};
        // Columns follow Event::ALL: prepared, published, invoked, idle, replaced, drained, failed.
        let table = [
            (Init, [Registered, Init, Init, Init, Terminated, Init, Error]),
            (
                Registered,
                [Registered, Active, Registered, Registered, Terminated, Registered, Error],
            ),
            (Active, [Active, Active, Busy, Active, Draining, Active, Error]),
            (Busy, [Busy, Busy, Busy, Active, Draining, Busy, Error]),
            (Draining, [Draining, Draining, Draining, Draining, Draining, Terminated, Error]),
            (Error, [Registered, Error, Error, Error, Terminated, Error, Error]),
            (Terminated, [Terminated; 7]),
        ];
        assert_eq!(table.map(|(state, _)| state), State::ALL);
        for (state, row) in table {
            for (event, expected) in Event::ALL.into_iter().zip(row) {
                assert_eq!(next(state, event), expected, "{state:?} × {event:?}");
            }
        }
    }
}

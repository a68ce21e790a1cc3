//! Breakers: whether a tool of a node is worth another call.
//!
//! A breaker opens after failures in a row, stays open for a while that doubles each time, and then lets exactly
//! one call through to find out. `recloser` and its like let several through in that state and read the clock
//! themselves; this one is a pure state machine with the time passed in.

use std::time::{Duration, Instant};

/// Failures in a row that open it: one may be chance, and a fourth caller should not have to find out.
pub(super) const FAILURES_MAX: u32 = 3;
/// How long it stays open the first time: a restart takes about this long.
pub(super) const OPEN_MIN: Duration = Duration::from_secs(1);
/// How long it stays open at most: a node that came back should not idle for minutes.
pub(super) const OPEN_MAX: Duration = Duration::from_secs(30);
/// When a trial that nobody reported the end of no longer counts: its caller went away.
const TRIAL_MAX: Duration = Duration::from_secs(60);

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Breaker {
    position: Position,
    /// Failures in a row while closed.
    failures: u32,
    /// Times it opened since it last was closed.
    opened: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Position {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    /// One call is under way to find out.
    HalfOpen {
        since: Instant,
    },
}

/// What a breaker does, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

impl BreakerState {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl Breaker {
    /// Whether a call may begin now.
    pub(super) fn admits(&self, now: Instant) -> bool {
        self.opens_at().is_none_or(|at| at <= now)
    }

    /// From when on a call may begin; none when one always may.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        match self.position {
            Position::Closed => None,
            Position::Open { until } => Some(until),
            Position::HalfOpen { since } => Some(since + TRIAL_MAX),
        }
    }

    /// A call begins. While the breaker is not closed, it is the one that finds out.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.position != Position::Closed {
            self.position = Position::HalfOpen { since: now };
        }
    }

    /// A call failed through the node's fault.
    pub(super) fn failed(&mut self, now: Instant) {
        match self.position {
            Position::Closed => {
                self.failures += 1;
                if self.failures >= FAILURES_MAX {
                    self.open(now);
                }
            }
            Position::HalfOpen { .. } => self.open(now),
            // A call that began before it opened says nothing new.
            Position::Open { .. } => {}
        }
    }

    /// A call ended that says nothing of the node, since its caller went away.
    pub(super) fn abandoned(&mut self, now: Instant) {
        if let Position::HalfOpen { .. } = self.position {
            self.position = Position::Open { until: now };
        }
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.position {
            Position::Closed => BreakerState::Closed,
            Position::Open { until } if now < until => BreakerState::Open,
            Position::Open { .. } | Position::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn open(&mut self, now: Instant) {
        let doubled = OPEN_MIN.saturating_mul(1 << self.opened.min(16));
        self.position = Position::Open { until: now + doubled.min(OPEN_MAX) };
        self.opened += 1;
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        (0..FAILURES_MAX).for_each(|_| breaker.failed(now));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            (1..FAILURES_MAX).for_each(|_| breaker.failed(now));
            assert!(breaker.admits(now));
            breaker = Breaker::default();
        }
        let breaker = opened(now);
        assert!(!breaker.admits(now) && breaker.admits(now + OPEN_MIN));
        assert_eq!(breaker.state(now), BreakerState::Open);
    }

    #[test]
    fn one_call_finds_out() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let now = start + OPEN_MIN;
        breaker.begin(now);
        assert!(!breaker.admits(now), "the second call has to wait");
        assert_eq!(breaker.state(now), BreakerState::HalfOpen);
        breaker.failed(now);
        assert!(
            !breaker.admits(now + OPEN_MIN) && breaker.admits(now + 2 * OPEN_MIN),
            "twice as long"
        );
    }

    #[test]
    fn a_trial_whose_caller_went_away_makes_room_for_another() {
        let start = Instant::now();
        let now = start + OPEN_MIN;
        let mut breaker = opened(start);
        breaker.begin(now);
        breaker.abandoned(now);
        assert!(breaker.admits(now));
        breaker.begin(now);
        assert!(
            !breaker.admits(now) && breaker.admits(now + TRIAL_MAX),
            "nor does a lost report close it for ever"
        );
    }

    proptest! {
        #[test]
        fn it_never_stays_shut(events in prop::collection::vec(0..4u8, 0..200)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::default();
            for event in events {
                now += Duration::from_millis(300);
                match event {
                    0 => breaker.failed(now),
                    1 => breaker = Breaker::default(),
                    2 => breaker.abandoned(now),
                    _ if breaker.admits(now) => {
                        let was_closed = breaker.state(now) == BreakerState::Closed;
                        breaker.begin(now);
                        prop_assert_eq!(was_closed, breaker.admits(now), "one permit at most");
                    }
                    _ => {}
                }
                prop_assert!(breaker.admits(now + TRIAL_MAX));
            }
        }
    }
}

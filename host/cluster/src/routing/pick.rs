//! Which replica gets a call: one pure function over what is known of each.
//!
//! The candidates differ from tool to tool and from call to call (breakers, what was tried already), so a stack
//! of services with a fixed set of endpoints, like tower's `Balance`, does not fit.

use aop_core::settings::Balance;

/// What is known of a candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sight {
    /// How much its node takes, compared with others.
    pub(super) capacity: u32,
    /// Calls of this node that run there.
    pub(super) in_flight: u32,
    /// How long an answer takes, as a moving average in microseconds; none before the first.
    pub(super) latency_us: Option<f64>,
}

/// Numbers that make choices differ: `turn` grows by one with every call, `random` is uniform.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dice {
    pub(super) turn: u64,
    pub(super) random: u64,
}

/// The index of the candidate that gets the call; none of none.
pub(super) fn pick(balance: Balance, candidates: &[Sight], dice: Dice) -> Option<usize> {
    let count = candidates.len() as u64;
    if count < 2 {
        return (count == 1).then_some(0);
    }
    let nth = |number: u64| usize::try_from(number % count).unwrap_or(0);
    match balance {
        Balance::RoundRobin => Some(nth(dice.turn)),
        Balance::LeastConnections => {
            // Ties go round, or the first would get every call of a quiet hour.
            let from = nth(dice.turn);
            let around = (from..candidates.len()).chain(0..from);
            around.min_by_key(|index| candidates[*index].in_flight)
        }
        Balance::Weighted => Some(weighted(candidates, dice.random)),
        Balance::Latency => {
            let first = nth(dice.random);
            let other = nth(dice.random / count);
            // Two different ones, each pair as likely as any other.
            let second = if other == first { nth(first as u64 + 1) } else { other };
            let cost = |index: usize| cost(&candidates[index]);
            Some(if cost(second) < cost(first) { second } else { first })
        }
    }
}

/// As often as its capacity says.
fn weighted(candidates: &[Sight], random: u64) -> usize {
    let weight = |candidate: &Sight| u64::from(candidate.capacity.max(1));
    let total: u64 = candidates.iter().map(weight).sum();
    let mut ticket = random % total;
    for (index, candidate) in candidates.iter().enumerate() {
        match ticket.checked_sub(weight(candidate)) {
            Some(left) => ticket = left,
            None => return index,
        }
    }
    0
}

/// How long a call would take there if those that run are in its way. Whoever was never asked is asked first.
fn cost(candidate: &Sight) -> f64 {
    candidate.latency_us.unwrap_or(0.0) * (f64::from(candidate.in_flight) + 1.0)
}

/// A moving average after one more value: the newest counts an eighth, as in TCP's round-trip time.
pub(super) fn average(before: Option<f64>, value: f64) -> f64 {
    before.map_or(value, |before| before + (value - before) / 8.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDLE: Sight = Sight { capacity: 1, in_flight: 0, latency_us: Some(100.0) };

    fn counts(balance: Balance, candidates: &[Sight]) -> Vec<u32> {
        let mut counts = vec![0; candidates.len()];
        for turn in 0..10_000 {
            // Any odd constant spreads consecutive numbers over all 64 bits.
            let dice = Dice { turn, random: (turn.wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 8 };
            counts[pick(balance, candidates, dice).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_is_fair_to_the_call() {
        assert_eq!(counts(Balance::RoundRobin, &[IDLE; 4]), [2500; 4]);
    }

    #[test]
    fn least_connections_goes_where_least_runs_and_goes_round_among_equals() {
        let busy = Sight { in_flight: 3, ..IDLE };
        assert_eq!(counts(Balance::LeastConnections, &[busy, IDLE, busy]), [0, 10_000, 0]);
        assert!(
            counts(Balance::LeastConnections, &[IDLE, busy, IDLE]).iter().all(|n| *n != 10_000)
        );
    }

    #[test]
    fn weights_are_kept_within_a_few_percent() {
        let strong = Sight { capacity: 3, ..IDLE };
        let counts = counts(Balance::Weighted, &[IDLE, strong]);
        assert!((2300..2700).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn latency_avoids_the_slow_and_tries_the_unknown() {
        let slow = Sight { latency_us: Some(900.0), ..IDLE };
        let found = counts(Balance::Latency, &[IDLE, slow, IDLE]);
        assert_eq!(found[1], 0, "of any two the other is faster: {found:?}");
        let unknown = Sight { latency_us: None, ..slow };
        assert_eq!(counts(Balance::Latency, &[IDLE, unknown])[1], 10_000);
    }

    #[test]
    fn the_average_follows_without_jumping() {
        assert_eq!(average(None, 80.0), 80.0);
        assert_eq!(average(Some(80.0), 160.0), 90.0);
    }

    proptest! {
        #[test]
        fn the_choice_is_one_of_the_candidates(
            sights in prop::collection::vec((0..9u32, 0..9u32, prop::option::of(0.0..1e6f64)), 0..9),
            turn: u64,
            random: u64,
        ) {
            let sights: Vec<_> = sights
                .into_iter()
                .map(|(capacity, in_flight, latency_us)| Sight { capacity, in_flight, latency_us })
                .collect();
            for word in Balance::WORDS {
                let picked = pick(Balance::of_word(word).unwrap(), &sights, Dice { turn, random });
                prop_assert_eq!(picked.is_some(), !sights.is_empty());
                prop_assert!(picked.is_none_or(|index| index < sights.len()));
            }
        }
    }
}

//! On how many nodes of a zone an agent lives, on which, and how calls are spread over them.

use serde::{Deserialize, Serialize};

/// How calls are spread over the replicas of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// To the one on which the fewest calls of this node run.
    LeastConnections,
    /// As often as its node's `capacity` says, compared with the others'.
    Weighted,
    /// To the one that answers soonest (a moving average), of two chosen at random.
    Latency,
}

impl Balance {
    /// As settings spell them.
    pub const WORDS: [&str; 4] = ["round_robin", "least_connections", "weighted", "latency"];

    /// As settings spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConnections => "least_connections",
            Self::Weighted => "weighted",
            Self::Latency => "latency",
        }
    }

    /// Reads it as settings spell it.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::RoundRobin, Self::LeastConnections, Self::Weighted, Self::Latency]
            .into_iter()
            .find(|balance| balance.as_str() == word)
    }
}

//! What goes over the wire between zones, as JSON, and what bounds it. Parsed once, strictly: unknown members, other
//! versions and what is too much are refused.

use std::time::Duration;

use aop_core::federation::{ZoneFailure, ZoneHit};
use serde::{Deserialize, Serialize};

use super::cache::Reach;
use super::name::ZoneName;

/// Names in one request: what an agent's whole toolbox needs, and little enough to be signed in a millisecond.
pub const NAMES_MAX: usize = 32;
/// Zones that a question may pass. Eight levels of organisation are more than any has.
pub const HOPS_MAX: u8 = 8;
/// The largest request: its names and path vector take 10 KiB.
pub const REQUEST_MAX_BYTES: usize = 64 << 10;
/// The largest answer: a proof for every name.
pub const ANSWER_MAX_BYTES: usize = 1 << 20;
/// The longest that anybody waits for another zone's word.
pub const DEADLINE_MAX: Duration = Duration::from_secs(30);
/// Longest words of a search.
pub const QUERY_CHARS_MAX: usize = 512;
/// Hits of a search in several zones at most.
pub const HITS_MAX: u32 = 100;
/// Longest id of a search.
pub const REQUEST_ID_CHARS_MAX: usize = 64;

/// `POST /zone/v1/resolve`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// What to resolve. A name that is none fails alone.
    pub names: Vec<String>,
    /// Zones that the question may still pass, the asked one included.
    pub hops: u8,
    /// Zones that it passed.
    pub via: Vec<ZoneName>,
    /// How long the asker waits.
    pub deadline_ms: u64,
}

/// The answer: one outcome for each name, in their order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveAnswer {
    /// Who answers.
    pub zone: ZoneName,
    /// Its apex, signed by each of its keys.
    pub apex: Vec<String>,
    /// What is said of each name.
    pub results: Vec<Outcome>,
}

/// A step from a zone to one below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Signed by the zone above.
    pub delegation: String,
    /// The zone below, signed by each of its keys.
    pub apex: Vec<String>,
}

/// What is said of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// The name, and the proof down from whoever answers.
    Answer {
        /// Zones between the one that answers and the name's own; empty when those are the same.
        links: Vec<Link>,
        /// The agent's record; none when the name is a zone's.
        record: Option<String>,
        /// Who may see it.
        reach: Reach,
        /// Whether it comes from a cache.
        cached: bool,
    },
    /// Somebody closer to the name.
    Referral {
        /// Who, signed.
        delegation: String,
    },
    /// There is no such name, signed.
    Absent {
        /// The record that says so.
        record: String,
    },
    /// It cannot be said now, or not by this zone.
    Failure {
        /// Why, for programs.
        code: FailureKind,
        /// Why, for people.
        message: String,
    },
}

/// Why a name was not resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The name is none.
    BadName,
    /// The zone has no say over it.
    NotMine,
    /// The question came in a circle, or too far.
    Loop,
    /// A zone below does not answer.
    Unavailable,
}

/// `POST /zone/v1/search`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// Words that describe the task.
    pub query: String,
    /// At most this many hits.
    pub limit: u32,
    /// The same for all zones that one search reaches: a zone answers it once.
    pub request_id: String,
    /// Zones that the question may still pass, the asked one included.
    pub hops: u8,
    /// Zones that it passed.
    pub via: Vec<ZoneName>,
    /// How long the asker waits.
    pub deadline_ms: u64,
}

/// What the zone and those below it found. Like [`ZoneFindings`](aop_core::federation::ZoneFindings), and who may
/// see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchAnswer {
    /// The hits, the best first.
    pub tools: Vec<FoundHit>,
    /// Zones that answered.
    pub zones: Vec<String>,
    /// Zones that did not.
    pub failed: Vec<ZoneFailure>,
}

/// A hit, and who may see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundHit {
    /// What was found.
    #[serde(flatten)]
    pub hit: ZoneHit,
    /// As in an answer to a lookup. Without it, as from an earlier release, only the zone that asked may see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Reach>,
}

/// The time that an asker still has, as it says; never more than anybody waits.
#[must_use]
pub fn patience(deadline_ms: u64) -> Duration {
    Duration::from_millis(deadline_ms).min(DEADLINE_MAX)
}

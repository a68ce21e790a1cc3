//! The numbers that federation keeps about itself.

use std::sync::atomic::{AtomicU64, Ordering};

use aop_core::{Measure, Sample};

use super::Zone;
use super::cache::Level;
use super::record::RecordError;

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted between zones.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests sent to other zones.
    pub asked: Counter,
    /// Those without an answer.
    pub unreachable: Counter,
    /// Answers that came from a parent's cache.
    pub parent_hits: Counter,
    /// Names of which another node of this zone was asked, which owns them.
    pub owners_asked: Counter,
    /// Those without an answer that holds: this node resolved them itself.
    pub owners_failed: Counter,
    /// Names asked by other zones.
    pub answered: Counter,
    /// Requests of other zones that were refused at the door.
    pub turned_away: Counter,
    /// Calls sent to other zones.
    pub calls_out: Counter,
    /// Calls that came from other zones.
    pub calls_in: Counter,
    /// Connections that zones below turned around, to be reached by.
    pub attachments: Counter,
    /// Those that were refused.
    pub attachments_refused: Counter,
    /// Requests passed on over them.
    pub relayed: Counter,
    /// Searches that came from other zones.
    pub searches_in: Counter,
    /// Answers that are not JSON, too large, or break the rules of a record.
    malformed: Counter,
    /// Signatures by other keys than the trusted ones, or none at all.
    bad_signature: Counter,
    /// Records whose time was over.
    expired: Counter,
    /// Records about what their signer has no say over.
    out_of_bailiwick: Counter,
    /// Records older than what was seen.
    replayed: Counter,
    /// Descriptors that are not what a record promised.
    pub bad_descriptor: Counter,
}

impl Counters {
    /// Counts what was not believed, by its reason.
    pub fn refuse(&self, error: &RecordError) {
        match error {
            RecordError::Malformed(_) | RecordError::Kind(..) => &self.malformed,
            RecordError::UnknownKey { .. } | RecordError::Signature => &self.bad_signature,
            RecordError::Time { .. } => &self.expired,
            RecordError::Bailiwick(_) => &self.out_of_bailiwick,
            RecordError::Replayed(_) => &self.replayed,
        }
        .add();
    }
}

/// The names of a level's figures: hits, misses, stale.
const fn names(level: Level) -> [&'static str; 3] {
    match level {
        Level::L1 => ["zone_cache_l1_hits", "zone_cache_l1_misses", "zone_cache_l1_stale"],
        Level::L2 => ["zone_cache_l2_hits", "zone_cache_l2_misses", "zone_cache_l2_stale"],
        Level::L3 => ["zone_cache_l3_hits", "zone_cache_l3_misses", "zone_cache_l3_stale"],
    }
}

impl Measure for Zone {
    fn measure(&self) -> Vec<Sample> {
        let mut samples = Vec::with_capacity(24);
        for level in Level::ALL {
            let [hits, misses, stale] = self.cache_figures(level);
            let [hits_name, misses_name, stale_name] = names(level);
            let help = "Names of other zones found in this cache level";
            samples.push(Sample::counter(hits_name, help, hits));
            let help = "Names of other zones not found, or not fresh, in this cache level";
            samples.push(Sample::counter(misses_name, help, misses));
            let help = "Old answers given during an outage, by cache level";
            samples.push(Sample::counter(stale_name, help, stale));
        }
        let help = "Names of other zones kept over all cache levels";
        samples.push(Sample::gauge("zone_cache_entries", help, self.cache_entries() as u64));
        samples.extend(self.attachments());
        samples.extend(self.counters().exchanges());
        samples.extend(self.counters().refusals());
        samples
    }
}

impl Zone {
    fn attachments(&self) -> Vec<Sample> {
        let counters = self.counters();
        let help = "Zones below that keep a connection to this one, because they cannot be reached";
        let children = self.ways().attached.zones() as u64;
        let mut samples = vec![
            Sample::gauge("zone_children_attached", help, children),
            Sample::counter(
                "zone_attachments",
                "Connections that zones below made to be reached by",
                counters.attachments.get(),
            ),
            Sample::counter(
                "zone_attachments_refused",
                "Connections refused that were said to be those of zones below",
                counters.attachments_refused.get(),
            ),
            Sample::counter(
                "zone_requests_relayed",
                "Requests of other zones passed on to zones below",
                counters.relayed.get(),
            ),
        ];
        if let Some(is_up) = self.is_uplink_up() {
            let help =
                "Whether this zone is connected to its parent, through which others reach it";
            samples.push(Sample::gauge("zone_parent_connected", help, u64::from(is_up)));
        }
        samples
    }
}

impl Counters {
    fn exchanges(&self) -> [Sample; 10] {
        let count = |name, help, counter: &Counter| Sample::counter(name, help, counter.get());
        [
            count("zone_requests_sent", "Requests sent to other zones", &self.asked),
            count(
                "zone_requests_failed",
                "Requests to other zones without an answer",
                &self.unreachable,
            ),
            count(
                "zone_parent_cache_hits",
                "Answers of other zones that came from their caches",
                &self.parent_hits,
            ),
            count(
                "zone_owners_asked",
                "Names that the node that owns them was asked for; it counts what its cache has",
                &self.owners_asked,
            ),
            count(
                "zone_owners_failed",
                "Names that this node resolved itself because their owner did not",
                &self.owners_failed,
            ),
            count("zone_names_answered", "Names that other zones asked for", &self.answered),
            count(
                "zone_requests_refused",
                "Requests of other zones refused before they were looked at",
                &self.turned_away,
            ),
            count(
                "zone_searches_received",
                "Searches that came from other zones",
                &self.searches_in,
            ),
            count("zone_calls_sent", "Calls sent to other zones", &self.calls_out),
            count("zone_calls_received", "Calls that came from other zones", &self.calls_in),
        ]
    }

    fn refusals(&self) -> [Sample; 6] {
        let count = |name, help, counter: &Counter| Sample::counter(name, help, counter.get());
        [
            count(
                "zone_records_malformed",
                "Answers of other zones that make no sense",
                &self.malformed,
            ),
            count(
                "zone_records_bad_signature",
                "Records not signed by a trusted key",
                &self.bad_signature,
            ),
            count(
                "zone_records_expired",
                "Records whose time was over or had not come",
                &self.expired,
            ),
            count(
                "zone_records_out_of_bailiwick",
                "Records about what their signer has no say over",
                &self.out_of_bailiwick,
            ),
            count(
                "zone_records_replayed",
                "Records older than ones that were seen",
                &self.replayed,
            ),
            count(
                "zone_descriptors_refused",
                "Descriptors that are not what a record promised",
                &self.bad_descriptor,
            ),
        ]
    }
}

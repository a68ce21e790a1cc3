//! What happened while a name was resolved, step by step, for an operator who watches (`aop zone resolve --trace`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::super::cache::{Entry, Level, Reach, Scope};
use super::super::record::RecordError;
use super::{Cut, Found, Resolved};

/// Steps that are kept: a lookup has at most a few dozen.
const STEPS_MAX: usize = 256;

/// One step.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(in super::super) enum Step {
    /// A cache was asked.
    Cache { level: Level, hit: bool, stale: bool, ttl_s: Option<u64> },
    /// This zone answers itself.
    Own { zone: String, found: &'static str },
    /// The node of this zone that owns the name was asked.
    Owner { answered: bool },
    /// Where the walk begins, and why that zone is believed.
    Start { zone: String, because: &'static str },
    /// A zone was asked.
    Ask { zone: String, url: String, ms: f64, token: bool },
    /// A zone could not be asked there.
    Failed { zone: String, url: String, reason: String },
    /// A zone's word about itself was checked.
    Apex { zone: String, serial: u64, keys: usize, ttl_s: u32, signed_by: String },
    /// A zone referred to one below it, and the signature was checked.
    Referral { from: String, to: String, ttl_s: u32, signed_by: String, key: String },
    /// An agent's record was checked.
    Answer {
        name: String,
        version: u64,
        descriptor: String,
        ttl_s: u64,
        expires_in_s: u64,
        reach: Reach,
        signed_by: String,
        cached_there: bool,
    },
    /// The name is a zone's.
    Zone { zone: String, ttl_s: u64 },
    /// The zone says that there is no such name.
    Absent { zone: String, ttl_s: u64 },
    /// What a zone said was not believed.
    Refused { zone: String, error: String },
}

/// A record of steps, or nothing at all when nobody watches.
#[derive(Debug, Clone, Default)]
pub struct Trace(Option<Arc<Mutex<Vec<Step>>>>);

impl Trace {
    /// Nobody watches.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Somebody does.
    #[must_use]
    pub fn on() -> Self {
        Self(Some(Arc::default()))
    }

    pub(in super::super) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(in super::super) fn note(&self, step: impl FnOnce() -> Step) {
        if let Some(steps) = &self.0 {
            let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
            if steps.len() < STEPS_MAX {
                steps.push(step());
            }
        }
    }

    /// The steps so far, as JSON.
    #[must_use]
    pub fn steps(&self) -> serde_json::Value {
        let steps = self
            .0
            .as_ref()
            .map(|steps| steps.lock().unwrap_or_else(PoisonError::into_inner).clone());
        serde_json::to_value(steps.unwrap_or_default()).unwrap_or_default()
    }

    pub(super) fn cached(&self, scope: &Scope, entry: &Entry<Arc<Resolved>>, now: Instant) {
        let ttl_s = entry.fresh_until.saturating_duration_since(now).as_secs();
        let level = scope.level();
        self.note(|| Step::Cache { level, hit: true, stale: false, ttl_s: Some(ttl_s) });
        self.found(&entry.value, true);
    }

    pub(super) fn stale(&self, scope: &Scope, entry: &Entry<Arc<Resolved>>, now: Instant) {
        let ttl_s = entry.expires.saturating_duration_since(now).as_secs();
        let level = scope.level();
        self.note(|| Step::Cache { level, hit: true, stale: true, ttl_s: Some(ttl_s) });
        self.found(&entry.value, true);
    }

    pub(super) fn missed(&self, scope: &Scope) {
        let level = scope.level();
        self.note(|| Step::Cache { level, hit: false, stale: false, ttl_s: None });
    }

    pub(super) fn own(&self, resolved: &Resolved) {
        self.note(|| Step::Own {
            zone: resolved.cut.zone().to_string(),
            found: match resolved.found {
                Found::Agent(_) => "agent",
                Found::Zone => "zone",
                Found::Absent => "absent",
            },
        });
    }

    pub(super) fn apex(&self, cut: &Cut, signed_by: &str) {
        self.note(|| Step::Apex {
            zone: cut.zone().to_string(),
            serial: cut.apex.serial,
            keys: cut.apex.keys.len(),
            ttl_s: cut.apex.ttl,
            signed_by: signed_by.to_owned(),
        });
    }

    pub(super) fn found(&self, resolved: &Resolved, cached_there: bool) {
        let ttl_s = resolved.times.ttl.as_secs();
        let zone = || resolved.cut.zone().to_string();
        self.note(|| match &resolved.found {
            Found::Agent(agent) => Step::Answer {
                name: agent.body.name.to_string(),
                version: agent.body.version,
                descriptor: agent.body.descriptor_sha256.to_string(),
                ttl_s,
                expires_in_s: resolved.times.life.as_secs(),
                reach: resolved.reach,
                signed_by: agent.kid.to_string(),
                cached_there,
            },
            Found::Zone => Step::Zone { zone: zone(), ttl_s },
            Found::Absent => Step::Absent { zone: zone(), ttl_s },
        });
    }

    pub(super) fn refused(&self, zone: &str, error: &RecordError) {
        self.note(|| Step::Refused { zone: zone.to_owned(), error: error.to_string() });
    }

    pub(super) fn asked(&self, zone: &str, url: &str, took: Duration, token: bool) {
        self.note(|| Step::Ask {
            zone: zone.to_owned(),
            url: url.to_owned(),
            ms: (took.as_secs_f64() * 100_000.0).round() / 100.0,
            token,
        });
    }
}

//! Whether what another zone says can be believed: a chain of records from a pinned key down to the name, each signed
//! by a zone that the one before vouched for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::super::cache::{Level, Times};
use super::super::key::Thumbprint;
use super::super::message::Link;
use super::super::name::{FullName, ZoneName};
use super::super::record::{
    self, Absent, Agent, Apex, Delegation, Endpoint, Keys, RecordError, SIGNED_AGE_MAX_S, SKEW_S,
    Verified,
};

/// Zones whose newest word is remembered, so that an older one is not believed again.
const SEEN_MAX: usize = 16_384;

/// A zone that was checked: where a zone's authority begins, a *cut* in the tree of names.
#[derive(Debug)]
pub struct Cut {
    /// What it says of itself.
    pub apex: Apex,
    /// The same, signed by each of its keys.
    pub proof: Vec<String>,
    /// What the zone above says of it; none for a pinned one.
    pub delegation: Option<Arc<str>>,
    /// The zone above, through which this one is believed; none for a pinned one.
    pub above: Option<Arc<Cut>>,
    /// Until when what is known of it is fresh, and may be believed.
    pub until: Until,
    /// The state of this zone's own keys and book under which it was checked; see [`Authority::epoch`].
    ///
    /// [`Authority::epoch`]: super::super::authority::Authority::epoch
    pub epoch: u64,
}

/// Two moments. They are moments and not spans, so that what is looked at again is not believed for longer: only
/// whoever vouches for a zone can do that, and a zone that lost its parent's word is forgotten whatever it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until {
    /// Fresh until then; never later than `expires`.
    pub fresh: Instant,
    /// Believed until then.
    pub expires: Instant,
}

impl Until {
    /// Spans that begin now.
    #[must_use]
    pub fn of(times: Times, now: Instant) -> Self {
        Self { fresh: now + times.ttl.min(times.life), expires: now + times.life }
    }

    /// What is left.
    #[must_use]
    pub fn left(self, now: Instant) -> Times {
        Times {
            ttl: self.fresh.saturating_duration_since(now),
            life: self.expires.saturating_duration_since(now),
        }
    }

    fn earlier(self, other: Self) -> Self {
        Self { fresh: self.fresh.min(other.fresh), expires: self.expires.min(other.expires) }
    }
}

impl Cut {
    /// Its name.
    #[must_use]
    pub const fn zone(&self) -> &ZoneName {
        &self.apex.zone
    }

    /// Whose signatures are its own.
    #[must_use]
    pub fn keys(&self) -> Keys {
        self.apex.keys.iter().map(|key| (key.thumbprint().clone(), key.clone())).collect()
    }

    /// What it takes in memory, in bytes, without the zones above it, which are kept as themselves.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let proof: usize = self.proof.iter().map(String::len).sum();
        let delegation = self.delegation.as_ref().map_or(0, |delegation| delegation.len());
        // The first of the proofs also as it was read.
        let read = self.proof.first().map_or(0, String::len);
        (size_of::<Self>() + proof + read + delegation) as u64
    }

    /// Whether it is below a zone.
    #[must_use]
    pub fn is_below(&self, zone: &ZoneName) -> bool {
        self.zone().is_below(zone)
    }

    /// The steps from a zone above it down to this one; none when it is not believed through that zone.
    #[must_use]
    pub fn links_from(&self, top: &ZoneName) -> Option<Vec<Link>> {
        let mut links = Vec::new();
        let mut cut = self;
        while cut.zone() != top {
            let delegation = cut.delegation.as_ref()?.to_string();
            links.push(Link { delegation, apex: cut.proof.clone() });
            cut = cut.above.as_deref()?;
        }
        links.reverse();
        Some(links)
    }
}

/// A zone that shall be asked, and why its answer would be believed.
#[derive(Debug, Clone)]
pub(in super::super) struct Place {
    pub(in super::super) zone: ZoneName,
    pub(in super::super) endpoints: Vec<Endpoint>,
    /// One of these keys must have signed its apex.
    pub(in super::super) trusted: Vec<Thumbprint>,
    pub(in super::super) delegation: Option<Arc<str>>,
    pub(in super::super) above: Option<Arc<Cut>>,
    /// Of what led here.
    pub(in super::super) until: Until,
    /// As in [`Cut`].
    pub(in super::super) epoch: u64,
}

/// The time, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Now {
    /// In Unix seconds, as records have it.
    pub(in super::super) unix_s: u64,
    /// As caches have it.
    pub(in super::super) instant: Instant,
}

/// The newest that each zone said.
#[derive(Debug, Default)]
pub(in super::super) struct Seen {
    zones: Mutex<BTreeMap<ZoneName, Newest>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Newest {
    serial: u64,
    /// When the newest apex was signed, in Unix seconds.
    said: u64,
    /// The same of its delegation.
    delegated: u64,
}

impl Seen {
    /// Takes note of an apex. Nodes of one zone may be a change apart while it spreads among them: what is signed
    /// now is no replay, however low its serial.
    ///
    /// # Errors
    /// [`RecordError::Replayed`] when a newer one was seen.
    pub(in super::super) fn apex(&self, apex: &Apex) -> Result<(), RecordError> {
        self.note(&apex.zone, |newest| {
            let is_new =
                apex.serial >= newest.serial || tolerated(apex.iat, apex.ttl) >= newest.said;
            newest.serial = newest.serial.max(apex.serial);
            newest.said = newest.said.max(apex.iat);
            is_new
        })
    }

    /// Takes note of a delegation. Nodes of one parent sign apart, a minute's difference is no replay.
    ///
    /// # Errors
    /// [`RecordError::Replayed`] when a newer one was seen.
    fn delegation(&self, delegation: &Delegation) -> Result<(), RecordError> {
        self.note(&delegation.child, |newest| {
            let is_new = tolerated(delegation.iat, delegation.ttl) >= newest.delegated;
            newest.delegated = newest.delegated.max(delegation.iat);
            is_new
        })
    }

    fn note(
        &self,
        zone: &ZoneName,
        is_new: impl FnOnce(&mut Newest) -> bool,
    ) -> Result<(), RecordError> {
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        if zones.len() >= SEEN_MAX && !zones.contains_key(zone) {
            // The one that fits the least: the deepest name. A flood of those pushes out only itself.
            let deepest = zones.keys().max_by_key(|zone| zone.depth()).cloned();
            deepest.and_then(|deepest| zones.remove(&deepest));
        }
        if is_new(zones.entry(zone.clone()).or_default()) {
            Ok(())
        } else {
            Err(RecordError::Replayed(zone.to_string()))
        }
    }
}

/// Until when a record that was signed at `iat` may come after a newer one: the tolerance of clocks, the time for which
/// it is handed out, and the longest that a parent hands out a copy.
fn tolerated(iat: u64, ttl: u32) -> u64 {
    let copied = u64::from(ttl).min(Level::L3.cap().as_secs());
    iat.saturating_add(2 * SKEW_S + SIGNED_AGE_MAX_S + copied)
}

/// What is left of a record's times. Its `ttl` counts from when it was signed, however many caches it passed since;
/// it is handed out for a minute before it is signed anew.
fn left(ttl: u32, iat: u64, exp: u64, now_s: u64) -> Times {
    let ttl = u64::from(ttl);
    let fresh = iat.saturating_add(SIGNED_AGE_MAX_S + ttl).saturating_sub(now_s);
    Times {
        ttl: Duration::from_secs(ttl.min(fresh)),
        life: Duration::from_secs(exp.saturating_sub(now_s)),
    }
}

/// Checks the apex of a zone that was asked.
///
/// # Errors
/// [`RecordError`] of the first signature, when none is by a trusted key.
pub(in super::super) fn accept_apex(
    place: &Place,
    proof: &[String],
    seen: &Seen,
    now: Now,
) -> Result<Arc<Cut>, RecordError> {
    if proof.is_empty() || proof.len() > super::super::key::KEYS_MAX {
        return Err(RecordError::Malformed("an apex is signed by 1 to 4 keys".to_owned()));
    }
    let is_trusted = |kid: &Thumbprint| place.trusted.contains(kid);
    let mut refused = None;
    for jws in proof {
        match record::verify_apex(jws, &place.zone, is_trusted, now.unix_s) {
            Ok(Verified { body: apex, .. }) => {
                seen.apex(&apex)?;
                let own = left(apex.ttl, apex.iat, apex.exp, now.unix_s);
                return Ok(Arc::new(Cut {
                    apex,
                    proof: proof.to_vec(),
                    delegation: place.delegation.clone(),
                    above: place.above.clone(),
                    until: Until::of(own, now.instant).earlier(place.until),
                    epoch: place.epoch,
                }));
            }
            Err(error) => {
                refused.get_or_insert(error);
            }
        }
    }
    Err(refused.unwrap_or(RecordError::Signature))
}

/// Checks that a zone may refer to another one for a name: its own child, which contains the name.
///
/// # Errors
/// [`RecordError`].
pub(in super::super) fn accept_delegation(
    from: &Arc<Cut>,
    jws: &str,
    name: &FullName,
    seen: &Seen,
    now: Now,
) -> Result<(Place, Verified<Delegation>), RecordError> {
    let verified = record::verify::<Delegation>(jws, from.zone(), &from.keys(), now.unix_s)?;
    let delegation = &verified.body;
    if !name.is_within(&delegation.child) {
        let reason = format!("{} does not contain {name}", delegation.child);
        return Err(RecordError::Bailiwick(reason));
    }
    seen.delegation(delegation)?;
    let own = left(delegation.ttl, delegation.iat, delegation.exp, now.unix_s);
    let place = Place {
        zone: delegation.child.clone(),
        endpoints: delegation.endpoints.clone(),
        trusted: vec![delegation.key_thumbprint.clone()],
        delegation: Some(Arc::clone(&verified.jws)),
        above: Some(Arc::clone(from)),
        until: Until::of(own, now.instant).earlier(from.until),
        epoch: from.epoch,
    };
    Ok((place, verified))
}

/// Checks an agent's record: its zone is the one that says so, and directly has the name that was asked for.
///
/// # Errors
/// [`RecordError`].
pub(in super::super) fn accept_agent(
    cut: &Cut,
    jws: &str,
    name: &FullName,
    now: Now,
) -> Result<(Verified<Agent>, Times), RecordError> {
    let verified = record::verify::<Agent>(jws, cut.zone(), &cut.keys(), now.unix_s)?;
    if name.zone() != *cut.zone() {
        let reason = format!("{} does not have {name} itself", cut.zone());
        return Err(RecordError::Bailiwick(reason));
    }
    let agent = &verified.body;
    let own = left(agent.ttl, agent.iat, agent.exp, now.unix_s);
    let life = own.life.min(cut.until.left(now.instant).life);
    Ok((verified, Times { life, ..own }))
}

/// Checks that a zone may say that a name is absent: it is within the zone.
///
/// # Errors
/// [`RecordError`].
pub(in super::super) fn accept_absent(
    cut: &Cut,
    jws: &str,
    name: &FullName,
    now_s: u64,
) -> Result<Times, RecordError> {
    let verified = record::verify::<Absent>(jws, cut.zone(), &cut.keys(), now_s)?;
    if verified.body.name != *name {
        let reason = format!("{} was asked for, {} is absent", name, verified.body.name);
        return Err(RecordError::Bailiwick(reason));
    }
    let absent = &verified.body;
    let seconds = absent.ttl.min(cut.apex.neg_ttl).min(record::ABSENT_MAX_S);
    let ttl = left(seconds, absent.iat, absent.exp, now_s).ttl;
    Ok(Times { ttl, life: ttl })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::key::ZoneKey;

    #[test]
    fn an_old_word_does_not_come_back_and_a_node_that_is_behind_may_speak() {
        let key = ZoneKey::fleeting().unwrap();
        let apex = |serial, iat| Apex {
            zone: "a.example".parse().unwrap(),
            serial,
            ttl: 300,
            neg_ttl: 30,
            keys: vec![key.public().clone()],
            endpoints: vec![Endpoint { url: "http://a".to_owned(), weight: 1 }],
            iat,
            exp: iat + 24 * 3600,
        };
        let seen = Seen::default();
        seen.apex(&apex(7, 10_000)).unwrap();
        seen.apex(&apex(6, 10_010)).unwrap();
        seen.apex(&apex(7, 20_000)).unwrap();
        let refused = seen.apex(&apex(6, 10_010)).unwrap_err();
        assert!(matches!(refused, RecordError::Replayed(_)), "{refused}");
    }

    #[test]
    fn a_copy_is_fresh_for_what_is_left_of_it() {
        let seconds = |ttl, now| left(ttl, 1000, 5000, now).ttl.as_secs();
        assert_eq!((seconds(300, 1000), seconds(300, 1060)), (300, 300));
        assert_eq!((seconds(300, 1100), seconds(300, 1360), seconds(300, 9000)), (260, 0, 0));
    }
}

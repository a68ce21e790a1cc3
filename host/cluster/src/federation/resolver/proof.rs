//! Whether what another zone says can be believed: a chain of records from a pinned key down to the name, each signed
//! by a zone that the one before vouched for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::cache::Times;
use super::super::key::Thumbprint;
use super::super::message::Link;
use super::super::name::{FullName, ZoneName};
use super::super::record::{
    self, Absent, Agent, Apex, Delegation, Endpoint, Keys, RecordError, SKEW_S, Verified,
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
    /// How long what is known of it is fresh, and may be believed.
    pub times: Times,
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
    pub(in super::super) times: Times,
}

/// The newest that each zone said.
#[derive(Debug, Default)]
pub(in super::super) struct Seen {
    zones: Mutex<BTreeMap<ZoneName, Newest>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Newest {
    serial: u64,
    delegated: u64,
}

impl Seen {
    /// Takes note of an apex.
    ///
    /// # Errors
    /// [`RecordError::Replayed`] when a newer one was seen.
    fn apex(&self, apex: &Apex) -> Result<(), RecordError> {
        self.note(&apex.zone, |newest| {
            let is_new = apex.serial >= newest.serial;
            newest.serial = newest.serial.max(apex.serial);
            is_new
        })
    }

    /// Takes note of a delegation. Nodes of one parent sign apart, a minute's difference is no replay.
    ///
    /// # Errors
    /// [`RecordError::Replayed`] when a newer one was seen.
    fn delegation(&self, delegation: &Delegation) -> Result<(), RecordError> {
        self.note(&delegation.child, |newest| {
            // What is older than the tolerance of clocks and the time a signed record is handed out.
            let is_new =
                delegation.iat + 2 * SKEW_S + u64::from(delegation.ttl) >= newest.delegated;
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

/// What is left of a record's life.
fn life(exp: u64, now_s: u64) -> Duration {
    Duration::from_secs(exp.saturating_sub(now_s))
}

/// The shorter of both.
fn shorter(a: Times, b: Times) -> Times {
    Times { ttl: a.ttl.min(b.ttl), life: a.life.min(b.life) }
}

/// Checks the apex of a zone that was asked.
///
/// # Errors
/// [`RecordError`] of the first signature, when none is by a trusted key.
pub(in super::super) fn accept_apex(
    place: &Place,
    proof: &[String],
    seen: &Seen,
    now_s: u64,
) -> Result<Arc<Cut>, RecordError> {
    if proof.is_empty() || proof.len() > super::super::key::KEYS_MAX {
        return Err(RecordError::Malformed("an apex is signed by 1 to 4 keys".to_owned()));
    }
    let is_trusted = |kid: &Thumbprint| place.trusted.contains(kid);
    let mut refused = None;
    for jws in proof {
        match record::verify_apex(jws, &place.zone, is_trusted, now_s) {
            Ok(Verified { body: apex, .. }) => {
                seen.apex(&apex)?;
                let own = Times {
                    ttl: Duration::from_secs(apex.ttl.into()),
                    life: life(apex.exp, now_s),
                };
                return Ok(Arc::new(Cut {
                    apex,
                    proof: proof.to_vec(),
                    delegation: place.delegation.clone(),
                    above: place.above.clone(),
                    times: shorter(own, place.times),
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
    now_s: u64,
) -> Result<(Place, Verified<Delegation>), RecordError> {
    let verified = record::verify::<Delegation>(jws, from.zone(), &from.keys(), now_s)?;
    let delegation = &verified.body;
    if !name.is_within(&delegation.child) {
        let reason = format!("{} does not contain {name}", delegation.child);
        return Err(RecordError::Bailiwick(reason));
    }
    seen.delegation(delegation)?;
    let own = Times {
        ttl: Duration::from_secs(delegation.ttl.into()),
        life: life(delegation.exp, now_s),
    };
    let place = Place {
        zone: delegation.child.clone(),
        endpoints: delegation.endpoints.clone(),
        trusted: vec![delegation.key_thumbprint.clone()],
        delegation: Some(Arc::clone(&verified.jws)),
        above: Some(Arc::clone(from)),
        times: shorter(own, from.times),
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
    now_s: u64,
) -> Result<(Verified<Agent>, Times), RecordError> {
    let verified = record::verify::<Agent>(jws, cut.zone(), &cut.keys(), now_s)?;
    if name.zone() != *cut.zone() {
        let reason = format!("{} does not have {name} itself", cut.zone());
        return Err(RecordError::Bailiwick(reason));
    }
    let agent = &verified.body;
    let own = Times { ttl: Duration::from_secs(agent.ttl.into()), life: life(agent.exp, now_s) };
    let times = shorter(own, Times { ttl: own.ttl, life: cut.times.life });
    Ok((verified, times))
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
    let seconds = verified.body.ttl.min(cut.apex.neg_ttl).min(record::ABSENT_MAX_S);
    let ttl = Duration::from_secs(seconds.into());
    Ok(Times { ttl, life: ttl })
}

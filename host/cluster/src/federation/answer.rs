//! What this zone answers other zones that ask for names.
//!
//! A name of this zone itself is answered with its record, or with the signed word that it is absent: to a stranger,
//! what is not exported to the world *is* absent. A name of a zone below is answered from the third cache level when
//! somebody found it lately, else with a referral; behind a referral that a known zone got, the name is looked up, so
//! that the next zone that asks has it in one step.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use super::Zone;
use super::cache::{Reach, Scope};
use super::export::Asker;
use super::message::{FailureKind, Outcome, ResolveAnswer, ResolveRequest};
use super::name::FullName;
use super::resolver::{Found, ResolveError, Trace};

/// Lookups behind referrals at one time. They are a courtesy: beyond this, none is begun.
const BEHIND_MAX: usize = 32;

/// How many lookups behind referrals are under way.
#[derive(Debug, Default)]
pub(super) struct Behind(AtomicUsize);

impl Behind {
    fn begin(self: &Arc<Self>) -> Option<Place> {
        let begun = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < BEHIND_MAX).then_some(count + 1)
        });
        begun.is_ok().then(|| Place(Arc::clone(self)))
    }
}

struct Place(Arc<Behind>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Zone {
    /// Answers every name of a request; the caller has bounded their number.
    ///
    /// # Errors
    /// [`ResolveError::Own`] when this zone cannot even say who it is.
    pub fn answer(
        &self,
        request: &ResolveRequest,
        asker: Asker<'_>,
    ) -> Result<ResolveAnswer, ResolveError> {
        let authority = self.authority();
        let apex = authority.apex().map_err(|error| ResolveError::Own(error.to_string()))?;
        let results = request.names.iter().map(|name| {
            self.counters().answered.add();
            self.outcome(name, request, asker)
        });
        Ok(ResolveAnswer {
            zone: authority.zone().clone(),
            apex: apex.iter().map(ToString::to_string).collect(),
            results: results.collect(),
        })
    }

    fn outcome(&self, name: &str, request: &ResolveRequest, asker: Asker<'_>) -> Outcome {
        let failure = |code, message: &str| Outcome::Failure { code, message: message.to_owned() };
        let authority = self.authority();
        if request.hops == 0 || request.via.contains(authority.zone()) {
            return failure(FailureKind::Loop, "the question came in a circle, or too far");
        }
        let Ok(name) = name.parse::<FullName>() else {
            return failure(FailureKind::BadName, "this is no full name");
        };
        if !name.is_within(authority.zone()) {
            return failure(FailureKind::NotMine, "this zone has no say over the name");
        }
        let outcome = if authority.is_own(&name) {
            self.own_outcome(&name, asker)
        } else {
            self.outcome_below(&name, asker)
        };
        outcome.unwrap_or_else(|error| {
            tracing::error!(%error, %name, "this zone cannot answer");
            failure(FailureKind::Unavailable, "the zone cannot answer now")
        })
    }

    fn own_outcome(&self, name: &FullName, asker: Asker<'_>) -> Result<Outcome, ResolveError> {
        let own = self.resolver().own(name, asker)?;
        Ok(match &own.found {
            Found::Agent(agent) => Outcome::Answer {
                links: Vec::new(),
                record: Some(agent.jws.to_string()),
                reach: own.reach,
                cached: false,
            },
            Found::Zone => Outcome::Answer {
                links: Vec::new(),
                record: None,
                reach: Reach::World,
                cached: false,
            },
            Found::Absent => {
                let absent = self.authority().absent(name);
                let record = absent.map_err(|error| ResolveError::Own(error.to_string()))?;
                Outcome::Absent { record: record.to_string() }
            }
        })
    }

    fn outcome_below(&self, name: &FullName, asker: Asker<'_>) -> Result<Outcome, ResolveError> {
        let own = self.authority().zone();
        if let Some(entry) = self.resolver().fresh(&Scope::Peers, name, Instant::now())
            && let Some(links) = entry.value.cut.links_from(own)
        {
            let record = match &entry.value.found {
                Found::Agent(agent) => Some(Some(agent.jws.to_string())),
                Found::Zone => Some(None),
                // Its own zone says that better, and has the newest word.
                Found::Absent => None,
            };
            if let Some(record) = record {
                return Ok(Outcome::Answer { links, record, reach: Reach::World, cached: true });
            }
        }
        let book = self.authority().book();
        let Some((child, peer)) = book.child_of(name) else {
            return Err(ResolveError::NoAnchor(name.clone()));
        };
        let delegation = self.authority().delegation(child, peer);
        let delegation = delegation.map_err(|error| ResolveError::Own(error.to_string()))?;
        if matches!(asker, Asker::Zone(asking, _) if asking != child) {
            self.look_behind(name);
        }
        Ok(Outcome::Referral { delegation: delegation.to_string() })
    }

    fn look_behind(&self, name: &FullName) {
        let Some(place) = self.behind().begin() else { return };
        let (resolver, name) = (Arc::clone(self.resolver()), name.clone());
        tokio::spawn(async move {
            let looked = resolver.resolve_for_zone(&name, &Trace::off()).await;
            if let Err(error) = looked {
                tracing::debug!(%name, %error, "a lookup behind a referral failed");
            }
            drop(place);
        });
    }
}

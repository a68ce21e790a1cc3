//! Asking other zones: from the closest one that is known for certain, down to the one that has the name.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aop_core::federation::{ExchangeLimits, TransportError};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::super::book::Token;
use super::super::cache::Times;
use super::super::message::{
    ANSWER_MAX_BYTES, FailureKind, HOPS_MAX, Link, Outcome, ResolveAnswer, ResolveRequest,
};
use super::super::name::{FullName, ZoneName};
use super::super::record::{Endpoint, RecordError};
use super::proof::{self, Cut, Now, Place, Until};
use super::trace::{Step, Trace};
use super::{Found, LOOKUP_TIMEOUT, ResolveError, Resolved, Resolver, Walked};

/// Endpoints of one zone that are tried: more have it for spreading load.
pub(in super::super) const TRIED_MAX: usize = 3;
/// What a zone that is pinned and was not asked yet is known for: as long as what is in the book.
const PINNED: Times =
    Times { ttl: Duration::from_secs(300), life: Duration::from_secs(3 * 24 * 60 * 60) };

impl Resolver {
    /// Walks down to a name. Every step is strictly closer to it, so this ends.
    pub(super) async fn walk(self: &Arc<Self>, name: &FullName, trace: &Trace) -> Walked {
        let deadline = Instant::now() + LOOKUP_TIMEOUT;
        let mut place = self.start(name, trace)?;
        for step in 0..HOPS_MAX {
            let hops = HOPS_MAX - step;
            let answer = self.question(&place, name, hops, deadline, trace).await?;
            let zone = place.zone.clone();
            let refused = |error: RecordError| self.refuse(&zone, error, trace);
            let cut = self.accept(&place, &answer.apex, trace).map_err(&refused)?;
            let outcome = answer.results.into_iter().next().ok_or_else(|| {
                refused(RecordError::Malformed("no outcome for the name".to_owned()))
            })?;
            match outcome {
                Outcome::Referral { delegation } => {
                    place = self.refer(&cut, &delegation, name, trace).map_err(&refused)?;
                }
                Outcome::Failure { code, message } => {
                    return Err(ResolveError::Failed { zone, kind: code, message });
                }
                outcome => {
                    let found = self.conclude(cut, outcome, name, trace).map_err(&refused)?;
                    let found = Arc::new(found);
                    self.keep(name, &found);
                    return Ok(found);
                }
            }
        }
        Err(ResolveError::TooFar)
    }

    /// Where to begin: a zone that was checked lately, or one of the book.
    fn start(&self, name: &FullName, trace: &Trace) -> Result<Place, ResolveError> {
        let (book, epoch) = self.parts.authority.book_now();
        let own = self.parts.authority.zone();
        let (anchor, _) = book
            .anchor_of(name)
            .filter(|(zone, _)| *zone != own)
            .ok_or_else(|| ResolveError::NoAnchor(name.clone()))?;
        if let Some(cut) = self.closest_cut(name, anchor, epoch) {
            let zone = cut.zone().to_string();
            trace.note(|| Step::Start { zone, because: "checked before" });
            return Ok(Place {
                zone: cut.zone().clone(),
                endpoints: cut.apex.endpoints.clone(),
                trusted: cut.keys().into_keys().collect(),
                delegation: cut.delegation.clone(),
                above: cut.above.clone(),
                until: cut.until,
                epoch,
            });
        }
        let is_child = anchor.is_below(own);
        let because = if is_child { "delegated by this zone" } else { "pinned" };
        trace.note(|| Step::Start { zone: anchor.to_string(), because });
        self.anchor(name)
    }

    /// The zone of the book that is closest to a name.
    pub(super) fn anchor(&self, name: &FullName) -> Result<Place, ResolveError> {
        let (book, epoch) = self.parts.authority.book_now();
        let own = self.parts.authority.zone();
        let (anchor, peer) = book
            .anchor_of(name)
            .filter(|(zone, _)| *zone != own)
            .ok_or_else(|| ResolveError::NoAnchor(name.clone()))?;
        let mut place = Place {
            zone: anchor.clone(),
            endpoints: self.parts.authority.endpoints_of(anchor, peer),
            trusted: peer.keys.clone(),
            delegation: None,
            above: None,
            until: Until::of(PINNED, Instant::now()),
            epoch,
        };
        if anchor.is_below(own) {
            // So that what is found there can be proved to others.
            let failed = |error: RecordError| ResolveError::Own(error.to_string());
            let delegation = self.parts.authority.delegation(anchor, peer).map_err(failed)?;
            place.delegation = Some(delegation);
            place.above = Some(self.own_cut()?);
        }
        Ok(place)
    }

    /// The deepest zone at or below an anchor that contains a name and was checked lately.
    fn closest_cut(&self, name: &FullName, anchor: &ZoneName, epoch: u64) -> Option<Arc<Cut>> {
        let now = Instant::now();
        let mut text = name.as_str();
        // The first label may be no zone's; what does not parse is not kept either.
        loop {
            if let Ok(zone) = text.parse::<ZoneName>() {
                if !zone.is_within(anchor) {
                    return None;
                }
                if let Some(cut) = self.cuts.get(&zone)
                    && now < cut.until.fresh
                    && cut.epoch == epoch
                {
                    return Some(cut);
                }
            }
            text = text.split_once('.')?.1;
        }
    }

    /// This zone as others would see it.
    ///
    /// # Errors
    /// [`ResolveError::Own`].
    pub(in super::super) fn own_cut(&self) -> Result<Arc<Cut>, ResolveError> {
        let authority = &self.parts.authority;
        let proof = authority.apex().map_err(|error| ResolveError::Own(error.to_string()))?;
        let times = Times { ttl: authority.presence().ttl, life: PINNED.life };
        let epoch = authority.epoch();
        Ok(Arc::new(Cut {
            apex: authority.apex_body(),
            proof: proof.iter().map(ToString::to_string).collect(),
            delegation: None,
            above: None,
            until: Until::of(times, Instant::now()),
            epoch,
        }))
    }

    pub(super) fn now(&self) -> Now {
        Now { unix_s: self.parts.authority.now_s(), instant: Instant::now() }
    }

    pub(super) fn accept(
        &self,
        place: &Place,
        apex: &[String],
        trace: &Trace,
    ) -> Result<Arc<Cut>, RecordError> {
        let cut = proof::accept_apex(place, apex, &self.seen, self.now())?;
        self.cuts.insert(cut.zone().clone(), Arc::clone(&cut));
        let signed_by = place.trusted.iter().find(|kid| cut.keys().contains_key(*kid));
        trace.apex(&cut, &signed_by.map(ToString::to_string).unwrap_or_default());
        Ok(cut)
    }

    pub(super) fn refer(
        &self,
        from: &Arc<Cut>,
        delegation: &str,
        name: &FullName,
        trace: &Trace,
    ) -> Result<Place, RecordError> {
        let (place, verified) =
            proof::accept_delegation(from, delegation, name, &self.seen, self.now())?;
        trace.note(|| Step::Referral {
            from: from.zone().to_string(),
            to: place.zone.to_string(),
            ttl_s: verified.body.ttl,
            signed_by: verified.kid.to_string(),
            key: verified.body.key_thumbprint.to_string(),
        });
        Ok(place)
    }

    /// Checks a last word, and the zones between its speaker and the name.
    fn conclude(
        &self,
        mut cut: Arc<Cut>,
        outcome: Outcome,
        name: &FullName,
        trace: &Trace,
    ) -> Result<Resolved, RecordError> {
        let now = self.now();
        let malformed = |what: &str| RecordError::Malformed(what.to_owned());
        let (resolved, cached) = match outcome {
            Outcome::Absent { record } => {
                let times = proof::accept_absent(&cut, &record, name, now.unix_s)?;
                let reach = super::super::cache::Reach::Zone;
                (Resolved { found: Found::Absent, cut, reach, times, at: now.instant }, false)
            }
            Outcome::Answer { links, record, reach, cached } => {
                if links.len() > usize::from(HOPS_MAX) {
                    return Err(malformed("too many links"));
                }
                for Link { delegation, apex } in &links {
                    let place = self.refer(&cut, delegation, name, trace)?;
                    cut = self.accept(&place, apex, trace)?;
                }
                let (found, times) = match record {
                    Some(record) => {
                        let (agent, times) = proof::accept_agent(&cut, &record, name, now)?;
                        (Found::Agent(Arc::new(agent)), times)
                    }
                    None if name.is_zone(cut.zone()) => (Found::Zone, cut.until.left(now.instant)),
                    None => return Err(malformed("an answer without a record")),
                };
                // Nothing that another zone says is for one caller only; and the zone that asks is not the world.
                let reach = reach.max(super::super::cache::Reach::Zone);
                (Resolved { found, cut, reach, times, at: now.instant }, cached)
            }
            Outcome::Referral { .. } | Outcome::Failure { .. } => {
                return Err(malformed("not a last word"));
            }
        };
        if cached {
            self.parts.counters.parent_hits.add();
        }
        trace.found(&resolved, cached);
        Ok(resolved)
    }

    /// Something that cannot be believed: logged and counted.
    pub(in super::super) fn refuse(
        &self,
        zone: &ZoneName,
        error: RecordError,
        trace: &Trace,
    ) -> ResolveError {
        self.parts.counters.refuse(&error);
        tracing::warn!(%zone, %error, "what another zone said is not believed");
        trace.refused(zone.as_str(), &error);
        // It may have been believed before for what it says now no more.
        self.cuts.remove(zone);
        ResolveError::Refused { zone: zone.clone(), error }
    }

    async fn question(
        &self,
        place: &Place,
        name: &FullName,
        hops: u8,
        deadline: Instant,
        trace: &Trace,
    ) -> Result<ResolveAnswer, ResolveError> {
        let (zone, endpoints) = (&place.zone, &place.endpoints);
        let request = |_, share| ResolveRequest {
            names: vec![name.to_string()],
            hops,
            via: vec![self.parts.authority.zone().clone()],
            deadline_ms: millis(share),
        };
        let answer: ResolveAnswer =
            self.ask(zone, endpoints, "/zone/v1/resolve", request, deadline, trace).await?;
        if answer.zone != *zone || answer.results.len() != 1 {
            let reason = format!("{} answers for {zone}", answer.zone);
            return Err(self.refuse(zone, RecordError::Bailiwick(reason), trace));
        }
        Ok(answer)
    }

    /// Asks a zone at one of its endpoints after the other, until one answers. `request` makes the body of each
    /// attempt from its number and the time that it has.
    ///
    /// # Errors
    /// [`ResolveError::Unreachable`] when none does, [`ResolveError::Refused`] for an answer that makes no sense.
    pub(in super::super) async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        zone: &ZoneName,
        endpoints: &[Endpoint],
        path: &str,
        request: impl Fn(usize, Duration) -> Q,
        deadline: Instant,
        trace: &Trace,
    ) -> Result<A, ResolveError> {
        let token = self.token(zone);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut reason = "it has no endpoint".to_owned();
        let tried: Vec<_> = in_order(endpoints, turn).into_iter().take(TRIED_MAX).collect();
        for (number, endpoint) in tried.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            // What swallows the request must leave time for the next one.
            let share = left / u32::try_from(tried.len() - number).unwrap_or(1);
            let body = serde_json::to_vec(&request(number, share))
                .map_err(|error| ResolveError::Own(error.to_string()))?;
            let url = format!("{}{path}", endpoint.url.trim_end_matches('/'));
            let started = Instant::now();
            let sent = match post(&url, token.as_ref(), body.into()) {
                Ok(request) => {
                    let limits = ExchangeLimits { time: share, answer_max_bytes: ANSWER_MAX_BYTES };
                    self.parts.ways.exchange(zone, request, limits).await
                }
                Err(error) => Err(TransportError::Refused(error)),
            };
            self.parts.counters.asked.add();
            match sent {
                Ok(response) if response.status() == StatusCode::OK => {
                    trace.asked(zone.as_str(), &url, started.elapsed(), token.is_some());
                    return serde_json::from_slice(response.body()).map_err(|error| {
                        self.refuse(zone, RecordError::Malformed(error.to_string()), trace)
                    });
                }
                Ok(response) => {
                    reason = format!("{url} answers with {}", response.status());
                    if response.status() == StatusCode::UNAUTHORIZED {
                        reason.push_str(": the token it gave this zone is not valid any more");
                    }
                }
                Err(TransportError::TooLarge(what)) => {
                    return Err(self.refuse(zone, RecordError::Malformed(what), trace));
                }
                Err(error) => reason = format!("{url}: {error}"),
            }
            self.parts.counters.unreachable.add();
            trace.note(|| Step::Failed {
                zone: zone.to_string(),
                url: url.clone(),
                reason: reason.clone(),
            });
        }
        Err(ResolveError::Unreachable { zone: zone.clone(), reason })
    }

    /// What a zone gave this one to show, if it did.
    pub(in super::super) fn token(&self, zone: &ZoneName) -> Option<Token> {
        self.parts.authority.book().peers.get(zone)?.token.clone()
    }

    /// Finds a zone, and everything that proves it.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub(in super::super) async fn zone(
        self: &Arc<Self>,
        zone: &ZoneName,
        trace: &Trace,
    ) -> Result<Arc<Cut>, ResolveError> {
        if zone == self.parts.authority.zone() {
            return self.own_cut();
        }
        if let Some(cut) = self.cuts.get(zone)
            && Instant::now() < cut.until.fresh
            && cut.epoch == self.parts.authority.epoch()
        {
            return Ok(cut);
        }
        let Ok(name) = zone.as_str().parse::<FullName>() else {
            return self.top(zone, trace).await;
        };
        let answer = self.resolve_for_zone(&name, trace).await?;
        match &answer.resolved.found {
            Found::Zone => Ok(Arc::clone(&answer.resolved.cut)),
            Found::Agent(_) | Found::Absent => Err(ResolveError::Failed {
                zone: answer.resolved.cut.zone().clone(),
                kind: FailureKind::NotMine,
                message: format!("there is no zone {zone}"),
            }),
        }
    }
}

impl Resolver {
    /// Finds a zone with nothing above it: it is pinned or unknown.
    async fn top(&self, zone: &ZoneName, trace: &Trace) -> Result<Arc<Cut>, ResolveError> {
        // Whatever is asked, the answer says who answers.
        let any =
            FullName::new("apex", zone).map_err(|error| ResolveError::Own(error.to_string()))?;
        let place = self.start(&any, trace)?;
        if place.zone != *zone {
            return Err(ResolveError::NoAnchor(any));
        }
        let deadline = Instant::now() + LOOKUP_TIMEOUT;
        let answer = self.question(&place, &any, HOPS_MAX, deadline, trace).await?;
        let accepted = self.accept(&place, &answer.apex, trace);
        accepted.map_err(|error| self.refuse(zone, error, trace))
    }
}

/// A time as requests have it.
pub(in super::super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A request with a JSON body, with the token of whom it is for, if that gave one.
///
/// # Errors
/// What is wrong with the URL.
pub(in super::super) fn post(
    url: &str,
    token: Option<&Token>,
    body: Bytes,
) -> Result<Request<Bytes>, String> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.secret()));
    }
    request.body(body).map_err(|error| error.to_string())
}

/// Endpoints in the order in which to try them: begun with by weight, the others after it. `turn` grows with every
/// request, so that over time each gets its share.
pub(in super::super) fn in_order(endpoints: &[Endpoint], turn: u64) -> Vec<&Endpoint> {
    let total: u64 = endpoints.iter().map(|endpoint| u64::from(endpoint.weight)).sum();
    let mut order: Vec<_> = endpoints.iter().collect();
    if total > 0 {
        let mut at = turn % total;
        let first = endpoints.iter().position(|endpoint| {
            let weight = u64::from(endpoint.weight);
            let is_here = at < weight;
            at = at.saturating_sub(weight);
            is_here
        });
        if let Some(first) = first {
            order.rotate_left(first);
        }
    }
    order
}

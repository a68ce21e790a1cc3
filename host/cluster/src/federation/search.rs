//! "Who can do this?", asked of a zone and everything below it.
//!
//! A zone searches what it exports to the asker, and passes the question on to those children whose tags match, all at
//! once, under one deadline. The answer is partial where a child did not answer in time, and says which. A search has
//! an id, so a zone answers one that a zone sends it once, and says so when it comes again; zones that it passed travel
//! along, so it never turns back. What a child says about names outside of it is dropped and counted: it has no say
//! over them. A child answers this zone, and may show it more than it would show whoever asked this zone: each hit
//! says who may see it, and only what everybody may see is passed on. Nor has a child a say over its place among the others: scores order what one source found, and sources take
//! turns, so that who praises itself most is heard as often as everybody else.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aop_core::federation::{ZoneFailure, ZoneFindings, ZoneHit, ZoneQuery};
use aop_core::{Caller, Digest, Failure, Tool};
use futures::future::join_all;
use tokio::time::Instant;

use super::Zone;
use super::book::Peer;
use super::cache::Reach;
use super::export::{Asker, Exported};
use super::message::{FoundHit, HITS_MAX, HOPS_MAX, SearchAnswer, SearchRequest};
use super::name::{FullName, ZoneName};
use super::receive::subject;
use super::record::{Endpoint, RecordError};
use super::resolver::{ResolveError, Trace, millis};

/// What a zone keeps of the time for itself and the way back.
const RESERVE: Duration = Duration::from_millis(50);
/// Children that one search is passed on to: the zones of the largest organisation that is planned for.
const CHILDREN_MAX: usize = 200;
/// Descriptions are cut to what helps to choose.
const DESCRIPTION_CHARS_MAX: usize = 400;

impl Zone {
    /// A search that a caller of this zone begins.
    ///
    /// # Errors
    /// When nobody vouches for the zone to begin with, or it does not answer.
    pub(super) async fn search_from(
        self: &Arc<Self>,
        caller: &Caller,
        zone: &ZoneName,
        query: &ZoneQuery,
        deadline: Instant,
    ) -> Result<ZoneFindings, Failure> {
        let own = self.authority().zone().clone();
        let request = SearchRequest {
            query: query.text.clone(),
            limit: query.limit,
            request_id: uuid::Uuid::now_v7().to_string(),
            hops: HOPS_MAX,
            via: vec![own.clone()],
            deadline_ms: 0,
        };
        if *zone == own {
            let mut findings = SearchAnswer::default();
            self.search_library(caller, query, &mut findings);
            findings.zones.push(own.to_string());
            let below = self.scatter(&request, deadline, &mut findings).await;
            return Ok(plain(merged(findings, below, query.limit)));
        }
        let found = self.resolver().zone(zone, &Trace::off()).await;
        let cut = found.map_err(|error| error.failure())?;
        let asked = self.ask_search(zone, &cut.apex.endpoints, &request, deadline).await;
        asked
            .map(|findings| plain(merged(findings, Vec::new(), query.limit)))
            .map_err(|error| error.failure())
    }

    /// The caller's own tools, by their full names.
    fn search_library(&self, caller: &Caller, query: &ZoneQuery, findings: &mut SearchAnswer) {
        let library = &self.parts.library;
        let zone = self.authority().zone();
        let found =
            library.discover(&caller.tenant, &query.text, None, Some(query.limit), &|_| true);
        for found in found.unwrap_or_default() {
            let tool = &found.route.tool;
            let hit = ZoneHit {
                name: format!("{}.{zone}", tool.name),
                agent: format!("{}.{zone}", found.route.revision.agent),
                description: clip(&tool.description),
                score: found.score,
            };
            findings.tools.push(FoundHit { hit, reach: Some(Reach::Caller) });
        }
    }

    /// A search that another zone sent.
    pub(super) async fn search_for(
        self: &Arc<Self>,
        request: &SearchRequest,
        asker: Asker<'_>,
    ) -> SearchAnswer {
        self.counters().searches_in.add();
        let mut findings = SearchAnswer::default();
        let own = self.authority().zone();
        if request.hops == 0 || request.via.contains(own) {
            return findings;
        }
        if !self.is_new_search(asker, &request.request_id) {
            // Whoever lost the answer must not take this for one.
            let reason = "it answered this search already".to_owned();
            findings.failed.push(ZoneFailure { zone: own.to_string(), reason });
            return findings;
        }
        let deadline = Instant::now() + super::message::patience(request.deadline_ms);
        self.search_exports(request, asker, &mut findings);
        findings.zones.push(own.to_string());
        // Below, it is this zone's search for whoever asked: nobody else's with the same id gets in its way.
        let id = Digest::of(format!("{} {}", subject(asker), request.request_id).as_bytes());
        let passed_on = SearchRequest {
            // What is not passed on must not take the place of what is: that would tell that it is there.
            limit: HITS_MAX,
            request_id: id.hex(),
            hops: request.hops - 1,
            via: request.via.iter().cloned().chain([own.clone()]).collect(),
            ..request.clone()
        };
        let mut below = self.scatter(&passed_on, deadline, &mut findings).await;
        for hits in &mut below {
            hits.retain(|found| found.reach == Some(Reach::World));
        }
        merged(findings, below, request.limit)
    }

    fn search_exports(
        &self,
        request: &SearchRequest,
        asker: Asker<'_>,
        findings: &mut SearchAnswer,
    ) {
        let table = self.authority().exported();
        let visible: Vec<_> = table.agents().filter(|exported| exported.is_for(asker)).collect();
        let tenants: HashSet<_> = visible.iter().map(|exported| &exported.tenant).collect();
        for tenant in tenants {
            let of_tenant = |exported: &&&super::export::Exported| exported.tenant == *tenant;
            let names: HashSet<_> = visible
                .iter()
                .filter(of_tenant)
                .flat_map(|exported| exported.tools.iter().map(|tool| tool.name.clone()))
                .collect();
            let limit = request.limit.clamp(1, HITS_MAX);
            let permits = |name: &aop_core::ToolName| names.contains(name);
            let library = &self.parts.library;
            let found = library.discover(tenant, &request.query, None, Some(limit), &permits);
            for found in found.unwrap_or_default() {
                let tool = &found.route.tool;
                let Some(exported) = table.find(&tool.name) else { continue };
                findings.tools.push(self.hit(exported, tool, found.score));
            }
        }
        // After those whose own words say it, the agents that only their tags speak for.
        let found: HashSet<_> =
            findings.tools.iter().map(|found| found.hit.agent.clone()).collect();
        let tagged = visible.iter().filter(|exported| {
            matches(&request.query, &exported.own_tags)
                && !found.contains(&exported.name.to_string())
        });
        let hits = tagged
            .flat_map(|exported| exported.tools.iter().map(|tool| self.hit(exported, tool, 0.0)));
        findings.tools.extend(hits.take(HITS_MAX as usize));
    }

    fn hit(&self, exported: &Exported, tool: &Tool, score: f64) -> FoundHit {
        let hit = ZoneHit {
            name: format!("{}.{}", tool.name, self.authority().zone()),
            agent: exported.name.to_string(),
            description: clip(&tool.description),
            score,
        };
        FoundHit { hit, reach: Some(exported.reach()) }
    }

    /// Passes a search on to the children whose tags match. What each of them found, one after the other.
    async fn scatter(
        self: &Arc<Self>,
        request: &SearchRequest,
        deadline: Instant,
        findings: &mut SearchAnswer,
    ) -> Vec<Vec<FoundHit>> {
        let mut below = Vec::new();
        if request.hops == 0 {
            return below;
        }
        let book = self.authority().book();
        let is_due = |zone: &ZoneName, peer: &Peer| {
            !request.via.contains(zone) && matches(&request.query, &peer.exports)
        };
        let children = book.children().filter(|(zone, peer)| is_due(zone, peer)).take(CHILDREN_MAX);
        let deadline = deadline - RESERVE;
        let asking = children.map(|(zone, peer)| async move {
            let endpoints = self.authority().endpoints_of(zone, peer);
            let answer = self.ask_search(zone, &endpoints, request, deadline).await;
            (zone.clone(), answer)
        });
        for (zone, answer) in join_all(asking).await {
            match answer {
                Ok(answer) => {
                    below.push(answer.tools);
                    findings.zones.extend(answer.zones);
                    findings.failed.extend(answer.failed);
                }
                Err(error) => findings
                    .failed
                    .push(ZoneFailure { zone: zone.to_string(), reason: error.to_string() }),
            }
        }
        below
    }

    async fn ask_search(
        &self,
        zone: &ZoneName,
        endpoints: &[Endpoint],
        request: &SearchRequest,
        deadline: Instant,
    ) -> Result<SearchAnswer, ResolveError> {
        let attempt = |number: usize, share| SearchRequest {
            deadline_ms: millis(share),
            // An attempt whose answer was lost is another search to who answered it.
            request_id: match number {
                0 => request.request_id.clone(),
                _ => uuid::Uuid::now_v7().to_string(),
            },
            ..request.clone()
        };
        let trace = Trace::off();
        let path = "/zone/v1/search";
        let mut answer: SearchAnswer =
            self.resolver().ask(zone, endpoints, path, attempt, deadline, &trace).await?;
        let said = answer.tools.len();
        answer.tools.retain(|found| is_of(&found.hit.name, zone) && is_of(&found.hit.agent, zone));
        answer.tools.truncate(HITS_MAX as usize);
        for FoundHit { hit, .. } in &mut answer.tools {
            hit.description = clip(&hit.description);
        }
        answer.zones.retain(|name| name.parse().is_ok_and(|name: ZoneName| name.is_within(zone)));
        answer.zones.truncate(CHILDREN_MAX);
        answer.failed.retain(|failure| {
            failure.zone.parse().is_ok_and(|name: ZoneName| name.is_within(zone))
        });
        answer.failed.truncate(CHILDREN_MAX);
        for failure in &mut answer.failed {
            failure.reason = clip(&failure.reason);
        }
        if answer.tools.len() < said.min(HITS_MAX as usize) {
            let error = RecordError::Bailiwick(format!("{zone} names tools outside of itself"));
            self.resolver().refuse(zone, error, &trace);
        }
        Ok(answer)
    }
}

/// Whether a full name is within a zone.
fn is_of(name: &str, zone: &ZoneName) -> bool {
    name.parse().is_ok_and(|name: FullName| name.is_within(zone) && !name.is_zone(zone))
}

/// Whether a word of a query and a tag begin alike. Without words, everything matches; a child without tags exports
/// nothing to find.
fn matches(query: &str, tags: &[String]) -> bool {
    /// Letters that words must have in common: `summarise`, `summary` and `summarize` do.
    const STEM: usize = 5;
    let query = query.to_lowercase();
    let words: Vec<_> =
        query.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 1).collect();
    let stem = |word: &str| word.chars().take(STEM).collect::<String>();
    !tags.is_empty()
        && (words.is_empty()
            || words.iter().any(|word| {
                let word = stem(word);
                tags.iter().any(|tag| {
                    let tag = stem(tag);
                    tag.starts_with(&word) || (tag.len() > 2 && word.starts_with(&tag))
                })
            }))
}

/// What this zone found and what those below did: each source's best first, and one of each in turn, this zone first.
fn merged(own: SearchAnswer, below: Vec<Vec<FoundHit>>, limit: u32) -> SearchAnswer {
    let SearchAnswer { mut zones, mut failed, tools: first } = own;
    let mut sources: Vec<_> =
        [first].into_iter().chain(below).map(|hits| ranked(hits).into_iter()).collect();
    let limit = limit.min(HITS_MAX) as usize;
    let (mut tools, mut seen) = (Vec::new(), HashSet::new());
    while tools.len() < limit && !sources.is_empty() {
        sources.retain_mut(|source| match source.next() {
            Some(found) => {
                if tools.len() < limit && seen.insert(found.hit.name.clone()) {
                    tools.push(found);
                }
                true
            }
            None => false,
        });
    }
    zones.sort();
    zones.dedup();
    // A zone that was reached by another way did answer.
    failed.retain(|failure| zones.binary_search(&failure.zone).is_err());
    failed.sort_by(|a, b| a.zone.cmp(&b.zone));
    failed.dedup_by(|a, b| a.zone == b.zone);
    SearchAnswer { tools, zones, failed }
}

/// For a caller of this zone, who may see all that the zone may.
fn plain(answer: SearchAnswer) -> ZoneFindings {
    let tools = answer.tools.into_iter().map(|found| found.hit).collect();
    ZoneFindings { tools, zones: answer.zones, failed: answer.failed }
}

/// The best hits of one source first; equal ones by name.
fn ranked(mut hits: Vec<FoundHit>) -> Vec<FoundHit> {
    let score =
        |FoundHit { hit, .. }: &FoundHit| if hit.score.is_finite() { hit.score } else { 0.0 };
    hits.sort_by(|a, b| score(b).total_cmp(&score(a)).then_with(|| a.hit.name.cmp(&b.hit.name)));
    hits
}

fn clip(text: &str) -> String {
    text.chars().take(DESCRIPTION_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_match_words_that_begin_alike() {
        let tags = ["summarize".to_owned(), "text".to_owned()];
        for query in ["summarise a page", "Summary", "text", "texts please", ""] {
            assert!(matches(query, &tags), "{query}");
        }
        for query in ["translate", "image", "so"] {
            assert!(!matches(query, &tags), "{query}");
        }
        assert!(!matches("", &[]), "nothing is exported");
    }
}

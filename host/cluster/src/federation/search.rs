//! "Who can do this?", asked of a zone and everything below it.
//!
//! A zone searches what it exports to the asker, and passes the question on to those children whose tags match, all at
//! once, under one deadline. The answer is partial where a child did not answer in time, and says which. A search has
//! an id, so a zone that it reaches by two ways answers once; zones that it passed travel along, so it never turns
//! back. What a child says about names outside of it is dropped and counted: it has no say over them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aop_core::federation::{ZoneFailure, ZoneFindings, ZoneHit, ZoneQuery};
use aop_core::{Caller, Failure};
use futures::future::join_all;
use tokio::time::Instant;

use super::Zone;
use super::book::Peer;
use super::export::Asker;
use super::message::{HITS_MAX, HOPS_MAX, SearchAnswer, SearchRequest};
use super::name::{FullName, ZoneName};
use super::receive::caller as caller_of;
use super::record::{Endpoint, RecordError};
use super::resolver::{ResolveError, Trace};

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
            let mut findings = ZoneFindings::default();
            self.search_library(caller, query, &mut findings);
            self.scatter(&request, deadline, &mut findings).await;
            findings.zones.push(own.to_string());
            return Ok(ranked(findings, query.limit));
        }
        let found = self.resolver().zone(zone, &Trace::off()).await;
        let cut = found.map_err(|error| error.failure())?;
        let asked = self.ask_search(zone, &cut.apex.endpoints, &request, deadline).await;
        asked.map(|findings| ranked(findings, query.limit)).map_err(|error| error.failure())
    }

    /// The caller's own tools, by their full names.
    fn search_library(&self, caller: &Caller, query: &ZoneQuery, findings: &mut ZoneFindings) {
        let library = &self.parts.library;
        let zone = self.authority().zone();
        let found =
            library.discover(&caller.tenant, &query.text, None, Some(query.limit), &|_| true);
        for found in found.unwrap_or_default() {
            let tool = &found.route.tool;
            findings.tools.push(ZoneHit {
                name: format!("{}.{zone}", tool.name),
                agent: format!("{}.{zone}", found.route.revision.agent),
                description: clip(&tool.description),
                score: found.score,
            });
        }
    }

    /// A search that another zone sent.
    pub(super) async fn search_for(
        self: &Arc<Self>,
        request: &SearchRequest,
        asker: Asker<'_>,
    ) -> SearchAnswer {
        self.counters().searches_in.add();
        let mut findings = ZoneFindings::default();
        let own = self.authority().zone();
        let turns_back = request.hops == 0 || request.via.contains(own);
        if turns_back || !self.is_new_search(&request.request_id) {
            return findings;
        }
        let deadline = Instant::now() + super::message::patience(request.deadline_ms);
        self.search_exports(request, asker, &mut findings);
        findings.zones.push(own.to_string());
        let passed_on = SearchRequest {
            hops: request.hops - 1,
            via: request.via.iter().cloned().chain([own.clone()]).collect(),
            ..request.clone()
        };
        self.scatter(&passed_on, deadline, &mut findings).await;
        ranked(findings, request.limit)
    }

    fn search_exports(
        &self,
        request: &SearchRequest,
        asker: Asker<'_>,
        findings: &mut ZoneFindings,
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
            let tenant = &caller_of(tenant).tenant;
            let found = library.discover(tenant, &request.query, None, Some(limit), &permits);
            for found in found.unwrap_or_default() {
                let tool = &found.route.tool;
                let Some(exported) = table.find(&tool.name) else { continue };
                findings.tools.push(ZoneHit {
                    name: format!("{}.{}", tool.name, self.authority().zone()),
                    agent: exported.name.to_string(),
                    description: clip(&tool.description),
                    score: found.score,
                });
            }
        }
    }

    /// Passes a search on to the children whose tags match.
    async fn scatter(
        self: &Arc<Self>,
        request: &SearchRequest,
        deadline: Instant,
        findings: &mut ZoneFindings,
    ) {
        if request.hops == 0 {
            return;
        }
        let book = self.authority().book();
        let is_due = |zone: &ZoneName, peer: &Peer| {
            !request.via.contains(zone) && matches(&request.query, &peer.exports)
        };
        let children = book.children().filter(|(zone, peer)| is_due(zone, peer)).take(CHILDREN_MAX);
        let deadline = deadline - RESERVE;
        let asking = children.map(|(zone, peer)| async move {
            let answer = self.ask_search(zone, &peer.endpoints, request, deadline).await;
            (zone.clone(), answer)
        });
        for (zone, answer) in join_all(asking).await {
            match answer {
                Ok(answer) => {
                    findings.tools.extend(answer.tools);
                    findings.zones.extend(answer.zones);
                    findings.failed.extend(answer.failed);
                }
                Err(error) => findings
                    .failed
                    .push(ZoneFailure { zone: zone.to_string(), reason: error.to_string() }),
            }
        }
    }

    async fn ask_search(
        &self,
        zone: &ZoneName,
        endpoints: &[Endpoint],
        request: &SearchRequest,
        deadline: Instant,
    ) -> Result<ZoneFindings, ResolveError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let request = SearchRequest {
            deadline_ms: u64::try_from(left.as_millis()).unwrap_or(0),
            ..request.clone()
        };
        let trace = Trace::off();
        let path = "/zone/v1/search";
        let mut answer: SearchAnswer =
            self.resolver().ask(zone, endpoints, path, &request, deadline, &trace).await?;
        let said = answer.tools.len();
        answer.tools.retain(|hit| is_of(&hit.name, zone) && is_of(&hit.agent, zone));
        answer.tools.truncate(HITS_MAX as usize);
        for hit in &mut answer.tools {
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

/// The best hits first; scores of different zones are only roughly comparable, so equal ones go by name.
fn ranked(mut findings: ZoneFindings, limit: u32) -> ZoneFindings {
    let score = |hit: &ZoneHit| if hit.score.is_finite() { hit.score } else { 0.0 };
    findings.tools.sort_by(|a, b| score(b).total_cmp(&score(a)).then_with(|| a.name.cmp(&b.name)));
    findings.tools.dedup_by(|a, b| a.name == b.name);
    findings.tools.truncate(limit.min(HITS_MAX) as usize);
    findings.zones.sort();
    findings.zones.dedup();
    findings.failed.sort_by(|a, b| a.zone.cmp(&b.zone));
    findings.failed.dedup_by(|a, b| a.zone == b.zone);
    findings
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

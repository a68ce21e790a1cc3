//! A zone, whole: what it says, what it finds, and whom it serves.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aop_core::federation::{ExchangeLimits, Federation, ZoneFindings, ZoneQuery, ZoneTransport};
use aop_core::{
    BoxFuture, Caller, Digest, ErrorCode, Failure, Invoke, Library, Route, TenantName, Violation,
};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use quick_cache::Weighter;
use quick_cache::sync::Cache as Storage;
use serde_json::json;
use tokio::time::Instant;

use super::answer::Behind;
use super::authority::Authority;
use super::book::Relation;
use super::cache::Level;
use super::call::Foreign;
use super::export::{Asker, DESCRIPTOR_MAX_BYTES, Descriptor};
use super::measure::Counters;
use super::name::{FullName, ZoneName};
use super::resolver::{Answer, Found, Owners, Resolver, ResolverParts, TRIED_MAX, Trace};
use super::uplink::Standing;
use super::ways::Ways;
use crate::routing::AnswerNames;

/// What the agents of other zones whose tools are kept may take. Their documents never change, so they are kept while
/// there is room.
const FOREIGN_MAX_BYTES: u64 = 64 << 20;
/// How many that likely are.
const FOREIGN_LIKELY: usize = 1024;

#[derive(Debug, Clone)]
struct ForeignScales;

impl Weighter<(TenantName, FullName, Digest), Arc<Foreign>> for ForeignScales {
    fn weight(&self, _: &(TenantName, FullName, Digest), foreign: &Arc<Foreign>) -> u64 {
        foreign.bytes()
    }
}
/// Searches whose ids are remembered, so that none is answered twice.
const SEARCHES_MAX: usize = 8192;
/// The longest that a search in other zones takes.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long fetching a document may take, over all endpoints that are tried.
const DESCRIPTOR_TIMEOUT: Duration = Duration::from_secs(5);

/// A search: whose, none for all strangers together, and its id.
type Search = (Option<ZoneName>, String);

/// What a zone stands on.
pub struct ZoneParts {
    /// What it says itself.
    pub authority: Arc<Authority>,
    /// The way to others.
    pub transport: Arc<dyn ZoneTransport>,
    /// Who has the second cache level.
    pub owners: Arc<dyn Owners>,
    /// Runs the calls of others.
    pub invoke: Arc<dyn Invoke>,
    /// Finds tools of this zone.
    pub library: Library,
}

/// See the module's documentation. One per host that has a zone's name.
pub struct Zone {
    pub(super) parts: ZoneParts,
    resolver: Arc<Resolver>,
    ways: Arc<Ways>,
    /// None for a zone that keeps no connection to its parent.
    pub(super) uplink: Mutex<Option<Standing>>,
    counters: Arc<Counters>,
    behind: Arc<Behind>,
    /// By who calls them, their names, and the digests of what describes them.
    foreign: Storage<(TenantName, FullName, Digest), Arc<Foreign>, ForeignScales>,
    /// Who asked, and the id: nobody can use up an id that another zone will ask with.
    searches: Mutex<(HashSet<Search>, HashSet<Search>)>,
}

impl Zone {
    /// A zone that knows nothing of others yet.
    #[must_use]
    pub fn new(parts: ZoneParts) -> Arc<Self> {
        let counters = Arc::new(Counters::default());
        let ways = Ways::new(Arc::clone(&parts.authority), Arc::clone(&parts.transport));
        let resolver = Resolver::new(ResolverParts {
            authority: Arc::clone(&parts.authority),
            ways: Arc::clone(&ways),
            owners: Arc::clone(&parts.owners),
            counters: Arc::clone(&counters),
        });
        Arc::new(Self {
            parts,
            resolver,
            ways,
            uplink: Mutex::default(),
            counters,
            behind: Arc::default(),
            foreign: Storage::with_weighter(FOREIGN_LIKELY, FOREIGN_MAX_BYTES, ForeignScales),
            searches: Mutex::default(),
        })
    }

    /// Resolves a name for another node of this zone, which this one owns; none when there is nothing to say.
    pub async fn answer_node(&self, name: &str) -> Option<Vec<u8>> {
        self.resolver.answer_node(name).await
    }

    /// What the zone says itself.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.parts.authority
    }

    /// Its resolver.
    #[must_use]
    pub const fn resolver(&self) -> &Arc<Resolver> {
        &self.resolver
    }

    pub(super) const fn ways(&self) -> &Arc<Ways> {
        &self.ways
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) const fn behind(&self) -> &Arc<Behind> {
        &self.behind
    }

    pub(super) fn cache_figures(&self, level: Level) -> [u64; 3] {
        self.resolver.cache.figures(level)
    }

    pub(super) fn cache_entries(&self) -> usize {
        self.resolver.cache.len()
    }

    /// Takes note of a search. Whether it is new: one that arrives twice from one zone is answered once.
    pub(super) fn is_new_search(&self, asker: Asker<'_>, id: &str) -> bool {
        let who = match asker {
            Asker::Zone(zone, _) => Some(zone.clone()),
            Asker::Stranger | Asker::Itself => None,
        };
        let search = (who, id.to_owned());
        let mut searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        let (newer, older) = &mut *searches;
        if newer.contains(&search) || older.contains(&search) {
            return false;
        }
        if newer.len() >= SEARCHES_MAX / 2 {
            *older = std::mem::take(newer);
        }
        newer.insert(search);
        true
    }

    /// The agent of another zone that has a full name, ready to be called.
    ///
    /// # Errors
    /// `not_found`, or why it cannot be known now.
    pub(super) async fn foreign(
        self: &Arc<Self>,
        caller: &Caller,
        name: &FullName,
    ) -> Result<Arc<Foreign>, Failure> {
        let answer = self.resolver.resolve(&caller.tenant, name, &Trace::off()).await;
        let Answer { resolved, is_stale } = answer.map_err(|error| error.failure())?;
        let agent = match &resolved.found {
            Found::Agent(agent) => &agent.body,
            Found::Zone => return Err(not_found(name, "it is a zone: put a tool in front of it")),
            Found::Absent => {
                return Err(not_found(name, "its zone has no such export for this one"));
            }
        };
        if is_stale {
            tracing::warn!(%name, "a zone does not answer: the name is resolved as it was");
        }
        let tenant = &caller.tenant;
        let key = (tenant.clone(), agent.name.clone(), agent.descriptor_sha256);
        if let Some(foreign) = self.foreign.get(&key)
            && foreign.endpoints() == agent.endpoints
            && foreign.version() == agent.version
        {
            self.resolver.shorten(tenant, name, &resolved, foreign.ttl());
            return Ok(foreign);
        }
        let descriptor = self.descriptor(&resolved.cut.apex.endpoints, agent).await?;
        let foreign = Foreign::new(self, tenant, agent, &descriptor)
            .map_err(|reason| self.bad_descriptor(&agent.name, &reason))?;
        self.foreign.insert(key, Arc::clone(&foreign));
        self.resolver.shorten(tenant, name, &resolved, foreign.ttl());
        Ok(foreign)
    }

    fn bad_descriptor(&self, name: &FullName, reason: &str) -> Failure {
        self.counters.bad_descriptor.add();
        tracing::warn!(%name, reason, "a descriptor is not what its record promised");
        let message = format!("the tools of `{name}` are not what its zone promised: {reason}");
        Failure::before_execution(ErrorCode::Unavailable, message)
    }

    async fn descriptor(
        &self,
        endpoints: &[super::record::Endpoint],
        agent: &super::record::Agent,
    ) -> Result<Descriptor, Failure> {
        let digest = agent.descriptor_sha256;
        let token = self.resolver.token(&agent.name.zone());
        let mut reason = String::new();
        let deadline = Instant::now() + DESCRIPTOR_TIMEOUT;
        let tried = endpoints.len().min(TRIED_MAX);
        for (number, endpoint) in endpoints.iter().take(TRIED_MAX).enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            // What swallows the request must leave time for the next one.
            let share = left / u32::try_from(tried - number).unwrap_or(1);
            let url = format!(
                "{}/zone/v1/descriptors/{}",
                endpoint.url.trim_end_matches('/'),
                digest.hex()
            );
            let mut request = Request::builder().method(Method::GET).uri(&url);
            if let Some(token) = &token {
                request =
                    request.header(header::AUTHORIZATION, format!("Bearer {}", token.secret()));
            }
            let Ok(request) = request.body(Bytes::new()) else { continue };
            let limits = ExchangeLimits { time: share, answer_max_bytes: DESCRIPTOR_MAX_BYTES };
            match self.ways().exchange(&agent.name.zone(), request, limits).await {
                Ok(response) if response.status() == StatusCode::OK => {
                    return Descriptor::read(response.body(), digest, &agent.name)
                        .map_err(|reason| self.bad_descriptor(&agent.name, &reason));
                }
                Ok(response) => reason = format!("{url} answers with {}", response.status()),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(Failure::before_execution(
            ErrorCode::Unavailable,
            format!("the tools of `{}` cannot be read: {reason}", agent.name),
        ))
    }

    /// Who showed a token, if it is one that this zone gave out.
    pub(super) fn asker(&self, token: Option<&str>) -> Option<(ZoneName, Relation)> {
        let book = self.authority().book();
        book.holder(token?).map(|(zone, peer)| (zone.clone(), peer.relation))
    }
}

/// Borrows who asks.
pub(super) fn as_asker(asker: Option<&(ZoneName, Relation)>) -> Asker<'_> {
    asker.map_or(Asker::Stranger, |(zone, relation)| Asker::Zone(zone, *relation))
}

fn not_found(name: &FullName, why: &str) -> Failure {
    Failure::before_execution(ErrorCode::NotFound, format!("no tool `{name}`: {why}"))
}

fn invalid(pointer: &str, message: String) -> Failure {
    Failure::invalid_arguments(&[Violation { pointer: pointer.to_owned(), message }])
}

/// A full name that a caller sent.
pub(super) fn full_name(name: &str) -> Result<FullName, Failure> {
    FullName::typed(name).map_err(|error| invalid("/tool", error.to_string()))
}

/// What edges see of a zone. A handle, because its lookups outlive the call that began them.
#[derive(Clone)]
pub struct ZoneHandle(pub Arc<Zone>);

impl AnswerNames for ZoneHandle {
    fn answer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Vec<u8>>> {
        Box::pin(self.0.answer_node(name))
    }
}

impl Federation for ZoneHandle {
    fn discover<'a>(
        &'a self,
        caller: &'a Caller,
        query: ZoneQuery,
    ) -> BoxFuture<'a, Result<ZoneFindings, Failure>> {
        Box::pin(async move {
            let zone = ZoneName::typed(&query.zone);
            let zone = zone.map_err(|error| invalid("/zone", error.to_string()))?;
            if !(1..=super::message::HITS_MAX).contains(&query.limit) {
                let limit = super::message::HITS_MAX;
                return Err(invalid("/limit", format!("must be between 1 and {limit}")));
            }
            let deadline = Instant::now() + SEARCH_TIMEOUT;
            self.0.search_from(caller, &zone, &query, deadline).await
        })
    }

    fn describe<'a>(
        &'a self,
        caller: &'a Caller,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Route, Failure>> {
        Box::pin(async move {
            let name = full_name(name)?;
            if name.zone() == *self.0.authority().zone() {
                let library = &self.0.parts.library;
                let (label, folded) = (name.label(), name.label().to_ascii_lowercase());
                let found = library.describe(&caller.tenant, label);
                let is_other = found.is_err() && folded != label;
                return if is_other { library.describe(&caller.tenant, &folded) } else { found };
            }
            let foreign = self.0.foreign(caller, &name).await?;
            foreign.route(name.label()).ok_or_else(|| {
                not_found(&name, "the agent has several tools: name one of them instead")
            })
        })
    }

    fn trace<'a>(&'a self, caller: &'a Caller, name: &'a str) -> BoxFuture<'a, serde_json::Value> {
        Box::pin(async move {
            let started = Instant::now();
            let trace = Trace::on();
            let outcome = match FullName::typed(name) {
                Ok(name) => self
                    .0
                    .resolver
                    .resolve(&caller.tenant, &name, &trace)
                    .await
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let ms = started.elapsed().as_secs_f64() * 1000.0;
            let mut value = match outcome {
                Ok(answer) => describe_answer(&answer),
                Err(error) => json!({ "found": "error", "error": error }),
            };
            value["name"] = json!(name);
            value["ms"] = json!((ms * 100.0).round() / 100.0);
            value["steps"] = trace.steps();
            value
        })
    }

    fn status(&self) -> serde_json::Value {
        super::status::of(&self.0)
    }
}

fn describe_answer(answer: &Answer) -> serde_json::Value {
    let resolved = &answer.resolved;
    let mut value = json!({
        "zone": resolved.cut.zone(),
        "stale": answer.is_stale,
        "reach": resolved.reach,
        "ttl_s": resolved.times.ttl.as_secs(),
        "expires_in_s": resolved.times.life.as_secs(),
    });
    match &resolved.found {
        Found::Agent(agent) => {
            value["found"] = json!("agent");
            value["agent"] = json!(agent.body);
        }
        Found::Zone => {
            value["found"] = json!("zone");
            value["apex"] = json!(resolved.cut.apex);
        }
        Found::Absent => value["found"] = json!("absent"),
    }
    value
}

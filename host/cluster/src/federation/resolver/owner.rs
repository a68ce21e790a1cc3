//! The zone's second cache level, over its nodes: each name has one owner among them, who resolves it for all.
//!
//! What another node answers is checked as if the zones themselves had said it: the whole proof comes along, down from the
//! zone that this node has pinned or delegated. Only that a name is absent is believed as it is, for half a minute. When
//! the owner does not answer in time, or answers what this node cannot check, this node resolves the name itself. An
//! owner never asks another one, so that nodes that disagree about who owns a name do not ask each other.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::WeakShared;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::super::cache::{Level, Reach, Times};
use super::super::message::{HOPS_MAX, Link};
use super::super::name::{FullName, ZoneName};
use super::super::record::{self, RecordError};
use super::trace::Step;
use super::walk::millis;
use super::{Answer, Asking, FLIGHTS_MAX, Found, ResolveError, Resolved, Resolver, Trace, proof};

/// How long the owner of a name may take: what it does not find by then, this node looks for itself, and the caller
/// still has time for that.
const OWNER_TIMEOUT: Duration = Duration::from_secs(1);

/// What an owner answers, in the form of this version.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnersWord {
    /// Where the proof begins.
    zone: ZoneName,
    apex: Vec<String>,
    links: Vec<Link>,
    found: Word,
    reach: Reach,
    /// What is left of it.
    ttl_ms: u64,
    life_ms: u64,
    is_stale: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Agent(String),
    Zone,
    Absent,
}

impl Resolver {
    /// Resolves a name for another node of this zone, as its owner. None when there is nothing to say that the other one
    /// would not find out itself.
    pub(in super::super) async fn answer_node(self: &Arc<Self>, name: &str) -> Option<Vec<u8>> {
        let name: FullName = name.parse().ok()?;
        if self.parts.authority.is_own(&name) {
            return None;
        }
        let now = Instant::now();
        // It goes on when the node that asks gives up: a name that takes long is known when it is asked for again.
        let (resolver, looked_for) = (Arc::clone(self), name.clone());
        let looking =
            tokio::spawn(
                async move { resolver.resolve_for_zone(&looked_for, &Trace::off()).await },
            );
        let answer = looking.await.ok()?.ok()?;
        let Answer { resolved, is_stale } = answer;
        // What only one caller may see is nobody else's, whoever asks.
        if resolved.reach == Reach::Caller {
            return None;
        }
        let book = self.parts.authority.book();
        let (top, _) = book.anchor_of(&name)?;
        let mut first = &resolved.cut;
        while first.zone() != top {
            first = first.above.as_ref()?;
        }
        let left = self.left(&resolved, &name, now);
        let word = OwnersWord {
            zone: top.clone(),
            apex: first.proof.clone(),
            links: resolved.cut.links_from(top)?,
            found: match &resolved.found {
                Found::Agent(agent) => Word::Agent(agent.jws.to_string()),
                Found::Zone => Word::Zone,
                Found::Absent => Word::Absent,
            },
            reach: resolved.reach,
            ttl_ms: millis(left.ttl),
            life_ms: millis(left.life),
            is_stale,
        };
        serde_json::to_vec(&word).ok()
    }

    /// What the owner of a name says, if another node is that and says something that holds.
    pub(super) async fn from_owner(
        self: &Arc<Self>,
        name: &FullName,
        trace: &Trace,
    ) -> Option<Answer> {
        let asking = self.asking(name)?;
        let answer = asking.await;
        trace.note(|| Step::Owner { answered: answer.is_some() });
        answer
    }

    /// The question to the owner that is under way, or a new one; none when this node is the owner.
    fn asking(self: &Arc<Self>, name: &FullName) -> Option<Asking> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asking) = asked.get(name).and_then(WeakShared::upgrade)
            && asking.peek().is_none()
        {
            return Some(asking);
        }
        let sent = Arc::clone(&self.parts.owners).ask(name)?;
        asked.retain(|_, asking| asking.upgrade().is_some_and(|asking| asking.peek().is_none()));
        if asked.len() >= FLIGHTS_MAX {
            return None;
        }
        let (resolver, own_name) = (Arc::clone(self), name.clone());
        let work = async move {
            let counters = &resolver.parts.counters;
            counters.owners_asked.add();
            let said = tokio::time::timeout(OWNER_TIMEOUT, sent).await;
            let answer = match said {
                Ok(Ok(bytes)) => resolver.believe(&own_name, &bytes).map_err(|error| {
                    tracing::debug!(name = %own_name, %error, "what a node of this zone resolved does not hold here");
                }),
                Ok(Err(reason)) => {
                    tracing::debug!(name = %own_name, reason, "the owner of a name does not answer");
                    Err(())
                }
                Err(_) => Err(()),
            };
            if answer.is_err() {
                counters.owners_failed.add();
            }
            answer.ok()
        };
        let asking = work.boxed().shared();
        if let Some(weak) = asking.downgrade() {
            asked.insert(name.clone(), weak);
        }
        Some(asking)
    }

    fn believe(&self, name: &FullName, bytes: &[u8]) -> Result<Answer, RecordError> {
        let malformed = |what: &str| RecordError::Malformed(what.to_owned());
        let word: OwnersWord =
            serde_json::from_slice(bytes).map_err(|error| malformed(&error.to_string()))?;
        if word.links.len() > usize::from(HOPS_MAX) {
            return Err(malformed("too many links"));
        }
        let place = self.anchor(name).map_err(|error| malformed(&error.to_string()))?;
        if place.zone != word.zone {
            return Err(RecordError::Bailiwick(format!("{} is pinned here", place.zone)));
        }
        let (now, trace) = (self.now(), Trace::off());
        let mut cut = self.accept(&place, &word.apex, &trace)?;
        for Link { delegation, apex } in &word.links {
            let place = self.refer(&cut, delegation, name, &trace)?;
            cut = self.accept(&place, apex, &trace)?;
        }
        let (found, times) = match word.found {
            Word::Agent(record) => {
                let (agent, times) = proof::accept_agent(&cut, &record, name, now)?;
                (Found::Agent(Arc::new(agent)), times)
            }
            Word::Zone if name.is_zone(cut.zone()) => (Found::Zone, cut.until.left(now.instant)),
            Word::Zone => return Err(malformed("another zone than was asked for")),
            Word::Absent => {
                let most = Duration::from_secs(record::ABSENT_MAX_S.into());
                (Found::Absent, Times { ttl: most, life: most })
            }
        };
        let said = Times {
            ttl: Duration::from_millis(word.ttl_ms).min(Level::L2.cap()),
            life: Duration::from_millis(word.life_ms),
        };
        let times = Times { ttl: times.ttl.min(said.ttl), life: times.life.min(said.life) };
        let reach = word.reach.max(Reach::Zone);
        let resolved = Resolved { found, cut, reach, times, at: now.instant };
        Ok(Answer { resolved: Arc::new(resolved), is_stale: word.is_stale })
    }
}

impl Resolver {
    /// Resolves a name that is not this zone's own: by its owner, or here.
    pub(super) async fn beyond(
        self: &Arc<Self>,
        name: &FullName,
        trace: &Trace,
    ) -> Result<Answer, ResolveError> {
        match self.from_owner(name, trace).await {
            Some(answer) => Ok(answer),
            None => self.resolve_for_zone(name, trace).await,
        }
    }
}

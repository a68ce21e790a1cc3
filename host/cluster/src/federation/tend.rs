//! What a zone does by itself: it notices that its keys and peers changed, asks its peers whether theirs did, and renews
//! what it imports.
//!
//! A key is learnt from an apex that a known key signed, so a peer changes its keys without anybody's help: the new
//! one appears beside the old one, peers learn it, and then the old one can go. That is the only way in which a pin
//! changes by itself; what was learnt is written down, unless an operator pinned something else meanwhile.
//!
//! Files are looked at by one task and peers asked by another, so that a peer that answers slowly never keeps what an
//! operator just wrote from being noticed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use aop_core::federation::ExchangeLimits;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, StatusCode};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use super::Zone;
use super::book::{Book, Peer, Relation};
use super::import::Imports;
use super::key::Thumbprint;
use super::name::ZoneName;
use super::resolver::Trace;
use super::well_known::{self, DOCUMENT_MAX_BYTES, Introduction};

/// How often the files are looked at: a person who ran a command hardly waits.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often peers are asked, at the least and at the most.
const ASK_EVERY_MIN: Duration = Duration::from_secs(5);
const ASK_EVERY_MAX: Duration = Duration::from_secs(300);
/// How long a peer may take, over all its endpoints that are tried.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Endpoints of a peer that are tried.
const TRIED_MAX: usize = 3;
/// Peers that are asked at one time: the largest zone has a thousand, and none of them waits for all others.
const ASKED_AT_ONCE: usize = 16;

/// Tends a zone until it is dropped.
pub struct Tending {
    _looking: AbortOnDropHandle<()>,
    _asking: AbortOnDropHandle<()>,
}

impl Tending {
    /// Begins. `imports` are looked up now and then, too.
    #[must_use]
    pub fn start(zone: &Arc<Zone>, imports: Imports) -> Self {
        let changed = Arc::new(Notify::new());
        let looking = tokio::spawn(look(Arc::downgrade(zone), Arc::clone(&changed)));
        let asking = tokio::spawn(ask(Arc::downgrade(zone), imports, changed));
        Self { _looking: AbortOnDropHandle::new(looking), _asking: AbortOnDropHandle::new(asking) }
    }
}

/// Notices what commands wrote.
async fn look(zone: Weak<Zone>, changed: Arc<Notify>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(zone) = zone.upgrade() else { return };
        let looking = Arc::clone(&zone);
        let looked = tokio::task::spawn_blocking(move || looking.authority().reload()).await;
        zone.ways().attached.review(&zone.authority().book());
        match looked {
            Ok(Ok(true)) => {
                tracing::info!("read the zone's keys and peers again");
                changed.notify_one();
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "the zone's files are not used: the old ones stay in force");
            }
            Err(error) => tracing::error!(%error, "looking at the zone's files broke"),
        }
    }
}

/// Asks peers and renews imports, now and then and after a change.
async fn ask(zone: Weak<Zone>, imports: Imports, changed: Arc<Notify>) {
    loop {
        let pause = {
            let Some(zone) = zone.upgrade() else { return };
            tokio::join!(zone.ask_peers(), imports.refresh(&zone));
            let ttl = zone.authority().presence().ttl;
            (ttl / 2).clamp(ASK_EVERY_MIN, ASK_EVERY_MAX)
        };
        // A change while they were asked is seen at once.
        let _ = tokio::time::timeout(pause, changed.notified()).await;
    }
}

/// What a peer says of itself, if that is new.
pub(super) struct Learnt {
    zone: ZoneName,
    /// The keys by which it was believed.
    known: Vec<Thumbprint>,
    pub(super) introduction: Introduction,
}

impl Learnt {
    /// Takes it into the book, unless an operator changed the peer meanwhile: what was believed by keys that are not
    /// pinned any more is not believed.
    fn enter(self, book: &mut Book) {
        let Self { zone, known, introduction } = self;
        let Some(peer) = book.peers.get_mut(&zone).filter(|peer| peer.keys == known) else {
            tracing::info!(%zone, "not learnt: the peer was changed while it was asked");
            return;
        };
        tracing::info!(%zone, keys = ?introduction.keys, "learnt the keys and exports of a zone");
        peer.keys = introduction.keys;
        if peer.relation == Relation::Child {
            peer.exports = introduction.exports;
        }
    }
}

impl Zone {
    /// Asks every peer for its keys, and for what a child exports.
    pub(super) async fn ask_peers(self: &Arc<Self>) {
        let peers = self.authority().book().peers.clone();
        self.learn(peers).await;
    }

    /// Asks some peers, and writes down what is new.
    pub(super) async fn learn(
        self: &Arc<Self>,
        peers: impl IntoIterator<Item = (ZoneName, Peer), IntoIter: Send> + Send,
    ) {
        let asking = futures::stream::iter(peers).map(|(name, peer)| {
            let zone = Arc::clone(self);
            async move { zone.ask_peer(&name, &peer).await }
        });
        let learnt = asking.buffer_unordered(ASKED_AT_ONCE);
        let learnt: Vec<_> = learnt.filter_map(std::future::ready).collect().await;
        if learnt.is_empty() {
            return;
        }
        let zone = Arc::clone(self);
        let learning = move || {
            zone.authority().rewrite(|book| learnt.into_iter().for_each(|one| one.enter(book)))
        };
        match tokio::task::spawn_blocking(learning).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "what was learnt is not kept"),
            Err(error) => tracing::error!(%error, "keeping what was learnt broke"),
        }
    }

    pub(super) async fn ask_peer(&self, name: &ZoneName, peer: &Peer) -> Option<Learnt> {
        let asked = tokio::time::timeout(ASK_TIMEOUT, self.introduction(name, peer)).await;
        let introduction = match asked.unwrap_or_else(|_| Err("it takes too long".to_owned())) {
            Ok(introduction) => introduction,
            Err(reason) => {
                tracing::debug!(zone = %name, reason, "a zone does not say who it is");
                return None;
            }
        };
        let is_known = introduction.keys == peer.keys
            && (peer.relation != Relation::Child || introduction.exports == peer.exports);
        (!is_known).then(|| Learnt { zone: name.clone(), known: peer.keys.clone(), introduction })
    }

    async fn introduction(&self, name: &ZoneName, peer: &Peer) -> Result<Introduction, String> {
        let mut reason = "it has no endpoint".to_owned();
        let endpoints = self.authority().endpoints_of(name, peer);
        let tried = endpoints.len().clamp(1, TRIED_MAX);
        for endpoint in endpoints.iter().take(TRIED_MAX) {
            let url = format!("{}/.well-known/aop-zone.json", endpoint.url.trim_end_matches('/'));
            // As a stranger: what a child's exports are found by goes into its delegation, which everybody sees.
            let request = Request::builder().method(Method::GET).uri(&url);
            let request = request.body(Bytes::new()).map_err(|error| error.to_string())?;
            let limits = ExchangeLimits {
                time: ASK_TIMEOUT / u32::try_from(tried).unwrap_or(1),
                answer_max_bytes: DOCUMENT_MAX_BYTES,
            };
            match self.ways().exchange(name, request, limits).await {
                Ok(response) if response.status() == StatusCode::OK => {
                    let now_s = self.authority().now_s();
                    let read = well_known::read(response.body(), Some(&peer.keys), now_s);
                    // An older word, brought back, would bring a retired key back.
                    let read =
                        read.and_then(|said| self.resolver().note_apex(&said.apex).map(|()| said));
                    return match read {
                        Ok(said) if said.apex.zone == *name => Ok(said),
                        Ok(said) => Err(format!("{url} is {}", said.apex.zone)),
                        Err(error) => {
                            Err(self.resolver().refuse(name, error, &Trace::off()).to_string())
                        }
                    };
                }
                Ok(response) => reason = format!("{url} answers with {}", response.status()),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(reason)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::federation::key::ZoneKey;
    use crate::federation::record::Endpoint;
    use crate::federation::testing::{Fault, World, zone_name};

    fn keys(count: usize) -> Vec<Thumbprint> {
        let key = || ZoneKey::fleeting().unwrap().public().thumbprint().clone();
        (0..count).map(|_| key()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_learnt_gives_way_to_what_was_pinned_meanwhile() {
        let world = World::of(&["a", "b.a"], Duration::from_secs(300));
        let (zone, name) = (&world.at("a").zone, zone_name("b.a"));
        let mut book = Book::clone(&zone.authority().book());
        let learnt = zone.ask_peer(&name, &book.peers[&name]).await.unwrap();
        // The operator pins another key while the peer is asked.
        let pinned = keys(1);
        book.peers.get_mut(&name).unwrap().keys = pinned.clone();
        learnt.enter(&mut book);
        assert_eq!(book.peers[&name].keys, pinned);
        assert_eq!(book.peers[&name].exports, ["run"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_word_does_not_bring_a_retired_key_back() {
        let mut world = World::of(&["a", "b.a"], Duration::from_secs(300));
        let name = zone_name("b.a");
        let (old, new) = (ZoneKey::fleeting().unwrap(), ZoneKey::fleeting().unwrap());
        let mut peer = world.at("a").zone.authority().book().peers[&name].clone();
        let both = vec![old.twin(), new.twin()];
        world.add("b.a", both, Book::default());
        peer.keys = vec![old.public().thumbprint().clone()];
        let zone = Arc::clone(&world.at("a").zone);
        // Somebody keeps what it said while it had both keys.
        let learnt = zone.ask_peer(&name, &peer).await.unwrap();
        assert_eq!(learnt.introduction.keys.len(), 2);
        let authority = world.at("b.a").zone.authority();
        let kept =
            crate::federation::well_known::write(authority, super::super::export::Asker::Stranger);
        let kept = serde_json::to_vec(&kept.unwrap()).unwrap();
        tokio::time::advance(Duration::from_secs(3600)).await;
        world.add("b.a", vec![new.twin()], Book::default());
        world.at("b.a").zone.authority().set_serial(2);
        peer.keys = learnt.introduction.keys;
        let learnt = zone.ask_peer(&name, &peer).await.unwrap();
        assert_eq!(learnt.introduction.keys, [new.public().thumbprint().clone()]);
        peer.keys = learnt.introduction.keys;
        world.wires.breaks("b.a", Fault::Lie(Box::new(move |_| kept.clone().into())));
        assert!(zone.ask_peer(&name, &peer).await.is_none(), "it is a replay");
        let samples = aop_core::Measure::measure(&*zone);
        let replayed = samples.iter().find(|sample| sample.name == "zone_records_replayed");
        assert_eq!(replayed.unwrap().value, 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn peers_are_asked_together_and_slow_ones_cost_one_deadline() {
        let world = World::of(&["a", "b.a", "c.a", "d.a"], Duration::from_secs(300));
        let zone = &world.at("a").zone;
        let mut book = Book::clone(&zone.authority().book());
        for peer in book.peers.values_mut() {
            peer.endpoints = vec![Endpoint { url: "http://nowhere".to_owned(), weight: 1 }; 16];
        }
        zone.authority().replace_book(book);
        *world.wires.delay.lock().unwrap() = Duration::from_secs(60);
        let begun = tokio::time::Instant::now();
        zone.ask_peers().await;
        assert!(begun.elapsed() <= ASK_TIMEOUT, "{:?}", begun.elapsed());
        assert!(world.wires.count("nowhere") <= 9, "three endpoints of each");
    }
}

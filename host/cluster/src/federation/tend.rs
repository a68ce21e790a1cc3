//! What a zone does by itself: it notices that its keys and peers changed, asks its peers whether theirs did, and renews
//! what it imports.
//!
//! A key is learnt from an apex that a known key signed, so a peer changes its keys without anybody's help: the new
//! one appears beside the old one, peers learn it, and then the old one can go. That is the only way in which a pin
//! changes by itself; what was learnt is written down.

use std::sync::{Arc, Weak};
use std::time::Duration;

use aop_core::federation::ExchangeLimits;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::Zone;
use super::book::{Peer, Relation};
use super::import::Imports;
use super::name::ZoneName;
use super::resolver::Trace;
use super::well_known::{self, DOCUMENT_MAX_BYTES, Introduction};

/// How often the files are looked at: a person who ran a command hardly waits.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often peers are asked, at the least and at the most.
const ASK_EVERY_MIN: Duration = Duration::from_secs(5);
const ASK_EVERY_MAX: Duration = Duration::from_secs(300);
/// How long a peer may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Tends a zone until it is dropped.
pub struct Tending(JoinHandle<()>);

impl Drop for Tending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tending {
    /// Begins. `imports` are looked up now and then, too.
    #[must_use]
    pub fn start(zone: &Arc<Zone>, imports: Imports) -> Self {
        Self(tokio::spawn(tend(Arc::downgrade(zone), imports)))
    }
}

async fn tend(zone: Weak<Zone>, imports: Imports) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ask_at = Instant::now();
    loop {
        ticks.tick().await;
        let Some(zone) = zone.upgrade() else { return };
        let looking = Arc::clone(&zone);
        let looked = tokio::task::spawn_blocking(move || looking.authority().reload()).await;
        match looked {
            Ok(Ok(true)) => {
                tracing::info!("read the zone's keys and peers again");
                ask_at = Instant::now();
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "the zone's files are not used: the old ones stay in force");
            }
            Err(error) => tracing::error!(%error, "looking at the zone's files broke"),
        }
        if Instant::now() >= ask_at {
            zone.ask_peers().await;
            imports.refresh(&zone).await;
            let ttl = zone.authority().presence().ttl;
            ask_at = Instant::now() + (ttl / 2).clamp(ASK_EVERY_MIN, ASK_EVERY_MAX);
        }
    }
}

impl Zone {
    /// Asks every peer for its keys, and for what a child exports.
    async fn ask_peers(self: &Arc<Self>) {
        let book = self.authority().book();
        for (name, peer) in &book.peers {
            let introduction = match self.introduction(name, peer).await {
                Ok(introduction) => introduction,
                Err(reason) => {
                    tracing::debug!(zone = %name, reason, "a zone does not say who it is");
                    continue;
                }
            };
            if introduction.keys == peer.keys
                && (peer.relation != Relation::Child || introduction.exports == peer.exports)
            {
                continue;
            }
            let (zone, name) = (Arc::clone(self), name.clone());
            let learning = move || {
                zone.authority().rewrite(|book| {
                    if let Some(peer) = book.peers.get_mut(&name) {
                        tracing::info!(zone = %name, keys = ?introduction.keys, "learnt the keys and exports of a zone");
                        peer.keys = introduction.keys;
                        if peer.relation == Relation::Child {
                            peer.exports = introduction.exports;
                        }
                    }
                })
            };
            match tokio::task::spawn_blocking(learning).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "what was learnt is not kept"),
                Err(error) => tracing::error!(%error, "keeping what was learnt broke"),
            }
        }
    }

    async fn introduction(&self, name: &ZoneName, peer: &Peer) -> Result<Introduction, String> {
        let mut reason = "it has no endpoint".to_owned();
        for endpoint in &peer.endpoints {
            let url = format!("{}/.well-known/aop-zone.json", endpoint.url.trim_end_matches('/'));
            // As a stranger: what a child's exports are found by goes into its delegation, which everybody sees.
            let request = Request::builder().method(Method::GET).uri(&url);
            let request = request.body(Bytes::new()).map_err(|error| error.to_string())?;
            let limits = ExchangeLimits { time: ASK_TIMEOUT, answer_max_bytes: DOCUMENT_MAX_BYTES };
            match self.parts.transport.exchange(request, limits).await {
                Ok(response) if response.status() == StatusCode::OK => {
                    let now_s = self.authority().now_s();
                    return match well_known::read(response.body(), Some(&peer.keys), now_s) {
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

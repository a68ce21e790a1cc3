//! Becoming a member, and staying one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aop_core::Digest;
use tokio_util::sync::CancellationToken;

use super::exchange::{Answerer, Question, ask, encode};
use super::gossip::contacts::Contacts;
use super::identity::{Identity, NodeKey, Protocol, tls};
use super::peer::{Connector, Expect, open_as};
use super::token::JoinToken;
use super::{MembershipError, unix_now};

/// How often a zone that cannot be reached is tried before the host gives up to start; what restarts
/// hosts waits in between.
const ROUNDS: u32 = 5;
/// The pause between two rounds.
const ROUND_PAUSE: Duration = Duration::from_secs(1);
/// How often a renewal that failed is tried again. A certificate has half of its life left then.
const RENEWAL_RETRY: Duration = Duration::from_secs(30);
/// The same once the certificate has ended and the node is cut off.
const URGENT_RETRY: Duration = Duration::from_secs(2);
/// The longest sleep between two looks at the clock, so that a machine that was suspended or whose
/// clock jumped renews in time.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// What helps a node that its zone does not know any more.
pub(crate) const TO_COME_BACK: &str = "when nodes of its zone run, start this host again with `--token` and what `aop cluster join-token` prints on one of them";

/// The addresses behind names such as `zone.example:8100`. Names that do not resolve are left out with
/// a warning: others may.
pub(crate) async fn resolve(names: &[String]) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for name in names {
        match tokio::net::lookup_host(name.as_str()).await {
            Ok(found) => addresses.extend(found),
            Err(error) => tracing::warn!(name, %error, "a name in `join` cannot be resolved"),
        }
    }
    addresses.sort();
    addresses.dedup();
    addresses
}

/// Joins the zone of a token, through the first of some addresses that answers for it; which it was is answered
/// too.
///
/// # Errors
/// [`MembershipError::Refused`] as the zone put it, or why the last address could not be used.
pub(crate) async fn join(
    key: NodeKey,
    names: &[String],
    token: &str,
) -> Result<(Identity, SocketAddr), MembershipError> {
    let read = JoinToken::read(token)?;
    if read.ends <= unix_now() {
        return Err(MembershipError::Refused(
            "the join token has ended: make another with `aop cluster join-token`, or set the clock of this machine".to_owned(),
        ));
    }
    let config = tls::join_client(read.zone)?;
    let question =
        Question::Join { token: token.trim().to_owned(), request: encode(&key.request()?) };
    let mut last = MembershipError::NoToken;
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(ROUND_PAUSE).await;
        }
        let mut addresses = resolve(names).await;
        // The token knows a way of its own, for when the named one is none.
        if !addresses.contains(&read.endpoint) {
            addresses.push(read.endpoint);
        }
        let mut is_refused = false;
        for address in addresses {
            let asked = async {
                let mut stream = open_as(address, config.clone()).await?;
                let answer = ask(&mut stream, &question).await?;
                Ok((answer.lineage()?, answer.certificates()?))
            };
            match asked.await {
                Ok((lineage, (certificate, authority))) if Digest::of(&authority) == read.zone => {
                    let identity = key.adopt(authority, &lineage, &certificate, unix_now())?;
                    return Ok((identity, address));
                }
                Ok(_) => last = MembershipError::WrongZone,
                // Others may know the token's maker, whom this one cannot ask. No member changes its mind.
                Err(error @ MembershipError::Refused(_)) => {
                    is_refused = true;
                    last = error;
                }
                Err(error) => {
                    tracing::warn!(%address, %error, "cannot join the zone here");
                    last = error;
                }
            }
        }
        if is_refused {
            break;
        }
    }
    Err(last)
}

/// Keeps the certificate fresh until `stop`: renews it at half of its life, from this node when it holds
/// the zone's key, else from whoever of the zone answers. Also when the zone has a new key. `evicted` is called
/// when the zone says that this node was.
pub(crate) async fn keep_fresh(
    identity: Arc<Identity>,
    connector: Connector,
    answerer: Arc<Answerer>,
    contacts: Arc<Contacts>,
    evicted: impl Fn(),
    stop: CancellationToken,
) {
    let mut trust = identity.trust();
    loop {
        trust.mark_unchanged();
        let wait = if identity.is_outdated() {
            Duration::ZERO
        } else {
            until_renewal(identity.validity(), unix_now())
        };
        let pause = if wait.is_zero() {
            match renew(&identity, &connector, &answerer, &contacts).await {
                Ok(()) => {
                    tracing::info!("renewed the certificate of this node");
                    continue;
                }
                Err(MembershipError::Evicted) => {
                    evicted();
                    return;
                }
                Err(error) => {
                    let has_ended = identity.validity().1 <= unix_now();
                    if has_ended {
                        tracing::error!(%error, "the certificate of this node has ended and cannot be renewed yet: {TO_COME_BACK}");
                    } else {
                        tracing::warn!(%error, "the certificate of this node cannot be renewed yet");
                    }
                    if has_ended { URGENT_RETRY } else { RENEWAL_RETRY }
                }
            }
        } else {
            wait.min(LOOK_MAX)
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = trust.changed() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// How long until a certificate should be renewed: at half of its life, or now when it is of the future
/// because the clock was set back.
fn until_renewal((begins, ends): (u64, u64), now: u64) -> Duration {
    if now < begins {
        return Duration::ZERO;
    }
    let half = begins + ends.saturating_sub(begins) / 2;
    Duration::from_secs(half.saturating_sub(now))
}

async fn renew(
    identity: &Identity,
    connector: &Connector,
    answerer: &Answerer,
    contacts: &Contacts,
) -> Result<(), MembershipError> {
    if identity.authority().is_held() {
        return answerer.renew_self();
    }
    let question = Question::Renew { request: encode(&identity.request()?) };
    let mut last = MembershipError::NoAuthority;
    for address in contacts.all() {
        let asked = async {
            let mut stream = connector.open(address, Protocol::Renew, Expect::Member).await?;
            ask(&mut stream, &question).await?.certificates()
        };
        match asked.await {
            Ok((certificate, authority)) => return identity.renew(certificate, &authority),
            Err(error @ MembershipError::Evicted) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// How a node that hears nobody stands with its zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody of the zone answers, or one does as always.
    Fine,
    /// Where nodes of the zone were, only nodes answer whose certificates this one does not believe: the zone has another
    /// key that it knows no way to.
    LockedOut,
    /// Somebody of the zone says so.
    Evicted,
}

/// Finds out how a node that hears nobody stands with its zone.
pub(crate) async fn standing(
    identity: &Identity,
    connector: &Connector,
    contacts: &Contacts,
) -> Standing {
    let Ok(request) = identity.request() else { return Standing::Fine };
    let mut found = Standing::Fine;
    let question = Question::Renew { request: encode(&request) };
    for address in contacts.all() {
        let asked = async {
            let mut stream = connector.open(address, Protocol::Renew, Expect::Member).await?;
            ask(&mut stream, &question).await?.certificates()
        };
        match asked.await {
            Err(MembershipError::Evicted) => return Standing::Evicted,
            // A certificate that was not needed: it is as good as the one that is there.
            Ok(_) => return Standing::Fine,
            Err(MembershipError::Stranger { .. }) => found = Standing::LockedOut,
            Err(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_at_half_of_its_life_whatever_the_clock_does() {
        let seconds = |now| until_renewal((1000, 2000), now).as_secs();
        assert_eq!(seconds(1000), 500);
        assert_eq!(seconds(1499), 1);
        assert_eq!((seconds(1500), seconds(5000)), (0, 0));
        assert_eq!(seconds(900), 0, "the clock was set back");
    }

    #[tokio::test]
    async fn addresses_resolve_to_themselves_and_names_that_do_not_are_left_out() {
        let names = ["127.0.0.1:8100", "127.0.0.1:8100", "no port", "[::1]:1"].map(str::to_owned);
        let found = resolve(&names).await;
        assert_eq!(found, ["127.0.0.1:8100".parse().unwrap(), "[::1]:1".parse().unwrap()]);
    }
}

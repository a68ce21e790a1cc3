//! What passing on takes: places from when a request comes until it is answered, and room for its body from when that arrives
//! until it was sent. No zone below has all of either, so that what comes for one keeps nothing from the others.
//!
//! Whose a token is only the zone below can tell, so one counts here only after that zone answered to it: a token that
//! somebody made up gets a stranger's place. The first request with a good one does, too.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aop_core::Digest;
use aop_core::fair::{Parts, Place};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body as _;

use crate::federation::name::ZoneName;

/// Requests under way, of strangers and of zones whose token is known to be good; each has a window of a quarter MiB.
const PLACES_MAX: [usize; 2] = [128, 512];
/// Bytes of those together, from when they arrive until they are sent, in pieces.
const PIECE_BYTES: usize = 64 << 10;
const PIECES_MAX: [usize; 2] = [(16 << 20) / PIECE_BYTES, (64 << 20) / PIECE_BYTES];
/// Good tokens of one zone below that are remembered. Only zones below themselves can have one forgotten for another.
const TOKENS_MAX: usize = 256;

/// Why a body was not read.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::federation) enum Unread {
    TooLarge,
    NoRoom,
    Late,
}

/// One lot for strangers, and one for who has shown a good token.
pub(in crate::federation) struct Places {
    lots: [Lot; 2],
    good: Mutex<HashMap<ZoneName, VecDeque<Digest>>>,
}

struct Lot {
    places: Parts<ZoneName>,
    pieces: Parts<ZoneName>,
}

/// A body, and the room that it takes.
struct Held {
    body: Vec<u8>,
    _room: Vec<Place>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Default for Places {
    fn default() -> Self {
        let lot = |class: usize| Lot {
            places: Parts::new(PLACES_MAX[class]),
            pieces: Parts::new(PIECES_MAX[class]),
        };
        Self { lots: [lot(0), lot(1)], good: Mutex::default() }
    }
}

impl Places {
    /// A place, unless all are taken or all that one zone below may have.
    pub(super) fn enter(&self, child: &ZoneName, is_known: bool) -> Option<Place> {
        self.lots[usize::from(is_known)].places.try_place(child)
    }

    /// Reads a body. It takes room as it arrives and not by what it announces, until nothing of what is returned is left.
    ///
    /// # Errors
    /// [`Unread`].
    pub(super) async fn read(
        &self,
        (child, is_known): (&ZoneName, bool),
        body: Body,
        max_bytes: usize,
        time: Duration,
    ) -> Result<Bytes, Unread> {
        if body.size_hint().lower() > max_bytes as u64 {
            return Err(Unread::TooLarge);
        }
        let pieces = &self.lots[usize::from(is_known)].pieces;
        let reading = async {
            let mut arriving = Limited::new(body, max_bytes);
            let (mut body, mut room) = (Vec::new(), Vec::new());
            while let Some(frame) = arriving.frame().await {
                let frame = frame.map_err(|_| Unread::TooLarge)?;
                let Ok(data) = frame.into_data() else { continue };
                while room.len() * PIECE_BYTES < body.len() + data.len() {
                    room.push(pieces.try_place(child).ok_or(Unread::NoRoom)?);
                }
                // As much as was taken: a vector that grows by itself takes twice that.
                body.reserve_exact((room.len() * PIECE_BYTES).saturating_sub(body.len()));
                body.extend_from_slice(&data);
            }
            Ok(Bytes::from_owner(Held { body, _room: room }))
        };
        tokio::time::timeout(time, reading).await.unwrap_or(Err(Unread::Late))
    }

    /// Whether a zone below took a token the last time.
    pub(super) fn is_good(&self, child: &ZoneName, token: &Digest) -> bool {
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        good.get(child).is_some_and(|good| good.contains(token))
    }

    /// Notes what a zone below thinks of a token.
    pub(super) fn judge(&self, child: &ZoneName, token: Digest, is_good: bool) {
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_good {
            if let Some(good) = good.get_mut(child) {
                good.retain(|known| *known != token);
            }
            return;
        }
        let good = good.entry(child.clone()).or_default();
        if good.contains(&token) {
            return;
        }
        good.truncate(TOKENS_MAX - 1);
        good.push_front(token);
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;
    use crate::federation::testing::zone_name;

    const TIME: Duration = Duration::from_secs(10);

    /// A body of which so much is there, and the rest does not come.
    fn stalled(bytes: usize) -> Body {
        let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![0; bytes]))]);
        Body::from_stream(stream::StreamExt::chain(first, stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_room_from_its_first_byte_until_its_last_is_gone() {
        let (places, child) = (Places::default(), zone_name("a.b"));
        let held = || places.lots[0].pieces.whole().held();
        let read = |body: Body| places.read((&child, false), body, 5 << 20, TIME);
        let body = read(Body::from(vec![7; PIECE_BYTES + 1])).await.unwrap();
        assert_eq!((body.len(), held()), (PIECE_BYTES + 1, 2));
        let part = body.slice(..1);
        drop(body);
        assert_eq!(held(), 2);
        drop(part);
        assert_eq!(held(), 0);
        assert!(read(Body::empty()).await.unwrap().is_empty());
        assert_eq!(read(Body::from(vec![0; (5 << 20) + 1])).await, Err(Unread::TooLarge));
        assert_eq!(read(stalled((5 << 20) + 1)).await, Err(Unread::TooLarge));
        assert_eq!(read(stalled(1)).await, Err(Unread::Late));
        assert_eq!(held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn no_zone_below_has_all_the_room_or_all_the_places() {
        let places = Places::default();
        let [greedy, other] = ["a.b", "c.b"].map(zone_name);
        for is_known in [false, true] {
            let mut bodies = Vec::new();
            let mut read = async |child| {
                let body = Body::from(vec![0; 1 << 20]);
                places
                    .read((child, is_known), body, 1 << 20, TIME)
                    .await
                    .map(|body| bodies.push(body))
            };
            while read(&greedy).await.is_ok() {}
            assert_eq!(read(&greedy).await, Err(Unread::NoRoom));
            assert_eq!(read(&other).await, Ok(()));
            let entered: Vec<_> = std::iter::from_fn(|| places.enter(&greedy, is_known)).collect();
            assert!(entered.len() < PLACES_MAX[usize::from(is_known)]);
            assert!(places.enter(&other, is_known).is_some());
        }
    }

    #[test]
    fn a_token_is_good_while_the_zone_that_gave_it_says_so() {
        let places = Places::default();
        let [child, other] = ["a.b", "c.b"].map(zone_name);
        let token = |number: usize| Digest::of(&number.to_be_bytes());
        places.judge(&child, token(0), false);
        assert!(!places.is_good(&child, &token(0)));
        places.judge(&child, token(0), true);
        assert!(places.is_good(&child, &token(0)) && !places.is_good(&other, &token(0)));
        places.judge(&child, token(0), false);
        assert!(!places.is_good(&child, &token(0)));
        for number in 0..=TOKENS_MAX {
            places.judge(&child, token(number), true);
            places.judge(&child, token(number), true);
        }
        assert!(!places.is_good(&child, &token(0)), "the oldest");
        assert!((1..=TOKENS_MAX).all(|number| places.is_good(&child, &token(number))));
    }
}

//! Uploads take turns: fair between tenants, few at a time, and no tenant's keep the others out.
//!
//! A turn is held from before the body is read, since what is read takes memory, until it is loaded. How long the reading
//! takes is the sender's choice, so a tenant has one turn for that; and while anybody waits, whoever sends more slowly than the
//! largest upload has to come is given up, so that a few tenants cannot hold all turns either.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aop_core::fair::{Parts, Party, Place};
use tokio::time::{Instant, sleep};

/// Uploads that are read or loaded at one time; more wait unread. Components are compiled one after
/// another anyway, and each upload holds its bytes: at most 288 MiB with the default size.
pub(crate) const UPLOADS_MAX: usize = 4;
/// Uploads of one tenant that may wait for that, before further ones are refused: each holds a connection.
pub(crate) const UPLOADS_WAITING_MAX: u32 = 64;

/// What a body has at least to come with while others wait: 72 MiB in the 300 s that the largest may take.
const BYTES_PER_SECOND_MIN: u64 = 256 << 10;
/// How long nobody is measured by that.
const GRACE: Duration = Duration::from_secs(10);
/// How often it is looked at.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// The turns of a host, by the tenant's id among parties.
pub(crate) struct Uploads {
    turns: Parts<u64>,
    reading: Parts<u64>,
}

/// Lasts until it is dropped.
pub(crate) struct Turn {
    _turn: Place,
    reading: Option<Place>,
}

impl Turn {
    /// The body was read: the next of the tenant may be.
    pub(crate) fn has_read(&mut self) {
        self.reading = None;
    }
}

impl Default for Uploads {
    fn default() -> Self {
        Self { turns: Parts::new(UPLOADS_MAX), reading: Parts::each(1) }
    }
}

impl Uploads {
    /// Waits for a turn to read an upload and load it. None when too many of the tenant wait already.
    pub(crate) async fn turn(&self, party: Party) -> Option<Turn> {
        let tenant = party.tenant.id;
        let waiting = self.reading.of(&tenant).waiting() + self.turns.of(&tenant).waiting();
        if waiting >= UPLOADS_WAITING_MAX {
            return None;
        }
        let reading = Some(self.reading.place(&tenant, party).await);
        Some(Turn { _turn: self.turns.place(&tenant, party).await, reading })
    }

    /// Resolves when a body of which so much was `received` since now came too slowly, and somebody waits for the turn.
    pub(crate) async fn crowded_out(&self, received: &AtomicU64) {
        let began = Instant::now();
        loop {
            sleep(LOOKED_AT_EVERY).await;
            let due = began.elapsed().saturating_sub(GRACE).as_secs() * BYTES_PER_SECOND_MIN;
            if self.turns.whole().waiting() > 0 && received.load(Ordering::Relaxed) < due {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aop_core::fair::Flow;

    use super::*;

    fn party(tenant: u64) -> Party {
        let flow = |id| Flow { id, weight: Flow::WEIGHT_DEFAULT };
        Party { tenant: flow(tenant), agent: flow(0) }
    }

    #[tokio::test]
    async fn a_tenant_that_sends_much_neither_keeps_others_out_nor_waits_without_end() {
        let uploads = Uploads::default();
        let mut held = Vec::new();
        for _ in 1..UPLOADS_MAX {
            let mut turn = uploads.turn(party(1)).await.unwrap();
            turn.has_read();
            held.push(turn);
        }
        let mut waiting: Vec<_> =
            (0..UPLOADS_WAITING_MAX).map(|_| Box::pin(uploads.turn(party(1)))).collect();
        for turn in &mut waiting {
            assert!(futures_poll(turn).is_none());
        }
        assert!(uploads.turn(party(1)).await.is_none(), "too many wait");
        assert!(uploads.turn(party(2)).await.is_some(), "others are served");
        waiting.clear();
        drop(held);
        assert_eq!(uploads.turns.whole().held() + uploads.reading.whole().held(), 0);
    }

    #[tokio::test]
    async fn a_tenant_that_sends_slowly_holds_one_turn() {
        let uploads = Uploads::default();
        let mut slow = Vec::new();
        let mut waiting = Vec::new();
        for tenant in 1..3 {
            slow.push(uploads.turn(party(tenant)).await.unwrap());
            for _ in 0..4 {
                let mut turn = Box::pin(uploads.turn(party(tenant)));
                assert!(futures_poll(&mut turn).is_none());
                waiting.push(turn);
            }
        }
        for _ in 0..9 {
            let mut turn = uploads.turn(party(3)).await.unwrap();
            turn.has_read();
        }
        slow[0].has_read();
        assert!(futures_poll(&mut waiting[0]).is_some(), "the next of the tenant is read");
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_slowly_is_given_up_when_others_wait_and_only_then() {
        let uploads = Uploads::default();
        let (slow, fast) = (AtomicU64::new(100 << 10), AtomicU64::new(72 << 20));
        let mut held = Vec::new();
        for tenant in 0..UPLOADS_MAX as u64 {
            held.push(uploads.turn(party(tenant)).await.unwrap());
        }
        let given_up = async |received: &AtomicU64, most| {
            tokio::time::timeout(most, uploads.crowded_out(received)).await.is_ok()
        };
        assert!(!given_up(&slow, Duration::from_secs(280)).await, "nobody waits");
        let mut other = Box::pin(uploads.turn(party(9)));
        assert!(futures_poll(&mut other).is_none());
        assert!(!given_up(&slow, GRACE).await, "a short time is anybody's");
        assert!(given_up(&slow, GRACE + Duration::from_secs(2)).await);
        assert!(!given_up(&fast, Duration::from_secs(280)).await);
        held.pop();
        assert!(other.await.is_some());
    }

    /// One look at a future.
    fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}

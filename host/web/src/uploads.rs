//! Uploads take turns: fair between tenants, few at a time, and no tenant's keep the others out.

use aop_core::fair::{Parts, Party, Place};

/// Uploads that are read or loaded at one time; more wait unread. Components are compiled one after
/// another anyway, and each upload holds its bytes: at most 288 MiB with the default size.
pub(crate) const UPLOADS_MAX: usize = 4;
/// Uploads of one tenant that may wait for that, before further ones are refused: each holds a connection.
pub(crate) const UPLOADS_WAITING_MAX: u32 = 64;

/// The turns of a host, by the tenant's id among parties.
pub(crate) struct Uploads(Parts<u64>);

impl Default for Uploads {
    fn default() -> Self {
        Self(Parts::new(UPLOADS_MAX))
    }
}

impl Uploads {
    /// Waits for a turn, which lasts until it is dropped. None when too many of the tenant wait already.
    pub(crate) async fn turn(&self, party: Party) -> Option<Place> {
        let tenant = party.tenant.id;
        if self.0.of(&tenant).waiting() >= UPLOADS_WAITING_MAX {
            return None;
        }
        Some(self.0.place(&tenant, party).await)
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
            held.push(uploads.turn(party(1)).await.unwrap());
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
        assert_eq!(uploads.0.whole().held(), 0);
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

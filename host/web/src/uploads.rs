//! Uploads take turns: fair between tenants, few at a time, and no tenant's keep the others out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aop_core::fair::{Party, Permit, Permits};

/// Uploads that are read or loaded at one time; more wait unread. Components are compiled one after
/// another anyway, and each upload holds its bytes: at most 288 MiB with the default size.
pub(crate) const UPLOADS_MAX: u32 = 4;
/// Uploads of one tenant that may wait for that, before further ones are refused: each holds a connection.
pub(crate) const UPLOADS_WAITING_MAX: u32 = 64;

/// The turns of a host.
pub(crate) struct Uploads {
    places: Arc<Permits>,
    /// Of each tenant that sends something.
    tenants: Mutex<HashMap<u64, Weak<Permits>>>,
}

/// A turn, until it is dropped.
pub(crate) struct Turn {
    _of_host: Permit<Arc<Permits>>,
    _of_tenant: Permit<Arc<Permits>>,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { places: Arc::new(Permits::new(UPLOADS_MAX, 1)), tenants: Mutex::default() }
    }
}

impl Uploads {
    /// Waits for a turn. None when too many of the tenant wait already.
    pub(crate) async fn turn(&self, party: Party) -> Option<Turn> {
        let of_tenant = self.of_tenant(party);
        if of_tenant.waiting() >= UPLOADS_WAITING_MAX {
            return None;
        }
        let of_tenant = Permits::acquire(of_tenant, party).await;
        let of_host = Permits::acquire(Arc::clone(&self.places), party).await;
        Some(Turn { _of_host: of_host, _of_tenant: of_tenant })
    }

    fn of_tenant(&self, party: Party) -> Arc<Permits> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(permits) = tenants.get(&party.tenant.id).and_then(Weak::upgrade) {
            return permits;
        }
        tenants.retain(|_, permits| permits.strong_count() > 0);
        let permits = Arc::new(Permits::part_of(Arc::clone(&self.places), Permits::UNLIMITED, 1));
        tenants.insert(party.tenant.id, Arc::downgrade(&permits));
        permits
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
        assert_eq!(uploads.places.held(), 0);
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

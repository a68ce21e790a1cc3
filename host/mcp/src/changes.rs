//! Tells every connected client that the tools of its tenant changed.
//!
//! A change is a counter per tenant behind a `watch` channel, so a slow client costs nothing and
//! any number of changes that it has not seen is one notification. A tenant has a counter once one
//! of its clients listens; their number is bounded by the tenants that authenticate.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aop_core::{Listen, TenantName};
use tokio::sync::watch;

/// The hub between whoever changes the catalogue and the clients that watch it. Create it before
/// both.
#[derive(Debug, Default)]
pub struct Changes {
    tenants: Mutex<HashMap<TenantName, watch::Sender<u64>>>,
}

impl Changes {
    /// A hub without listeners.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches the tools of a tenant, from now on.
    pub(crate) fn subscribe(&self, tenant: &TenantName) -> Subscription {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = match tenants.get(tenant) {
            Some(sender) => sender.subscribe(),
            None => {
                let (sender, receiver) = watch::channel(0);
                tenants.insert(tenant.clone(), sender);
                receiver
            }
        };
        Subscription { receiver }
    }
}

impl Listen for Changes {
    fn tools_changed(&self, tenant: &TenantName) {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = tenants.get(tenant) {
            sender.send_modify(|version| *version += 1);
        }
    }
}

/// One listener's view of a tenant's changes.
#[derive(Debug)]
pub(crate) struct Subscription {
    receiver: watch::Receiver<u64>,
}

impl Subscription {
    /// The version of the tool set now. Grows with every change.
    pub(crate) fn version(&self) -> u64 {
        *self.receiver.borrow()
    }

    /// Waits until the version differs from `known`, then for the changes of `window` to gather,
    /// and returns it. Never returns once the hub is gone. Cancel-safe.
    pub(crate) async fn after(&mut self, known: u64, window: Duration) -> u64 {
        let gone = self.receiver.wait_for(|version| *version != known).await.is_err();
        if gone {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(window).await;
        self.version()
    }
}

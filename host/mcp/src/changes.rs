//! Tells every connected client what changed for its tenant: the tools, the resources, the prompts, or what is
//! inside a resource that it subscribed to.
//!
//! A change is a counter per tenant behind a `watch` channel, so a slow client costs nothing and
//! any number of changes that it has not seen is one notification. A tenant has counters once one
//! of its clients listens; their number is bounded by the tenants that authenticate. Only resources that
//! somebody subscribed to are remembered, at most [`FOLLOWED_MAX`] of them and [`FOLLOWED_PER_TENANT_MAX`] of one
//! tenant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aop_core::{Listen, Offer, TenantName};
use tokio::sync::watch;

/// Resources that are subscribed to, by all clients of all tenants. Each takes its URI's length, so that this
/// many of the longest take 128 MiB; it only has to stop growth.
pub(crate) const FOLLOWED_MAX: usize = 65_536;
/// The same of one tenant: it takes several to fill the table.
pub(crate) const FOLLOWED_PER_TENANT_MAX: usize = FOLLOWED_MAX / 4;

/// The hub between whoever changes the catalogue and the clients that watch it. Create it before
/// both.
#[derive(Debug, Default)]
pub struct Changes {
    tenants: Mutex<Tenants>,
}

#[derive(Debug, Default)]
struct Tenants {
    by_name: HashMap<TenantName, Tenant>,
    /// Resources that are followed, of all tenants.
    followed: usize,
}

#[derive(Debug)]
struct Tenant {
    versions: watch::Sender<Versions>,
    followed: HashMap<Arc<str>, Followed>,
}

/// A resource that somebody subscribed to.
#[derive(Debug)]
struct Followed {
    /// By how many clients.
    clients: usize,
    /// [`Versions::updates`] when it last changed; 0 when it did not since somebody subscribed.
    version: u64,
}

/// Counters that grow with every change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) tools: u64,
    pub(crate) resources: u64,
    pub(crate) prompts: u64,
    /// What is inside some resource that somebody subscribed to.
    pub(crate) updates: u64,
}

impl Versions {
    /// The newer of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            tools: self.tools.max(other.tools),
            resources: self.resources.max(other.resources),
            prompts: self.prompts.max(other.prompts),
            updates: self.updates.max(other.updates),
        }
    }
}

impl Changes {
    /// A hub without listeners.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn tenants(&self) -> MutexGuard<'_, Tenants> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches what changes for a tenant, from now on.
    pub(crate) fn subscribe(&self, tenant: &TenantName) -> Subscription {
        let mut tenants = self.tenants();
        let tenant = tenants.by_name.entry(tenant.clone()).or_insert_with(Tenant::new);
        Subscription { receiver: tenant.versions.subscribe() }
    }

    /// Remembers changes of a resource from now on, until [`Self::unfollow`]; false when too many are
    /// remembered already.
    pub(crate) fn follow(&self, tenant: &TenantName, uri: &str) -> bool {
        let mut guard = self.tenants();
        let tenants = &mut *guard;
        let tenant = tenants.by_name.entry(tenant.clone()).or_insert_with(Tenant::new);
        if let Some(followed) = tenant.followed.get_mut(uri) {
            followed.clients += 1;
            return true;
        }
        if tenants.followed >= FOLLOWED_MAX || tenant.followed.len() >= FOLLOWED_PER_TENANT_MAX {
            return false;
        }
        tenants.followed += 1;
        tenant.followed.insert(uri.into(), Followed { clients: 1, version: 0 });
        true
    }

    /// Takes back one [`Self::follow`].
    pub(crate) fn unfollow(&self, tenant: &TenantName, uri: &str) {
        let mut guard = self.tenants();
        let tenants = &mut *guard;
        let Some(tenant) = tenants.by_name.get_mut(tenant) else { return };
        if let Some(followed) = tenant.followed.get_mut(uri) {
            followed.clients -= 1;
            if followed.clients == 0 {
                tenant.followed.remove(uri);
                tenants.followed -= 1;
            }
        }
    }

    /// Drops what is kept for a tenant that is gone. Whoever still watches hears nothing any more.
    pub(crate) fn forget(&self, tenant: &TenantName) {
        let mut tenants = self.tenants();
        if let Some(tenant) = tenants.by_name.remove(tenant) {
            tenants.followed -= tenant.followed.len();
        }
    }

    /// Whether a resource changed after the version `known` of [`Versions::updates`].
    pub(crate) fn is_updated(&self, tenant: &TenantName, uri: &str, known: u64) -> bool {
        let tenants = self.tenants();
        let followed = tenants.by_name.get(tenant).and_then(|tenant| tenant.followed.get(uri));
        followed.is_some_and(|followed| followed.version > known)
    }
}

impl Tenant {
    fn new() -> Self {
        Self { versions: watch::channel(Versions::default()).0, followed: HashMap::new() }
    }
}

impl Listen for Changes {
    fn tools_changed(&self, tenant: &TenantName) {
        if let Some(tenant) = self.tenants().by_name.get(tenant) {
            tenant.versions.send_modify(|versions| versions.tools += 1);
        }
    }

    fn offer_changed(&self, tenant: &TenantName, offer: Offer) {
        let mut tenants = self.tenants();
        let Some(tenant) = tenants.by_name.get_mut(tenant) else { return };
        match offer {
            Offer::Resources => tenant.versions.send_modify(|versions| versions.resources += 1),
            Offer::Prompts => tenant.versions.send_modify(|versions| versions.prompts += 1),
            Offer::Resource(uri) => {
                let Some(followed) = tenant.followed.get_mut(&*uri) else { return };
                tenant.versions.send_modify(|versions| {
                    versions.updates += 1;
                    followed.version = versions.updates;
                });
            }
        }
    }
}

/// One listener's view of a tenant's changes.
#[derive(Debug)]
pub(crate) struct Subscription {
    receiver: watch::Receiver<Versions>,
}

impl Subscription {
    /// The counters now.
    pub(crate) fn versions(&self) -> Versions {
        *self.receiver.borrow()
    }

    /// Waits until a counter differs from `known`, then for the changes of `window` to gather,
    /// and returns them. Never returns once the hub is gone. Cancel-safe.
    pub(crate) async fn after(&mut self, known: Versions, window: Duration) -> Versions {
        let gone = self.receiver.wait_for(|versions| *versions != known).await.is_err();
        if gone {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(window).await;
        self.versions()
    }
}

//! The tenants whose calls run here, so that those of one can be ended.
//!
//! A tenant that is deleted must leave nothing that still writes: its calls are stopped and waited for before what they wrote
//! goes. A call of a tenant that has ended, or never began, is refused: the gate let it in just before. Where no tenant
//! ever begins, around a single call without a host, everybody may call.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use aop_core::{ErrorCode, Failure, TenantName};
use tokio::sync::watch;

/// How long the end of a tenant waits for its calls. Each is dropped at once, so that only one which nobody polls takes
/// longer.
const END_MAX: Duration = Duration::from_secs(10);

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Tenants(RwLock<HashMap<TenantName, watch::Sender<bool>>>);

/// Held by a call of a tenant for as long as it runs.
pub(crate) struct Stay(Option<watch::Receiver<bool>>);

impl Tenants {
    pub(crate) fn begin(&self, tenant: &TenantName) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(tenant.clone()).or_insert_with(|| watch::Sender::new(false));
    }

    /// Lets a call in.
    ///
    /// # Errors
    /// `not_found` when there is no such tenant.
    pub(crate) fn enter(&self, tenant: &TenantName) -> Result<Stay, Failure> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match all.get(tenant).filter(|ends| !*ends.borrow()) {
            Some(ends) => Ok(Stay(Some(ends.subscribe()))),
            None if all.is_empty() => Ok(Stay(None)),
            None => Err(Failure::before_execution(
                ErrorCode::NotFound,
                format!("there is no tenant `{tenant}`"),
            )),
        }
    }

    /// Stops the calls of a tenant, and returns when none runs any more.
    pub(crate) async fn end(&self, tenant: &TenantName) -> Result<(), String> {
        let ends = self.0.write().unwrap_or_else(PoisonError::into_inner).remove(tenant);
        let Some(ends) = ends else { return Ok(()) };
        ends.send_replace(true);
        let ended = tokio::time::timeout(END_MAX, ends.closed()).await;
        ended.map_err(|_| {
            let left = ends.receiver_count();
            // So that the next try finds them again.
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone(), ends);
            format!("{left} of its calls did not end in time")
        })
    }
}

impl Stay {
    /// Resolves when the tenant ends.
    pub(crate) async fn ended(&mut self) -> Failure {
        let Some(ends) = &mut self.0 else { return std::future::pending().await };
        // A sender that is gone has ended, too.
        let _ = ends.wait_for(|has_ended| *has_ended).await;
        Failure::executed(ErrorCode::Cancelled, "the tenant was deleted while the call ran")
    }
}

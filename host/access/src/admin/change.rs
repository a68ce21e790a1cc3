//! How everything changes: one after another, to its end, for whoever may still have it, and written down.

use aop_core::audit::{Action, Actor, Outcome};
use aop_core::{AdminError, AuditEvent, BoxFuture, Caller, TenantName};
use tokio::sync::MutexGuard;
use tracing::Instrument as _;

use crate::access::Access;

impl Access {
    /// Makes a change as a task of its own, so that whoever asked for it may go away. One that is refused or fails is
    /// noted here, one that is made where it is known what it was made to.
    pub(super) fn whole<T, W>(
        &self,
        by: &Caller,
        (action, tenant, subject): (Action, &TenantName, &str),
        change: impl FnOnce(Self, Caller) -> W,
    ) -> BoxFuture<'static, Result<T, AdminError>>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, AdminError>> + Send + 'static,
    {
        let (access, tenant, subject) = (self.clone(), tenant.clone(), subject.to_owned());
        let (change, who) = (change(self.clone(), by.clone()), by.subject.clone());
        let task = async move {
            let changed = change.await;
            let outcome = match &changed {
                Err(AdminError::Forbidden(_) | AdminError::Conflict(_) | AdminError::Lapsed) => {
                    Outcome::Refused
                }
                Err(AdminError::Failed(_)) => Outcome::Failed,
                // What does not exist or cannot be was no attempt at anything.
                Ok(_) | Err(AdminError::NotFound(_) | AdminError::Invalid(_)) => return changed,
            };
            let detail = changed.as_ref().err().map(ToString::to_string).unwrap_or_default();
            access.inner.audit.note(AuditEvent {
                who: Actor::Caller(&who),
                outcome,
                tenant: Some(&tenant),
                detail: &detail,
                ..AuditEvent::of_host(action, &subject)
            });
            changed
        };
        Box::pin(async move {
            let ended = tokio::spawn(task.in_current_span()).await;
            ended.unwrap_or_else(|error| {
                Err(AdminError::Failed(format!("the change ended early: {error}")))
            })
        })
    }

    /// The lock of changes, for whoever's word still counts. It cannot end before the lock is given back: what ends it is a
    /// change, too.
    pub(super) async fn begin(&self) -> Result<MutexGuard<'_, ()>, AdminError> {
        let changing = self.inner.changing.lock().await;
        match &self.standing {
            Some(standing) if !standing.holds() => Err(AdminError::Lapsed),
            _ => Ok(changing),
        }
    }

    /// Writes down who did what.
    pub(super) fn note(&self, by: &Caller, action: Action, tenant: &TenantName, subject: &str) {
        self.inner.audit.note(AuditEvent {
            who: Actor::Caller(&by.subject),
            tenant: Some(tenant),
            ..AuditEvent::of_host(action, subject)
        });
    }
}

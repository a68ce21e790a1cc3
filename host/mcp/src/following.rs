//! What one client follows besides the answers to its requests: log lines from a level on, and resources.
//!
//! It belongs to a session, to a pipe, or to one `subscriptions/listen`, and forgets everything with it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use aop_core::{GuestLevel, TenantName};
use rmcp::model::{
    PromptListChangedNotification, ResourceListChangedNotification, ResourceUpdatedNotification,
    ResourceUpdatedNotificationParam, ServerNotification, ToolListChangedNotification,
};

use crate::changes::{Changes, Versions};
use crate::level::{self, Level};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Following {
    changes: Arc<Changes>,
    tenant: OnceLock<TenantName>,
    subscriptions_max: usize,
    /// Severity of the least log line that is wanted; 0 for none.
    severity: AtomicU8,
    resources: Mutex<BTreeSet<String>>,
}

/// A client subscribed to too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many resources are subscribed to: unsubscribe from some first")]
pub(crate) struct TooMany;

impl Following {
    pub(crate) fn new(changes: Arc<Changes>, subscriptions_max: usize) -> Self {
        Self {
            changes,
            tenant: OnceLock::new(),
            subscriptions_max,
            severity: AtomicU8::new(0),
            resources: Mutex::default(),
        }
    }

    fn resources(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends log lines from this level on.
    pub(crate) fn set_level(&self, level: Level) {
        self.severity.store(level::severity(level), Ordering::Relaxed);
    }

    /// Whether any log line is wanted.
    pub(crate) fn wants_logs(&self) -> bool {
        self.severity.load(Ordering::Relaxed) > 0
    }

    /// Whether log lines of a level are wanted.
    pub(crate) fn wants(&self, level: GuestLevel) -> bool {
        let least = self.severity.load(Ordering::Relaxed);
        least > 0 && level::severity(level::of_guest(level)) >= least
    }

    /// Follows a resource. Following it again changes nothing.
    ///
    /// # Errors
    /// [`TooMany`].
    pub(crate) fn subscribe(&self, tenant: &TenantName, uri: &str) -> Result<(), TooMany> {
        let tenant = self.tenant.get_or_init(|| tenant.clone());
        let mut resources = self.resources();
        if resources.contains(uri) {
            return Ok(());
        }
        if resources.len() >= self.subscriptions_max || !self.changes.follow(tenant, uri) {
            return Err(TooMany);
        }
        resources.insert(uri.to_owned());
        Ok(())
    }

    /// Follows a resource no longer.
    pub(crate) fn unsubscribe(&self, uri: &str) {
        if self.resources().remove(uri)
            && let Some(tenant) = self.tenant.get()
        {
            self.changes.unfollow(tenant, uri);
        }
    }

    /// What a client that knows `known` is told at `now`.
    pub(crate) fn news(&self, known: Versions, now: Versions) -> Vec<ServerNotification> {
        let mut news = Vec::new();
        if now.tools > known.tools {
            let changed = ToolListChangedNotification::default();
            news.push(ServerNotification::ToolListChangedNotification(changed));
        }
        if now.resources > known.resources {
            let changed = ResourceListChangedNotification::default();
            news.push(ServerNotification::ResourceListChangedNotification(changed));
        }
        if now.prompts > known.prompts {
            let changed = PromptListChangedNotification::default();
            news.push(ServerNotification::PromptListChangedNotification(changed));
        }
        if now.updates > known.updates
            && let Some(tenant) = self.tenant.get()
        {
            let resources = self.resources();
            let updated =
                resources.iter().filter(|uri| self.changes.is_updated(tenant, uri, known.updates));
            news.extend(updated.map(|uri| {
                let params = ResourceUpdatedNotificationParam::new(uri.clone());
                let updated = ResourceUpdatedNotification::new(params);
                ServerNotification::ResourceUpdatedNotification(updated)
            }));
        }
        news
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let Some(tenant) = self.tenant.get() else { return };
        for uri in self.resources().iter() {
            self.changes.unfollow(tenant, uri);
        }
    }
}

#[cfg(test)]
mod tests;

//! Agents that a tenant shares with others.
//!
//! To the tenant that it is shared with, such an agent is one that runs elsewhere: it is [offered](aop_core::Source::Tenant) by its
//! owner, under the rules for foreign agents. What a tenant has itself comes first; an agent whose name, or one of whose
//! tools' names, is taken there is refused and shown as such until it is free. It runs as its owner's: with the
//! owner's policy, secrets and concurrency. What it remembers and what a call costs is the caller's.
//!
//! Whoever it is shared with learns whose it is and nothing else of the owner: not how busy it is, nor where it comes from.

use std::sync::{Arc, PoisonError};

use aop_core::{ForeignAgent, Held, Source};

use crate::registry::OfTenant;

impl OfTenant {
    /// Tells the others what is shared with them now: agents of this tenant changed.
    pub(crate) fn share(&self) {
        let _turn = self.sharing.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.agents.held();
        let shares_any = held.iter().any(|held| !held.revision.settings.share.is_nobody());
        let source = Source::Tenant(self.tenant.clone());
        for other in self.common.all() {
            if shares_any || other.agents.has_of(&source) {
                self.share_with(&other, &held);
            }
        }
    }

    /// Takes what the others share: this tenant has just begun.
    pub(crate) fn receive_shared(&self) {
        for other in self.common.all() {
            let _turn = other.sharing.lock().unwrap_or_else(PoisonError::into_inner);
            other.share_with(self, &other.agents.held());
        }
    }

    fn share_with(&self, other: &Self, held: &[Held]) {
        if other.tenant == self.tenant {
            return;
        }
        let theirs = held.iter().filter(|held| held.revision.settings.share.is_with(&other.tenant));
        let offered = theirs.map(|held| ForeignAgent {
            revision: Arc::clone(&held.revision),
            aliases: held.aliases.clone(),
            description: held.description.clone(),
            places: Vec::new(),
        });
        let source = Source::Tenant(self.tenant.clone());
        let offered: Vec<_> = offered.collect();
        if !offered.is_empty() || other.agents.has_of(&source) {
            // What is refused is in the list of the tenant that it is shared with.
            other.take_from(&source, offered);
        }
    }
}

//! How much of the disk the components that a tenant uploads may take.
//!
//! Counted are the files, each once, to which the tenant's revisions refer, and what it uploaded since the last collection:
//! what failed to load lies there until then, and loads that never pause put the collection off.
//!
//! A revision that replaces another takes the place of what is forgotten because of it: of the one that would be the
//! eleventh, and, where that is not enough, of as many more old ones of the same agent as it needs. Both lie on the disk until the
//! next collection, so that the disk holds up to twice the quota until then: what is there, and what takes its place. It is no
//! more, because what was replaced counts again for the next upload.

use std::collections::HashSet;
use std::sync::Arc;

use aop_core::quota::Resource;
use aop_core::{AgentName, Digest, Store};

use crate::RegistryError;
use crate::load::blocking;
use crate::registry::OfTenant;

impl OfTenant {
    /// Makes sure that there is room for a component before it is kept, and answers how many revisions of the agent are to be
    /// kept then. The caller keeps collection away.
    ///
    /// # Errors
    /// [`RegistryError::OverQuota`] when there is none.
    pub(crate) async fn make_room_for(
        &self,
        agent: &AgentName,
        digest: Digest,
        bytes: usize,
    ) -> Result<usize, RegistryError> {
        let all = <dyn Store>::REVISIONS_KEPT;
        let account = self.common.parts.accounts.tenant(&self.tenant);
        let Some(most) = account.limit(Resource::Components) else { return Ok(all) };
        let components = Arc::clone(&self.common.components);
        // Before it is compared: of two that do not fit together, each sees the other.
        let is_new = components.count_upload((&self.tenant, agent), digest, bytes as u64);
        let store = &self.common.parts.store;
        let others = store.uploaded(&self.tenant, agent).await?;
        let own: Vec<_> = store.revisions(&self.tenant, agent).await?;
        let own: Vec<_> = own.into_iter().map(|revision| revision.digest).collect();
        if others.contains(&digest) || own.contains(&digest) {
            // It takes nothing more.
            return Ok(all);
        }
        let (tenant, name) = (self.tenant.clone(), agent.clone());
        let fits = blocking(move || {
            let fits = |kept: &usize| {
                let stays = others.iter().chain(own.iter().take(kept - 1));
                let stays: HashSet<_> = stays.copied().chain([digest]).collect();
                let goes: HashSet<_> = own.iter().skip(kept - 1).copied().collect();
                let goes: Vec<_> = goes.difference(&stays).copied().collect();
                let stays: Vec<_> = stays.into_iter().collect();
                components.uploaded_bytes((&tenant, &name), &stays, &goes) <= most
            };
            Ok((1..=all).rev().find(fits))
        });
        if let Some(kept) = fits.await? {
            return Ok(kept);
        }
        if is_new {
            self.common.components.discount_upload((&self.tenant, agent), &digest);
        }
        Err(RegistryError::OverQuota(account.refuse(Resource::Components, None).message))
    }
}

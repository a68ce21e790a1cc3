//! How much of the disk the components that a tenant uploads may take.
//!
//! Counted are the files, each once, to which the tenant's revisions refer, and what it uploaded since the last collection:
//! what failed to load lies there until then, and loads that never pause put the collection off.

use std::sync::Arc;

use aop_core::Digest;
use aop_core::quota::Resource;

use crate::RegistryError;
use crate::load::blocking;
use crate::registry::OfTenant;

impl OfTenant {
    /// Makes sure that there is room for a component before it is kept. The caller keeps collection away.
    ///
    /// # Errors
    /// [`RegistryError::OverQuota`] when there is none.
    pub(crate) async fn make_room_for(
        &self,
        digest: Digest,
        bytes: usize,
    ) -> Result<(), RegistryError> {
        let account = self.common.parts.accounts.tenant(&self.tenant);
        let Some(most) = account.limit(Resource::Components) else { return Ok(()) };
        let components = Arc::clone(&self.common.components);
        // Before it is compared: of two that do not fit together, each sees the other.
        let is_new = components.count_upload(&self.tenant, digest, bytes as u64);
        let stored = self.common.parts.store.uploaded(&self.tenant).await?;
        if stored.contains(&digest) {
            // It takes nothing more.
            return Ok(());
        }
        let tenant = self.tenant.clone();
        let taken = blocking(move || Ok(components.uploaded_bytes(&tenant, &stored))).await?;
        if taken <= most {
            return Ok(());
        }
        if is_new {
            self.common.components.discount_upload(&self.tenant, &digest);
        }
        Err(RegistryError::OverQuota(account.refuse(Resource::Components, None).message))
    }
}

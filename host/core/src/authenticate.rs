//! Who asks. `access` implements it.

use crate::TenantName;

/// The authenticated origin of a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Whose agents it may see and call.
    pub tenant: TenantName,
}

/// Why a caller was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticateError {
    /// There is no such tenant, or the caller may not know of it.
    #[error("no such tenant: this host serves `default` only")]
    UnknownTenant,
}

/// Turns what a request carries into a [`Caller`].
pub trait Authenticate: Send + Sync {
    /// `tenant` is the one named in the path (`/t/{tenant}/mcp`), if any.
    ///
    /// # Errors
    /// [`AuthenticateError`] when the caller may not act for that tenant.
    fn authenticate(&self, tenant: Option<&str>) -> Result<Caller, AuthenticateError>;
}

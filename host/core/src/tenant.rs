//! Owners: the unit of isolation.

use serde::{Deserialize, Serialize};

use crate::TenantName;

/// An owner of agents, tool names, state, keys and secrets, none of which any other tenant can see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
}

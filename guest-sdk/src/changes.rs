//! Tells clients that what the agent offers has changed.
//!
//! ```
//! use aop_agent::changes;
//!
//! changes::resource_updated("notes://today").unwrap();
//! changes::resources_changed();
//! ```

use crate::host::with;

/// The resource at `uri` changed; clients that subscribed to it are told.
///
/// # Errors
/// The URI is not the agent's own.
pub fn resource_updated(uri: &str) -> Result<(), String> {
    with(|host| host.resource_updated(uri))
}

/// The list of resources changed.
pub fn resources_changed() {
    with(|host| host.resources_changed());
}

/// The list of prompts changed.
pub fn prompts_changed() {
    with(|host| host.prompts_changed());
}

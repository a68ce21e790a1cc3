//! Quotas: how much all calls of an agent, of a tenant, or of the whole host may use together.
//!
//! [`Limits`](crate::Limits) bound one call; a [`Quota`] bounds what calls add up to. Three owners have one each: the
//! agent in its settings, its tenant and the node in the host's configuration. Whatever is used is used of all three
//! ([`Payer`]), so that no settings can exceed what the tenant has, and no tenant what the node has.
//!
//! Who is over a quota is refused before anything runs, with the time after which it helps to come back. Two things turn
//! out only while a guest runs: one that used up the CPU time waits for its turns until time comes back, within its
//! deadline; one that wants more memory than is left is refused that memory.
//!
//! In a zone, what a tenant may use per time and at one time holds for all nodes together: each has a [`Share`] of it.
//!
//! Without a quota, a call pays for all of this with some loads and the counting of its places: no lock and no allocation.

mod account;
mod accounts;
mod held;
mod lines;
mod rate;
mod refusal;
mod share;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use account::{Account, Execution, Figure, Owner};
pub use accounts::{Accounts, Payer, Shares, TenantKey};
pub use held::{CodeHeld, MemoryHeld};
pub use lines::Lines;
pub use rate::Rate;
pub use refusal::Resource;
pub use share::{Share, Taken, ZoneTokens};

/// How much one owner may use. None is no limit of that owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Calls that may begin per second, over time.
    pub calls_per_second: Option<u64>,
    /// Calls that may begin at once; as many as per second otherwise.
    pub burst: Option<u64>,
    /// Calls at one time. An agent's own is in its [`Limits`](crate::Limits).
    pub concurrency: Option<u64>,
    /// Calls that may wait. An agent's own is in its [`Limits`](crate::Limits).
    pub queue: Option<u64>,
    /// How long a call may wait for its place, in milliseconds.
    pub queue_wait_ms: Option<u64>,
    /// Linear memory of all its instances together, the idle ones included.
    pub memory_max_bytes: Option<u64>,
    /// Time during which cores work for it, per minute, in milliseconds.
    pub cpu_ms_per_minute: Option<u64>,
    /// Compiled code of what it has loaded.
    pub code_max_bytes: Option<u64>,
    /// What it remembers, as the store counts it.
    pub stored_max_bytes: Option<u64>,
    /// Components that came through the API, with those of earlier revisions, as files. Of a tenant.
    // Settings hold a quota, too, and what is not said must not change which of them are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components_max_bytes: Option<u64>,
    /// Bodies of outgoing requests and their answers, per hour.
    pub egress_bytes_per_hour: Option<u64>,
    /// Tokens of language models per day (UTC). An agent's own is in its model's binding.
    pub tokens_per_day: Option<u64>,
    /// How much it counts where tenants, or agents of a tenant, share: twice the weight is twice the part.
    pub weight: Option<u64>,
}

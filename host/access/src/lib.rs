//! Who may reach this host, as whom, and what they may do there.
//!
//! [`Access`] is the one place that knows. It turns what a request carries into a [`Caller`](aop_core::Caller): an API
//! key (`key`), an access token of an issuer (`token`), or nothing on a host that is open to its own machine. It manages
//! tenants, keys and secrets (`admin`), keeps secrets encrypted (`vault`), and bounds what a flood of wrong
//! credentials costs (`failures`). [`check_bind`] refuses to offer an open host to a network.
//!
//! A host is open until there is something to check: an issuer, a key, or `required = true`. From the first key on it
//! stays closed, also when that key is revoked, and after a restart.
//!
//! The nodes of a zone have all of it alike (`agreed`).
//!
//! [`audit`] writes down who did what.
//!
//! Nothing here is an edge: `web` asks it in front of every request, and the edges behind that only read the caller.

mod access;
mod admin;
mod agreed;
pub mod audit;
mod bind;
mod departures;
mod failures;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod key;
mod token;
mod vault;

pub use access::{Access, AccessConfig, AccessParts};
pub use bind::{BindError, check_bind, is_loopback};
pub use token::{ALGORITHMS, Fetch, IssuerConfig, TenantRule, check_url};
pub use vault::{Vault, VaultError};

#[cfg(any(test, fuzzing))]
mod testing;

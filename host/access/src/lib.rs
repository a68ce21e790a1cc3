//! Who may reach this host, and as whom.
//!
//! A host without identities serves one tenant, `default`, to everybody who can open a connection.
//! That is safe on the loopback interface only, so this crate states both halves of the rule:
//! [`Open`] turns every request into a caller of `default` and hides that other tenants could
//! exist, and [`check_bind`] refuses to offer that to a network unless the operator says so.
//!
//! [`audit`] writes down who did what.

pub mod audit;
mod bind;
mod open;

pub use bind::{AccessError, check_bind};
pub use open::Open;

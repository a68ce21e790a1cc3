//! More than one host: zones, whose nodes trust each other and gossip, and federation between zones.
//!
//! [`membership`] says who is in the zone and connects its nodes; [`routing`] makes a tool on any node callable on
//! every node; [`quota`] has quotas of tenants hold for all nodes together; [`federation`] is how zones find and call each
//! other.

pub mod durable;
pub mod federation;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http2;
pub mod membership;
pub mod quota;
pub mod routing;

pub use federation::{FullName, NameError, ZoneName};

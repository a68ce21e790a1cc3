//! Zones: hosts that trust each other and gossip.
//!
//! [`membership`] says who is in the zone and connects its nodes; [`routing`] makes a tool on any node callable on
//! every node.

pub mod membership;
mod name;
pub mod routing;

pub use name::{AgentAddress, ZoneName, ZoneNameError};

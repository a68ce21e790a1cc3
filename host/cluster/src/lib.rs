//! Zones: hosts that trust each other and gossip.
//!
//! [`membership`] says who is in the zone and connects its nodes.

pub mod membership;
mod name;

pub use name::{AgentAddress, ZoneName, ZoneNameError};

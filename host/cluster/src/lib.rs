//! Zones and federation. This release has only their names; membership, gossip, replicas and the
//! zone protocol are not here yet, and no command pretends that they are.

mod name;

pub use name::{AgentAddress, ZoneName, ZoneNameError};

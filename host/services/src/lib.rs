//! What the capabilities of agents stand on, kept out of `runtime` so that their dependencies do
//! not slow the slowest crate to build.
//!
//! - [`HttpEgress`] sends the HTTP requests that an agent's policy permits, to addresses that were checked.
//! - [`ModelProviders`] talks to language models with the operator's keys and counts tokens.
//! - [`Zones`] exchanges messages with other zones.
//! - [`GuestLogs`] forwards what guests log, at a bounded rate.
//!
//! The ways out share one [`Network`]: its connections, its TLS and its resolver.

mod egress;
mod error;
mod guest_log;
mod model;
mod network;
mod share;
#[cfg(test)]
mod testing;
mod zones;

pub use egress::{EgressConfig, HttpEgress};
pub use error::ServicesError;
pub use guest_log::GuestLogs;
pub use model::{ModelConfig, ModelProvider, ModelProviders, ProviderKind};
pub use network::{Network, ResolveName, SystemResolver};
pub use zones::Zones;

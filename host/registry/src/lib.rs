//! Which agents exist on this host, at which revision and in which state.
//!
//! The registry reads the agents of every tenant from watched directories and from its own data directory, turns each
//! into a live [`Revision`](aop_core::Revision) and answers what a tool name means now. It is the
//! host's [`Catalog`](aop_core::Catalog) and [`Resolve`](aop_core::Resolve).
//!
//! How a change travels, and where to read it:
//!
//! 1. `source` lists the directories and reads a component with its settings; `reconcile`
//!    decides what of it changed and stopped changing; `watch` wakes the two up.
//! 2. `load` brings one agent from bytes to a derived tool set that could serve.
//! 3. `commit` makes it real: names are claimed, the store is written, the revision is published.
//! 4. `agents` is what everyone else sees of it.
//!
//! What it promises:
//!
//! - A revision that serves goes on serving until another one of the same agent is published;
//!   whatever is wrong with a new one is shown beside it.
//! - Bytes are on disk before the store refers to them, and the store has a revision before it
//!   serves: a crash at any point leaves garbage at worst, which `components` collects.
//! - Changes of one agent happen one after another (`turn`), those of different agents at once.
//! - A load that is dropped half-way leaves nothing behind; once it commits, it commits whole.
//! - In a tenant no two agents own one tool name, aliases and names of earlier revisions included.
//! - Tenants have nothing in common but bounds, and files that are named by what they hold; what one [shares](share) with
//!   another is seen there and stays its own.

mod agents;
mod catalog;
mod commit;
mod components;
mod config;
mod error;
mod holdings;
mod load;
mod notes;
mod providers;
mod reconcile;
mod registry;
mod room;
mod share;
mod source;
mod turn;
mod watch;

pub use config::RegistryConfig;
pub use error::RegistryError;
pub use registry::{Parts, Registry};

#[cfg(test)]
mod tests;

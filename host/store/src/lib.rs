//! What survives a restart, and what finds a tool.
//!
//! [`SqliteStore`] is the durable [`Store`](aop_core::Store) of one host: agents, revisions,
//! settings, published names and what agents remember ([`Buckets`](aop_core::bucket::Buckets)) in one
//! SQLite file of the data directory, which it locks so that no second host writes there. Component bytes are not in it; `registry` keeps those as files beside
//! it. [`ToolIndex`] is the ranked full-text [`Search`](aop_core::Search) over tools; it lives in
//! memory, because it is rebuilt from the agents at every start anyway.
//!
//! [`PostgresBuckets`] keeps what agents remember where several hosts reach it.
//!
//! The feature `conformance` adds a module with the suite that any other implementation of the store
//! has to pass.

mod bounds;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod index;
mod lock;
mod postgres;
mod sqlite;
mod turns;

pub use error::OpenError;
pub use index::ToolIndex;
pub use postgres::{PostgresBuckets, PostgresConfig, PostgresError};
pub use sqlite::{SqliteStore, StoreConfig};

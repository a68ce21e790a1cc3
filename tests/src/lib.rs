//! What the end-to-end tests stand on: the binary and the fixture guests built once per run, a host
//! in a process of its own, zones of them, load, links between them, clients of both protocol eras, and a runtime inside
//! the test for hostile components.
//!
//! Nothing here waits for a fixed time: [`eventually`] looks again until something is true, and every
//! wait has an end, so that a test which hangs fails instead. Whatever a test started dies with its handle.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on stops where it stands and says why"
)]

mod build;
mod command;
mod directory;
mod host;
mod http;
mod link;
pub mod load;
mod mcp;
mod metrics;
mod sandbox;
mod session;
mod stdio;
mod wait;
pub mod zone;

pub use build::{aop_binary, component, guest, repository, target_directory};
pub use command::{Aop, Finished};
pub use directory::AgentsDirectory;
pub use host::{Host, HostOptions};
pub use http::{Answer, Events, Raw, http_client};
pub use link::Link;
pub use load::Load;
pub use mcp::{CallFault, Mcp, STATELESS, ToolResult};
pub use metrics::Scrape;
pub use sandbox::{Loaded, RecordedLog, Sandbox};
pub use session::Session;
pub use stdio::Stdio;
pub use wait::{BOUND, PATIENCE, eventually, within};

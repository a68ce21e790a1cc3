//! The MCP edge: what an MCP client connects to.
//!
//! This is the only crate that knows `rmcp`. It turns bytes into an [`aop_core::Call`] and a
//! [`aop_core::Reply`] back into bytes, for the stateless revision 2026-07-28 and for the sessions
//! of 2025-11-25 and 2025-06-18, over HTTP on one endpoint and over standard input and output.
//! What it serves comes from the traits in [`McpParts`]; it keeps no state of its own but sessions,
//! calls that converse with their clients, rendered list pages and counters.
//!
//! A request takes one of two paths through the same `edge`. The fast path accepts plain
//! `tools/call` and `tools/list` requests, parses them borrowed and writes the answer into one
//! buffer. Everything else, every malformed request included, goes through `rmcp`'s own service,
//! which is the reference: the tests send the same requests down both paths and compare.
//!
//! Every bound is a field of [`McpConfig`], or a constant beside what it bounds.

mod arrival;
mod beside;
mod bodies;
mod builtin;
mod changes;
mod complaint;
mod config;
mod content;
mod converse;
mod edge;
mod error;
mod fast;
mod features;
mod following;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod handler;
mod http;
mod level;
mod list;
mod many;
mod measure;
mod message;
mod mount;
mod notify;
mod repeated;
mod result;
mod scope;
mod server;
mod session;
mod stdio;
mod tasks;
#[cfg(any(test, fuzzing))]
mod tests;
mod uri;

pub use beside::Beside;
pub use changes::Changes;
pub use config::{Expose, McpConfig};
pub use content::check as check_content;
pub use error::McpError;
pub use mount::{Bearer, MountConfig, MountTransport, Mounts};
pub use server::{McpParts, McpServer};

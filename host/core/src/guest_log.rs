//! What guests say: their standard output and `wasi:logging`. `services` implements the sink.

use crate::{AgentName, CallId, TenantName};

/// How important a guest says a line is (`wasi:logging/logging.level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are wasi:logging's own levels")]
pub enum GuestLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

/// One line that a guest wrote. Untrusted text, bounded by the writer.
#[derive(Debug, Clone, Copy)]
pub struct GuestLine<'a> {
    /// Whose agent: tenants name theirs as they like.
    pub tenant: &'a TenantName,
    /// Which agent.
    pub agent: &'a AgentName,
    /// During which call.
    pub call: CallId,
    /// `stdout`, `stderr`, or the context it gave to `wasi:logging`.
    pub context: &'a str,
    /// How important.
    pub level: GuestLevel,
    /// The line without its end.
    pub text: &'a str,
    /// How many lines per second of this agent are kept.
    pub lines_per_second: u32,
}

/// Where guest lines go. Never blocks, and drops what is over the agent's rate.
pub trait GuestLog: Send + Sync {
    /// Takes one line.
    fn line(&self, line: GuestLine<'_>);
}

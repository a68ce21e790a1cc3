//! Log levels: MCP's eight and the six of `wasi:logging`.
#![expect(deprecated, reason = "2026-07-28 deprecates logging, and still has it")]

use aop_core::GuestLevel;
use rmcp::model::LoggingLevel;

/// MCP's levels.
pub(crate) type Level = LoggingLevel;

/// From 1 for the least; 0 is left for "none".
pub(crate) const fn severity(level: Level) -> u8 {
    match level {
        LoggingLevel::Debug => 1,
        LoggingLevel::Info => 2,
        LoggingLevel::Notice => 3,
        LoggingLevel::Warning => 4,
        LoggingLevel::Error => 5,
        LoggingLevel::Critical => 6,
        LoggingLevel::Alert => 7,
        LoggingLevel::Emergency => 8,
    }
}

/// What a guest's level is for MCP.
pub(crate) const fn of_guest(level: GuestLevel) -> Level {
    match level {
        GuestLevel::Trace | GuestLevel::Debug => LoggingLevel::Debug,
        GuestLevel::Info => LoggingLevel::Info,
        GuestLevel::Warn => LoggingLevel::Warning,
        GuestLevel::Error => LoggingLevel::Error,
        GuestLevel::Critical => LoggingLevel::Critical,
    }
}

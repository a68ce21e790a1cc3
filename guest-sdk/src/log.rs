//! Lines for whoever operates the agent, and for clients that follow the log.
//!
//! ```
//! aop_agent::log::info("12 rows read");
//! ```

pub use crate::bindings::wasi::logging::logging::Level;
use crate::host::with;

/// Writes one line. `context` groups related lines; the host does not interpret it.
pub fn write(level: Level, context: &str, message: impl AsRef<str>) {
    with(|host| host.log(level, context, message.as_ref()));
}

/// For somebody who debugs the agent.
pub fn debug(message: impl AsRef<str>) {
    write(Level::Debug, "", message);
}

/// For somebody who watches the agent.
pub fn info(message: impl AsRef<str>) {
    write(Level::Info, "", message);
}

/// Something is off.
pub fn warn(message: impl AsRef<str>) {
    write(Level::Warn, "", message);
}

/// Something failed.
pub fn error(message: impl AsRef<str>) {
    write(Level::Error, "", message);
}

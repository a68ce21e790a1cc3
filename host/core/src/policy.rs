//! What an agent may touch, and how much it may use. Never mixed in one type.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What an agent may touch beyond computing. This release grants nothing: no network, filesystem,
/// environment or secrets. Capabilities ask it, so that granting is a change of this type alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {}

impl Policy {
    /// Nothing is allowed.
    #[must_use]
    pub const fn deny_all() -> Self {
        Self {}
    }

    /// Whether the agent may open `scheme://authority` connections. The error names the rule for the
    /// guest.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub const fn outgoing_http(&self) -> Result<(), &'static str> {
        Err("outgoing HTTP is denied by default")
    }
}

/// How much one call may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// From arrival to answer, retries included.
    #[serde(rename = "timeout_ms", with = "milliseconds")]
    pub timeout: Duration,
    /// All linear memories of one instance together.
    pub memory_max_bytes: u64,
    /// Elements of all tables of one instance together. Fixed: only a memory attack needs more.
    pub table_elements_max: u64,
    /// The result as JSON.
    pub output_max_bytes: u64,
    /// Executions of the agent at one time on this host.
    pub concurrency: u32,
    /// Calls that may wait for one of those, before further ones are refused.
    pub queue: u32,
    /// Lines of guest output and `wasi:logging` kept per second; the rest is counted and dropped.
    pub log_lines_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            memory_max_bytes: 64 << 20,
            table_elements_max: 100_000,
            output_max_bytes: 8 << 20,
            concurrency: 256,
            queue: 1024,
            log_lines_per_second: 100,
        }
    }
}

/// Durations in stored settings are whole milliseconds.
pub(crate) mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_millis)
    }
}

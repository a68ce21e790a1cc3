//! What an agent may touch, and how much it may use. Never mixed in one type.

mod address;
mod ambient;
pub mod ceiling;
mod grant;
pub mod http_grant;
mod http_rule;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use address::is_public;
pub use ambient::{Clock, Randomness};
pub use ceiling::{Ceiling, Ceilings};
pub use grant::{DirectoryGrant, DirectoryLimits, ToolPattern};
pub use http_grant::HttpGrant;
pub use http_rule::HttpRule;

/// What an agent may touch beyond computing. The default grants nothing: no network, files, environment,
/// tools or shared memory. Its model is granted by `[model]` ([`ModelBinding`](crate::model::ModelBinding)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Requests that it may send. The first that permits a request decides over it.
    pub http: Vec<HttpGrant>,
    /// Private networks that the names in `http` may lead to. Loopback, link-local and other special
    /// addresses count as private.
    pub private_networks: Vec<IpNet>,
    /// Directories that it sees.
    pub directories: Vec<DirectoryGrant>,
    /// Variables of the host's environment that it sees.
    pub environment: Vec<String>,
    /// Tools of other agents that it may call.
    pub tools: Vec<ToolPattern>,
    /// Whether it may keep state that all agents of the tenant share.
    pub shared_state: bool,
    /// Which time it sees.
    pub clock: Clock,
    /// Which random numbers it sees.
    pub random: Randomness,
}

impl Policy {
    /// Nothing is allowed.
    #[must_use]
    pub fn deny_all() -> Self {
        Self::default()
    }

    /// What permits the agent to send a request: its place in `http`, and the grant itself.
    ///
    /// # Errors
    /// The rule that refuses it, for the guest.
    pub fn permits_request(
        &self,
        method: &http::Method,
        uri: &http::Uri,
    ) -> Result<(usize, &HttpGrant), String> {
        let mut grants = self.http.iter().enumerate();
        if let Some(found) = grants.find(|(_, grant)| grant.rule.permits(method, uri)) {
            return Ok(found);
        }
        let scheme = uri.scheme_str().unwrap_or("?");
        let place = uri.authority().map_or("?", http::uri::Authority::as_str);
        let rules = self.http.iter().map(|grant| &grant.rule);
        // Without the path, which may hold what the agent was asked.
        let but = match rules.filter_map(|rule| rule.misses(method, uri)).next() {
            Some(part) => format!("; a rule for this host is for another {part}"),
            None => String::new(),
        };
        Err(format!(
            "no `http` rule of the agent's policy permits {method} to {scheme}://{place}{but}"
        ))
    }

    /// Whether the agent may call a tool.
    ///
    /// # Errors
    /// The rule that refuses it, for the guest.
    pub fn permits_tool(&self, name: &str) -> Result<(), String> {
        if self.tools.iter().any(|pattern| pattern.permits(name)) {
            return Ok(());
        }
        Err(format!("no `tools` pattern of the agent's policy permits `{name}`"))
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
    /// Entries of one state bucket (`wasi:keyvalue`).
    pub state_keys_max: u64,
    /// Keys and values of one state bucket together.
    pub state_max_bytes: u64,
    /// Instances that live on between calls because somebody holds handles of theirs, on this host.
    pub handle_instances_max: u32,
    /// How long such an instance lives without a call.
    #[serde(rename = "handle_idle_ms", with = "milliseconds")]
    pub handle_idle: Duration,
    /// How long it lives, however much it is used.
    #[serde(rename = "handle_lifetime_ms", with = "milliseconds")]
    pub handle_lifetime: Duration,
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
            state_keys_max: 10_000,
            state_max_bytes: 16 << 20,
            handle_instances_max: 64,
            // A person reads an answer and thinks; a model that wants to go on does so at once.
            handle_idle: Duration::from_secs(10 * 60),
            handle_lifetime: Duration::from_secs(60 * 60),
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

//! MCP servers that the operator mounts: the paper's AOPCluster C = ⟨U, τ⟩ and its GETTOOLS (equations 5 and 6).
//!
//! Each server is held by one task, which connects, lists the tools, [publishes](aop_core::Publish) them as one foreign agent
//! and follows their changes. Calls and lists never wait for that task: what is known of a server is in the
//! registry or it is not, so a dead one takes its tools out of the union and delays nothing. It is tried again with
//! growing pauses, for as long as the host runs.
//!
//! A server is the operator's choice and still not trusted: how many tools it may have, how large they may be described,
//! how large an answer is, how long and how many calls may be, are bounded here ([`MountConfig`] and the constants beside what
//! they bound). Its own names are made valid and cannot take those of other agents. It learns nothing of
//! whoever calls: it is sent the arguments and the trace.

mod answer;
mod call;
mod client;
mod config;
mod connect;
mod hold;
mod offer;
mod schema;
mod stdio;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aop_core::cluster::{ReportServers, ServerStatus};
use aop_core::{Measure, Publish, Sample};
use tokio::task::JoinSet;

pub use config::{Bearer, MountConfig, MountTransport};
use hold::Mount;

use crate::measure::Counter;

/// Every mounted server of a host.
pub struct Mounts {
    mounts: Vec<Arc<Mount>>,
    counters: Arc<Counters>,
    /// Empty until the host has loaded.
    tasks: Mutex<JoinSet<()>>,
}

/// What happens with all of them together.
#[derive(Debug, Default)]
struct Counters {
    connects: Counter,
    losses: Counter,
    calls: Counter,
    calls_failed: Counter,
    calls_refused: Counter,
}

impl Mounts {
    /// Servers that nobody connects to yet.
    #[must_use]
    pub fn new(configs: Vec<MountConfig>) -> Self {
        let counters = Arc::<Counters>::default();
        let mount = |config| Arc::new(Mount::new(config, Arc::clone(&counters)));
        Self { mounts: configs.into_iter().map(mount).collect(), counters, tasks: Mutex::default() }
    }

    /// Connects to all of them, now and whenever one is lost, until [`Self::stop`]. Does not wait for any.
    pub fn start(&self, publish: &Arc<dyn Publish>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if !tasks.is_empty() {
            return;
        }
        for mount in &self.mounts {
            tasks.spawn(Arc::clone(mount).supervise(Arc::clone(publish)));
        }
    }

    /// Lets go of all of them; programs that were started for it end.
    pub async fn stop(&self) {
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}

impl ReportServers for Mounts {
    fn servers(&self) -> Vec<ServerStatus> {
        let now = Instant::now();
        self.mounts.iter().map(|mount| mount.status(now)).collect()
    }
}

impl Measure for Mounts {
    fn measure(&self) -> Vec<Sample> {
        let Counters { connects, losses, calls, calls_failed, calls_refused } = &*self.counters;
        let up = self.mounts.iter().filter(|mount| mount.is_up()).count();
        vec![
            Sample::gauge("mounts", "MCP servers that are mounted", self.mounts.len() as u64),
            Sample::gauge("mounts_up", "Mounted MCP servers that answer", up as u64),
            Sample::counter(
                "mount_connects",
                "Connections made to mounted servers",
                connects.get(),
            ),
            Sample::counter("mount_losses", "Mounted servers that stopped answering", losses.get()),
            Sample::counter("mount_calls", "Calls sent to mounted servers", calls.get()),
            Sample::counter(
                "mount_calls_failed",
                "Calls of mounted servers that were lost, late or malformed",
                calls_failed.get(),
            ),
            Sample::counter(
                "mount_calls_refused",
                "Calls that were not sent because a mounted server was away",
                calls_refused.get(),
            ),
        ]
    }
}

//! One digest and settings of an agent, live.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::interface::Feature;
use crate::quota::Payer;
use crate::{AgentName, Digest, Executable, Settings, TenantName, Tool};

/// An agent's identity: a UUIDv7 minted at its first load, stable across revisions (the paper's id).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentId(pub Uuid);

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Counts the revisions of an agent from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RevisionNumber(pub u64);

impl fmt::Display for RevisionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A revision that serves, or still finishes calls. Every call holds its `Arc`: the revision is
/// drained when the last one drops.
pub struct Revision {
    /// Whose agent.
    pub tenant: TenantName,
    /// The agent.
    pub agent: AgentName,
    /// Its identity.
    pub id: AgentId,
    /// Which revision.
    pub number: RevisionNumber,
    /// The component.
    pub digest: Digest,
    /// The settings it runs under.
    pub settings: Arc<Settings>,
    /// What it publishes, in name order.
    pub tools: Vec<Arc<Tool>>,
    /// What else it offers: index into [`Interface::functions`](crate::Interface::functions).
    pub features: BTreeMap<Feature, usize>,
    /// How to call it.
    pub executable: Arc<dyn Executable>,
    /// Who pays when its own tenant calls it; [`Payer::nobody`] of an agent that runs elsewhere, for which its callers'
    /// host finds one.
    pub payer: Arc<Payer>,
    /// Calls that run now. BUSY is read from here, so it costs no events.
    pub in_flight: AtomicU32,
}

impl Revision {
    /// Counts a call in, for as long as the guard lives.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }
}

/// A call that runs on a revision.
pub struct InFlight(Arc<Revision>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

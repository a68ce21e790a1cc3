//! Who is next, when there is less of something than is wanted: fair between tenants by their weights, and within a
//! tenant between its agents.
//!
//! [`Queue`] is the order and nothing else: start-time fair queueing (Goyal, Vin and Cheng 1996) in two levels. Each
//! flow (a tenant, or an agent of one) stands at a virtual time, that of the least served one is next, and being
//! served moves a flow on by what it cost, divided by its weight. A flow that comes back stands no earlier than the
//! service is, so nobody saves up turns by staying away; one that leaves after a costly turn still owes it, so nobody
//! sheds a debt by leaving either. [`Permits`] hands out places in that order, and [`Parts`]
//! those of which no tenant may hold all.
//!
//! The same order decides about the cores, places for calls, the compiler, models and uploads. What bounds it: state
//! for the flows that wait or owe something, and the cost of every step grows with the logarithm of their number.

mod parts;
mod permits;
mod queue;

pub use parts::{Parts, Place};
pub use permits::{Acquire, Permit, Permits, share};
pub use queue::{Queue, Ticket};

/// Who shares with others, and how much it counts among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Tells it apart; unique among its kind.
    pub id: u64,
    /// Twice the weight is twice the service. At least 1, at most [`Flow::WEIGHT_MAX`].
    pub weight: u32,
}

impl Flow {
    /// The largest weight: a thousand to one is starvation by any other name.
    pub const WEIGHT_MAX: u32 = 1000;
    /// The weight of who has none of its own: room for ten times less and ten times more.
    pub const WEIGHT_DEFAULT: u32 = 100;
}

/// On whose behalf something is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    /// Shares with other tenants.
    pub tenant: Flow,
    /// Shares with the other agents of that tenant.
    pub agent: Flow,
}

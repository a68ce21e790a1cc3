//! Connections that wait for their next request.
//!
//! A connection is found by the address it was checked for, not only by name: another agent may not go to
//! where this name led the first one. It is found by its owner, too: a server that tells clients apart by their
//! connections, or an answer that an agent provoked and left behind, must not reach another agent. How many wait and for how long is bounded; servers close idle
//! connections after about a minute, and a request on a closed one is sent again on a new one.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use aop_core::Policy;
use aop_core::egress::EgressBody;
use aop_core::fair::{Flow, Party};
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::Target;

/// Connections that may wait for one server: agents call a few at a time, and each holds a socket there too.
const IDLE_PER_SERVER_MAX: usize = 8;
/// Connections that may wait at all: each holds a file descriptor and up to 64 KiB of buffer.
const IDLE_MAX: usize = 256;
/// How long one may wait; most servers close it after a minute themselves.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Whose a connection is.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    policy: Option<Weak<Policy>>,
    /// Its place in the order of turns, and whose part of the host's places it takes.
    party: Party,
}

impl Owner {
    /// The host, which speaks to the operator's servers for all agents.
    pub(crate) const HOST: Self = {
        let flow = Flow { id: 0, weight: Flow::WEIGHT_DEFAULT };
        Self { policy: None, party: Party { tenant: flow, agent: flow } }
    };

    /// An agent, known by its own policy, on behalf of who pays. As long as anybody remembers it, no other policy has the
    /// same address.
    pub(crate) fn agent(policy: &Arc<Policy>, party: Party) -> Self {
        Self { policy: Some(Arc::downgrade(policy)), party }
    }

    pub(crate) const fn party(&self) -> Party {
        self.party
    }

    fn address(&self) -> Option<*const Policy> {
        self.policy.as_ref().map(Weak::as_ptr)
    }
}

/// Connections are one agent's, whoever calls it.
impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }
}

impl Eq for Owner {}

impl Hash for Owner {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address().hash(state);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Server {
    pub(super) owner: Owner,
    pub(super) target: Target,
    pub(super) address: SocketAddr,
}

#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    servers: HashMap<Server, Vec<Waiting>>,
    count: usize,
    is_swept: bool,
}

struct Waiting {
    sender: SendRequest<EgressBody>,
    since: Instant,
}

impl Waiting {
    fn is_usable(&self) -> bool {
        self.since.elapsed() < IDLE_TIMEOUT && self.sender.is_ready()
    }
}

impl Pool {
    /// The connection that waited least.
    pub(super) fn take(&self, server: &Server) -> Option<SendRequest<EgressBody>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle.servers.get_mut(server)?;
        let mut taken = 0;
        let mut found = None;
        while let Some(candidate) = waiting.pop() {
            taken += 1;
            if candidate.is_usable() {
                found = Some(candidate.sender);
                break;
            }
        }
        if waiting.is_empty() {
            idle.servers.remove(server);
        }
        idle.count -= taken;
        found
    }

    /// Keeps a connection once its response was read; where it would be too many, it is closed.
    pub(super) fn give_back(self: &Arc<Self>, server: Server, sender: SendRequest<EgressBody>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.count >= IDLE_MAX {
            idle.sweep();
        }
        let here = idle.servers.get(&server).map_or(0, Vec::len);
        if idle.count >= IDLE_MAX || here >= IDLE_PER_SERVER_MAX {
            return;
        }
        idle.count += 1;
        let waiting = Waiting { sender, since: Instant::now() };
        idle.servers.entry(server).or_default().push(waiting);
        if !std::mem::replace(&mut idle.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).count
    }
}

impl Idle {
    fn sweep(&mut self) {
        self.servers.retain(|_, waiting| {
            waiting.retain(Waiting::is_usable);
            !waiting.is_empty()
        });
        self.count = self.servers.values().map(Vec::len).sum();
    }
}

/// Closes what waited too long, until nothing waits.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(IDLE_TIMEOUT).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.sweep();
        if idle.count == 0 {
            idle.is_swept = false;
            return;
        }
    }
}

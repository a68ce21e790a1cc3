//! The way out: HTTP requests of agents, as far as their policy lets them. `services` implements it.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;

use crate::quota::Payer;
use crate::{BoxFuture, Policy, TenantName};

/// The body of a request or response on its way. Whoever reads it bounds it.
pub type EgressBody = Pin<Box<dyn Body<Data = Bytes, Error = Box<dyn Error + Send + Sync>> + Send>>;

/// How long a request may take.
#[derive(Debug, Clone, Copy)]
pub struct EgressTimeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until the response's head is there.
    pub first_byte: Duration,
    /// Between two pieces of the body.
    pub between_bytes: Duration,
}

/// Whose a request is.
#[derive(Clone)]
pub struct Sender {
    /// The tenant that owns the agent, and so the secrets.
    pub tenant: TenantName,
    /// The agent's policy, one for all of its instances.
    pub policy: Arc<Policy>,
    /// Who pays, and so whose part of the host's places it is.
    pub payer: Arc<Payer>,
}

/// Why a request went nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The policy refuses it: its method, its URL, or what it has in its head. The text names the rule.
    #[error("{0}")]
    Denied(String),
    /// A rule permits it, and every address that its name leads to is private.
    #[error("{0}")]
    PrivateAddress(String),
    /// A header that its rule adds cannot be made. The text is for the operator alone: it names secrets, and may say
    /// how the host keeps them.
    #[error("{0}")]
    Header(String),
    /// The name has no address.
    #[error("{0}")]
    Resolve(String),
    /// Nobody answers there.
    #[error("{0}")]
    Connect(String),
    /// It took too long.
    #[error("{0}")]
    Timeout(String),
    /// What came back is not HTTP, or too large.
    #[error("{0}")]
    Protocol(String),
}

/// Sends requests. Resolves a name once, checks every address it has, and connects to one of those, so
/// that a name cannot change between the check and the connection.
pub trait Egress: Send + Sync {
    /// Sends one request of an agent and answers with the head of the response. Redirects are the guest's to
    /// follow, and so checked like any request. What the policy adds to the request comes from the secrets of the
    /// agent's tenant, and is kept out of the response.
    ///
    /// # Errors
    /// [`EgressError`].
    fn send(
        &self,
        agent: Sender,
        request: http::Request<EgressBody>,
        timeouts: EgressTimeouts,
    ) -> BoxFuture<'static, Result<http::Response<EgressBody>, EgressError>>;
}

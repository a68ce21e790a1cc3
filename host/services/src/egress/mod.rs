//! The HTTP requests of agents.
//!
//! [`HttpEgress::send`] is the whole path: the policy permits the URL, the request is made fit for the wire
//! ([`request`]), an address is found that may be gone to ([`admits`]), and the response comes back with its body
//! bounded ([`body`]). What bounds it: requests at one time on this host, bytes in both directions, and the
//! caller's timeouts. Nothing of the environment (proxies) and nothing of the response (redirects, upgrades) leads
//! anywhere that was not checked.

mod body;
mod request;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aop_core::egress::{Egress, EgressBody, EgressError, EgressTimeouts};
use aop_core::{BoxFuture, Measure, Policy, Sample};
use http::{Request, Response, StatusCode};

use self::body::{BodyError, ResponseBody};
use crate::network::{self, Network, NetworkError, Owner, Target};
use crate::share::Shares;

/// What bounds the requests of agents.
#[derive(Debug, Clone, Copy)]
pub struct EgressConfig {
    /// Requests at one time, from sending to the end of both bodies. Each may hold a connection and a buffer; 512
    /// leave most of a thousand file descriptors to clients. An agent may have a quarter of them.
    pub requests_max: usize,
    /// The largest body of a request. 64 MiB are as much as an agent's memory holds by default.
    pub request_max_bytes: u64,
    /// The largest body of a response, for the same reason.
    pub response_max_bytes: u64,
}

impl Default for EgressConfig {
    fn default() -> Self {
        Self { requests_max: 512, request_max_bytes: 64 << 20, response_max_bytes: 64 << 20 }
    }
}

/// Sends requests of agents.
pub struct HttpEgress {
    inner: Arc<Inner>,
}

struct Inner {
    network: Network,
    config: EgressConfig,
    shares: Shares<Owner>,
    sent: AtomicU64,
    denied: AtomicU64,
    failed: AtomicU64,
}

impl HttpEgress {
    /// A way out over a network.
    #[must_use]
    pub fn new(network: Network, config: EgressConfig) -> Self {
        let shares = Shares::new(config.requests_max);
        let (sent, denied, failed) = Default::default();
        Self { inner: Arc::new(Inner { network, config, shares, sent, denied, failed }) }
    }
}

impl Inner {
    async fn send(
        &self,
        policy: &Arc<Policy>,
        request: Request<EgressBody>,
        timeouts: EgressTimeouts,
    ) -> Result<Response<EgressBody>, EgressError> {
        policy.permits_request(request.method(), request.uri()).map_err(EgressError::Denied)?;
        let target = Target::of(request.uri()).map_err(EgressError::Denied)?;
        let is_named = is_named(policy, &request, &target);
        let owner = Owner::agent(policy);
        let waiting = tokio::time::timeout(timeouts.connect, self.shares.place(owner.clone()));
        let place = waiting.await.ok().and_then(Result::ok).ok_or_else(|| {
            EgressError::Timeout(format!(
                "the host's {} outgoing requests, or the {} of them that an agent may have, are all in use",
                self.shares.places_max(),
                self.shares.agent_max()
            ))
        })?;
        let place = Arc::new(place);
        let limit = self.config.request_max_bytes;
        let request = request::prepare(request, &target, limit, Arc::clone(&place))?;
        self.sent.fetch_add(1, Ordering::Relaxed);
        let admits = |address| admits(policy, &target, is_named, address);
        let limits = (timeouts.connect, timeouts.first_byte);
        let response = self.network.send(&owner, &target, admits, request, limits).await;
        let mut response = response.map_err(|error| explain(error, &target))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(EgressError::Protocol(
                "the server answered in another protocol".to_owned(),
            ));
        }
        request::remove_hop_by_hop(response.headers_mut());
        let limit = self.config.response_max_bytes;
        Ok(response.map(|body| -> EgressBody {
            Box::pin(ResponseBody::new(body, limit, timeouts.between_bytes, place))
        }))
    }
}

impl Egress for HttpEgress {
    fn send(
        &self,
        policy: Arc<Policy>,
        request: Request<EgressBody>,
        timeouts: EgressTimeouts,
    ) -> BoxFuture<'static, Result<Response<EgressBody>, EgressError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let outcome = inner.send(&policy, request, timeouts).await;
            match &outcome {
                Ok(_) => {}
                Err(EgressError::Denied(_)) => drop(inner.denied.fetch_add(1, Ordering::Relaxed)),
                Err(_) => drop(inner.failed.fetch_add(1, Ordering::Relaxed)),
            }
            outcome
        })
    }
}

/// Whether a rule that permits the request spells out its host, so that an address written there, or
/// `localhost`, is meant.
fn is_named(policy: &Policy, request: &Request<EgressBody>, target: &Target) -> bool {
    let host = request.uri().host().unwrap_or_default();
    let host = host.strip_suffix('.').unwrap_or(host);
    (target.literal().is_some() || target.host == "localhost")
        && policy
            .http
            .iter()
            .any(|rule| rule.permits(request.method(), request.uri()) && rule.names_host(host))
}

/// Whether the policy lets a permitted request go to an address.
fn admits(policy: &Policy, target: &Target, is_named: bool, address: IpAddr) -> bool {
    let canonical = address.to_canonical();
    let is_meant = is_named && (target.literal().is_some() || canonical.is_loopback());
    is_meant
        || network::is_public(address)
        || policy
            .private_networks
            .iter()
            .any(|network| network.contains(&canonical) || network.contains(&address))
}

/// Says it for the guest: neither addresses nor names of the network behind the host.
fn explain(error: NetworkError, target: &Target) -> EgressError {
    match error {
        NetworkError::NoAddress(_) => EgressError::Resolve(error.to_string()),
        NetworkError::Refused(host) => {
            tracing::debug!(host, "a request of an agent led to a private address");
            EgressError::Denied(format!(
                "`{host}` leads to a private address, and no `private_networks` of the agent's policy contains it"
            ))
        }
        NetworkError::Connect { .. } => EgressError::Connect(error.to_string()),
        NetworkError::ConnectTimeout(_) | NetworkError::AnswerTimeout(_) => {
            EgressError::Timeout(error.to_string())
        }
        NetworkError::Http(error) => match BodyError::of(&error) {
            Some(body) => EgressError::Protocol(body.to_string()),
            None => EgressError::Protocol(format!("`{}`: {error}", target.host)),
        },
    }
}

impl Measure for HttpEgress {
    fn measure(&self) -> Vec<Sample> {
        let inner = &self.inner;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            Sample::counter(
                "egress_requests",
                "Requests of agents that were sent",
                read(&inner.sent),
            ),
            Sample::counter(
                "egress_denied",
                "Requests of agents that a policy refused",
                read(&inner.denied),
            ),
            Sample::counter(
                "egress_failed",
                "Requests of agents without a response",
                read(&inner.failed),
            ),
            Sample::counter(
                "egress_connections",
                "Connections opened to servers",
                inner.network.opened(),
            ),
            Sample::gauge(
                "egress_in_flight",
                "Requests of agents between sending and the end of both bodies",
                inner.shares.held() as u64,
            ),
        ]
    }
}

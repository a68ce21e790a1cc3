//! The HTTP requests of agents.
//!
//! [`HttpEgress::send`] is the whole path: the policy permits the URL, the request is made fit for the wire
//! ([`request`]), gets the headers that the policy adds ([`inject`]), an address is found that may be gone to
//! ([`admits`]), and the response comes back with its body bounded ([`body`]) and without those headers' secrets
//! ([`mask`]). What bounds it: requests at one time on this host, bytes in both directions, and the
//! caller's timeouts. Nothing of the environment (proxies) and nothing of the response (redirects, upgrades) leads
//! anywhere that was not checked.

mod body;
mod inject;
mod mask;
mod request;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aop_core::egress::{Egress, EgressBody, EgressError, EgressTimeouts, Sender};
use aop_core::policy::http_grant::HttpLimits;
use aop_core::{BoxFuture, Measure, Policy, Sample, Secrets};
use http::{Request, Response, StatusCode};
use tokio::sync::AcquireError;
use tokio::time::Instant;

use self::body::{BodyError, ResponseBody};
use self::inject::Injected;
use self::mask::Mask;
use crate::network::{self, Network, NetworkError, Owner, Target};
use crate::share::{Place, Places, Portions};

/// What bounds the requests of agents.
#[derive(Debug, Clone, Copy)]
pub struct EgressConfig {
    /// Requests at one time, from sending to the end of both bodies. Each may hold a connection and a buffer; 512
    /// leave most of a thousand file descriptors to clients. An agent may have a quarter of them, and no tenant all.
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
    secrets: Arc<dyn Secrets>,
    config: EgressConfig,
    shares: Portions<Owner>,
    /// By the place of a rule in its policy.
    rules: Places<(Owner, usize)>,
    sent: AtomicU64,
    denied: AtomicU64,
    failed: AtomicU64,
}

impl HttpEgress {
    /// A way out over a network, with the secrets that policies put into headers.
    #[must_use]
    pub fn new(network: Network, secrets: Arc<dyn Secrets>, config: EgressConfig) -> Self {
        let shares = Portions::new(config.requests_max);
        let (rules, sent, denied, failed) = Default::default();
        let inner = Inner { network, secrets, config, shares, rules, sent, denied, failed };
        Self { inner: Arc::new(inner) }
    }
}

impl Inner {
    async fn send(
        &self,
        agent: &Sender,
        request: Request<EgressBody>,
        timeouts: EgressTimeouts,
    ) -> Result<Response<EgressBody>, EgressError> {
        let policy = &agent.policy;
        let permit = policy.permits_request(request.method(), request.uri());
        let (rule, grant) = permit.map_err(EgressError::Denied)?;
        let target = Target::of(request.uri()).map_err(EgressError::Denied)?;
        let is_named = is_named(policy, &request, &target);
        let owner = Owner::agent(policy, agent.payer.party());
        let bounds = Bounds::of(self.config, grant.limits, timeouts);
        let waiting = self.place(&owner, rule, grant.limits);
        let waiting = tokio::time::timeout(bounds.timeouts.connect, waiting).await;
        let place = waiting.ok().and_then(Result::ok);
        let place = Arc::new(place.ok_or_else(|| self.too_many(grant.limits))?);
        let injected = Injected::fetch(&grant.headers, &*self.secrets, &agent.tenant).await?;
        let mask = Mask::of(injected.secrets.clone());
        let request = request::prepare(
            request,
            &target,
            bounds.request_max_bytes,
            Arc::clone(&place),
            injected,
        )?;
        self.sent.fetch_add(1, Ordering::Relaxed);
        let admits = |address| admits(policy, &target, is_named, address);
        let limits = (bounds.timeouts.connect, bounds.timeouts.first_byte);
        let response = self.network.send(&owner, &target, admits, request, limits);
        let response = within(bounds.end, response).await?;
        let mut response = response.map_err(|error| explain(error, &target))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(EgressError::Protocol(
                "the server answered in another protocol".to_owned(),
            ));
        }
        request::remove_hop_by_hop(response.headers_mut());
        if let Some(mask) = &mask {
            mask.cover_headers(response.headers_mut());
        }
        Ok(response.map(|body| -> EgressBody {
            let body = Box::pin(ResponseBody::new(body, &bounds, place));
            match mask {
                Some(mask) => mask.cover_body(body),
                None => body,
            }
        }))
    }

    /// Waits for a place of the host, of the agent, and of the rule where that has few.
    async fn place(
        &self,
        owner: &Owner,
        rule: usize,
        limits: HttpLimits,
    ) -> Result<Place, AcquireError> {
        let of_rule = match limits.connections_max {
            Some(max) => {
                let max = usize::try_from(max).unwrap_or(usize::MAX);
                Some(self.rules.of((owner.clone(), rule), max).acquire_owned().await?)
            }
            None => None,
        };
        Ok(self.shares.place(owner.clone(), owner.party()).await?.with(of_rule))
    }

    fn too_many(&self, limits: HttpLimits) -> EgressError {
        let rule = limits
            .connections_max
            .map(|max| format!(", or the {max} that its rule permits"))
            .unwrap_or_default();
        EgressError::Timeout(format!(
            "the host's {} outgoing requests, its tenant's part of them, or the {} that an agent may have{rule}, are all in use",
            self.shares.places_max(),
            self.shares.agent_max()
        ))
    }
}

/// What bounds one request: the host, its rule, and its guest.
struct Bounds {
    request_max_bytes: u64,
    response_max_bytes: u64,
    timeouts: EgressTimeouts,
    /// When it is over, whatever still comes.
    end: Option<Instant>,
}

impl Bounds {
    fn of(config: EgressConfig, rule: HttpLimits, timeouts: EgressTimeouts) -> Self {
        let least = |host: u64, rule: Option<u64>| rule.map_or(host, |rule| rule.min(host));
        let time = |guest: Duration| rule.timeout.map_or(guest, |rule| rule.min(guest));
        Self {
            request_max_bytes: least(config.request_max_bytes, rule.request_max_bytes),
            response_max_bytes: least(config.response_max_bytes, rule.response_max_bytes),
            timeouts: EgressTimeouts {
                connect: time(timeouts.connect),
                first_byte: time(timeouts.first_byte),
                between_bytes: timeouts.between_bytes,
            },
            end: rule.timeout.map(|timeout| Instant::now() + timeout),
        }
    }
}

async fn within<T>(end: Option<Instant>, work: impl Future<Output = T>) -> Result<T, EgressError> {
    match end {
        None => Ok(work.await),
        Some(end) => tokio::time::timeout_at(end, work).await.map_err(|_| {
            EgressError::Timeout("the request took longer than its rule permits".to_owned())
        }),
    }
}

impl Egress for HttpEgress {
    fn send(
        &self,
        agent: Sender,
        request: Request<EgressBody>,
        timeouts: EgressTimeouts,
    ) -> BoxFuture<'static, Result<Response<EgressBody>, EgressError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let outcome = inner.send(&agent, request, timeouts).await;
            match &outcome {
                Ok(_) => {}
                Err(EgressError::Denied(_) | EgressError::PrivateAddress(_)) => {
                    inner.denied.fetch_add(1, Ordering::Relaxed);
                }
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
        && policy.http.iter().any(|grant| {
            grant.rule.permits(request.method(), request.uri()) && grant.rule.names_host(host)
        })
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
            EgressError::PrivateAddress(format!(
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

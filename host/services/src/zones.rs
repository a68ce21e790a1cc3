//! The way to other zones. Where they are is what signed records say, which bounds who can send this host somewhere,
//! but not where to: so a name is resolved once, an address that is not public is refused unless the operator named its
//! network, nothing is followed, and every answer ends in time and size.

use std::net::IpAddr;
use std::time::Duration;

use aop_core::BoxFuture;
use aop_core::egress::EgressBody;
use aop_core::federation::{ExchangeLimits, TransportError, ZoneTransport};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::sync::Semaphore;

use crate::network::{Network, NetworkError, Owner, Target, is_public};

/// Exchanges with other zones at one time, calls included; each holds a connection and its answer.
const EXCHANGES_MAX: usize = 512;
/// How long a connection may take to stand. Zones are servers, which answer at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What is read of a refusal.
const REFUSAL_MAX_BYTES: usize = 4 << 10;

/// Exchanges messages with other zones.
pub struct Zones {
    network: Network,
    /// Networks that are not public and may be gone to.
    private: Vec<IpNet>,
    places: Semaphore,
}

impl Zones {
    /// A way over a network. `private` are networks besides the public internet where zones may be.
    #[must_use]
    pub fn new(network: Network, private: Vec<IpNet>) -> Self {
        Self { network, private, places: Semaphore::new(EXCHANGES_MAX) }
    }

    fn admits(&self, address: IpAddr) -> bool {
        let canonical = address.to_canonical();
        is_public(address)
            || self
                .private
                .iter()
                .any(|network| network.contains(&canonical) || network.contains(&address))
    }

    async fn send(
        &self,
        request: Request<Bytes>,
        limits: ExchangeLimits,
    ) -> Result<Response<Bytes>, TransportError> {
        let (target, request) = prepared(request)?;
        let Ok(_place) = self.places.try_acquire() else {
            return Err(TransportError::Unreachable(format!(
                "{EXCHANGES_MAX} exchanges with other zones are under way already"
            )));
        };
        let admits = |address| self.admits(address);
        let times = (CONNECT_TIMEOUT.min(limits.time), limits.time);
        let sent = self.network.send(&Owner::HOST, &target, admits, request, times).await;
        let response = sent.map_err(|error| failed(error, &target))?;
        let (head, body) = response.into_parts();
        let body = whole(body, head.headers.get(CONTENT_LENGTH), limits.answer_max_bytes).await?;
        Ok(Response::from_parts(head, body))
    }

    /// Sends a request that asks for another protocol, on a connection of its own, and gives the stream when the other side
    /// agrees. It is bounded by whoever keeps it.
    ///
    /// # Errors
    /// [`TransportError`]; what the other side says against it is in [`TransportError::Broken`].
    pub async fn upgrade(
        &self,
        request: Request<Bytes>,
        time: Duration,
    ) -> Result<TokioIo<Upgraded>, TransportError> {
        let (target, request) = prepared(request)?;
        let admits = |address| self.admits(address);
        let times = (CONNECT_TIMEOUT.min(time), time);
        let upgrading = async {
            let sent = self.network.send_alone(&Owner::HOST, &target, admits, request, times).await;
            let response = sent.map_err(|error| failed(error, &target))?;
            let status = response.status();
            if status != StatusCode::SWITCHING_PROTOCOLS {
                let said = whole(response.into_body(), None, REFUSAL_MAX_BYTES).await?;
                let said = serde_json::from_slice::<serde_json::Value>(&said).unwrap_or_default();
                let said = said["message"].as_str().unwrap_or("it does not say why");
                return Err(TransportError::Broken(format!("it answers with {status}: {said}")));
            }
            let upgraded = hyper::upgrade::on(response).await;
            upgraded.map(TokioIo::new).map_err(|error| TransportError::Broken(error.to_string()))
        };
        let late = |_| TransportError::Broken("no answer in time".to_owned());
        tokio::time::timeout(time, upgrading).await.map_err(late)?
    }
}

/// A request as it is sent, and where to.
fn prepared(request: Request<Bytes>) -> Result<(Target, Request<EgressBody>), TransportError> {
    let refused = |reason: &dyn std::fmt::Display| TransportError::Refused(reason.to_string());
    let target = Target::of(request.uri()).map_err(|reason| refused(&reason))?;
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let path = Uri::try_from(path).map_err(|error| refused(&error))?;
    let host = HeaderValue::try_from(target.host_header()).map_err(|error| refused(&error))?;
    let mut request = request
        .map(|body| -> EgressBody { Box::pin(Full::new(body).map_err(|never| match never {})) });
    *request.uri_mut() = path;
    request.headers_mut().insert(HOST, host);
    Ok((target, request))
}

fn failed(error: NetworkError, target: &Target) -> TransportError {
    match error {
        NetworkError::Refused(_) => TransportError::Refused(format!(
            "`{}` is not on the public internet: name its network in `[zone] private_networks` if it may be gone to",
            target.host
        )),
        NetworkError::NoAddress(_)
        | NetworkError::Connect { .. }
        | NetworkError::ConnectTimeout(_) => TransportError::Unreachable(error.to_string()),
        NetworkError::AnswerTimeout(_) | NetworkError::Http(_) => {
            TransportError::Broken(error.to_string())
        }
    }
}

/// Reads a body to its end, or to the byte that is one too many.
async fn whole(
    mut body: Incoming,
    announced: Option<&HeaderValue>,
    max_bytes: usize,
) -> Result<Bytes, TransportError> {
    let too_large =
        || TransportError::TooLarge(format!("the answer is larger than {max_bytes} bytes"));
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.or(body.size_hint().exact()).is_some_and(|length| length > max_bytes as u64) {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| TransportError::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > max_bytes {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

impl ZoneTransport for Zones {
    fn exchange(
        &self,
        request: Request<Bytes>,
        limits: ExchangeLimits,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        Box::pin(async move {
            match tokio::time::timeout(limits.time, self.send(request, limits)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(TransportError::Broken("no answer in time".to_owned())),
            }
        })
    }
}

#[cfg(test)]
mod tests;

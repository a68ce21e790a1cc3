//! The ways to other zones: over the network to where their records say, or through the connection that a zone below keeps.

use std::sync::Arc;

use aop_core::federation::{ExchangeLimits, TransportError, ZoneTransport};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};

use super::attached::{Attached, From};
use super::authority::Authority;
use super::below;
use super::name::ZoneName;
use super::wire;
use crate::http2::SendError;

/// See the module's documentation.
pub struct Ways {
    authority: Arc<Authority>,
    network: Arc<dyn ZoneTransport>,
    pub(super) attached: Arc<Attached>,
}

impl Ways {
    pub(super) fn new(authority: Arc<Authority>, network: Arc<dyn ZoneTransport>) -> Arc<Self> {
        let attached = Arc::new(Attached::new(authority.now_s()));
        Arc::new(Self { authority, network, attached })
    }

    /// Sends a request to a zone and reads its answer to the end; dropping the future ends what was begun there. The zone
    /// and not the URL decides whose connection it takes: a record of another one leads nowhere near it.
    ///
    /// # Errors
    /// [`TransportError`].
    pub(super) async fn exchange(
        &self,
        zone: &ZoneName,
        request: Request<Bytes>,
        limits: ExchangeLimits,
    ) -> Result<Response<Bytes>, TransportError> {
        let book = self.authority.book();
        let child = book.attaching(zone).and_then(|(child, peer)| {
            let rest = below::rest(request.uri().path(), child)?;
            Some((child, peer, format!("http://{child}{rest}")))
        });
        let Some((child, peer, uri)) = child else {
            return self.network.exchange(request, limits).await;
        };
        if self.attached.count(child) == 0 {
            return self.by_another_node(child, request, limits).await;
        }
        let uri = Uri::try_from(uri).map_err(|error| TransportError::Refused(error.to_string()))?;
        let mut request = request.map(Full::new);
        *request.uri_mut() = uri;
        let exchanging = async {
            let passing = self.attached.send(child, peer, From::This, request).await;
            let passing = passing.map_err(|error| match error {
                SendError::NotSent(reason) => TransportError::Unreachable(reason),
                SendError::Full => TransportError::Unreachable(format!(
                    "too much is under way on the connection of {child}"
                )),
                SendError::Lost(reason) => TransportError::Broken(reason),
            })?;
            let (head, body) = passing.response.into_parts();
            let body = Limited::new(body, limits.answer_max_bytes).collect().await;
            let body = body.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    let max_bytes = limits.answer_max_bytes;
                    return TransportError::TooLarge(format!(
                        "the answer is larger than {max_bytes} bytes"
                    ));
                }
                TransportError::Broken(error.to_string())
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        let late = |_| TransportError::Broken("no answer in time".to_owned());
        tokio::time::timeout(limits.time, exchanging).await.map_err(late)?
    }

    /// A child has no connection to this node: another node of this zone may have one, where the URL leads. What is not
    /// this protocol's own refusal may come from something in between, after the request went through.
    async fn by_another_node(
        &self,
        child: &ZoneName,
        request: Request<Bytes>,
        limits: ExchangeLimits,
    ) -> Result<Response<Bytes>, TransportError> {
        let none = |also: &dyn std::fmt::Display| {
            let message =
                format!("{child} keeps no connection to this node now; by its URL: {also}");
            TransportError::Unreachable(message)
        };
        match self.network.exchange(request, limits).await {
            Ok(answer)
                if answer.status() == StatusCode::SERVICE_UNAVAILABLE
                    && wire::is_refusal(answer.body()) =>
            {
                Err(none(&answer.status()))
            }
            Err(TransportError::Unreachable(reason) | TransportError::Refused(reason)) => {
                Err(none(&reason))
            }
            outcome => outcome,
        }
    }
}

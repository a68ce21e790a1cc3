//! How `rig-core` reaches a provider: over the host's own connections, with every wait and every answer bounded.

use std::fmt;
use std::time::Duration;

use aop_core::egress::EgressBody;
use bytes::{Bytes, BytesMut};
use futures::stream;
use http::header::{HOST, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use rig_core::http_client::{
    BoxedStream, Error, HttpClientExt, LazyBody, MultipartForm, Result, StreamingResponse,
};

use super::{ModelConfig, mend};
use crate::network::{Network, NetworkError, Owner, Target};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransportError {
    /// Nothing was sent.
    #[error("{0}")]
    Connect(String),
    #[error("{0}")]
    Broken(String),
    /// Nothing was sent: completions are asked for in JSON.
    #[error("the host sends it no forms")]
    Form,
    #[error("it did not answer in time")]
    Late,
    #[error("its answer is larger than {0} bytes")]
    TooLarge(u64),
}

#[derive(Clone)]
pub(super) struct Transport {
    network: Network,
    connect: Duration,
    answer: Duration,
    silence: Duration,
    max_bytes: u64,
}

impl Transport {
    pub(super) fn new(network: Network, config: &ModelConfig) -> Self {
        Self {
            network,
            connect: config.connect_timeout,
            answer: config.answer_timeout,
            silence: config.silence_timeout,
            max_bytes: config.answer_max_bytes,
        }
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Answer>> {
        let broken =
            |error: &dyn fmt::Display| Error::instance(TransportError::Broken(error.to_string()));
        let target = Target::of(request.uri()).map_err(|reason| broken(&reason))?;
        let mut request = request.map(|body| -> EgressBody {
            Box::pin(Full::new(body).map_err(|never| match never {}))
        });
        let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        *request.uri_mut() = Uri::try_from(path).map_err(|error| broken(&error))?;
        let host = HeaderValue::try_from(target.host_header()).map_err(|error| broken(&error))?;
        request.headers_mut().insert(HOST, host);
        // The operator chose the server, so it may be anywhere.
        let response = self
            .network
            .send(&Owner::HOST, &target, |_| true, request, (self.connect, self.answer))
            .await;
        let response = response.map_err(|error| {
            Error::instance(match error {
                NetworkError::AnswerTimeout(_) => TransportError::Late,
                NetworkError::Http(error) => TransportError::Broken(error.to_string()),
                unreached => TransportError::Connect(unreached.to_string()),
            })
        })?;
        let (silence, max_bytes) = (self.silence, self.max_bytes);
        Ok(response.map(|body| Answer { body, silence, left_bytes: max_bytes, max_bytes }))
    }
}

/// The body of an answer.
struct Answer {
    body: Incoming,
    silence: Duration,
    left_bytes: u64,
    max_bytes: u64,
}

impl Answer {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let frame = tokio::time::timeout(self.silence, self.body.frame()).await;
            let Some(frame) = frame.map_err(|_| Error::instance(TransportError::Late))? else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| {
                Error::instance(TransportError::Broken(format!("its answer broke off: {error}")))
            })?;
            // Trailers say nothing that is read.
            let Ok(data) = frame.into_data() else { continue };
            let left = self.left_bytes.checked_sub(data.len() as u64);
            self.left_bytes =
                left.ok_or_else(|| Error::instance(TransportError::TooLarge(self.max_bytes)))?;
            return Ok(Some(data));
        }
    }

    async fn whole(mut self) -> Result<Bytes> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    fn stream(self) -> BoxedStream {
        Box::pin(stream::try_unfold(self, async |mut answer: Self| {
            Ok(answer.next().await?.map(|piece| (piece, answer)))
        }))
    }

    fn mended_stream(self) -> BoxedStream {
        let begun = Some((self, mend::Lines::default()));
        Box::pin(stream::try_unfold(begun, async |begun| {
            let Some((mut answer, mut lines)) = begun else { return Ok(None) };
            loop {
                let Some(piece) = answer.next().await? else {
                    return Ok(Some((lines.end(), None)));
                };
                let mended = lines.push(&piece);
                if !mended.is_empty() {
                    return Ok(Some((mended, Some((answer, lines)))));
                }
            }
        }))
    }
}

/// Whether an answer will be in the format that [`mend`] knows.
fn is_chat(uri: &Uri) -> bool {
    uri.path().ends_with("/chat/completions")
}

impl HttpClientExt for Transport {
    fn send<T, U>(
        &self,
        request: Request<T>,
    ) -> impl Future<Output = Result<Response<LazyBody<U>>>> + Send + 'static
    where
        T: Into<Bytes> + Send,
        U: From<Bytes> + Send + 'static,
    {
        let (transport, request) = (self.clone(), request.map(Into::into));
        async move {
            let is_chat = is_chat(request.uri());
            let response = transport.exchange(request).await?;
            let mends = is_chat && response.status().is_success();
            Ok(response.map(|answer| -> LazyBody<U> {
                Box::pin(async move {
                    let body = answer.whole().await?;
                    Ok(U::from(if mends { mend::whole(body) } else { body }))
                })
            }))
        }
    }

    fn send_multipart<U>(
        &self,
        _: Request<MultipartForm>,
    ) -> impl Future<Output = Result<Response<LazyBody<U>>>> + Send + 'static
    where
        U: From<Bytes> + Send + 'static,
    {
        std::future::ready(Err(Error::instance(TransportError::Form)))
    }

    async fn send_streaming<T>(&self, request: Request<T>) -> Result<StreamingResponse>
    where
        T: Into<Bytes> + Send,
    {
        let is_chat = is_chat(request.uri());
        let response = self.exchange(request.map(Into::into)).await?;
        let mends = is_chat && response.status().is_success();
        Ok(response.map(|answer| if mends { answer.mended_stream() } else { answer.stream() }))
    }
}

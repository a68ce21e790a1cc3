//! A transport that answers from a list.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, Request, Response};
use rig_core::http_client::{
    Error, HttpClientExt, LazyBody, MultipartForm, Result, StreamingResponse,
};
use tracing_subscriber::fmt::MakeWriter;

use super::super::transport::TransportError;

#[derive(Clone)]
pub(super) enum Reply {
    Answer { status: u16, headers: HeaderMap, body: String },
    Fails(fn() -> TransportError),
    Never,
}

impl Reply {
    pub(super) fn json(status: u16, body: &str) -> Self {
        let headers = HeaderMap::from_iter([(
            http::header::CONTENT_TYPE,
            "application/json".parse().unwrap(),
        )]);
        Self::Answer { status, headers, body: body.to_owned() }
    }

    pub(super) fn events(body: &str) -> Self {
        Self::json(200, body).with("content-type", "text/event-stream")
    }

    /// A completion of text.
    pub(super) fn said(text: &str) -> Self {
        let message = serde_json::json!({"role": "assistant", "content": text});
        let choice = serde_json::json!({"index": 0, "message": message, "finish_reason": "stop"});
        let body = serde_json::json!({
            "id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]
        });
        Self::json(200, &body.to_string())
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.insert(name, value.parse().unwrap());
        }
        self
    }
}

/// A request as it was sent.
#[derive(Clone)]
pub(super) struct Sent {
    pub(super) uri: String,
    pub(super) headers: HeaderMap,
    pub(super) body: serde_json::Value,
}

#[derive(Clone)]
pub(super) struct Script(Arc<Mutex<(VecDeque<Reply>, Vec<Sent>)>>);

impl Script {
    pub(super) fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self(Arc::new(Mutex::new((replies.into_iter().collect(), Vec::new()))))
    }

    pub(super) fn requests(&self) -> Vec<Sent> {
        self.0.lock().unwrap().1.clone()
    }

    async fn answer(&self, request: Request<Bytes>) -> Result<Response<Bytes>> {
        let reply = {
            let mut script = self.0.lock().unwrap();
            let (head, body) = request.into_parts();
            let body = serde_json::from_slice(&body).unwrap();
            script.1.push(Sent { uri: head.uri.to_string(), headers: head.headers, body });
            script.0.pop_front().expect("a request that no test expects")
        };
        match reply {
            Reply::Answer { status, headers, body } => {
                let mut response = Response::new(Bytes::from(body));
                *response.status_mut() = status.try_into().unwrap();
                *response.headers_mut() = headers;
                Ok(response)
            }
            Reply::Fails(error) => Err(Error::instance(error())),
            Reply::Never => std::future::pending().await,
        }
    }
}

impl HttpClientExt for Script {
    fn send<T, U>(
        &self,
        request: Request<T>,
    ) -> impl Future<Output = Result<Response<LazyBody<U>>>> + Send + 'static
    where
        T: Into<Bytes> + Send,
        U: From<Bytes> + Send + 'static,
    {
        let (script, request) = (self.clone(), request.map(Into::into));
        async move {
            let response = script.answer(request).await?;
            Ok(response.map(|body| -> LazyBody<U> { Box::pin(async move { Ok(U::from(body)) }) }))
        }
    }

    fn send_multipart<U>(
        &self,
        _: Request<MultipartForm>,
    ) -> impl Future<Output = Result<Response<LazyBody<U>>>> + Send + 'static
    where
        U: From<Bytes> + Send + 'static,
    {
        std::future::ready(Err(Error::NoHeaders))
    }

    async fn send_streaming<T>(&self, request: Request<T>) -> Result<StreamingResponse>
    where
        T: Into<Bytes> + Send,
    {
        let response = self.answer(request.map(Into::into)).await?;
        // Pieces that break wherever they like.
        Ok(response.map(|body| -> rig_core::http_client::BoxedStream {
            let pieces: Vec<_> = body.chunks(7).map(Bytes::copy_from_slice).collect();
            Box::pin(stream::iter(pieces).map(Ok))
        }))
    }
}

/// What was logged.
#[derive(Clone, Default)]
pub(super) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

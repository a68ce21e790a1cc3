//! The calling side of one HTTP/2 connection.
//!
//! hyper's client puts a task in front of its connection and another one behind each request, so that a call changes
//! tasks, and on an idle host threads, six times. Here whoever calls queues its frames itself and is woken by whoever
//! drives the connection: two tasks, one of which is the caller's. A call to a node on the same machine takes a quarter less.
//!
//! What bounds it: the streams that its user lets begin, the windows, the size of headers, and how long the other side may
//! be silent while something is under way.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use hyper::body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Bytes that one answer, and all answers of a connection, may be ahead of their reader.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Headers of one answer.
const HEADERS_MAX_BYTES: u32 = 16 << 10;
/// How often the other side is asked whether it lives while something is under way, and how long it may take to say so.
const ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection. Dropping it ends every stream of it.
pub(crate) struct Http2 {
    sender: SendRequest<Bytes>,
    streams: Arc<AtomicUsize>,
    reads: Arc<AtomicU64>,
    _end: DropGuard,
}

/// Why a request got no answer.
#[derive(Debug)]
pub(crate) enum SendError {
    /// It never left, or was refused unread: nothing ran.
    NotSent(String),
    /// There are as many under way as may be.
    Full,
    /// The connection broke after it left: it may have run.
    Lost(String),
}

/// The place of one request among the streams of a connection, taken before it is sent.
pub(crate) struct Opening {
    sender: SendRequest<Bytes>,
    stream: Stream,
    reads: Arc<AtomicU64>,
}

/// An answer that is being read, and its place among the streams.
pub(crate) struct Exchange {
    pub(crate) response: Response<Incoming>,
    pub(crate) stream: Stream,
}

/// One stream of a connection.
pub(crate) struct Stream(Arc<AtomicUsize>);

impl Stream {
    /// Counts one more.
    pub(crate) fn begin(streams: &Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(streams))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Http2 {
    /// Begins to talk on a connection that was just opened. `to` is for the log.
    ///
    /// # Errors
    /// When the other side does not speak HTTP/2.
    pub(crate) async fn begin<Io>(io: Io, streams_max: usize, to: String) -> Result<Self, h2::Error>
    where
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, mut connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_max_send_streams(streams_max)
            .max_header_list_size(HEADERS_MAX_BYTES)
            .enable_push(false)
            .handshake(io)
            .await?;
        let pings = connection.ping_pong();
        let (streams, reads) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        let silence = until_silent(pings, Arc::clone(&streams), Arc::clone(&reads));
        let end = CancellationToken::new();
        let ended = end.clone();
        tokio::spawn(ended.run_until_cancelled_owned(async move {
            let reason = tokio::select! {
                ended = connection => ended.err().map(|error| error.to_string()),
                () = silence => Some("it fell silent".to_owned()),
            };
            if let Some(reason) = reason {
                tracing::debug!(to, reason, "an HTTP/2 connection ended");
            }
        }));
        Ok(Self { sender, streams, reads, _end: end.drop_guard() })
    }

    /// Whether another stream can begin: it is neither broken nor does the other side want no more. Streams that are under way
    /// may still come to their end.
    pub(crate) fn is_open(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        !matches!(self.sender.poll_ready(&mut nobody), Poll::Ready(Err(_)))
    }

    /// Streams under way.
    pub(crate) fn under_way(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// A place for one more.
    pub(crate) fn open(&self) -> Opening {
        Opening {
            sender: self.sender.clone(),
            stream: Stream::begin(&self.streams),
            reads: Arc::clone(&self.reads),
        }
    }
}

impl Opening {
    /// Sends a request. Dropping the future, or the answer, resets the stream, which stops what runs there.
    pub(crate) async fn send(self, request: Request<Bytes>) -> Result<Exchange, SendError> {
        let Self { sender, stream, reads } = self;
        let not_sent = |error: h2::Error| SendError::NotSent(error.to_string());
        let (mut parts, body) = request.into_parts();
        if !body.is_empty() {
            parts.headers.insert(CONTENT_LENGTH, body.len().into());
        }
        let head = Request::from_parts(parts, ());
        let mut sender = sender.ready().await.map_err(not_sent)?;
        let (answer, mut sending) = sender.send_request(head, body.is_empty()).map_err(not_sent)?;
        if !body.is_empty() {
            // It is in memory anyway: the connection takes it as the other side has room.
            sending.send_data(body, true).map_err(not_sent)?;
        }
        match answer.await {
            Ok(response) => {
                reads.fetch_add(1, Ordering::Relaxed);
                let response = response.map(|body| Incoming { body, reads });
                Ok(Exchange { response, stream })
            }
            Err(error) if was_refused(&error) => Err(not_sent(error)),
            Err(error) => Err(SendError::Lost(error.to_string())),
        }
    }
}

/// Whether the other side says that it did not process the stream (RFC 9113, sections 6.8 and 8.7).
pub(crate) fn was_refused(error: &h2::Error) -> bool {
    error.reason() == Some(Reason::REFUSED_STREAM)
        || (error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR))
}

/// Resolves when something is under way and the other side does not say that it lives. What is read of its answers says so,
/// too: its word may wait behind megabytes of them.
async fn until_silent(pings: Option<PingPong>, under_way: Arc<AtomicUsize>, reads: Arc<AtomicU64>) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    let mut seen = 0;
    let mut has_read = || {
        let now = reads.load(Ordering::Relaxed);
        std::mem::replace(&mut seen, now) != now
    };
    loop {
        tokio::time::sleep(ALIVE_INTERVAL).await;
        if has_read() || under_way.load(Ordering::Relaxed) == 0 {
            continue;
        }
        if pings.send_ping(Ping::opaque()).is_err() {
            return;
        }
        loop {
            let pong = std::future::poll_fn(|cx| pings.poll_pong(cx));
            match tokio::time::timeout(ALIVE_TIMEOUT, pong).await {
                Ok(Ok(_)) => break,
                Err(_) if has_read() => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }
}

/// The body of an answer. What was read makes room for more.
pub(crate) struct Incoming {
    body: RecvStream,
    reads: Arc<AtomicU64>,
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let data = match ready!(self.body.poll_data(cx)) {
            Some(Ok(data)) => data,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(None),
        };
        self.reads.fetch_add(1, Ordering::Relaxed);
        let released = self.body.flow_control().release_capacity(data.len());
        Poll::Ready(Some(released.map(|()| Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests;

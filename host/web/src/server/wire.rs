//! The socket under a connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;

use super::clock::{Clock, Stall, Stalled};

/// How long a closed connection still discards what the client sends. Closing a socket with unread
/// data resets it, and the client may then never see the 413 or 431 that it was closed for.
const LINGER: Duration = Duration::from_secs(2);
/// What is discarded at a time.
const DISCARD_BYTES: usize = 4096;

/// A socket that gives up on a client that reads nothing, or next to it, and closes without losing the last answer.
pub(super) struct Wire<Io> {
    io: Io,
    stall: Stall,
    clock: Arc<Clock>,
    draining: watch::Receiver<bool>,
    /// The client has closed its side.
    ended: bool,
    /// Until when to discard what still comes in; none before the connection is closed.
    linger_until: Option<Instant>,
}

impl<Io> Wire<Io> {
    pub(super) fn new(
        io: Io,
        stall: Stall,
        clock: Arc<Clock>,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self { io, stall, clock, draining, ended: false, linger_until: None }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Wire<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        self.ended = buffer.filled().len() == before;
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.stall.check(poll, written).map(flatten)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write_vectored(cx, buffers);
        self.stall.check(poll, written).map(flatten)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let until = if let Some(until) = self.linger_until {
            until
        } else {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            let until = self.clock.now() + LINGER;
            *self.linger_until.insert(until)
        };
        // A draining server closes idle connections, whose clients have nothing left to send.
        while !self.ended && !*self.draining.borrow() && self.clock.now() < until {
            let mut bytes = [0; DISCARD_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            if ready!(self.as_mut().poll_read(cx, &mut buffer)).is_err() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn written(result: &io::Result<usize>) -> usize {
    result.as_ref().map_or(0, |bytes| *bytes)
}

fn flatten<T>(result: Result<io::Result<T>, Stalled>) -> io::Result<T> {
    result.unwrap_or_else(|stalled| Err(io::Error::new(io::ErrorKind::TimedOut, stalled)))
}

/// Tells a client that came too many why it is not served, and waits until it has gone.
pub(super) async fn refuse<Io: AsyncRead + AsyncWrite + Unpin>(mut io: Io) -> io::Result<()> {
    const BODY: &str = r#"{"code":"resource_exhausted","message":"this host has too many connections open: try again"}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    io.write_all(answer.as_bytes()).await?;
    io.shutdown().await?;
    let mut discarded = [0; DISCARD_BYTES];
    while io.read(&mut discarded).await? > 0 {}
    Ok(())
}

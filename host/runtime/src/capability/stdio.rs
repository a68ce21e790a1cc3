//! Standard output and error of a guest: lines into the host's log.
//!
//! A sink that fills up and closes makes `println!` in the guest panic, so this one never closes: it
//! takes everything, cuts over-long lines, and leaves the rate to the log.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use aop_core::GuestLevel;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::state::Voice;

/// Longest line that is kept. The rest of a longer one is dropped.
pub(crate) const LINE_MAX_BYTES: usize = 8 << 10;
/// What a guest may hand over in one write; wasi-libc writes 4 KiB at a time.
const WRITE_MAX_BYTES: usize = 64 << 10;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A standard stream of one instance. Clones share the line that is being written.
#[derive(Clone)]
pub(crate) struct GuestOutput {
    voice: Arc<Voice>,
    stream: Stream,
    line: Arc<Mutex<Line>>,
}

/// A line that has not ended yet.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
}

impl GuestOutput {
    pub(crate) fn new(voice: Arc<Voice>, stream: Stream) -> Self {
        Self { voice, stream, line: Arc::default() }
    }

    fn take(&self, bytes: &[u8]) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        // `split` yields at least one piece; every further one means that a line ended before it.
        if let Some(first) = pieces.next() {
            line.push(first);
        }
        for piece in pieces {
            self.say(&mut line);
            line.push(piece);
        }
    }

    /// Says the line that is being written, if there is one.
    pub(crate) fn end_line(&self) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if !line.bytes.is_empty() {
            self.say(&mut line);
        }
    }

    fn say(&self, line: &mut Line) {
        let (context, level) = match self.stream {
            Stream::Stdout => ("stdout", GuestLevel::Info),
            Stream::Stderr => ("stderr", GuestLevel::Warn),
        };
        let text = String::from_utf8_lossy(&line.bytes);
        let text = text.trim_end_matches('\r');
        if !text.is_empty() {
            self.voice.say(context, level, text);
        }
        line.bytes.clear();
    }
}

impl Line {
    fn push(&mut self, bytes: &[u8]) {
        let room = LINE_MAX_BYTES.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Drop for GuestOutput {
    /// A last line without an end is still said, by whoever of the clones goes last.
    fn drop(&mut self) {
        if Arc::strong_count(&self.line) == 1 {
            self.end_line();
        }
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_MAX_BYTES)
    }
}

impl AsyncWrite for GuestOutput {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

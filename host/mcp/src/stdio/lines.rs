//! Lines of bounded length from a stream.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;

/// Cuts a stream into lines without ever holding more than one line and one read.
pub(super) struct Lines<R> {
    input: R,
    buffer: BytesMut,
    /// Bytes of the buffer that hold no line end.
    searched: usize,
    length_max: usize,
    /// The rest of a line that was too long is on its way.
    discarding: bool,
}

/// What comes next in a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line that is not empty, without its end.
    Message(Bytes),
    /// A line was longer than allowed, and was dropped.
    TooLong,
    /// The stream ended. What came after the last line end is no message.
    End,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(input: R, length_max: usize) -> Self {
        Self { input, buffer: BytesMut::new(), searched: 0, length_max, discarding: false }
    }

    /// The next line.
    pub(super) async fn next(&mut self) -> std::io::Result<Line> {
        loop {
            let fresh = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + end + 1).freeze();
                self.searched = 0;
                if std::mem::take(&mut self.discarding) {
                    continue;
                }
                let line = trimmed(&line);
                if line.len() > self.length_max {
                    return Ok(Line::TooLong);
                }
                if !line.is_empty() {
                    return Ok(Line::Message(line));
                }
                continue;
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > self.length_max {
                self.buffer.clear();
                self.searched = 0;
                if !std::mem::replace(&mut self.discarding, true) {
                    return Ok(Line::TooLong);
                }
            }
            self.buffer.reserve(READ_BYTES);
            if self.input.read_buf(&mut self.buffer).await? == 0 {
                return Ok(Line::End);
            }
        }
    }
}

/// Without line end, surrounding blanks and the mark that some programs put before UTF-8.
fn trimmed(line: &Bytes) -> Bytes {
    let text = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line).trim_ascii();
    line.slice_ref(text)
}

#[cfg(test)]
mod tests;

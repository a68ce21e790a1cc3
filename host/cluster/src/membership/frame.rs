//! Messages on a stream between nodes: four bytes of length, then the message. Small on purpose: what
//! is inside is JSON, gossip, or the bytes of a document, each with a limit of its own.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The most bytes of a question or its answer: a certificate request and a token fit many times.
pub(crate) const MESSAGE_MAX_BYTES: usize = 16 << 10;

/// Writes one message.
pub(crate) async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"))?;
    // One write, so that a small message is one packet.
    let mut message = Vec::with_capacity(4 + bytes.len());
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(bytes);
    stream.write_all(&message).await?;
    stream.flush().await
}

/// Reads one message of at most `max` bytes; none at a clean end.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    max: usize,
) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u32().await {
        Ok(length) => length as usize,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > max {
        let message = format!("a message of {length} bytes, where at most {max} are allowed");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    // Grows with what really arrives, not with what was announced.
    let mut bytes = Vec::new();
    let wanted = length as u64;
    if (&mut *stream).take(wanted).read_to_end(&mut bytes).await? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(bytes))
}

/// Writes a value as JSON.
pub(crate) async fn write_json(
    stream: &mut (impl AsyncWrite + Unpin),
    value: &impl Serialize,
) -> io::Result<()> {
    write(stream, &serde_json::to_vec(value)?).await
}

/// Reads a value as JSON; none at a clean end.
pub(crate) async fn read_json<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    match read(stream, MESSAGE_MAX_BYTES).await? {
        Some(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_cross_and_long_ones_are_refused_unread() {
        let (mut here, mut there) = tokio::io::duplex(1 << 20);
        write(&mut here, b"one").await.unwrap();
        write(&mut here, b"").await.unwrap();
        write(&mut here, &[7; 101]).await.unwrap();
        assert_eq!(read(&mut there, 100).await.unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(read(&mut there, 100).await.unwrap().as_deref(), Some(&b""[..]));
        let error = read(&mut there, 100).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_stream_may_end_between_messages_and_not_within_one() {
        let (mut here, mut there) = tokio::io::duplex(64);
        here.write_all(&[0, 0, 0, 9, 1, 2]).await.unwrap();
        drop(here);
        let error = read(&mut there, 100).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(read(&mut there, 100).await.unwrap().is_none());
    }
}

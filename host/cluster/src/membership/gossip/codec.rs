//! Gossip on a stream: chitchat's own messages, each compressed against an earlier one.
//!
//! A digest names every member, 70 bytes each, and most of it is what the last one said: at 100
//! nodes, compressing against that takes 7 kB to a few hundred bytes. The stream is ordered and whole
//! (TLS over TCP), so both ends always remember the same message: the last one that was not much
//! shorter than the one before, because short ones are no help to the digest that follows.

use std::io;

use chitchat::{ChitchatMessage, Deserializable as _, Serializable as _};
use zstd::bulk::{Compressor, Decompressor};

/// The most bytes of a message: chitchat fills datagrams, and never more than UDP carries.
pub(crate) const MESSAGE_MAX_BYTES: usize = 65_507;
/// The most bytes of a compressed one: noise grows a little.
pub(crate) const FRAME_MAX_BYTES: usize = MESSAGE_MAX_BYTES + 1024;
/// zstd's own default.
const LEVEL: i32 = 3;

/// One end of a stream.
#[derive(Debug, Default)]
pub(crate) struct Codec {
    last: Vec<u8>,
}

impl Codec {
    /// A message as it travels.
    pub(crate) fn encode(&mut self, message: Vec<u8>) -> io::Result<Vec<u8>> {
        let frame = Compressor::with_dictionary(LEVEL, &self.last)?.compress(&message)?;
        self.remember(message);
        Ok(frame)
    }

    fn remember(&mut self, message: Vec<u8>) {
        if message.len() >= self.last.len() / 2 {
            self.last = message;
        }
    }

    /// The message in a frame.
    pub(crate) fn decode(&mut self, frame: &[u8]) -> io::Result<ChitchatMessage> {
        let message =
            Decompressor::with_dictionary(&self.last)?.decompress(frame, MESSAGE_MAX_BYTES)?;
        let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{error}"));
        let mut rest = message.as_slice();
        let read = ChitchatMessage::deserialize(&mut rest).map_err(malformed)?;
        self.remember(message);
        Ok(read)
    }
}

/// A message as bytes; none when it is longer than messages may be.
pub(crate) fn bytes_of(message: &ChitchatMessage) -> Option<Vec<u8>> {
    let bytes = message.serialize_to_vec();
    (bytes.len() <= MESSAGE_MAX_BYTES).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn noise_never_panics_and_never_grows_beyond_its_bound(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..5)
        ) {
            let mut codec = Codec::default();
            for frame in frames {
                // Almost always an error; what matters is that it is nothing worse.
                let _ = codec.decode(&frame);
            }
        }
    }

    #[test]
    fn messages_cross_one_after_another() {
        let (mut here, mut there) = (Codec::default(), Codec::default());
        for _ in 0..3 {
            let bytes = bytes_of(&ChitchatMessage::BadCluster).unwrap();
            let frame = here.encode(bytes).unwrap();
            assert_eq!(there.decode(&frame).unwrap(), ChitchatMessage::BadCluster);
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 10 << 20], 1).unwrap();
        assert!(bomb.len() < 4096);
        assert!(Codec::default().decode(&bomb).is_err());
    }
}

//! Handles: how a caller holds a resource that lives in an instance of an agent.
//!
//! A handle is random, not sealed: what it leads to is in the memory of one node and nowhere else, so there is
//! nothing a seal could carry, no key to keep or rotate, and one that leads nowhere any more looks exactly like
//! one that was never given out. The node's id stands in it in clear, because another node of the zone has to know
//! where to forward a call before anybody looks the handle up; changing it leads to a node that knows nothing of
//! the rest.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::NodeId;

/// The format of this release. Another one would begin with another byte.
const FORMAT: u8 = 1;
const PART_BYTES: usize = size_of::<u128>();
const HANDLE_BYTES: usize = 1 + 2 * PART_BYTES;

/// A resource in a live instance of an agent, as its caller holds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    /// The host in which the instance lives: [`NodeId::in_handles`] of one in a zone, else random and the process's.
    pub node: Uuid,
    /// 128 random bits: whoever knows them and is the owner may use the resource.
    pub secret: u128,
}

impl Handle {
    /// Characters of a handle: 33 bytes are 44 of base64, without padding or spare bits, so that each handle has
    /// one spelling.
    pub const LENGTH: usize = HANDLE_BYTES / 3 * 4;
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [FORMAT; HANDLE_BYTES];
        bytes[1..=PART_BYTES].copy_from_slice(self.node.as_bytes());
        bytes[1 + PART_BYTES..].copy_from_slice(&self.secret.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl NodeId {
    /// The node as it stands in handles: the bytes of its id, and zeros.
    #[must_use]
    pub fn in_handles(&self) -> Uuid {
        // The id is as many hexadecimal digits as it says, so it always reads.
        let id = u128::from_str_radix(self.as_str(), 16).unwrap_or_default();
        Uuid::from_u128(id << (u128::BITS as usize - 4 * Self::LENGTH))
    }
}

/// Without the secret, which would open the resource to whoever reads a log.
impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("node", &self.node).finish_non_exhaustive()
    }
}

/// A text is no handle. It says nothing more: a caller learns the same of one that is expired, or another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a handle")]
pub struct NoHandle;

impl FromStr for Handle {
    type Err = NoHandle;

    fn from_str(text: &str) -> Result<Self, NoHandle> {
        if text.len() != Self::LENGTH {
            return Err(NoHandle);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NoHandle)?;
        let (format, parts) = bytes.split_first().ok_or(NoHandle)?;
        let (node, secret) = parts.split_at_checked(PART_BYTES).ok_or(NoHandle)?;
        let part = |bytes: &[u8]| bytes.try_into().map(u128::from_be_bytes).map_err(|_| NoHandle);
        if *format != FORMAT {
            return Err(NoHandle);
        }
        Ok(Self { node: Uuid::from_u128(part(node)?), secret: part(secret)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_handle_has_one_spelling(node: u128, secret: u128) {
            let handle = Handle { node: Uuid::from_u128(node), secret };
            let text = handle.to_string();
            prop_assert_eq!(text.len(), Handle::LENGTH);
            prop_assert_eq!(text.parse(), Ok(handle));
            let other = Handle { secret: !secret, ..handle };
            prop_assert_eq!(format!("{:?}", handle), format!("{:?}", other), "no secret is shown");
        }

        #[test]
        fn what_reads_as_a_handle_is_spelt_like_it(text in "[A-Za-z0-9_=+/-]{0,46}|AQ[A-Za-z0-9_-]{42}|.*") {
            if let Ok(handle) = text.parse::<Handle>() {
                prop_assert_eq!(handle.to_string(), text);
            }
        }

        #[test]
        fn a_changed_character_is_another_handle_or_none(secret: u128, at in 0..Handle::LENGTH, by in "[A-Za-z0-9_-]") {
            let handle = Handle { node: Uuid::nil(), secret };
            let mut text = handle.to_string();
            let was = text[at..=at].to_owned();
            text.replace_range(at..=at, &by);
            prop_assert!(was == by || text.parse() != Ok(handle));
        }
    }

    #[test]
    fn nodes_differ_in_handles_as_they_do_elsewhere() {
        let [one, other] = [&[1], &[2]].map(|key| NodeId::of_public_key(key));
        assert_ne!(one.in_handles(), other.in_handles());
        let digits = one.in_handles().simple().to_string();
        assert_eq!(digits, format!("{one}00000000"));
    }

    #[test]
    fn another_format_is_not_understood() {
        let text = Handle { node: Uuid::nil(), secret: 7 }.to_string();
        assert!(text.starts_with("AQ"));
        assert_eq!(text.replacen("AQ", "Ag", 1).parse::<Handle>(), Err(NoHandle));
    }
}

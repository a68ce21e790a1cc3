//! Which host process of a zone: a node and its generation.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Digest;

/// A host of a zone: the first 24 hexadecimal digits (96 bits) of the SHA-256 of its public key, so
/// that nobody can be a node without that node's key. It stays the same for the life of a data
/// directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

/// A string is not the id of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the id of a node: those are 24 lowercase hexadecimal digits, see `aop cluster status`"
)]
pub struct ParseNodeIdError(String);

impl NodeId {
    /// Digits of an id. Every member is named in every round of gossip, so they are few; 96 bits are
    /// far beyond searching for a second key with the same id.
    pub const LENGTH: usize = 24;

    /// The node that has a public key, given as its DER-encoded `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn of_public_key(der: &[u8]) -> Self {
        Self(Digest::of(der).hex()[..Self::LENGTH].into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() == Self::LENGTH && text.bytes().all(is_digit) {
            Ok(Self(text.into()))
        } else {
            Err(ParseNodeIdError(text.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which life of a node: grows at every start, so that what an earlier life said is told from what
/// this one says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after `last`, the one that was stored. Never below the time in seconds since
    /// the Unix epoch, so that a data directory restored from a backup does not repeat one.
    #[must_use]
    pub fn after(last: Option<Self>, unix_seconds: u64) -> Self {
        Self(last.map_or(0, |last| last.0.saturating_add(1)).max(unix_seconds))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_of_one_key_and_survives_text() {
        let id = NodeId::of_public_key(b"a key");
        assert_eq!(id, id.as_str().parse().unwrap());
        assert_ne!(id, NodeId::of_public_key(b"another key"));
        let upper = id.as_str().to_uppercase();
        let long = "a".repeat(25);
        for bad in ["", "abc", upper.as_str(), long.as_str(), "zzzzzzzzzzzzzzzzzzzzzzzz"] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_generation_grows_whatever_the_clock_does() {
        let first = Generation::after(None, 1000);
        assert_eq!(first, Generation(1000));
        assert_eq!(Generation::after(Some(first), 10), Generation(1001), "the clock went back");
        assert_eq!(Generation::after(Some(first), 5000), Generation(5000), "a backup was restored");
        assert_eq!(Generation::after(Some(Generation(u64::MAX)), 0), Generation(u64::MAX));
    }
}

//! The zones that an operator has to do with: the parent, children, and others whose keys were pinned. One small file
//! in the data directory, which commands change and a running host notices.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aop_core::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use super::key::{KeyError, Thumbprint};
use super::name::{FullName, ZoneName};
use super::record::Endpoint;
use crate::durable;

/// Zones that one zone knows by itself: more children than a zone may have nodes.
pub const PEERS_MAX: usize = 1024;
/// The largest file: every peer with long names and all its tags.
const FILE_MAX_BYTES: u64 = 32 << 20;
/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 32;
/// What a token begins with, so that scanners for leaked secrets find it.
const TOKEN_PREFIX: &str = "aopz_";

/// What another zone is to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// This zone is delegated by it.
    Parent,
    /// It is delegated by this zone.
    Child,
    /// Its key was pinned, and that is all.
    Other,
}

/// A secret by which a zone shows another one who it is. Whoever issued it keeps only its digest.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// [`KeyError::Randomness`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = [0; TOKEN_BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::Randomness)?;
        Ok(Self(format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_token = text.len() <= 128
            && text.strip_prefix(TOKEN_PREFIX).is_some_and(|rest| {
                rest.len() >= 32
                    && rest.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c))
            });
        if is_token {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "a token between zones begins with {TOKEN_PREFIX}: see `aop zone delegate`"
            ))
        }
    }

    /// As it is sent.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// What its issuer keeps. The token has 256 random bits, so a plain digest cannot be reversed, and comparing
    /// digests tells nothing of how much of a guess was right.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Another zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// What it is to this one.
    pub relation: Relation,
    /// Where it answers; none for a child that cannot be reached and keeps a connection to this zone.
    pub endpoints: Vec<Endpoint>,
    /// Keys that are its own, the newest last: pinned by the operator, and learnt from an apex that such a key signed.
    pub keys: Vec<Thumbprint>,
    /// Words that a child's exports are found by.
    #[serde(default)]
    pub exports: Vec<String>,
    /// What this zone shows it.
    #[serde(default)]
    pub token: Option<Token>,
    /// The digest of what it shows this zone.
    #[serde(default)]
    pub accepts: Option<Digest>,
}

/// Every zone that this one knows by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    /// By name.
    pub peers: BTreeMap<ZoneName, Peer>,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct BookError {
    path: PathBuf,
    reason: String,
}

impl Book {
    /// Reads the file; an empty book when there is none.
    ///
    /// # Errors
    /// [`BookError`].
    pub fn read(path: &Path) -> Result<Self, BookError> {
        let failed = |reason: String| BookError { path: path.to_owned(), reason };
        let text = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Ok(metadata) if metadata.len() > FILE_MAX_BYTES => {
                return Err(failed("is too large".to_owned()));
            }
            _ => fs::read(path).map_err(|error| failed(error.to_string()))?,
        };
        serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))
    }

    /// Changes the file, one who does so after the other: commands and a running host both do. What `change` refuses
    /// leaves it as it was.
    ///
    /// # Errors
    /// What `change` answers, or [`BookError`].
    pub fn edit<T, E: From<BookError>>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let failed =
            |error: io::Error| BookError { path: path.to_owned(), reason: error.to_string() };
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(directory).map_err(failed)?;
        let lock = fs::File::create(path.with_extension("lock")).map_err(failed)?;
        // Until the file is closed.
        lock.lock().map_err(failed)?;
        let old = Self::read(path)?;
        let mut book = old.clone();
        let outcome = change(&mut book)?;
        if book != old {
            book.write(path)?;
        }
        Ok(outcome)
    }

    /// Writes the file anew, readable by its owner only, so that a reader sees the old or the new one.
    ///
    /// # Errors
    /// [`BookError`].
    pub fn write(&self, path: &Path) -> Result<(), BookError> {
        let failed = |reason: &dyn fmt::Display| BookError {
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        if self.peers.len() > PEERS_MAX {
            return Err(failed(&format_args!("a zone knows at most {PEERS_MAX} others by itself")));
        }
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(directory).map_err(|error| failed(&error))?;
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(&error))?;
        durable::write(path, &text).map_err(|error| failed(&error))
    }

    /// The parent, if there is one.
    #[must_use]
    pub fn parent(&self) -> Option<(&ZoneName, &Peer)> {
        self.peers.iter().find(|(_, peer)| peer.relation == Relation::Parent)
    }

    /// The children.
    pub fn children(&self) -> impl Iterator<Item = (&ZoneName, &Peer)> {
        self.peers.iter().filter(|(_, peer)| peer.relation == Relation::Child)
    }

    /// The child that a name is in: the one with the longest name.
    #[must_use]
    pub fn child_of(&self, name: &FullName) -> Option<(&ZoneName, &Peer)> {
        longest(self.children(), name)
    }

    /// The zone to begin with for a name: the longest one that contains it.
    #[must_use]
    pub fn anchor_of(&self, name: &FullName) -> Option<(&ZoneName, &Peer)> {
        longest(self.peers.iter(), name)
    }

    /// The child that keeps a connection to this zone and is, or is above, another zone.
    #[must_use]
    pub fn attaching(&self, zone: &ZoneName) -> Option<(&ZoneName, &Peer)> {
        let attaching = self.children().filter(|(_, peer)| peer.endpoints.is_empty());
        attaching.filter(|(child, _)| zone.is_within(child)).max_by_key(|(child, _)| child.depth())
    }

    /// Whom a token was given to.
    #[must_use]
    pub fn holder(&self, secret: &str) -> Option<(&ZoneName, &Peer)> {
        let digest = Digest::of(secret.as_bytes());
        self.peers.iter().find(|(_, peer)| peer.accepts == Some(digest))
    }
}

fn longest<'a>(
    peers: impl Iterator<Item = (&'a ZoneName, &'a Peer)>,
    name: &FullName,
) -> Option<(&'a ZoneName, &'a Peer)> {
    peers.filter(|(zone, _)| name.is_within(zone)).max_by_key(|(zone, _)| zone.depth())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::federation::key::ZoneKey;

    fn peer(relation: Relation) -> Peer {
        Peer {
            relation,
            endpoints: vec![Endpoint { url: "https://x.example".to_owned(), weight: 1 }],
            keys: [ZoneKey::fleeting().unwrap().public().thumbprint().clone()].into(),
            exports: vec![],
            token: Some(Token::generate().unwrap()),
            accepts: None,
        }
    }

    fn book(peers: &[(&str, Relation)]) -> Book {
        let peers = peers.iter().map(|(zone, relation)| (zone.parse().unwrap(), peer(*relation)));
        Book { peers: peers.collect() }
    }

    #[test]
    fn a_book_comes_back_and_only_its_owner_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zone/peers.json");
        assert_eq!(Book::read(&path).unwrap(), Book::default());
        let written = book(&[("example", Relation::Parent), ("a.b.example", Relation::Child)]);
        written.write(&path).unwrap();
        assert_eq!(Book::read(&path).unwrap(), written);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, r#"{"peers":{},"extra":1}"#).unwrap();
        assert!(Book::read(&path).is_err());
    }

    #[test]
    fn a_name_begins_at_the_longest_zone_that_contains_it() {
        let book = book(&[
            ("example", Relation::Other),
            ("acme.example", Relation::Parent),
            ("lab.eu.acme.example", Relation::Child),
            ("x.lab.eu.acme.example", Relation::Child),
        ]);
        let anchor =
            |name: &str| book.anchor_of(&name.parse().unwrap()).map(|(zone, _)| zone.to_string());
        assert_eq!(anchor("w.us.acme.example").as_deref(), Some("acme.example"));
        assert_eq!(anchor("w.globex.example").as_deref(), Some("example"));
        assert_eq!(anchor("w.x.lab.eu.acme.example").as_deref(), Some("x.lab.eu.acme.example"));
        assert_eq!(anchor("w.evilacme.test"), None);
        assert!(book.child_of(&"w.us.acme.example".parse().unwrap()).is_none());
    }

    #[test]
    fn a_token_is_known_by_its_digest_and_never_shown() {
        let token = Token::generate().unwrap();
        assert_eq!(Token::parse(token.secret()).unwrap(), token);
        assert!(!format!("{token:?}").contains(token.secret()));
        for bad in ["", "aopz_", "aopz_short", "other", &format!("aopz_{}", "é".repeat(40))] {
            assert!(Token::parse(bad).is_err(), "{bad}");
        }
        let mut book = book(&[("example", Relation::Other)]);
        for peer in book.peers.values_mut() {
            peer.accepts = Some(token.digest());
        }
        assert!(book.holder(token.secret()).is_some());
        assert!(book.holder("aopz_else").is_none());
    }
}

//! The keys of a zone: Ed25519, one PKCS#8 PEM file each, readable by their owner only.
//!
//! A zone has one key, or several while it changes them: every key signs the apex, so whoever pinned any of them
//! still believes it, and the newest signs everything else. A key is known by the thumbprint of its JWK (RFC 7638),
//! which is what operators compare and parents pin.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use aop_core::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::durable;

/// Keys that a zone may have at one time: the old, the new, and room for a change that was interrupted.
pub const KEYS_MAX: usize = 4;
/// An Ed25519 key as PEM has about 120 bytes; more is another file.
const FILE_MAX_BYTES: u64 = 4 << 10;
/// Bytes of a public key.
const PUBLIC_BYTES: usize = 32;
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 64;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The directory or a file in it cannot be used.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others can read it.
    #[error(
        "{0} can be read by others: run `chmod 600` on it, and think about who may have read it"
    )]
    Exposed(PathBuf),
    /// Not an Ed25519 key in PKCS#8 PEM.
    #[error("{0} is not an Ed25519 key as PKCS#8 PEM: make one with `aop zone keygen`")]
    Malformed(PathBuf),
    /// There are as many as there may be.
    #[error("the zone has {KEYS_MAX} keys already: retire one with `aop zone retire`")]
    TooMany,
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

/// The SHA-256 of a public key's JWK (RFC 7638, RFC 8037), as base64url: 43 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Thumbprint(Arc<str>);

/// A text is no thumbprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key's thumbprint has 43 characters of base64url, as `aop zone keys` prints it")]
pub struct ThumbprintError;

impl FromStr for Thumbprint {
    type Err = ThumbprintError;

    fn from_str(text: &str) -> Result<Self, ThumbprintError> {
        match URL_SAFE_NO_PAD.decode(text) {
            Ok(bytes) if bytes.len() == 32 => Ok(Self(text.into())),
            _ => Err(ThumbprintError),
        }
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Thumbprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The public half of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    bytes: [u8; PUBLIC_BYTES],
    thumbprint: Thumbprint,
}

impl PublicKey {
    fn new(bytes: [u8; PUBLIC_BYTES]) -> Self {
        // The members that RFC 7638 wants, in its order.
        let x = URL_SAFE_NO_PAD.encode(bytes);
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let digest = Digest::of(jwk.as_bytes());
        Self { bytes, thumbprint: Thumbprint(URL_SAFE_NO_PAD.encode(digest.as_bytes()).into()) }
    }

    /// How it is known.
    #[must_use]
    pub const fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// Whether a signature is this key's over a message.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        signature.len() == SIGNATURE_BYTES
            && UnparsedPublicKey::new(&ED25519, self.bytes).verify(message, signature).is_ok()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
}

/// A JWK with the three members of an Ed25519 key and no others.
impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let x = URL_SAFE_NO_PAD.encode(self.bytes);
        Jwk { kty: "OKP".to_owned(), crv: "Ed25519".to_owned(), x }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let jwk = Jwk::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(&jwk.x).ok().and_then(|bytes| bytes.try_into().ok());
        match bytes {
            Some(bytes) if jwk.kty == "OKP" && jwk.crv == "Ed25519" => Ok(Self::new(bytes)),
            _ => Err(serde::de::Error::custom("not an Ed25519 key")),
        }
    }
}

/// A key that signs. Its private half leaves this type as a file only.
pub struct ZoneKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
    #[cfg(test)]
    pkcs8: Vec<u8>,
}

impl fmt::Debug for ZoneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ZoneKey").field(&self.public.thumbprint).finish()
    }
}

impl ZoneKey {
    /// A key that exists nowhere else; for tests and models.
    ///
    /// # Errors
    /// [`KeyError::Randomness`].
    pub fn fleeting() -> Result<Self, KeyError> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| KeyError::Randomness)?;
        Self::of_pkcs8(pkcs8.as_ref()).ok_or(KeyError::Randomness)
    }

    /// Files made by others may lack the public half.
    fn of_pkcs8(der: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
        let public = PublicKey::new(pair.public_key().as_ref().try_into().ok()?);
        Some(Self {
            pair,
            public,
            #[cfg(test)]
            pkcs8: der.to_vec(),
        })
    }

    /// The same key again: zones of tests are made more than once.
    #[cfg(test)]
    pub(super) fn twin(&self) -> Self {
        Self::of_pkcs8(&self.pkcs8).unwrap()
    }

    /// Its public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// A key in its file.
#[derive(Debug)]
pub struct KeyFile {
    /// Where it is.
    pub path: PathBuf,
    /// The key.
    pub key: ZoneKey,
}

/// Makes a new key in a directory. `now_ms` names its file, so that the newest is the last by name.
///
/// # Errors
/// [`KeyError`].
pub fn generate(directory: &Path, now_ms: u64) -> Result<KeyFile, KeyError> {
    let io = |path: &Path, error| KeyError::Io { path: path.to_owned(), error };
    fs::create_dir_all(directory).map_err(|error| io(directory, error))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
        .map_err(|error| io(directory, error))?;
    if read(directory)?.len() >= KEYS_MAX {
        return Err(KeyError::TooMany);
    }
    let pkcs8 =
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Randomness)?;
    let body = STANDARD.encode(pkcs8.as_ref());
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let text =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    let path = directory.join(format!("{now_ms:015}.pem"));
    // Nobody else can open it at any moment, a crash leaves no half of one, and none that exists is written over.
    durable::write_new(&path, text.as_bytes()).map_err(|error| io(&path, error))?;
    read_file(path)
}

/// The keys of a directory, the oldest first; none when there is no such directory.
///
/// # Errors
/// [`KeyError`], also for the first file that is no key: a zone that half works is worse.
pub fn read(directory: &Path) -> Result<Vec<KeyFile>, KeyError> {
    let io = |error| KeyError::Io { path: directory.to_owned(), error };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.len() > KEYS_MAX {
        return Err(KeyError::TooMany);
    }
    paths.into_iter().map(read_file).collect()
}

fn read_file(path: PathBuf) -> Result<KeyFile, KeyError> {
    let io = |error| KeyError::Io { path: path.clone(), error };
    let metadata = fs::metadata(&path).map_err(io)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(KeyError::Exposed(path));
    }
    if metadata.len() > FILE_MAX_BYTES {
        return Err(KeyError::Malformed(path));
    }
    let text = fs::read(&path).map_err(io)?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(&text)
        .ok()
        .and_then(|der| ZoneKey::of_pkcs8(der.secret_pkcs8_der()));
    match key {
        Some(key) => Ok(KeyFile { path, key }),
        None => Err(KeyError::Malformed(path)),
    }
}

#[cfg(test)]
mod tests;

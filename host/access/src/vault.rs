//! Encrypts secrets at rest.
//!
//! XChaCha20-Poly1305: its nonces are long enough to be random. Tenant and name are authenticated with the value, so
//! that a row that is moved to another tenant or name in the database does not open there.
//!
//! The key is 32 bytes in hexadecimal, from a file or the environment, and never in the data directory: a copy
//! of that opens nothing. Several keys, one a line, rotate it: the first encrypts, all decrypt, and at its
//! start the host encrypts everything again that the first did not.

use aop_core::{Secret, SecretName, TenantName};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

/// Hexadecimal digits of a key.
const KEY_DIGITS: usize = 64;
/// The newest key and seven older ones: rotating more often than the host starts needs no more.
const KEYS_MAX: usize = 8;
/// What a sealed value begins with; another format gets another one.
const FORMAT: u8 = 1;
/// Bytes that tell which key sealed a value.
const FINGERPRINT_LENGTH: usize = 8;
const NONCE_LENGTH: usize = 24;

/// The text holds no usable keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// A line is no key.
    #[error(
        "line {0} of the key of the secrets is not {KEY_DIGITS} hexadecimal digits: make a key with `openssl rand -hex 32`"
    )]
    Key(usize),
    /// There is none.
    #[error("the key of the secrets is empty: make one with `openssl rand -hex 32`")]
    Empty,
    /// There are too many.
    #[error("the key of the secrets has more than {KEYS_MAX} lines: remove the oldest")]
    TooMany,
}

/// A value cannot be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(
        "it was encrypted with a key that this host does not have: add the old key as a further line"
    )]
    OtherKey,
    #[error("it is damaged, or was moved from elsewhere: set it again")]
    Damaged,
}

/// See the module's documentation.
pub struct Vault {
    keys: Vec<Held>,
}

struct Held {
    fingerprint: [u8; FINGERPRINT_LENGTH],
    cipher: XChaCha20Poly1305,
}

impl Held {
    fn new(key: &[u8; 32]) -> Self {
        let derived = blake3::derive_key("aop 2026 the fingerprint of a key of secrets", key);
        let mut fingerprint = [0; FINGERPRINT_LENGTH];
        fingerprint.copy_from_slice(&derived[..FINGERPRINT_LENGTH]);
        Self { fingerprint, cipher: XChaCha20Poly1305::new(Key::from_slice(key)) }
    }
}

impl Vault {
    /// Reads the keys, one a line, the one that encrypts first.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn new(text: &str) -> Result<Self, VaultError> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let keys: Result<Vec<_>, _> = lines
            .map(|(index, line)| {
                let key = decode(line.trim()).ok_or(VaultError::Key(index + 1))?;
                Ok(Held::new(&key))
            })
            .collect();
        let keys = keys?;
        match keys.len() {
            0 => Err(VaultError::Empty),
            count if count > KEYS_MAX => Err(VaultError::TooMany),
            _ => Ok(Self { keys }),
        }
    }

    /// Encrypts a value.
    pub(crate) fn seal(&self, tenant: &TenantName, name: &SecretName, value: &Secret) -> Vec<u8> {
        let key = &self.keys[0];
        let nonce: [u8; NONCE_LENGTH] = rand::random();
        let payload = Payload { msg: value.expose().as_bytes(), aad: &identity(tenant, name) };
        // It fails for values of 256 GiB only.
        let sealed = key.cipher.encrypt(XNonce::from_slice(&nonce), payload).unwrap_or_default();
        let mut bytes = Vec::with_capacity(1 + FINGERPRINT_LENGTH + NONCE_LENGTH + sealed.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&key.fingerprint);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        bytes
    }

    /// Decrypts a value.
    pub(crate) fn open(
        &self,
        tenant: &TenantName,
        name: &SecretName,
        sealed: &[u8],
    ) -> Result<Secret, OpenError> {
        let (fingerprint, rest) = parts(sealed).ok_or(OpenError::Damaged)?;
        let key = self.keys.iter().find(|key| key.fingerprint == fingerprint);
        let key = key.ok_or(OpenError::OtherKey)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LENGTH).ok_or(OpenError::Damaged)?;
        let payload = Payload { msg: sealed, aad: &identity(tenant, name) };
        let value = key.cipher.decrypt(XNonce::from_slice(nonce), payload);
        let value = value.map_err(|_| OpenError::Damaged)?;
        match String::from_utf8(value) {
            Ok(value) => Ok(Secret::new(value)),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                Err(OpenError::Damaged)
            }
        }
    }

    /// Whether a value was encrypted with the first key.
    pub(crate) fn is_current(&self, sealed: &[u8]) -> bool {
        parts(sealed).is_some_and(|(fingerprint, _)| fingerprint == self.keys[0].fingerprint)
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

fn parts(sealed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (format, rest) = sealed.split_first()?;
    (*format == FORMAT).then_some(())?;
    rest.split_at_checked(FINGERPRINT_LENGTH)
}

/// What a value is bound to. Neither name contains a zero byte.
fn identity(tenant: &TenantName, name: &SecretName) -> Vec<u8> {
    [tenant.as_bytes(), b"\0", name.as_str().as_bytes()].concat()
}

fn decode(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    if text.len() != KEY_DIGITS || !text.is_ascii() {
        return None;
    }
    let mut key = Zeroizing::new([0; 32]);
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(digits[0])? << 4 | digit(digits[1])?).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digit: char) -> String {
        digit.to_string().repeat(KEY_DIGITS)
    }

    fn names() -> (TenantName, SecretName) {
        (TenantName::new("acme").unwrap(), SecretName::new("token").unwrap())
    }

    #[test]
    fn what_was_sealed_opens_for_its_tenant_and_name_only() {
        let (vault, (tenant, name)) = (Vault::new(&key('a')).unwrap(), names());
        let value = Secret::new("s3cret-välue".to_owned());
        let sealed = vault.seal(&tenant, &name, &value);
        assert_eq!(vault.open(&tenant, &name, &sealed), Ok(value.clone()));
        assert!(!sealed.windows(6).any(|window| window == b"s3cret"));
        assert_ne!(vault.seal(&tenant, &name, &value), sealed);
        let other = TenantName::new("other").unwrap();
        assert_eq!(vault.open(&other, &name, &sealed), Err(OpenError::Damaged));
        let renamed = SecretName::new("other").unwrap();
        assert_eq!(vault.open(&tenant, &renamed, &sealed), Err(OpenError::Damaged));
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(vault.open(&tenant, &name, &changed).is_err(), "byte {index}");
            assert!(vault.open(&tenant, &name, &sealed[..index]).is_err(), "{index} bytes");
        }
    }

    #[test]
    fn an_older_key_still_opens_and_is_known_as_older() {
        let (tenant, name) = names();
        let value = Secret::new("v".to_owned());
        let sealed = Vault::new(&key('a')).unwrap().seal(&tenant, &name, &value);
        let rotated = Vault::new(&format!("{}\n{}\n", key('b'), key('a'))).unwrap();
        assert_eq!(rotated.open(&tenant, &name, &sealed), Ok(value.clone()));
        assert!(!rotated.is_current(&sealed));
        assert!(rotated.is_current(&rotated.seal(&tenant, &name, &value)));
        let without = Vault::new(&key('b')).unwrap();
        assert_eq!(without.open(&tenant, &name, &sealed), Err(OpenError::OtherKey));
    }

    #[test]
    fn keys_are_checked() {
        assert_eq!(Vault::new(" \n").unwrap_err(), VaultError::Empty);
        let short = format!("{}\nabc", key('a'));
        assert_eq!(Vault::new(&short).unwrap_err(), VaultError::Key(2));
        assert_eq!(Vault::new(&key('g')).unwrap_err(), VaultError::Key(1));
        let many = vec![key('a'); KEYS_MAX + 1].join("\n");
        assert_eq!(Vault::new(&many).unwrap_err(), VaultError::TooMany);
        assert!(!format!("{:?}", Vault::new(&key('a')).unwrap()).contains("aaaa"));
    }
}

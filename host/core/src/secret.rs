//! Values that agents use and never see. `access` keeps them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::{BoxFuture, TenantName};

/// The name of a secret within its tenant: 1 to 64 of `[A-Za-z0-9_.-]`, starting with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SecretName(Box<str>);

/// The name cannot be that of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid name of a secret: use 1 to 64 of A-Z, a-z, 0-9, `_`, `-` and `.`, starting with a letter"
)]
pub struct SecretNameError(String);

impl SecretName {
    const LENGTH_MAX: usize = 64;

    /// Names a secret.
    ///
    /// # Errors
    /// [`SecretNameError`] when `text` has another form.
    pub fn new(text: &str) -> Result<Self, SecretNameError> {
        let form = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
        let fits = text.len() <= Self::LENGTH_MAX
            && text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
            && text.bytes().all(form);
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(SecretNameError(text.chars().take(Self::LENGTH_MAX).collect()))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for SecretName {
    type Err = SecretNameError;

    fn from_str(text: &str) -> Result<Self, SecretNameError> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for SecretName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A value that must not be shown. It is overwritten in memory when it is dropped, has no `Display` and no way
/// into a log or an answer but [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The longest value in bytes: a chain of certificates or a service account fits.
    pub const LENGTH_MAX_BYTES: usize = 16 << 10;

    /// Takes a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value, for whoever has to send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The tenant has no secret of this name.
    #[error("there is no secret `{0}`: set it with `aop secret set {0}`")]
    Missing(SecretName),
    /// The host has no key, or not the one that it was encrypted with.
    #[error("{0}")]
    Sealed(String),
    /// The store failed.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// The secrets of tenants.
pub trait Secrets: Send + Sync {
    /// A secret of a tenant. An agent uses those of the tenant that owns it, whoever calls it.
    ///
    /// # Errors
    /// [`SecretError`].
    fn get<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<Secret, SecretError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_nowhere() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "Secret(…) Some(Secret(…))");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn names_are_plain() {
        for name in ["a", "GITHUB_TOKEN", "api.key-2"] {
            assert_eq!(SecretName::new(name).unwrap().as_str(), name);
        }
        for name in ["", "1a", "a b", "a/b", "é", &"a".repeat(65)] {
            assert!(SecretName::new(name).is_err(), "{name}");
        }
    }
}

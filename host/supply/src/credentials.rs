//! User names and passwords for registries, in the layout of Docker's `config.json`, which every tool for registries
//! writes:
//!
//! ```json
//! { "auths": { "ghcr.io": { "auth": "BASE64 OF user:password" } } }
//! ```
//!
//! Programs that such a file may name (`credHelpers`, `credsStore`) are not run.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

/// Credentials by host. Never shown.
#[derive(Clone, Default)]
pub struct Credentials(BTreeMap<String, Zeroizing<String>>);

/// Credentials that cannot be used. The text holds none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// It is not such a document.
    #[error(
        "the credentials of registries are not in the layout of Docker's config.json, at line {line}: write them like {{\"auths\":{{\"ghcr.io\":{{\"username\":\"…\",\"password\":\"…\"}}}}}}"
    )]
    Malformed {
        /// Where.
        line: usize,
    },
    /// One entry is not complete.
    #[error(
        "the credentials for registry `{0}` need `auth` (base64 of user:password), or `username` and `password`: identity tokens and credential helpers are not supported"
    )]
    Incomplete(String),
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<Zeroizing<String>>,
    username: Option<String>,
    password: Option<Zeroizing<String>>,
}

impl Credentials {
    /// Reads a document.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn from_json(text: &str) -> Result<Self, CredentialsError> {
        let document: Document = serde_json::from_str(text)
            .map_err(|error| CredentialsError::Malformed { line: error.line() })?;
        let mut found = BTreeMap::new();
        for (registry, entry) in document.auths {
            let pair =
                entry.pair().ok_or_else(|| CredentialsError::Incomplete(registry.clone()))?;
            found.insert(host(&registry), Zeroizing::new(STANDARD.encode(&*pair)));
        }
        Ok(Self(found))
    }

    /// What `Authorization: Basic` says to a host.
    pub(crate) fn basic(&self, host: &str) -> Option<&str> {
        self.0.get(host).map(|pair| pair.as_str())
    }
}

impl Entry {
    /// `user:password`.
    fn pair(self) -> Option<Zeroizing<String>> {
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Some(Zeroizing::new(format!("{user}:{}", password.as_str())));
        }
        let pair = Zeroizing::new(STANDARD.decode(self.auth?.trim()).ok()?);
        let pair = Zeroizing::new(std::str::from_utf8(&pair).ok()?.to_owned());
        pair.contains(':').then_some(pair)
    }
}

/// `https://index.docker.io/v1/` is how Docker writes one of them.
fn host(registry: &str) -> String {
    let bare = registry.split_once("://").map_or(registry, |(_, rest)| rest);
    bare.split('/').next().unwrap_or(bare).to_ascii_lowercase()
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_them_are_read_and_none_is_shown() {
        let text = r#"{"auths":{"GHCR.io":{"auth":"dXNlcjpodW50ZXIy"},"https://r.example:5000/v1/":{"username":"user","password":"hunter2"}},"credsStore":"x"}"#;
        let credentials = Credentials::from_json(text).unwrap();
        for host in ["ghcr.io", "r.example:5000"] {
            assert_eq!(credentials.basic(host), Some("dXNlcjpodW50ZXIy"), "{host}");
        }
        assert_eq!(credentials.basic("example.com"), None);
        let shown = format!("{credentials:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("dXNl"), "{shown}");
    }

    #[test]
    fn what_is_wrong_is_told_without_telling_a_secret() {
        for text in ["hunter2", r#"{"auths":{"r":"hunter2"}}"#, r#"{"auths":{"r":{"auth":7}}}"#] {
            let error = Credentials::from_json(text).unwrap_err();
            assert_eq!(error, CredentialsError::Malformed { line: 1 });
            assert!(!error.to_string().contains("hunter2"));
        }
        for entry in
            [r#"{"auth":"aHVudGVyMg=="}"#, r#"{"auth":"%"}"#, r#"{"identitytoken":"hunter2"}"#]
        {
            let error =
                Credentials::from_json(&format!(r#"{{"auths":{{"r":{entry}}}}}"#)).unwrap_err();
            assert_eq!(error, CredentialsError::Incomplete("r".to_owned()));
        }
    }
}

//! `oci://HOST[:PORT]/NAME[:TAG][@sha256:…]`: an artifact in a registry, as the OCI distribution specification names
//! one. A tag moves; a digest, which is that of the manifest, does not.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;

const SCHEME: &str = "oci://";
/// Longest host with its port.
const HOST_CHARS_MAX: usize = 253 + 6;
/// Longest name: what the specification lets registries count on, host included.
const NAME_CHARS_MAX: usize = 255;
/// Longest tag, by the specification.
const TAG_CHARS_MAX: usize = 128;

/// An artifact in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OciReference {
    host: String,
    name: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl OciReference {
    /// Longest text, in characters.
    pub const CHARS_MAX: usize =
        SCHEME.len() + HOST_CHARS_MAX + NAME_CHARS_MAX + TAG_CHARS_MAX + 74;

    /// Whether a text means one.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// The registry: a name or address, and a port where one is written.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The artifact's name in its registry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last part of the name.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// The tag, which may mean another artifact tomorrow.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest, which means the same artifact for ever.
    #[must_use]
    pub const fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same artifact, with the digest that its tag means now.
    #[must_use]
    pub fn pinned(self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self }
    }
}

impl FromStr for OciReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read(text).map_err(|what| {
            format!("`{}`: {what}: write it like `oci://registry.example.com/team/textkit:1.2@sha256:…`", text.escape_debug())
        })
    }
}

fn read(text: &str) -> Result<OciReference, &'static str> {
    let rest = text.strip_prefix(SCHEME).ok_or("a registry's artifact begins with oci://")?;
    let (rest, digest) = match rest.split_once('@') {
        Some((rest, digest)) => {
            let digest =
                digest.parse().map_err(|_| "what follows `@` is not `sha256:` and 64 digits")?;
            (rest, Some(digest))
        }
        None => (rest, None),
    };
    let (host, path) = rest.split_once('/').ok_or("the artifact's name is missing")?;
    if !is_host(host) {
        return Err("the registry is not a host with an optional port");
    }
    let (name, tag) = match path.split_once(':') {
        Some((name, tag)) => (name, Some(tag)),
        None => (path, None),
    };
    if name.len() > NAME_CHARS_MAX || !name.split('/').all(is_part) {
        return Err(
            "the artifact's name is not one: lower-case letters, digits, `.`, `_` and `-` between slashes",
        );
    }
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("the tag is not one: letters, digits, `.`, `_` and `-`");
    }
    Ok(OciReference {
        host: host.to_ascii_lowercase(),
        name: name.to_owned(),
        tag: tag.map(str::to_owned),
        digest,
    })
}

/// A name or address with an optional port.
fn is_host(text: &str) -> bool {
    if text.len() > HOST_CHARS_MAX {
        return false;
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<core::net::Ipv6Addr>().is_ok() => {
                ("v6", port.strip_prefix(':').or((!port.is_empty()).then_some("")))
            }
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    host.split('.').all(is_label)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// A part of a name between slashes: separators are between letters and digits only.
fn is_part(part: &str) -> bool {
    let is_inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    ends.is_some_and(|(first, last)| is_inner(*first) && is_inner(*last))
        && bytes.iter().all(|c| is_inner(*c) || matches!(c, b'.' | b'_' | b'-'))
        && !part.contains("..")
        && !part.contains("___")
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    tag.len() <= TAG_CHARS_MAX
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|c| is_word(c) || matches!(c, b'.' | b'-'))
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.host, self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl TryFrom<String> for OciReference {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<OciReference> for String {
    fn from(reference: OciReference) -> Self {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_written_again() {
        let digest = format!("@{}", Digest::of(b"manifest"));
        for (text, tag, digest) in [
            ("oci://ghcr.io/acme/textkit:1.2".to_owned(), Some("1.2"), false),
            (format!("oci://127.0.0.1:5000/textkit{digest}"), None, true),
            (format!("oci://[::1]:5000/a/b_c/d-e.f:latest{digest}"), Some("latest"), true),
            ("oci://localhost/x".to_owned(), None, false),
        ] {
            let reference: OciReference = text.parse().unwrap();
            assert_eq!(reference.to_string(), text);
            assert_eq!((reference.tag(), reference.digest().is_some()), (tag, digest), "{text}");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "ghcr.io/acme/textkit",
            "oci://ghcr.io",
            "oci:///textkit",
            "oci://user@ghcr.io/textkit",
            "oci://ghcr.io:0/textkit",
            "oci://ghcr.io:port/textkit",
            "oci://[::1/textkit",
            "oci://[::1]x/textkit",
            "oci://ghcr.io/",
            "oci://ghcr.io/Upper",
            "oci://ghcr.io/a/../b",
            "oci://ghcr.io/a//b",
            "oci://ghcr.io/a?b",
            "oci://ghcr.io/a%2fb",
            "oci://ghcr.io/a:",
            "oci://ghcr.io/a:.tag",
            "oci://ghcr.io/a:t/b",
            "oci://ghcr.io/a@sha256:12",
            "oci://ghcr.io/a@sha512:12",
            "oci://gh cr.io/a",
        ] {
            let error = text.parse::<OciReference>().unwrap_err();
            assert!(error.contains("write it like `oci://"), "{text}: {error}");
        }
        let long = format!("oci://ghcr.io/{}", "a".repeat(300));
        assert!(long.parse::<OciReference>().is_err());
    }
}

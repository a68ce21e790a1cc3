//! Names between zones. A zone's name is a DNS name; an agent's full name is its own label in front of its zone's,
//! and a tool's is the tool's name there.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aop_core::ToolName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest DNS name in text form (RFC 1035, without the trailing dot).
const NAME_LENGTH_MAX: usize = 253;
/// Longest DNS label.
const LABEL_LENGTH_MAX: usize = 63;

/// A name was refused, in words that say how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a DNS name in lower case.
    #[error(
        "`{0}` is not a zone name: use DNS labels of a-z, 0-9 and `-`, such as eu.acme.example"
    )]
    Zone(String),
    /// No label in front of a zone.
    #[error(
        "`{0}` is not a full name: put an agent or a tool in front of its zone, such as writer.eu.acme.example"
    )]
    Full(String),
}

/// A zone: lower-case DNS labels, such as `eu.acme.example`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneName(Arc<str>);

impl ZoneName {
    /// The labels, most specific first.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// How many labels it has.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.labels().count()
    }

    /// Reads a name as people write it: DNS ignores case, and a dot at the end.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn typed(text: &str) -> Result<Self, NameError> {
        text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase().parse()
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this zone is `other` or below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        is_within(&self.0, &other.0)
    }

    /// Whether this zone is below `other`, and not `other` itself.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        self != other && self.is_within(other)
    }

    /// The name under which a tool of this zone is imported elsewhere:
    /// `<tool>__<all labels joined by _>`; none when it would be too long, since it is never cut.
    #[must_use]
    pub fn imported_tool_name(&self, tool: &ToolName) -> Option<ToolName> {
        ToolName::imported(tool, &self.0.replace('.', "_"))
    }
}

/// Whether one DNS name is another or below it, by whole labels.
fn is_within(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_LENGTH_MAX).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

impl FromStr for ZoneName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() <= NAME_LENGTH_MAX && text.split('.').all(is_label) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Zone(shown(text)))
        }
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What can be asked for between zones: `writer.eu.acme.example`. The first label names an agent or one of its
/// tools, so it may also have capital letters and `_`; the same text may name a zone, which only its parent knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FullName {
    text: Arc<str>,
    /// Where the zone begins.
    zone_at: usize,
}

impl FullName {
    /// Puts a label in front of a zone.
    ///
    /// # Errors
    /// [`NameError`] when the label is none or the whole is too long.
    pub fn new(label: &str, zone: &ZoneName) -> Result<Self, NameError> {
        format!("{label}.{zone}").parse()
    }

    /// Reads a name as people write it: DNS ignores case, and a dot at the end. The label stays as it is, since tools'
    /// names may have capital letters; whoever has it finds it without regard to case.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn typed(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        match text.split_once('.') {
            Some((label, zone)) => format!("{label}.{}", zone.to_ascii_lowercase()).parse(),
            None => text.parse(),
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The agent or tool.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.text[..self.zone_at - 1]
    }

    /// Its zone.
    #[must_use]
    pub fn zone(&self) -> ZoneName {
        ZoneName(self.text[self.zone_at..].into())
    }

    /// Whether the name is that of a zone, or below it.
    #[must_use]
    pub fn is_within(&self, zone: &ZoneName) -> bool {
        is_within(&self.text, zone.as_str())
    }

    /// Whether the name is exactly that of a zone.
    #[must_use]
    pub fn is_zone(&self, zone: &ZoneName) -> bool {
        *self.text == *zone.as_str()
    }
}

impl FromStr for FullName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let malformed = || NameError::Full(shown(text));
        let (label, zone) = text.split_once('.').ok_or_else(malformed)?;
        let is_first = (1..=ToolName::LENGTH_MAX).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_');
        if !is_first || text.len() > NAME_LENGTH_MAX || !zone.split('.').all(is_label) {
            return Err(malformed());
        }
        Ok(Self { text: text.into(), zone_at: label.len() + 1 })
    }
}

impl fmt::Display for FullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// As much of a bad name as is worth repeating.
fn shown(text: &str) -> String {
    text.chars().take(LABEL_LENGTH_MAX * 2).collect()
}

macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(ZoneName);
as_text!(FullName);

#[cfg(test)]
mod tests;

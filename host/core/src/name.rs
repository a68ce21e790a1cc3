//! Validated names. A name that exists has the right form; nothing re-checks it further in.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a name was refused, in words that say how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a DNS label that starts with a letter.
    #[error(
        "`{0}` is not a valid {1} name: use 1 to 63 of a-z, 0-9 and `-`, starting with a letter and not ending with `-`"
    )]
    Label(String, &'static str),
    /// The name is reserved for the host's own tools.
    #[error("`{0}` is reserved for the host: choose another name")]
    Reserved(String),
    /// Not acceptable to model APIs as a tool name.
    #[error(
        "`{0}` is not a valid tool name: use 1 to 64 of A-Z, a-z, 0-9, `_` and `-`, starting with a letter, without `__`; set a shorter one with `[tools.<function>] name = \"…\"`"
    )]
    Tool(String),
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::known(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type! {
    /// An agent's name: a DNS label that starts with a letter, unique within its tenant.
    AgentName
}
name_type! {
    /// A tenant's name: a DNS label that starts with a letter.
    TenantName
}
name_type! {
    /// A tool's name as MCP clients see it: at most 64 of `[A-Za-z0-9_-]`, starting with a letter.
    ToolName
}

/// Longest DNS label (RFC 1035).
const LABEL_LENGTH_MAX: usize = 63;

/// As much of what is no name as is worth repeating.
fn shown(text: &str) -> String {
    const SHOWN_CHARS: usize = 2 * LABEL_LENGTH_MAX;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= LABEL_LENGTH_MAX
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.last().is_some_and(|c| *c != b'-')
        && bytes.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-')
}

impl AgentName {
    /// Names an agent.
    ///
    /// # Errors
    /// [`NameError`] when `text` is not a DNS label starting with a letter, or is `aop`.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text == "aop" {
            return Err(NameError::Reserved(shown(text)));
        }
        if is_label(text) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Label(shown(text), "agent"))
        }
    }

    /// Reads a name that some host gave out.
    fn known(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }

    /// The agent name for a component file: its stem made a DNS label. Upper case is lowered, every
    /// run of other characters becomes one `-`, and a leading digit gets `a` in front.
    ///
    /// # Errors
    /// [`NameError`] when nothing of the stem can be kept, it is too long, or it is reserved.
    pub fn from_file_stem(stem: &str) -> Result<Self, NameError> {
        let mut label = String::with_capacity(stem.len());
        for c in stem.chars() {
            if c.is_ascii_alphanumeric() {
                label.push(c.to_ascii_lowercase());
            } else if !label.is_empty() && !label.ends_with('-') {
                label.push('-');
            }
        }
        let label = label.trim_end_matches('-');
        if label.starts_with(|c: char| c.is_ascii_digit()) {
            Self::new(&format!("a{label}"))
        } else {
            Self::new(label).map_err(|error| match error {
                NameError::Label(..) => NameError::Label(shown(stem), "agent"),
                other => other,
            })
        }
    }
}

impl TenantName {
    /// Names a tenant.
    ///
    /// # Errors
    /// [`NameError`] when `text` is not a DNS label starting with a letter.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if is_label(text) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Label(shown(text), "tenant"))
        }
    }

    /// Reads a name that some host gave out.
    fn known(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }

    /// The one tenant of a host without identities.
    #[must_use]
    pub fn default_tenant() -> Self {
        Self("default".into())
    }
}

impl ToolName {
    /// The most characters that model APIs accept in a tool name.
    pub const LENGTH_MAX: usize = 64;
    /// Above this length, clients that add a prefix of their own may overflow [`Self::LENGTH_MAX`].
    pub const LENGTH_COMFORTABLE: usize = 40;

    /// Names a tool. `__` is kept free: it separates the zone of an imported tool.
    ///
    /// # Errors
    /// [`NameError::Tool`] when the name has another form than model APIs accept.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let form = |c: &u8| c.is_ascii_alphanumeric() || *c == b'_' || *c == b'-';
        let fits = text.len() <= Self::LENGTH_MAX
            && text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
            && text.as_bytes().iter().all(form)
            && !text.contains("__");
        if fits { Ok(Self(text.into())) } else { Err(NameError::Tool(shown(text))) }
    }

    /// Reads a name that some host gave out: its own tool's, or one that it imported.
    fn known(text: &str) -> Result<Self, NameError> {
        match text.split_once("__") {
            Some((tool, zone)) => {
                Self::imported(&Self::new(tool)?, zone).ok_or_else(|| NameError::Tool(shown(text)))
            }
            None => Self::new(text),
        }
    }

    /// A tool of another zone as it is called here: its own name, `__`, and the zone's labels joined by `_`. None
    /// when that is too long: it is never cut.
    #[must_use]
    pub fn imported(tool: &Self, zone_labels: &str) -> Option<Self> {
        let form = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
        let name = format!("{tool}__{zone_labels}");
        (name.len() <= Self::LENGTH_MAX && zone_labels.bytes().all(form)).then(|| Self(name.into()))
    }
}

#[cfg(test)]
mod tests;

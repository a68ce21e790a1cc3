//! Directories and tools, as an operator writes them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A directory that an agent sees: `read /srv/reference as /data`, or `write` for one that it may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DirectoryGrant {
    /// On the host; absolute.
    pub host: PathBuf,
    /// For the guest; absolute.
    pub guest: String,
    /// Whether the guest may change what is in it.
    pub writable: bool,
}

impl FromStr for DirectoryGrant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` must be `read PATH as PATH` or `write PATH as PATH` with absolute paths, like `read /srv/reference as /data`"
            )
        };
        let (access, paths) = text.trim().split_once(char::is_whitespace).ok_or_else(wrong)?;
        let writable = match access {
            "read" => false,
            "write" => true,
            _ => return Err(wrong()),
        };
        let (host, guest) = paths.rsplit_once(" as ").ok_or_else(wrong)?;
        let (host, guest) = (host.trim(), guest.trim());
        if !host.starts_with('/') || !guest.starts_with('/') {
            return Err(wrong());
        }
        Ok(Self { host: PathBuf::from(host), guest: guest.to_owned(), writable })
    }
}

impl fmt::Display for DirectoryGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = if self.writable { "write" } else { "read" };
        write!(f, "{access} {} as {}", self.host.display(), self.guest)
    }
}

impl From<DirectoryGrant> for String {
    fn from(grant: DirectoryGrant) -> Self {
        grant.to_string()
    }
}

impl TryFrom<String> for DirectoryGrant {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Tools by name: `textkit_summarize`, or `textkit_*` for all whose names begin like that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolPattern {
    begin: String,
    is_prefix: bool,
}

impl ToolPattern {
    /// Whether the pattern stands for a tool.
    #[must_use]
    pub fn permits(&self, name: &str) -> bool {
        if self.is_prefix { name.starts_with(&self.begin) } else { name == self.begin }
    }

    /// Whether everything that this stands for, `other` stands for, too.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        if self.is_prefix {
            other.is_prefix && self.begin.starts_with(&other.begin)
        } else {
            other.permits(&self.begin)
        }
    }
}

impl FromStr for ToolPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (begin, is_prefix) = match text.strip_suffix('*') {
            Some(begin) => (begin, true),
            None => (text, false),
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if !begin.chars().all(legal) || (begin.is_empty() && !is_prefix) {
            return Err(format!(
                "`{text}` must be a tool's name, or the beginning of names and a star, like `textkit_*`"
            ));
        }
        Ok(Self { begin: begin.to_owned(), is_prefix })
    }
}

impl fmt::Display for ToolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.begin)?;
        if self.is_prefix { f.write_str("*") } else { Ok(()) }
    }
}

impl From<ToolPattern> for String {
    fn from(pattern: ToolPattern) -> Self {
        pattern.to_string()
    }
}

impl TryFrom<String> for ToolPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

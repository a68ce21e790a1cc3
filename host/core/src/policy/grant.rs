//! Directories and tools, as an operator writes them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::settings::show_size;

/// A directory that an agent sees: `read /srv/reference as /data`, or `write` for one that it may change.
///
/// Written as that rule alone, or as a table with `permit` and the limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct DirectoryGrant {
    /// On the host; absolute.
    pub host: PathBuf,
    /// For the guest; absolute.
    pub guest: String,
    /// Whether the guest may change what is in it.
    pub writable: bool,
    /// How far it may fill one that it may change.
    pub limits: DirectoryLimits,
}

/// How much may be in a directory that agents change, whoever put it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DirectoryLimits {
    /// The lengths of all files in it and below.
    pub size_max_bytes: u64,
    /// Files, links and directories in it and below.
    pub files_max: u64,
}

impl Default for DirectoryLimits {
    /// What a scratch directory needs. The files are counted now and then, which takes milliseconds for so many.
    fn default() -> Self {
        Self { size_max_bytes: 1 << 30, files_max: 10_000 }
    }
}

impl DirectoryLimits {
    /// Whether these permit nothing that `other` does not.
    #[must_use]
    pub const fn is_within(&self, other: &Self) -> bool {
        self.size_max_bytes <= other.size_max_bytes && self.files_max <= other.files_max
    }
}

impl fmt::Display for DirectoryLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} files at most", show_size(self.size_max_bytes), self.files_max)
    }
}

impl DirectoryGrant {
    /// Gives it limits.
    ///
    /// # Errors
    /// When nothing may be written there.
    pub fn with_limits(self, limits: DirectoryLimits) -> Result<Self, String> {
        if !self.writable && limits != DirectoryLimits::default() {
            return Err(format!(
                "`{}` is only read: leave out `size_max` and `files_max`",
                self.rule()
            ));
        }
        Ok(Self { limits, ..self })
    }

    /// The rule alone, as it is written.
    #[must_use]
    pub fn rule(&self) -> String {
        let access = if self.writable { "write" } else { "read" };
        format!("{access} {} as {}", self.host.display(), self.guest)
    }
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
        let limits = DirectoryLimits::default();
        Ok(Self { host: PathBuf::from(host), guest: guest.to_owned(), writable, limits })
    }
}

/// As a person reads it.
impl fmt::Display for DirectoryGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rule())?;
        if self.writable { write!(f, " ({})", self.limits) } else { Ok(()) }
    }
}

/// A grant as it is kept with a revision: its rule alone where there is no more.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Rule(String),
    Full(Full),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Full {
    permit: String,
    #[serde(default)]
    limits: DirectoryLimits,
}

impl From<DirectoryGrant> for Stored {
    fn from(grant: DirectoryGrant) -> Self {
        if grant.limits == DirectoryLimits::default() {
            return Self::Rule(grant.rule());
        }
        Self::Full(Full { permit: grant.rule(), limits: grant.limits })
    }
}

impl TryFrom<Stored> for DirectoryGrant {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        match stored {
            Stored::Rule(rule) => rule.parse(),
            Stored::Full(Full { permit, limits }) => permit.parse::<Self>()?.with_limits(limits),
        }
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

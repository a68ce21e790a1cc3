//! What every guest has without asking, and what an operator may take away: the time, and chance.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Which time a guest sees. A clock that stands still also takes away what a guest needs to measure others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Clock {
    /// The machine's.
    #[default]
    Real,
    /// Always this time since the Unix epoch; its monotonic clock stands at 0.
    Fixed(Duration),
}

/// Which random numbers a guest sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Randomness {
    /// Nobody can predict them.
    #[default]
    Secure,
    /// The same ones in every instance, from this seed: answers can be repeated, and nothing may depend on them being
    /// secret.
    Seeded(u64),
}

impl FromStr for Clock {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "real" {
            return Ok(Self::Real);
        }
        humantime::parse_rfc3339(text)
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .map(Self::Fixed)
            .ok_or_else(|| {
                format!("`{text}` must be `real`, or a time like `2026-01-01T00:00:00Z` at which it stands still")
            })
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Real => f.write_str("real"),
            Self::Fixed(since) => match UNIX_EPOCH.checked_add(*since) {
                Some(time) => humantime::format_rfc3339(time).fmt(f),
                None => f.write_str("real"),
            },
        }
    }
}

impl FromStr for Randomness {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seed = text.strip_prefix("seed:").and_then(|seed| seed.parse().ok());
        match (text, seed) {
            ("secure", _) => Ok(Self::Secure),
            (_, Some(seed)) => Ok(Self::Seeded(seed)),
            _ => Err(format!("`{text}` must be `secure`, or `seed:` and a number like `seed:42`")),
        }
    }
}

impl fmt::Display for Randomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secure => f.write_str("secure"),
            Self::Seeded(seed) => write!(f, "seed:{seed}"),
        }
    }
}

macro_rules! through_text {
    ($($name:ident),+) => {$(
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
    )+};
}

through_text!(Clock, Randomness);

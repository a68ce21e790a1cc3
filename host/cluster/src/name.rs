//! Zone names are DNS names; an agent's full name is its own label in front of its zone's.

use std::fmt;
use std::str::FromStr;

use aop_core::{AgentName, NameError, ToolName};

/// Longest DNS name in text form (RFC 1035, without the trailing dot).
const NAME_LENGTH_MAX: usize = 253;
/// Longest DNS label.
const LABEL_LENGTH_MAX: usize = 63;

/// A zone: lower-case DNS labels, such as `eu.acme.example`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneName(String);

/// A zone name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZoneNameError {
    /// Not a DNS name in lower case.
    #[error(
        "`{0}` is not a zone name: use DNS labels of a-z, 0-9 and `-`, such as eu.acme.example"
    )]
    Malformed(String),
    /// The agent part is no agent name.
    #[error(transparent)]
    Agent(#[from] NameError),
}

impl ZoneName {
    /// The labels, most specific first.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether this zone is `other` or below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0
            .strip_suffix(other.0.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The name under which a tool of this zone is imported elsewhere:
    /// `<tool>__<all labels joined by _>`; none when it would be too long, since it is never cut.
    #[must_use]
    pub fn imported_tool_name(&self, tool: &ToolName) -> Option<String> {
        let name = format!("{tool}__{}", self.0.replace('.', "_"));
        (name.len() <= ToolName::LENGTH_MAX).then_some(name)
    }
}

impl FromStr for ZoneName {
    type Err = ZoneNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_label = |label: &str| {
            (1..=LABEL_LENGTH_MAX).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        };
        if text.len() <= NAME_LENGTH_MAX && text.split('.').all(is_label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ZoneNameError::Malformed(text.to_owned()))
        }
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An agent somewhere in the federation: `writer.eu.acme.example`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AgentAddress {
    /// The agent.
    pub agent: AgentName,
    /// Its zone.
    pub zone: ZoneName,
}

impl FromStr for AgentAddress {
    type Err = ZoneNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (agent, zone) =
            text.split_once('.').ok_or_else(|| ZoneNameError::Malformed(text.to_owned()))?;
        Ok(Self { agent: AgentName::new(agent)?, zone: zone.parse()? })
    }
}

impl fmt::Display for AgentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.agent, self.zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_address_is_an_agent_label_in_front_of_a_zone() {
        let address: AgentAddress = "writer.eu.acme.example".parse().unwrap();
        assert_eq!(address.agent.as_str(), "writer");
        assert_eq!(address.zone.labels().collect::<Vec<_>>(), ["eu", "acme", "example"]);
        assert_eq!(address.to_string(), "writer.eu.acme.example");
        for bad in ["writer", "writer.", "writer..x", "1writer.x", "writer.UP", "writer.-x"] {
            assert!(bad.parse::<AgentAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn containment_respects_label_boundaries() {
        let zone = |text: &str| text.parse::<ZoneName>().unwrap();
        assert!(zone("eu.acme.example").is_within(&zone("acme.example")));
        assert!(zone("acme.example").is_within(&zone("acme.example")));
        assert!(!zone("evilacme.example").is_within(&zone("acme.example")));
    }

    #[test]
    fn an_imported_tool_carries_its_zone_or_is_not_imported() {
        let tool = ToolName::new("textkit_summarize").unwrap();
        let zone: ZoneName = "eu.acme.example".parse().unwrap();
        assert_eq!(
            zone.imported_tool_name(&tool).as_deref(),
            Some("textkit_summarize__eu_acme_example")
        );
        let long: ZoneName = format!("{}.example", "a".repeat(50)).parse().unwrap();
        assert_eq!(long.imported_tool_name(&tool), None);
    }
}

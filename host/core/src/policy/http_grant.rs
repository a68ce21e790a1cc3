//! A permission to send requests: the rule, what the host adds to a request, and how much it may take.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::header::{self, HeaderName};
use serde::{Deserialize, Serialize};

use super::HttpRule;
use crate::{SecretName, settings};

/// Most headers that one rule adds: nobody authenticates with more.
pub const HEADERS_MAX: usize = 8;
/// Longest value of such a header before secrets are put in, in bytes.
const TEMPLATE_MAX_BYTES: usize = 1 << 10;
/// What begins and ends the name of a secret.
const OPEN: &str = "{secret:";
const CLOSE: char = '}';

/// Headers that are the host's or the connection's own: what a request goes to and where it ends is no rule's to
/// change.
const RESERVED: [HeaderName; 11] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::ACCEPT_ENCODING,
    HeaderName::from_static("keep-alive"),
];

/// One entry of `http` in a policy. The first whose rule permits a request decides what is added to it and how much
/// it may take.
///
/// Written as its rule alone, or as a table with `permit` and the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct HttpGrant {
    /// Which requests.
    pub rule: HttpRule,
    /// Headers that the host sets, in the place of any that the guest wrote.
    pub headers: Vec<InjectedHeader>,
    /// Secrets may go over plain HTTP.
    pub plaintext: bool,
    /// How much they may take.
    pub limits: HttpLimits,
}

/// How much requests of one rule may take. What is not limited here is limited by the host for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpLimits {
    /// The body of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_max_bytes: Option<u64>,
    /// The body of a response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_max_bytes: Option<u64>,
    /// From sending to the end of the response.
    #[serde(
        rename = "timeout_ms",
        with = "optional_milliseconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub timeout: Option<Duration>,
    /// Requests of the agent under this rule at one time, each with a connection of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<u32>,
}

/// A header that the host sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(String, String)", into = "(String, String)")]
pub struct InjectedHeader {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: Template,
}

/// The value of a header, with the places of secrets: `Bearer {secret:GITHUB}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it is written.
    Text(String),
    /// The value of a secret.
    Secret(SecretName),
}

impl HttpGrant {
    /// A permission without anything added or limited.
    #[must_use]
    pub const fn of(rule: HttpRule) -> Self {
        let limits = HttpLimits {
            request_max_bytes: None,
            response_max_bytes: None,
            timeout: None,
            connections_max: None,
        };
        Self { rule, headers: Vec::new(), plaintext: false, limits }
    }

    /// Checks what the parts of an entry mean together.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn check(self) -> Result<Self, String> {
        let uses_secrets = self.secrets().next().is_some();
        if uses_secrets && !self.rule.is_one_host() {
            return Err(format!(
                "`{}` would send a secret to every name below that one: name the host that it is for",
                self.rule
            ));
        }
        if uses_secrets && !self.rule.is_tls() && !self.plaintext {
            return Err(format!(
                "`{}` would send a secret in clear text: use https, or add `plaintext = true`",
                self.rule
            ));
        }
        if self.headers.len() > HEADERS_MAX {
            return Err(format!("`{}` adds more than {HEADERS_MAX} headers", self.rule));
        }
        Ok(self)
    }

    /// The secrets that its headers hold.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretName> {
        self.headers.iter().flat_map(|header| header.value.secrets())
    }
}

impl InjectedHeader {
    /// Reads a header.
    ///
    /// # Errors
    /// What is wrong with its name or value.
    pub fn new(name: &str, value: &str) -> Result<Self, String> {
        let parsed = name
            .parse::<HeaderName>()
            .map_err(|_| format!("`{name}` is not the name of a header, like `Authorization`"))?;
        if RESERVED.contains(&parsed) {
            return Err(format!("`{name}` is for the host to set: leave it out"));
        }
        Ok(Self { name: parsed, value: value.parse()? })
    }
}

impl Template {
    /// Its parts in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    fn secrets(&self) -> impl Iterator<Item = &SecretName> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Secret(name) => Some(name),
            Piece::Text(_) => None,
        })
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
        if text.is_empty() || text.len() > TEMPLATE_MAX_BYTES || !is_plain(text) {
            return Err(format!(
                "the value of a header must be 1 to {TEMPLATE_MAX_BYTES} plain characters"
            ));
        }
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once(OPEN) {
            let (name, after) = after
                .split_once(CLOSE)
                .ok_or_else(|| format!("`{OPEN}` has no `{CLOSE}`: write {OPEN}NAME{CLOSE}"))?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Secret(
                name.parse().map_err(|error: crate::SecretNameError| error.to_string())?,
            ));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Secret(name) => write!(f, "{OPEN}{name}{CLOSE}"),
        })
    }
}

impl FromStr for HttpGrant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self::of)
    }
}

/// As a person reads it: the rule, and what is added and limited.
impl fmt::Display for HttpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, headers, plaintext, limits } = self;
        write!(f, "{rule}")?;
        let mut more: Vec<String> = headers
            .iter()
            .map(|header| format!("with `{}: {}`", header.name, header.value))
            .collect();
        if *plaintext {
            more.push("secrets in clear text".to_owned());
        }
        let size = settings::show_size;
        more.extend(
            limits.request_max_bytes.map(|max| format!("requests of {} at most", size(max))),
        );
        more.extend(
            limits.response_max_bytes.map(|max| format!("answers of {} at most", size(max))),
        );
        more.extend(limits.timeout.map(|max| format!("within {}", settings::show_time(max))));
        more.extend(limits.connections_max.map(|max| format!("{max} at one time")));
        if more.is_empty() { Ok(()) } else { write!(f, " ({})", more.join(", ")) }
    }
}

/// An entry as it is kept with a revision: its rule alone where there is no more.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Rule(HttpRule),
    Full(Full),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Full {
    permit: HttpRule,
    #[serde(default)]
    headers: Vec<InjectedHeader>,
    #[serde(default)]
    plaintext: bool,
    #[serde(default)]
    limits: HttpLimits,
}

impl From<HttpGrant> for Stored {
    fn from(grant: HttpGrant) -> Self {
        let HttpGrant { rule, headers, plaintext, limits } = grant;
        if headers.is_empty() && !plaintext && limits == HttpLimits::default() {
            return Self::Rule(rule);
        }
        Self::Full(Full { permit: rule, headers, plaintext, limits })
    }
}

impl TryFrom<Stored> for HttpGrant {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        match stored {
            Stored::Rule(rule) => Ok(Self::of(rule)),
            Stored::Full(Full { permit, headers, plaintext, limits }) => {
                Self { rule: permit, headers, plaintext, limits }.check()
            }
        }
    }
}

impl From<InjectedHeader> for (String, String) {
    fn from(header: InjectedHeader) -> Self {
        (header.name.as_str().to_owned(), header.value.to_string())
    }
}

impl TryFrom<(String, String)> for InjectedHeader {
    type Error = String;

    fn try_from((name, value): (String, String)) -> Result<Self, String> {
        Self::new(&name, &value)
    }
}

mod optional_milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "what serde asks for")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(d)?.map(Duration::from_millis))
    }
}

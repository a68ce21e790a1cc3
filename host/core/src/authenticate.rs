//! Who asks, for whom, and what they may do. `access` implements it.
//!
//! A [`Caller`] is made once, at the front of the host, from what a request carries. Behind that it is a plain value:
//! it travels with calls, is compared when a session or a task is continued, and may be sent to another node
//! of the zone, which takes the sender's word for it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{BoxFuture, KeyId, TenantName};

/// The authenticated origin of a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Caller {
    /// Whose agents it may see and call.
    pub tenant: TenantName,
    /// Who it is. Sessions, tasks and what waits for answers belong to tenant and subject together.
    pub subject: Subject,
    /// What it may do.
    pub scopes: Scopes,
}

impl Caller {
    /// Whoever uses a host that asks for no credential: it may do everything, for this tenant.
    #[must_use]
    pub const fn local(tenant: TenantName) -> Self {
        Self { tenant, subject: Subject::Local, scopes: Scopes::ALL }
    }

    /// Whether both are the same one: the same subject, for the same tenant.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.tenant == other.tenant && self.subject == other.subject
    }
}

/// Who a caller is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Subject {
    /// Nobody had to say who they are: the host is open to its own machine.
    Local,
    /// Whoever has an API key. A key that replaces another one in a rotation is the same subject.
    Key {
        /// The id of the first key of the rotation.
        id: Arc<str>,
    },
    /// Whom an issuer of tokens vouches for.
    Token {
        /// The issuer (`iss`).
        issuer: Arc<str>,
        /// The subject, unique within the issuer (`sub`).
        subject: Arc<str>,
    },
    /// Another zone, for callers of its own that it does not name.
    Zone {
        /// Its name; none when it showed no token that this zone gave it.
        name: Option<Arc<str>>,
    },
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Key { id } => write!(f, "key:{id}"),
            // A `#` cannot be in an issuer (RFC 8414, section 2), so two different ones never look the same.
            Self::Token { issuer, subject } => write!(f, "token:{issuer}#{subject}"),
            Self::Zone { name: Some(name) } => write!(f, "zone:{name}"),
            // No zone has this name.
            Self::Zone { name: None } => f.write_str("zone:?"),
        }
    }
}

/// One thing that a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Run tools, read resources, get prompts.
    #[serde(rename = "tools:call")]
    ToolsCall,
    /// See which tools, resources, prompts, skills and agents there are.
    #[serde(rename = "tools:list")]
    ToolsList,
    /// Load, unload and roll back the tenant's agents.
    #[serde(rename = "agents:write")]
    AgentsWrite,
    /// Manage the tenant's keys and secrets, and read its figures.
    #[serde(rename = "tenant:admin")]
    TenantAdmin,
    /// Manage tenants, act for any of them, and read the host's figures.
    #[serde(rename = "cluster:admin")]
    ClusterAdmin,
}

impl Scope {
    /// Every scope, the weakest first.
    pub const ALL: [Self; 5] = [
        Self::ToolsCall,
        Self::ToolsList,
        Self::AgentsWrite,
        Self::TenantAdmin,
        Self::ClusterAdmin,
    ];

    /// As it is written in tokens, in settings and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ToolsCall => "tools:call",
            Self::ToolsList => "tools:list",
            Self::AgentsWrite => "agents:write",
            Self::TenantAdmin => "tenant:admin",
            Self::ClusterAdmin => "cluster:admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no scope of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no scope: use tools:call, tools:list, agents:write, tenant:admin or cluster:admin"
)]
pub struct UnknownScope(String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let named = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        named.ok_or_else(|| UnknownScope(text.chars().take(64).collect()))
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Scope>", into = "Vec<Scope>")]
pub struct Scopes(u8);

impl Scopes {
    /// None.
    pub const NONE: Self = Self(0);
    /// Every one.
    pub const ALL: Self = Self((1 << Scope::ALL.len()) - 1);

    /// Whether `scope` is among them.
    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    /// These and `scope`.
    #[must_use]
    pub const fn with(self, scope: Scope) -> Self {
        Self(self.0 | (1 << scope as u8))
    }

    /// These without `scope`.
    #[must_use]
    pub const fn without(self, scope: Scope) -> Self {
        Self(self.0 & !(1 << scope as u8))
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether every one of these is also in `other`.
    #[must_use]
    pub const fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each, the weakest first.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Self::NONE, Self::with)
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Self {
        scopes.into_iter().collect()
    }
}

impl From<Scopes> for Vec<Scope> {
    fn from(scopes: Scopes) -> Self {
        scopes.iter().collect()
    }
}

/// Separated by spaces, as OAuth writes them.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Scope::as_str)).finish()
    }
}

/// Why a caller was refused. What is behind it (no such key, an expired one, a wrong signature) goes to the log:
/// whoever holds no valid credential learns nothing from the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticateError {
    /// The host asks for a credential, and the request has none.
    #[error(
        "this host asks for a credential: send `Authorization: Bearer <API key or access token>`"
    )]
    Missing,
    /// The credential is not valid: unknown, expired, revoked, or not for this host.
    #[error(
        "the credential is not valid: it may have expired, have been revoked, or be for another host"
    )]
    Invalid,
    /// The address sent too many invalid credentials.
    #[error("too many invalid credentials came from this address: wait before the next one")]
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
    /// There is no such tenant, or the caller may not know of it.
    #[error(
        "no such tenant: leave `/t/{{tenant}}` out of the path, or name the one of your credential"
    )]
    UnknownTenant,
    /// Whoever vouches for the caller cannot be asked now.
    #[error("the credential cannot be checked now: try again soon")]
    Unavailable,
}

/// What a request says of its origin.
#[derive(Debug, Clone, Copy, Default)]
pub struct Presented<'a> {
    /// The value of `Authorization: Bearer`.
    pub bearer: Option<&'a str>,
    /// The tenant named in the path (`/t/{tenant}/…`).
    pub tenant: Option<&'a str>,
    /// Whose network address it came from; none for standard input.
    pub address: Option<core::net::IpAddr>,
}

/// How a caller that needs something else is told what (`WWW-Authenticate`, RFC 6750 and RFC 9728).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Challenge {
    metadata_url: Option<Arc<str>>,
}

impl Challenge {
    /// With the URL of the resource's metadata, where tokens can be had.
    #[must_use]
    pub fn new(metadata_url: Option<String>) -> Self {
        Self { metadata_url: metadata_url.map(Into::into) }
    }

    /// The value of the header: what is wrong, if anything was sent, and the scopes that would do.
    #[must_use]
    pub fn header(&self, error: Option<&str>, scope: &str) -> String {
        let mut parts = Vec::new();
        if let Some(error) = error {
            parts.push(format!("error=\"{error}\""));
        }
        parts.push(format!("scope=\"{scope}\""));
        if let Some(url) = &self.metadata_url {
            parts.push(format!("resource_metadata=\"{url}\""));
        }
        format!("Bearer {}", parts.join(", "))
    }
}

/// A caller, and what its word rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Who asks.
    pub caller: Caller,
    /// Why that is believed.
    pub bond: Bond,
    /// When its tenant was created, in milliseconds since the Unix epoch: tells it from one of its name that was deleted.
    pub since_unix_ms: u64,
}

/// What a caller's word rests on, without the credential itself: enough to ask again whether it still counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bond {
    /// Nothing: the host is open. It counts until the first key closes the host.
    Open,
    /// An API key, by its own id. After a rotation its subject is that of another.
    Key(KeyId),
    /// A token of an issuer, which is good until then.
    Token {
        /// In milliseconds since the Unix epoch.
        expires_unix_ms: u64,
    },
}

/// How long it takes to know who asks.
pub enum Identified {
    /// It is known. A key, and a token that was seen before, cost a hash and a look into a table.
    Now(Result<Known, AuthenticateError>),
    /// A signature has to be checked, and maybe the issuer's keys fetched.
    Soon(BoxFuture<'static, Result<Known, AuthenticateError>>),
}

/// Turns what a request carries into a [`Caller`]. Never blocks.
pub trait Authenticate: Send + Sync {
    /// Who asks.
    fn authenticate(&self, presented: Presented<'_>) -> Identified;

    /// Whether the word of a caller that was authenticated before still counts: its credential was not revoked and has not
    /// expired, or the host is open as it was; and its tenant is still there, not another one of its name.
    fn holds(&self, known: &Known) -> bool;
}

/// Who asked, and whether it still counts: every request that the gate lets in carries one, and what outlives the check of
/// a credential keeps it. Clones are the same.
#[derive(Clone)]
pub struct Standing(Arc<(Known, Arc<dyn Authenticate>)>);

impl Standing {
    /// How often it is asked again, whoever does. Within a few seconds nothing is open that should not be.
    pub const ASKED_EVERY: Duration = Duration::from_secs(1);

    /// The standing of a caller. That of whoever came to an open host lasts until the host asks for credentials.
    #[must_use]
    pub fn of(known: Known, authenticate: Arc<dyn Authenticate>) -> Self {
        Self(Arc::new((known, authenticate)))
    }

    /// Whose it is, and what it rests on.
    #[must_use]
    pub fn known(&self) -> &Known {
        &self.0.0
    }

    /// Whose it is.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.0.0.caller
    }

    /// Whether it still counts. Costs a look into a table.
    #[must_use]
    pub fn holds(&self) -> bool {
        let (known, authenticate) = &*self.0;
        authenticate.holds(known)
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Standing").field(&self.0.0).finish()
    }
}

#[cfg(test)]
mod tests;

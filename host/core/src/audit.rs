//! Who did what: every change of agents, tenants, policies, secrets and keys, and everything that a policy
//! refused. `access` keeps the log.
//!
//! An event names things and never holds their contents: no argument of a call, no secret, no credential.
//! Text that a guest or client chose (the host of a refused request) is bounded where it is written.

use std::fmt;

use crate::{AgentName, Subject, TenantName};

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor<'a> {
    /// The host itself: it follows its configuration and its directories.
    Host,
    /// Whoever reached the host and is not known.
    Anonymous,
    /// An authenticated caller.
    Caller(&'a Subject),
    /// An agent.
    Agent(&'a AgentName),
}

impl fmt::Display for Actor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Anonymous => f.write_str("anonymous"),
            Self::Caller(subject) => fmt::Display::fmt(subject, f),
            Self::Agent(name) => write!(f, "agent:{name}"),
        }
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// What was done. The set is closed, so that whoever reads the log knows what can be in it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action {
            $($(#[$doc])* $name,)+
        }

        impl Action {
            /// Every action.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The stable word in the log: what it is done to, a dot, and what is done.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

actions! {
    /// The host began to serve.
    HostStart = "host.start",
    /// The host stopped.
    HostStop = "host.stop",
    /// The configuration was read again.
    HostReload = "host.reload",
    /// A revision of an agent was loaded, or could not be.
    AgentLoad = "agent.load",
    /// An agent was removed.
    AgentUnload = "agent.unload",
    /// An agent went back to an earlier revision.
    AgentRollback = "agent.rollback",
    /// A policy refused something: to an agent while it ran, or to its settings when they were loaded.
    PolicyRefuse = "policy.refuse",
    /// A tenant was made.
    TenantCreate = "tenant.create",
    /// A tenant was removed with everything of it.
    TenantDelete = "tenant.delete",
    /// A key was made.
    KeyCreate = "key.create",
    /// A key was replaced.
    KeyRotate = "key.rotate",
    /// A key was revoked.
    KeyRevoke = "key.revoke",
    /// A token with which nodes join the zone was made.
    TokenCreate = "token.create",
    /// A node was evicted from the zone.
    NodeEvict = "node.evict",
    /// The zone got a new key.
    ZoneKeyRotate = "zone_key.rotate",
    /// A secret was stored.
    SecretSet = "secret.set",
    /// A secret was removed.
    SecretDelete = "secret.delete",
    /// Whoever asked was not who it said, or may not do it.
    AccessRefuse = "access.refuse",
    /// Lines of the log were lost, because the disk did not take them.
    AuditLose = "audit.lose",
    /// An unfinished line at the end of the log was cut off, or the log did not end where it should.
    AuditRecover = "audit.recover",
    /// The oldest file of the log was removed to make room.
    AuditPrune = "audit.prune",
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It happened.
    Done,
    /// It was not allowed.
    Refused,
    /// It was allowed and did not work.
    Failed,
}

impl Outcome {
    /// The stable word in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Something that was done, or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditEvent<'a> {
    /// By whom.
    pub who: Actor<'a>,
    /// What.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// Whose: the tenant that it concerns.
    pub tenant: Option<&'a TenantName>,
    /// The agent that it concerns.
    pub agent: Option<&'a AgentName>,
    /// What it was done to, by name: a digest, a key's prefix, a secret's name, the setting of a refusal. Refusals and
    /// failures of one subject are counted together.
    pub subject: &'a str,
    /// More in words: the rule, the reason. Empty for nothing.
    pub detail: &'a str,
}

impl<'a> AuditEvent<'a> {
    /// What the host did by itself, and what concerns no tenant and no agent.
    #[must_use]
    pub const fn of_host(action: Action, subject: &'a str) -> Self {
        Self {
            who: Actor::Host,
            action,
            outcome: Outcome::Done,
            tenant: None,
            agent: None,
            subject,
            detail: "",
        }
    }
}

/// Takes events. Called on the path of calls: never blocks. What repeats is counted together, so that no guest and no
/// client can flood the log.
pub trait Audit: Send + Sync {
    /// Takes one event.
    fn note(&self, event: AuditEvent<'_>);
}

/// Takes nothing down: around one call without a host, nobody reads a log.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAudit;

impl Audit for NoAudit {
    fn note(&self, _: AuditEvent<'_>) {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn words_are_unique_and_say_what_it_is_done_to() {
        let words: BTreeSet<_> = Action::ALL.iter().map(|action| action.as_str()).collect();
        assert_eq!(words.len(), Action::ALL.len());
        assert!(words.iter().all(|word| word.split('.').count() == 2), "{words:?}");
    }

    #[test]
    fn an_actor_is_named_as_what_it_is() {
        let agent = AgentName::new("host").unwrap();
        let names =
            [Actor::Host, Actor::Anonymous, Actor::Caller(&Subject::Local), Actor::Agent(&agent)]
                .map(|actor| actor.to_string());
        assert_eq!(names, ["host", "anonymous", "local", "agent:host"]);
    }
}

//! What agents may have at most, whatever their settings say: a node's operator sets it for all of them, and for
//! those of one tenant.
//!
//! A ceiling grants nothing. Settings that exceed one are refused when they are loaded, not trimmed: an agent
//! that runs has exactly what its settings say. Like a policy, a ceiling that is silent permits nothing; what has a
//! number is limited only where the ceiling has one.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Component;

use super::{DirectoryGrant, HttpRule, Limits, Policy, is_public};
use crate::settings::{Lines, show_size, show_time};
use crate::{Settings, TenantName};

/// The ceilings of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// For every agent.
    pub host: Option<Ceiling>,
    /// For the agents of one tenant, besides that of the host.
    pub tenants: BTreeMap<TenantName, Ceiling>,
}

/// The most that settings may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceiling {
    /// What may be granted. Headers and limits of its `http` rules mean nothing.
    pub policy: Policy,
    /// Models, written `PROVIDER/NAME`; a star at the end stands for all that begin like it.
    pub models: Vec<String>,
    /// `tokens_per_call` of a model.
    pub tokens_per_call: u64,
    /// `tokens_per_day` of a model.
    pub tokens_per_day: u64,
    /// Those of them that a ceiling can have: `timeout`, `memory_max_bytes`, `output_max_bytes` and `concurrency`.
    pub limits: Limits,
    /// Where it is written: the file, the table in it, and the line of every key.
    pub file: String,
    /// The table, such as `ceiling`.
    pub table: String,
    /// Where each of its keys is.
    pub lines: Lines,
}

/// A setting that is over a ceiling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// The setting, as in [`Lines`]: `policy.http[1]`.
    pub setting: String,
    /// What it says.
    pub said: String,
    /// What it is over, with the place where that is written.
    pub ceiling: String,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {} is more than {} permits", self.setting, self.said, self.ceiling)
    }
}

impl Ceilings {
    /// Those over the agents of a tenant.
    pub fn over(&self, tenant: &TenantName) -> impl Iterator<Item = &Ceiling> {
        self.host.iter().chain(self.tenants.get(tenant))
    }

    /// Everything in an agent's settings that is over a ceiling, in the order of the settings.
    #[must_use]
    pub fn excesses(&self, tenant: &TenantName, settings: &Settings) -> Vec<Excess> {
        self.over(tenant).flat_map(|ceiling| ceiling.excesses(settings)).collect()
    }
}

impl Default for Ceiling {
    fn default() -> Self {
        Self {
            policy: Policy::deny_all(),
            models: Vec::new(),
            tokens_per_call: u64::MAX,
            tokens_per_day: u64::MAX,
            limits: Limits {
                timeout: std::time::Duration::MAX,
                memory_max_bytes: u64::MAX,
                output_max_bytes: u64::MAX,
                concurrency: u32::MAX,
                ..Limits::default()
            },
            file: String::new(),
            table: String::new(),
            lines: Lines::default(),
        }
    }
}

impl Ceiling {
    fn excesses(&self, settings: &Settings) -> Vec<Excess> {
        let mut found = Vec::new();
        self.check_policy(&settings.policy, &mut found);
        self.check_model(settings, &mut found);
        self.check_limits(&settings.limits, &mut found);
        found
    }

    fn check_policy(&self, policy: &Policy, found: &mut Vec<Excess>) {
        let most = &self.policy;
        let mut lists = List { ceiling: self, found };
        lists.check("http", &policy.http, |grant| {
            most.http.iter().any(|limit| grant.rule.is_within(&limit.rule))
                && self.admits_addresses(&grant.rule)
        });
        lists.check("private_networks", &policy.private_networks, |network| {
            most.private_networks.iter().any(|limit| limit.contains(network))
        });
        lists.check("directories", &policy.directories, |directory| {
            most.directories.iter().any(|limit| is_below(directory, limit))
        });
        lists.check("environment", &policy.environment, |name| most.environment.contains(name));
        lists.check("tools", &policy.tools, |pattern| {
            most.tools.iter().any(|limit| pattern.is_within(limit))
        });
        if policy.shared_state && !most.shared_state {
            found.push(self.excess("policy.shared_state", "true".to_owned(), "shared_state"));
        }
    }

    /// Whether the addresses that a rule spells out are public, or meant by the ceiling: settings open a private one by
    /// naming it, so a pattern of hosts must not stand for it.
    fn admits_addresses(&self, rule: &HttpRule) -> bool {
        let Policy { http, private_networks, .. } = &self.policy;
        let is_within = |address: &IpAddr| {
            let forms = [*address, address.to_canonical()];
            private_networks.iter().any(|limit| forms.iter().any(|form| limit.contains(form)))
        };
        let is_named = |limit: &HttpRule| limit.is_one_host() && rule.is_within(limit);
        rule.addresses().iter().all(|address| is_public(*address) || is_within(address))
            || http.iter().any(|limit| is_named(&limit.rule))
    }

    fn check_model(&self, settings: &Settings, found: &mut Vec<Excess>) {
        let Some(model) = &settings.model else { return };
        let named = format!("{}/{}", model.provider, model.name);
        let permits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(begin) => named.starts_with(begin),
            None => *pattern == named,
        };
        if !self.models.iter().any(permits) {
            found.push(self.excess("model.name", format!("`{named}`"), "models"));
        }
        if model.tokens_per_call > self.tokens_per_call {
            let said = model.tokens_per_call.to_string();
            found.push(self.excess("model.tokens_per_call", said, "tokens_per_call"));
        }
        if model.tokens_per_day > self.tokens_per_day {
            let said = model.tokens_per_day.to_string();
            found.push(self.excess("model.tokens_per_day", said, "tokens_per_day"));
        }
    }

    fn check_limits(&self, limits: &Limits, found: &mut Vec<Excess>) {
        let most = &self.limits;
        let checks = [
            ("timeout", limits.timeout > most.timeout, show_time(limits.timeout)),
            (
                "memory",
                limits.memory_max_bytes > most.memory_max_bytes,
                show_size(limits.memory_max_bytes),
            ),
            (
                "output",
                limits.output_max_bytes > most.output_max_bytes,
                show_size(limits.output_max_bytes),
            ),
            ("concurrency", limits.concurrency > most.concurrency, limits.concurrency.to_string()),
        ];
        for (name, is_over, said) in checks {
            if is_over {
                found.push(self.excess(name, said, name));
            }
        }
    }

    fn excess(&self, setting: &str, said: String, key: &str) -> Excess {
        Excess { setting: setting.to_owned(), said, ceiling: self.place_of(key) }
    }

    /// Where it is written: `[ceiling]` (aop.toml:12).
    #[must_use]
    pub fn place(&self) -> String {
        let Self { file, table, lines, .. } = self;
        let line = lines.of(table).map(|line| format!(":{line}")).unwrap_or_default();
        format!("`[{table}]` ({file}{line})")
    }

    /// A key of the ceiling with its place, or the table's where it has no such key.
    #[must_use]
    pub fn place_of(&self, key: &str) -> String {
        let Self { file, table, lines, .. } = self;
        match (lines.of(&format!("{table}.{key}")), lines.of(table)) {
            (Some(line), _) => format!("`{key}` of `[{table}]` ({file}:{line})"),
            (None, Some(line)) => format!("`[{table}]` ({file}:{line}), which has no `{key}`,"),
            (None, None) => format!("`[{table}]` of {file}"),
        }
    }
}

/// Checks the lists of a policy, entry by entry.
struct List<'a> {
    ceiling: &'a Ceiling,
    found: &'a mut Vec<Excess>,
}

impl List<'_> {
    fn check<G: fmt::Display>(&mut self, key: &str, grants: &[G], permits: impl Fn(&G) -> bool) {
        for (index, grant) in grants.iter().enumerate() {
            if !permits(grant) {
                let setting = format!("policy.{key}[{index}]");
                self.found.push(self.ceiling.excess(&setting, format!("`{grant}`"), key));
            }
        }
    }
}

/// Whether a directory lies in the one of a ceiling, as it is written. A link inside that leads out is the
/// operator's own, who made it: those that guests make lead down only.
fn is_below(directory: &DirectoryGrant, limit: &DirectoryGrant) -> bool {
    let is_plain = !directory.host.components().any(|part| part == Component::ParentDir);
    let is_small = !directory.writable || directory.limits.is_within(&limit.limits);
    let is_allowed = !directory.writable || limit.writable;
    is_plain && directory.host.starts_with(&limit.host) && is_allowed && is_small
}

//! What agents may have at most, whatever their settings say: a node's operator sets it for all of them, and for
//! those of one tenant.
//!
//! A ceiling grants nothing. Settings that exceed one are refused when they are loaded, not trimmed: an agent
//! that runs has exactly what its settings say. Like a policy, a ceiling that is silent permits nothing; what has a
//! number is limited only where the ceiling has one. Uploads are the exception: whoever may load an agent need not be
//! who runs the host, so what the host itself holds for an agent (state, handles, lines of log) is what settings that say
//! nothing have, unless a ceiling has a number.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Component;
use std::time::Duration;

use super::{DirectoryGrant, HttpRule, Limits, Policy, is_public};
use crate::settings::{Lifetime, Lines, show_size, show_time};
use crate::{Settings, TenantName};

/// A number that is in the limits of both.
macro_rules! limit {
    ($key:literal, $unit:ident, |$limits:ident| $value:expr) => {
        limit!($key, $unit, |$limits| $value, false)
    };
    ($key:literal, $unit:ident, |$limits:ident| $value:expr, held) => {
        limit!($key, $unit, |$limits| $value, true)
    };
    ($key:literal, $unit:ident, |$limits:ident| $value:expr, $is_held:literal) => {
        Number {
            key: $key,
            unit: Unit::$unit,
            said: |settings| {
                let $limits = &settings.limits;
                $value
            },
            most: |ceiling| {
                let $limits = &ceiling.limits;
                $value
            },
            is_held: $is_held,
        }
    };
}

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
    /// Those that settings have; the largest number where the ceiling has none.
    pub limits: Limits,
    /// `calls_max` of a warm instance.
    pub warm_calls_max: u32,
    /// `idle` of a warm instance.
    pub warm_idle: Duration,
    /// Nodes of the zone on which an agent lives.
    pub replicas: u32,
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

    /// The same of settings that were uploaded, besides: what the host would hold for the agent is what it holds for settings
    /// that say nothing, where no ceiling has a number.
    #[must_use]
    pub fn excesses_of_upload(&self, tenant: &TenantName, settings: &Settings) -> Vec<Excess> {
        let most = Settings::default();
        let has_number =
            |number: &Number| self.over(tenant).any(|ceiling| (number.most)(ceiling) != u64::MAX);
        let held = NUMBERS.iter().filter(|number| number.is_held && !has_number(number));
        let over = held.filter(|number| (number.said)(settings) > (number.said)(&most));
        over.map(|number| Excess {
            setting: number.key.to_owned(),
            said: number.show((number.said)(settings)),
            ceiling: format!(
                "the default of uploads ({}; `{}` of `[ceiling]` in aop.toml can say more)",
                number.show((number.said)(&most)),
                number.key
            ),
        })
        .collect()
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
                timeout: Duration::MAX,
                memory_max_bytes: u64::MAX,
                table_elements_max: u64::MAX,
                output_max_bytes: u64::MAX,
                concurrency: u32::MAX,
                queue: u32::MAX,
                log_lines_per_second: u32::MAX,
                state_keys_max: u64::MAX,
                state_max_bytes: u64::MAX,
                handle_instances_max: u32::MAX,
                handle_idle: Duration::MAX,
                handle_lifetime: Duration::MAX,
            },
            warm_calls_max: u32::MAX,
            warm_idle: Duration::MAX,
            replicas: u32::MAX,
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
        self.check_limits(settings, &mut found);
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

    fn check_limits(&self, settings: &Settings, found: &mut Vec<Excess>) {
        for number in NUMBERS {
            let said = (number.said)(settings);
            if said > (number.most)(self) {
                found.push(self.excess(number.key, number.show(said), number.key));
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

/// A number of settings, and the most that a ceiling lets it be.
struct Number {
    /// In both.
    key: &'static str,
    unit: Unit,
    said: fn(&Settings) -> u64,
    /// The largest number where the ceiling has none.
    most: fn(&Ceiling) -> u64,
    /// Whether the host holds so much for the agent outside of its calls.
    is_held: bool,
}

#[derive(Clone, Copy)]
enum Unit {
    Count,
    Bytes,
    Milliseconds,
}

/// Those that a table of settings and one of a ceiling have under the same key.
static NUMBERS: &[Number] = &[
    limit!("timeout", Milliseconds, |limits| millis(limits.timeout)),
    limit!("memory", Bytes, |limits| limits.memory_max_bytes),
    limit!("output", Bytes, |limits| limits.output_max_bytes),
    limit!("concurrency", Count, |limits| count(limits.concurrency)),
    limit!("queue", Count, |limits| count(limits.queue)),
    limit!("log_lines_per_second", Count, |limits| count(limits.log_lines_per_second), held),
    limit!("state.keys_max", Count, |limits| limits.state_keys_max, held),
    limit!("state.size_max", Bytes, |limits| limits.state_max_bytes, held),
    limit!("handles.instances_max", Count, |limits| count(limits.handle_instances_max), held),
    limit!("handles.idle", Milliseconds, |limits| millis(limits.handle_idle), held),
    limit!("handles.lifetime", Milliseconds, |limits| millis(limits.handle_lifetime), held),
    Number {
        key: "warm.calls_max",
        unit: Unit::Count,
        said: |settings| match settings.lifetime {
            Lifetime::Warm { calls_max, .. } => count(calls_max),
            Lifetime::Call => 0,
        },
        most: |ceiling| count(ceiling.warm_calls_max),
        is_held: false,
    },
    Number {
        key: "warm.idle",
        unit: Unit::Milliseconds,
        said: |settings| match settings.lifetime {
            Lifetime::Warm { idle_max, .. } => millis(idle_max),
            Lifetime::Call => 0,
        },
        most: |ceiling| millis(ceiling.warm_idle),
        is_held: false,
    },
    Number {
        key: "replicas",
        unit: Unit::Count,
        said: |settings| settings.replicas.map_or(0, count),
        most: |ceiling| count(ceiling.replicas),
        is_held: false,
    },
];

impl Number {
    fn show(&self, value: u64) -> String {
        match self.unit {
            Unit::Count => value.to_string(),
            Unit::Bytes => show_size(value),
            Unit::Milliseconds => show_time(Duration::from_millis(value)),
        }
    }
}

/// Where a ceiling has no number, none here either.
fn count(number: u32) -> u64 {
    if number == u32::MAX { u64::MAX } else { u64::from(number) }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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

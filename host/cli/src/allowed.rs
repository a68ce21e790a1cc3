//! What an agent would be allowed to do under its settings, in words, for each capability that its
//! component imports.
//!
//! Toolchains import much that a program never uses, and hosts link all of it; so the imports alone
//! say little, and the settings alone say nothing of whether they matter.

use std::fmt::Display;

use aop_core::policy::{Clock, Randomness};
use aop_core::settings::{Settings, show_size, show_time};
use aop_core::{Limits, Policy};
use serde::Serialize;

use crate::output;
use crate::services::KnownProviders;

/// What an agent may do, and how much.
#[derive(Serialize)]
pub(crate) struct Allowed<'a> {
    capabilities: Vec<Capability>,
    policy: &'a Policy,
    limits: &'a Limits,
}

/// Something beyond computing.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Capability {
    capability: &'static str,
    allowed: bool,
    explanation: String,
}

/// A capability, the beginnings of the imports by which components reach it, and what settings say of it.
struct Rule {
    capability: &'static str,
    imports: &'static [&'static str],
    explain: fn(&Settings) -> (bool, String),
    /// Each setting that says so, by its path, with what it says.
    grants: fn(&Settings) -> Vec<(String, String)>,
}

/// What settings say of one capability.
pub(crate) struct Said {
    pub(crate) capability: &'static str,
    pub(crate) allowed: bool,
    pub(crate) words: String,
    /// Each setting that says so, by its path, with what it says; none for what holds for every agent.
    pub(crate) grants: Vec<(String, String)>,
}

/// What settings say of every capability, computing included.
pub(crate) fn say(settings: &Settings, providers: &KnownProviders) -> Vec<Said> {
    let rules = RULES.iter().map(|rule| {
        let (allowed, words) = explain(rule, settings, providers);
        let mut grants = (rule.grants)(settings);
        if rule.capability == MODEL && allowed {
            grants.insert(0, ("model.provider".to_owned(), words.clone()));
        }
        Said { capability: rule.capability, allowed, words, grants }
    });
    let limits = &settings.limits;
    let computing = [
        ("timeout", format!("{} per call", show_time(limits.timeout))),
        ("memory", format!("{} of memory", show_size(limits.memory_max_bytes))),
        ("output", format!("results of {}", show_size(limits.output_max_bytes))),
        ("concurrency", format!("{} calls at once", limits.concurrency)),
    ];
    let computing = Said {
        capability: "computing",
        allowed: true,
        words: String::new(),
        grants: computing.map(|(setting, words)| (setting.to_owned(), words)).into(),
    };
    std::iter::once(computing).chain(rules).collect()
}

/// What settings say of one capability, on a host with these providers.
fn explain(rule: &Rule, settings: &Settings, providers: &KnownProviders) -> (bool, String) {
    match &settings.model {
        Some(model) if rule.capability == MODEL => providers.say(model),
        _ => (rule.explain)(settings),
    }
}

/// The entries of a list, each with its path.
fn entries<G: Display>(path: &str, grants: &[G]) -> Vec<(String, String)> {
    let entry = |(index, grant): (usize, &G)| (format!("{path}[{index}]"), grant.to_string());
    grants.iter().enumerate().map(entry).collect()
}

/// The capability that needs somebody who provides it.
const MODEL: &str = "language model";

static RULES: &[Rule] = &[
    Rule {
        capability: "clocks and randomness",
        imports: &["wasi:clocks/", "wasi:random/"],
        explain: |settings| {
            let policy = &settings.policy;
            let clock = match policy.clock {
                Clock::Real => "the machine's clock".to_owned(),
                Clock::Fixed(_) => format!("a clock that stands at {}", policy.clock),
            };
            let random = match policy.random {
                Randomness::Secure => "secure random numbers",
                Randomness::Seeded(_) => "the same random numbers in every instance",
            };
            (true, format!("{clock}, {random}"))
        },
        grants: |settings| {
            let policy = &settings.policy;
            vec![
                ("policy.clock".to_owned(), format!("clock {}", policy.clock)),
                ("policy.random".to_owned(), format!("random {}", policy.random)),
            ]
        },
    },
    Rule {
        capability: "logging",
        imports: &["wasi:logging/", "wasi:cli/stdout@", "wasi:cli/stderr@"],
        explain: |settings| {
            let lines = settings.limits.log_lines_per_second;
            (lines > 0, format!("at most {lines} lines per second, into the host's log"))
        },
        grants: |settings| {
            let lines = settings.limits.log_lines_per_second;
            vec![("log_lines_per_second".to_owned(), format!("at most {lines} lines per second"))]
        },
    },
    Rule {
        capability: "configuration",
        imports: &["wasi:config/"],
        explain: |settings| {
            granted(settings.config.keys(), "the values of", "`[config]` has no values")
        },
        grants: |settings| {
            let keys = settings.config.keys();
            keys.map(|key| (format!("config.{key}"), format!("the value of {key}"))).collect()
        },
    },
    Rule {
        capability: "environment",
        imports: &["wasi:cli/environment@"],
        explain: |settings| {
            let names = &settings.policy.environment;
            granted(names, "the variables", "`environment` in `[policy]` names no variables")
        },
        grants: |settings| entries("policy.environment", &settings.policy.environment),
    },
    Rule {
        capability: "files",
        imports: &["wasi:filesystem/"],
        explain: |settings| {
            let directories = &settings.policy.directories;
            granted(directories, "", "`directories` in `[policy]` names none")
        },
        grants: |settings| entries("policy.directories", &settings.policy.directories),
    },
    Rule {
        capability: "HTTP requests",
        imports: &["wasi:http/outgoing-handler@", "wasi:http/client@"],
        explain: http,
        grants: |settings| {
            let policy = &settings.policy;
            let mut grants = entries("policy.http", &policy.http);
            let networks = entries("policy.private_networks", &policy.private_networks);
            grants.extend(
                networks.into_iter().map(|(path, words)| (path, format!("also in {words}"))),
            );
            grants
        },
    },
    Rule {
        capability: "sockets",
        imports: &["wasi:sockets/"],
        explain: |_| (false, "for no agent; `http` in `[policy]` permits requests".to_owned()),
        grants: |_| Vec::new(),
    },
    Rule {
        capability: "state",
        imports: &["wasi:keyvalue/"],
        explain: |settings| {
            let limits = &settings.limits;
            let shared = if settings.policy.shared_state { "also" } else { "not" };
            let text = format!(
                "at most {} keys and {} in each bucket, {shared} what all agents share",
                limits.state_keys_max,
                show_size(limits.state_max_bytes)
            );
            (limits.state_keys_max > 0 && limits.state_max_bytes > 0, text)
        },
        grants: |settings| {
            let limits = &settings.limits;
            let shared = if settings.policy.shared_state { "also" } else { "not" };
            vec![
                (
                    "state.keys_max".to_owned(),
                    format!("{} keys in each bucket", limits.state_keys_max),
                ),
                (
                    "state.size_max".to_owned(),
                    format!("{} in each bucket", show_size(limits.state_max_bytes)),
                ),
                (
                    "policy.shared_state".to_owned(),
                    format!("{shared} what all agents of the tenant share"),
                ),
            ]
        },
    },
    Rule {
        capability: "tools of other agents",
        imports: &["aop:agent/tools@"],
        explain: |settings| granted(&settings.policy.tools, "", "`tools` in `[policy]` names none"),
        grants: |settings| entries("policy.tools", &settings.policy.tools),
    },
    Rule {
        capability: MODEL,
        imports: &["aop:agent/model@"],
        explain: |_| (false, "there is no `[model]`".to_owned()),
        grants: |settings| match &settings.model {
            None => Vec::new(),
            Some(model) => vec![
                ("model.name".to_owned(), format!("the model {}", model.name)),
                (
                    "model.tokens_per_call".to_owned(),
                    format!("{} tokens per call", model.tokens_per_call),
                ),
                (
                    "model.tokens_per_day".to_owned(),
                    format!("{} tokens per day", model.tokens_per_day),
                ),
            ],
        },
    },
    Rule {
        capability: "the caller's attention",
        imports: &[
            "aop:agent/progress@",
            "aop:agent/elicit@",
            "aop:agent/client@",
            "aop:agent/changes@",
        ],
        explain: |_| (true, "as far as the caller's client takes part".to_owned()),
        grants: |_| Vec::new(),
    },
];

/// Allowed when there is anything to list.
fn granted<T: Display>(
    grants: impl IntoIterator<Item = T>,
    before: &str,
    none: &str,
) -> (bool, String) {
    let grants: Vec<_> = grants.into_iter().map(|grant| grant.to_string()).collect();
    if grants.is_empty() {
        (false, none.to_owned())
    } else {
        (true, format!("{before} {}", grants.join(", ")).trim_start().to_owned())
    }
}

fn http(settings: &Settings) -> (bool, String) {
    let policy = &settings.policy;
    let (allowed, mut text) = granted(&policy.http, "", "`http` in `[policy]` permits none");
    if allowed && !policy.private_networks.is_empty() {
        let (_, networks) = granted(&policy.private_networks, "; also in", "");
        text.push_str(&networks);
    }
    (allowed, text)
}

impl<'a> Allowed<'a> {
    /// What settings say of the capabilities that are imported.
    pub(crate) fn of(
        imports: &[String],
        settings: &'a Settings,
        providers: &KnownProviders,
    ) -> Self {
        let is_imported = |rule: &&Rule| {
            imports
                .iter()
                // Some drafts have no version.
                .map(
                    |import| {
                        if import.contains('@') { import.clone() } else { format!("{import}@") }
                    },
                )
                .any(|import| rule.imports.iter().any(|begin| import.starts_with(begin)))
        };
        let capabilities = RULES.iter().filter(is_imported).map(|rule| {
            let (allowed, explanation) = explain(rule, settings, providers);
            Capability { capability: rule.capability, allowed, explanation }
        });
        Self {
            capabilities: capabilities.collect(),
            policy: &settings.policy,
            limits: &settings.limits,
        }
    }

    pub(crate) fn table(&self) -> String {
        let Limits { timeout, memory_max_bytes, output_max_bytes, concurrency, .. } = self.limits;
        let limits = format!(
            "{} per call, {} of memory, results of {}, {concurrency} calls at once",
            show_time(*timeout),
            show_size(*memory_max_bytes),
            show_size(*output_max_bytes)
        );
        let rows = self.capabilities.iter().map(|row| {
            let allowed = if row.allowed { "yes" } else { "no" };
            [row.capability.to_owned(), allowed.to_owned(), row.explanation.clone()]
        });
        let computing = ["computing".to_owned(), "yes".to_owned(), limits];
        output::table(
            ["IT USES", "ALLOWED", "UNDER THESE SETTINGS"],
            std::iter::once(computing).chain(rows),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMPORTS: [&str; 6] = [
        "aop:agent/model@0.1.0",
        "wasi:cli/environment@0.2.6",
        "wasi:clocks/wall-clock@0.2.6",
        "wasi:filesystem/preopens@0.2.6",
        "wasi:http/outgoing-handler@0.2.6",
        "wasi:logging/logging",
    ];

    fn providers() -> KnownProviders {
        KnownProviders::of(&crate::config::ServicesConfig::default())
    }

    fn under(settings: &str) -> Vec<(&'static str, bool, String)> {
        let settings = Settings::from_toml(settings).unwrap();
        let imports = IMPORTS.map(str::to_owned);
        let allowed = Allowed::of(&imports, &settings, &providers());
        let rows = allowed.capabilities.into_iter();
        rows.map(|row| (row.capability, row.allowed, row.explanation)).collect()
    }

    #[test]
    fn without_settings_nothing_outside_is_allowed() {
        let allowed: Vec<_> =
            under("").into_iter().map(|(name, allowed, _)| (name, allowed)).collect();
        let expected = [
            ("clocks and randomness", true),
            ("logging", true),
            ("environment", false),
            ("files", false),
            ("HTTP requests", false),
            ("language model", false),
        ];
        assert_eq!(allowed, expected);
    }

    #[test]
    fn what_is_granted_is_spelt_out() {
        let rows = under(
            "[policy]\nhttp = [\"GET https://example.com\"]\nprivate_networks = [\"10.0.0.0/8\"]\nenvironment = [\"TZ\"]\n[model]\nprovider = \"ollama\"\nname = \"m-1\"\n",
        );
        let row = |name: &str| rows.iter().find(|(found, ..)| *found == name).unwrap();
        assert!(row("HTTP requests").1);
        assert_eq!(row("HTTP requests").2, "GET https://example.com; also in 10.0.0.0/8");
        assert_eq!(row("environment").2, "the variables TZ");
        assert_eq!(row("language model").2, "m-1 of ollama, with no key");
        assert!(!row("files").1);
    }

    #[test]
    fn what_is_not_imported_is_not_mentioned() {
        assert!(Allowed::of(&[], &Settings::default(), &providers()).capabilities.is_empty());
    }
}

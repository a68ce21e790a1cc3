//! What an agent is granted: its model, what it may remember, what it may touch.

mod requests;

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use super::super::keys::{Bounds, Form, Key};
use super::super::{Share, directories};
use super::{Draft, narrow};
use crate::model::ModelBinding;
use crate::quota_key;

/// Longest name of a provider or model.
const MODEL_NAME_CHARS_MAX: usize = 256;
/// Longest system prompt: beyond this it is a document, which the agent should read when it needs it.
const SYSTEM_PROMPT_CHARS_MAX: usize = 64 << 10;
/// Longest way to write a time or a seed.
const AMBIENT_CHARS_MAX: usize = 64;
/// Most entries of one kind of grant: what a person still reviews.
const GRANTS_MAX: usize = 256;

/// `[model]` while it is read.
pub(super) struct Model {
    provider: Option<String>,
    name: Option<String>,
    system: Option<String>,
    temperature: Option<f64>,
    max_tokens: u64,
    max_loops: u64,
    tokens_per_call: u64,
    tokens_per_day: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            provider: None,
            name: None,
            system: None,
            temperature: None,
            max_tokens: 4096,
            max_loops: 8,
            tokens_per_call: 200_000,
            tokens_per_day: 5_000_000,
        }
    }
}

impl Model {
    /// The binding, or what is missing.
    pub(super) fn bind(self) -> Result<ModelBinding, &'static str> {
        let provider = self.provider.ok_or(
            "`[model]` needs `provider`: one of the host's configuration, or \"client\" for the connected client's own",
        )?;
        let name =
            self.name.ok_or("`[model]` needs `name`: which of the provider's models to use")?;
        Ok(ModelBinding {
            provider,
            name,
            system: self.system,
            temperature: self.temperature,
            max_tokens: narrow(self.max_tokens),
            max_loops: narrow(self.max_loops),
            tokens_per_call: self.tokens_per_call,
            tokens_per_day: self.tokens_per_day,
        })
    }
}

pub(super) static MODEL_KEYS: &[Key<Draft>] = &[
    Key {
        name: "provider",
        meaning: "Who serves it: one of `[model.providers]` in the host's configuration, or `client` for the connected MCP client's own model.",
        form: Form::Text {
            chars_max: MODEL_NAME_CHARS_MAX,
            get: |draft| draft.model.provider.clone(),
            set: |draft, text| {
                draft.model.provider = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "name",
        meaning: "The model's name at that provider; a hint for a client.",
        form: Form::Text {
            chars_max: MODEL_NAME_CHARS_MAX,
            get: |draft| draft.model.name.clone(),
            set: |draft, text| {
                draft.model.name = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "system",
        meaning: "The system prompt, put before every conversation.",
        form: Form::Text {
            chars_max: SYSTEM_PROMPT_CHARS_MAX,
            get: |draft| draft.model.system.clone(),
            set: |draft, text| {
                draft.model.system = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "temperature",
        meaning: "How freely it writes, unless a request has its own. Without it, the provider's default.",
        form: Form::Number {
            bounds: Bounds::new(0.0, 2.0, "what providers accept"),
            get: |draft| draft.model.temperature,
            set: |draft, number| draft.model.temperature = Some(number),
        },
    },
    Key::count(
        "max_tokens",
        "The most output tokens of one completion.",
        Bounds::new(1, 1_000_000, "no model writes more at once"),
        |draft| draft.model.max_tokens,
        |draft, count| draft.model.max_tokens = count,
    ),
    Key::count(
        "max_loops",
        "How many rounds of model and tools a task may take.",
        Bounds::new(1, 1_000, "a task runs at least once, and one that does not end is stopped"),
        |draft| draft.model.max_loops,
        |draft, count| draft.model.max_loops = count,
    ),
    Key::count(
        "tokens_per_call",
        "The most tokens, read and written, that one call may use.",
        Bounds::new(1, 1_000_000_000, "an agent that may use none has no model"),
        |draft| draft.model.tokens_per_call,
        |draft, count| draft.model.tokens_per_call = count,
    ),
    Key::count(
        "tokens_per_day",
        "The most tokens, read and written, that the agent may use on one day (UTC).",
        Bounds::new(1, 1_000_000_000_000, "an agent that may use none has no model"),
        |draft| draft.model.tokens_per_day,
        |draft, count| draft.model.tokens_per_day = count,
    ),
];

pub(super) static STATE_KEYS: &[Key<Draft>] = &[
    Key::count(
        "keys_max",
        "Entries that one bucket may hold.",
        Bounds::new(0, 10_000_000, "0 remembers nothing, and more belongs into a database"),
        |draft| draft.settings.limits.state_keys_max,
        |draft, count| draft.settings.limits.state_keys_max = count,
    ),
    Key::size(
        "size_max",
        "What the keys and values of one bucket may have together.",
        Bounds::new(0, 64 << 30, "0 remembers nothing, and more belongs into a database"),
        |draft| draft.settings.limits.state_max_bytes,
        |draft, bytes| draft.settings.limits.state_max_bytes = bytes,
    ),
];

pub(super) static HANDLE_KEYS: &[Key<Draft>] = &[
    Key::count(
        "instances_max",
        "Instances that live on between calls, because somebody holds handles of what is in them.",
        Bounds::new(0, 8192, "0 refuses to give out handles, and no host runs more instances"),
        |draft| u64::from(draft.settings.limits.handle_instances_max),
        |draft, count| draft.settings.limits.handle_instances_max = narrow(count),
    ),
    Key::time(
        "idle",
        "How long such an instance lives without a call. Its handles expire with it.",
        Bounds::new(
            Duration::from_secs(1),
            Duration::from_secs(24 * 60 * 60),
            "a caller needs some time for its next call, and what idles keeps its memory",
        ),
        |draft| draft.settings.limits.handle_idle,
        |draft, time| draft.settings.limits.handle_idle = time,
    ),
    Key::time(
        "lifetime",
        "How long it lives, however much it is used.",
        Bounds::new(
            Duration::from_secs(1),
            Duration::from_secs(7 * 24 * 60 * 60),
            "what a guest leaks must end some time",
        ),
        |draft| draft.settings.limits.handle_lifetime,
        |draft, time| draft.settings.limits.handle_lifetime = time,
    ),
];
/// Tenants that an agent is shared with by name; more are a matter of `*`.
const SHARED_WITH_MAX: usize = 256;

pub(super) const SHARE_KEY: Key<Draft> = Key {
    name: "share",
    meaning: "Which other tenants see and call the agent; `*` is every one. It runs with this tenant's policy and secrets; what it remembers and costs is the caller's.",
    form: Form::Texts {
        count_max: SHARED_WITH_MAX,
        get: |draft| draft.settings.share.clone().into(),
        set: |draft, names| {
            draft.settings.share = Share::try_from(names)?;
            Ok(())
        },
    },
};

/// Those keys of a quota that the agent's limits and its model do not have already.
pub(super) static QUOTA_KEYS: &[Key<Draft>] = &[
    quota_key!(calls_per_second, |draft| draft.settings.quota),
    quota_key!(burst, |draft| draft.settings.quota),
    quota_key!(queue_wait, |draft| draft.settings.quota),
    quota_key!(memory, |draft| draft.settings.quota),
    quota_key!(cpu_per_minute, |draft| draft.settings.quota),
    quota_key!(code, |draft| draft.settings.quota),
    quota_key!(stored, |draft| draft.settings.quota),
    quota_key!(egress_per_hour, |draft| draft.settings.quota),
    quota_key!(weight, |draft| draft.settings.quota),
];

pub(super) static POLICY_KEYS: &[Key<Draft>] = &[
    Key {
        name: "http",
        meaning: "Requests it may send: `GET,HEAD https://*.example.com/v1/*`; methods, port and path may be left out. Or a table with `permit` and the keys below. The first that permits a request decides over it.",
        form: Form::Items {
            count_max: GRANTS_MAX,
            get: |draft| texts(&draft.settings.policy.http),
            read: |draft, entry| {
                draft.settings.policy.http.push(requests::read(entry)?);
                Ok(())
            },
            rows: requests::rows,
        },
    },
    Key {
        name: "private_networks",
        meaning: "Private networks that the names in `http` may lead to, like `10.1.0.0/16`.",
        form: Form::Texts {
            count_max: GRANTS_MAX,
            get: |draft| texts(&draft.settings.policy.private_networks),
            set: |draft, entries| {
                let networks = &mut draft.settings.policy.private_networks;
                parse_into(networks, &entries).map_err(|error| {
                    format!("{error}: write networks like `10.1.0.0/16` or `fd00::/8`")
                })
            },
        },
    },
    Key {
        name: "directories",
        meaning: "Directories it sees: `read /srv/reference as /data`, or `write …` for one that it may change. Or a table with `permit` and the keys below.",
        form: Form::Items {
            count_max: GRANTS_MAX,
            get: |draft| texts(&draft.settings.policy.directories),
            read: |draft, entry| {
                draft.settings.policy.directories.push(directories::read(entry, str::parse)?);
                Ok(())
            },
            rows: directories::rows,
        },
    },
    Key {
        name: "environment",
        meaning: "Variables of the host's environment that it sees, by name. None that begins with `AOP_`, and none that the configuration names for something else.",
        form: Form::Texts {
            count_max: GRANTS_MAX,
            get: |draft| draft.settings.policy.environment.clone(),
            set: |draft, entries| {
                draft.settings.policy.environment = entries;
                Ok(())
            },
        },
    },
    Key {
        name: "tools",
        meaning: "Tools of other agents that it may call: `textkit_summarize`, or `textkit_*`.",
        form: Form::Texts {
            count_max: GRANTS_MAX,
            get: |draft| texts(&draft.settings.policy.tools),
            set: |draft, entries| parse_into(&mut draft.settings.policy.tools, &entries),
        },
    },
    Key::flag(
        "shared_state",
        "It may keep state that all agents of the tenant share.",
        |draft| Some(draft.settings.policy.shared_state),
        |draft, flag| draft.settings.policy.shared_state = flag,
    ),
    Key {
        name: "clock",
        meaning: "`real`, or a time like `2026-01-01T00:00:00Z` at which its clocks stand still.",
        form: Form::Text {
            chars_max: AMBIENT_CHARS_MAX,
            get: |draft| Some(draft.settings.policy.clock.to_string()),
            set: |draft, text| {
                draft.settings.policy.clock = text.parse()?;
                Ok(())
            },
        },
    },
    Key {
        name: "random",
        meaning: "`secure`, or `seed:` and a number: the same random numbers in every instance.",
        form: Form::Text {
            chars_max: AMBIENT_CHARS_MAX,
            get: |draft| Some(draft.settings.policy.random.to_string()),
            set: |draft, text| {
                draft.settings.policy.random = text.parse()?;
                Ok(())
            },
        },
    },
];

/// Grants as they are written.
fn texts<G: ToString>(grants: &[G]) -> Vec<String> {
    grants.iter().map(ToString::to_string).collect()
}

/// Reads every entry, or answers all mistakes at once.
fn parse_into<G>(grants: &mut Vec<G>, entries: &[String]) -> Result<(), String>
where
    G: FromStr,
    G::Err: Display,
{
    let mut wrong = Vec::new();
    for entry in entries {
        match entry.parse() {
            Ok(grant) => grants.push(grant),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

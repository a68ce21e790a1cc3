//! What the host allows at most, and what it writes down of it.

use std::time::Duration;

use aop_core::policy::http_grant::HttpGrant;
use aop_core::policy::{Ceiling, Ceilings, DirectoryGrant, HttpRule};
use aop_core::settings::keys::{Bounds, Entries, Form, Key, reference};
use aop_core::settings::{Lines, directories};
use aop_core::{Settings, TenantName};

use super::Config;
use super::keys::{DAY, GIB, KIB, MILLISECOND, wide};

/// Most entries of a list, as in the settings of an agent.
const LIST_MAX: usize = 256;
/// Most tenants with a ceiling of their own.
const TENANTS_MAX: usize = 4096;

pub(super) static AUDIT_KEYS: &[Key<Config>] = &[
    Key::size(
        "file_max",
        "A file of the audit log that would be larger is continued in another.",
        Bounds::new(64 * KIB, GIB, "a file must hold some lines, and be read by people's tools"),
        |config| config.audit.file_max_bytes,
        |config, bytes| config.audit.file_max_bytes = bytes,
    ),
    Key::count(
        "files_max",
        "Files of the audit log that are kept; the oldest go.",
        Bounds::new(2, 10_000, "one is written, and one says what was before"),
        |config| config.audit.files_max as u64,
        |config, count| config.audit.files_max = wide(count),
    ),
];

/// Notes where the ceilings of a file are written.
pub(super) fn place(ceilings: &mut Ceilings, file: &str, lines: &Lines) {
    let host = ceilings.host.iter_mut().map(|ceiling| ("ceiling".to_owned(), ceiling));
    let tenants = ceilings.tenants.iter_mut();
    let tenants = tenants.map(|(name, ceiling)| (format!("ceilings.{name}"), ceiling));
    for (table, ceiling) in host.chain(tenants) {
        ceiling.table = table;
        file.clone_into(&mut ceiling.file);
        ceiling.lines = lines.clone();
    }
}

pub(super) const CEILING: Key<Config> = Key {
    name: "ceiling",
    meaning: "What agents may have at most, whatever their settings say.",
    form: Form::Table {
        read: |config, entries| {
            let ceiling = config.registry.ceilings.host.get_or_insert_default();
            entries.read(CEILING_KEYS, ceiling);
        },
        rows: || reference(CEILING_KEYS),
    },
};

pub(super) const CEILINGS: Key<Config> = Key {
    name: "ceilings",
    meaning: "The same for the agents of one tenant.",
    form: Form::Open {
        placeholder: "<tenant>",
        entries_max: TENANTS_MAX,
        read: read_tenants,
        rows: || reference(CEILING_KEYS),
    },
};

fn read_tenants(config: &mut Config, entries: &mut Entries<'_, '_>) {
    entries.each(|name, mut entry| {
        let tenant = TenantName::new(name).map_err(|error| error.to_string())?;
        let ceiling = config.registry.ceilings.tenants.entry(tenant).or_default();
        entry.read(CEILING_KEYS, ceiling);
        Ok(())
    });
}

static CEILING_KEYS: &[Key<Ceiling>] = &[
    Key {
        name: "http",
        meaning: "Requests: every `http` rule of an agent must lie within one of these. A host may be `*` here: `https://*`.",
        form: Form::Texts {
            count_max: LIST_MAX,
            get: |ceiling| texts(&ceiling.policy.http),
            set: |ceiling, entries| {
                let rules = each(&entries, HttpRule::parse_ceiling)?;
                ceiling.policy.http = rules.into_iter().map(HttpGrant::of).collect();
                Ok(())
            },
        },
    },
    Key {
        name: "private_networks",
        meaning: "Private networks: every one of an agent must lie within one of these.",
        form: Form::Texts {
            count_max: LIST_MAX,
            get: |ceiling| texts(&ceiling.policy.private_networks),
            set: |ceiling, entries| {
                let parse = |entry: &str| {
                    entry.parse().map_err(|error| {
                        format!("`{entry}`: {error}: write networks like `10.1.0.0/16`")
                    })
                };
                ceiling.policy.private_networks = each(&entries, parse)?;
                Ok(())
            },
        },
    },
    Key {
        name: "directories",
        meaning: "Directories of the host, with all below them: `read /srv/reference`, or `write /srv/scratch`. Or a table with `permit` and the keys below.",
        form: Form::Items {
            count_max: LIST_MAX,
            get: |ceiling| {
                let shown = |grant: &DirectoryGrant| {
                    let access = if grant.writable { "write" } else { "read" };
                    format!("{access} {}", grant.host.display())
                };
                ceiling.policy.directories.iter().map(shown).collect()
            },
            read: |ceiling, entry| {
                // Where a guest sees it is the agent's own affair.
                let parse = |text: &str| {
                    format!("{text} as /").parse::<DirectoryGrant>().map_err(|_| {
                        format!(
                            "`{text}` must be `read PATH` or `write PATH` with an absolute path"
                        )
                    })
                };
                ceiling.policy.directories.push(directories::read(entry, parse)?);
                Ok(())
            },
            rows: directories::rows,
        },
    },
    Key {
        name: "environment",
        meaning: "Variables of the host's environment.",
        form: Form::Texts {
            count_max: LIST_MAX,
            get: |ceiling| ceiling.policy.environment.clone(),
            set: |ceiling, entries| {
                ceiling.policy.environment = entries;
                Ok(())
            },
        },
    },
    Key {
        name: "tools",
        meaning: "Tools of other agents: `textkit_*`, or `*` for all.",
        form: Form::Texts {
            count_max: LIST_MAX,
            get: |ceiling| texts(&ceiling.policy.tools),
            set: |ceiling, entries| {
                ceiling.policy.tools = each(&entries, str::parse)?;
                Ok(())
            },
        },
    },
    Key::flag(
        "shared_state",
        "Agents may keep state that all agents of the tenant share.",
        |ceiling| Some(ceiling.policy.shared_state),
        |ceiling, flag| ceiling.policy.shared_state = flag,
    ),
    Key {
        name: "models",
        meaning: "Models as `PROVIDER/NAME`: `openai/gpt-5-mini`, or `ollama/*`.",
        form: Form::Texts {
            count_max: LIST_MAX,
            get: |ceiling| ceiling.models.clone(),
            set: |ceiling, entries| {
                ceiling.models = entries;
                Ok(())
            },
        },
    },
    Key::count(
        "tokens_per_call",
        "`tokens_per_call` of a model.",
        Bounds::new(1, TOKENS_PER_CALL, "what an agent may be given"),
        |ceiling| ceiling.tokens_per_call.min(TOKENS_PER_CALL),
        |ceiling, count| ceiling.tokens_per_call = count,
    ),
    Key::count(
        "tokens_per_day",
        "`tokens_per_day` of a model.",
        Bounds::new(1, TOKENS_PER_DAY, "what an agent may be given"),
        |ceiling| ceiling.tokens_per_day.min(TOKENS_PER_DAY),
        |ceiling, count| ceiling.tokens_per_day = count,
    ),
    Key::time(
        "timeout",
        "`timeout` of an agent.",
        Bounds::new(MILLISECOND, DAY, "what an agent may be given"),
        |ceiling| ceiling.limits.timeout.min(DAY),
        |ceiling, time| ceiling.limits.timeout = time,
    ),
    Key::size(
        "memory",
        "`memory` of an agent.",
        Bounds::new(64 * KIB, 4 * GIB, "what an agent may be given"),
        |ceiling| ceiling.limits.memory_max_bytes.min(4 * GIB),
        |ceiling, bytes| ceiling.limits.memory_max_bytes = bytes,
    ),
    Key::size(
        "output",
        "`output` of an agent.",
        Bounds::new(KIB, GIB / 4, "what an agent may be given"),
        |ceiling| ceiling.limits.output_max_bytes.min(GIB / 4),
        |ceiling, bytes| ceiling.limits.output_max_bytes = bytes,
    ),
    Key::count(
        "concurrency",
        "`concurrency` of an agent.",
        Bounds::new(1, 65_536, "what an agent may be given"),
        |ceiling| u64::from(ceiling.limits.concurrency).min(65_536),
        |ceiling, count| ceiling.limits.concurrency = narrow(count),
    ),
    Key::count(
        "queue",
        "`queue` of an agent.",
        Bounds::new(0, QUEUE, "what an agent may be given"),
        |ceiling| u64::from(ceiling.limits.queue).min(QUEUE),
        |ceiling, count| ceiling.limits.queue = narrow(count),
    ),
    Key::count(
        "log_lines_per_second",
        "`log_lines_per_second` of an agent. An upload has 100 at most unless this is said.",
        Bounds::new(0, LOG_LINES, "what an agent may be given"),
        |ceiling| u64::from(ceiling.limits.log_lines_per_second).min(LOG_LINES),
        |ceiling, count| ceiling.limits.log_lines_per_second = narrow(count),
    ),
    Key::count(
        "replicas",
        "`replicas` of an agent.",
        Bounds::new(1, REPLICAS, "what an agent may be given"),
        |ceiling| u64::from(ceiling.replicas).min(REPLICAS),
        |ceiling, count| ceiling.replicas = narrow(count),
    ),
    Key::section("warm", "`[warm]` of an agent.", WARM_KEYS),
    Key::section("state", "`[state]` of an agent.", STATE_KEYS),
    Key::section("handles", "`[handles]` of an agent.", HANDLE_KEYS),
];

static WARM_KEYS: &[Key<Ceiling>] = &[
    Key::count(
        "calls_max",
        "Calls that a warm instance serves.",
        Bounds::new(1, WARM_CALLS, "what an agent may be given"),
        |ceiling| u64::from(ceiling.warm_calls_max).min(WARM_CALLS),
        |ceiling, count| ceiling.warm_calls_max = narrow(count),
    ),
    Key::time(
        "idle",
        "How long a warm instance waits for its next call.",
        Bounds::new(MILLISECOND, DAY, "what an agent may be given"),
        |ceiling| ceiling.warm_idle.min(DAY),
        |ceiling, time| ceiling.warm_idle = time,
    ),
];

static STATE_KEYS: &[Key<Ceiling>] = &[
    Key::count(
        "keys_max",
        "Entries of one bucket. An upload has 10,000 at most unless this is said.",
        Bounds::new(0, STATE_ENTRIES, "what an agent may be given"),
        |ceiling| ceiling.limits.state_keys_max.min(STATE_ENTRIES),
        |ceiling, count| ceiling.limits.state_keys_max = count,
    ),
    Key::size(
        "size_max",
        "Keys and values of one bucket. An upload has 16 MiB at most unless this is said.",
        Bounds::new(0, 64 * GIB, "what an agent may be given"),
        |ceiling| ceiling.limits.state_max_bytes.min(64 * GIB),
        |ceiling, bytes| ceiling.limits.state_max_bytes = bytes,
    ),
];

static HANDLE_KEYS: &[Key<Ceiling>] = &[
    Key::count(
        "instances_max",
        "Instances that live on because of handles. An upload has 64 at most unless this is said.",
        Bounds::new(0, HANDLE_INSTANCES, "what an agent may be given"),
        |ceiling| u64::from(ceiling.limits.handle_instances_max).min(HANDLE_INSTANCES),
        |ceiling, count| ceiling.limits.handle_instances_max = narrow(count),
    ),
    Key::time(
        "idle",
        "How long such an instance lives without a call. For an upload, 10 minutes at most unless this is said.",
        Bounds::new(Duration::from_secs(1), DAY, "what an agent may be given"),
        |ceiling| ceiling.limits.handle_idle.min(DAY),
        |ceiling, time| ceiling.limits.handle_idle = time,
    ),
    Key::time(
        "lifetime",
        "How long it lives in all. For an upload, an hour at most unless this is said.",
        Bounds::new(Duration::from_secs(1), WEEK, "what an agent may be given"),
        |ceiling| ceiling.limits.handle_lifetime.min(WEEK),
        |ceiling, time| ceiling.limits.handle_lifetime = time,
    ),
];

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

// The most that an agent's settings can say, and so what a ceiling without the number shows.
const QUEUE: u64 = 1_000_000;
const LOG_LINES: u64 = 100_000;
const REPLICAS: u64 = Settings::REPLICAS_MAX as u64;
const WARM_CALLS: u64 = 1_000_000;
const STATE_ENTRIES: u64 = 10_000_000;
const HANDLE_INSTANCES: u64 = 8192;
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The most that an agent's settings can say.
const TOKENS_PER_CALL: u64 = 1_000_000_000;
/// The same for a day.
const TOKENS_PER_DAY: u64 = 1_000_000_000_000;

fn texts<G: ToString>(grants: &[G]) -> Vec<String> {
    grants.iter().map(ToString::to_string).collect()
}

/// Reads every entry, or answers all mistakes at once.
fn each<G>(
    entries: &[String],
    parse: impl Fn(&str) -> Result<G, String>,
) -> Result<Vec<G>, String> {
    let (mut grants, mut wrong) = (Vec::new(), Vec::new());
    for entry in entries {
        match parse(entry) {
            Ok(grant) => grants.push(grant),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() { Ok(grants) } else { Err(wrong.join("; ")) }
}

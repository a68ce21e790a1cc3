//! The keys of `NAME.toml`. Those of its tables of grants and quotas are in [`grants`].

mod component;
mod export;
mod grants;

use std::mem;
use std::time::Duration;

use super::keys::{Bounds, Document, Entries, Form, Key, MISTAKES_MAX, Row, reference as rows_of};
use super::{Balance, Lifetime, Mistake, Settings, ToolSettings};
use crate::{TaskUse, ToolName};

use component::{COMPONENT_KEY, DIGEST_KEY, SIGNATURE_KEY};
use export::EXPORT_KEYS;
use grants::{HANDLE_KEYS, MODEL_KEYS, Model, POLICY_KEYS, QUOTA_KEYS, SHARE_KEY, STATE_KEYS};

/// Longest description: as much as clients hand to a model for one tool.
const DESCRIPTION_CHARS_MAX: usize = 4096;
/// Longest title: a line in a menu.
const TITLE_CHARS_MAX: usize = 128;
/// Most `[config]` entries; a guest that needs more reads a document from one of them.
const CONFIG_ENTRIES_MAX: usize = 256;
/// Longest `[config]` value.
const CONFIG_VALUE_MAX_BYTES: usize = 64 << 10;
/// Most headers of one tool: whoever routes by more reads bodies.
const HEADERS_MAX: usize = 16;
/// Longest name of a header after `Mcp-Param-`.
const HEADER_CHARS_MAX: usize = 64;
/// Most labels that a placement asks for: as many as a node can have.
const LABELS_MAX: usize = 32;
/// Longest value of a label.
const LABEL_CHARS_MAX: usize = 63;
/// Most `[tools.…]` tables: more than any component exports.
const TOOLS_MAX: usize = 4096;

/// Settings while they are read: `lifetime` and `[warm]` are one value in [`Settings`].
#[derive(Default)]
struct Draft {
    settings: Settings,
    is_warm: bool,
    warm: Warm,
    model: Model,
}

struct Warm {
    calls_max: u32,
    idle_max: Duration,
}

impl Default for Warm {
    fn default() -> Self {
        match Lifetime::WARM {
            Lifetime::Warm { calls_max, idle_max } => Self { calls_max, idle_max },
            Lifetime::Call => Self { calls_max: 1, idle_max: Duration::ZERO },
        }
    }
}

pub(super) fn read(text: &str) -> Result<Settings, Vec<Mistake>> {
    let document = Document::parse(text)?;
    let mut draft = Draft::default();
    let mut mistakes = document.read(KEYS, &mut draft);
    if !draft.is_warm {
        let message = "`[warm]` has no effect: add `lifetime = \"warm\"` above the first `[table]`";
        mistakes.extend(document.mistake_at("warm", message));
    }
    if document.has("model") {
        match mem::take(&mut draft.model).bind() {
            Ok(binding) => draft.settings.model = Some(binding),
            Err(missing) => mistakes.extend(document.mistake_at("model", missing)),
        }
    }
    mistakes.extend(export::check(&document, &draft));
    if !mistakes.is_empty() {
        mistakes.sort();
        mistakes.truncate(MISTAKES_MAX);
        return Err(mistakes);
    }
    let Draft { mut settings, is_warm, warm, .. } = draft;
    if is_warm {
        settings.lifetime = Lifetime::Warm { calls_max: warm.calls_max, idle_max: warm.idle_max };
    }
    Ok(settings)
}

/// The reference of `NAME.toml`: every key with its default, bounds and meaning.
#[must_use]
pub fn reference() -> Vec<Row> {
    rows_of(KEYS)
}

static KEYS: &[Key<Draft>] = &[
    Key {
        name: "description",
        meaning: "What the agent is for. Without it, what the component says of itself.",
        form: Form::Text {
            chars_max: DESCRIPTION_CHARS_MAX,
            get: |draft| draft.settings.description.clone(),
            set: |draft, text| {
                draft.settings.description = Some(text.to_owned());
                Ok(())
            },
        },
    },
    DIGEST_KEY,
    COMPONENT_KEY,
    SIGNATURE_KEY,
    Key {
        name: "timeout",
        meaning: "How long a call may take, from its arrival to its answer, retries included.",
        form: Form::Time {
            bounds: Bounds {
                min: Duration::from_millis(1),
                max: Duration::from_secs(24 * 60 * 60),
                reason: "deadlines are kept to a millisecond, and no client waits for a day",
            },
            get: |draft| draft.settings.limits.timeout,
            set: |draft, time| draft.settings.limits.timeout = time,
        },
    },
    Key {
        name: "memory",
        meaning: "How much linear memory one instance may have.",
        form: Form::Size {
            bounds: Bounds {
                min: 64 << 10,
                max: 4 << 30,
                reason: "a wasm page, and the most that 32-bit wasm can address",
            },
            get: |draft| draft.settings.limits.memory_max_bytes,
            set: |draft, bytes| draft.settings.limits.memory_max_bytes = bytes,
        },
    },
    Key {
        name: "output",
        meaning: "How large a result may be, as JSON.",
        form: Form::Size {
            bounds: Bounds {
                min: 1 << 10,
                max: 256 << 20,
                reason: "an error message must fit, and clients hold a result in memory",
            },
            get: |draft| draft.settings.limits.output_max_bytes,
            set: |draft, bytes| draft.settings.limits.output_max_bytes = bytes,
        },
    },
    Key {
        name: "concurrency",
        meaning: "How many calls of the agent may run at once on this host.",
        form: Form::Count {
            bounds: Bounds {
                min: 1,
                max: 65_536,
                reason: "an agent that may run nothing should be unloaded, and more instances do not fit the kernel's memory maps",
            },
            get: |draft| u64::from(draft.settings.limits.concurrency),
            set: |draft, count| draft.settings.limits.concurrency = narrow(count),
        },
    },
    Key {
        name: "queue",
        meaning: "How many calls may wait for a free place; further ones are refused.",
        form: Form::Count {
            bounds: Bounds {
                min: 0,
                max: 1_000_000,
                reason: "0 refuses at once, and a waiting call costs about a kilobyte",
            },
            get: |draft| u64::from(draft.settings.limits.queue),
            set: |draft, count| draft.settings.limits.queue = narrow(count),
        },
    },
    Key {
        name: "log_lines_per_second",
        meaning: "How many lines of the agent's output and log are kept per second. As many of the host's own about calls that fail are kept, and as many again of those that `verbose` adds, at least one of each; the rest is counted.",
        form: Form::Count {
            bounds: Bounds {
                min: 0,
                max: 100_000,
                reason: "0 keeps none, and a disk must survive a flood",
            },
            get: |draft| u64::from(draft.settings.limits.log_lines_per_second),
            set: |draft, count| draft.settings.limits.log_lines_per_second = narrow(count),
        },
    },
    Key {
        name: "max_retries",
        meaning: "Executions per call in total, the first included. Only what is safe to repeat is repeated.",
        form: Form::Count {
            bounds: Bounds {
                min: 1,
                max: 10,
                reason: "a call runs at least once, and what fails ten times fails again",
            },
            get: |draft| u64::from(draft.settings.max_retries),
            set: |draft, count| draft.settings.max_retries = narrow(count),
        },
    },
    Key {
        name: "lifetime",
        meaning: "`call`: a fresh instance for every call. `warm`: an instance serves calls one after another.",
        form: Form::Choice {
            choices: &["call", "warm"],
            get: |draft| Some(if draft.is_warm { "warm" } else { "call" }),
            set: |draft, word| draft.is_warm = word == "warm",
        },
    },
    Key::section("warm", "How long a warm instance lives.", WARM_KEYS),
    SHARE_KEY,
    Key::flag(
        "verbose",
        "Log the duration of successful calls too.",
        |draft| Some(draft.settings.verbose),
        |draft, flag| draft.settings.verbose = flag,
    ),
    Key::flag(
        "traceback",
        "Log the backtrace of a trap.",
        |draft| Some(draft.settings.traceback),
        |draft, flag| draft.settings.traceback = flag,
    ),
    Key {
        name: "replicas",
        meaning: "On how many nodes of the zone the agent lives. Without it, it lives where it was loaded.",
        form: Form::OptionalCount {
            bounds: Bounds {
                min: 1,
                max: Settings::REPLICAS_MAX as u64,
                reason: "an agent lives somewhere, and a zone has 200 nodes at most",
            },
            get: |draft| draft.settings.replicas.map(u64::from),
            set: |draft, count| draft.settings.replicas = Some(narrow(count)),
        },
    },
    Key {
        name: "balance",
        meaning: "How calls are spread over replicas. Without it, a node that has one runs its calls itself, and others choose by `latency`.",
        form: Form::Choice {
            choices: &Balance::WORDS,
            get: |draft| draft.settings.balance.map(Balance::as_str),
            set: |draft, word| draft.settings.balance = Balance::of_word(word),
        },
    },
    Key {
        name: "placement",
        meaning: "Labels that a node must have to hold a replica (`[cluster] labels`). A hard constraint: too few such nodes mean fewer replicas.",
        form: Form::Open {
            placeholder: "<label>",
            entries_max: LABELS_MAX,
            read: read_placement,
            rows: placement_rows,
        },
    },
    Key {
        name: "config",
        meaning: "What the agent reads through `wasi:config`.",
        form: Form::Open {
            placeholder: "<key>",
            entries_max: CONFIG_ENTRIES_MAX,
            read: read_config,
            rows: config_rows,
        },
    },
    Key::section("quota", "What all calls of the agent may use together.", QUOTA_KEYS),
    Key::section("model", "The language model that the agent talks to.", MODEL_KEYS),
    Key::section("state", "What the agent remembers (`wasi:keyvalue`).", STATE_KEYS),
    Key::section(
        "handles",
        "Resources that the agent exports, which callers hold handles of.",
        HANDLE_KEYS,
    ),
    Key::section("policy", "What the agent may touch.", POLICY_KEYS),
    Key::section("export", "Who may call the agent from other zones.", EXPORT_KEYS),
    Key {
        name: "tools",
        meaning: "What is said of one function.",
        form: Form::Open {
            placeholder: "<function>",
            entries_max: TOOLS_MAX,
            read: read_tools,
            rows: || rows_of(TOOL_KEYS),
        },
    },
];

static WARM_KEYS: &[Key<Draft>] = &[
    Key::count(
        "calls_max",
        "Calls that a warm instance serves before it is replaced.",
        Bounds::new(1, 1_000_000, "what a guest leaks must end some time"),
        |draft| u64::from(draft.warm.calls_max),
        |draft, count| draft.warm.calls_max = narrow(count),
    ),
    Key::time(
        "idle",
        "How long a warm instance waits for the next call before it is dropped.",
        Bounds::new(
            Duration::from_millis(1),
            Duration::from_secs(24 * 60 * 60),
            "an idle instance keeps its memory",
        ),
        |draft| draft.warm.idle_max,
        |draft, time| draft.warm.idle_max = time,
    ),
];

static TOOL_KEYS: &[Key<ToolSettings>] = &[
    Key {
        name: "name",
        meaning: "The tool's name instead of the derived one. Earlier names stay callable.",
        form: Form::Text {
            chars_max: ToolName::LENGTH_MAX,
            get: |tool| tool.name.as_ref().map(ToString::to_string),
            set: |tool, text| {
                if text.starts_with("aop_") {
                    return Err(format!(
                        "`{text}` is taken: names in aop_ are the host's own tools"
                    ));
                }
                tool.name = Some(ToolName::new(text).map_err(|error| error.to_string())?);
                Ok(())
            },
        },
    },
    Key {
        name: "title",
        meaning: "A short name for people.",
        form: Form::Text {
            chars_max: TITLE_CHARS_MAX,
            get: |tool| tool.title.clone(),
            set: |tool, text| {
                tool.title = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "description",
        meaning: "What a model reads. Without it, the function's doc comment.",
        form: Form::Text {
            chars_max: DESCRIPTION_CHARS_MAX,
            get: |tool| tool.description.clone(),
            set: |tool, text| {
                tool.description = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "idempotent",
        meaning: "Repeating a call does no harm. Published as a hint, and retries follow it.",
        form: Form::Flag {
            get: |tool| Some(tool.idempotent),
            set: |tool, flag| tool.idempotent = flag,
        },
    },
    Key {
        name: "read_only",
        meaning: "The tool changes nothing. Published as a hint.",
        form: Form::Flag {
            get: |tool| tool.read_only,
            set: |tool, flag| tool.read_only = Some(flag),
        },
    },
    Key {
        name: "destructive",
        meaning: "The tool may destroy something. Published as a hint.",
        form: Form::Flag {
            get: |tool| tool.destructive,
            set: |tool, flag| tool.destructive = Some(flag),
        },
    },
    Key {
        name: "open_world",
        meaning: "The tool reaches the world outside. Published as a hint.",
        form: Form::Flag {
            get: |tool| tool.open_world,
            set: |tool, flag| tool.open_world = Some(flag),
        },
    },
    Key {
        name: "task",
        meaning: "Whether a call becomes an MCP task, whose result is fetched later. `optional`: for clients that can follow tasks; others wait. `required`: clients that cannot are refused.",
        form: Form::Choice {
            choices: &TaskUse::WORDS,
            get: |tool| Some(tool.task.as_str()),
            set: |tool, word| tool.task = TaskUse::of_word(word),
        },
    },
    Key {
        name: "headers",
        meaning: "Parameters that HTTP headers repeat.",
        form: Form::Open {
            placeholder: "<parameter>",
            entries_max: HEADERS_MAX,
            read: read_headers,
            rows: header_rows,
        },
    },
];

fn read_config(draft: &mut Draft, entries: &mut Entries<'_, '_>) {
    entries.each(|name, entry| {
        let text = entry
            .as_text()
            .ok_or_else(|| format!("expected text in quotes, like `{name} = \"…\"`"))?;
        if text.len() > CONFIG_VALUE_MAX_BYTES {
            return Err(format!("the value is longer than {} KiB", CONFIG_VALUE_MAX_BYTES >> 10));
        }
        draft.settings.config.insert(name.to_owned(), text.to_owned());
        Ok(())
    });
}

fn read_placement(draft: &mut Draft, entries: &mut Entries<'_, '_>) {
    entries.each(|name, entry| {
        let text = entry
            .as_text()
            .ok_or_else(|| format!("expected a label's value in quotes, like `{name} = \"eu\"`"))?;
        if !(1..=LABEL_CHARS_MAX).contains(&text.chars().count()) {
            return Err(format!("a label's value has 1 to {LABEL_CHARS_MAX} characters"));
        }
        draft.settings.placement.insert(name.to_owned(), text.to_owned());
        Ok(())
    });
}

fn placement_rows() -> Vec<Row> {
    vec![Row {
        key: String::new(),
        form: "text".to_owned(),
        default: String::new(),
        bounds: format!("at most {LABELS_MAX} labels of {LABEL_CHARS_MAX} characters"),
        meaning: "A label that a node must have, with this value, to hold a replica.".to_owned(),
    }]
}

fn config_rows() -> Vec<Row> {
    vec![Row {
        key: String::new(),
        form: "text".to_owned(),
        default: String::new(),
        bounds: format!(
            "at most {CONFIG_ENTRIES_MAX} keys of {} KiB",
            CONFIG_VALUE_MAX_BYTES >> 10
        ),
        meaning: "What the agent reads through `wasi:config`.".to_owned(),
    }]
}

fn read_tools(draft: &mut Draft, entries: &mut Entries<'_, '_>) {
    entries.each(|name, mut entry| {
        let mut tool = ToolSettings::default();
        entry.read(TOOL_KEYS, &mut tool);
        draft.settings.tools.insert(name.to_owned(), tool);
        Ok(())
    });
}

fn read_headers(tool: &mut ToolSettings, entries: &mut Entries<'_, '_>) {
    entries.each(|name, entry| {
        let header = entry
            .as_text()
            .ok_or_else(|| format!("expected a header's name in quotes, like `{name} = \"Region\"`"))?;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if !(1..=HEADER_CHARS_MAX).contains(&header.len()) || !header.bytes().all(is_token) {
            return Err(format!(
                "`{header}` cannot follow `Mcp-Param-` in the name of a header: 1 to {HEADER_CHARS_MAX} letters, digits or `-`"
            ));
        }
        tool.headers.insert(name.to_owned(), header.to_owned());
        Ok(())
    });
}

fn header_rows() -> Vec<Row> {
    vec![Row {
        key: String::new(),
        form: "text".to_owned(),
        default: String::new(),
        bounds: format!("at most {HEADERS_MAX} headers with names of {HEADER_CHARS_MAX} characters"),
        meaning: "The header `Mcp-Param-…` that repeats this parameter, for what routes requests in front of the host (MCP 2026-07-28). The parameter must be text, a character, a choice, a whole number of at most 32 bits or a bool.".to_owned(),
    }]
}

/// Bounds keep every count of settings far below the end of `u32`.
fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

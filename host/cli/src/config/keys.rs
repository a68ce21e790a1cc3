//! The keys of `aop.toml`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use aop_core::settings::keys::{Bounds, Form, Key};
use aop_mcp::Expose;

use super::access::ACCESS_KEYS;
use super::cluster::CLUSTER_KEYS;
use super::policy::{AUDIT_KEYS, CEILING, CEILINGS};
use super::quota::QUOTA_KEYS;
use super::runtime::{COMPILE_KEYS, RUNTIME_KEYS};
use super::services::{EGRESS_KEYS, MODEL_KEYS, STATE_KEYS};
use super::supply::SUPPLY_KEYS;
use super::tenants::TENANTS_KEY;
use super::zone::ZONE_KEYS;
use super::{Config, LogFormat};
use crate::log;

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;

/// Most entries of a list; more is generated and belongs elsewhere.
const LIST_MAX: usize = 256;
/// Longest name or path.
const TEXT_CHARS_MAX: usize = 4096;

pub(super) static KEYS: &[Key<Config>] = &[
    Key {
        name: "listen",
        meaning: "The address to listen on. Port 0 picks a free one.",
        form: Form::Text {
            chars_max: 64,
            get: |config| Some(config.listen.to_string()),
            set: |config, text| {
                config.listen = text.parse().map_err(|_| {
                    format!("`{text}` is not an address: write it like `127.0.0.1:8000`")
                })?;
                Ok(())
            },
        },
    },
    Key {
        name: "agents",
        meaning: "Directories of components, each watched. In a file they are relative to it.",
        form: Form::Texts {
            count_max: LIST_MAX,
            get: |config| config.agents.iter().map(|path| path.display().to_string()).collect(),
            set: |config, paths| {
                config.agents = paths.into_iter().map(PathBuf::from).collect();
                Ok(())
            },
        },
    },
    Key {
        name: "data",
        meaning: "Where agents, revisions and compiled code are kept. Without it, the platform's data directory.",
        form: Form::Text {
            chars_max: TEXT_CHARS_MAX,
            get: |config| config.data.as_ref().map(|path| path.display().to_string()),
            set: |config, text| {
                config.data = Some(PathBuf::from(text));
                Ok(())
            },
        },
    },
    Key {
        name: "server_name",
        meaning: "The name that clients see.",
        form: Form::Text {
            chars_max: 128,
            get: |config| Some(config.server_name.clone()),
            set: |config, text| {
                text.clone_into(&mut config.server_name);
                Ok(())
            },
        },
    },
    Key {
        name: "log_level",
        meaning: "What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or directives such as `info,aop_mcp=trace`. Reloaded on SIGHUP.",
        form: Form::Text {
            chars_max: TEXT_CHARS_MAX,
            get: |config| Some(config.log_level.clone()),
            set: |config, text| {
                log::check_level(text)?;
                text.clone_into(&mut config.log_level);
                Ok(())
            },
        },
    },
    Key {
        name: "log_format",
        meaning: "How logs look. `auto` is `human` on a terminal and `json` otherwise.",
        form: Form::Choice {
            choices: &["auto", "human", "json"],
            get: |config| {
                Some(match config.log_format {
                    LogFormat::Auto => "auto",
                    LogFormat::Human => "human",
                    LogFormat::Json => "json",
                })
            },
            set: |config, word| {
                config.log_format = match word {
                    "human" => LogFormat::Human,
                    "json" => LogFormat::Json,
                    _ => LogFormat::Auto,
                };
            },
        },
    },
    Key::flag(
        "allow_unauthenticated",
        "Listen beyond this machine although nobody has to authenticate.",
        |config| Some(config.allow_unauthenticated),
        |config, flag| config.allow_unauthenticated = flag,
    ),
    Key::time(
        "drain_grace",
        "How long running calls may take to finish after SIGTERM. Reloaded on SIGHUP.",
        Bounds::new(
            Duration::ZERO,
            HOUR,
            "0 stops them at once, and no service manager waits for an hour",
        ),
        |config| config.drain_grace,
        |config, time| config.drain_grace = time,
    ),
    Key::section("mcp", "The MCP endpoint.", MCP_KEYS),
    Key::section("web", "HTTP.", WEB_KEYS),
    Key::section("registry", "The agents.", REGISTRY_KEYS),
    Key::section("runtime", "The sandboxes.", RUNTIME_KEYS),
    Key::section("compile", "What compiling one component may cost.", COMPILE_KEYS),
    Key::section("model", "The language models that agents talk to.", MODEL_KEYS),
    Key::section("egress", "The HTTP requests of agents.", EGRESS_KEYS),
    Key::section("state", "What agents remember.", STATE_KEYS),
    CEILING,
    CEILINGS,
    Key::section("supply", "Where components may come from, and who may sign them.", SUPPLY_KEYS),
    Key::section("audit", "The log of who did what.", AUDIT_KEYS),
    Key::section("cluster", "The zone that this host is in.", CLUSTER_KEYS),
    Key::section(
        "zone",
        "Other zones: how this host presents itself, and where it looks.",
        ZONE_KEYS,
    ),
    Key::section("quota", "What calls may use together.", QUOTA_KEYS),
    Key::section("access", "Who may call.", ACCESS_KEYS),
    TENANTS_KEY,
];

static MCP_KEYS: &[Key<Config>] = &[
    Key {
        name: "expose",
        meaning: "Which tools are listed: `all`, or only the `builtins` that find and call the others.",
        form: Form::Choice {
            choices: &["all", "builtins"],
            get: |config| {
                Some(match config.mcp.expose {
                    Expose::All => "all",
                    Expose::BuiltinsOnly => "builtins",
                })
            },
            set: |config, word| {
                config.mcp.expose =
                    if word == "builtins" { Expose::BuiltinsOnly } else { Expose::All };
            },
        },
    },
    Key {
        name: "instructions",
        meaning: "Guidance that clients hand to their model.",
        form: Form::Text {
            chars_max: TEXT_CHARS_MAX,
            get: |config| config.mcp.instructions.clone(),
            set: |config, text| {
                config.mcp.instructions = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key::count(
        "page_size",
        "Tools per page of `tools/list`.",
        Bounds::new(1, 10_000, "a page is held in memory and sent whole"),
        |config| config.mcp.page_size.get() as u64,
        |config, count| {
            config.mcp.page_size = NonZeroUsize::new(wide(count)).unwrap_or(NonZeroUsize::MIN)
        },
    ),
    Key::time(
        "list_ttl",
        "How long clients may reuse a page.",
        Bounds::new(Duration::ZERO, DAY, "0 forbids it, and a client must see new agents some day"),
        |config| config.mcp.list_ttl,
        |config, time| config.mcp.list_ttl = time,
    ),
    Key::size(
        "body_max",
        "The largest message.",
        Bounds::new(KIB, 256 * MIB, "a handshake must fit, and messages are held in memory"),
        |config| config.mcp.body_max_bytes as u64,
        |config, bytes| config.mcp.body_max_bytes = wide(bytes),
    ),
    Key::time(
        "body_timeout",
        "How long a client may take to send a message.",
        Bounds::new(SECOND, HOUR, "a slow network must pass, and a trickle must end"),
        |config| config.mcp.body_timeout,
        |config, time| config.mcp.body_timeout = time,
    ),
    Key::count(
        "json_depth_max",
        "The deepest nesting of a message.",
        Bounds::new(8, 120, "a tool call is six deep, and parsing stops at 128"),
        |config| config.mcp.json_depth_max as u64,
        |config, count| config.mcp.json_depth_max = wide(count),
    ),
    Key::count(
        "sessions_max",
        "Sessions at one time, for clients of the revisions that have them. No tenant has all of them.",
        Bounds::new(
            0,
            1_000_000,
            "0 refuses such clients, and an idle session costs tens of kilobytes",
        ),
        |config| config.mcp.sessions_max as u64,
        |config, count| config.mcp.sessions_max = wide(count),
    ),
    Key::time(
        "session_idle_timeout",
        "How long a session may idle.",
        Bounds::new(
            SECOND,
            DAY,
            "a person thinks for longer than a second, and vanished clients must go",
        ),
        |config| config.mcp.session_idle_timeout,
        |config, time| config.mcp.session_idle_timeout = time,
    ),
    Key::count(
        "pending_max",
        "Requests of one session, or of stdio, that may wait for their answers.",
        Bounds::new(1, 100_000, "each holds its message in memory"),
        |config| config.mcp.pending_max as u64,
        |config, count| config.mcp.pending_max = wide(count),
    ),
    Key::count(
        "streams_max",
        "Open event streams at one time. No tenant has all of them.",
        Bounds::new(0, 1_000_000, "0 refuses them, and each holds a connection"),
        |config| config.mcp.streams_max as u64,
        |config, count| config.mcp.streams_max = wide(count),
    ),
    Key::time(
        "list_changed_window",
        "How long changes of the tool set are gathered into one notification.",
        Bounds::new(
            Duration::ZERO,
            MINUTE,
            "0 tells of each, and later than a minute tells nobody anything",
        ),
        |config| config.mcp.list_changed_window,
        |config, time| config.mcp.list_changed_window = time,
    ),
    Key::time(
        "stdio_grace",
        "How long calls may still answer after stdin closed.",
        Bounds::new(Duration::ZERO, HOUR, "0 drops them at once"),
        |config| config.mcp.stdio_grace,
        |config, time| config.mcp.stdio_grace = time,
    ),
    Key::time(
        "list_timeout",
        "How long an agent may take to list its resources or prompts, or to suggest something.",
        Bounds::new(
            Duration::from_millis(100),
            MINUTE,
            "a cold instance starts in milliseconds, and a list waits for its slowest agent",
        ),
        |config| config.mcp.list_timeout,
        |config, time| config.mcp.list_timeout = time,
    ),
    Key::count(
        "subscriptions_max",
        "Resources that one session or event stream may subscribe to.",
        Bounds::new(0, 4096, "0 refuses them, and each is compared with every change"),
        |config| config.mcp.subscriptions_max as u64,
        |config, count| config.mcp.subscriptions_max = wide(count),
    ),
    Key::count(
        "parked_max",
        "Calls that wait for their clients to come back with answers.",
        Bounds::new(0, 100_000, "0 lets no agent ask such clients, and each holds an instance"),
        |config| config.mcp.parked_max as u64,
        |config, count| config.mcp.parked_max = wide(count),
    ),
    Key::count(
        "parked_per_tenant_max",
        "The same per tenant.",
        Bounds::new(0, 100_000, "0 lets no agent ask such clients, and each holds an instance"),
        |config| config.mcp.parked_per_tenant_max as u64,
        |config, count| config.mcp.parked_per_tenant_max = wide(count),
    ),
    Key::count(
        "parked_per_caller_max",
        "The same per caller. Each keeps its place among the calls of its agent.",
        Bounds::new(0, 100_000, "0 lets no agent ask such clients, and each holds an instance"),
        |config| config.mcp.parked_per_caller_max as u64,
        |config, count| config.mcp.parked_per_caller_max = wide(count),
    ),
    Key::time(
        "task_ttl",
        "How long the result of a task is kept, from its creation on.",
        Bounds::new(
            MINUTE,
            Duration::from_secs(30 * 24 * 60 * 60),
            "a client must come for it in time, and until then it takes a place in the store",
        ),
        |config| config.mcp.task_ttl,
        |config, time| config.mcp.task_ttl = time,
    ),
    Key::time(
        "task_poll_interval",
        "How often a client should ask how a task is doing.",
        Bounds::new(
            Duration::from_millis(10),
            HOUR,
            "each question reads the store, and a result should not wait for long",
        ),
        |config| config.mcp.task_poll_interval,
        |config, time| config.mcp.task_poll_interval = time,
    ),
    Key::count(
        "tasks_per_tenant_max",
        "Tasks per tenant, the finished ones included.",
        Bounds::new(0, 10_000, "0 refuses them, and all are counted whenever one begins or ends"),
        |config| u64::from(config.mcp.tasks_per_tenant_max),
        |config, count| config.mcp.tasks_per_tenant_max = u32::try_from(count).unwrap_or(u32::MAX),
    ),
];

static WEB_KEYS: &[Key<Config>] = &[
    Key {
        name: "allowed_hosts",
        meaning: "Further names this host answers to, such as that of a proxy in front.",
        form: Form::Texts {
            count_max: LIST_MAX,
            get: |config| config.web.allowed_hosts.clone(),
            set: |config, hosts| {
                config.web.allowed_hosts = hosts;
                Ok(())
            },
        },
    },
    Key {
        name: "allowed_origins",
        meaning: "Web pages of other origins that may call this host.",
        form: Form::Texts {
            count_max: LIST_MAX,
            get: |config| config.web.allowed_origins.clone(),
            set: |config, origins| {
                config.web.allowed_origins = origins;
                Ok(())
            },
        },
    },
    Key::count(
        "connections_max",
        "Connections at one time.",
        Bounds::new(1, 1_000_000, "each may buffer up to 128 KiB"),
        |config| config.web.server.connections_max as u64,
        |config, count| config.web.server.connections_max = wide(count),
    ),
    Key::size(
        "header_max",
        "The largest request line with its headers.",
        Bounds::new(
            8 * KIB,
            64 * KIB,
            "what browsers send must fit, and so must the buffer of a connection",
        ),
        |config| config.web.server.header_max_bytes as u64,
        |config, bytes| config.web.server.header_max_bytes = wide(bytes),
    ),
    Key::time(
        "header_read_timeout",
        "How long a client may take to send headers, and how long an idle connection is kept.",
        Bounds::new(SECOND, HOUR, "timeouts are kept to a second"),
        |config| config.web.server.header_read_timeout,
        |config, time| config.web.server.header_read_timeout = time,
    ),
    Key::time(
        "stall_timeout",
        "How long a client is waited for until it sent the next 64 KiB of a body, or read those of its answer, or the rest.",
        Bounds::new(SECOND, HOUR, "timeouts are kept to a second"),
        |config| config.web.server.stall_timeout,
        |config, time| config.web.server.stall_timeout = time,
    ),
    Key::size(
        "upload_max",
        "The largest upload of an agent: component, settings and framing.",
        Bounds::new(MIB, GIB, "four may be in memory at once"),
        |config| config.web.upload_max_bytes as u64,
        |config, bytes| config.web.upload_max_bytes = wide(bytes),
    ),
    Key::flag(
        "uploads_may_grant",
        "Settings in an upload may grant something: a `[policy]`, a `[model]`, an `[export]` or `share`. Then whoever reaches the admin API can read and change what this host's own user can.",
        |config| Some(config.web.uploads_may_grant),
        |config, flag| config.web.uploads_may_grant = flag,
    ),
];

static REGISTRY_KEYS: &[Key<Config>] = &[
    Key::count(
        "agents_max",
        "Agents at once, from files and the API together. Where there are several tenants, none loads all of them through the API.",
        Bounds::new(1, 1_000_000, "a loaded agent takes about 100 KiB"),
        |config| config.registry.agents_max as u64,
        |config, count| config.registry.agents_max = wide(count),
    ),
    Key::time(
        "settle",
        "How long a file must stay as it is before it is read.",
        Bounds::new(
            MILLISECOND,
            MINUTE,
            "half-written files are not read, and changes must arrive",
        ),
        |config| config.registry.settle,
        |config, time| config.registry.settle = time,
    ),
    Key::time(
        "rescan",
        "How often the directories are read although the operating system reported nothing.",
        Bounds::new(
            Duration::from_millis(100),
            HOUR,
            "reading thousands of files costs milliseconds",
        ),
        |config| config.registry.rescan,
        |config, time| config.registry.rescan = time,
    ),
];

/// Bounds keep every count far below the end of `usize`.
pub(super) fn wide(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

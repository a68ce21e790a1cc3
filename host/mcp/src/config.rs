//! Every setting and bound of the MCP edge, with its default and the reason for it.

use std::num::NonZeroUsize;
use std::time::Duration;

/// Which tools `tools/list` shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Expose {
    /// Every tool, and the built-in ones.
    #[default]
    All,
    /// `aop_discover`, `aop_describe`, `aop_call` and `aop_call_many` only, for catalogues that would not fit a
    /// model's context. Other tools stay callable by their names: hiding is not a permission.
    BuiltinsOnly,
}

/// How the MCP edge behaves and what bounds it.
#[derive(Debug, Clone)]
pub struct McpConfig {
    /// The name clients see. Default `aop`.
    pub server_name: String,
    /// Guidance that clients hand to their model. Default: how to use the built-in tools.
    pub instructions: Option<String>,
    /// Which tools `tools/list` shows. Default: all.
    pub expose: Expose,
    /// Tools per page of `tools/list`. Default 100: clients that never ask for a second page still
    /// see a catalogue of common size, and a page stays near 100 kB.
    pub page_size: NonZeroUsize,
    /// How long clients may reuse a page (`ttlMs`). Default 30 s: without a subscription, a client
    /// sees a hot-loaded agent within half a minute.
    pub list_ttl: Duration,
    /// The largest message, over HTTP or stdio. Default 4 MiB: arguments with an image fit, and
    /// a thousand of them at once do not exhaust a small host. Beyond: 413.
    pub body_max_bytes: usize,
    /// How long a client may take to send a body. Default 30 s: a slow upload passes, a client that
    /// trickles bytes to hold buffers does not. Beyond: 408.
    pub body_timeout: Duration,
    /// The deepest nesting of a message. Default 100: deeper than any schema a person writes, and
    /// below the 128 at which `serde_json` stops, so both paths draw one line.
    pub json_depth_max: usize,
    /// Sessions of the revisions before 2026-07-28 at one time. Default 1,024: an idle one costs
    /// tens of kilobytes. Beyond: 503 with `Retry-After`.
    pub sessions_max: usize,
    /// How long a session may live without a request or an open stream. Default 30 min: a person
    /// thinking does not lose it, a client that vanished does not keep it.
    pub session_idle_timeout: Duration,
    /// Requests of one session, or of stdio, that may wait for their answers. Default 1,024: far
    /// above what clients pipeline. Beyond: 429 over HTTP; stdio stops reading until one answers.
    pub pending_max: usize,
    /// Open event streams (GET, `subscriptions/listen`) at one time. Default 2,048: each holds a
    /// connection for good. Beyond: 503 with `Retry-After`.
    pub streams_max: usize,
    /// How long changes of the tool set are gathered into one notification. Default 100 ms: loading
    /// a directory of agents is one notification, and it still arrives well within a second.
    pub list_changed_window: Duration,
    /// How long calls may still answer after stdin closed. Default 1 s: requests piped into the
    /// process get their answers, and a guest that spins does not outlive its client for long.
    pub stdio_grace: Duration,
    /// How long an agent may take to list its resources or prompts. Default 2 s: a list that waits for a hung
    /// agent helps nobody, so one that takes longer is left out of it.
    pub list_timeout: Duration,
    /// Resources that one session or event stream may subscribe to. Default 256: what a person watches.
    /// Beyond: an error, or for `subscriptions/listen` only the first ones.
    pub subscriptions_max: usize,
    /// Calls that wait for their clients to come back with answers (2026-07-28). Default 1,024: each keeps an
    /// instance. Beyond: the question fails, and the agent goes on without an answer.
    pub parked_max: usize,
    /// The same per tenant. Default 256: one tenant does not take the places of all.
    pub parked_per_tenant_max: usize,
    /// The same per caller. Default 32, an eighth of the places of an agent: who never answers keeps no agent from others.
    pub parked_per_caller_max: usize,
    /// How long the result of a task is kept, from its creation on. Default 24 h: whoever asked for a task
    /// may come back tomorrow.
    pub task_ttl: Duration,
    /// How often a client should ask how a task is doing. Default 1 s: a person hardly notices, and a
    /// thousand tasks cost a thousand cheap reads per second.
    pub task_poll_interval: Duration,
    /// Tasks per tenant, the finished ones included. Default 1,000. Beyond: the call is refused until some expire.
    pub tasks_per_tenant_max: u32,
    /// What `Retry-After` says when the server is full or draining. Default 2 s.
    pub retry_after: Duration,
}

impl Default for McpConfig {
    fn default() -> Self {
        Self {
            server_name: "aop".to_owned(),
            instructions: Some(INSTRUCTIONS.to_owned()),
            expose: Expose::All,
            page_size: const { NonZeroUsize::new(100).unwrap() },
            list_ttl: Duration::from_secs(30),
            body_max_bytes: 4 << 20,
            body_timeout: Duration::from_secs(30),
            json_depth_max: 100,
            sessions_max: 1024,
            session_idle_timeout: Duration::from_secs(30 * 60),
            pending_max: 1024,
            streams_max: 2048,
            list_changed_window: Duration::from_millis(100),
            stdio_grace: Duration::from_secs(1),
            list_timeout: Duration::from_secs(2),
            subscriptions_max: 256,
            parked_max: 1024,
            parked_per_tenant_max: 256,
            parked_per_caller_max: 32,
            task_ttl: Duration::from_secs(24 * 60 * 60),
            task_poll_interval: Duration::from_secs(1),
            tasks_per_tenant_max: 1000,
            retry_after: Duration::from_secs(2),
        }
    }
}

/// Written for a model that meets this server for the first time.
const INSTRUCTIONS: &str = "This server runs sandboxed agents as tools. \
    If no listed tool fits a task, search the whole catalogue with aop_discover, read a tool's \
    schema with aop_describe, and run it with aop_call, or several with aop_call_many. Every result says `success`; when it is \
    false, `error` says what to change.";

//! One invocation, from the edge to its reply.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::{NoContext, Timestamp, Uuid};

use crate::bucket::SessionId;
use crate::client::Client;
use crate::interface::Feature;
use crate::quota::Payer;
use crate::{
    AgentId, AgentName, BoxFuture, Caller, Failure, Lineage, Route, Services, TenantName, ToolName,
    TraceContext,
};

/// Identifies a call in logs, spans and replies (the paper's correlation id).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub Uuid);

impl CallId {
    /// The id of a call that begins now. What tells apart those of one millisecond is random: a counter would tell each
    /// tenant how many calls others make.
    #[must_use]
    pub fn begin() -> Self {
        Self(Uuid::new_v7(Timestamp::now(NoContext)))
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a call runs.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// A tool, by its name as it was sent.
    Tool(&'a str),
    /// A tool that was found already, as one of another zone is.
    Found(&'a Route),
    /// A function of the standard interfaces by which an agent offers resources, prompts, completions and skills.
    Feature {
        /// The agent's name as it was sent.
        agent: &'a str,
        /// Which function.
        feature: Feature,
    },
}

/// A request to run something, parsed at the edge.
pub struct Call<'a> {
    /// Who asks, and for which tenant.
    pub caller: Caller,
    /// What to run.
    pub target: Target<'a>,
    /// A JSON object as text; `{}` when the client sent none.
    pub arguments: &'a str,
    /// When the request arrived: what the timeout counts from.
    pub received: Instant,
    /// A shorter timeout than the tool's, when the caller wants one.
    pub timeout: Option<Duration>,
    /// The caller's trace.
    pub trace: Option<TraceContext>,
    /// Where progress goes, when the caller wants it.
    pub progress: Option<Arc<dyn Progress>>,
    /// Who can be asked while the call runs, when its edge can carry questions.
    pub client: Option<Arc<dyn Client>>,
    /// The conversation that the call continues.
    pub session: Option<SessionId>,
    /// The calls that led to this one, when an agent makes it.
    pub lineage: Option<Arc<Lineage>>,
    /// Whether another node chose this one to run it: it is never passed on again, and executed once, because
    /// that node repeats what is safe to repeat.
    pub here: bool,
}

impl<'a> Call<'a> {
    /// A call that nobody follows: no shorter timeout, trace, progress, client, session or lineage.
    #[must_use]
    pub const fn new(
        caller: Caller,
        target: Target<'a>,
        arguments: &'a str,
        received: Instant,
    ) -> Self {
        Self {
            caller,
            target,
            arguments,
            received,
            timeout: None,
            trace: None,
            progress: None,
            client: None,
            session: None,
            lineage: None,
            here: false,
        }
    }
}

/// Runs calls. `dispatch` implements it.
pub trait Invoke: Send + Sync {
    /// Runs one call to its end. Dropping the future cancels the call and stops the guest.
    fn invoke<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Reply>;

    /// Charges the caller's tenant for one of the host's own tools, which no agent runs. Where nothing holds calls to
    /// quotas, it costs nothing.
    ///
    /// # Errors
    /// When the tenant, or the host, begins too many.
    fn charge(&self, _: &Caller, _received: Instant) -> Result<(), Failure> {
        Ok(())
    }
}

/// How a call ended.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The call's id.
    pub id: CallId,
    /// What it answered. Wrap it with [`Envelope::new`](crate::Envelope::new).
    pub result: Result<Output, Failure>,
    /// The trace to send back: the caller's, seen from this host's span.
    pub trace: Option<TraceContext>,
    /// The conversation to continue with: the caller's, or one that began because the agent remembers
    /// something of it.
    pub session: Option<SessionId>,
}

/// A result as compact JSON, valid against the tool's output schema.
#[derive(Debug, Clone)]
pub struct Output {
    /// The value; `null` for a function without a result.
    pub json: Box<RawValue>,
    /// How it is shown.
    pub shown: Shown,
}

/// How a result is shown to whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// As compact JSON.
    Json,
    /// As the text that it is, without quotes.
    Text,
    /// As the content blocks that it holds: one `aop:agent/content` block, or a list of them. Such a result
    /// has no envelope.
    Content,
}

/// What travels with a call into the guest.
pub struct CallContext {
    /// The call.
    pub id: CallId,
    /// Who asked.
    pub caller: Caller,
    /// The tenant that owns the agent: its secrets are used. Another one than the caller's, whose state and figures
    /// count, when the agent is shared.
    pub owner: TenantName,
    /// Which agent runs.
    pub agent: AgentName,
    /// Its identity.
    pub agent_id: AgentId,
    /// Which of its tools.
    pub tool: ToolName,
    /// When the guest is stopped.
    pub deadline: Instant,
    /// Where progress goes.
    pub progress: Option<Arc<dyn Progress>>,
    /// What the call has used so far, over all attempts.
    pub meter: Arc<Meter>,
    /// Whose quotas that is charged to.
    pub payer: Arc<Payer>,
    /// The caller's trace, seen from this host's span.
    pub trace: Option<TraceContext>,
    /// Who can be asked while the call runs.
    pub client: Option<Arc<dyn Client>>,
    /// The conversation: the caller's, or one that begins when the agent first remembers something of it.
    pub session: OnceLock<SessionId>,
    /// The calls that led to this one.
    pub lineage: Option<Arc<Lineage>>,
    /// Whether it must run on this node.
    pub here: bool,
    /// What the agent can ask its host for; none where no host is around the call.
    pub services: Option<Arc<Services>>,
    /// Whether its failure is told in the log, once that was asked.
    pub told: OnceLock<bool>,
}

impl CallContext {
    /// The context of a call without a host around it: nobody to ask, nothing to remember, no other agents.
    #[must_use]
    pub fn alone(caller: Caller, agent: AgentName, tool: ToolName, deadline: Instant) -> Self {
        Self {
            id: CallId(Uuid::nil()),
            owner: caller.tenant.clone(),
            caller,
            agent,
            agent_id: AgentId(Uuid::nil()),
            tool,
            deadline,
            progress: None,
            meter: Arc::default(),
            payer: Payer::nobody(),
            trace: None,
            client: None,
            session: OnceLock::new(),
            lineage: None,
            here: false,
            services: None,
            told: OnceLock::new(),
        }
    }

    /// Asks for lines of the host's log about a failure of the call, at the rate of its agent: how many were left out before
    /// them, or none when they are left out. All lines about one call are told or none is.
    #[must_use]
    pub fn line(&self, now: Instant) -> Option<u64> {
        let mut before = 0;
        let told = self.told.get_or_init(|| {
            let left_out = self.payer.agent.lines.take(now);
            before = left_out.unwrap_or(0);
            left_out.is_some()
        });
        told.then_some(before)
    }

    /// Whether the agent is another tenant's, which shares it with the caller's. Its policy is its owner's word, so it opens
    /// nothing of the caller's.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.owner != self.caller.tenant
    }
}

/// What a call used. Kept even when it fails.
#[derive(Debug, Default)]
pub struct Meter {
    cpu_nanos: AtomicU64,
    memory_peak_bytes: AtomicU64,
    tokens: AtomicU64,
}

impl Meter {
    /// Adds time during which a core worked for the call.
    pub fn add_cpu(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.cpu_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Notes how much linear memory the instance had.
    pub fn note_memory(&self, bytes: u64) {
        self.memory_peak_bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Adds tokens of a language model, read or written.
    pub fn add_tokens(&self, count: u64) {
        self.tokens.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes back tokens that were added and not used.
    pub fn return_tokens(&self, count: u64) {
        self.tokens.fetch_sub(count, Ordering::Relaxed);
    }

    /// Tokens of a language model, read and written.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }

    /// Time during which a core worked for the call.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed))
    }

    /// The most linear memory that an instance had.
    #[must_use]
    pub fn memory_peak_bytes(&self) -> u64 {
        self.memory_peak_bytes.load(Ordering::Relaxed)
    }
}

/// Receives the progress of a call. Must not block; a sink that is full drops the report.
pub trait Progress: Send + Sync {
    /// `progress` grows with every report; `total` is known sometimes; `message` is for people.
    fn report(&self, progress: f64, total: Option<f64>, message: Option<&str>);
}

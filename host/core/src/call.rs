//! One invocation, from the edge to its reply.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{AgentName, BoxFuture, Caller, Failure, ToolName, TraceContext};

/// Identifies a call in logs, spans and replies (the paper's correlation id).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub Uuid);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A request to run a tool, parsed at the edge.
pub struct Call<'a> {
    /// Who asks, and for which tenant.
    pub caller: Caller,
    /// The tool's name as it was sent.
    pub tool: &'a str,
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
}

/// Runs calls. `dispatch` implements it.
pub trait Invoke: Send + Sync {
    /// Runs one call to its end. Dropping the future cancels the call and stops the guest.
    fn invoke<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Reply>;
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
}

/// A result as compact JSON, valid against the tool's output schema.
#[derive(Debug, Clone)]
pub struct Output {
    /// The value; `null` for a function without a result.
    pub json: Box<RawValue>,
    /// Whether the value is a string that a model should read as it is, without quotes.
    pub is_text: bool,
}

/// What travels with a call into the guest.
pub struct CallContext {
    /// The call.
    pub id: CallId,
    /// Who asked.
    pub caller: Caller,
    /// Which agent runs.
    pub agent: AgentName,
    /// Which of its tools.
    pub tool: ToolName,
    /// When the guest is stopped.
    pub deadline: Instant,
    /// Where progress goes.
    pub progress: Option<Arc<dyn Progress>>,
    /// What the call has used so far, over all attempts.
    pub meter: Arc<Meter>,
}

/// What a call used. Kept even when it fails.
#[derive(Debug, Default)]
pub struct Meter {
    cpu_nanos: AtomicU64,
    memory_peak_bytes: AtomicU64,
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

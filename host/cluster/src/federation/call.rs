//! Calls of agents of other zones. To this host, such an agent is a revision like any other, whose executable sends an
//! MCP `tools/call` to the agent's zone: so its calls are admitted, timed, retried and recorded like all calls.
//!
//! What travels: the tool, its arguments, the time that is left, who waits for the call (as ids that mean nothing
//! elsewhere, so that a cycle comes to light where it closes), how many further calls they may make, and the trace.
//! What does not: whoever called, the caller's credentials, and its conversation. This zone shows the token that
//! the other one gave it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use aop_core::federation::{ExchangeLimits, TransportError};
use aop_core::lineage::{CALLS_MAX, DEPTH_MAX};
use aop_core::{
    AgentId, AgentName, Arguments, BoxFuture, CallContext, Digest, ErrorCode, Executable, Failure,
    Limits, Output, Revision, RevisionNumber, Route, Settings, TaskUse, TenantName, Tool, ToolName,
    Violation,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Zone;
use super::export::Descriptor;
use super::name::FullName;
use super::record::{Agent, Endpoint};
use super::resolver::{in_order, post};
use super::wire;

/// The largest arguments that are sent, as large as a host accepts by default.
const ARGUMENTS_MAX_BYTES: usize = 4 << 20;
/// The largest answer: a result of 8 MiB, once as text and once as structured content, with room for escapes.
pub(super) const ANSWER_MAX_BYTES: usize = 32 << 20;
/// The longest that a call may take there, whatever the other zone promises.
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(10 * 60);
/// The shortest that makes sense over a network.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Longest label of an agent's name.
const LABEL_MAX: usize = 63;
/// Digits of the digest that tell two names apart in one label: 48 bits.
const DIGEST_CHARS: usize = 12;

/// An agent of another zone.
pub(super) struct Foreign {
    revision: Arc<Revision>,
    name: FullName,
    endpoints: Vec<Endpoint>,
    version: u64,
    description: String,
    ttl: Duration,
}

impl Foreign {
    /// Makes an agent callable.
    ///
    /// # Errors
    /// What is wrong with its description.
    pub(super) fn new(
        zone: &Arc<Zone>,
        tenant: &TenantName,
        agent: &Agent,
        descriptor: &Descriptor,
    ) -> Result<Arc<Self>, String> {
        let tools = descriptor.tools.iter().enumerate();
        let tools: Vec<_> = tools
            .map(|(function, tool)| {
                Arc::new(Tool {
                    name: tool.name.clone(),
                    title: tool.title.clone(),
                    description: tool.description.clone(),
                    input_schema: tool.input_schema.clone(),
                    output_schema: tool.output_schema.clone(),
                    signature: tool.signature.clone(),
                    hints: tool.hints,
                    task: TaskUse::Never,
                    headers: Vec::new(),
                    converses: false,
                    takes_handles: false,
                    function,
                })
            })
            .collect();
        let executable = Arc::new(Remote {
            zone: Arc::downgrade(zone),
            name: agent.name.clone(),
            tools: tools.iter().map(|tool| tool.name.clone()).collect(),
            endpoints: agent.endpoints.clone(),
            turn: AtomicU64::new(0),
        });
        let timeout = Duration::from_millis(descriptor.timeout_ms).clamp(TIMEOUT_MIN, TIMEOUT_MAX);
        let revision = Revision {
            tenant: tenant.clone(),
            agent: local_name(&agent.name)?,
            id: id_of(&agent.name),
            number: RevisionNumber(agent.version),
            digest: agent.descriptor_sha256,
            settings: Arc::new(Settings {
                limits: Limits { timeout, ..Limits::default() },
                ..Settings::default()
            }),
            tools,
            features: BTreeMap::new(),
            executable,
            payer: aop_core::quota::Payer::nobody(),
            in_flight: AtomicU32::new(0),
        };
        Ok(Arc::new(Self {
            revision: Arc::new(revision),
            name: agent.name.clone(),
            endpoints: agent.endpoints.clone(),
            version: agent.version,
            description: descriptor.description.clone(),
            ttl: Duration::from_millis(descriptor.ttl_ms),
        }))
    }

    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// What it takes in memory, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let tool = |tool: &Arc<Tool>| {
            let output = tool.output_schema.as_ref().map_or(0, |schema| schema.get().len());
            let texts = tool.description.len() + tool.signature.len();
            size_of::<Tool>() + tool.input_schema.get().len() + output + texts
        };
        let tools: usize = self.revision.tools.iter().map(tool).sum();
        (size_of::<Self>() + size_of::<Revision>() + self.description.len() + tools) as u64
    }

    /// How long its list of tools is fresh.
    pub(super) const fn ttl(&self) -> Duration {
        self.ttl
    }

    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn description(&self) -> &str {
        &self.description
    }

    pub(super) const fn revision(&self) -> &Arc<Revision> {
        &self.revision
    }

    pub(super) const fn name(&self) -> &FullName {
        &self.name
    }

    /// Where a label leads: a tool's name, or the agent's when it has one tool.
    #[must_use]
    pub(super) fn route(&self, label: &str) -> Option<Route> {
        let tools = &self.revision.tools;
        let named = tools.iter().find(|tool| *tool.name == *label);
        // Names of DNS have no case; tools' may, so the exact one goes before.
        let named =
            named.or_else(|| tools.iter().find(|tool| tool.name.eq_ignore_ascii_case(label)));
        let tool = named.or_else(|| match tools.as_slice() {
            [only] if label.eq_ignore_ascii_case(self.name.label()) => Some(only),
            _ => None,
        });
        Some(Route { revision: Arc::clone(&self.revision), tool: Arc::clone(tool?) })
    }
}

/// What an agent of another zone is called in logs and metrics here: its full name as one label, and a piece of that
/// name's digest, since `a.b` and `a-b` are the same label otherwise.
///
/// # Errors
/// When it has no such form.
fn local_name(name: &FullName) -> Result<AgentName, String> {
    let mut label = name.as_str().to_lowercase().replace(['.', '_'], "-");
    label.truncate(label.floor_char_boundary(LABEL_MAX - DIGEST_CHARS - 1));
    let digest = Digest::of(name.as_str().as_bytes()).hex();
    let label = format!("{}-{}", label.trim_end_matches('-'), &digest[..DIGEST_CHARS]);
    AgentName::new(&label).map_err(|error| error.to_string())
}

/// An id that is always the same for a full name, and no other agent's.
fn id_of(name: &FullName) -> AgentId {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Digest::of(name.as_str().as_bytes()).as_bytes()[..16]);
    AgentId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// Sends calls to an agent's zone.
struct Remote {
    zone: Weak<Zone>,
    name: FullName,
    tools: Vec<ToolName>,
    endpoints: Vec<Endpoint>,
    turn: AtomicU64,
}

impl Executable for Remote {
    fn validate(&self, _function: usize, arguments: &str) -> Result<Arguments, Vec<Violation>> {
        let wrong = |message: String| vec![Violation { pointer: String::new(), message }];
        if arguments.len() > ARGUMENTS_MAX_BYTES {
            let limit = ARGUMENTS_MAX_BYTES >> 20;
            return Err(wrong(format!("arguments for another zone have at most {limit} MiB")));
        }
        // The other zone looks closer, and says what it finds.
        match serde_json::from_str::<Box<RawValue>>(arguments) {
            Ok(raw) if raw.get().starts_with('{') => Ok(Arguments(Box::new(raw))),
            Ok(_) => Err(wrong("must be an object with the tool's arguments".to_owned())),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    fn execute<'a>(
        &'a self,
        function: usize,
        arguments: &'a Arguments,
        context: &'a Arc<CallContext>,
    ) -> BoxFuture<'a, Result<Output, Failure>> {
        Box::pin(async move {
            let internal =
                |what: &str| Failure::before_execution(ErrorCode::Internal, what.to_owned());
            let zone = self.zone.upgrade().ok_or_else(|| internal("the host is shutting down"))?;
            let tool = self.tools.get(function).ok_or_else(|| internal("no such function"))?;
            let arguments = arguments.0.downcast_ref::<Box<RawValue>>();
            let arguments = arguments.ok_or_else(|| internal("arguments of another agent"))?;
            self.send(&zone, tool, arguments, context).await
        })
    }
}

impl Remote {
    async fn send(
        &self,
        zone: &Zone,
        tool: &ToolName,
        arguments: &RawValue,
        context: &CallContext,
    ) -> Result<Output, Failure> {
        zone.counters().calls_out.add();
        let left = context.deadline.saturating_duration_since(Instant::now());
        let body = request(tool, arguments, context, left)?;
        let token = zone.resolver().token(&self.name.zone());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut outcome = Err(Failure::before_execution(
            ErrorCode::Unavailable,
            format!("`{}` has no endpoint", self.name),
        ));
        for endpoint in in_order(&self.endpoints, turn) {
            let url = format!("{}/zone/v1/mcp", endpoint.url.trim_end_matches('/'));
            let mut request = post(&url, token.as_ref(), body.clone())
                .map_err(|error| Failure::before_execution(ErrorCode::Unavailable, error))?;
            wire::describe(request.headers_mut(), tool);
            let time = context.deadline.saturating_duration_since(Instant::now());
            let limits = ExchangeLimits { time, answer_max_bytes: ANSWER_MAX_BYTES };
            match zone.ways().exchange(&self.name.zone(), request, limits).await {
                // Only where nothing was sent is another endpoint safe for every tool.
                Err(TransportError::Unreachable(reason) | TransportError::Refused(reason)) => {
                    zone.counters().unreachable.add();
                    outcome = Err(Failure::before_execution(
                        ErrorCode::Unavailable,
                        format!("the zone of `{}` cannot be reached: {reason}", self.name),
                    ));
                }
                Err(TransportError::Broken(reason) | TransportError::TooLarge(reason)) => {
                    zone.counters().unreachable.add();
                    return Err(self.broken(&reason, context));
                }
                Ok(response) => return self.read(&response, context),
            }
        }
        outcome
    }

    fn broken(&self, reason: &str, context: &CallContext) -> Failure {
        if Instant::now() >= context.deadline {
            let message = format!("`{}` did not answer in time", self.name);
            return Failure::executed(ErrorCode::DeadlineExceeded, message);
        }
        let message = format!("the answer of `{}` was lost: {reason}", self.name);
        Failure::executed(ErrorCode::Unavailable, message)
    }

    fn read(
        &self,
        response: &http::Response<Bytes>,
        context: &CallContext,
    ) -> Result<Output, Failure> {
        let status = response.status();
        if status == StatusCode::OK {
            let wire::Answered { result, calls } =
                wire::read_answer(response.body(), self.name.as_str());
            if let Some(lineage) = &context.lineage {
                // The call itself was counted on both sides.
                lineage.spend(calls.saturating_sub(1));
            }
            return result;
        }
        let of = |what: &str| format!("the zone of `{}` {what}", self.name);
        // Only what this protocol itself answers before it runs anything says that nothing ran. Whatever else may
        // come from something in between, which gave up while the call was running.
        let is_ours = wire::is_refusal(response.body());
        let refused = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::before_execution(
                ErrorCode::PermissionDenied,
                of("does not let this zone call it"),
            ),
            StatusCode::TOO_MANY_REQUESTS => busy(response, of("has too much to do")),
            StatusCode::SERVICE_UNAVAILABLE if is_ours => busy(response, of("has too much to do")),
            StatusCode::BAD_REQUEST
            | StatusCode::NOT_FOUND
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::PAYLOAD_TOO_LARGE => Failure::before_execution(
                ErrorCode::Unavailable,
                of(&format!("refuses the call: {status}")),
            ),
            _ => Failure::executed(
                ErrorCode::Unavailable,
                of(&format!("answers with {status}: whether the call ran is not known")),
            ),
        };
        Err(refused)
    }
}

/// A zone that has no room, and when it may have some.
fn busy(response: &http::Response<Bytes>, message: String) -> Failure {
    let after = response.headers().get(http::header::RETRY_AFTER);
    let after = after.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let after = Duration::from_secs(after.unwrap_or(1)).min(TIMEOUT_MAX);
    Failure::before_execution(ErrorCode::ResourceExhausted, message).with_retry_after(after)
}

fn request(
    tool: &ToolName,
    arguments: &RawValue,
    context: &CallContext,
    left: Duration,
) -> Result<Bytes, Failure> {
    let lineage = context.lineage.as_ref();
    let waiting: Vec<Uuid> =
        lineage.into_iter().flat_map(|lineage| lineage.waiting()).map(|(id, _)| id.0).collect();
    let depth = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
    let Some(hops) = (DEPTH_MAX + 1).checked_sub(depth).filter(|hops| *hops > 0) else {
        let message = format!("calls between agents nest {DEPTH_MAX} deep at most");
        return Err(Failure::before_execution(ErrorCode::LoopDetected, message));
    };
    let passage = wire::Passage {
        deadline_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        hops,
        via: waiting,
        budget: lineage.map_or(CALLS_MAX, |lineage| lineage.calls_left()),
        trace: context.trace,
    };
    wire::write_call(tool, arguments, &passage)
        .map_err(|error| Failure::before_execution(ErrorCode::Internal, error.to_string()))
}

/// A header value from text that is valid as one.
pub(super) fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_agents_have_different_labels() {
        let label = |name: &str| local_name(&name.parse().unwrap()).unwrap().to_string();
        assert!(label("writer.a.example").starts_with("writer-a-example-"));
        assert_ne!(label("writer.a.example"), label("writer-a.example"));
        let long = format!("{}.{}.example", "a".repeat(60), "b".repeat(60));
        assert_eq!(label(&long).len(), LABEL_MAX);
    }
}

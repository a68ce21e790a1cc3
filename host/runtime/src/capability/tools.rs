//! `aop:agent/tools`: finds and calls the tools of other agents.
//!
//! Every call goes the way of any call, through [`Invoke`](aop_core::Invoke), with what is left of the
//! caller's time and under one lineage, which refuses cycles and counts. Only tools that the policy
//! names exist for the guest. The policy is its owner's word: of an agent that another tenant shares, it opens what that
//! owner shares with the caller, and none of the caller's own agents.

use std::sync::Arc;
use std::time::Instant;

use aop_core::{
    Asked, Call, CallContext, ErrorCode, Failure, Lineage, Output, Route, Target, ToolName,
    Violation, unknown_tool,
};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::binding::agent_0_1_0::tools::{self, Definition, Invocation, Summary};
use crate::capability::logging::clip;
use crate::guest::{Grants, Guest, services};
use crate::state::{State, Voice};

/// Calls of one batch: what a planner hands out at once.
const BATCH_MAX: usize = 1000;
/// Calls of one batch that run at one time: far more than a host has cores, far fewer than it has
/// instances, so that one batch leaves room for others.
const RUNNING_MAX: usize = 32;
/// What is repeated of a name that may be anything.
const NAME_SHOWN_MAX_BYTES: usize = 128;

impl tools::Host for State {
    async fn discover(
        &mut self,
        query: String,
        limit: Option<u32>,
    ) -> wasmtime::Result<Result<Vec<Summary>, tools::Failure>> {
        let desk = self.guest.desk()?;
        Ok(desk.discover(&query, limit).map_err(Into::into))
    }

    async fn describe(
        &mut self,
        tool: String,
    ) -> wasmtime::Result<Result<Definition, tools::Failure>> {
        let desk = self.guest.desk()?;
        Ok(desk.describe(&tool).map_err(Into::into))
    }

    async fn call(
        &mut self,
        invocation: Invocation,
    ) -> wasmtime::Result<Result<String, tools::Failure>> {
        let desk = self.guest.desk()?;
        Ok(text(desk.call(&invocation).await))
    }

    async fn call_many(
        &mut self,
        invocations: Vec<Invocation>,
    ) -> wasmtime::Result<Vec<Result<String, tools::Failure>>> {
        let desk = self.guest.desk()?;
        if invocations.len() > BATCH_MAX {
            let refused = Failure::invalid_arguments(&[Violation {
                pointer: String::new(),
                message: format!("one batch has {BATCH_MAX} calls at most"),
            }]);
            return Ok(invocations.iter().map(|_| Err(refused.clone().into())).collect());
        }
        let room = Room { left_bytes: desk.grants.settings.limits.memory_max_bytes };
        let call = move |invocation: Invocation| {
            let desk = desk.clone();
            async move { desk.call(&invocation).await }
        };
        Ok(run_all(invocations, room, call).await)
    }
}

/// From where a guest calls others.
#[derive(Clone)]
struct Desk {
    grants: Arc<Grants>,
    voice: Arc<Voice>,
    context: Arc<CallContext>,
    lineage: Arc<Lineage>,
}

impl Guest {
    fn desk(&mut self) -> wasmtime::Result<Desk> {
        let (grants, voice) = (Arc::clone(&self.grants), Arc::clone(&self.voice));
        let serving = self.serving()?;
        let lineage = serving.lineage();
        Ok(Desk { grants, voice, context: Arc::clone(&serving.context), lineage })
    }
}

impl Desk {
    /// Whether the policy lets the agent know of a tool.
    fn permit(&self, tool: &str) -> Result<(), Failure> {
        // Longer ones are no names, whatever the patterns are.
        let tool = clip(tool, NAME_SHOWN_MAX_BYTES);
        let permit = self.grants.policy.permits_tool(tool);
        self.voice.saw(Asked::Tool(tool), permit.is_ok());
        permit.map_err(|rule| self.refuse(rule))
    }

    fn refuse(&self, rule: String) -> Failure {
        self.voice.refuse(&rule, &["policy.tools"]);
        Failure::before_execution(ErrorCode::PermissionDenied, rule)
    }

    fn discover(&self, query: &str, limit: Option<u32>) -> Result<Vec<Summary>, Failure> {
        let policy = &self.grants.policy;
        self.voice.saw(Asked::Search, !policy.tools.is_empty());
        if policy.tools.is_empty() {
            return Err(self.refuse("the agent's policy permits no tools".to_owned()));
        }
        let library = &services(&self.context)?.library;
        // What is not permitted must not crowd out what is.
        let permits = |tool: &ToolName| {
            policy.permits_tool(tool.as_str()).is_ok() && self.route(tool.as_str()).is_ok()
        };
        let found = library.discover(&self.context.caller.tenant, query, None, limit, &permits)?;
        let summary = |found: aop_core::Found| Summary {
            name: found.route.tool.name.to_string(),
            agent: found.route.revision.agent.to_string(),
            description: found.route.tool.description.clone(),
            score: found.score,
        };
        Ok(found.into_iter().map(summary).collect())
    }

    /// Where a tool's name leads, for an agent that another tenant shares; none for the tenant's own, whose calls are resolved
    /// like any. What it leads to is what is called, so that nothing changes in between. A tool of the caller's own is as
    /// unknown as one that does not exist: which ones that tenant has is not the owner's to learn.
    fn route(&self, tool: &str) -> Result<Option<Route>, Failure> {
        let context = &self.context;
        if !context.is_shared() {
            return Ok(None);
        }
        let route = services(context)?.library.describe(&context.caller.tenant, tool)?;
        if route.revision.tenant == context.owner {
            return Ok(Some(route));
        }
        Err(unknown_tool(tool))
    }

    /// The same, for a tool that the guest named.
    fn named(&self, tool: &str) -> Result<Option<Route>, Failure> {
        self.permit(tool)?;
        self.route(tool)
    }

    fn describe(&self, tool: &str) -> Result<Definition, Failure> {
        let route = match self.named(tool)? {
            Some(route) => route,
            None => services(&self.context)?.library.describe(&self.context.caller.tenant, tool)?,
        };
        let tool = &route.tool;
        Ok(Definition {
            name: tool.name.to_string(),
            agent: route.revision.agent.to_string(),
            title: tool.title.clone(),
            description: tool.description.clone(),
            input_schema: tool.input_schema.get().to_owned(),
            output_schema: tool.output_schema.as_ref().map(|schema| schema.get().to_owned()),
        })
    }

    async fn call(&self, invocation: &Invocation) -> Result<Output, Failure> {
        let route = self.named(&invocation.tool)?;
        let target = route.as_ref().map_or(Target::Tool(&invocation.tool), Target::Found);
        let context = &self.context;
        let invoke = services(context)?.invoke.upgrade().ok_or_else(|| {
            Failure::before_execution(ErrorCode::Unavailable, "the host is shutting down")
        })?;
        let now = Instant::now();
        let reply = invoke
            .invoke(Call {
                timeout: Some(context.deadline.saturating_duration_since(now)),
                trace: context.trace,
                client: context.client.clone().map(|client| client.within(&invocation.tool)),
                session: context.session.get().cloned(),
                lineage: Some(Arc::clone(&self.lineage)),
                ..Call::new(context.caller.clone(), target, &invocation.arguments, now)
            })
            .await;
        if let Some(session) = reply.session {
            // The first conversation that a call leads to is the whole call's.
            let _ = context.session.set(session);
        }
        reply.result
    }
}

/// Runs every call, at most [`RUNNING_MAX`] at one time, each in a task of its own so that they share the
/// cores. Dropping the future stops them all. A result that arrives is charged at once, so that the host
/// never holds more than the room and what is running.
async fn run_all<C>(
    invocations: Vec<Invocation>,
    mut room: Room,
    call: impl Fn(Invocation) -> C,
) -> Vec<Result<String, tools::Failure>>
where
    C: Future<Output = Result<Output, Failure>> + Send + 'static,
{
    let lost = || Failure::executed(ErrorCode::Internal, "the call ended without an answer");
    let mut results: Vec<_> = invocations.iter().map(|_| Err(lost().into())).collect();
    let mut waiting = invocations.into_iter().enumerate();
    let mut running = JoinSet::new();
    loop {
        for (index, invocation) in waiting.by_ref().take(RUNNING_MAX - running.len()) {
            let answer = call(invocation);
            running.spawn(async move { (index, answer.await) }.in_current_span());
        }
        match running.join_next().await {
            Some(Ok((index, result))) => results[index] = room.keep(result),
            // A call that panicked keeps the failure that it has already.
            Some(Err(_)) => {}
            None => return results,
        }
    }
}

/// What the results of a batch may still fill: the guest holds all of them in its memory.
struct Room {
    left_bytes: u64,
}

impl Room {
    /// A result as text, if it fits; first come, first served.
    fn keep(&mut self, result: Result<Output, Failure>) -> Result<String, tools::Failure> {
        let bytes = match &result {
            Ok(output) => output.json.get().len(),
            Err(failure) => {
                failure.message.len() + failure.details.as_ref().map_or(0, |json| json.get().len())
            }
        };
        let Some(left_bytes) = self.left_bytes.checked_sub(bytes as u64) else {
            return Err(Failure::executed(
                ErrorCode::ResourceExhausted,
                "the results of the batch are larger than the agent's memory: call fewer tools at once",
            )
            .into());
        };
        self.left_bytes = left_bytes;
        text(result)
    }
}

fn text(result: Result<Output, Failure>) -> Result<String, tools::Failure> {
    result.map(|output| String::from(Box::<str>::from(output.json))).map_err(Into::into)
}

impl From<Failure> for tools::Failure {
    fn from(failure: Failure) -> Self {
        Self {
            code: failure.code.as_str().to_owned(),
            message: failure.message,
            details: failure.details.map(|details| String::from(Box::<str>::from(details))),
            retry_after_ms: failure
                .retry_after
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests;

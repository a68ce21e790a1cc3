//! Every call is recorded exactly once: in metrics, in its span and in the log.
//!
//! A call whose caller goes away is simply dropped, so recording hangs on a guard: dropped before
//! its end, it records `cancelled`. Names follow the paper's section 9: span `agent-invocation` with
//! `agent.name`, `task.length`, `result.success`; log fields `correlation_id`, `agent_name`,
//! `task_hash`. Arguments are hashed, never logged.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use aop_core::bucket::SessionId;
use aop_core::quota::Payer;
use aop_core::{
    Call, CallContext, CallId, CallRecord, Digest, ErrorCode, Failure, FailureClass, InFlight,
    Meter, Observe, Output, Revision, Services,
};
use tokio::sync::Notify;
use tracing::Span;
use tracing::field::Empty;

use crate::work::Work;

/// Hex digits of the arguments' hash in logs: enough to tell calls apart.
const TASK_HASH_LENGTH: usize = 16;

/// Counts open calls, so that a drain knows when none is left.
#[derive(Default)]
pub(crate) struct Running {
    count: AtomicUsize,
    none_left: Notify,
}

impl Running {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Resolves when no call is open.
    pub(crate) async fn none(&self) {
        loop {
            let notified = self.none_left.notified();
            if self.count() == 0 {
                return;
            }
            notified.await;
        }
    }
}

/// The span of a call. The caller's trace is named in it, so that logs join the caller's.
pub(crate) fn span(id: CallId, call: &Call<'_>) -> Span {
    let trace_id = call.trace.map(|trace| TraceId(trace.trace_id));
    tracing::info_span!(
        "agent-invocation",
        correlation_id = %id,
        agent.name = Empty,
        task.length = call.arguments.len(),
        result.success = Empty,
        trace_id = trace_id.map(tracing::field::display),
    )
}

/// As W3C writes it.
struct TraceId(u128);

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// This host's span in the caller's trace: the random half of the call's id.
pub(crate) fn span_id(id: CallId) -> u64 {
    id.0.as_u64_pair().1
}

/// A call on its way.
pub(crate) struct Record<'a> {
    id: CallId,
    call: &'a Call<'a>,
    observe: &'a dyn Observe,
    running: &'a Running,
    span: Span,
    work: Option<Work>,
    context: Option<Arc<CallContext>>,
    in_flight: Option<InFlight>,
    attempts: u32,
    meter: Arc<Meter>,
    ended: bool,
}

impl<'a> Record<'a> {
    pub(crate) fn begin(
        id: CallId,
        call: &'a Call<'a>,
        observe: &'a dyn Observe,
        running: &'a Running,
        span: Span,
    ) -> Self {
        running.count.fetch_add(1, Ordering::SeqCst);
        Self {
            id,
            call,
            observe,
            running,
            span,
            work: None,
            context: None,
            in_flight: None,
            attempts: 0,
            meter: Arc::default(),
            ended: false,
        }
    }

    /// What travels into the guest.
    pub(crate) fn context(
        &mut self,
        work: &Work,
        deadline: Instant,
        (payer, services): (&Arc<Payer>, Option<&Arc<Services>>),
    ) -> Arc<CallContext> {
        let call = self.call;
        let session = call.session.clone().map_or_else(OnceLock::new, OnceLock::from);
        let context = Arc::new(CallContext {
            id: self.id,
            caller: call.caller.clone(),
            owner: work.revision.tenant.clone(),
            agent: work.revision.agent.clone(),
            agent_id: work.revision.id,
            tool: work.name.clone(),
            deadline,
            progress: call.progress.clone(),
            meter: Arc::clone(&self.meter),
            payer: Arc::clone(payer),
            trace: call.trace.map(|trace| trace.child(span_id(self.id))),
            client: call.client.clone(),
            session,
            lineage: call.lineage.clone(),
            here: call.here,
            services: services.cloned(),
            told: OnceLock::new(),
        });
        self.context = Some(Arc::clone(&context));
        context
    }

    /// The conversation that the call continued or began.
    pub(crate) fn session(&self) -> Option<SessionId> {
        let begun = self.context.as_ref().and_then(|context| context.session.get());
        begun.or(self.call.session.as_ref()).cloned()
    }

    pub(crate) fn resolved(&mut self, work: &Work) {
        self.span.record("agent.name", work.revision.agent.as_str());
        self.work = Some(work.clone());
    }

    pub(crate) fn admitted(&mut self, revision: &Arc<Revision>) {
        self.in_flight = Some(revision.begin());
        // The tenant that calls, as in the record of the end: a shared agent counts for both alike.
        self.observe.started(&self.call.caller.tenant, &revision.agent);
        // A line for every call halves what the host can serve, so it is the operator's choice.
        macro_rules! emit {
            ($level:ident, $left_out:expr) => {
                tracing::$level!(
                    correlation_id = %self.id,
                    agent_name = %revision.agent,
                    task_hash = %TaskHash(self.call.arguments),
                    left_out = $left_out,
                    "Agent execution started"
                )
            };
        }
        if !revision.settings.verbose {
            emit!(debug, None::<u64>);
        } else if let Some(left_out) = verbose_line(revision) {
            emit!(info, left_out);
        }
    }

    pub(crate) const fn attempt(&mut self) {
        self.attempts += 1;
    }

    pub(crate) fn end(mut self, result: &Result<Output, Failure>) {
        let output_bytes = result.as_ref().map_or(0, |output| output.json.get().len());
        self.finish(result.as_ref().err().map(|failure| failure.code), output_bytes);
        if let Err(failure) = result {
            self.log_failure(failure);
        }
    }

    fn finish(&mut self, code: Option<ErrorCode>, output_bytes: usize) {
        self.ended = true;
        let duration = self.call.received.elapsed();
        self.span.record("result.success", code.is_none());
        let revision = self.work.as_ref().map(|work| &work.revision);
        let record = CallRecord {
            id: self.id,
            tenant: &self.call.caller.tenant,
            agent: revision.map(|revision| &revision.agent),
            tool: self.work.as_ref().map(|work| &work.name),
            duration,
            code,
            attempts: self.attempts,
            input_bytes: self.call.arguments.len() as u64,
            output_bytes: output_bytes as u64,
            cpu: self.meter.cpu(),
            memory_peak_bytes: self.meter.memory_peak_bytes(),
        };
        self.observe.finished(&record, self.in_flight.is_some());
        tracing::debug!(
            correlation_id = %self.id,
            tool = record.tool.map(tracing::field::display),
            result.success = code.is_none(),
            seconds = duration.as_secs_f64(),
            "Agent execution finished"
        );
        if let Some(revision) =
            revision.filter(|revision| revision.settings.verbose && code.is_none())
            && let Some(left_out) = verbose_line(revision)
        {
            tracing::info!(
                correlation_id = %self.id,
                agent_name = %revision.agent,
                task_hash = %TaskHash(self.call.arguments),
                left_out,
                "Success in {:.6}s",
                duration.as_secs_f64()
            );
        }
    }

    /// Asks for a line about the failure: how many were left out before it.
    fn line(&self, revision: &Revision) -> Option<u64> {
        // Before it has a context, nothing else tells of the call.
        self.context.as_ref().map_or_else(
            || revision.payer.agent.lines.take(Instant::now()),
            |context| context.line(Instant::now()),
        )
    }

    /// What broke is worth an operator's attention; what was refused or answered is the caller's.
    fn log_failure(&self, failure: &Failure) {
        let revision = self.work.as_ref().map(|work| &work.revision);
        let agent = revision.map_or("", |revision| revision.agent.as_str());
        let class = failure.code.class();
        // Whoever breaks thousands of times a second must not fill the operator's disk.
        let line = revision.and_then(|revision| match class {
            FailureClass::GuestBroke => Some(self.line(revision)),
            FailureClass::HostFailed => Some(revision.payer.agent.host_lines.take(Instant::now())),
            FailureClass::GuestReturned | FailureClass::HostRefused => None,
        });
        let left_out = match line {
            Some(None) => return,
            Some(left_out) => left_out,
            None => None,
        };
        macro_rules! emit {
            ($level:ident) => {
                tracing::$level!(
                    correlation_id = %self.id,
                    agent_name = agent,
                    task_hash = %TaskHash(self.call.arguments),
                    code = %failure.code,
                    attempts = self.attempts,
                    left_out,
                    "{}",
                    failure.message
                )
            };
        }
        match class {
            FailureClass::HostFailed => emit!(error),
            FailureClass::GuestBroke => emit!(warn),
            FailureClass::GuestReturned | FailureClass::HostRefused => emit!(debug),
        }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.finish(Some(ErrorCode::Cancelled), 0);
            tracing::debug!(correlation_id = %self.id, "the caller went away; the call was stopped");
        }
        if self.running.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.running.none_left.notify_waiters();
        }
    }
}

/// Asks for a line about a call of a verbose agent, at the rate at which its own lines are kept: how many were left out before it.
fn verbose_line(revision: &Revision) -> Option<u64> {
    revision.payer.agent.verbose_lines.take(Instant::now())
}

/// Hashes the arguments only if a log line is really written.
struct TaskHash<'a>(&'a str);

impl std::fmt::Display for TaskHash<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&Digest::of(self.0.as_bytes()).hex()[..TASK_HASH_LENGTH])
    }
}

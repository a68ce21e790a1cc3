//! The path of a call: resolve → validate → admit → attempt → shape → record.
//!
//! [`Dispatcher::call`] is the whole path, top to bottom. Its steps are one file each: [`admit`]
//! bounds what runs and waits per agent, [`attempt`] executes and retries what is safe to retry,
//! [`record`] makes sure that every call ends up in metrics, span and log exactly once, also when
//! its caller goes away in the middle.

mod admit;
mod attempt;
mod record;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aop_core::{
    BoxFuture, Call, CallId, ErrorCode, Failure, Invoke, Measure, Observe, Output, Reply, Resolve,
    Route, Sample, SampleKind,
};
use tracing::Instrument as _;

use admit::Gates;
use record::{Record, Running};

/// Runs calls.
pub struct Dispatcher {
    resolve: Arc<dyn Resolve>,
    observe: Arc<dyn Observe>,
    gates: Gates,
    running: Running,
    draining: AtomicBool,
}

impl Dispatcher {
    /// A dispatcher over what `resolve` finds.
    #[must_use]
    pub fn new(resolve: Arc<dyn Resolve>, observe: Arc<dyn Observe>) -> Self {
        Self {
            resolve,
            observe,
            gates: Gates::default(),
            running: Running::default(),
            draining: AtomicBool::new(false),
        }
    }

    /// Refuses new calls from now on and waits until the running ones ended, at most `grace`.
    /// Whether all of them did.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.draining.store(true, Ordering::SeqCst);
        tokio::time::timeout(grace, self.running.none()).await.is_ok()
    }

    /// The path of a call.
    async fn call(&self, call: &Call<'_>, record: &mut Record<'_>) -> Result<Output, Failure> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(draining());
        }
        let route = self
            .resolve
            .resolve(&call.caller.tenant, call.tool)
            .ok_or_else(|| unknown_tool(call.tool))?;
        record.resolved(&route);

        let executable = &route.revision.executable;
        let arguments = executable
            .validate(route.tool.function, call.arguments)
            .map_err(|violations| Failure::invalid_arguments(&violations))?;

        let deadline = deadline(call, &route);
        let _permit = self.gates.admit(&route.revision, deadline).await?;
        record.admitted(&route.revision);

        let context = record.context(&route, deadline);
        attempt::run(&route, &arguments, &context, record).await
    }
}

impl Invoke for Dispatcher {
    fn invoke<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Reply> {
        let id = CallId(uuid::Uuid::now_v7());
        let span = record::span(id, &call);
        let inner = span.clone();
        Box::pin(
            async move {
                let mut record =
                    Record::begin(id, &call, self.observe.as_ref(), &self.running, inner);
                let result = self.call(&call, &mut record).await;
                record.end(&result);
                Reply {
                    id,
                    result,
                    trace: call.trace.map(|trace| trace.child(record::span_id(id))),
                }
            }
            .instrument(span),
        )
    }
}

impl Measure for Dispatcher {
    fn measure(&self) -> Vec<Sample> {
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let gauge = |name, help, value: usize| Sample {
            name,
            help,
            kind: SampleKind::Gauge,
            value: value as f64,
        };
        vec![
            gauge("calls_open", "Calls between arrival and answer", self.running.count()),
            gauge(
                "calls_queued",
                "Calls that wait for a free place of their agent",
                self.gates.queued(),
            ),
        ]
    }
}

/// The tool's timeout or the caller's, whichever is shorter, from the call's arrival.
fn deadline(call: &Call<'_>, route: &Route) -> Instant {
    let timeout = route.revision.settings.limits.timeout;
    call.received + call.timeout.map_or(timeout, |wanted| wanted.min(timeout))
}

fn draining() -> Failure {
    Failure::before_execution(
        ErrorCode::Unavailable,
        "the host is shutting down: try again shortly",
    )
    .with_retry_after(Duration::from_secs(1))
}

/// Longest part of an unknown name that is repeated to the caller.
const NAME_ECHO_MAX_BYTES: usize = 128;

fn unknown_tool(name: &str) -> Failure {
    let shown = &name[..name.floor_char_boundary(NAME_ECHO_MAX_BYTES)];
    Failure::before_execution(
        ErrorCode::NotFound,
        format!("no tool `{shown}`: see tools/list, or search with aop_discover"),
    )
}

#[cfg(test)]
mod tests;

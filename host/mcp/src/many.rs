//! `aop_call_many`: many calls in one request, each with an envelope of its own.
//!
//! Calls run as tasks of their own, so that they share the cores and none waits for another; at most
//! [`AT_ONCE_MAX`] at a time. Dropping the batch stops all of them. Nobody can be asked during a batch: a
//! thousand questions at once are no conversation.

use std::sync::Arc;
use std::time::Instant;

use aop_core::{Call, Envelope, ErrorCode, Failure, Invoke, Output, Reply, Target, unknown_tool};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::builtin::{self, Forwarded};
use crate::edge::{ToolCall, is_full_name, is_unknown};

/// Calls of one batch: more are a job for a loop, and an answer of this many already fills a context.
pub(crate) const CALLS_MAX: usize = 1000;

/// Calls of one batch that run at a time: a batch of a hundred takes as long as its slowest call. The agents'
/// own concurrency and queues still decide what the host runs.
pub(crate) const AT_ONCE_MAX: usize = 100;

/// All results of a batch together, in bytes. They are held in memory until the last call has ended: a batch in
/// which four agents answer as much as they may by default (8 MiB) fits, and thirty batches at once take a gigabyte.
/// What comes after is replaced by a failure that says so.
const RESULTS_MAX_BYTES: usize = 32 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    calls: Vec<Forwarded<'a>>,
}

/// Runs every call of a batch; the results are in the order of the calls.
///
/// # Errors
/// `invalid_arguments` when the batch itself makes no sense; nothing ran.
pub(crate) async fn call(
    invoke: &Arc<dyn Invoke>,
    request: &ToolCall<'_>,
) -> Result<Output, Failure> {
    let Batch { calls } = builtin::parse(request.arguments)?;
    if calls.len() > CALLS_MAX {
        let reason = format!("must have at most {CALLS_MAX} calls, has {}", calls.len());
        return Err(builtin::invalid("/calls", reason));
    }
    let mut results: Vec<Option<Box<RawValue>>> = vec![None; calls.len()];
    let mut running = JoinSet::new();
    let mut bytes_left = RESULTS_MAX_BYTES;
    let mut waiting = calls.iter().enumerate();
    loop {
        while running.len() < AT_ONCE_MAX
            && let Some((index, call)) = waiting.next()
        {
            match call.check() {
                Ok(()) => start(&mut running, index, call, invoke, request),
                Err(failure) => keep(&mut results, index, &Err(failure), &mut bytes_left)?,
            }
        }
        match running.join_next().await {
            None => break,
            Some(Ok((index, reply))) => keep(&mut results, index, &reply.result, &mut bytes_left)?,
            Some(Err(error)) => tracing::error!(%error, "a call of a batch ended early"),
        }
    }
    let lost = Failure::executed(ErrorCode::Internal, "the host lost this call");
    let lost = envelope(&Err(lost))?;
    let results: Vec<_> =
        results.into_iter().map(|result| result.unwrap_or_else(|| lost.clone())).collect();
    #[derive(serde::Serialize)]
    struct Results {
        results: Vec<Box<RawValue>>,
    }
    builtin::output(&Results { results })
}

fn start(
    running: &mut JoinSet<(usize, Reply)>,
    index: usize,
    call: &Forwarded<'_>,
    invoke: &Arc<dyn Invoke>,
    request: &ToolCall<'_>,
) {
    let (tool, arguments) = (call.tool.clone().into_owned(), call.arguments().to_owned());
    let (invoke, caller) = (Arc::clone(invoke), request.caller.clone());
    // Each call has its own time, from when it starts: it may have waited for others.
    let (received, trace, session) = (Instant::now(), request.trace, request.session.clone());
    let work = async move {
        let target = Target::Tool(&tool);
        let call = Call { trace, session, ..Call::new(caller, target, &arguments, received) };
        let mut reply = invoke.invoke(call).await;
        if is_unknown(&reply) && !is_full_name(&tool) {
            reply.result = Err(unknown_tool(&tool));
        }
        (index, reply)
    };
    running.spawn(work.in_current_span());
}

/// Puts a result where it belongs, while there is room.
fn keep(
    results: &mut [Option<Box<RawValue>>],
    index: usize,
    result: &Result<Output, Failure>,
    bytes_left: &mut usize,
) -> Result<(), Failure> {
    let mut json = envelope(result)?;
    match bytes_left.checked_sub(json.get().len()) {
        Some(left) => *bytes_left = left,
        None => {
            let reason = format!(
                "the results of this batch have more than {} MiB together: make fewer calls at once",
                RESULTS_MAX_BYTES >> 20
            );
            json = envelope(&Err(Failure::executed(ErrorCode::ResourceExhausted, reason)))?;
        }
    }
    if let Some(place) = results.get_mut(index) {
        *place = Some(json);
    }
    Ok(())
}

fn envelope(result: &Result<Output, Failure>) -> Result<Box<RawValue>, Failure> {
    Ok(builtin::output(&Envelope::new(result))?.json)
}

#[cfg(test)]
mod tests;

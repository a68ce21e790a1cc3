//! Execution, repeated where that is safe (paper, Algorithm 2).
//!
//! `max_retries` counts executions, as in the paper: 3 means one and at most two more. The deadline
//! bounds them all together. What the guest *answers*, an error included, is never repeated.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aop_core::{Arguments, CallContext, ErrorCode, Failure, Output};
use backon::{BackoffBuilder as _, ExponentialBuilder};

use crate::record::Record;
use crate::work::Work;

/// First pause between executions; each further one is twice as long, with jitter.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// Longest pause: calls have seconds, not minutes.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Executes until an answer, a failure that must not be repeated, or no attempt or time is left.
pub(crate) async fn run(
    work: &Work,
    arguments: &Arguments,
    context: &Arc<CallContext>,
    record: &mut Record<'_>,
) -> Result<Output, Failure> {
    // The node that passed the call here repeats it, perhaps elsewhere.
    let executions_max = if context.here { 1 } else { work.revision.settings.max_retries.max(1) };
    let mut pauses = ExponentialBuilder::new()
        .with_min_delay(BACKOFF_MIN)
        .with_max_delay(BACKOFF_MAX)
        .with_jitter()
        .with_max_times(executions_max as usize - 1)
        .build();
    loop {
        record.attempt();
        let result = work.revision.executable.execute(work.function, arguments, context).await;
        let failure = match result {
            Err(failure) if may_repeat(&failure, work.idempotent) => failure,
            result => return result,
        };
        match pauses.next() {
            Some(pause) if Instant::now() + pause < context.deadline => {
                tracing::debug!(code = %failure.code, pause_ms = pause.as_millis(), "trying again");
                tokio::time::sleep(pause).await;
            }
            _ => return Err(failure),
        }
    }
}

/// Whether the failure may pass, and repeating the call can do no harm.
pub(crate) fn may_repeat(failure: &Failure, idempotent: bool) -> bool {
    let may_pass = match failure.code {
        ErrorCode::GuestTrapped
        | ErrorCode::Internal
        | ErrorCode::Unavailable
        | ErrorCode::ResourceExhausted => true,
        ErrorCode::InvalidArguments
        | ErrorCode::NotFound
        | ErrorCode::DeadlineExceeded
        | ErrorCode::Cancelled
        | ErrorCode::RateLimited
        | ErrorCode::PermissionDenied
        | ErrorCode::GuestError
        | ErrorCode::GuestLimit
        | ErrorCode::LoopDetected
        | ErrorCode::BadOutput => false,
    };
    may_pass && (!failure.executed || idempotent)
}

//! How an execution that went wrong is told to its caller: the four kinds of failure stay apart.

use std::time::Instant;

use aop_core::quota::Resource;
use aop_core::{CallContext, ErrorCode, Failure, Limits, Settings};
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::limiter::Refused;

/// How long a caller should wait when every instance slot is taken: calls are short.
const POOL_RETRY_AFTER: std::time::Duration = std::time::Duration::from_millis(100);
/// The same when memory is in use: it comes back when calls end.
const MEMORY_RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// The deadline passed; `was_paused` says whether the call had to wait for CPU time of a quota.
pub(crate) fn deadline(limits: &Limits, was_paused: bool) -> Failure {
    let reason = if was_paused {
        ": it had to pause, because the CPU time per minute of a `[quota]` was used up"
    } else {
        ""
    };
    Failure::executed(
        ErrorCode::DeadlineExceeded,
        format!(
            "the call did not finish before its deadline and was stopped (the agent's `timeout` is {:?}){reason}",
            limits.timeout
        ),
    )
}

/// An error that wasmtime reported. `refused` is what the limiter said no to before. Instantiation
/// runs start functions, so everything but a full pool counts as executed.
pub(crate) fn from_wasmtime(
    error: &wasmtime::Error,
    refused: Option<&Refused>,
    settings: &Settings,
    context: &CallContext,
) -> Failure {
    if error.is::<PoolConcurrencyLimitError>() {
        return Failure::before_execution(
            ErrorCode::ResourceExhausted,
            "every instance slot of this host is taken: try again shortly",
        )
        .with_retry_after(POOL_RETRY_AFTER);
    }
    if settings.traceback
        && let Some(left_out) = context.line(Instant::now())
    {
        log_traceback(error, context, left_out);
    }
    if let Some(refused) = refused {
        return limit(refused);
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        Failure::executed(
            ErrorCode::GuestTrapped,
            format!("the agent ended itself with exit code {} instead of answering", exit.0),
        )
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        from_trap(*trap)
    } else if is_transfer_limit(error) {
        Failure::executed(
            ErrorCode::GuestLimit,
            "the agent handed over more data at once than the host takes: return less, or raise `output` in its settings",
        )
    } else {
        Failure::executed(
            ErrorCode::GuestTrapped,
            format!("the agent failed: {}", error.root_cause()),
        )
    }
}

/// No instance that would have no slot of the pool may begin now.
pub(crate) fn on_demand_full() -> Failure {
    let message = "the agent's component needs more than a slot of the instance pool has (2 memories, 16 tables, 64 core instances, and 3 components with code where functions are asynchronous), and as many \
        of that kind as may live at once do: try again shortly";
    Failure::before_execution(ErrorCode::ResourceExhausted, message)
        .with_retry_after(POOL_RETRY_AFTER)
}

/// Only the message tells this error of wasmtime's component model apart.
fn is_transfer_limit(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls has been exhausted")
}

fn from_trap(trap: Trap) -> Failure {
    match trap {
        Trap::StackOverflow => Failure::executed(
            ErrorCode::GuestLimit,
            "the agent overflowed its stack (512 KiB): it recurses too deeply",
        ),
        Trap::UnreachableCodeReached => Failure::executed(
            ErrorCode::GuestTrapped,
            "the agent crashed (it reached `unreachable`, as a panic or an abort does)",
        ),
        other => Failure::executed(ErrorCode::GuestTrapped, format!("the agent crashed: {other}")),
    }
}

fn limit(refused: &Refused) -> Failure {
    let message = match refused {
        Refused::Memory { max_bytes } => format!(
            "the agent needed more than its {} of memory: raise `memory` in its settings",
            aop_core::settings::show_size(*max_bytes)
        ),
        Refused::Table { max_elements } => {
            format!("the agent needed tables of more than {max_elements} elements")
        }
        Refused::Quota(account) => {
            let message = account.explain(Resource::Memory);
            return Failure::executed(ErrorCode::ResourceExhausted, message)
                .with_retry_after(MEMORY_RETRY_AFTER);
        }
    };
    Failure::executed(ErrorCode::GuestLimit, message)
}

fn log_traceback(error: &wasmtime::Error, context: &CallContext, left_out: u64) {
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string);
    tracing::warn!(
        agent_name = %context.agent,
        correlation_id = %context.id,
        error = %error.root_cause(),
        backtrace = backtrace.as_deref().unwrap_or("none"),
        left_out,
        "the agent failed"
    );
}

//! What a caller learns when a handle or an instance for it cannot be had.

use std::time::Duration;

use aop_core::{AgentName, ErrorCode, Failure, Violation};

use crate::codec::Taken;

/// How soon one of the calls before may be done.
const CROWDED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The one answer to a handle that leads nowhere: forged, another's, of another conversation, expired, dropped, or
/// of an instance that ended.
pub(super) fn nowhere(lost: &[Taken]) -> Failure {
    told(
        lost,
        "no such handle: it was dropped, has expired, ended with its instance, or was never given to you; get a new one",
    )
}

/// The handles are the caller's, but their resources live in different instances.
pub(super) fn apart(taken: &[Taken]) -> Failure {
    told(
        taken,
        "these handles come from different conversations, so their resources cannot meet: get all of them with one `aop/session`",
    )
}

/// One resource cannot be given away and used at one time.
pub(super) fn twice(taken: &Taken) -> Failure {
    told(
        std::slice::from_ref(taken),
        "this handle is given away by the call and stands in it more than once: give it once",
    )
}

pub(super) fn crowded() -> Failure {
    exhausted(
        format!(
            "{} calls on this instance run or wait already, one after another: try again shortly",
            super::WAITING_MAX
        ),
        Some(CROWDED_RETRY_AFTER),
    )
}

pub(super) fn full_agent(agent: &AgentName, max: u32, soonest: Option<Duration>) -> Failure {
    exhausted(
        format!(
            "`{agent}` keeps {max} instances for handles already, as many as `[handles] instances_max` allows: drop a handle that is not needed any more, or wait until one expires"
        ),
        soonest,
    )
}

pub(super) fn full(whose: &str, max: u32, soonest: Option<Duration>) -> Failure {
    exhausted(
        format!(
            "{whose} keeps {max} instances for handles already: drop a handle that is not needed any more, or wait until one expires"
        ),
        soonest,
    )
}

pub(super) fn full_instance() -> Failure {
    exhausted(
        format!(
            "this conversation holds {} handles of the agent already: drop some of them, or begin another conversation",
            super::HANDLES_MAX
        ),
        None,
    )
}

pub(super) fn never(agent: &AgentName) -> Failure {
    Failure::before_execution(
        ErrorCode::PermissionDenied,
        format!("the settings of `{agent}` give out no handles (`[handles] instances_max` is 0)"),
    )
}

/// The guest returned more handles at once than one instance may have.
pub(super) fn flooded() -> Failure {
    Failure::executed(
        ErrorCode::GuestLimit,
        format!(
            "the agent gave out more than {} handles in one conversation: return lists instead",
            super::HANDLES_MAX
        ),
    )
}

pub(super) fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::executed(ErrorCode::Internal, format!("a handle could not be made: {error}"))
}

fn exhausted(message: String, retry_after: Option<Duration>) -> Failure {
    let failure = Failure::before_execution(ErrorCode::ResourceExhausted, message);
    match retry_after {
        Some(after) => failure.with_retry_after(after),
        None => failure,
    }
}

fn told(of: &[Taken], message: &str) -> Failure {
    let violations = of
        .iter()
        .map(|taken| Violation { pointer: taken.pointer.clone(), message: message.to_owned() });
    Failure::invalid_arguments(&violations.collect::<Vec<_>>())
}

//! The deadline-first future: looks at the clock before it lets the guest run.
//!
//! `tokio::time::timeout` polls the guest first; with a thousand spinning guests each would run one
//! more slice before its timer is even looked at, and the last would be stopped seconds late. This one
//! checks the clock, then polls. The timer is only registered once the guest has been suspended, so
//! a short call pays two clock readings.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aop_core::CallContext;
use tokio::time::Sleep;

use crate::lane::Turn;

thread_local! {
    /// Time that guests computed within the poll that is going on: a guest that calls another polls it.
    static INNER: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Runs `work`, and answers the time that it took without the time that this function measured within.
fn measured<T>(start: Instant, work: impl FnOnce() -> T) -> (T, Duration) {
    let siblings = INNER.replace(Duration::ZERO);
    let output = work();
    let took = start.elapsed();
    let inner = INNER.replace(siblings + took);
    (output, took.saturating_sub(inner))
}

/// Runs `guest` until the call's deadline, charging the time it computes to the call's meter and to who pays for it.
/// `None`: the deadline passed first; the guest is already gone.
pub(crate) struct Deadline<'a, F> {
    guest: Option<Pin<Box<F>>>,
    context: &'a CallContext,
    timer: Option<Pin<Box<Sleep>>>,
    turn: Arc<Turn>,
}

impl<'a, F: Future> Deadline<'a, F> {
    pub(crate) fn new(guest: F, turn: Arc<Turn>, context: &'a CallContext) -> Self {
        Self { guest: Some(Box::pin(guest)), context, timer: None, turn }
    }
}

impl<F: Future> Future for Deadline<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let before = Instant::now();
        if before >= this.context.deadline {
            this.guest = None;
            return Poll::Ready(None);
        }
        let Some(guest) = this.guest.as_mut() else { return Poll::Ready(None) };
        let (polled, computed) = measured(before, || guest.as_mut().poll(cx));
        let now = before + computed;
        this.context.meter.add_cpu(computed);
        this.context.payer.used_cpu(computed, now);
        this.turn.suspended(computed, now);
        if let Poll::Ready(output) = polled {
            // The store goes before the answer does: nobody sees a reply of a guest that still lives.
            this.guest = None;
            return Poll::Ready(Some(output));
        }
        let deadline = this.context.deadline;
        let timer =
            this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        if timer.as_mut().poll(cx).is_ready() {
            this.guest = None;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;

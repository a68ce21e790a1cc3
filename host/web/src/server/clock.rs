//! Time for timeouts that may be a tick late, without a timer or a system call per request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use tokio::time::Instant;

/// A clock that stands still between ticks. It lags by at most one tick while a connection is open,
/// since accepting one and every tick of one move it on.
#[derive(Debug)]
pub(super) struct Clock {
    origin: Instant,
    elapsed_ms: AtomicU64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), elapsed_ms: AtomicU64::new(0) }
    }

    pub(super) fn advance_to(&self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.origin).as_millis();
        self.elapsed_ms.fetch_max(u64::try_from(elapsed).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Instant {
        self.origin + Duration::from_millis(self.elapsed_ms.load(Ordering::Relaxed))
    }
}

/// Hyper's timer for the time a client may take to send its headers.
pub(super) struct CoarseTimer(pub(super) Arc<Clock>);

/// Wakes nobody: a connection polls everything it holds at each of its ticks.
struct CoarseSleep {
    clock: Arc<Clock>,
    deadline: std::time::Instant,
}

impl Future for CoarseSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.clock.now().into_std() >= self.deadline { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Sleep for CoarseSleep {}

impl Timer for CoarseTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(CoarseSleep { clock: Arc::clone(&self.0), deadline })
    }

    fn now(&self) -> std::time::Instant {
        self.0.now().into_std()
    }
}

/// What has to move while a client is waited for as long as it may stall: 2 KiB/s by default, less than any network gives.
/// A byte now and then is no progress: it would hold a large answer, or many half bodies, for hours.
pub(super) const PROGRESS_BYTES: usize = 64 << 10;

/// Notices that something has been waited for too long, whenever it is polled.
#[derive(Debug)]
pub(super) struct Stall {
    clock: Arc<Clock>,
    max: Duration,
    since: Option<Instant>,
    /// How long it was waited before `since`, and what came of it. Time in which nobody waited does not count: an
    /// event stream is silent for long.
    waited: Duration,
    moved: usize,
}

/// The other side made too little progress for too long.
#[derive(Debug, thiserror::Error)]
#[error("the client moved less than {PROGRESS_BYTES} bytes while it was waited for {} s", .0.as_secs())]
pub(super) struct Stalled(Duration);

impl Stall {
    pub(super) fn new(clock: Arc<Clock>, max: Duration) -> Self {
        Self { clock, max, since: None, waited: Duration::ZERO, moved: 0 }
    }

    /// Passes on what moved so many bytes, and turns too long a time with too little progress into an error.
    pub(super) fn check<T>(
        &mut self,
        poll: Poll<T>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<Result<T, Stalled>> {
        if let Poll::Ready(value) = poll {
            if let Some(since) = self.since.take() {
                self.waited += self.clock.now().saturating_duration_since(since);
            }
            self.moved = self.moved.saturating_add(bytes(&value));
            if self.moved >= PROGRESS_BYTES {
                (self.waited, self.moved) = (Duration::ZERO, 0);
            }
            return Poll::Ready(Ok(value));
        }
        let now = self.clock.now();
        let since = *self.since.get_or_insert(now);
        if self.waited + now.saturating_duration_since(since) >= self.max {
            Poll::Ready(Err(Stalled(self.max)))
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Checked = Poll<Result<usize, Stalled>>;

    /// A clock that a test moves on, and a stall of 30 s by it.
    fn stall() -> (impl Fn(u64), impl FnMut(Poll<usize>) -> Checked) {
        let clock = Arc::new(Clock::new());
        let start = clock.now();
        let mut stall = Stall::new(Arc::clone(&clock), Duration::from_secs(30));
        let at = move |seconds| clock.advance_to(start + Duration::from_secs(seconds));
        (at, move |poll| stall.check(poll, |bytes| *bytes))
    }

    #[test]
    fn a_stall_is_noticed_once_the_clock_has_moved_far_enough() {
        let (at, mut check) = stall();
        assert!(check(Poll::Pending).is_pending());
        at(29);
        assert!(check(Poll::Pending).is_pending());
        assert!(check(Poll::Ready(PROGRESS_BYTES)).is_ready(), "progress starts it anew");
        at(58);
        assert!(check(Poll::Pending).is_pending());
        at(87);
        assert!(check(Poll::Pending).is_pending());
        at(88);
        assert!(matches!(check(Poll::Pending), Poll::Ready(Err(Stalled(_)))));
    }

    #[test]
    fn a_byte_now_and_then_is_no_progress() {
        let (at, mut check) = stall();
        for second in 0..30 {
            at(second);
            assert!(check(Poll::Pending).is_pending());
            assert!(check(Poll::Ready(1)).is_ready());
            assert!(check(Poll::Pending).is_pending());
        }
        at(30);
        assert!(matches!(check(Poll::Pending), Poll::Ready(Err(Stalled(_)))));
    }

    #[test]
    fn only_the_time_counts_in_which_somebody_waits() {
        let (at, mut check) = stall();
        for event in 0..1_000 {
            at(event * 60);
            assert!(matches!(check(Poll::Ready(100)), Poll::Ready(Ok(100))));
        }
        assert!(check(Poll::Pending).is_pending());
    }

    #[test]
    fn the_clock_never_goes_back() {
        let clock = Clock::new();
        let later = clock.now() + Duration::from_secs(5);
        clock.advance_to(later);
        clock.advance_to(later - Duration::from_secs(3));
        assert_eq!(clock.now(), later);
    }
}

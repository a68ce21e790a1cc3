//! Wakes of a task by itself, answered at once.
//!
//! hyper hands the body of a request to its service through a channel whose two ends are polled by the same task. Whoever
//! takes the body wakes whoever sent it, so each request with a body wakes the task that is just working on it. tokio puts
//! such a task at the end of its queue and wakes another thread to help with it: on a host with little to do, that is
//! a system call, and a thread that finds nothing, for every call. So a future in here is polled again in place.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;
use pin_project_lite::pin_project;

/// Nobody polls it, and nobody has woken it since.
const IDLE: u8 = 0;
/// It is being polled.
const POLLED: u8 = 1;
/// It was woken: its task comes, or whoever polls it does it again.
const WOKEN: u8 = 2;

/// How often it is polled in place. What still wakes itself then has much to do, and others wait.
const POLLS_MAX: u32 = 3;

pin_project! {
    /// A future that may wake itself.
    pub(super) struct Repoll<F> {
        #[pin]
        future: F,
        bell: Arc<Bell>,
        waker: Waker,
    }
}

struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == IDLE {
            self.task.wake();
        }
    }
}

impl<F> Repoll<F> {
    pub(super) fn new(future: F) -> Self {
        let bell = Arc::new(Bell { state: AtomicU8::new(IDLE), task: AtomicWaker::new() });
        let waker = Waker::from(Arc::clone(&bell));
        Self { future, bell, waker }
    }

    /// The future itself.
    pub(super) fn get(self: Pin<&mut Self>) -> Pin<&mut F> {
        self.project().future
    }
}

impl<F: Future> Future for Repoll<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        this.bell.task.register(cx.waker());
        for _ in 0..POLLS_MAX {
            // Not a plain store: whoever wakes it from now on has to be seen by the end of this poll, and whoever woke it before
            // has to be seen by the poll itself.
            this.bell.state.swap(POLLED, Ordering::AcqRel);
            let polled = this.future.as_mut().poll(&mut Context::from_waker(this.waker));
            if polled.is_ready() {
                return polled;
            }
            let rested =
                this.bell.state.compare_exchange(POLLED, IDLE, Ordering::AcqRel, Ordering::Acquire);
            if rested.is_ok() {
                return Poll::Pending;
            }
        }
        // Woken already: the task comes back after the others.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Wakes {
        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn who_wakes_itself_once_is_polled_again_and_its_task_is_not_woken() {
        let wakes = Arc::new(Wakes::default());
        let mut polls = 0;
        let mut future = pin!(Repoll::new(poll_fn(|cx| {
            polls += 1;
            if polls == 1 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(polls)
        })));
        let waker = Waker::from(Arc::clone(&wakes));
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        assert_eq!((polled, wakes.count()), (Poll::Ready(2), 0));
    }

    #[test]
    fn who_wakes_itself_for_ever_lets_others_have_their_turn() {
        let wakes = Arc::new(Wakes::default());
        let polls = AtomicUsize::new(0);
        let mut future = pin!(Repoll::new(poll_fn(|cx| {
            polls.fetch_add(1, Ordering::SeqCst);
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })));
        let waker = Waker::from(Arc::clone(&wakes));
        for turn in 1..=4 {
            assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            assert_eq!(wakes.count(), turn);
            assert_eq!(polls.load(Ordering::SeqCst), turn * POLLS_MAX as usize);
        }
    }

    #[test]
    fn whoever_else_wakes_it_wakes_its_task_once() {
        let kept = Mutex::new(None);
        let mut future = pin!(Repoll::new(poll_fn(|cx| {
            *kept.lock().unwrap() = Some(cx.waker().clone());
            Poll::<()>::Pending
        })));
        // The task may be another one by then.
        for _ in 0..2 {
            let wakes = Arc::new(Wakes::default());
            let waker = Waker::from(Arc::clone(&wakes));
            assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            assert_eq!(wakes.count(), 0);
            let inner = kept.lock().unwrap().clone().unwrap();
            inner.wake_by_ref();
            inner.wake();
            assert_eq!(wakes.count(), 1);
        }
    }

    #[test]
    fn wakes_from_other_threads_are_never_lost() {
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(3)
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            for _ in 0..2_000 {
                // Two sources: one that has woken it already must not hide the other.
                let ((first, one), (second, two)) =
                    (tokio::sync::oneshot::channel(), tokio::sync::oneshot::channel());
                let both = futures::future::try_join(one, two);
                let waiting = tokio::spawn(Repoll::new(both));
                tokio::spawn(async move { first.send(()).unwrap() });
                tokio::spawn(async move { second.send(()).unwrap() });
                let waited = tokio::time::timeout(PATIENCE, waiting).await;
                waited.unwrap().unwrap().unwrap();
            }
        });
    }
}

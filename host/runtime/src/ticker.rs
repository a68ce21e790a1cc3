//! The clock that interrupts guests: a thread of its own, so that no amount of spinning guests can
//! hold it up, that ticks only while calls run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::engine::Engines;

/// How often a running guest is looked at. A millisecond costs about 2 % of one core while busy and
/// keeps every deadline within a few milliseconds.
const TICK: Duration = Duration::from_millis(1);
/// Idle ticks before the thread sleeps. Calls that follow each other closely must not pay for waking
/// it every time.
const IDLE_TICKS_MAX: u32 = 100;

/// Ticks while at least one [`Running`] guard lives.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
}

struct Shared {
    running: AtomicUsize,
    asleep: AtomicBool,
    stop: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

/// Keeps the ticker awake.
pub(crate) struct Running(Arc<Shared>);

impl Ticker {
    pub(crate) fn start(engines: Engines) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        let thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("aop-epoch".to_owned())
            .spawn(move || thread.run(&engines))?;
        Ok(Self { shared })
    }

    /// Ticks until the guard is dropped.
    pub(crate) fn running(&self) -> Running {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.shared.notify();
        }
        Running(Arc::clone(&self.shared))
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.running.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn run(&self, engines: &Engines) {
        let mut idle_ticks = 0;
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
            if self.running.load(Ordering::SeqCst) > 0 {
                idle_ticks = 0;
                engines.increment_epoch();
            } else if idle_ticks < IDLE_TICKS_MAX {
                idle_ticks += 1;
            } else {
                self.sleep();
                idle_ticks = 0;
            }
        }
    }

    /// Sleeps until a call begins. `asleep` is set before `running` is read, and a call counts itself
    /// before it reads `asleep`: one of the two always sees the other.
    fn sleep(&self) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.asleep.store(true, Ordering::SeqCst);
        while self.running.load(Ordering::SeqCst) == 0 && !self.stop.load(Ordering::SeqCst) {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn notify(&self) {
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.wake.notify_one();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.notify();
    }
}

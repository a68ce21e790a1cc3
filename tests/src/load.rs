//! Load: callers that call one tool over and over, and what became of every call.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::{CallFault, Host, Mcp, eventually};

/// Callers at work, each with one call at a time.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    callers: Vec<JoinHandle<Vec<Called>>>,
}

#[derive(Debug)]
struct Shared {
    tool: String,
    arguments: Value,
    /// Where calls enter, in turn.
    entries: Mutex<Vec<String>>,
    turn: AtomicUsize,
    ended: AtomicUsize,
    stop: AtomicBool,
}

/// A call that ended.
#[derive(Debug, Clone)]
pub struct Called {
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub outcome: Result<(), CallFault>,
}

impl Load {
    /// Starts so many callers of a tool, which enter at some hosts in turn.
    #[must_use]
    pub fn start(entries: &[&Host], callers: usize, tool: &str, arguments: Value) -> Self {
        let shared = Arc::new(Shared {
            tool: tool.to_owned(),
            arguments,
            entries: Mutex::default(),
            turn: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let load = Self { shared, callers: Vec::new() };
        load.enter_at(entries);
        let spawn = |_| tokio::spawn(Arc::clone(&load.shared).call_until_stopped());
        Self { callers: (0..callers).map(spawn).collect(), ..load }
    }

    /// From now on calls enter at these hosts, as behind a load balancer that was told. Those under way stay.
    ///
    /// # Panics
    /// When there is none.
    pub fn enter_at(&self, entries: &[&Host]) {
        assert!(!entries.is_empty(), "calls enter somewhere");
        *self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner) =
            entries.iter().map(|host| host.url("/mcp")).collect();
    }

    /// Waits until so many further calls have ended.
    pub async fn goes_on_for(&self, calls: usize) {
        let ended = || self.shared.ended.load(Ordering::Relaxed);
        let goal = ended() + calls;
        eventually("calls go on", || async { (ended() >= goal).then_some(()) }).await;
    }

    /// Ends it, and says what became of every call.
    ///
    /// # Panics
    /// When a caller did.
    pub async fn stop(self) -> Vec<Called> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for caller in self.callers {
            all.extend(caller.await.expect("a caller never panics"));
        }
        all
    }
}

impl Shared {
    async fn call_until_stopped(self: Arc<Self>) -> Vec<Called> {
        let (mut clients, mut calls) = (HashMap::new(), Vec::new());
        while !self.stop.load(Ordering::Relaxed) {
            let url = {
                let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
                entries[self.turn.fetch_add(1, Ordering::Relaxed) % entries.len()].clone()
            };
            let client = clients.entry(url).or_insert_with_key(|url| Mcp::new(url.clone()));
            let began = Instant::now();
            let outcome = client.try_call(&self.tool, self.arguments.clone()).await.map(drop);
            calls.push(Called { began, took: began.elapsed(), outcome });
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
        calls
    }
}

/// The calls that failed.
#[must_use]
pub fn faults(calls: &[Called]) -> Vec<&CallFault> {
    calls.iter().filter_map(|call| call.outcome.as_ref().err()).collect()
}

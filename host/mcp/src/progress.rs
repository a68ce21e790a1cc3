//! Progress of a call on its way to the client that asked for it.
//!
//! A guest may report faster than a client reads. Reports go through a small queue and are dropped
//! when it is full: only the newest progress matters, and a slow client must not slow the guest.

use std::sync::{Mutex, PoisonError};

use aop_core::Progress;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use tokio::sync::mpsc;

/// Reports that wait for the client. Small: a queue of progress is a queue of old news.
pub(crate) const QUEUE_LENGTH: usize = 64;

/// Takes the reports of one call.
pub(crate) struct Reporter {
    token: ProgressToken,
    last: Mutex<f64>,
    queue: mpsc::Sender<ProgressNotificationParam>,
}

impl Reporter {
    /// A sink for reports under the client's token, and where they come out.
    pub(crate) fn new(token: ProgressToken) -> (Self, mpsc::Receiver<ProgressNotificationParam>) {
        let (queue, reports) = mpsc::channel(QUEUE_LENGTH);
        (Self { token, last: Mutex::new(f64::NEG_INFINITY), queue }, reports)
    }
}

impl Progress for Reporter {
    fn report(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // The protocol wants finite numbers that grow; a guest may send anything.
        if !progress.is_finite() || progress <= *last {
            return;
        }
        let mut report = ProgressNotificationParam::new(self.token.clone(), progress);
        report.total = total.filter(|total| total.is_finite());
        report.message = message.map(str::to_owned);
        if self.queue.try_send(report).is_ok() {
            *last = progress;
        }
    }
}

#[cfg(test)]
mod tests;

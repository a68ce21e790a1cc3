//! What this host is to a mounted server: a client that offers nothing, follows changes of the tools, and passes
//! progress on.

use std::collections::HashMap;
use std::sync::Arc;

use aop_core::Progress;
use rmcp::ClientHandler;
use rmcp::model::{
    ClientCapabilities, ClientConfig, Implementation, ProgressNotificationParam, ProgressToken,
};
use rmcp::service::{NotificationContext, RoleClient};
use tokio::sync::{Mutex, Notify};

/// Longest message of a report that is passed on, in bytes.
const MESSAGE_MAX_BYTES: usize = 4 << 10;

/// The client. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Client {
    pub(super) changed: Arc<Notify>,
    pub(super) reports: Arc<Reports>,
}

/// Where the progress of calls goes.
#[derive(Default)]
pub(super) struct Reports {
    /// An asynchronous lock, because a call holds it from before its request is queued until it knows its own token:
    /// a report can overtake that otherwise.
    sinks: Mutex<HashMap<ProgressToken, Sink>>,
}

struct Sink {
    progress: Arc<dyn Progress>,
    /// Reports are handled side by side, so an older one may come later.
    last: f64,
}

impl Reports {
    /// Lets `send` queue a request, and leads the reports for it to `progress`.
    pub(super) async fn follow<T, E>(
        &self,
        progress: Option<&Arc<dyn Progress>>,
        send: impl Future<Output = Result<(T, ProgressToken), E>>,
    ) -> Result<(T, ProgressToken), E> {
        let Some(progress) = progress else { return send.await };
        let mut sinks = self.sinks.lock().await;
        let (sent, token) = send.await?;
        let sink = Sink { progress: Arc::clone(progress), last: f64::NEG_INFINITY };
        sinks.insert(token.clone(), sink);
        Ok((sent, token))
    }

    /// The call ended. It does not wait for a call that cannot send.
    pub(super) fn forget(self: &Arc<Self>, token: ProgressToken) {
        if let Ok(mut sinks) = self.sinks.try_lock() {
            sinks.remove(&token);
            return;
        }
        // Outside of a runtime, where the host ends, nobody reports any more.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let reports = Arc::clone(self);
        runtime.spawn(async move { reports.sinks.lock().await.remove(&token) });
    }

    async fn report(&self, report: &ProgressNotificationParam) {
        let mut sinks = self.sinks.lock().await;
        let Some(sink) = sinks.get_mut(&report.progress_token) else { return };
        if report.progress.is_finite() && report.progress > sink.last {
            sink.last = report.progress;
            let message = report.message.as_deref();
            let message = message.map(|text| &text[..text.floor_char_boundary(MESSAGE_MAX_BYTES)]);
            let total = report.total.filter(|total| total.is_finite());
            sink.progress.report(report.progress, total, message);
        }
    }
}

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let mut this = Implementation::new("aop", env!("CARGO_PKG_VERSION"));
        this.title = Some("AOP host".to_owned());
        ClientConfig::new(ClientCapabilities::default(), this)
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed.notify_one();
    }

    async fn on_progress(
        &self,
        report: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.reports.report(&report).await;
    }
}

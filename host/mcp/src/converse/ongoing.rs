//! A call that runs by itself, so that it outlives the request that began it.

use std::collections::BTreeMap;
use std::sync::Arc;

use aop_core::Standing;
use rmcp::ErrorData;
use rmcp::model::{
    CallToolResult, GetPromptResult, InputRequests, InputResponses, ReadResourceResult,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::client::{Asked, CallClient, Notice, Outlet};

/// What a request that can converse is answered with in the end.
#[derive(Debug, Clone)]
pub(crate) enum Finished {
    Tool(CallToolResult),
    Prompt(GetPromptResult),
    Resource(ReadResourceResult),
}

/// How such a request ends.
pub(crate) type End = Result<Finished, ErrorData>;

/// What a call does next.
#[derive(Debug)]
pub(crate) enum Event {
    Notice(Notice),
    /// It asks; the question is in [`Ongoing::open`].
    Asked,
    Ended(Box<End>),
}

/// See the module's documentation. Dropping it stops the call.
pub(crate) struct Ongoing {
    pub(crate) client: Arc<CallClient>,
    /// Questions that wait for answers, by their names.
    pub(crate) open: BTreeMap<String, Asked>,
    outlet: Outlet,
    call: AbortOnDropHandle<End>,
    /// The size of its arguments.
    arguments_bytes: usize,
    ended: Option<End>,
    /// Whether the client that attends it may still have it; none where nobody can take it away.
    pub(crate) standing: Option<Standing>,
    /// Cancelled when the call has ended.
    pub(crate) done: CancellationToken,
}

impl Ongoing {
    /// Starts a call that speaks to its client.
    pub(crate) fn start(
        (client, outlet): (Arc<CallClient>, Outlet),
        call: impl Future<Output = End> + Send + 'static,
    ) -> Self {
        let done = CancellationToken::new();
        let guard = done.clone().drop_guard();
        let task = tokio::spawn(
            async move {
                let _ended = guard;
                call.await
            }
            .in_current_span(),
        );
        let call = AbortOnDropHandle::new(task);
        let (open, arguments_bytes, ended, standing) = Default::default();
        Self { client, open, outlet, call, arguments_bytes, ended, standing, done }
    }

    /// Says how large the arguments are that it keeps.
    pub(crate) const fn holding(mut self, arguments_bytes: usize) -> Self {
        self.arguments_bytes = arguments_bytes;
        self
    }

    /// What it takes to keep it, besides its instance: the arguments and the open questions.
    pub(crate) fn held_bytes(&self) -> usize {
        self.arguments_bytes + self.open.values().map(|asked| asked.bytes).sum::<usize>()
    }

    /// Waits for what comes next. Cancel-safe. Not to be called after the end.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            if let Some(end) = self.ended.take() {
                // What was said before the end comes before it.
                return match self.outlet.notices.try_recv() {
                    Ok(notice) => {
                        self.ended = Some(end);
                        Event::Notice(notice)
                    }
                    Err(_) => Event::Ended(Box::new(end)),
                };
            }
            tokio::select! {
                biased;
                Some(notice) = self.outlet.notices.recv() => return Event::Notice(notice),
                Some(asked) = self.outlet.questions.recv() => {
                    self.open.insert(asked.key.clone(), asked);
                    return Event::Asked;
                }
                end = &mut self.call => {
                    let lost = |error: tokio::task::JoinError| {
                        tracing::error!(%error, "a call ended early");
                        Err(ErrorData::internal_error("the host lost this call", None))
                    };
                    self.ended = Some(end.unwrap_or_else(lost));
                }
            }
        }
    }

    /// Hands answers to the questions that wait for them. An answer to no open question, or of the wrong
    /// kind, is none.
    pub(crate) fn answer(&mut self, responses: InputResponses) {
        for (key, answer) in responses {
            if let Some(asked) = self.open.remove(&key)
                && let Some(asked) = asked.take(answer)
            {
                self.open.insert(key, asked);
            }
        }
    }

    /// Tells the agent that nobody answers.
    pub(crate) fn refuse(&mut self, reason: &str) {
        for (_, asked) in std::mem::take(&mut self.open) {
            let _ = asked.answer.send(Err(reason.to_owned()));
        }
    }

    /// Whether some question still wants an answer. Forgets those that were withdrawn.
    pub(crate) fn is_waiting(&mut self) -> bool {
        self.open.retain(|_, asked| !asked.is_withdrawn());
        !self.open.is_empty()
    }

    /// The questions as a client gets them.
    pub(crate) fn requests(&self) -> InputRequests {
        self.open.iter().map(|(key, asked)| (key.clone(), asked.request.clone())).collect()
    }
}

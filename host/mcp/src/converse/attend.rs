//! Carries what a call says to its client, in the way of the client's revision.
//!
//! Before 2026-07-28, a question is a request of the server within the stream of the client's own request. Since
//! then it is an answer to the client's request, which ends with it, and the call is [parked](super::parked).

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use rmcp::ErrorData;
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, Extensions, InputRequest,
    InputRequiredResult, RequestId, ServerNotification, ServerRequest,
};
use rmcp::service::{OriginatingRequestId, Peer, PeerRequestOptions, RoleServer, ServiceError};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::client::{Asked, Line, Notice};
use super::ongoing::{End, Event, Finished, Ongoing};
use super::parked::{NotParked, Parked, RequestIdentity};
use crate::notify;

/// How long questions are gathered into one answer. A person does not notice, and an agent that asks several
/// things at once gets them asked at once.
const GATHER_TIME: Duration = Duration::from_millis(10);

/// Answers of clients are quoted in errors up to this.
const REASON_MAX_CHARS: usize = 512;

/// What a request is answered with now.
#[derive(Debug)]
pub(crate) enum Step {
    Finished(Finished),
    InputRequired(InputRequiredResult),
}

/// The stream that belongs to a request of the client.
pub(crate) struct Stream<'a> {
    pub(crate) peer: &'a Peer<RoleServer>,
    pub(crate) request: &'a RequestId,
}

impl Stream<'_> {
    /// Sends a notice to the client; one that does not listen any more misses it.
    async fn tell(&self, notice: Notice, line: &Line) {
        if let Some(notification) = notify::of(notice, line, self.request) {
            let _ = self.peer.send_notification(notification).await;
        }
    }

    /// Asks the client, until it answers or the agent wants no answer any more.
    async fn ask(&self, asked: Asked) {
        let Asked { request, mut answer, .. } = asked;
        let request = match request {
            InputRequest::CreateMessage(request) => ServerRequest::CreateMessageRequest(request),
            InputRequest::Elicitation(request) => ServerRequest::ElicitRequest(request),
            InputRequest::ListRoots(request) => ServerRequest::ListRootsRequest(request),
            _ => return,
        };
        let sent = self.peer.send_cancellable_request(request, PeerRequestOptions::no_options());
        let handle = match sent.await {
            Ok(handle) => handle,
            Err(error) => {
                let _ = answer.send(Err(reason(error)));
                return;
            }
        };
        let mut withdrawal = Withdrawal {
            peer: self.peer.clone(),
            request: self.request.clone(),
            question: Some(handle.id.clone()),
        };
        tokio::select! {
            response = handle.await_response() => {
                withdrawal.question = None;
                let response = match response {
                    Ok(result) => serde_json::to_value(result).map_err(|error| error.to_string()),
                    Err(error) => Err(reason(error)),
                };
                let _ = answer.send(response);
            }
            () = answer.closed() => {}
        }
    }
}

/// Tells the client that a question needs no answer any more, unless it was answered.
struct Withdrawal {
    peer: Peer<RoleServer>,
    request: RequestId,
    question: Option<RequestId>,
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        let Some(question) = self.question.take() else { return };
        let reason = "the agent does not need the answer any more".to_owned();
        let params = CancelledNotificationParam::new(Some(question), Some(reason));
        let mut cancelled = CancelledNotification::new(params);
        mark(&mut cancelled.extensions, &self.request);
        let peer = self.peer.clone();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let cancelled = ServerNotification::CancelledNotification(cancelled);
                // A client that left needs no word.
                let _ = peer.send_notification(cancelled).await;
            });
        }
    }
}

/// Marks a message as belonging to a request, so that it goes where its answer goes.
pub(crate) fn mark(extensions: &mut Extensions, request: &RequestId) {
    extensions.insert(OriginatingRequestId(request.clone()));
}

/// Why a client did not answer, in words for an agent.
fn reason(error: ServiceError) -> String {
    match error {
        ServiceError::McpError(error) => {
            let said: String = error.message.chars().take(REASON_MAX_CHARS).collect();
            format!("the client answered with an error: {said}")
        }
        ServiceError::Cancelled { .. } => "the question was cancelled".to_owned(),
        _ => "the client went away".to_owned(),
    }
}

/// Attends a call to its end for a client that takes requests.
pub(crate) async fn to_the_end(mut ongoing: Ongoing, stream: Stream<'_>) -> End {
    let line = ongoing.client.line();
    let mut asking = FuturesUnordered::new();
    loop {
        tokio::select! {
            event = ongoing.next() => match event {
                Event::Notice(notice) => stream.tell(notice, &line).await,
                Event::Asked => {
                    for (_, asked) in std::mem::take(&mut ongoing.open) {
                        asking.push(stream.ask(asked));
                    }
                }
                Event::Ended(end) => return *end,
            },
            Some(()) = asking.next() => {}
        }
    }
}

/// Attends a call until it has ended, or until it cannot go on without its client's answers.
pub(crate) async fn one_round(
    mut ongoing: Ongoing,
    stream: Stream<'_>,
    parked: &Parked,
    identity: &RequestIdentity,
) -> Result<Step, ErrorData> {
    let line = ongoing.client.line();
    let mut asked_at = ongoing.is_waiting().then(Instant::now);
    loop {
        let gathered = async {
            match asked_at {
                Some(at) => tokio::time::sleep_until(at + GATHER_TIME).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            event = ongoing.next() => match event {
                Event::Notice(notice) => stream.tell(notice, &line).await,
                Event::Asked => asked_at = asked_at.or_else(|| Some(Instant::now())),
                Event::Ended(end) => return (*end).map(Step::Finished),
            },
            () = gathered => {
                asked_at = None;
                if !ongoing.is_waiting() {
                    continue;
                }
                let requests = ongoing.requests();
                match parked.park(ongoing, identity) {
                    Ok(state) => {
                        let result = InputRequiredResult::new(Some(requests), Some(state));
                        return Ok(Step::InputRequired(result));
                    }
                    Err(NotParked { ongoing: back, reason }) => {
                        ongoing = *back;
                        ongoing.refuse(reason);
                    }
                }
            }
        }
    }
}

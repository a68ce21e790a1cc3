//! Calls of a mounted server's tools. They are admitted, timed, retried and recorded like all calls.
//!
//! The server validates, so its words about wrong arguments come back. Whatever ends a call here (its deadline, its
//! caller, the host) is told to the server by `notifications/cancelled`. A call is sent again by the dispatcher only
//! where nothing arrived, or where the server says that its tool is idempotent.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use aop_core::{
    Arguments, BoxFuture, CallContext, ErrorCode, Executable, Failure, Output, Violation,
};
use rmcp::ServiceError;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientRequest, JsonObject, RequestMetaObject,
    ServerResult,
};
use rmcp::service::{PeerRequestOptions, RequestHandle, RoleClient};

use super::answer;
use super::config::MountConfig;
use super::connect::{printable, reason, was_never_sent};
use super::hold::{Mount, Session};

/// The largest arguments that are sent, as large as a host accepts by default.
const ARGUMENTS_MAX_BYTES: usize = 4 << 20;

/// When to try again what never reached the server: it is connected to at once.
const UNSENT_RETRY_AFTER: Duration = Duration::from_millis(500);

/// A tool of a server.
pub(super) struct Remote {
    /// As the server calls it.
    pub(super) name: Arc<str>,
    pub(super) shape: Shape,
}

/// What a tool's results look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Content, in the server's own words.
    Content,
    /// As its output schema says, which is published.
    Structured,
    /// The same in an envelope like this host's: the server is one, too.
    Enveloped,
}

/// Sends calls to a server.
pub(super) struct Mounted {
    mount: Weak<Mount>,
    /// In the order of [`Tool::function`](aop_core::Tool::function).
    tools: Vec<Remote>,
}

impl Mounted {
    pub(super) const fn new(mount: Weak<Mount>, tools: Vec<Remote>) -> Self {
        Self { mount, tools }
    }
}

impl Executable for Mounted {
    fn validate(&self, _function: usize, arguments: &str) -> Result<Arguments, Vec<Violation>> {
        let wrong = |message: String| vec![Violation { pointer: String::new(), message }];
        if arguments.len() > ARGUMENTS_MAX_BYTES {
            let limit = ARGUMENTS_MAX_BYTES >> 20;
            return Err(wrong(format!("arguments for a mounted server have at most {limit} MiB")));
        }
        match serde_json::from_str::<JsonObject>(arguments) {
            Ok(object) => Ok(Arguments(Box::new(object))),
            Err(error) => {
                Err(wrong(format!("expected an object with the tool's arguments: {error}")))
            }
        }
    }

    fn execute<'a>(
        &'a self,
        function: usize,
        arguments: &'a Arguments,
        context: &'a Arc<CallContext>,
    ) -> BoxFuture<'a, Result<Output, Failure>> {
        Box::pin(async move {
            let internal =
                |what: &str| Failure::before_execution(ErrorCode::Internal, what.to_owned());
            let mount =
                self.mount.upgrade().ok_or_else(|| internal("the host is shutting down"))?;
            let tool = self.tools.get(function).ok_or_else(|| internal("no such function"))?;
            let arguments = arguments.0.downcast_ref::<JsonObject>();
            let arguments = arguments.ok_or_else(|| internal("arguments of another agent"))?;
            mount.call(tool, arguments, context).await
        })
    }
}

impl Mount {
    async fn call(
        self: &Arc<Self>,
        tool: &Remote,
        arguments: &JsonObject,
        context: &CallContext,
    ) -> Result<Output, Failure> {
        let Some(session) = self.session() else {
            self.counters().calls_refused.add();
            return Err(self.away());
        };
        let _running = Running::begin(self.running());
        self.counters().calls.add();
        let result = self.send(&session, tool, arguments, context).await;
        if let Err(failure) = &result
            && failure.code != ErrorCode::GuestError
            && failure.code != ErrorCode::InvalidArguments
        {
            self.counters().calls_failed.add();
        }
        result
    }

    async fn send(
        &self,
        session: &Arc<Session>,
        tool: &Remote,
        arguments: &JsonObject,
        context: &CallContext,
    ) -> Result<Output, Failure> {
        let mut params = CallToolRequestParams::new(tool.name.to_string());
        params.arguments = Some(arguments.clone());
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let mut options = PeerRequestOptions::no_options();
        if let Some(trace) = &context.trace {
            let mut meta = RequestMetaObject::new();
            meta.insert("traceparent".to_owned(), trace.to_string().into());
            options = options.with_meta(meta);
        }
        let peer = &session.peer;
        let send = async {
            let handle = peer.send_cancellable_request(request, options).await?;
            let token = handle.progress_token.clone();
            Ok::<_, ServiceError>((handle, token))
        };
        let deadline = tokio::time::Instant::from_std(context.deadline);
        let answered = tokio::time::timeout_at(deadline, async {
            let followed = context.progress.as_ref();
            let sent = session.reports.follow(followed, send).await;
            let (handle, _) = sent.map_err(|error| self.unsent(&error))?;
            let is_followed = followed.is_some();
            let answer = Pending { session, handle: Some(handle), is_followed }.answer().await;
            answer.map_err(|error| self.failure(&error))
        });
        let Ok(result) = answered.await else { return Err(self.late()) };
        match result {
            Ok(ServerResult::CallToolResult(result)) => {
                answer::read(result, tool.shape, self.config().answer_max_bytes)
            }
            Ok(ServerResult::InputRequiredResult(_)) => Err(Failure::executed(
                ErrorCode::BadOutput,
                "the server asks its client something, which mounted servers cannot do",
            )),
            Ok(_) => Err(Failure::executed(
                ErrorCode::BadOutput,
                "the server's answer is no result of a tool",
            )),
            Err(failure) => Err(failure),
        }
    }

    /// The connection took nothing of it, so it ended before.
    fn unsent(&self, error: &ServiceError) -> Failure {
        self.suspect();
        Failure::before_execution(ErrorCode::Unavailable, self.lost(error))
            .with_retry_after(UNSENT_RETRY_AFTER)
    }

    fn late(&self) -> Failure {
        // A server that stopped answering is found out by asking it something small.
        self.suspect();
        Failure::executed(
            ErrorCode::DeadlineExceeded,
            format!(
                "the server `{}` did not answer in time and was told to stop",
                self.config().name
            ),
        )
    }

    /// Nobody holds a connection now.
    fn away(&self) -> Failure {
        let after = self.retry_after(Instant::now());
        Failure::before_execution(
            ErrorCode::Unavailable,
            format!("the server `{}` cannot be reached now", self.config().name),
        )
        .with_retry_after(after.max(Duration::from_millis(100)))
    }

    fn lost(&self, cause: &(dyn std::error::Error + 'static)) -> String {
        let MountConfig { name, transport, .. } = self.config();
        format!("the server `{name}` was lost: {}", transport.without_query(&reason(cause)))
    }

    fn failure(&self, error: &ServiceError) -> Failure {
        let name = &self.config().name;
        match error {
            ServiceError::McpError(error) => {
                let message = printable(&error.message);
                let code = match error.code {
                    rmcp::model::ErrorCode::INVALID_PARAMS => ErrorCode::InvalidArguments,
                    rmcp::model::ErrorCode::METHOD_NOT_FOUND => ErrorCode::NotFound,
                    _ => ErrorCode::GuestError,
                };
                Failure::executed(code, format!("the server `{name}` refuses: {message}"))
            }
            ServiceError::TransportSend(error) => {
                self.suspect();
                let cause = error.error.as_ref();
                let message = self.lost(cause);
                if was_never_sent(cause) {
                    Failure::before_execution(ErrorCode::Unavailable, message)
                        .with_retry_after(UNSENT_RETRY_AFTER)
                } else {
                    Failure::executed(ErrorCode::Unavailable, message)
                }
            }
            error => {
                self.suspect();
                let message = self.lost(error);
                Failure::executed(ErrorCode::Unavailable, message)
            }
        }
    }
}

/// A call that the server works on. Dropping it before its answer came tells the server to stop.
struct Pending<'s> {
    session: &'s Arc<Session>,
    handle: Option<RequestHandle<RoleClient>>,
    /// Whether its progress goes somewhere.
    is_followed: bool,
}

impl Pending<'_> {
    async fn answer(mut self) -> Result<ServerResult, ServiceError> {
        let Some(handle) = &mut self.handle else { return Err(ServiceError::TransportClosed) };
        let answer = (&mut handle.rx).await.unwrap_or(Err(ServiceError::TransportClosed));
        if self.is_followed {
            self.session.reports.forget(handle.progress_token.clone());
        }
        self.handle = None;
        answer
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        // Outside of a runtime, where the host ends, the connection does so too.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let session = Arc::clone(self.session);
        runtime.spawn(async move {
            session.reports.forget(handle.progress_token.clone());
            // A connection that is gone has no call to cancel.
            let _ = handle.cancel(Some("nobody waits for it any more".to_owned())).await;
        });
    }
}

/// Counts a call for as long as it runs.
struct Running<'c>(&'c AtomicU32);

impl<'c> Running<'c> {
    fn begin(count: &'c AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

//! One attempt at a call on one other node: the request, what becomes of it, and what that says of the node.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use aop_core::interface::Feature;
use aop_core::{CallContext, Digest, ErrorCode, Failure, NodeId, Output, Progress, ToolName};
use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::value::RawValue;

use super::peers::Peers;
use super::wire::{self, ANSWER_SLACK_BYTES, Answered, CallMeta, FORM, Nothing, PROTOCOL, Params};
use crate::http2::{Exchange, Incoming, SendError};

/// How much longer than the deadline an answer is awaited: the owner enforces the same one and says so itself.
const GRACE: Duration = Duration::from_millis(25);
/// How long a node may be silent about whether it lives before a call that may be repeated goes elsewhere. A third
/// of what is left of the call's time when that is less.
const SILENCE_MAX: Duration = Duration::from_secs(1);
const SILENCE_MIN: Duration = Duration::from_millis(50);
/// The same for a call that cannot be repeated: it fails then, so a node that is only busy gets more time.
const SILENCE_MAX_ONCE: Duration = Duration::from_secs(5);
/// The one call of a stream of events.
const PROGRESS_TOKEN: u32 = 1;
/// Bytes of one report of progress; a longer one is no report.
const REPORT_MAX_BYTES: usize = 64 << 10;
/// How long a component may take to arrive: the largest one over 50 Mbit/s.
const COMPONENT_TIMEOUT: Duration = Duration::from_secs(60);

/// What is called.
#[derive(Debug, Clone)]
pub(super) struct Function {
    /// The tool's name, or the feature's.
    pub(super) name: ToolName,
    /// Which feature, if it is one.
    pub(super) feature: Option<Feature>,
    /// Whether running it twice does no harm.
    pub(super) idempotent: bool,
}

/// How an attempt ended, and what that says of the node.
pub(super) enum Ended {
    /// The node answered.
    Answered(Result<Output, Failure>),
    /// The node has no room for more.
    Busy(Failure),
    /// The node is at fault.
    Broken(Failure),
}

/// A call for another node.
pub(super) struct Errand<'a> {
    pub(super) function: &'a Function,
    pub(super) arguments: &'a RawValue,
    pub(super) context: &'a CallContext,
    pub(super) output_max_bytes: u64,
    /// Whether another replica could take it instead.
    pub(super) has_others: bool,
}

impl Errand<'_> {
    /// Runs the call on a node, until it answers, breaks, or falls silent.
    pub(super) async fn run(&self, peers: &Peers, node: &NodeId) -> Ended {
        let request = match self.request() {
            Ok(request) => request,
            Err(failure) => return Ended::Answered(Err(failure)),
        };
        let exchange = async {
            let exchange = peers.send(node, request).await.map_err(|error| unsent(node, error))?;
            self.read(node, exchange).await
        };
        let last = tokio::time::Instant::from_std(self.context.deadline + GRACE);
        tokio::select! {
            // The answer first: a deadline that passes at the same moment changes nothing.
            biased;
            ended = exchange => ended.map_or_else(|ended| ended, |answered| self.accept(answered)),
            () = silence(peers, node, self.patience()) => Ended::Broken(lost(node, "it fell silent")),
            () = tokio::time::sleep_until(last) => Ended::Broken(Failure::executed(
                ErrorCode::DeadlineExceeded,
                format!("node {node} did not answer before the call's deadline"),
            )),
        }
    }

    fn patience(&self) -> Duration {
        if self.function.idempotent && self.has_others {
            let left = self.context.deadline.saturating_duration_since(Instant::now());
            (left / 3).clamp(SILENCE_MIN, SILENCE_MAX)
        } else {
            SILENCE_MAX_ONCE
        }
    }

    fn request(&self) -> Result<Request<Bytes>, Failure> {
        let context = self.context;
        let left = context.deadline.saturating_duration_since(Instant::now());
        let session = context.session.get();
        let lineage = context.lineage.as_deref();
        let feature = self.function.feature;
        let meta = CallMeta {
            protocol: PROTOCOL.into(),
            capabilities: Nothing {},
            progress_token: context.progress.is_some().then_some(PROGRESS_TOKEN),
            traceparent: context.trace.map(|trace| trace.to_string().into()),
            form: FORM,
            caller: Cow::Borrowed(&context.caller),
            deadline_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            session: session.map(|session| Cow::Borrowed(session.as_str())),
            agent: feature.map(|_| Cow::Borrowed(context.agent.as_str())),
            feature: feature.map(|feature| Cow::Borrowed(feature.as_str())),
            waiting: lineage.map_or_else(Vec::new, |lineage| {
                lineage.waiting().map(|(id, name)| (id, name.clone())).collect()
            }),
            calls_left: lineage.map_or(0, |lineage| lineage.calls_left()),
        };
        let name = self.function.name.as_str();
        let request = wire::Request {
            jsonrpc: "2.0".into(),
            id: 1,
            method: "tools/call".into(),
            params: Params { name: name.into(), arguments: self.arguments, meta },
        };
        let bytes = serde_json::to_vec(&request).map_err(|error| internal(&error))?;
        if bytes.len() > wire::REQUEST_MAX_BYTES {
            return Err(Failure::before_execution(
                ErrorCode::InvalidArguments,
                format!(
                    "the arguments are too large for a call on another node: at most {} MiB",
                    wire::REQUEST_MAX_BYTES >> 20
                ),
            ));
        }
        post(name, bytes).map_err(|error| internal(&error))
    }

    async fn read(&self, node: &NodeId, exchange: Exchange) -> Result<Answered, Ended> {
        // Its place among the streams is held until the answer is read.
        let Exchange { response, stream: _stream } = exchange;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::SERVICE_UNAVAILABLE => return Err(Ended::Busy(full(node))),
            status => return Err(Ended::Broken(refused(node, status))),
        }
        let max = usize::try_from(self.output_max_bytes.saturating_add(ANSWER_SLACK_BYTES))
            .unwrap_or(usize::MAX);
        let body = response.into_body();
        let whole = match &self.context.progress {
            None => {
                Limited::new(body, max).collect().await.map(http_body_util::Collected::to_bytes)
            }
            Some(progress) => read_events(body, &**progress, max).await,
        };
        let bytes = whole.map_err(|error| Ended::Broken(lost(node, &error.to_string())))?;
        wire::read_answer(&bytes).map_err(|error| {
            tracing::warn!(%node, %error, "another node's answer makes no sense");
            Ended::Broken(lost(node, "its answer makes no sense"))
        })
    }

    /// Takes over what else came with an answer.
    fn accept(&self, answered: Answered) -> Ended {
        if let Some(session) = answered.session {
            // One that is set already is the one that was sent.
            let _ = self.context.session.set(session);
        }
        if let Some(lineage) = &self.context.lineage {
            // The call itself was counted on both nodes.
            lineage.spend(answered.calls.saturating_sub(1));
        }
        match answered.result {
            Err(failure) if !failure.executed && is_about_the_node(failure.code) => {
                Ended::Busy(failure)
            }
            result => Ended::Answered(result),
        }
    }
}

/// Whether another replica may do better.
const fn is_about_the_node(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Unavailable
            | ErrorCode::ResourceExhausted
            | ErrorCode::Internal
            | ErrorCode::NotFound
    )
}

fn post(tool: &str, bytes: Vec<u8>) -> Result<Request<Bytes>, http::Error> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    const EITHER: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
    Request::builder()
        .method(Method::POST)
        .uri("https://node/mcp")
        .header(CONTENT_TYPE, JSON)
        .header(ACCEPT, EITHER)
        .header(HeaderName::from_static("mcp-protocol-version"), PROTOCOL)
        .header(HeaderName::from_static("mcp-method"), "tools/call")
        .header(HeaderName::from_static("mcp-name"), tool)
        .body(Bytes::from(bytes))
}

fn get(path: &str) -> Result<Request<Bytes>, http::Error> {
    Request::builder().uri(format!("https://node{path}")).body(Bytes::new())
}

/// Resolves when a node does not say that it lives for as long as `patience`.
async fn silence(peers: &Peers, node: &NodeId, patience: Duration) {
    loop {
        tokio::time::sleep(patience).await;
        let Ok(request) = get("/alive") else { return };
        match tokio::time::timeout(patience, peers.send(node, request)).await {
            Ok(Ok(_)) => {}
            // What broke is told where the call waits for its answer.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}

/// Reads events until the answer, and hands on the reports of progress before it.
async fn read_events(
    mut body: Incoming,
    progress: &dyn Progress,
    max: usize,
) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let mut buffer = BytesMut::new();
    let mut searched = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if buffer.len() + data.len() > max + REPORT_MAX_BYTES {
            return Err("its answer is too large".into());
        }
        buffer.extend_from_slice(&data);
        while let Some(at) = buffer[searched..].windows(2).position(|pair| pair == b"\n\n") {
            let event = buffer.split_to(searched + at).freeze();
            buffer.advance(2);
            searched = 0;
            let message = event.strip_prefix(b"data: ").map(|text| event.slice_ref(text));
            let Some(message) = message else { continue };
            let report =
                (message.len() <= REPORT_MAX_BYTES).then(|| wire::read_report(&message)).flatten();
            match report {
                Some(report) => {
                    let params = report.params;
                    progress.report(params.progress, params.total, params.message.as_deref());
                }
                None => return Ok(message),
            }
        }
        // A line break at the very end may be half of a pair.
        searched = buffer.len().saturating_sub(1);
    }
    Err("the stream ended before the answer".into())
}

/// Pulls a component from a node. What comes is not checked yet.
///
/// # Errors
/// Why it did not come.
pub(super) async fn pull(
    peers: &Peers,
    node: &NodeId,
    digest: Digest,
    max_bytes: u64,
) -> Result<Bytes, String> {
    let read = async {
        let request = get(&format!("/component/{digest}")).map_err(|error| error.to_string())?;
        let exchange = peers.send(node, request).await.map_err(|error| format!("{error:?}"))?;
        let Exchange { response, stream: _stream } = exchange;
        if response.status() != StatusCode::OK {
            return Err(format!("it answered {}", response.status()));
        }
        let max = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        let body = Limited::new(response.into_body(), max).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
    };
    let read = tokio::time::timeout(COMPONENT_TIMEOUT, read).await;
    read.unwrap_or_else(|_| Err(format!("it took more than {} s", COMPONENT_TIMEOUT.as_secs())))
}

fn unsent(node: &NodeId, error: SendError) -> Ended {
    let unavailable = |why: String| {
        Failure::before_execution(ErrorCode::Unavailable, why)
            .with_retry_after(Duration::from_secs(1))
    };
    match error {
        SendError::NotSent(reason) => {
            Ended::Broken(unavailable(format!("node {node} cannot be reached: {reason}")))
        }
        SendError::Full => Ended::Busy(full(node)),
        SendError::Lost(reason) => Ended::Broken(lost(node, &reason)),
    }
}

fn full(node: &NodeId) -> Failure {
    let message = format!("too many calls wait for node {node}: try again shortly");
    Failure::before_execution(ErrorCode::ResourceExhausted, message)
        .with_retry_after(Duration::from_secs(1))
}

/// A call that may have run, and nobody can say.
fn lost(node: &NodeId, reason: &str) -> Failure {
    Failure::executed(
        ErrorCode::Unavailable,
        format!(
            "node {node} was lost while it had the call ({reason}): whether it ran is not known"
        ),
    )
}

fn refused(node: &NodeId, status: StatusCode) -> Failure {
    Failure::before_execution(
        ErrorCode::Internal,
        format!("node {node} refused the call: {status}"),
    )
}

fn internal(error: &dyn std::error::Error) -> Failure {
    Failure::before_execution(ErrorCode::Internal, error.to_string())
}

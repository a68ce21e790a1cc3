//! The edge as an `rmcp` service: what answers everything that the fast path does not take.
//!
//! `rmcp` runs a handler to its end whatever happens to the client, so every wait here also watches
//! the request's cancellation and the connection it came over.

use std::borrow::Cow;
use std::sync::Arc;

use aop_core::{Progress, Reply, TraceContext};
use rmcp::ErrorData;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CompleteRequestMethod,
    CompleteRequestParams, CompleteResult, CustomRequest, CustomResult, ErrorCode, Implementation,
    ListPromptsRequestMethod, ListPromptsResult, ListResourceTemplatesRequestMethod,
    ListResourceTemplatesResult, ListResourcesRequestMethod, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig, SubscriptionFilter,
    Tool,
};
use rmcp::service::{RequestContext, RoleServer, SubscriptionContext};
use rmcp::{Peer, ServerHandler};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::arrival::Arrival;
use crate::edge::{Edge, ToolCall, UnknownTool};
use crate::message;
use crate::progress::Reporter;

/// The revisions this server speaks. Older ones want batches, which are refused.
pub(crate) const REVISIONS: &[ProtocolVersion] =
    &[ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25, ProtocolVersion::V_2026_07_28];

/// Serves one session, or one stateless request.
#[derive(Clone)]
pub(crate) struct Handler {
    edge: Arc<Edge>,
    draining: CancellationToken,
}

impl Handler {
    pub(crate) const fn new(edge: Arc<Edge>, draining: CancellationToken) -> Self {
        Self { edge, draining }
    }

    /// Runs a call and forwards its progress, until it ends or nobody waits for it.
    async fn run(
        &self,
        call: ToolCall<'_>,
        reports: Option<mpsc::Receiver<rmcp::model::ProgressNotificationParam>>,
        context: &RequestContext<RoleServer>,
        gone: &CancellationToken,
    ) -> Result<Result<Reply, UnknownTool>, ErrorData> {
        let (forwarded, forward) = forward(reports, context.peer.clone());
        let answer = async {
            let answer = self.edge.call(call).await;
            // The call's end closes the queue; what is still in it goes out before the answer.
            forwarded.cancel();
            answer
        };
        let both = async { tokio::join!(answer, forward).0 };
        tokio::select! {
            biased;
            () = context.ct.cancelled() => Err(cancelled()),
            () = gone.cancelled() => Err(cancelled()),
            answer = both => Ok(answer),
        }
    }
}

/// A future that sends reports until the call ended and the queue is empty.
fn forward(
    reports: Option<mpsc::Receiver<rmcp::model::ProgressNotificationParam>>,
    peer: Peer<RoleServer>,
) -> (CancellationToken, impl Future<Output = ()>) {
    let ended = CancellationToken::new();
    let end = ended.clone();
    let forward = async move {
        let Some(mut reports) = reports else { return };
        loop {
            let report = tokio::select! {
                biased;
                report = reports.recv() => report,
                () = end.cancelled() => None,
            };
            let Some(report) = report else { return };
            if peer.notify_progress(report).await.is_err() {
                return;
            }
        }
    };
    (ended, forward)
}

fn cancelled() -> ErrorData {
    ErrorData::new(ErrorCode::INTERNAL_ERROR, "the request was cancelled", None)
}

fn not_found<M: rmcp::model::ConstString>() -> ErrorData {
    ErrorData::method_not_found::<M>()
}

fn arrival(extensions: &rmcp::model::Extensions) -> Result<&Arrival, ErrorData> {
    Arrival::of(extensions)
        .ok_or_else(|| ErrorData::internal_error("the request lost its caller", None))
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let config = &self.edge.config;
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build();
        let server = Implementation::new(config.server_name.clone(), env!("CARGO_PKG_VERSION"))
            .with_title("Agent Orchestration Protocol host");
        let info = ServerConfig::new(capabilities)
            .with_server_info(server)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
        match &config.instructions {
            Some(instructions) => info.with_instructions(instructions.clone()),
            None => info,
        }
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(REVISIONS)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let arrival = arrival(&context.extensions)?;
        let cursor = request.and_then(|params| params.cursor);
        let page = self
            .edge
            .page(&arrival.caller, cursor.as_deref())
            .map_err(|error| ErrorData::invalid_params(error.to_string(), None))?;
        let tools: Vec<Tool> = serde_json::from_slice(&page.tools)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let mut result = ListToolsResult::with_all_items(tools);
        result.next_cursor.clone_from(&page.next);
        let stateless = context.protocol_version().is_some_and(|version| !version.has_initialize());
        Ok(if stateless {
            result.with_ttl_ms(list_ttl_ms(&self.edge)).with_cache_scope(CacheScope::Private)
        } else {
            result
        })
    }

    // `get_tool` stays `None`: it only serves the check of `x-mcp-header` annotations, and schemas
    // derived from WIT never carry one.

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arrival = arrival(&context.extensions)?;
        let arguments = match message::arguments(&arrival.message) {
            Some(arguments) => Cow::Borrowed(arguments),
            // Only a message with a member twice gets here; rmcp kept the last one.
            None => Cow::Owned(
                serde_json::to_string(&request.arguments.unwrap_or_default())
                    .map_err(|error| ErrorData::internal_error(error.to_string(), None))?,
            ),
        };
        let (progress, reports) = match context.meta.get_progress_token().map(Reporter::new) {
            Some((reporter, reports)) => {
                (Some(Arc::new(reporter) as Arc<dyn Progress>), Some(reports))
            }
            None => (None, None),
        };
        let call = ToolCall {
            caller: &arrival.caller,
            name: &request.name,
            arguments: &arguments,
            received: arrival.received,
            trace: trace(context.meta.get_traceparent(), arrival.trace),
            progress,
        };
        let reply = self
            .run(call, reports, &context, &arrival.gone)
            .await?
            .map_err(|unknown| ErrorData::invalid_params(unknown.to_string(), None))?;
        // rmcp takes the mark of the stateless revision away where it does not belong.
        crate::result::ToolResult::new(&reply, true)
            .to_rmcp()
            .map(CallToolResponse::Complete)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }

    fn accepted_subscription_filter(
        &self,
        _requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::builder().tools_list_changed().build())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let arrival = arrival(&context.request_context().extensions)?;
        let mut changes = self.edge.parts.changes.subscribe(&arrival.caller.tenant);
        let mut known = changes.version();
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                () = arrival.gone.cancelled() => return Ok(()),
                () = self.draining.cancelled() => return Ok(()),
                version = changes.after(known, self.edge.config.list_changed_window) => known = version,
            }
            if context.accepted().tools_list_changed != Some(true) {
                continue;
            }
            if context.sink().notify_tool_list_changed().await.is_err() {
                return Ok(());
            }
        }
    }

    // What rmcp would answer with an empty success although the capability is not offered:

    async fn complete(
        &self,
        _request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Err(not_found::<CompleteRequestMethod>())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(not_found::<ListPromptsRequestMethod>())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Err(not_found::<ListResourcesRequestMethod>())
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Err(not_found::<ListResourceTemplatesRequestMethod>())
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        // rmcp files a request whose params do not fit its method as a custom one.
        if matches!(
            &*request.method,
            "tools/call"
                | "tools/list"
                | "subscriptions/listen"
                | "server/discover"
                | "initialize"
                | "ping"
        ) {
            let reason = format!("Invalid params for {}", request.method);
            return Err(ErrorData::invalid_params(reason, None));
        }
        let shown: String = request.method.chars().take(METHOD_SHOWN_MAX).collect();
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, shown, None))
    }
}

/// Characters of an unknown method that are worth repeating to whoever sent it.
const METHOD_SHOWN_MAX: usize = 128;

/// The trace a request continues: the message's own before the transport's, and a malformed one is
/// as good as none (W3C Trace Context, section 3.2).
pub(crate) fn trace(
    message: Option<&str>,
    transport: Option<TraceContext>,
) -> Option<TraceContext> {
    message.and_then(|text| text.parse().ok()).or(transport)
}

/// What `ttlMs` says.
pub(crate) fn list_ttl_ms(edge: &Edge) -> u64 {
    u64::try_from(edge.config.list_ttl.as_millis()).unwrap_or(u64::MAX)
}

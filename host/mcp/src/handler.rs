//! The edge as an `rmcp` service: what answers everything that the fast path does not take.
//!
//! `rmcp` runs a handler to its end whatever happens to the client, so every wait here also watches
//! the request's cancellation and the connection it came over.
#![expect(deprecated, reason = "2026-07-28 deprecates logging, and still has it")]

mod capabilities;
mod exchange;

use std::borrow::Cow;
use std::sync::Arc;

use aop_core::TraceContext;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams,
    CompleteResult, CustomRequest, CustomResult, DiscoverResult, ErrorCode, GetPromptRequestParams,
    GetPromptResponse, GetSkillRequestParams, GetSkillResult, GetTaskParams, GetTaskResult,
    Implementation, InitializeRequestParams, InitializeResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListSkillsResult, ListToolsResult,
    PaginatedRequestParams, ProtocolVersion, ReadResourceDirectoryRequestParams,
    ReadResourceDirectoryResult, ReadResourceRequestParams, ReadResourceResponse, ServerConfig,
    SetLevelRequestMethod, SetLevelRequestParams, SubscribeRequestMethod, SubscribeRequestParams,
    SubscriptionFilter, Tool, UnsubscribeRequestMethod, UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{RequestContext, RoleServer, SubscriptionContext, SubscriptionSendError};
use rmcp::{ErrorData, ServerHandler};
use tokio_util::sync::CancellationToken;

use self::exchange::Exchange;
use crate::arrival::Arrival;
use crate::complaint;
use crate::edge::Edge;
use crate::features::{completion, prompts, resources, skills};
use crate::following::Following;
use crate::list::BadCursor;
use crate::message;
use crate::tasks::TaskRunner;
use crate::uri;

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

    /// The tasks of this host.
    fn tasks(&self) -> Result<&Arc<TaskRunner>, ErrorData> {
        let none = || ErrorData::internal_error("this host keeps no tasks", None);
        self.edge.tasks.as_ref().ok_or_else(none)
    }
}

/// Whether a request is of the revision without sessions.
fn is_stateless(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|version| !version.has_initialize())
}

/// What the client of a request follows.
fn following(context: &RequestContext<RoleServer>) -> Result<(&Arrival, &Following), ErrorData> {
    let arrival = arrival(&context.extensions)?;
    let none = || ErrorData::internal_error("the request lost its session", None);
    Ok((arrival, arrival.following.as_deref().ok_or_else(none)?))
}

fn cancelled() -> ErrorData {
    ErrorData::new(ErrorCode::INTERNAL_ERROR, "the request was cancelled", None)
}

/// Waits for as long as somebody waits for the answer.
async fn unless_cancelled<T>(
    context: &RequestContext<RoleServer>,
    answer: impl Future<Output = Result<T, ErrorData>>,
) -> Result<T, ErrorData> {
    let arrival = arrival(&context.extensions)?;
    tokio::select! {
        biased;
        () = context.ct.cancelled() => Err(cancelled()),
        () = arrival.gone.cancelled() => Err(cancelled()),
        answer = answer => answer,
    }
}

/// Where a list goes on. rmcp passes parameters of the wrong shape for none, and a client whose cursor counts for none
/// pages for ever.
fn cursor(
    request: Option<PaginatedRequestParams>,
    arrival: &Arrival,
) -> Result<Option<String>, ErrorData> {
    let cursor = request.and_then(|params| params.cursor);
    if cursor.is_none() && message::has_cursor(&arrival.message) {
        return Err(ErrorData::invalid_params(BadCursor.to_string(), None));
    }
    Ok(cursor)
}

/// Gives a list the hints that the stateless revision wants, and its cursor.
macro_rules! paged {
    ($handler:expr, $context:expr, $result:expr, $next:expr) => {{
        let mut result = $result;
        result.next_cursor = $next;
        if is_stateless(&$context) {
            result = result
                .with_ttl_ms(list_ttl_ms(&$handler.edge))
                .with_cache_scope(CacheScope::Private);
        }
        Ok(result)
    }};
}

fn arrival(extensions: &rmcp::model::Extensions) -> Result<&Arrival, ErrorData> {
    Arrival::of(extensions)
        .ok_or_else(|| ErrorData::internal_error("the request lost its caller", None))
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let config = &self.edge.config;
        let capabilities = capabilities::all(self.edge.tasks.is_some());
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

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        let mut result = self.negotiate_initialize(&request)?;
        capabilities::narrow(&mut result.capabilities, &self.edge, &context)?;
        capabilities::without_tasks(&mut result.capabilities);
        Ok(result)
    }

    async fn discover(
        &self,
        context: RequestContext<RoleServer>,
    ) -> Result<DiscoverResult, ErrorData> {
        let mut info = self.get_info();
        capabilities::narrow(&mut info.capabilities, &self.edge, &context)?;
        Ok(DiscoverResult::from_server_info(REVISIONS.to_vec(), info))
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let arrival = arrival(&context.extensions)?;
        let page = self
            .edge
            .page(&arrival.caller, cursor(request, arrival)?.as_deref(), arrival.received)
            .map_err(|none| none.error())?;
        let tools: Vec<Tool> = serde_json::from_slice(&page.tools)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        paged!(self, context, ListToolsResult::with_all_items(tools), page.next.clone())
    }

    // `get_tool` stays `None`: it only serves the check of `x-mcp-header` annotations, and does not say whose
    // tool it is. `repeated` makes that check.

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        Exchange::new(&self.edge, &context)?.call_tool(request).await
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        Exchange::new(&self.edge, &context)?.get_prompt(request).await
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        Exchange::new(&self.edge, &context)?.read_resource(request).await
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let arrival = arrival(&context.extensions)?;
        let (caller, cursor) = (&arrival.caller, cursor(request, arrival)?);
        let page = prompts::list(&self.edge, caller, cursor.as_deref());
        let page = unless_cancelled(&context, page).await?;
        paged!(self, context, ListPromptsResult::with_all_items(page.items), page.next)
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let arrival = arrival(&context.extensions)?;
        let (caller, cursor) = (&arrival.caller, cursor(request, arrival)?);
        let page = resources::list(&self.edge, caller, cursor.as_deref());
        let page = unless_cancelled(&context, page).await?;
        paged!(self, context, ListResourcesResult::with_all_items(page.items), page.next)
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let arrival = arrival(&context.extensions)?;
        let (caller, cursor) = (&arrival.caller, cursor(request, arrival)?);
        let page = resources::templates(&self.edge, caller, cursor.as_deref());
        let page = unless_cancelled(&context, page).await?;
        paged!(self, context, ListResourceTemplatesResult::with_all_items(page.items), page.next)
    }

    async fn list_skills(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListSkillsResult, ErrorData> {
        let arrival = arrival(&context.extensions)?;
        let (caller, cursor) = (&arrival.caller, cursor(request, arrival)?);
        let page = skills::list(&self.edge, caller, cursor.as_deref());
        let page = unless_cancelled(&context, page).await?;
        paged!(self, context, ListSkillsResult::with_all_items(page.items), page.next)
    }

    async fn get_skill(
        &self,
        request: GetSkillRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetSkillResult, ErrorData> {
        let caller = &arrival(&context.extensions)?.caller;
        let skill = skills::get(&self.edge, caller, &request.uri);
        let result = GetSkillResult::new(unless_cancelled(&context, skill).await?);
        if !is_stateless(&context) {
            return Ok(result);
        }
        let ttl_ms = list_ttl_ms(&self.edge);
        Ok(result.with_ttl_ms(ttl_ms).with_cache_scope(CacheScope::Private))
    }

    async fn read_resource_directory(
        &self,
        request: ReadResourceDirectoryRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceDirectoryResult, ErrorData> {
        let caller = &arrival(&context.extensions)?.caller;
        let cursor = request.cursor.as_deref();
        let children = skills::directory(&self.edge, caller, &request.uri, cursor);
        let children = unless_cancelled(&context, children).await?;
        paged!(self, context, ReadResourceDirectoryResult::with_all_items(children), None)
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let caller = &arrival(&context.extensions)?.caller;
        unless_cancelled(&context, completion::complete(&self.edge, caller, request)).await
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if is_stateless(&context) {
            return Err(ErrorData::method_not_found::<SetLevelRequestMethod>());
        }
        following(&context)?.1.set_level(request.level);
        Ok(())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if is_stateless(&context) {
            return Err(ErrorData::method_not_found::<SubscribeRequestMethod>());
        }
        let (arrival, following) = following(&context)?;
        let caller = &arrival.caller;
        resources::Reader::of(&self.edge, caller, &request.uri)?;
        following
            .subscribe(&caller.tenant, &request.uri)
            .map_err(|full| ErrorData::invalid_request(full.to_string(), None))
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if is_stateless(&context) {
            return Err(ErrorData::method_not_found::<UnsubscribeRequestMethod>());
        }
        following(&context)?.1.unsubscribe(&request.uri);
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        let wanted = requested.resource_subscriptions.iter().flatten();
        let possible = wanted.filter(|uri| uri::owner(uri).is_some());
        let is_sensible = requested
            .resource_subscriptions
            .as_ref()
            .is_none_or(|uris| uris.len() <= REQUESTED_MAX);
        let subscriptions_max = if is_sensible { self.edge.config.subscriptions_max } else { 0 };
        let accepted = possible.take(subscriptions_max);
        let filter = SubscriptionFilter::builder()
            .tools_list_changed()
            .prompts_list_changed()
            .resources_list_changed()
            .resource_subscriptions(accepted);
        Some(filter.build())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let arrival = arrival(&context.request_context().extensions)?;
        let (hub, tenant) = (&self.edge.parts.changes, &arrival.caller.tenant);
        let mut changes = hub.subscribe(tenant);
        let mut known = changes.versions();
        let following = Following::new(hub.clone(), self.edge.config.subscriptions_max);
        for uri in context.accepted().resource_subscriptions.iter().flatten() {
            if following.subscribe(tenant, uri).is_err() {
                tracing::warn!("a client misses changes: too many resources are subscribed to");
                break;
            }
        }
        loop {
            let versions = tokio::select! {
                () = context.cancelled() => return Ok(()),
                () = arrival.gone.cancelled() => return Ok(()),
                () = self.draining.cancelled() => return Ok(()),
                versions = changes.after(known, self.edge.config.list_changed_window) => versions,
            };
            for news in following.news(known, versions) {
                // What the client did not ask for is not sent.
                match context.sink().send(news).await {
                    Ok(()) | Err(SubscriptionSendError::NotificationNotAccepted(_)) => {}
                    Err(_) => return Ok(()),
                }
            }
            known = versions;
        }
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        let caller = &arrival(&context.extensions)?.caller;
        self.tasks()?.get(caller, &request.task_id).await.map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let caller = &arrival(&context.extensions)?.caller;
        self.tasks()?.update(caller, &request.task_id, request.input_responses).await
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let caller = &arrival(&context.extensions)?.caller;
        self.tasks()?.cancel(caller, &request.task_id).await
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        // rmcp files a request whose params do not fit its method as a custom one.
        let method = &*request.method;
        let is_removed = is_stateless(&context) && METHODS_OF_SESSIONS.contains(&method);
        if !is_removed && METHODS.contains(&method) {
            let reason = complaint::of_params(method, request.params.as_ref());
            return Err(ErrorData::invalid_params(reason, None));
        }
        let shown: String = request.method.chars().take(METHOD_SHOWN_MAX).collect();
        let reason = format!("Method not found: {shown}");
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, reason, None))
    }
}

/// The methods that this server knows.
const METHODS: [&str; 21] = [
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/directory/read",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "skills/get",
    "skills/list",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/update",
    "tools/call",
    "tools/list",
];

/// Those of them that 2026-07-28 does not have.
const METHODS_OF_SESSIONS: [&str; 5] =
    ["initialize", "logging/setLevel", "ping", "resources/subscribe", "resources/unsubscribe"];

/// Resources that one `subscriptions/listen` may name, more of which are accepted than it can follow: `rmcp`
/// compares every one of them with every accepted one. Beyond, none is accepted.
const REQUESTED_MAX: usize = 16_384;

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

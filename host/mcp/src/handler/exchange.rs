//! One request that can converse: `tools/call`, `prompts/get` or `resources/read`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use aop_core::bucket::SessionId;
use aop_core::interface::Feature;
use aop_core::{
    AgentName, BoxFuture, Caller, ErrorCode, Failure, Progress, Reply, TaskError, TaskRecord,
    TaskUse, Tool, TraceContext,
};
use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientCapabilities, ErrorCode as RpcCode,
    GetPromptRequestParams, GetPromptResponse, InputResponses, JsonObject,
    ReadResourceRequestParams, ReadResourceResponse, TASKS_EXTENSION_ID,
};
use rmcp::service::{RequestContext, RoleServer};

use super::{arrival, is_stateless, trace, unless_cancelled};
use crate::arrival::Arrival;
use crate::converse::{
    CallClient, End, Finished, Line, Ongoing, RequestIdentity, Step, Stream, one_round, to_the_end,
};
use crate::edge::{Edge, FeatureCall, ToolCall};
use crate::features::prompts::Found;
use crate::features::resources::Reader;
use crate::features::{self, prompts};
use crate::http::OVERLOADED;
use crate::message;
use crate::repeated;
use crate::result::ToolResult;
use crate::tasks::TaskRunner;

/// See the module's documentation.
pub(super) struct Exchange<'a> {
    edge: &'a Arc<Edge>,
    context: &'a RequestContext<RoleServer>,
    arrival: &'a Arrival,
    stateless: bool,
}

/// What the client sent back in answer to questions.
struct Answers {
    state: Option<String>,
    responses: InputResponses,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        edge: &'a Arc<Edge>,
        context: &'a RequestContext<RoleServer>,
    ) -> Result<Self, ErrorData> {
        let arrival = arrival(&context.extensions)?;
        Ok(Self { edge, context, arrival, stateless: is_stateless(context) })
    }

    /// The request as its call sees it.
    fn line(&self) -> Line {
        let level = if self.stateless { self.context.meta.log_level() } else { None };
        Line { progress: self.context.meta.get_progress_token(), level }
    }

    /// Starts a call that can speak to this request's client and holds so many bytes of it.
    fn start(
        &self,
        advance: InputResponses,
        held_bytes: usize,
        call: impl FnOnce(Arc<CallClient>) -> BoxFuture<'static, End>,
    ) -> Ongoing {
        let declared = self.context.client_capabilities().unwrap_or_default();
        let following = self.arrival.following.clone();
        let (client, outlet) = CallClient::new(declared, following, self.line(), advance);
        let call = call(client.clone());
        Ongoing::start((client, outlet), call).holding(held_bytes)
    }

    /// The call that waits for this request's answers, when the request names one.
    fn resume(
        &self,
        identity: &RequestIdentity,
        answers: &mut Answers,
    ) -> Result<Option<Ongoing>, ErrorData> {
        if !self.stateless {
            // Before 2026-07-28 these members mean nothing.
            answers.responses.clear();
            return Ok(None);
        }
        let Some(state) = &answers.state else { return Ok(None) };
        let mut ongoing = self.edge.parked.take(state, identity)?;
        ongoing.client.join(self.line());
        ongoing.answer(std::mem::take(&mut answers.responses));
        Ok(Some(ongoing))
    }

    /// Attends a call for as long as this request is open.
    async fn attend(
        &self,
        mut ongoing: Ongoing,
        identity: &RequestIdentity,
    ) -> Result<Step, ErrorData> {
        ongoing.standing = self.arrival.standing.clone();
        let stream = Stream { peer: &self.context.peer, request: &self.context.id };
        let attended = async {
            if self.stateless {
                one_round(ongoing, stream, &self.edge.parked, identity).await
            } else {
                to_the_end(ongoing, stream).await.map(Step::Finished)
            }
        };
        unless_cancelled(self.context, attended).await
    }

    pub(super) async fn call_tool(
        &self,
        request: CallToolRequestParams,
    ) -> Result<CallToolResponse, ErrorData> {
        let identity = RequestIdentity::new(
            &self.arrival.caller,
            "tools/call",
            &request.name,
            request.arguments.as_ref(),
        );
        let tool = self.edge.tool(&self.arrival.caller, &request.name);
        if let Some(tool) = &tool
            && self.stateless
        {
            repeated::check(&tool.headers, &self.context.extensions, request.arguments.as_ref())?;
        }
        let is_task = self.is_task(tool.as_deref())?;
        let work = ToolWork::new(self, &request, is_task)?;
        let mut answers = Answers {
            state: request.request_state,
            responses: request.input_responses.unwrap_or_default(),
        };
        if is_task
            && answers.state.is_none()
            && let Some((tasks, record)) = self.reserve_task(tool.as_deref()).await?
        {
            let held_bytes = work.arguments.len();
            let call =
                self.start(answers.responses, held_bytes, |client| Box::pin(work.run(client)));
            let begun = tasks.begin(&self.arrival.caller, record, call);
            return Ok(CallToolResponse::Task(begun));
        }
        let ongoing = self.resume(&identity, &mut answers)?.unwrap_or_else(|| {
            let held_bytes = work.arguments.len();
            self.start(answers.responses, held_bytes, |client| Box::pin(work.run(client)))
        });
        match self.attend(ongoing, &identity).await? {
            Step::Finished(Finished::Tool(result)) => Ok(CallToolResponse::Complete(result)),
            Step::InputRequired(result) => Ok(CallToolResponse::InputRequired(result)),
            Step::Finished(_) => Err(mixed_up()),
        }
    }

    /// Whether a call of a tool becomes a task.
    ///
    /// # Errors
    /// It must be one, and the client cannot follow tasks.
    fn is_task(&self, tool: Option<&Tool>) -> Result<bool, ErrorData> {
        // Whatever a client declares in a session: no such revision has tasks (SEP-2663, backward compatibility).
        let declared = self.context.client_capabilities().filter(|_| self.stateless);
        let follows_tasks = declared.is_some_and(|declared| declared.supports_tasks());
        match tool.map_or(TaskUse::Never, |tool| tool.task) {
            TaskUse::Never => Ok(false),
            TaskUse::Optional => Ok(follows_tasks && self.edge.tasks.is_some()),
            TaskUse::Required if follows_tasks => Ok(true),
            TaskUse::Required => {
                let mut required = ClientCapabilities::default();
                let tasks = (TASKS_EXTENSION_ID.to_owned(), JsonObject::new());
                required.extensions = Some([tasks].into());
                Err(ErrorData::missing_required_client_capability(required))
            }
        }
    }

    /// A task for a call that becomes one. None when there is no place for it, and the tool may run without.
    ///
    /// # Errors
    /// There is no place for a tool that only runs as a task, or the store failed; nothing ran.
    async fn reserve_task(
        &self,
        tool: Option<&Tool>,
    ) -> Result<Option<(&Arc<TaskRunner>, TaskRecord)>, ErrorData> {
        let Some(tasks) = &self.edge.tasks else {
            return Err(ErrorData::internal_error("this host keeps no tasks", None));
        };
        match tasks.reserve(&self.arrival.caller).await? {
            Some(record) => Ok(Some((tasks, record))),
            None if tool.is_some_and(|tool| tool.task == TaskUse::Optional) => Ok(None),
            None => Err(ErrorData::new(OVERLOADED, TaskError::Full.to_string(), None)),
        }
    }

    pub(super) async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
    ) -> Result<GetPromptResponse, ErrorData> {
        let caller = &self.arrival.caller;
        let arguments = request.arguments.as_ref();
        let identity = RequestIdentity::new(caller, "prompts/get", &request.name, arguments);
        let mut answers = Answers {
            state: request.request_state,
            responses: request.input_responses.unwrap_or_default(),
        };
        // Before the agent is asked for its list: a call that waits may hold the agent's only place.
        let ongoing = match self.resume(&identity, &mut answers)? {
            Some(ongoing) => ongoing,
            None => {
                let found = prompts::find(self.edge, caller, &request.name);
                let found = unless_cancelled(self.context, found).await?;
                let arguments = prompts::get_arguments(&found, arguments)?;
                self.start_prompt(found, arguments, answers.responses)
            }
        };
        match self.attend(ongoing, &identity).await? {
            Step::Finished(Finished::Prompt(result)) => Ok(GetPromptResponse::Complete(result)),
            Step::InputRequired(result) => Ok(GetPromptResponse::InputRequired(result)),
            Step::Finished(_) => Err(mixed_up()),
        }
    }

    fn start_prompt(&self, found: Found, arguments: String, advance: InputResponses) -> Ongoing {
        let held_bytes = arguments.len();
        let work = FeatureWork::new(self, found.agent.clone(), Feature::PromptsGet, arguments);
        let (edge, caller) = (Arc::clone(self.edge), self.arrival.caller.clone());
        self.start(advance, held_bytes, |client| {
            Box::pin(async move {
                let (reply, missing) = work.run(client).await;
                let is_anothers = |uri: &str| edge.is_anothers(&caller, &found.agent, uri);
                let filled_in = prompts::filled_in(&found, &reply, &is_anothers);
                let filled_in = filled_in.map(Finished::Prompt);
                note(&edge, &found.agent, &reply, &filled_in);
                filled_in.map_err(|error| missing.unwrap_or(error))
            })
        })
    }

    pub(super) async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let ReadResourceRequestParams { uri, input_responses, request_state, .. } = request;
        let caller = &self.arrival.caller;
        let reader = Reader::of(self.edge, caller, &uri)?;
        let identity = RequestIdentity::new(caller, "resources/read", &uri, None);
        let mut answers =
            Answers { state: request_state, responses: input_responses.unwrap_or_default() };
        let ongoing = match self.resume(&identity, &mut answers)? {
            Some(ongoing) => ongoing,
            None => self.start_read(reader, uri, answers.responses),
        };
        match self.attend(ongoing, &identity).await? {
            Step::Finished(Finished::Resource(result)) => {
                Ok(ReadResourceResponse::Complete(result))
            }
            Step::InputRequired(result) => Ok(ReadResourceResponse::InputRequired(result)),
            Step::Finished(_) => Err(mixed_up()),
        }
    }

    fn start_read(&self, reader: Reader, uri: String, advance: InputResponses) -> Ongoing {
        let arguments = reader.arguments(&uri);
        let held_bytes = arguments.len();
        let work = FeatureWork::new(self, reader.agent().clone(), reader.feature(), arguments);
        let edge = Arc::clone(self.edge);
        self.start(advance, held_bytes, |client| {
            Box::pin(async move {
                let (reply, missing) = work.run(client).await;
                let contents = reader.contents(&uri, &reply).map(Finished::Resource);
                note(&edge, reader.agent(), &reply, &contents);
                contents.map_err(|error| missing.unwrap_or(error))
            })
        })
    }
}

/// A call of a tool that owns everything it needs, and no more: it may be kept for long.
struct ToolWork {
    edge: Arc<Edge>,
    caller: Caller,
    received: Instant,
    name: String,
    arguments: String,
    trace: Option<TraceContext>,
    session: Option<SessionId>,
    wants_progress: bool,
    stateless: bool,
    is_task: bool,
}

impl ToolWork {
    fn new(
        exchange: &Exchange<'_>,
        request: &CallToolRequestParams,
        is_task: bool,
    ) -> Result<Self, ErrorData> {
        let Exchange { edge, context, arrival, stateless } = exchange;
        let arguments = match message::arguments(&arrival.message) {
            Some(arguments) => Cow::Borrowed(arguments),
            // Only a message with a member twice gets here; rmcp kept the last one.
            None => Cow::Owned(match &request.arguments {
                Some(arguments) => serde_json::to_string(arguments)
                    .map_err(|error| ErrorData::internal_error(error.to_string(), None))?,
                None => "{}".to_owned(),
            }),
        };
        let session = message::session(&context.meta)
            .map_err(|bad| ErrorData::invalid_params(bad.to_string(), None))?;
        Ok(Self {
            edge: Arc::clone(edge),
            caller: arrival.caller.clone(),
            received: arrival.received,
            name: request.name.clone().into_owned(),
            arguments: arguments.into_owned(),
            trace: trace(context.meta.get_traceparent(), arrival.trace),
            session,
            wants_progress: context.meta.get_progress_token().is_some(),
            stateless: *stateless,
            is_task,
        })
    }

    async fn run(self, client: Arc<CallClient>) -> End {
        let progress = self.wants_progress.then(|| client.clone() as Arc<dyn Progress>);
        let call = ToolCall {
            caller: &self.caller,
            name: &self.name,
            arguments: &self.arguments,
            received: self.received,
            trace: self.trace,
            progress,
            client: Some(client.clone()),
            session: self.session,
        };
        let answer = self.edge.call(call).await;
        let answer =
            answer.map_err(|unknown| ErrorData::invalid_params(unknown.to_string(), None))?;
        if answer.reply.result.as_ref().is_err_and(is_agents_own)
            && let Some(missing) = missing(&client, self.stateless)
        {
            return Err(missing);
        }
        if self.is_task
            && let Err(failure) = &answer.reply.result
            && is_broken(failure)
        {
            // Whoever follows the task finds it `failed`.
            return Err(features::error(failure));
        }
        // rmcp takes the mark of the stateless revision away where it does not belong.
        ToolResult::new(&answer, true)
            .to_rmcp()
            .map(Finished::Tool)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }
}

/// A call of a feature that owns everything it needs.
struct FeatureWork {
    edge: Arc<Edge>,
    caller: Caller,
    agent: AgentName,
    feature: Feature,
    arguments: String,
    received: Instant,
    wants_progress: bool,
    stateless: bool,
}

impl FeatureWork {
    fn new(exchange: &Exchange<'_>, agent: AgentName, feature: Feature, arguments: String) -> Self {
        Self {
            edge: Arc::clone(exchange.edge),
            caller: exchange.arrival.caller.clone(),
            agent,
            feature,
            arguments,
            received: exchange.arrival.received,
            wants_progress: exchange.context.meta.get_progress_token().is_some(),
            stateless: exchange.stateless,
        }
    }

    /// The reply, and what the client would have had to declare if it failed.
    async fn run(self, client: Arc<CallClient>) -> (Reply, Option<ErrorData>) {
        let progress = self.wants_progress.then(|| client.clone() as Arc<dyn Progress>);
        let call = FeatureCall {
            caller: &self.caller,
            agent: &self.agent,
            feature: self.feature,
            arguments: &self.arguments,
            received: self.received,
            timeout: None,
            progress,
            client: Some(client.clone()),
        };
        let reply = self.edge.feature(call).await;
        let agents_own = reply.result.as_ref().is_err_and(is_agents_own);
        let missing = missing(&client, self.stateless).filter(|_| agents_own);
        (reply, missing)
    }
}

/// What 2026-07-28 wants to hear of a call that failed because its client did not declare what it would have been
/// asked.
fn missing(client: &CallClient, stateless: bool) -> Option<ErrorData> {
    let missing = client.missing().filter(|_| stateless)?;
    Some(ErrorData::missing_required_client_capability(missing))
}

/// Whether an agent failed for a reason of its own, such as a question that was not asked.
fn is_agents_own(failure: &Failure) -> bool {
    matches!(failure.code, ErrorCode::GuestError | ErrorCode::GuestTrapped)
}

/// Whether the agent or the host broke, so that there is no result of the agent's own.
fn is_broken(failure: &Failure) -> bool {
    matches!(
        failure.code,
        ErrorCode::GuestTrapped
            | ErrorCode::GuestLimit
            | ErrorCode::DeadlineExceeded
            | ErrorCode::BadOutput
            | ErrorCode::Internal
    )
}

/// Notes what an agent answered well, and against the rules of the protocol.
fn note(edge: &Edge, agent: &AgentName, reply: &Reply, end: &End) {
    if reply.result.is_ok()
        && let Err(error) = end
        && error.code == RpcCode::INTERNAL_ERROR
    {
        edge.note_bad_content(reply.id, agent, &error.message);
    }
}

fn mixed_up() -> ErrorData {
    ErrorData::internal_error("the host mixed up its answers", None)
}

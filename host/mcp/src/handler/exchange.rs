//! One request that can converse: `tools/call`, `prompts/get` or `resources/read`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use aop_core::bucket::SessionId;
use aop_core::interface::Feature;
use aop_core::{AgentName, BoxFuture, Caller, ErrorCode, Failure, Progress, Reply, TraceContext};
use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CreateTaskResult, GetPromptRequestParams,
    GetPromptResponse, InputResponses, ReadResourceRequestParams, ReadResourceResponse,
};
use rmcp::service::{RequestContext, RoleServer};

use super::{arrival, cancelled, is_stateless, trace};
use crate::arrival::Arrival;
use crate::converse::{
    Binding, Conversation, End, Finished, Line, Ongoing, Step, Stream, one_round, to_the_end,
};
use crate::edge::{Edge, FeatureCall, ToolCall};
use crate::features::{prompts, resources};
use crate::message;
use crate::result::ToolResult;

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

    /// Starts a call that can speak to this request's client.
    fn start(
        &self,
        advance: InputResponses,
        call: impl FnOnce(Arc<Conversation>) -> BoxFuture<'static, End>,
    ) -> Ongoing {
        let declared = self.context.client_capabilities().unwrap_or_default();
        let following = self.arrival.following.clone();
        let (conversation, outlet) = Conversation::new(declared, following, self.line(), advance);
        let call = call(conversation.clone());
        Ongoing::start((conversation, outlet), call)
    }

    /// Starts a call, or goes on with the one that waits for this request's answers.
    fn resume_or(
        &self,
        binding: &Binding,
        answers: Answers,
        call: impl FnOnce(Arc<Conversation>) -> BoxFuture<'static, End>,
    ) -> Result<Ongoing, ErrorData> {
        let Answers { state, responses } = answers;
        match state {
            Some(state) if self.stateless => {
                let mut ongoing = self.edge.parked.take(&state, binding)?;
                ongoing.conversation.join(self.line());
                ongoing.answer(responses);
                Ok(ongoing)
            }
            _ if self.stateless => Ok(self.start(responses, call)),
            // Before 2026-07-28 these members mean nothing.
            _ => Ok(self.start(InputResponses::new(), call)),
        }
    }

    /// Attends a call for as long as this request is open.
    async fn attend(&self, ongoing: Ongoing, binding: &Binding) -> Result<Step, ErrorData> {
        let stream = Stream { peer: &self.context.peer, request: &self.context.id };
        let attended = async {
            if self.stateless {
                one_round(ongoing, stream, &self.edge.parked, binding).await
            } else {
                to_the_end(ongoing, stream).await.map(Step::Finished)
            }
        };
        tokio::select! {
            biased;
            () = self.context.ct.cancelled() => Err(cancelled()),
            () = self.arrival.gone.cancelled() => Err(cancelled()),
            step = attended => step,
        }
    }

    pub(super) async fn call_tool(
        &self,
        request: CallToolRequestParams,
    ) -> Result<CallToolResponse, ErrorData> {
        let binding = Binding::new(
            &self.arrival.caller,
            "tools/call",
            &request.name,
            request.arguments.as_ref(),
        );
        let work = ToolWork::new(self, &request)?;
        let is_task = work.is_task;
        let answers = Answers {
            state: request.request_state,
            responses: request.input_responses.unwrap_or_default(),
        };
        if is_task && answers.state.is_none() {
            return self.begin_task(work, answers.responses).await.map(CallToolResponse::Task);
        }
        let ongoing = self.resume_or(&binding, answers, |client| Box::pin(work.run(client)))?;
        match self.attend(ongoing, &binding).await? {
            Step::Finished(Finished::Tool(result)) => Ok(CallToolResponse::Complete(result)),
            Step::InputRequired(result) => Ok(CallToolResponse::InputRequired(result)),
            Step::Finished(_) => Err(mixed_up()),
        }
    }

    async fn begin_task(
        &self,
        work: ToolWork,
        advance: InputResponses,
    ) -> Result<CreateTaskResult, ErrorData> {
        let Some(tasks) = &self.edge.tasks else { return Err(mixed_up()) };
        let start = || self.start(advance, |client| Box::pin(work.run(client)));
        tasks.begin(&self.arrival.caller.tenant, start).await
    }

    pub(super) async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
    ) -> Result<GetPromptResponse, ErrorData> {
        let caller = &self.arrival.caller;
        let arguments = request.arguments.as_ref();
        let binding = Binding::new(caller, "prompts/get", &request.name, arguments);
        let found = prompts::find(self.edge, caller, &request.name).await?;
        let arguments = prompts::get_arguments(&found, arguments)?;
        let answers = Answers {
            state: request.request_state,
            responses: request.input_responses.unwrap_or_default(),
        };
        let work = FeatureWork::new(self, found.agent.clone(), Feature::PromptsGet, arguments);
        let ongoing = self.resume_or(&binding, answers, |client| {
            Box::pin(async move {
                let (reply, missing) = work.run(client).await;
                let filled_in = prompts::filled_in(&found, &reply).map(Finished::Prompt);
                filled_in.map_err(|error| missing.unwrap_or(error))
            })
        })?;
        match self.attend(ongoing, &binding).await? {
            Step::Finished(Finished::Prompt(result)) => Ok(GetPromptResponse::Complete(result)),
            Step::InputRequired(result) => Ok(GetPromptResponse::InputRequired(result)),
            Step::Finished(_) => Err(mixed_up()),
        }
    }

    pub(super) async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let ReadResourceRequestParams { uri, input_responses, request_state, .. } = request;
        let caller = &self.arrival.caller;
        let agent = resources::reader(self.edge, caller, &uri)?;
        let binding = Binding::new(caller, "resources/read", &uri, None);
        let answers =
            Answers { state: request_state, responses: input_responses.unwrap_or_default() };
        let arguments = resources::read_arguments(&uri);
        let work = FeatureWork::new(self, agent.clone(), Feature::ResourcesRead, arguments);
        let ongoing = self.resume_or(&binding, answers, |client| {
            Box::pin(async move {
                let (reply, missing) = work.run(client).await;
                let contents = resources::contents(&agent, &uri, &reply).map(Finished::Resource);
                contents.map_err(|error| missing.unwrap_or(error))
            })
        })?;
        match self.attend(ongoing, &binding).await? {
            Step::Finished(Finished::Resource(result)) => {
                Ok(ReadResourceResponse::Complete(result))
            }
            Step::InputRequired(result) => Ok(ReadResourceResponse::InputRequired(result)),
            Step::Finished(_) => Err(mixed_up()),
        }
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
    fn new(exchange: &Exchange<'_>, request: &CallToolRequestParams) -> Result<Self, ErrorData> {
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
        let follows_tasks =
            context.client_capabilities().is_some_and(|declared| declared.supports_tasks());
        let is_task = follows_tasks
            && edge.tasks.is_some()
            && edge.tool(&arrival.caller, &request.name).is_some_and(|tool| tool.task);
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

    async fn run(self, client: Arc<Conversation>) -> End {
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
    async fn run(self, client: Arc<Conversation>) -> (Reply, Option<ErrorData>) {
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
fn missing(client: &Conversation, stateless: bool) -> Option<ErrorData> {
    let missing = client.missing().filter(|_| stateless)?;
    Some(ErrorData::missing_required_client_capability(missing))
}

/// Whether an agent failed for a reason of its own, such as a question that was not asked.
fn is_agents_own(failure: &Failure) -> bool {
    matches!(failure.code, ErrorCode::GuestError | ErrorCode::GuestTrapped)
}

fn mixed_up() -> ErrorData {
    ErrorData::internal_error("the host mixed up its answers", None)
}

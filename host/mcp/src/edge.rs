//! What both paths and both transports share: the tools of a tenant, and one call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aop_core::bucket::SessionId;
use aop_core::client::Client;
use aop_core::interface::Feature;
use aop_core::quota::Lines;
use aop_core::{
    AgentName, Call, CallId, Caller, ErrorCode, Failure, Library, Offer, Progress, Reply, Scope,
    Target, TaskUse, TenantName, Tool, TraceContext, unknown_tool,
};

use crate::builtin::{self, Builtin};
use crate::config::McpConfig;
use crate::converse::{Parked, ParkedLimits};
use crate::list::{NoPage, Page, Pages};
use crate::many;
use crate::measure::Counters;
use crate::message::{Method, Request};
use crate::result::Answer;
use crate::server::McpParts;
use crate::tasks::TaskRunner;

/// The edge without a transport.
pub(crate) struct Edge {
    pub(crate) config: McpConfig,
    pub(crate) parts: McpParts,
    pub(crate) counters: Arc<Counters>,
    /// Calls that wait for their client to come back with answers.
    pub(crate) parked: Arc<Parked>,
    /// Calls that go on after their request was answered, where there is a place to keep them.
    pub(crate) tasks: Option<Arc<TaskRunner>>,
    pages: Pages,
    bad_content_lines: Lines,
}

/// Lines of the log per second about answers that break a rule of MCP, of all agents together: whose account a reply went to
/// is not known here any more, and a counter has them all.
const BAD_CONTENT_LINES_PER_SECOND: u32 = 100;

/// A `tools/call`, from whichever path.
pub(crate) struct ToolCall<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) name: &'a str,
    /// A JSON object as text.
    pub(crate) arguments: &'a str,
    pub(crate) received: Instant,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) progress: Option<Arc<dyn Progress>>,
    /// Who can be asked while the call runs.
    pub(crate) client: Option<Arc<dyn Client>>,
    /// The conversation to continue.
    pub(crate) session: Option<SessionId>,
}

/// A call of one of the functions by which an agent offers more than tools.
pub(crate) struct FeatureCall<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) agent: &'a AgentName,
    pub(crate) feature: Feature,
    /// A JSON object as text.
    pub(crate) arguments: &'a str,
    pub(crate) received: Instant,
    /// A shorter timeout than the agent's.
    pub(crate) timeout: Option<Duration>,
    pub(crate) progress: Option<Arc<dyn Progress>>,
    pub(crate) client: Option<Arc<dyn Client>>,
}

/// The tool that was named does not exist for the caller: the request itself is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Unknown tool: {0}")]
pub(crate) struct UnknownTool(String);

impl Edge {
    pub(crate) fn new(config: McpConfig, parts: McpParts) -> Self {
        let pages = Pages::new(config.page_size, config.expose);
        let parked = Parked::new(ParkedLimits {
            total_max: config.parked_max,
            per_tenant_max: config.parked_per_tenant_max,
            per_caller_max: config.parked_per_caller_max,
        });
        let bad_content_lines = Lines::per_second(BAD_CONTENT_LINES_PER_SECOND);
        let tasks = parts.tasks.clone().map(|store| TaskRunner::new(store, &config));
        Self { config, parts, counters: Arc::default(), parked, tasks, pages, bad_content_lines }
    }

    /// Drops what is kept of a tenant that is gone.
    pub(crate) fn forget(&self, tenant: &TenantName) {
        self.pages.forget(tenant);
    }

    /// A page of the caller's tools, which counts as a call of its tenant: it is up to megabytes.
    ///
    /// # Errors
    /// [`NoPage`].
    pub(crate) fn page(
        &self,
        caller: &Caller,
        cursor: Option<&str>,
        received: Instant,
    ) -> Result<Arc<Page>, NoPage> {
        self.parts.invoke.charge(caller, received).map_err(NoPage::Over)?;
        let list = self.parts.catalog.tools(&caller.tenant);
        self.pages.page(&caller.tenant, &list, cursor).map_err(NoPage::Cursor)
    }

    /// Whether a plain request needs nothing that only the full path has: a way to ask its client, to become a
    /// task, or to be held against its headers.
    pub(crate) fn is_quick(&self, caller: &Caller, request: &Request<'_>) -> bool {
        let Method::Call { name, arguments } = &request.method else { return true };
        let may_converse = |name: &str| self.tool(caller, name).is_some_and(|tool| tool.converses);
        match Builtin::named(name) {
            None => self.tool(caller, name).is_none_or(|tool| {
                !tool.converses && tool.task == TaskUse::Never && tool.headers.is_empty()
            }),
            Some(Builtin::Call) => {
                !builtin::forwarded(arguments).is_ok_and(|forwarded| may_converse(&forwarded.tool))
            }
            Some(Builtin::CallMany | Builtin::Describe | Builtin::Discover) => true,
        }
    }

    /// The definition of a tool that is not the host's own.
    pub(crate) fn tool(&self, caller: &Caller, name: &str) -> Option<Arc<Tool>> {
        self.library().describe(&caller.tenant, name).ok().map(|route| route.tool)
    }

    /// Runs a call to its end. Dropping the future cancels it.
    ///
    /// # Errors
    /// [`UnknownTool`].
    pub(crate) async fn call(&self, call: ToolCall<'_>) -> Result<Answer, UnknownTool> {
        let trace = call.trace;
        let answered = |result| Ok(Answer::new(builtin::reply(result, trace), false));
        let builtin = Builtin::named(call.name);
        // Every other call is asked about where it is run.
        if matches!(builtin, Some(Builtin::Discover | Builtin::Describe))
            && let Err(over) = self.parts.invoke.charge(call.caller, call.received)
        {
            return answered(Err(over));
        }
        match builtin {
            Some(Builtin::Discover | Builtin::Describe)
                if !call.caller.scopes.has(Scope::ToolsList) =>
            {
                let reason = format!(
                    "this needs the scope `{}`, which the credential does not have",
                    Scope::ToolsList
                );
                answered(Err(Failure::before_execution(ErrorCode::PermissionDenied, reason)))
            }
            None => {
                let name = call.name;
                let reply = self.invoke(call).await;
                // The dispatcher resolves names; asking twice would cost every good call.
                if is_unknown(&reply) {
                    Err(UnknownTool(shown(name)))
                } else {
                    Ok(self.read(name, reply, false))
                }
            }
            Some(Builtin::Discover) => {
                let federation = self.parts.federation.as_deref();
                answered(
                    builtin::discover(self.library(), federation, call.caller, call.arguments)
                        .await,
                )
            }
            Some(Builtin::Describe) => {
                let federation = self.parts.federation.as_deref();
                answered(
                    builtin::describe(self.library(), federation, call.caller, call.arguments)
                        .await,
                )
            }
            Some(Builtin::CallMany) => answered(many::call(&self.parts.invoke, &call).await),
            Some(Builtin::Call) => match builtin::forwarded(call.arguments) {
                Err(failure) => answered(Err(failure)),
                Ok(forwarded) => {
                    let inner = ToolCall {
                        name: &forwarded.tool,
                        arguments: forwarded.arguments(),
                        ..call
                    };
                    let mut reply = self.invoke(inner).await;
                    if is_unknown(&reply) && !is_full_name(&forwarded.tool) {
                        reply.result = Err(unknown_tool(&forwarded.tool));
                    }
                    Ok(self.read(&forwarded.tool, reply, true))
                }
            },
        }
    }

    /// Reads the reply of an agent's tool.
    fn read(&self, tool: &str, reply: Reply, enveloped: bool) -> Answer {
        let was_success = reply.result.is_ok();
        let answer = Answer::new(reply, enveloped);
        if was_success && let Err(failure) = &answer.reply.result {
            self.note_bad_content(answer.reply.id, tool, &failure.message);
        }
        answer
    }

    /// Counts and logs an answer that breaks a rule of MCP: the dispatcher recorded a success. `source` is the tool or
    /// the agent that gave it.
    pub(crate) fn note_bad_content(&self, id: CallId, source: &str, reason: &str) {
        self.counters.bad_content.add();
        let Some(left_out) = self.bad_content_lines.take(Instant::now()) else { return };
        tracing::warn!(correlation_id = %id, source, reason, left_out, "an agent's answer breaks a rule of MCP");
    }

    /// Runs one of an agent's features to its end. Dropping the future cancels it. An agent that does not
    /// offer it is answered with `not_found`, not executed.
    pub(crate) async fn feature(&self, call: FeatureCall<'_>) -> Reply {
        let target = Target::Feature { agent: call.agent, feature: call.feature };
        self.parts
            .invoke
            .invoke(Call {
                timeout: call.timeout,
                progress: call.progress,
                client: call.client,
                ..Call::new(call.caller.clone(), target, call.arguments, call.received)
            })
            .await
    }

    /// Whether a URI is of something that an agent of the caller's offers, and not this one. Schemes are the same in
    /// capitals (RFC 3986, section 6.2.2.1).
    pub(crate) fn is_anothers(&self, caller: &Caller, agent: &AgentName, uri: &str) -> bool {
        let uri = uri.to_ascii_lowercase();
        let offers = |owner: &str, feature| {
            let agents = self.parts.catalog.offering(&caller.tenant, feature);
            agents.iter().any(|offering| offering.as_str() == owner)
        };
        Offer::owner(&uri).filter(|owner| *owner != agent.as_str()).is_some_and(|owner| {
            offers(owner, Feature::ResourcesRead) || offers(owner, Feature::SkillsGet)
        })
    }

    const fn library(&self) -> &Library {
        &self.parts.library
    }

    async fn invoke(&self, call: ToolCall<'_>) -> Reply {
        let target = Target::Tool(call.name);
        self.parts
            .invoke
            .invoke(Call {
                trace: call.trace,
                progress: call.progress,
                client: call.client,
                session: call.session,
                ..Call::new(call.caller.clone(), target, call.arguments, call.received)
            })
            .await
    }
}

/// Whether nothing ran because there is nothing of that name.
pub(crate) fn is_unknown(reply: &Reply) -> bool {
    matches!(&reply.result, Err(Failure { code: ErrorCode::NotFound, executed: false, .. }))
}

/// Whether a name says its zone, so that whoever looked for it there knows best why it is not found.
pub(crate) fn is_full_name(name: &str) -> bool {
    name.contains('.')
}

/// A name from outside, as much of it as is worth repeating.
fn shown(name: &str) -> String {
    name.chars().take(2 * aop_core::ToolName::LENGTH_MAX).collect()
}

//! `aop run`: the path of a call without a server around it.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use aop_core::settings::keys::nearest;
use aop_core::{
    AgentId, AgentName, Call, CallRecord, Caller, Envelope, Invoke as _, Observe, Resolve,
    Revision, RevisionNumber, Route, TenantName, Tool, schema,
};
use aop_dispatch::Dispatcher;

use crate::args::RunArgs;
use crate::config::LogFormat;
use crate::exit::{CommandError, CommandResult, misuse};
use crate::local::Local;
use crate::{arguments, log, output};

/// What the agent itself writes, and what goes wrong.
const LOG_LEVEL: &str = "warn,aop::guest=info";

pub(crate) async fn run(args: &RunArgs) -> CommandResult {
    log::start(LOG_LEVEL, LogFormat::Auto)?;
    let arguments = arguments::read_json(&args.arguments)?;
    let local = Local::prepare(&args.file, &args.local, |settings| {
        let limits = &mut settings.limits;
        limits.timeout = args.timeout.unwrap_or(limits.timeout);
        limits.memory_max_bytes = args.memory.unwrap_or(limits.memory_max_bytes);
    })
    .await?;
    let tool = find(&local, &args.tool)?;
    let tenant = TenantName::default_tenant();
    let revision = Revision {
        tenant: tenant.clone(),
        agent: local.name.clone(),
        // An agent that was never loaded has no identity.
        id: AgentId(Default::default()),
        number: RevisionNumber(1),
        digest: local.digest,
        settings: Arc::clone(&local.settings),
        tools: local.tools.tools.clone(),
        executable: Arc::clone(&local.prepared.executable),
        in_flight: AtomicU32::new(0),
    };
    let name = tool.name.clone();
    let only = Only(Route { revision: Arc::new(revision), tool });
    let dispatcher = Dispatcher::new(Arc::new(only), Arc::new(Nobody));
    let reply = dispatcher
        .invoke(Call {
            caller: Caller { tenant },
            tool: &name,
            arguments: &arguments,
            received: Instant::now(),
            timeout: None,
            trace: None,
            progress: None,
        })
        .await;
    let envelope = serde_json::to_string(&Envelope::new(&reply.result))?;
    output::envelope(&envelope, args.json)
}

/// The tool of that name, or the one of the function of that name.
fn find(local: &Local, wanted: &str) -> Result<Arc<Tool>, CommandError> {
    let tools = &local.tools.tools;
    if let Some(tool) = tools.iter().find(|tool| tool.name.as_str() == wanted) {
        return Ok(Arc::clone(tool));
    }
    let functions = &local.prepared.interface.functions;
    let is_named = |tool: &&Arc<Tool>| {
        functions.get(tool.function).is_some_and(|function| {
            function.name == wanted
                || function.path() == wanted
                || schema::identifier(&function.name) == wanted
        })
    };
    let found: Vec<_> = tools.iter().filter(is_named).collect();
    let names = |tools: &[&Arc<Tool>]| {
        tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    match found.as_slice() {
        [tool] => Ok(Arc::clone(tool)),
        [] => {
            let functions = tools
                .iter()
                .filter_map(|tool| functions.get(tool.function))
                .map(|f| f.name.as_str());
            Err(misuse(
                match nearest(wanted, tools.iter().map(|tool| tool.name.as_str()).chain(functions))
                {
                    Some(meant) => format!("no tool `{wanted}`, did you mean `{meant}`?"),
                    None => format!(
                        "no tool `{wanted}`: {} has {}",
                        local.name,
                        names(&tools.iter().collect::<Vec<_>>())
                    ),
                },
            ))
        }
        several => Err(misuse(format!(
            "`{wanted}` could be any of {}: use the tool's name",
            names(several)
        ))),
    }
}

/// Resolves the one tool there is.
struct Only(Route);

impl Resolve for Only {
    fn resolve(&self, _: &TenantName, _: &str) -> Option<Route> {
        Some(self.0.clone())
    }
}

/// Keeps no numbers: the process ends with its call.
struct Nobody;

impl Observe for Nobody {
    fn started(&self, _: &TenantName, _: &AgentName) {}
    fn finished(&self, _: &CallRecord<'_>, _: bool) {}
}

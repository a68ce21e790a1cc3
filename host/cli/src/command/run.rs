//! `aop run`: the path of a call without a server around it.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use aop_core::fair::Permits;
use aop_core::interface::Feature;
use aop_core::quota::{Accounts, Quota};
use aop_core::settings::keys::nearest;
use aop_core::{
    AgentId, AgentName, Call, CallRecord, Caller, Envelope, FeatureRoute, Invoke, Library, NoAudit,
    Observe, Resolve, Revision, RevisionNumber, Route, Services, Target, TenantName, Tool, schema,
};
use aop_dispatch::Dispatcher;

use crate::args::RunArgs;
use crate::config::{Config, File, Flags, LogFormat};
use crate::exit::{CommandError, CommandResult, misuse, usage};
use crate::local::Local;
use crate::services::{Fleeting, NoSecrets, NoTools, Outside};
use crate::{arguments, environment, log, output, wire};

/// What is logged when nobody says: what the agent itself writes, and what goes wrong.
const LOG_LEVEL: &str = "warn,aop::guest=info";
/// The same for an agent whose settings are `verbose`: its calls as well.
const VERBOSE_LOG_LEVEL: &str = "warn,aop::guest=info,aop_dispatch=info";

pub(crate) async fn run(args: &RunArgs) -> CommandResult {
    let wanted = wanted_log_level()?;
    let level = log::start(wanted.as_deref().unwrap_or(LOG_LEVEL), LogFormat::Auto)?;
    let arguments = arguments::read_json(&args.arguments)?;
    let config = Config::load(File::find(None)?.as_ref(), &Flags::default())?;
    let mut outside = Outside::open(&config.services, None, Arc::new(NoSecrets)).map_err(usage)?;
    outside.hide_from_agents(&config);
    let environment = outside.environment.clone();
    let local = Local::prepare_to_run(&args.file, &args.local, environment, |settings| {
        let limits = &mut settings.limits;
        limits.timeout = args.timeout.unwrap_or(limits.timeout);
        limits.memory_max_bytes = args.memory.unwrap_or(limits.memory_max_bytes);
    })
    .await?;
    let tenant = TenantName::default_tenant();
    refuse_excesses(&config, &tenant, &local)?;
    if wanted.is_none() && local.settings.verbose {
        level.set(VERBOSE_LOG_LEVEL)?;
    }
    let tool = find(&local, &args.tool)?;
    let accounts = Accounts::new(&Quota::default(), Quota::default(), Permits::UNLIMITED);
    let payer = accounts.payer(&tenant, &local.name);
    payer.set_agent(&local.settings.quota, &local.settings.limits);
    let revision = Revision {
        tenant: tenant.clone(),
        agent: local.name.clone(),
        // An agent that was never loaded has no identity.
        id: AgentId(Default::default()),
        number: RevisionNumber(1),
        digest: local.digest,
        settings: Arc::clone(&local.settings),
        tools: local.tools.tools.clone(),
        features: local.tools.features.clone(),
        executable: Arc::clone(&local.prepared.executable),
        payer,
        in_flight: AtomicU32::new(0),
    };
    let name = tool.name.clone();
    let dispatcher = dispatcher(Route { revision: Arc::new(revision), tool }, accounts, outside);
    let reply = dispatcher
        .invoke(Call::new(Caller::local(tenant), Target::Tool(&name), &arguments, Instant::now()))
        .await;
    let envelope = serde_json::to_string(&Envelope::new(&reply.result))?;
    output::envelope(&envelope, args.json)
}

/// Refuses settings that a host of this configuration would not load.
fn refuse_excesses(
    config: &Config,
    tenant: &TenantName,
    local: &Local,
) -> Result<(), CommandError> {
    let excesses = config.registry.ceilings.excesses(tenant, &local.settings);
    if excesses.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = excesses.iter().map(|excess| format!("\n  {excess}")).collect();
    Err(misuse(format!(
        "a host of this configuration would refuse the settings:{}",
        lines.concat()
    )))
}

/// A host around the one tool: with models, the network and a memory that ends with the process, and without
/// other agents.
fn dispatcher(route: Route, accounts: Arc<Accounts>, outside: Outside) -> Arc<Dispatcher> {
    let only = Arc::new(Only(route));
    let library = Library::new(only.clone(), Arc::new(NoTools));
    wire::dispatcher(only, Arc::new(Nobody), accounts, |invoke| Services {
        invoke,
        library,
        models: outside.models,
        buckets: Arc::new(Fleeting::default()),
        egress: outside.egress,
        audit: Arc::new(NoAudit),
        listeners: Vec::new(),
    })
}

/// What the environment says of the log.
fn wanted_log_level() -> Result<Option<String>, CommandError> {
    let found =
        environment::variables().into_iter().find(|(name, _)| name == environment::LOG_LEVEL);
    let Some((name, level)) = found else { return Ok(None) };
    log::check_level(&level).map_err(|reason| misuse(format!("{name}: {reason}")))?;
    Ok(Some(level))
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
                || function.spelling() == wanted
                || schema::identifier(&function.spelling()) == wanted
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
                .map(|function| function.spelling());
            let functions: Vec<_> = functions.collect();
            let known = tools.iter().map(|tool| tool.name.as_str());
            Err(misuse(match nearest(wanted, known.chain(functions.iter().map(AsRef::as_ref))) {
                Some(meant) => format!("no tool `{wanted}`, did you mean `{meant}`?"),
                None => format!(
                    "no tool `{wanted}`: {} has {}",
                    local.name,
                    names(&tools.iter().collect::<Vec<_>>())
                ),
            }))
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
    fn resolve(&self, _: &TenantName, tool: &str) -> Option<Route> {
        (self.0.tool.name.as_str() == tool).then(|| self.0.clone())
    }

    fn resolve_feature(&self, _: &TenantName, _: &str, _: Feature) -> Option<FeatureRoute> {
        None
    }
}

/// Keeps no numbers: the process ends with its call.
struct Nobody;

impl Observe for Nobody {
    fn started(&self, _: &TenantName, _: &AgentName) {}
    fn finished(&self, _: &CallRecord<'_>, _: bool) {}
}

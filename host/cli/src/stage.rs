//! A component with as much of a host around it as a call needs: what `run` and `policy learn` share.
//!
//! There are models, the network, and a memory that ends with the process. There are no other agents and no secrets.
//! The settings are held against the ceilings of the configuration, as a host would.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use aop_core::fair::Permits;
use aop_core::interface::Feature;
use aop_core::quota::{Accounts, Quota};
use aop_core::settings::keys::nearest;
use aop_core::{
    AgentId, AgentName, Call, CallRecord, Caller, FeatureRoute, Invoke as _, Library, NoAudit,
    Observe, Reply, Resolve, Revision, RevisionNumber, Route, Services, Settings, Target,
    TenantName, Tool, Witness, schema,
};
use aop_dispatch::Dispatcher;

use crate::args::LocalArgs;
use crate::config::Config;
use crate::exit::{CommandError, misuse, usage};
use crate::local::Local;
use crate::services::{Fleeting, NoSecrets, NoTools, Outside};
use crate::wire;

/// One agent, ready to be called.
pub(crate) struct Stage {
    pub(crate) local: Local,
    tenant: TenantName,
    dispatcher: Arc<Dispatcher>,
}

impl Stage {
    /// Prepares the component of a file. `change` has the last word on its settings; `witness` sees what the agent asks
    /// for.
    pub(crate) async fn set(
        config: &Config,
        file: &Path,
        args: &LocalArgs,
        witness: Option<Arc<dyn Witness>>,
        change: impl FnOnce(&mut Settings),
    ) -> Result<Self, CommandError> {
        let mut outside =
            Outside::open(&config.services, None, Arc::new(NoSecrets)).map_err(usage)?;
        outside.hide_from_agents(config);
        let environment = outside.environment.clone();
        let ground = (config, environment);
        let local = Local::prepare_to_run(file, args, ground, change).await?;
        let tenant = TenantName::default_tenant();
        refuse_excesses(config, &tenant, &local)?;
        let accounts = Accounts::new(&Quota::default(), Quota::default(), Permits::UNLIMITED);
        let payer = accounts.payer(&tenant, &local.name);
        payer.set_agent(&local.settings.quota, &local.settings.limits);
        let revision = Arc::new(Revision {
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
        });
        let alone = Arc::new(Alone(revision));
        let library = Library::new(alone.clone(), Arc::new(NoTools));
        let dispatcher = wire::dispatcher(alone, Arc::new(Nobody), accounts, |invoke| Services {
            invoke,
            library,
            models: outside.models,
            buckets: Arc::new(Fleeting::default()),
            egress: outside.egress,
            audit: Arc::new(NoAudit),
            listeners: Vec::new(),
            witness,
        });
        Ok(Self { local, tenant, dispatcher })
    }

    /// Calls a tool with a JSON object.
    pub(crate) async fn call(&self, tool: &Tool, arguments: &str) -> Reply {
        let (caller, target) = (Caller::local(self.tenant.clone()), Target::Tool(&tool.name));
        self.dispatcher.invoke(Call::new(caller, target, arguments, Instant::now())).await
    }

    /// The tool of that name, or the one of the function of that name.
    pub(crate) fn find(&self, wanted: &str) -> Result<Arc<Tool>, CommandError> {
        let local = &self.local;
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
                Err(misuse(
                    match nearest(wanted, known.chain(functions.iter().map(AsRef::as_ref))) {
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

/// Resolves the tools of the one agent there is.
struct Alone(Arc<Revision>);

impl Resolve for Alone {
    fn resolve(&self, _: &TenantName, tool: &str) -> Option<Route> {
        let found = self.0.tools.iter().find(|known| known.name.as_str() == tool)?;
        Some(Route { revision: Arc::clone(&self.0), tool: Arc::clone(found) })
    }

    fn resolve_feature(&self, _: &TenantName, _: &str, _: Feature) -> Option<FeatureRoute> {
        None
    }
}

/// Keeps no numbers: the process ends with its calls.
struct Nobody;

impl Observe for Nobody {
    fn started(&self, _: &TenantName, _: &AgentName) {}
    fn finished(&self, _: &CallRecord<'_>, _: bool) {}
}

use std::sync::atomic::AtomicU32;

use aop_core::interface::Feature;
use aop_core::quota::Payer;
use aop_core::{
    Arguments, BoxFuture, CallContext, Executable, Failure, FeatureRoute, Output, RevisionNumber,
    Route, Settings, TaskUse, Violation,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

struct Nothing;

impl Executable for Nothing {
    fn validate(&self, _: usize, _: &str) -> Result<Arguments, Vec<Violation>> {
        Ok(Arguments(Box::new(())))
    }

    fn execute<'a>(
        &'a self,
        _: usize,
        _: &'a Arguments,
        _: &'a Arc<CallContext>,
    ) -> BoxFuture<'a, Result<Output, Failure>> {
        Box::pin(std::future::pending())
    }
}

/// What one node has: every agent exports one tool, of its tenant's and its own name, as `pub`.
#[derive(Clone, Default)]
struct Host {
    routes: Arc<Mutex<BTreeMap<TenantName, BTreeMap<AgentName, Route>>>>,
    /// Ids on other nodes.
    elsewhere: BTreeMap<AgentName, AgentId>,
}

fn tenant(name: &str) -> TenantName {
    TenantName::new(name).unwrap()
}

fn agent(name: &str) -> AgentName {
    AgentName::new(name).unwrap()
}

fn id(number: u128) -> AgentId {
    AgentId(Uuid::from_u128(number))
}

impl Host {
    fn load(&self, owner: &str, name: &str, number: u128) {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let tool = Arc::new(Tool {
            name: ToolName::new(&format!("{owner}_{name}")).unwrap(),
            title: None,
            description: String::new(),
            input_schema: raw("{}"),
            output_schema: None,
            signature: String::new(),
            hints: Hints::default(),
            task: TaskUse::Never,
            headers: Vec::new(),
            converses: false,
            takes_handles: false,
            function: 0,
        });
        let export =
            Export { to: vec!["world".to_owned()], name: Some(agent("pub")), tags: Vec::new() };
        let revision = Arc::new(Revision {
            tenant: tenant(owner),
            agent: agent(name),
            id: id(number),
            number: RevisionNumber(1),
            digest: Digest::of(b""),
            settings: Arc::new(Settings { export: Some(export), ..Settings::default() }),
            tools: vec![Arc::clone(&tool)],
            features: BTreeMap::new(),
            executable: Arc::new(Nothing),
            payer: Payer::nobody(),
            in_flight: AtomicU32::new(0),
        });
        let mut routes = self.routes.lock().unwrap();
        routes.entry(tenant(owner)).or_default().insert(agent(name), Route { revision, tool });
    }

    fn end(&self, owner: &str) {
        self.routes.lock().unwrap().remove(&tenant(owner));
    }

    fn exports(&self) -> Exports {
        let zone = "acme.example".parse().unwrap();
        Exports::new(zone, Duration::from_secs(300), Box::new(self.clone()), Arc::new(self.clone()))
    }

    fn holder(&self) -> Option<String> {
        holder(&self.exports().table())
    }
}

fn holder(table: &Table) -> Option<String> {
    table.find("pub").map(|exported| format!("{}/{}", exported.tenant, exported.agent))
}

impl Local for Host {
    fn tenants(&self) -> Vec<TenantName> {
        self.routes.lock().unwrap().keys().cloned().collect()
    }

    fn tools(&self, tenant: &TenantName) -> Arc<ToolList> {
        let routes = self.routes.lock().unwrap();
        let tools = routes[tenant].values().map(|route| Arc::clone(&route.tool)).collect();
        Arc::new(ToolList { generation: 0, tools })
    }

    fn description(&self, _: &TenantName, _: &AgentName) -> String {
        String::new()
    }

    fn oldest(&self, _: &TenantName, agent: &AgentName) -> Option<AgentId> {
        self.elsewhere.get(agent).copied()
    }
}

impl Resolve for Host {
    fn resolve(&self, tenant: &TenantName, tool: &str) -> Option<Route> {
        let routes = self.routes.lock().unwrap();
        routes.get(tenant)?.values().find(|route| &*route.tool.name == tool).cloned()
    }

    fn resolve_feature(&self, _: &TenantName, _: &str, _: Feature) -> Option<FeatureRoute> {
        None
    }
}

#[test]
fn the_older_agent_keeps_its_name_whatever_the_other_ones_tenant_is_called() {
    let host = Host::default();
    host.load("default", "pub", 1);
    let exports = host.exports();
    assert_eq!(holder(&exports.table()).as_deref(), Some("default/pub"));
    // Before it in the order of names.
    host.load("aaa", "a", 2);
    let table = exports.table();
    assert_eq!(holder(&table).as_deref(), Some("default/pub"));
    let [(refused, name, reason)] = &*table.refused else { panic!("{:?}", table.refused) };
    assert_eq!((refused.as_str(), name.as_str()), ("aaa", "a"));
    assert!(reason.contains("older agent"), "{reason}");
    assert_eq!(host.holder().as_deref(), Some("default/pub"), "after a restart, too");
    // Whoever waited gets it when it is free, and that is said.
    host.end("default");
    let after = exports.table();
    assert_eq!(holder(&after).as_deref(), Some("aaa/a"));
    let passed: Vec<_> = after.passed_on_since(&table).collect();
    assert_eq!((passed.len(), passed[0].0.agent.as_str()), (1, "pub"));
}

#[test]
fn an_agent_is_as_old_as_on_the_node_that_has_had_it_longest() {
    let host = Host { elsewhere: BTreeMap::from([(agent("pub"), id(1))]), ..Host::default() };
    host.load("aaa", "a", 5);
    host.load("default", "pub", 9);
    assert_eq!(host.holder().as_deref(), Some("default/pub"));
}

proptest! {
    /// Every node finds the same, in whichever order it hears of agents.
    #[test]
    fn the_order_in_which_agents_appear_does_not_matter(
        ids in prop::collection::vec(0..4_u128, 1..6),
    ) {
        let (first, second) = (Host::default(), Host::default());
        let agents: Vec<_> = ids.iter().enumerate().collect();
        for (number, id) in &agents {
            first.load(&format!("t{number}"), "a", **id);
        }
        for (number, id) in agents.iter().rev() {
            second.load(&format!("t{number}"), "a", **id);
        }
        prop_assert_eq!(first.holder(), second.holder());
        let oldest = ids.iter().min().unwrap();
        let number = ids.iter().position(|id| id == oldest).unwrap();
        prop_assert_eq!(first.holder(), Some(format!("t{number}/a")));
    }
}

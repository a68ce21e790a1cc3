//! Zones in one process, connected by a transport that tests can break.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aop_core::federation::{ExchangeLimits, TransportError, ZoneTransport};
use aop_core::interface::Feature;
use aop_core::settings::Export;
use aop_core::{
    AgentId, AgentName, Arguments, BoxFuture, Call, CallContext, CallId, Caller, Digest, ErrorCode,
    Executable, Failure, FeatureRoute, Hints, Hit, Invoke, Library, Output, Query, Reply, Resolve,
    Revision, RevisionNumber, Route, Search, SearchError, Settings, Shown, Target, TaskUse,
    TenantName, Tool, ToolList, ToolName, Violation,
};
use axum::Router;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::value::RawValue;
use tokio::time::Instant;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::authority::{Authority, Clock, Presence};
use super::book::{Book, Peer, Relation, Token};
use super::export::{Exports, Local};
use super::key::ZoneKey;
use super::name::{FullName, ZoneName};
use super::record::Endpoint;
use super::resolver::Owners;
use super::{Gate, Zone, ZoneHandle, ZoneParts, router};

/// A zone of one node.
struct Alone;

impl Owners for Alone {
    fn ask(&self, _: &FullName) -> Option<BoxFuture<'static, Result<Bytes, String>>> {
        None
    }
}

/// Unix seconds at which every model begins.
pub(super) const EPOCH_S: u64 = 1_800_000_000;

/// A clock that goes as tokio's does.
pub(super) fn model_clock() -> Clock {
    let begun = Instant::now();
    Arc::new(move || EPOCH_S + begun.elapsed().as_secs())
}

/// What happens to requests for one zone.
pub(super) enum Fault {
    /// Nobody answers.
    Down,
    /// The answer is another one.
    Lie(Box<dyn Fn(Bytes) -> Bytes + Send + Sync>),
    /// Something in between answers instead, after the request went through.
    Between(StatusCode, &'static str),
    /// The answer does not end.
    Endless,
}

/// The network: a zone is reached at `http://` and its name.
#[derive(Default)]
pub(super) struct Wires {
    routers: Mutex<HashMap<String, Router>>,
    faults: Mutex<HashMap<String, Fault>>,
    /// Requests for each zone.
    pub(super) requests: Mutex<HashMap<String, u64>>,
    /// How long one way takes.
    pub(super) delay: Mutex<Duration>,
}

impl Wires {
    pub(super) fn breaks(&self, zone: &str, fault: Fault) {
        self.faults.lock().unwrap().insert(zone.to_owned(), fault);
    }

    pub(super) fn heals(&self, zone: &str) {
        self.faults.lock().unwrap().remove(zone);
    }

    /// What a zone serves, if anybody reaches it.
    pub(super) fn router(&self, host: &str) -> Option<Router> {
        let is_down = matches!(self.faults.lock().unwrap().get(host), Some(Fault::Down));
        self.routers.lock().unwrap().get(host).filter(|_| !is_down).cloned()
    }

    pub(super) fn count(&self, zone: &str) -> u64 {
        self.requests.lock().unwrap().get(zone).copied().unwrap_or_default()
    }

    pub(super) fn total(&self) -> u64 {
        self.requests.lock().unwrap().values().sum()
    }
}

impl ZoneTransport for Wires {
    fn exchange(
        &self,
        request: Request<Bytes>,
        limits: ExchangeLimits,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        Box::pin(async move {
            let host = request.uri().authority().unwrap().to_string();
            *self.requests.lock().unwrap().entry(host.clone()).or_default() += 1;
            let delay = *self.delay.lock().unwrap();
            if !delay.is_zero() {
                tokio::time::sleep((delay * 2).min(limits.time)).await;
            }
            if delay * 2 > limits.time {
                return Err(TransportError::Broken("no answer in time".to_owned()));
            }
            if matches!(self.faults.lock().unwrap().get(&host), Some(Fault::Down)) {
                return Err(TransportError::Unreachable("nobody answers".to_owned()));
            }
            let router = self.routers.lock().unwrap().get(&host).cloned();
            let Some(router) = router else {
                return Err(TransportError::Unreachable(format!("there is no {host}")));
            };
            let response = router.oneshot(request.map(Body::from)).await.unwrap();
            let (head, body) = response.into_parts();
            let mut body = to_bytes(body, usize::MAX).await.unwrap();
            match self.faults.lock().unwrap().get(&host) {
                Some(Fault::Lie(lie)) => body = lie(body),
                Some(Fault::Endless) => body = vec![b' '; limits.answer_max_bytes + 1].into(),
                Some(Fault::Between(status, text)) => {
                    let answer = Response::builder().status(*status);
                    return Ok(answer.body(Bytes::from_static(text.as_bytes())).unwrap());
                }
                Some(Fault::Down) | None => {}
            }
            if body.len() > limits.answer_max_bytes {
                return Err(TransportError::TooLarge("the answer is too large".to_owned()));
            }
            Ok(Response::from_parts(head, body))
        })
    }
}

/// Answers with its arguments, unless these are those of a call that hangs; counts such calls that were stopped.
struct Echo(Arc<AtomicU32>);

/// The arguments of a call that hangs.
pub(super) const HANG: &str = r#"{"hang":true}"#;

struct Stopped<'a>(&'a AtomicU32);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Executable for Echo {
    fn validate(&self, _: usize, arguments: &str) -> Result<Arguments, Vec<Violation>> {
        Ok(Arguments(Box::new(arguments.to_owned())))
    }

    fn execute<'a>(
        &'a self,
        _: usize,
        arguments: &'a Arguments,
        _: &'a Arc<CallContext>,
    ) -> BoxFuture<'a, Result<Output, Failure>> {
        let text: &String = arguments.0.downcast_ref().unwrap();
        let json: Box<RawValue> = serde_json::from_str(text).unwrap();
        Box::pin(async move {
            if json.get() == HANG {
                let _stopped = Stopped(&self.0);
                std::future::pending::<()>().await;
            }
            Ok(Output { json, shown: Shown::Json })
        })
    }
}

/// The agents of one zone, and what runs them.
#[derive(Default)]
pub(super) struct Agents {
    routes: Mutex<BTreeMap<String, Route>>,
    list: Mutex<Arc<ToolList>>,
    /// Calls that ran, with their lineages' depth.
    pub(super) ran: Mutex<Vec<(String, TenantName, usize)>>,
    /// Calls that hung and were stopped.
    pub(super) stopped: Arc<AtomicU32>,
}

pub(super) fn tenant() -> TenantName {
    TenantName::default_tenant()
}

pub(super) fn caller() -> Caller {
    Caller::local(tenant())
}

impl Agents {
    /// Adds an agent with one tool, `NAME_run`.
    pub(super) fn add(&self, name: &str, export: Option<&[&str]>) {
        let export = export.map(|to| Export {
            to: to.iter().map(ToString::to_string).collect(),
            ..Export::default()
        });
        self.add_as(name, &[&format!("{}_run", name.replace('-', "_"))], export, 1);
    }

    pub(super) fn add_as(&self, name: &str, tools: &[&str], export: Option<Export>, number: u64) {
        let raw = |text: &str| -> Box<RawValue> { serde_json::from_str(text).unwrap() };
        let tool = |(function, name): (usize, &&str)| {
            Arc::new(Tool {
                name: ToolName::new(name).unwrap(),
                title: None,
                description: format!("What {name} does"),
                input_schema: raw(r#"{"type":"object"}"#),
                output_schema: None,
                signature: String::new(),
                hints: Hints::default(),
                task: TaskUse::Never,
                headers: Vec::new(),
                converses: false,
                takes_handles: false,
                function,
            })
        };
        let tools: Vec<_> = tools.iter().enumerate().map(tool).collect();
        let revision = Arc::new(Revision {
            tenant: tenant(),
            agent: AgentName::new(name).unwrap(),
            id: AgentId(Uuid::from_u128(u128::from_be_bytes(
                Digest::of(name.as_bytes()).as_bytes()[..16].try_into().unwrap(),
            ))),
            number: RevisionNumber(number),
            digest: Digest::of(name.as_bytes()),
            settings: Arc::new(Settings { export, ..Settings::default() }),
            tools: tools.clone(),
            features: BTreeMap::new(),
            executable: Arc::new(Echo(Arc::clone(&self.stopped))),
            payer: aop_core::quota::Payer::nobody(),
            in_flight: AtomicU32::new(0),
        });
        let mut routes = self.routes.lock().unwrap();
        for tool in tools {
            let route = Route { revision: Arc::clone(&revision), tool: Arc::clone(&tool) };
            routes.insert(tool.name.to_string(), route);
        }
        let tools = routes.values().map(|route| Arc::clone(&route.tool)).collect();
        *self.list.lock().unwrap() = Arc::new(ToolList { generation: routes.len() as u64, tools });
    }
}

impl Resolve for Agents {
    fn resolve(&self, _: &TenantName, tool: &str) -> Option<Route> {
        self.routes.lock().unwrap().get(tool).cloned()
    }

    fn resolve_feature(&self, _: &TenantName, _: &str, _: Feature) -> Option<FeatureRoute> {
        None
    }
}

impl Search for Agents {
    fn publish(&self, _: &TenantName, _: &AgentName, _: &[Arc<Tool>]) -> Result<(), SearchError> {
        Ok(())
    }

    fn search(&self, _: &TenantName, query: &Query) -> Result<Vec<Hit>, SearchError> {
        let routes = self.routes.lock().unwrap();
        let matching = routes.values().filter(|route| route.tool.name.contains(&query.text));
        let hit = |route: &Route| Hit {
            tool: route.tool.name.clone(),
            agent: route.revision.agent.clone(),
            score: 1.0,
        };
        Ok(matching.take(query.limit as usize).map(hit).collect())
    }
}

impl Invoke for Agents {
    fn invoke<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Reply> {
        Box::pin(async move {
            let route = match call.target {
                Target::Tool(name) => self.resolve(&call.caller.tenant, name),
                Target::Found(route) => Some(route.clone()),
                Target::Feature { .. } => None,
            };
            let result = match route {
                None => Err(Failure::before_execution(ErrorCode::NotFound, "no tool")),
                Some(route) => self.run(&route, &call).await,
            };
            Reply { id: CallId::begin(), result, trace: call.trace, session: None }
        })
    }
}

impl Agents {
    async fn run(&self, route: &Route, call: &Call<'_>) -> Result<Output, Failure> {
        if let Some(lineage) = &call.lineage {
            lineage.admit(route.revision.id)?;
        }
        let depth = call.lineage.as_ref().map_or(0, |lineage| lineage.waiting().count());
        if let (Some(lineage), "spender") = (&call.lineage, route.revision.agent.as_str()) {
            lineage.spend(12);
        }
        let ran = (route.tool.name.to_string(), call.caller.tenant.clone(), depth);
        self.ran.lock().unwrap().push(ran);
        let executable = &route.revision.executable;
        let arguments = executable.validate(route.tool.function, call.arguments).unwrap();
        let context = CallContext {
            lineage: call.lineage.clone(),
            trace: call.trace,
            ..CallContext::alone(
                call.caller.clone(),
                route.revision.agent.clone(),
                route.tool.name.clone(),
                std::time::Instant::now() + Duration::from_secs(5),
            )
        };
        executable.execute(route.tool.function, &arguments, &Arc::new(context)).await
    }
}

struct Shelf(Arc<Agents>);

impl Local for Shelf {
    fn tenants(&self) -> Vec<TenantName> {
        vec![tenant()]
    }

    fn tools(&self, _: &TenantName) -> Arc<ToolList> {
        Arc::clone(&self.0.list.lock().unwrap())
    }

    fn description(&self, _: &TenantName, agent: &AgentName) -> String {
        format!("The agent {agent}")
    }

    fn oldest(&self, _: &TenantName, _: &AgentName) -> Option<AgentId> {
        None
    }
}

/// A zone in a model.
pub(super) struct Node {
    pub(super) zone: Arc<Zone>,
    pub(super) agents: Arc<Agents>,
    pub(super) gate: Arc<Gate>,
}

/// A tree of zones.
pub(super) struct World {
    pub(super) wires: Arc<Wires>,
    pub(super) nodes: BTreeMap<String, Node>,
    clock: Clock,
    ttl: Duration,
    /// Zones that nobody reaches but through a connection that they keep to their parent.
    hidden: BTreeSet<String>,
}

pub(super) fn zone_name(text: &str) -> ZoneName {
    text.parse().unwrap()
}

impl World {
    /// Zones, each with the nearest zone above it among them as its parent, and with tokens both ways. `ttl` is
    /// what all of them say.
    pub(super) fn of(zones: &[&str], ttl: Duration) -> Self {
        Self::hiding(zones, &[], ttl)
    }

    /// The same, where some zones cannot be reached.
    pub(super) fn hiding(zones: &[&str], hidden: &[&str], ttl: Duration) -> Self {
        let (clock, hidden) = (model_clock(), hidden.iter().map(ToString::to_string).collect());
        let mut world = Self { wires: Arc::default(), nodes: BTreeMap::new(), clock, ttl, hidden };
        let keys: BTreeMap<String, ZoneKey> =
            zones.iter().map(|zone| ((*zone).to_owned(), ZoneKey::fleeting().unwrap())).collect();
        let mut books: BTreeMap<String, Book> = BTreeMap::new();
        let peer = |zone: &str, relation, token: Option<&Token>, accepts: Option<&Token>| Peer {
            relation,
            endpoints: vec![endpoint(zone)],
            keys: vec![keys[zone].public().thumbprint().clone()],
            exports: vec!["run".to_owned()],
            token: token.cloned(),
            accepts: accepts.map(Token::digest),
        };
        for zone in zones {
            let above = |other: &&&str| zone_name(zone).is_below(&zone_name(other));
            let parent = zones.iter().filter(above).max_by_key(|other| other.len());
            books.entry((*zone).to_owned()).or_default();
            if let Some(parent) = parent {
                let (down, up) = (Token::generate().unwrap(), Token::generate().unwrap());
                let child_says = peer(parent, Relation::Parent, Some(&up), Some(&down));
                let mut child_says = child_says;
                let mut parent_says = peer(zone, Relation::Child, Some(&down), Some(&up));
                if world.hidden.contains(*zone) {
                    parent_says.endpoints.clear();
                }
                if world.hidden.contains(*parent) {
                    // It is next to it.
                    child_says.endpoints = vec![endpoint(&format!("next-to-{parent}"))];
                }
                let book = books.entry((*zone).to_owned()).or_default();
                book.peers.insert(zone_name(parent), child_says);
                let book = books.entry((*parent).to_owned()).or_default();
                book.peers.insert(zone_name(zone), parent_says);
            }
            // Every zone also begins at the top for what is beyond its parent.
            let top = zones.iter().filter(above).min_by_key(|other| other.len());
            if let (Some(top), true) = (top, top != parent) {
                let book = books.entry((*zone).to_owned()).or_default();
                book.peers.insert(zone_name(top), peer(top, Relation::Other, None, None));
            }
        }
        let mut keys = keys;
        for zone in zones {
            let key = keys.remove(*zone).unwrap();
            world.add(zone, vec![key], books.remove(*zone).unwrap());
        }
        world
    }

    pub(super) fn add(&mut self, name: &str, keys: Vec<ZoneKey>, book: Book) {
        let agents: Arc<Agents> = Arc::default();
        let is_hidden = self.hidden.contains(name);
        let presence = Presence {
            zone: zone_name(name),
            endpoints: if is_hidden { vec![] } else { vec![endpoint(name)] },
            ttl: self.ttl,
            negative_ttl: Duration::from_secs(30),
        };
        let exports = Exports::new(
            zone_name(name),
            self.ttl,
            Box::new(Shelf(Arc::clone(&agents))),
            agents.clone(),
        );
        let clock = Arc::clone(&self.clock);
        let authority = Authority::fleeting(presence, clock, exports, keys, book);
        let gate: Arc<Gate> = Arc::default();
        gate.open(agents.clone());
        let zone = Zone::new(ZoneParts {
            authority: Arc::new(authority),
            transport: self.wires.clone(),
            owners: Arc::new(Alone),
            invoke: gate.clone(),
            library: Library::new(agents.clone(), agents.clone()),
        });
        gate.federate(ZoneHandle(Arc::clone(&zone)));
        let host = if is_hidden { format!("next-to-{name}") } else { name.to_owned() };
        self.wires.routers.lock().unwrap().insert(host, router(Arc::clone(&zone)));
        self.nodes.insert(name.to_owned(), Node { zone, agents, gate });
    }

    /// Another way to a zone.
    pub(super) fn also_at(&mut self, zone: &str, host: &str) {
        let mut routers = self.wires.routers.lock().unwrap();
        let router = routers[zone].clone();
        routers.insert(host.to_owned(), router);
    }

    pub(super) fn at(&self, zone: &str) -> &Node {
        &self.nodes[zone]
    }
}

pub(super) fn endpoint(zone: &str) -> Endpoint {
    Endpoint { url: format!("http://{zone}"), weight: 1 }
}

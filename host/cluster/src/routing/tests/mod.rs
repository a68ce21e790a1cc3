//! Nodes in one process: real connections and TLS on loopback, and everything around routing made up. Gossip is
//! instant.

mod calls;
mod failures;
mod local;
mod placing;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aop_core::interface::Feature;
use aop_core::{
    AgentId, AgentName, AgentStatus, Arguments, Audit, AuditEvent, BoxFuture, Call, CallContext,
    CallId, Caller, Catalog, CatalogError, Digest, ErrorCode, Executable, Failure, ForeignAgent,
    Generation, Held, Hints, Holdings, Invoke, LoadRequest, NodeId, Output, Publish, RefusedAgent,
    Reply, Revision, RevisionNumber, RevisionStatus, Settings, Shown, Source, Target, TaskUse,
    TenantName, Tool, ToolList, ToolName, Violation,
};
use bytes::Bytes;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::task::AbortOnDropHandle;

use super::{Router, RoutingParts};
use crate::membership::{
    Connect, Document, DocumentVersion, Documents, Load, Member, Members, MembershipError,
    PeerStream, View,
};

/// Long enough for the slowest machine; nothing waits for it unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

fn tenant() -> TenantName {
    TenantName::default_tenant()
}

fn name(text: &str) -> AgentName {
    AgentName::new(text).unwrap()
}

fn node(number: u8) -> NodeId {
    NodeId::of_public_key(&[number])
}

/// What all nodes share.
struct FakeZone {
    views: watch::Sender<BTreeMap<NodeId, Member>>,
    documents: watch::Sender<Arc<Documents>>,
    addresses: Mutex<BTreeMap<NodeId, SocketAddr>>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl FakeZone {
    fn new() -> Arc<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let made = rcgen::generate_simple_self_signed(vec!["node".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(Self {
            views: watch::Sender::new(BTreeMap::new()),
            documents: watch::Sender::default(),
            addresses: Mutex::default(),
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }

    fn change(&self, node: &NodeId, change: impl FnOnce(&mut Member)) {
        self.views.send_modify(|members| change(members.get_mut(node).unwrap()));
    }

    /// Failure detection noticed that a node is gone.
    fn eject(&self, node: &NodeId) {
        self.views.send_modify(|members| drop(members.remove(node)));
        self.documents.send_modify(|documents| {
            let mut all = (**documents).clone();
            all.0.values_mut().for_each(|of_nodes| drop(of_nodes.remove(node)));
            *documents = Arc::new(all);
        });
    }
}

struct FakeMembers {
    node: NodeId,
    zone: Arc<FakeZone>,
    view: watch::Receiver<Arc<View>>,
    _following: AbortOnDropHandle<()>,
}

impl FakeMembers {
    fn new(node: &NodeId, zone: &Arc<FakeZone>) -> Arc<Self> {
        let made = |members: &BTreeMap<NodeId, Member>, node: &NodeId| {
            Arc::new(View { node: node.clone(), members: members.clone() })
        };
        let mut members = zone.views.subscribe();
        let (sender, view) = watch::channel(made(&members.borrow(), node));
        let id = node.clone();
        let following = tokio::spawn(async move {
            while members.changed().await.is_ok() {
                sender.send_replace(made(&members.borrow_and_update(), &id));
            }
        });
        let _following = AbortOnDropHandle::new(following);
        Arc::new(Self { node: node.clone(), zone: Arc::clone(zone), view, _following })
    }
}

impl Connect for FakeMembers {
    fn connect<'a>(
        &'a self,
        node: &'a NodeId,
    ) -> BoxFuture<'a, Result<PeerStream, MembershipError>> {
        Box::pin(async move {
            let unknown = || MembershipError::UnknownNode(node.clone());
            let address = *self.zone.addresses.lock().unwrap().get(node).ok_or_else(unknown)?;
            let unreachable = |error: std::io::Error| MembershipError::unreachable(address, error);
            let stream = TcpStream::connect(address).await.map_err(unreachable)?;
            let connector = TlsConnector::from(self.zone.client.clone());
            let name = ServerName::try_from("node").unwrap();
            let stream = connector.connect(name, stream).await.map_err(unreachable)?;
            Ok(PeerStream::Client(stream))
        })
    }
}

impl Members for FakeMembers {
    fn node(&self) -> &NodeId {
        &self.node
    }

    fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    fn documents(&self) -> watch::Receiver<Arc<Documents>> {
        self.zone.documents.subscribe()
    }

    fn publish(
        &self,
        name: &'static str,
        bytes: Bytes,
    ) -> Result<DocumentVersion, MembershipError> {
        let version = DocumentVersion { serial: 1, digest: Digest::of(&bytes) };
        self.zone.documents.send_if_modified(|documents| {
            let known = documents.0.get(name).and_then(|of_nodes| of_nodes.get(&self.node));
            if known.is_some_and(|known| known.bytes == bytes) {
                return false;
            }
            let mut all = (**documents).clone();
            let document = Document { version, bytes };
            all.0.entry(name.to_owned()).or_default().insert(self.node.clone(), document);
            *documents = Arc::new(all);
            true
        });
        Ok(version)
    }

    fn set_load(&self, _: Load) {}
}

/// What the tools of the nodes do: their names say it.
#[derive(Default)]
struct FakeInvoke {
    node: String,
    calls: AtomicU32,
    /// Guests that were stopped before they ended.
    stopped: watch::Sender<u32>,
    started: watch::Sender<u32>,
    seen: Mutex<Option<Seen>>,
}

/// What of a call arrived.
struct Seen {
    caller: Caller,
    waiting: Vec<AgentName>,
    calls_left: u32,
    timeout: Option<Duration>,
}

struct Stopped<'a>(&'a FakeInvoke);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.stopped.send_modify(|count| *count += 1);
    }
}

impl Invoke for FakeInvoke {
    fn invoke<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Reply> {
        Box::pin(async move {
            assert!(call.here, "another node chose this one");
            self.calls.fetch_add(1, Ordering::SeqCst);
            self.started.send_modify(|count| *count += 1);
            let waiting = call.lineage.iter().flat_map(|lineage| lineage.waiting());
            let waiting = waiting.map(|(_, name)| name.clone()).collect();
            let calls_left = call.lineage.as_ref().map_or(0, |lineage| lineage.calls_left());
            let (caller, timeout) = (call.caller.clone(), call.timeout);
            *self.seen.lock().unwrap() = Some(Seen { caller, waiting, calls_left, timeout });
            let what = match call.target {
                Target::Tool(name) => name.to_owned(),
                Target::Found(route) => route.tool.name.to_string(),
                Target::Feature { feature, .. } => feature.as_str().to_owned(),
            };
            let result = match what.as_str() {
                "agent_hang" => {
                    let _stopped = Stopped(self);
                    std::future::pending().await
                }
                "agent_progress" => {
                    let progress = call.progress.as_ref().unwrap();
                    progress.report(1.0, Some(2.0), Some("half"));
                    progress.report(2.0, Some(2.0), None);
                    Ok(call.arguments.to_owned())
                }
                "agent_trap" => Err(Failure::executed(ErrorCode::GuestTrapped, "it crashed")),
                "agent_drain" => Err(Failure::before_execution(ErrorCode::Unavailable, "draining")),
                "agent_spend" => {
                    call.lineage.as_ref().unwrap().spend(5);
                    Ok("null".to_owned())
                }
                "agent_node" => Ok(format!("{:?}", self.node)),
                _ => Ok(call.arguments.to_owned()),
            };
            let json = |text: String| RawValue::from_string(text).unwrap();
            Reply {
                id: CallId(uuid::Uuid::from_u128(1)),
                result: result.map(|text| Output { json: json(text), shown: Shown::Json }),
                trace: None,
                session: call.session.clone(),
            }
        })
    }
}

const TOOLS: [(&str, bool); 8] = [
    ("agent_drain", false),
    ("agent_echo", false),
    ("agent_hang", true),
    ("agent_node", true),
    ("agent_once", false),
    ("agent_progress", false),
    ("agent_spend", false),
    ("agent_trap", false),
];

/// What a node has, and what was done to it.
struct FakeRegistry {
    held: Mutex<BTreeMap<AgentName, Held>>,
    components: Mutex<BTreeMap<Digest, Vec<u8>>>,
    foreign: watch::Sender<BTreeMap<AgentName, ForeignAgent>>,
    changes: watch::Sender<u64>,
}

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
        Box::pin(async {
            let json = RawValue::from_string("\"here\"".to_owned()).unwrap();
            Ok(Output { json, shown: Shown::Json })
        })
    }
}

fn held(agent: &AgentName, id: AgentId, component: &[u8], settings: Settings) -> Held {
    let schema = || RawValue::from_string("{}".to_owned()).unwrap();
    let tools = TOOLS.iter().enumerate().map(|(function, (tool, idempotent))| {
        Arc::new(Tool {
            name: ToolName::new(tool).unwrap(),
            title: None,
            description: "A tool.".to_owned(),
            input_schema: schema(),
            output_schema: Some(schema()),
            signature: String::new(),
            hints: Hints { idempotent: *idempotent, ..Hints::default() },
            task: TaskUse::Never,
            headers: Vec::new(),
            converses: false,
            takes_handles: false,
            function,
        })
    });
    Held {
        revision: Arc::new(Revision {
            tenant: tenant(),
            agent: agent.clone(),
            id,
            number: RevisionNumber(1),
            digest: Digest::of(component),
            settings: Arc::new(settings),
            tools: tools.collect(),
            features: BTreeMap::from([(Feature::PromptsList, TOOLS.len())]),
            executable: Arc::new(Nothing),
            payer: aop_core::quota::Payer::nobody(),
            in_flight: 0.into(),
        }),
        aliases: Vec::new(),
        description: "An agent.".to_owned(),
        is_of_a_file: false,
    }
}

impl FakeRegistry {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            held: Mutex::default(),
            components: Mutex::default(),
            foreign: watch::Sender::default(),
            changes: watch::Sender::default(),
        })
    }

    fn put(&self, agent: &str, id: AgentId, component: &[u8], settings: Settings) {
        self.components.lock().unwrap().insert(Digest::of(component), component.to_vec());
        let held = held(&name(agent), id, component, settings);
        self.held.lock().unwrap().insert(name(agent), held);
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn has(&self, agent: &str) -> bool {
        self.held.lock().unwrap().contains_key(agent)
    }
}

impl Holdings for FakeRegistry {
    fn held(&self) -> Vec<Held> {
        self.held.lock().unwrap().values().cloned().collect()
    }

    fn component(&self, digest: Digest) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(async move { self.components.lock().unwrap().get(&digest).cloned() })
    }
}

impl Publish for FakeRegistry {
    fn publish(&self, source: &Source, agents: Vec<ForeignAgent>) -> Vec<RefusedAgent> {
        assert_eq!(*source, Source::Nodes);
        let agents = agents.into_iter().map(|agent| (agent.revision.agent.clone(), agent));
        self.foreign.send_replace(agents.collect());
        Vec::new()
    }
}

impl Catalog for FakeRegistry {
    fn list(&self, _: &TenantName) -> Vec<AgentStatus> {
        Vec::new()
    }

    fn show(&self, _: &TenantName, _: &str) -> Option<AgentStatus> {
        None
    }

    fn revisions<'a>(
        &'a self,
        _: &'a TenantName,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Vec<RevisionStatus>, CatalogError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn load<'a>(
        &'a self,
        _: &'a TenantName,
        request: LoadRequest,
    ) -> BoxFuture<'a, Result<AgentStatus, CatalogError>> {
        Box::pin(async move {
            let LoadRequest { name, id, component, settings, .. } = request;
            self.put(&name, id.unwrap(), &component, settings);
            let status = serde_json::json!({
                "name": name, "id": null, "state": "ACTIVE", "revision": 1, "digest": null,
                "origin": {"kind": "api"}, "pinned": false, "description": "", "tools": [],
                "refused": [], "error": null, "warnings": [], "in_flight": 0, "concurrency": 1,
            });
            Ok(serde_json::from_value(status).unwrap())
        })
    }

    fn unload<'a>(
        &'a self,
        _: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), CatalogError>> {
        Box::pin(async move {
            let removed = self.held.lock().unwrap().remove(name);
            self.changes.send_modify(|changes| *changes += 1);
            let is_foreign = self.foreign.borrow().contains_key(name);
            match removed {
                Some(_) => Ok(()),
                None if is_foreign => Err(CatalogError::OwnedElsewhere {
                    name: AgentName::new(name).unwrap(),
                    places: String::new(),
                }),
                None => Err(CatalogError::NoSuchAgent(name.to_owned())),
            }
        })
    }

    fn rollback<'a>(
        &'a self,
        _: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<AgentStatus, CatalogError>> {
        Box::pin(async move { Err(CatalogError::NoSuchAgent(name.to_owned())) })
    }

    fn tools(&self, _: &TenantName) -> Arc<ToolList> {
        Arc::default()
    }

    fn offering(&self, _: &TenantName, _: Feature) -> Vec<AgentName> {
        Vec::new()
    }
}

/// What was written down.
#[derive(Default)]
struct Noted(Mutex<Vec<String>>);

impl Audit for Noted {
    fn note(&self, event: AuditEvent<'_>) {
        let AuditEvent { action, tenant, agent, subject, .. } = event;
        let (tenant, agent) = (tenant.unwrap(), agent.unwrap());
        self.0.lock().unwrap().push(format!("{} {tenant} {agent} {subject}", action.as_str()));
    }
}

/// A node.
struct Node {
    id: NodeId,
    zone: Arc<FakeZone>,
    router: Arc<Router>,
    invoke: Arc<FakeInvoke>,
    registry: Arc<FakeRegistry>,
    noted: Arc<Noted>,
    data: TempDir,
    /// Its port, and with it every connection that others opened.
    port: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Node {
    async fn start(zone: &Arc<FakeZone>, number: u8) -> Self {
        Self::start_with(zone, number, FakeRegistry::new(), TempDir::new().unwrap()).await
    }

    /// A node that has been here before, with what it had.
    async fn start_with(
        zone: &Arc<FakeZone>,
        number: u8,
        registry: Arc<FakeRegistry>,
        data: TempDir,
    ) -> Self {
        let id = node(number);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = listener.local_addr().unwrap();
        let noted = Arc::<Noted>::default();
        let invoke = Arc::new(FakeInvoke { node: id.to_string(), ..FakeInvoke::default() });
        let router = Router::new();
        let serve = router.serve(invoke.clone(), registry.clone());
        let acceptor = TlsAcceptor::from(zone.server.clone());
        let port = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, serve) = (acceptor.clone(), serve.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    serve.serve(node(255), PeerStream::Server(stream)).await;
                });
            }
        });
        zone.addresses.lock().unwrap().insert(id.clone(), endpoint);
        let member = Member {
            id: id.clone(),
            generation: Generation(1),
            endpoint,
            load: Load::default(),
            capacity: 1,
            labels: BTreeMap::new(),
            draining: false,
            holds_authority: false,
            documents: BTreeMap::new(),
            version: 1,
        };
        zone.views.send_modify(|members| drop(members.insert(id.clone(), member)));
        router.join(RoutingParts {
            members: FakeMembers::new(&id, zone),
            holdings: registry.clone(),
            catalog: registry.clone(),
            publish: registry.clone(),
            changes: registry.changes.subscribe(),
            data_dir: data.path().to_owned(),
            component_max_bytes: 1 << 20,
            audit: noted.clone(),
        });
        let port = Mutex::new(Some(AbortOnDropHandle::new(port)));
        Self { id, zone: Arc::clone(zone), router, invoke, registry, noted, data, port }
    }

    /// As `kill -9` would: its port and connections are gone, and nobody was told.
    fn kill(&self) {
        self.port.lock().unwrap().take();
    }

    /// Stops, and is noticed to be gone. What it had stays.
    fn stop(self) -> (Arc<FakeRegistry>, TempDir) {
        self.router.leave();
        self.zone.eject(&self.id);
        (self.registry, self.data)
    }

    /// Waits until an agent of the others is callable here, from so many places.
    async fn until_foreign(&self, agent: &str, places: usize) -> ForeignAgent {
        let mut foreign = self.registry.foreign.subscribe();
        let found = foreign
            .wait_for(|all| all.get(agent).is_some_and(|agent| agent.places.len() == places));
        let found = tokio::time::timeout(PATIENCE, found).await.expect("never there").unwrap();
        found[agent].clone()
    }

    /// Calls a tool of `agent` once, as the dispatcher does.
    async fn call(&self, tool: &str, arguments: &str) -> Result<String, Failure> {
        let context = context(tool);
        self.call_with(tool, arguments, &Arc::new(context)).await
    }

    async fn call_with(
        &self,
        tool: &str,
        arguments: &str,
        context: &Arc<CallContext>,
    ) -> Result<String, Failure> {
        let agent = self.registry.foreign.borrow()["agent"].clone();
        call(&agent.revision, tool, arguments, context).await
    }
}

async fn call(
    revision: &Revision,
    tool: &str,
    arguments: &str,
    context: &Arc<CallContext>,
) -> Result<String, Failure> {
    let function = revision.tools.iter().find(|t| &*t.name == tool).unwrap().function;
    let executable = &revision.executable;
    let arguments = executable.validate(function, arguments).unwrap();
    let output = executable.execute(function, &arguments, context).await?;
    Ok(output.json.get().to_owned())
}

fn context(tool: &str) -> CallContext {
    let deadline = Instant::now() + PATIENCE;
    let tool = ToolName::new(tool).unwrap();
    CallContext::alone(Caller::local(tenant()), name("agent"), tool, deadline)
}

fn some_id() -> AgentId {
    AgentId(uuid::Uuid::from_u128(7))
}

/// So many nodes; the first has no replica, each of the others has one.
async fn nodes(count: u8, settings: Settings) -> Vec<Node> {
    let zone = FakeZone::new();
    let mut nodes = Vec::new();
    for number in 0..count {
        let node = Node::start(&zone, number).await;
        if number > 0 {
            node.registry.put("agent", some_id(), b"component", settings.clone());
        }
        nodes.push(node);
    }
    nodes[0].until_foreign("agent", usize::from(count) - 1).await;
    nodes
}

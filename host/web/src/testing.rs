//! Fakes of the traits that the web side stands on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aop_core::cluster::{
    BreakerStatus, CatalogueStatus, Cluster, ClusterError, ClusterStatus, EvictRequest,
    EvictedNode, EvictionReport, JoinTokenGrant, JoinTokenRequest, KeyRotation, MemberState,
    MemberStatus, NodeVersion, ReplicaStatus, RotateKeyRequest, SuspectedPartition,
};
use aop_core::interface::Feature;
use aop_core::quota::{Accounts, Quota};
use aop_core::{
    AgentId, AgentName, AgentStatus, Audit, AuditEvent, BoxFuture, CallId, CallRecord, Caller,
    Catalog, CatalogError, Digest, ErrorCode, Generation, Hints, LoadRequest, NoAudit, NodeId,
    Origin, RevisionNumber, RevisionStatus, State, TenantName, Tool, ToolList, ToolName,
};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use uuid::Uuid;

mod admin;

pub(crate) use self::admin::FakeAdmin;
use crate::{AppState, Metrics, ProtectedResource, Readiness, UPLOAD_MAX_BYTES, router};

pub(crate) fn agent(name: &str) -> AgentName {
    AgentName::new(name).unwrap()
}

pub(crate) fn status(name: &str, number: u64, component: &[u8], origin: Origin) -> AgentStatus {
    AgentStatus {
        name: agent(name),
        id: Some(AgentId(Uuid::from_u128(7))),
        state: State::Active,
        revision: Some(RevisionNumber(number)),
        digest: Some(Digest::of(component)),
        component: None,
        provenance: None,
        origin,
        pinned: false,
        description: String::new(),
        tools: vec![ToolName::new(&format!("{name}_run")).unwrap()],
        refused: Vec::new(),
        error: None,
        warnings: Vec::new(),
        in_flight: 0,
        concurrency: 4,
    }
}

/// Agents in memory. A component that is the word `broken` cannot be loaded.
pub(crate) struct FakeCatalog {
    pub(crate) agents: Mutex<BTreeMap<String, AgentStatus>>,
    pub(crate) loaded: Mutex<Vec<LoadRequest>>,
    pub(crate) loading: AtomicUsize,
    /// Loads take a permit each.
    pub(crate) loads_allowed: Semaphore,
    pub(crate) began: tokio::sync::Notify,
    pub(crate) draining: bool,
}

impl Default for FakeCatalog {
    fn default() -> Self {
        Self {
            agents: Mutex::default(),
            loaded: Mutex::default(),
            loading: AtomicUsize::new(0),
            loads_allowed: Semaphore::new(1000),
            began: tokio::sync::Notify::new(),
            draining: false,
        }
    }
}

/// An audit log to look into.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) lines: Mutex<Vec<String>>,
    pub(crate) noted: tokio::sync::Notify,
}

impl Audit for Log {
    fn note(&self, event: AuditEvent<'_>) {
        let agent = event.agent.map(ToString::to_string).unwrap_or_default();
        let line = format!("{} {} {agent}", event.action.as_str(), event.outcome.as_str());
        self.lines.lock().unwrap().push(line);
        self.noted.notify_one();
    }
}

impl FakeCatalog {
    pub(crate) fn with(agents: impl IntoIterator<Item = AgentStatus>) -> Self {
        let catalog = Self::default();
        catalog
            .agents
            .lock()
            .unwrap()
            .extend(agents.into_iter().map(|agent| (agent.name.to_string(), agent)));
        catalog
    }

    fn find(&self, name: &str) -> Result<AgentStatus, CatalogError> {
        let found = self.agents.lock().unwrap().get(name).cloned();
        found.ok_or_else(|| CatalogError::NoSuchAgent(name.to_owned()))
    }

    fn is_elsewhere(&self, name: &str) -> bool {
        let agents = self.agents.lock().unwrap();
        agents.get(name).is_some_and(|known| matches!(known.origin, Origin::Elsewhere { .. }))
    }

    fn changeable(&self, name: &str) -> Result<AgentStatus, CatalogError> {
        if self.draining {
            return Err(CatalogError::Draining);
        }
        let agent = self.find(name)?;
        match &agent.origin {
            Origin::File { path } => Err(CatalogError::OwnedByFile {
                name: agent.name,
                path: path.display().to_string(),
            }),
            Origin::Elsewhere { places, .. } => {
                Err(CatalogError::OwnedElsewhere { name: agent.name, places: places.join(", ") })
            }
            Origin::Api => Ok(agent),
        }
    }
}

impl Catalog for FakeCatalog {
    fn list(&self, _: &TenantName) -> Vec<AgentStatus> {
        self.agents.lock().unwrap().values().cloned().collect()
    }

    fn show(&self, _: &TenantName, name: &str) -> Option<AgentStatus> {
        self.find(name).ok()
    }

    fn revisions<'a>(
        &'a self,
        _: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<RevisionStatus>, CatalogError>> {
        Box::pin(async move {
            let agent = self.find(name)?;
            let newest = agent.revision.map_or(0, |revision| revision.0);
            let revision = |number| RevisionStatus {
                number: RevisionNumber(number),
                digest: agent.digest.unwrap(),
                created_unix_ms: 1_700_000_000_000 + number,
                serving: number == newest,
            };
            Ok((1..=newest).rev().map(revision).collect())
        })
    }

    fn load<'a>(
        &'a self,
        _: &'a TenantName,
        request: LoadRequest,
    ) -> BoxFuture<'a, Result<AgentStatus, CatalogError>> {
        Box::pin(async move {
            self.began.notify_one();
            self.loading.fetch_add(1, Ordering::SeqCst);
            self.loads_allowed.acquire().await.unwrap().forget();
            let previous = match self.changeable(&request.name) {
                Ok(agent) => agent.revision.map_or(0, |revision| revision.0),
                Err(CatalogError::NoSuchAgent(_)) => 0,
                Err(_) if self.is_elsewhere(&request.name) => 0,
                Err(other) => return Err(other),
            };
            if request.component == b"broken" {
                return Err(CatalogError::Rejected("this is not a component".to_owned()));
            }
            let agent = status(&request.name, previous + 1, &request.component, Origin::Api);
            self.agents.lock().unwrap().insert(request.name.to_string(), agent.clone());
            self.loaded.lock().unwrap().push(request);
            Ok(agent)
        })
    }

    fn unload<'a>(
        &'a self,
        _: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), CatalogError>> {
        Box::pin(async move {
            self.changeable(name)?;
            self.agents.lock().unwrap().remove(name);
            Ok(())
        })
    }

    fn rollback<'a>(
        &'a self,
        _: &'a TenantName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<AgentStatus, CatalogError>> {
        Box::pin(async move {
            let mut agent = self.find(name)?;
            match &mut agent.revision {
                Some(RevisionNumber(number)) if *number > 1 => *number -= 1,
                _ => return Err(CatalogError::NoEarlierRevision(agent.name)),
            }
            self.agents.lock().unwrap().insert(name.to_owned(), agent.clone());
            Ok(agent)
        })
    }

    fn tools(&self, _: &TenantName) -> Arc<ToolList> {
        let schema = || RawValue::from_string(r#"{"type":"object"}"#.to_owned()).unwrap();
        let tool = |name: &ToolName| {
            Arc::new(Tool {
                name: name.clone(),
                title: Some("Run".to_owned()),
                description: "Runs.".to_owned(),
                input_schema: schema(),
                output_schema: Some(schema()),
                signature: "run: func()".to_owned(),
                hints: Hints::default(),
                task: aop_core::TaskUse::Never,
                headers: Vec::new(),
                converses: false,
                takes_handles: false,
                function: 0,
            })
        };
        let agents = self.agents.lock().unwrap();
        Arc::new(ToolList {
            generation: 1,
            tools: agents.values().flat_map(|agent| &agent.tools).map(tool).collect(),
        })
    }

    fn offering(&self, _: &TenantName, _: Feature) -> Vec<AgentName> {
        Vec::new()
    }
}

pub(crate) fn from_file(name: &str) -> AgentStatus {
    status(
        name,
        1,
        b"file",
        Origin::File { path: PathBuf::from("agents").join(format!("{name}.wasm")) },
    )
}

pub(crate) fn from_api(name: &str, number: u64) -> AgentStatus {
    status(name, number, b"api", Origin::Api)
}

/// A host that mounts nothing.
pub(crate) struct NoServers;

impl aop_core::cluster::ReportServers for NoServers {
    fn servers(&self) -> Vec<aop_core::cluster::ServerStatus> {
        Vec::new()
    }
}

/// The routes for whoever uses a host that is open to its own machine.
pub(crate) fn open_router(state: AppState) -> axum::Router {
    router(state).layer(axum::Extension(Caller::local(TenantName::default_tenant())))
}

pub(crate) fn state(catalog: Arc<FakeCatalog>) -> AppState {
    AppState {
        audit: Arc::new(NoAudit),
        cluster: Arc::new(Alone),
        servers: Arc::new(NoServers),
        federation: None,
        catalog,
        accounts: Accounts::new(&Quota::default(), Quota::default(), 1_000),
        admin: Arc::new(FakeAdmin::default()),
        resource: ProtectedResource::default(),
        metrics: Arc::new(Metrics::new()),
        readiness: Readiness::new(),
        server_name: "test <host>".to_owned(),
        upload_max_bytes: UPLOAD_MAX_BYTES,
        uploads_may_grant: false,
    }
}

/// A call that took `duration_ms`.
pub(crate) fn record<'a>(
    tenant: &'a TenantName,
    agent: Option<&'a AgentName>,
    duration_ms: u64,
    code: Option<ErrorCode>,
) -> CallRecord<'a> {
    CallRecord {
        id: CallId(Uuid::from_u128(1)),
        tenant,
        agent,
        tool: None,
        duration: Duration::from_millis(duration_ms),
        code,
        attempts: 1,
        input_bytes: 10,
        output_bytes: 20,
        cpu: Duration::from_millis(2),
        memory_peak_bytes: 65_536,
    }
}

/// A host that is in no zone.
struct Alone;

impl Cluster for Alone {
    fn status(&self) -> BoxFuture<'_, Result<ClusterStatus, ClusterError>> {
        Box::pin(async { Err(ClusterError::NoZone) })
    }

    fn join_token(
        &self,
        _: JoinTokenRequest,
    ) -> BoxFuture<'_, Result<JoinTokenGrant, ClusterError>> {
        Box::pin(async { Err(ClusterError::NoZone) })
    }

    fn evict(&self, _: EvictRequest) -> BoxFuture<'_, Result<EvictionReport, ClusterError>> {
        Box::pin(async { Err(ClusterError::NoZone) })
    }

    fn rotate_key(&self, _: RotateKeyRequest) -> BoxFuture<'_, Result<KeyRotation, ClusterError>> {
        Box::pin(async { Err(ClusterError::NoZone) })
    }
}

/// A zone of one node.
pub(crate) struct Zone;

impl Cluster for Zone {
    fn status(&self) -> BoxFuture<'_, Result<ClusterStatus, ClusterError>> {
        let node = NodeId::of_public_key(b"key");
        let endpoint = ([127, 0, 0, 1], 8100).into();
        let member = MemberStatus {
            node: node.clone(),
            generation: Generation(1_700_000_000),
            state: MemberState::Alive,
            endpoint,
            load_percent: 10,
            capacity: 4,
            labels: [("site".to_owned(), "here".to_owned())].into(),
            holds_authority: true,
            doubled: Vec::new(),
            lag_ms: 12,
            catalogue: Some(CatalogueStatus {
                serial: 3,
                digest: Digest::of(b"catalogue"),
                fetched: true,
                agents: 2,
            }),
        };
        let version = NodeVersion { generation: member.generation, version: 9 };
        let status = ClusterStatus {
            zone: "zone.internal".to_owned(),
            node: node.clone(),
            endpoint,
            registry_digest: Digest::of(b"registry"),
            versions: [(node.clone(), version)].into(),
            members: vec![member],
            partition: Some(SuspectedPartition { silent: vec![node.clone()], for_ms: 7 }),
            evicted: vec![EvictedNode { node: node.clone(), by: node.clone(), at_unix_s: 9 }],
            key_retires_in_s: Some(60),
            certificate_ends_in_s: 86_400,
            replicas: vec![ReplicaStatus {
                tenant: TenantName::default_tenant(),
                agent: agent("echo"),
                revision: RevisionNumber(1),
                digest: Digest::of(b"component"),
                wanted: Some(2),
                nodes: vec![node.clone()],
            }],
            quotas: None,
            breakers: vec![BreakerStatus {
                node,
                tool: "echo_run".to_owned(),
                state: "open".to_owned(),
            }],
        };
        Box::pin(async { Ok(status) })
    }

    fn join_token(
        &self,
        request: JoinTokenRequest,
    ) -> BoxFuture<'_, Result<JoinTokenGrant, ClusterError>> {
        Box::pin(async move {
            if request.uses == 0 {
                return Err(ClusterError::Invalid(
                    "a join token lets in 1 to 200 nodes".to_owned(),
                ));
            }
            Ok(JoinTokenGrant {
                token: "aop1_x".to_owned(),
                endpoint: ([127, 0, 0, 1], 8100).into(),
                zone: "zone.internal".to_owned(),
            })
        })
    }

    fn evict(&self, request: EvictRequest) -> BoxFuture<'_, Result<EvictionReport, ClusterError>> {
        Box::pin(async {
            Ok(EvictionReport {
                node: request.node,
                was_member: true,
                held_authority: false,
                is_new: true,
            })
        })
    }

    fn rotate_key(
        &self,
        request: RotateKeyRequest,
    ) -> BoxFuture<'_, Result<KeyRotation, ClusterError>> {
        Box::pin(async move {
            if request.overlap_s == 0 {
                return Err(ClusterError::Invalid("at least 30 s".to_owned()));
            }
            let retires_unix_s = request.overlap_s;
            Ok(KeyRotation { zone: "zone.internal".to_owned(), retires_unix_s })
        })
    }
}

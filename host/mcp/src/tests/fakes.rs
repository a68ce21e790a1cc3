//! A catalogue of tools that misbehave in known ways.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aop_core::{
    AgentId, AgentName, AgentStatus, Arguments, Authenticate, AuthenticateError, BoxFuture, Call,
    CallContext, CallId, Caller, Catalog, CatalogError, Digest, ErrorCode, Executable, Failure,
    Hints, Hit, Invoke, LoadRequest, Output, Query, Reply, Resolve, Revision, RevisionNumber,
    RevisionStatus, Route, Search, SearchError, Settings, TenantName, Tool, ToolList, ToolName,
    TraceContext, Violation,
};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{Changes, McpConfig, McpParts, McpServer};

/// The id of every call, so that answers can be compared.
pub(crate) const CALL_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Everything the edge stands on.
pub(crate) struct World {
    pub(crate) changes: Arc<Changes>,
    tools: Mutex<Arc<ToolList>>,
    generation: AtomicU64,
    /// Calls of `hang` that run now.
    pub(crate) hanging: watch::Sender<usize>,
    pub(crate) calls: AtomicUsize,
    pub(crate) trace: Mutex<Option<TraceContext>>,
    pub(crate) arguments: Mutex<String>,
}

pub(crate) fn tool(name: &str) -> Arc<Tool> {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    Arc::new(Tool {
        name: ToolName::new(name).unwrap(),
        title: Some(format!("Title of {name}")),
        description: format!("What {name} \"does\""),
        input_schema: raw(r#"{"type":"object","properties":{"text":{"type":"string"}}}"#),
        output_schema: raw(
            r#"{"type":"object","properties":{"success":{"type":"boolean"}},"required":["success"]}"#,
        ),
        signature: format!("{name}: func(text: string) -> string"),
        hints: Hints {
            idempotent: true,
            read_only: Some(true),
            destructive: None,
            open_world: Some(false),
        },
        function: 0,
    })
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        let world = Self {
            changes: Arc::new(Changes::new()),
            tools: Mutex::default(),
            generation: AtomicU64::new(0),
            hanging: watch::channel(0).0,
            calls: AtomicUsize::new(0),
            trace: Mutex::default(),
            arguments: Mutex::default(),
        };
        world.publish(&["busy", "echo", "fail", "hang", "invalid", "number", "steps"]);
        Arc::new(world)
    }

    /// Replaces the set of tools.
    pub(crate) fn publish(&self, names: &[&str]) {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let tools = names.iter().map(|name| tool(name)).collect();
        *lock(&self.tools) = Arc::new(ToolList { generation, tools });
    }

    pub(crate) fn parts(self: &Arc<Self>) -> McpParts {
        McpParts {
            catalog: self.clone(),
            resolve: self.clone(),
            invoke: self.clone(),
            search: self.clone(),
            authenticate: self.clone(),
            changes: self.changes.clone(),
        }
    }

    pub(crate) fn server(self: &Arc<Self>) -> McpServer {
        self.server_with(McpConfig::default())
    }

    pub(crate) fn server_with(self: &Arc<Self>, config: McpConfig) -> McpServer {
        McpServer::new(config, self.parts())
    }

    /// Waits until exactly that many calls of `hang` run.
    pub(crate) async fn until_hanging(&self, count: usize) {
        self.hanging.subscribe().wait_for(|running| *running == count).await.unwrap();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Running<'a>(&'a watch::Sender<usize>);

impl<'a> Running<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Invoke for World {
    fn invoke<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Reply> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::Relaxed);
            *lock(&self.trace) = call.trace;
            call.arguments.clone_into(&mut lock(&self.arguments));
            let result = self.run(&call).await;
            Reply {
                id: CallId(Uuid::parse_str(CALL_ID).unwrap()),
                result,
                trace: call.trace.map(|trace| trace.child(7)),
            }
        })
    }
}

impl World {
    async fn run(&self, call: &Call<'_>) -> Result<Output, Failure> {
        let output = |json: &str, is_text| {
            Ok(Output { json: RawValue::from_string(json.to_owned()).unwrap(), is_text })
        };
        match call.tool {
            "echo" => output(to_raw_value(call.arguments).unwrap().get(), true),
            "number" => output(
                r#"{"float":2.2250738585072011e-308,"big":9007199254740991,"e":1e300,"z":"ü\n"}"#,
                false,
            ),
            "fail" => Err(Failure::executed(ErrorCode::GuestError, "it \"broke\"")
                .with_details(RawValue::from_string(r#"{"tag":"no"}"#.to_owned()).unwrap())),
            "busy" => Err(Failure::before_execution(ErrorCode::ResourceExhausted, "no capacity")
                .with_retry_after(Duration::from_millis(250))),
            "invalid" => {
                let violation = Violation {
                    pointer: "/text".to_owned(),
                    message: "must be a string".to_owned(),
                };
                Err(Failure::invalid_arguments(&[violation]))
            }
            "steps" => {
                if let Some(progress) = &call.progress {
                    for step in [1.0, f64::NAN, 2.0, 2.0, 3.0] {
                        progress.report(step, Some(3.0), Some("working"));
                    }
                }
                output("null", false)
            }
            "later" => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                output("null", false)
            }
            "hang" => {
                let _running = Running::new(&self.hanging);
                std::future::pending().await
            }
            unknown => {
                Err(Failure::before_execution(ErrorCode::NotFound, format!("no tool `{unknown}`")))
            }
        }
    }
}

impl Resolve for World {
    fn resolve(&self, _tenant: &TenantName, name: &str) -> Option<Route> {
        let tools = lock(&self.tools).clone();
        let tool = tools.tools.iter().find(|tool| tool.name.as_str() == name)?.clone();
        let revision = Revision {
            tenant: TenantName::default_tenant(),
            agent: AgentName::new("fake").unwrap(),
            id: AgentId(Uuid::nil()),
            number: RevisionNumber(1),
            digest: Digest::of(b""),
            settings: Arc::new(Settings::default()),
            tools: tools.tools.clone(),
            executable: Arc::new(Nothing),
            in_flight: AtomicU32::new(0),
        };
        Some(Route { revision: Arc::new(revision), tool })
    }
}

struct Nothing;

impl Executable for Nothing {
    fn validate(&self, _function: usize, _arguments: &str) -> Result<Arguments, Vec<Violation>> {
        Err(Vec::new())
    }

    fn execute<'a>(
        &'a self,
        _function: usize,
        _arguments: &'a Arguments,
        _context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Output, Failure>> {
        Box::pin(async { Err(Failure::executed(ErrorCode::Internal, "a fake does not run")) })
    }
}

impl Search for World {
    fn publish(&self, _: &TenantName, _: &AgentName, _: &[Arc<Tool>]) -> Result<(), SearchError> {
        Ok(())
    }

    fn search(&self, _: &TenantName, query: &Query) -> Result<Vec<Hit>, SearchError> {
        if query.text == "broken" {
            return Err(SearchError("the index is gone".to_owned()));
        }
        let tools = lock(&self.tools).clone();
        let matching = tools.tools.iter().filter(|tool| tool.name.contains(&*query.text));
        let hit = |tool: &Arc<Tool>| Hit {
            tool: tool.name.clone(),
            agent: AgentName::new("fake").unwrap(),
            score: 1.5,
        };
        Ok(matching.take(query.limit as usize).map(hit).collect())
    }
}

impl Authenticate for World {
    fn authenticate(&self, tenant: Option<&str>) -> Result<Caller, AuthenticateError> {
        match tenant {
            None | Some("default") => Ok(Caller { tenant: TenantName::default_tenant() }),
            Some("other") => Ok(Caller { tenant: TenantName::new("other").unwrap() }),
            Some(_) => Err(AuthenticateError::UnknownTenant),
        }
    }
}

impl Catalog for World {
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
        Box::pin(async { Err(CatalogError::Draining) })
    }

    fn load<'a>(
        &'a self,
        _: &'a TenantName,
        _: LoadRequest,
    ) -> BoxFuture<'a, Result<AgentStatus, CatalogError>> {
        Box::pin(async { Err(CatalogError::Draining) })
    }

    fn unload<'a>(
        &'a self,
        _: &'a TenantName,
        _: &'a str,
    ) -> BoxFuture<'a, Result<(), CatalogError>> {
        Box::pin(async { Err(CatalogError::Draining) })
    }

    fn rollback<'a>(
        &'a self,
        _: &'a TenantName,
        _: &'a str,
    ) -> BoxFuture<'a, Result<AgentStatus, CatalogError>> {
        Box::pin(async { Err(CatalogError::Draining) })
    }

    fn tools(&self, _: &TenantName) -> Arc<ToolList> {
        lock(&self.tools).clone()
    }
}

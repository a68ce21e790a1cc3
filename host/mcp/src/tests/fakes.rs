//! A catalogue of tools that misbehave in known ways.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aop_core::client::{Answer, AskError, Client, Question};
use aop_core::interface::Feature;
use aop_core::model::{CompletionRequest, Message, Part, Role};
use aop_core::quota::Payer;
use aop_core::{
    AgentId, AgentName, AgentStatus, Arguments, BoxFuture, Call, CallContext, CallId, Caller,
    Catalog, CatalogError, Digest, ErrorCode, Executable, Failure, FeatureRoute, GuestLevel, Hints,
    Hit, Invoke, Library, LoadRequest, Output, Query, RepeatedParameter, Reply, Resolve, Revision,
    RevisionNumber, RevisionStatus, Route, Search, SearchError, Settings, Shown, StoreError,
    Target, TaskError, TaskRecord, TaskState, TaskUse, Tasks, TenantName, Tool, ToolList, ToolName,
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
    /// Calls of `hang` and of hung agents that run now.
    pub(crate) hanging: watch::Sender<usize>,
    pub(crate) calls: AtomicUsize,
    pub(crate) trace: Mutex<Option<TraceContext>>,
    pub(crate) arguments: Mutex<String>,
    /// Further agents that never answer when they are asked for their prompts.
    pub(crate) hung: AtomicUsize,
    /// Whether agents offer skills.
    pub(crate) skills: AtomicBool,
    /// What was kept of tasks.
    pub(crate) kept: Mutex<HashMap<String, TaskRecord>>,
    /// Outcomes of tasks that are longer are not kept; without a limit, no end is.
    pub(crate) outcome_max_bytes: Mutex<Option<usize>>,
}

/// Tools that ask their client something.
const CONVERSING: [&str; 8] =
    ["ask", "ask-page", "ask-ever", "ask-twice", "sample", "ask-both", "roots", "ask-all"];
/// Tools that become tasks where a client can follow them.
const TASKS: [&str; 7] =
    ["job", "job-ask", "job-hang", "job-large", "job-broken", "job-fail", "job-only"];

pub(crate) fn tool(name: &str) -> Arc<Tool> {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    Arc::new(Tool {
        name: ToolName::new(name).unwrap(),
        title: Some(format!("Title of {name}")),
        description: format!("What {name} \"does\""),
        input_schema: raw(r#"{"type":"object","properties":{"text":{"type":"string"}}}"#),
        output_schema: Some(raw(
            r#"{"type":"object","properties":{"success":{"type":"boolean"}},"required":["success"]}"#,
        )),
        signature: format!("{name}: func(text: string) -> string"),
        hints: Hints {
            idempotent: true,
            read_only: Some(true),
            destructive: None,
            open_world: Some(false),
        },
        task: match name {
            "job-only" => TaskUse::Required,
            name if TASKS.contains(&name) => TaskUse::Optional,
            _ => TaskUse::Never,
        },
        headers: if name == "routed" {
            vec![RepeatedParameter { parameter: "region".to_owned(), header: "Region".to_owned() }]
        } else {
            Vec::new()
        },
        converses: CONVERSING.contains(&name),
        takes_handles: false,
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
            hung: AtomicUsize::new(0),
            skills: AtomicBool::new(true),
            kept: Mutex::default(),
            outcome_max_bytes: Mutex::new(Some(usize::MAX)),
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
            federation: None,
            catalog: self.clone(),
            invoke: self.clone(),
            library: Library::new(self.clone(), self.clone()),
            changes: self.changes.clone(),
            tasks: Some(self.clone()),
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
            let (trace, session) = (call.trace.map(|trace| trace.child(7)), call.session.clone());
            let result = match call.target {
                Target::Tool(tool) => self.run(tool, &call).await,
                Target::Found(route) => self.run(&route.tool.name, &call).await,
                Target::Feature { agent, feature } => {
                    offered(agent, feature, call, &self.hanging).await
                }
            };
            Reply { id: CallId(Uuid::parse_str(CALL_ID).unwrap()), result, trace, session }
        })
    }

    fn charge(&self, caller: &Caller, _: Instant) -> Result<(), Failure> {
        match &*caller.tenant == "spent" {
            true => Err(Failure::before_execution(ErrorCode::RateLimited, "too many calls")),
            false => Ok(()),
        }
    }
}

fn output(json: &str, shown: Shown) -> Result<Output, Failure> {
    Ok(Output { json: RawValue::from_string(json.to_owned()).unwrap(), shown })
}

fn text(text: &str) -> Result<Output, Failure> {
    output(to_raw_value(text).unwrap().get(), Shown::Text)
}

impl World {
    async fn run(&self, tool: &str, call: &Call<'_>) -> Result<Output, Failure> {
        match tool {
            "echo" | "routed" => text(call.arguments),
            "number" => output(
                r#"{"float":2.2250738585072011e-308,"big":9007199254740991,"e":1e300,"z":"ü\n"}"#,
                Shown::Json,
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
                output("null", Shown::Json)
            }
            "later" => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                output("null", Shown::Json)
            }
            "large" | "job-large" => text(&"x".repeat(1 << 20)),
            "picture" => output(
                r#"{"tag":"image","val":{"data":"AAE=","mime_type":"image/png"}}"#,
                Shown::Content,
            ),
            "liar" => output(
                r#"[{"tag":"image","val":{"data":"AAE=","mime_type":"text/html"}}]"#,
                Shown::Content,
            ),
            "hang" | "job-hang" => {
                let _running = Running::new(&self.hanging);
                std::future::pending().await
            }
            "job" | "job-only" => text("done"),
            "job-broken" => Err(Failure::executed(ErrorCode::GuestTrapped, "it crashed")),
            "job-fail" => Err(Failure::executed(ErrorCode::GuestError, "it said no")),
            asking => converse(asking, call).await.unwrap_or_else(|| {
                let reason = format!("no tool `{asking}`");
                Err(Failure::before_execution(ErrorCode::NotFound, reason))
            }),
        }
    }
}

fn form(field: &str) -> Question {
    let schema = format!(
        r#"{{"type":"object","properties":{{"{field}":{{"type":"string","title":"T"}},"age":{{"type":"integer"}}}},"required":["{field}"]}}"#
    );
    Question::Form {
        key: None,
        message: format!("Your {field}?"),
        schema: RawValue::from_string(schema).unwrap(),
    }
}

fn said(answer: Result<Answer, AskError>) -> Result<String, Failure> {
    match answer {
        Ok(Answer::Accepted(json)) => Ok(json.get().to_owned()),
        Ok(Answer::Declined) => Ok("declined".to_owned()),
        Ok(Answer::Dismissed) => Ok("dismissed".to_owned()),
        Err(error) => Err(Failure::executed(ErrorCode::GuestError, error.to_string())),
    }
}

/// Asks for everything that a client can give, at one time.
async fn ask_all(client: &dyn Client) -> Result<String, Failure> {
    let mut question = form("a");
    if let Question::Form { key, .. } = &mut question {
        *key = Some("who".to_owned());
    }
    let request = CompletionRequest {
        messages: vec![Message { role: Role::User, parts: vec![Part::Text("?".to_owned())] }],
        ..CompletionRequest::default()
    };
    let asked = tokio::join!(client.ask(question), client.sample(request), client.roots());
    said(asked.0).map(|said| {
        let texts = asked.1.map(|completion| completion.model);
        format!("{said} {texts:?} {}", asked.2.is_ok_and(|roots| roots.is_empty()))
    })
}

/// Tools that talk to their client.
async fn converse(tool: &str, call: &Call<'_>) -> Option<Result<Output, Failure>> {
    let Some(client) = &call.client else {
        let known = CONVERSING.contains(&tool) || tool == "log" || TASKS.contains(&tool);
        return known.then(|| {
            said(Err(AskError::Unsupported("nobody".to_owned()))).map(|_| unreachable!())
        });
    };
    let answer = match tool {
        "ask" | "job-ask" => said(client.ask(form("user_name")).await),
        "ask-page" => {
            let url = "https://example.com/a".to_owned();
            said(client.ask(Question::Url { key: None, message: "Go".to_owned(), url }).await)
        }
        "ask-twice" => {
            let first = said(client.ask(form("name")).await);
            call.progress.iter().for_each(|progress| progress.report(1.0, None, None));
            let second = said(client.ask(form("name")).await);
            first.and_then(|first| Ok(first + &second?))
        }
        "roots" => client
            .roots()
            .await
            .map(|roots| format!("{roots:?}"))
            .map_err(|error| Failure::executed(ErrorCode::GuestError, error.to_string())),
        "ask-all" => ask_all(&**client).await,
        "ask-both" => {
            let (a, b) = tokio::join!(client.ask(form("a")), client.ask(form("b")));
            said(a).and_then(|a| Ok(a + &said(b)?))
        }
        "ask-ever" => loop {
            if let Err(failure) = said(client.ask(form("more")).await) {
                break Err(failure);
            }
        },
        "sample" => {
            let message =
                |role, text: &str| Message { role, parts: vec![Part::Text(text.to_owned())] };
            let request = CompletionRequest {
                messages: vec![
                    message(Role::System, "Be brief"),
                    message(Role::User, "Capital of France?"),
                ],
                max_tokens: Some(7),
                model: "big".to_owned(),
                ..CompletionRequest::default()
            };
            client
                .sample(request)
                .await
                .map(|completion| {
                    format!("{:?} {:?} {}", completion.parts, completion.stop, completion.model)
                })
                .map_err(|error| Failure::executed(ErrorCode::GuestError, error.to_string()))
        }
        "log" => {
            for (level, text) in
                [(GuestLevel::Debug, "d"), (GuestLevel::Warn, "w"), (GuestLevel::Critical, "c")]
            {
                client.log(level, "ctx", text);
            }
            Ok("logged".to_owned())
        }
        _ => return None,
    };
    Some(answer.and_then(|answer| text(&answer)))
}

/// The resources of the agent `notes`, the last four of which break a rule.
const RESOURCES: &str = r#"[
            {"uri":"notes://b","name":"b","mime_type":"text/plain","size":3},
            {"uri":"notes://a","name":"a","title":"A","annotations":{"audience":["user"],"priority":0.5}},
            {"uri":"my-kit://stolen","name":"x"},{"uri":"notes://a b","name":"x"},{"uri":"notes://c","name":""},
            {"uri":"notes://d","name":"d","mime_type":"?"}]"#;

/// The prompts of the agent `notes`, the last two of which break a rule.
const PROMPTS: &str = r#"[
            {"name":"code-review","title":"Review","parameters":[{"name":"lang","description":"Which","required":true},
                {"name":"tone","required":false}]},
            {"name":"ask","parameters":[]},{"name":"no spaces","parameters":[]},
            {"name":"LONG","parameters":[]}]"#;

/// A skill as the codec writes it, with so much in its `SKILL.md`.
pub(crate) fn skill(name: &str, more: &serde_json::Value) -> serde_json::Value {
    let instructions = format!("---\nname: {name}\ndescription: Does {name}.\n---\nhello\n");
    let mut files = vec![
        serde_json::json!({ "path": "SKILL.md", "body": { "tag": "text", "val": instructions } }),
    ];
    files.extend(more.as_array().into_iter().flatten().cloned());
    serde_json::json!({ "name": name, "files": files, "dynamic": name == "live" })
}

/// The one skill with more in it.
fn refunds() -> serde_json::Value {
    skill(
        "refunds",
        &serde_json::json!([
            { "path": "references/limits.md", "body": { "tag": "text", "val": "hello" } },
            { "path": "references/deep/pixel.png", "mime_type": "image/png", "body": { "tag": "blob", "val": "AAE=" } },
        ]),
    )
}

/// The skills of the agent `tutor`, or the details of its error.
fn skills(feature: Feature, arguments: &serde_json::Value) -> Result<String, &'static str> {
    let none = serde_json::Value::Null;
    let skill = match (feature, arguments["name"].as_str()) {
        (Feature::SkillsList, _) => {
            serde_json::json!([refunds(), skill("live", &none), skill("Two Words", &none)])
        }
        (_, Some("refunds" | "another")) => refunds(),
        (_, Some("unlisted")) => skill("unlisted", &none),
        (_, Some("failed")) => return Err(r#"{"tag":"failed","val":"guest said no"}"#),
        _ => return Err(r#"{"tag":"not_found"}"#),
    };
    Ok(skill.to_string())
}

/// What the agents `broken`, `hung`, `my`, `my-kit`, `notes` and `tutor` offer besides tools.
async fn offered(
    agent: &str,
    feature: Feature,
    call: Call<'_>,
    hanging: &watch::Sender<usize>,
) -> Result<Output, Failure> {
    let guest_error = |details: &str| {
        let details = RawValue::from_string(details.to_owned()).unwrap();
        Err(Failure::executed(ErrorCode::GuestError, "guest said no").with_details(details))
    };
    let arguments: serde_json::Value = serde_json::from_str(call.arguments).unwrap();
    let json = match (agent, feature) {
        ("broken", _) => return Err(Failure::executed(ErrorCode::GuestTrapped, "it trapped")),
        (hung, _) if hung.contains("hung") => {
            let _running = Running::new(hanging);
            tokio::time::sleep(call.timeout.unwrap_or(Duration::from_secs(60))).await;
            return Err(Failure::executed(ErrorCode::DeadlineExceeded, "too slow"));
        }
        ("notes", Feature::ResourcesList) => RESOURCES.to_owned(),
        ("my-kit", Feature::ResourcesList) => r#"[{"uri":"my-kit://z","name":"z"}]"#.to_owned(),
        ("notes", Feature::ResourcesTemplates) => {
            r#"[{"uri_template":"notes://by-day/{day}","name":"day"},{"uri_template":"x:{y}","name":"y"},
                {"uri_template":"notes://{","name":"z"},{"uri_template":"notes://{a b}","name":"z"},{"uri_template":"notes://}","name":"z"},
                {"uri_template":"notes://{/day*,month:3}{?q}","name":"full"}]"#.to_owned()
        }
        ("notes", Feature::ResourcesRead) => match arguments["uri"].as_str().unwrap() {
            "notes://a" => r#"[{"uri":"notes://a","mime_type":"text/plain","body":{"tag":"text","val":"hello"}},
                {"uri":"notes://a/2","body":{"tag":"blob","val":"AAE="}}]"#
                .to_owned(),
            "notes://liar" => r#"[{"uri":"my-kit://z","body":{"tag":"text","val":""}}]"#.to_owned(),
            "notes://ask" => {
                let client = call.client.unwrap();
                let answer = said(client.ask(form("key")).await)?;
                serde_json::json!([{ "uri": "notes://ask", "body": { "tag": "text", "val": answer } }]).to_string()
            }
            "notes://failed" => return guest_error(r#"{"tag":"failed","val":"guest said no"}"#),
            _ => return guest_error(r#"{"tag":"not_found"}"#),
        },
        ("my", Feature::PromptsList) => r#"[{"name":"kit-x","parameters":[]}]"#.to_owned(),
        ("notes", Feature::PromptsList) => PROMPTS.replace("LONG", &"x".repeat(65)),
        ("notes", Feature::PromptsGet) => match arguments["name"].as_str().unwrap() {
            "ask" => {
                let client = call.client.unwrap();
                let answer = said(client.ask(form("context")).await)?;
                serde_json::json!({ "messages": [{ "role": "user",
                    "content": { "tag": "text", "val": { "text": answer } } }] })
                .to_string()
            }
            _ if arguments["arguments"][0][1] == "cobol" => {
                return guest_error(r#"{"tag":"invalid","val":"no cobol"}"#);
            }
            name => serde_json::json!({ "description": format!("{name} {}", arguments["arguments"]),
                "messages": [{ "role": "assistant", "content": { "tag": "image",
                    "val": { "data": "AAE=", "mime_type": "image/png" } } }] })
            .to_string(),
        },
        ("tutor", _) => match skills(feature, &arguments) {
            Ok(json) => json,
            Err(details) => return guest_error(details),
        },
        ("notes", Feature::CompletionComplete) => {
            let values: Vec<_> = (0..150).map(|n| format!("{}{n}", arguments["value"].as_str().unwrap())).collect();
            let said = format!("{}", arguments["subject"]);
            let values = [vec![said, arguments["known"].to_string()], values].concat();
            serde_json::json!({ "values": values, "total": 152, "has_more": false }).to_string()
        }
        _ => return Err(Failure::before_execution(ErrorCode::NotFound, "not offered")),
    };
    output(&json, Shown::Json)
}

impl Tasks for World {
    fn begin(&self, task: TaskRecord, tasks_max: u32) -> BoxFuture<'_, Result<(), TaskError>> {
        let mut kept = lock(&self.kept);
        let full = kept.len() >= tasks_max as usize;
        if !full {
            kept.insert(task.id.clone(), task);
        }
        Box::pin(async move { if full { Err(TaskError::Full) } else { Ok(()) } })
    }

    fn find<'a>(
        &'a self,
        tenant: &'a TenantName,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<TaskRecord>, StoreError>> {
        let found = lock(&self.kept).get(id).filter(|task| task.tenant == *tenant).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn end<'a>(
        &'a self,
        _: &'a TenantName,
        id: &'a str,
        state: TaskState,
        outcome: Option<String>,
        updated_unix_ms: u64,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let bytes = outcome.as_ref().map_or(0, String::len);
        let fits = lock(&self.outcome_max_bytes).is_some_and(|max| bytes <= max);
        if fits && let Some(task) = lock(&self.kept).get_mut(id) {
            (task.state, task.outcome, task.updated_unix_ms) = (state, outcome, updated_unix_ms);
        }
        let full = || StoreError::Failed("no room for it".to_owned());
        Box::pin(async move { if fits { Ok(()) } else { Err(full()) } })
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
            features: BTreeMap::new(),
            executable: Arc::new(Nothing),
            payer: Payer::nobody(),
            in_flight: AtomicU32::new(0),
        };
        Some(Route { revision: Arc::new(revision), tool })
    }

    fn resolve_feature(&self, _: &TenantName, _: &str, _: Feature) -> Option<FeatureRoute> {
        None
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
        _context: &'a Arc<CallContext>,
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

    fn offering(&self, tenant: &TenantName, feature: Feature) -> Vec<AgentName> {
        if *tenant != TenantName::default_tenant() {
            return Vec::new();
        }
        let agents: &[&str] = match feature {
            Feature::ResourcesList => &["broken", "hung", "my-kit", "notes"],
            Feature::PromptsList => &["broken", "hung", "my", "my-kit", "notes"],
            Feature::ResourcesRead => &["my-kit", "notes"],
            Feature::SkillsList if !self.skills.load(Ordering::Relaxed) => &[],
            Feature::SkillsList => &["broken", "tutor"],
            Feature::SkillsGet => &["broken", "tutor"],
            _ => &["notes"],
        };
        let hung = match feature {
            Feature::PromptsList => self.hung.load(Ordering::Relaxed),
            _ => 0,
        };
        let hung = (0..hung).map(|index| format!("zz-hung-{index:03}"));
        let named = agents.iter().map(|agent| (*agent).to_owned()).chain(hung);
        let mut agents: Vec<_> = named.map(|agent| AgentName::new(&agent).unwrap()).collect();
        agents.sort();
        agents
    }
}

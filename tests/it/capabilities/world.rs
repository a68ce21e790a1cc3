//! A host around real agents: runtime and dispatcher are the real ones, what they stand on is played.

#![expect(clippy::panic, reason = "a test that cannot go on stops where it stands and says why")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use aop_core::bucket::{Bucket, BucketError, BucketQuota, Buckets, KeyPage, SessionId};
use aop_core::client::{Answer, AskError, Client, Question, Root};
use aop_core::egress::{Egress, EgressBody, EgressError, EgressTimeouts, Sender};
use aop_core::interface::Feature;
use aop_core::model::{
    Completion, CompletionEvent, CompletionRequest, CompletionStream, ModelBinding, ModelError,
    Models, Part, Reserved, Spender, StopReason, Usage,
};
use aop_core::quota::{Accounts, Payer, Quota};
use aop_core::schema::ToolSet;
use aop_core::{
    AgentId, AgentName, Artifact, BoxFuture, Call, CallRecord, Caller, Digest, Failure,
    FeatureRoute, GuestLevel, GuestLine, GuestLog, Hit, Invoke as _, Library, Listen, Measure as _,
    NoAudit, Observe, Offer, Prepare as _, Progress, Query, Reply, Resolve, Revision,
    RevisionNumber, Route, Search, SearchError, Services, Settings, Subject, Target, TenantName,
    Tool, ToolName,
};
use aop_dispatch::Dispatcher;
use aop_runtime::{Runtime, RuntimeConfig, WorkerProgram};
use aop_tests::{PATIENCE, Sandbox, aop_binary, eventually, guest, target_directory, within};
use http_body_util::BodyExt as _;
use serde_json::Value;
use uuid::Uuid;

/// Locks without caring whether another test's thread failed while it held the lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A host, its agents, and everything that is played.
pub(super) struct World {
    runtime: Runtime,
    dispatcher: Arc<Dispatcher>,
    agents: Arc<Agents>,
    /// What the operator's log has.
    pub(super) log: Arc<Log>,
    pub(super) models: Arc<Provider>,
    pub(super) network: Arc<Network>,
    pub(super) heard: Arc<Heard>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_environment(BTreeMap::new())
    }

    pub(super) fn with_environment(environment: BTreeMap<String, String>) -> Self {
        let worker = WorkerProgram {
            program: aop_binary().to_owned(),
            arguments: vec!["compile-worker".into()],
        };
        // One cache for all tests, so that each guest is compiled once.
        let cache = target_directory().join("tmp/capabilities");
        let config = RuntimeConfig {
            instances_max: Sandbox::INSTANCES_MAX,
            environment: Arc::new(environment),
            ..RuntimeConfig::new(cache, worker)
        };
        let log = Arc::new(Log::default());
        let runtime = Runtime::new(config, log.clone()).expect("the runtime starts");
        let agents = Arc::new(Agents::default());
        let (models, network, heard) = (
            Arc::new(Provider::default()),
            Arc::new(Network::default()),
            Arc::new(Heard::default()),
        );
        let dispatcher = Arc::new_cyclic(|dispatcher: &Weak<Dispatcher>| {
            let services = Services {
                invoke: dispatcher.clone(),
                library: Library::new(agents.clone(), agents.clone()),
                models: models.clone(),
                buckets: Arc::new(Memory::default()),
                egress: network.clone(),
                audit: Arc::new(NoAudit),
                listeners: vec![heard.clone()],
                witness: None,
            };
            let accounts = Accounts::new(&Quota::default(), Quota::default(), u32::MAX);
            Dispatcher::new(agents.clone(), Arc::new(Nobody), accounts, Some(services))
        });
        Self { runtime, dispatcher, agents, log, models, network, heard }
    }

    /// Loads a fixture guest as an agent, with settings as in its file.
    pub(super) async fn with(self, agent: &str, fixture: &str, settings: &str) -> Self {
        self.shared(tenant(), agent, fixture, settings).await
    }

    /// Loads it as an agent of a tenant, who shares it with everybody.
    pub(super) async fn shared(
        self,
        owner: TenantName,
        agent: &str,
        fixture: &str,
        settings: &str,
    ) -> Self {
        let settings = match Settings::from_toml(settings) {
            Ok(settings) => Arc::new(settings),
            Err(mistakes) => panic!("{mistakes:?}"),
        };
        let path = guest(fixture);
        let digest = Digest::of(&std::fs::read(&path).expect("the guest can be read"));
        let artifact = Artifact { path: &path, digest };
        let payer = Payer::nobody();
        let preparing = self.runtime.prepare(artifact, Arc::clone(&settings), &payer);
        let prepared = within(PATIENCE, "the agent is loaded", preparing).await;
        let prepared = prepared.expect("the agent can be loaded");
        let name = AgentName::new(agent).expect("a name");
        let set = ToolSet::new(&prepared.interface, &name, &settings, &BTreeMap::new());
        let set = set.expect("its tools can be described");
        let revision = Arc::new(Revision {
            tenant: owner,
            agent: name,
            id: AgentId(Uuid::now_v7()),
            number: RevisionNumber(1),
            digest,
            settings,
            tools: set.tools.clone(),
            features: set.features,
            executable: prepared.executable,
            payer: Payer::nobody(),
            in_flight: 0.into(),
        });
        let mut routes = self.agents.0.write().unwrap_or_else(PoisonError::into_inner);
        for tool in set.tools {
            let route = Route { revision: Arc::clone(&revision), tool: Arc::clone(&tool) };
            routes.insert(tool.name.to_string(), route);
        }
        drop(routes);
        self
    }

    /// Calls a tool and waits for its reply.
    pub(super) async fn reply(&self, tool: &str, arguments: Value, around: Around) -> Reply {
        let arguments = arguments.to_string();
        let local = Caller::local(tenant());
        let caller = Caller { subject: around.subject.unwrap_or(Subject::Local), ..local };
        let call = Call {
            progress: around.progress,
            client: around.client,
            session: around.session,
            ..Call::new(caller, Target::Tool(tool), &arguments, Instant::now())
        };
        within(PATIENCE, "a reply", self.dispatcher.invoke(call)).await
    }

    /// Calls a tool of nobody in particular.
    pub(super) async fn call(&self, tool: &str, arguments: Value) -> Result<Value, Failure> {
        self.call_around(tool, arguments, Around::default()).await
    }

    /// Calls a tool for somebody.
    pub(super) async fn call_around(
        &self,
        tool: &str,
        arguments: Value,
        around: Around,
    ) -> Result<Value, Failure> {
        let output = self.reply(tool, arguments, around).await.result?;
        Ok(serde_json::from_str(output.json.get()).expect("results are JSON"))
    }

    /// Calls a tool that must answer.
    pub(super) async fn answer(&self, tool: &str, arguments: Value) -> Value {
        match self.call(tool, arguments).await {
            Ok(value) => value,
            Err(failure) => panic!("{tool}: {} {failure}", failure.code),
        }
    }

    /// Calls a tool that must answer an error of its own, and gives back its text.
    pub(super) async fn error(&self, tool: &str, arguments: Value) -> String {
        match self.call(tool, arguments).await {
            Ok(value) => panic!("{tool}: {value}"),
            Err(failure) => failure.message,
        }
    }

    /// Instances that live now.
    pub(super) fn live(&self) -> u32 {
        let samples = self.runtime.measure();
        let live = samples.iter().find(|sample| sample.name == "instances_live");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small count"
        )]
        live.map_or(0, |sample| sample.value as u32)
    }

    /// Waits until no instance is alive.
    pub(super) async fn is_empty(&self) {
        eventually("no instance is left", || async { (self.live() == 0).then_some(()) }).await;
    }
}

/// Who is around a call.
#[derive(Default)]
pub(super) struct Around {
    pub(super) progress: Option<Arc<dyn Progress>>,
    pub(super) client: Option<Arc<dyn Client>>,
    pub(super) session: Option<SessionId>,
    /// Who calls, where that matters.
    pub(super) subject: Option<Subject>,
}

fn tenant() -> TenantName {
    TenantName::new("default").expect("a tenant")
}

/// The registry and the index: every tool, found by a part of its name.
#[derive(Default)]
struct Agents(RwLock<BTreeMap<String, Route>>);

impl Resolve for Agents {
    fn resolve(&self, _: &TenantName, tool: &str) -> Option<Route> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(tool).cloned()
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
        let routes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = routes.values().filter(|route| route.tool.name.as_str().contains(&query.text));
        let hit = |route: &Route| Hit {
            tool: ToolName::new(route.tool.name.as_str()).expect("a name"),
            agent: route.revision.agent.clone(),
            score: 1.0,
        };
        Ok(found.take(query.limit as usize).map(hit).collect())
    }
}

struct Nobody;

impl Observe for Nobody {
    fn started(&self, _: &TenantName, _: &AgentName) {}

    fn finished(&self, _: &CallRecord<'_>, _: bool) {}
}

/// What guests and the policy said.
#[derive(Default)]
pub(super) struct Log(Mutex<Vec<String>>);

impl GuestLog for Log {
    fn line(&self, line: GuestLine<'_>) {
        lock(&self.0).push(format!("{}: {}", line.context, line.text));
    }
}

impl Log {
    /// Checks that a line has every part.
    #[track_caller]
    pub(super) fn has(&self, parts: &[&str]) {
        let lines = lock(&self.0);
        let found = lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "no line with {parts:?} in {lines:#?}");
    }
}

/// Who is told of changes.
#[derive(Default)]
pub(super) struct Heard(Mutex<Vec<Offer>>);

impl Listen for Heard {
    fn tools_changed(&self, _: &TenantName) {}

    fn offer_changed(&self, _: &TenantName, offer: Offer) {
        lock(&self.0).push(offer);
    }
}

impl Heard {
    pub(super) fn offers(&self) -> Vec<Offer> {
        lock(&self.0).clone()
    }
}

/// A provider of models that says what it was told to say.
#[derive(Default)]
pub(super) struct Provider {
    replies: Mutex<VecDeque<Result<Completion, ModelError>>>,
    pub(super) requests: Mutex<Vec<CompletionRequest>>,
}

impl Provider {
    /// The next reply.
    pub(super) fn says(&self, reply: Result<Completion, ModelError>) {
        lock(&self.replies).push_back(reply);
    }

    fn reply(&self, request: CompletionRequest) -> Result<Completion, ModelError> {
        lock(&self.requests).push(request);
        let reply = lock(&self.replies).pop_front();
        reply.unwrap_or_else(|| Ok(completion(vec![Part::Text("well".to_owned())], 10)))
    }
}

/// A completion of some parts that took so many tokens.
pub(super) fn completion(parts: Vec<Part>, tokens: u64) -> Completion {
    let usage = Usage { input_tokens: tokens / 2, output_tokens: tokens - tokens / 2 };
    Completion { parts, stop: StopReason::End, usage, model: "played".to_owned() }
}

impl Models for Provider {
    fn complete<'a>(
        &'a self,
        _: &'a Spender,
        _: &'a ModelBinding,
        request: CompletionRequest,
    ) -> BoxFuture<'a, Result<Completion, ModelError>> {
        Box::pin(async move { self.reply(request) })
    }

    fn stream<'a>(
        &'a self,
        _: &'a Spender,
        _: &'a ModelBinding,
        request: CompletionRequest,
    ) -> BoxFuture<'a, Result<Box<dyn CompletionStream>, ModelError>> {
        Box::pin(async move {
            let done = self.reply(request)?;
            let events = [
                CompletionEvent::Text("one ".to_owned()),
                CompletionEvent::Text("two".to_owned()),
                CompletionEvent::Done(done),
            ];
            Ok(Box::new(Events(events.into())) as Box<dyn CompletionStream>)
        })
    }

    fn reserve(
        &self,
        _: &Spender,
        _: &ModelBinding,
        _: Usage,
    ) -> Result<Box<dyn Reserved>, ModelError> {
        Ok(Box::new(Uncounted))
    }
}

struct Uncounted;

impl Reserved for Uncounted {
    fn settle(&mut self, _: Usage) {}
}

struct Events(VecDeque<CompletionEvent>);

impl CompletionStream for Events {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<CompletionEvent>, ModelError>> {
        Box::pin(async { Ok(self.0.pop_front()) })
    }
}

/// A network on which every name answers, except `nowhere.example`, `inside.example` and `sealed.example`.
#[derive(Default)]
pub(super) struct Network {
    pub(super) requests: Mutex<Vec<(String, Duration)>>,
}

impl Egress for Network {
    fn send(
        &self,
        _: Sender,
        request: http::Request<EgressBody>,
        timeouts: EgressTimeouts,
    ) -> BoxFuture<'static, Result<http::Response<EgressBody>, EgressError>> {
        let uri = request.uri().to_string();
        lock(&self.requests).push((uri.clone(), timeouts.first_byte));
        Box::pin(async move {
            if uri.contains("nowhere.example") {
                return Err(EgressError::Resolve("no such name".to_owned()));
            }
            if uri.contains("inside.example") {
                return Err(EgressError::PrivateAddress(
                    "it leads to a private address".to_owned(),
                ));
            }
            if uri.contains("sealed.example") {
                return Err(EgressError::Header("there is no secret `PAYMENT_KEY`".to_owned()));
            }
            let body = http_body_util::Full::new(format!("you asked for {uri}").into());
            let body: EgressBody = Box::pin(body.map_err(|never| match never {}));
            Ok(http::Response::new(body))
        })
    }
}

/// Buckets that end with the test.
#[derive(Default)]
struct Memory(Mutex<HashMap<Bucket, BTreeMap<String, Vec<u8>>>>);

impl Memory {
    fn change(
        &self,
        bucket: &Bucket,
        quota: BucketQuota,
        change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> Result<(), BucketError>,
    ) -> Result<(), BucketError> {
        let mut buckets = lock(&self.0);
        let entries = buckets.entry(bucket.clone()).or_default();
        let mut changed = entries.clone();
        change(&mut changed)?;
        let bytes: usize = changed.iter().map(|(key, value)| key.len() + value.len()).sum();
        if changed.len() as u64 > quota.keys_max || bytes as u64 > quota.bytes_max {
            return Err(BucketError::Quota("the bucket is full".to_owned()));
        }
        *entries = changed;
        Ok(())
    }
}

impl Buckets for Memory {
    fn get<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, BucketError>> {
        Box::pin(async move { Ok(lock(&self.0).get(bucket).and_then(|all| all.get(key).cloned())) })
    }

    fn set<'a>(
        &'a self,
        bucket: &'a Bucket,
        quota: BucketQuota,
        entries: &'a [(String, Vec<u8>)],
    ) -> BoxFuture<'a, Result<(), BucketError>> {
        Box::pin(async move {
            self.change(bucket, quota, |all| {
                all.extend(entries.iter().cloned());
                Ok(())
            })
        })
    }

    fn delete<'a>(
        &'a self,
        bucket: &'a Bucket,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<(), BucketError>> {
        Box::pin(async move {
            let quota = BucketQuota {
                keys_max: u64::MAX,
                bytes_max: u64::MAX,
                agent_bytes_max: None,
                tenant_bytes_max: None,
            };
            self.change(bucket, quota, |all| {
                all.retain(|key, _| !keys.contains(key));
                Ok(())
            })
        })
    }

    fn swap<'a>(
        &'a self,
        bucket: &'a Bucket,
        quota: BucketQuota,
        key: &'a str,
        expected: Option<&'a [u8]>,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), BucketError>> {
        Box::pin(async move {
            self.change(bucket, quota, |all| {
                if all.get(key).map(Vec::as_slice) != expected {
                    return Err(BucketError::Conflict);
                }
                all.insert(key.to_owned(), value);
                Ok(())
            })
        })
    }

    fn keys<'a>(
        &'a self,
        bucket: &'a Bucket,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<KeyPage, BucketError>> {
        Box::pin(async move {
            let buckets = lock(&self.0);
            let all = buckets.get(bucket).into_iter().flat_map(BTreeMap::keys);
            let mut rest = all.filter(|key| after.is_none_or(|after| key.as_str() > after));
            let keys: Vec<_> = rest.by_ref().take(limit as usize).cloned().collect();
            let next = rest.next().and(keys.last().cloned());
            Ok(KeyPage { keys, next })
        })
    }
}

/// A client whose person answers as it was told.
#[derive(Default)]
pub(super) struct Person {
    answers: Mutex<VecDeque<Result<Answer, AskError>>>,
    pub(super) asked: Mutex<Vec<Question>>,
    /// So many questions must be open before any is answered.
    pub(super) together: Option<tokio::sync::Barrier>,
    /// None for a client without roots.
    pub(super) roots: Mutex<Option<Vec<Root>>>,
    pub(super) logged: Mutex<Vec<String>>,
}

impl Person {
    /// Somebody who gives that answer.
    pub(super) fn who_answers(answer: Result<Answer, AskError>) -> Arc<Self> {
        let person = Self::default();
        lock(&person.answers).push_back(answer);
        Arc::new(person)
    }

    /// Somebody who fills in a form.
    pub(super) fn who_fills_in(form: &Value) -> Arc<Self> {
        let json = serde_json::value::to_raw_value(form).expect("it is JSON");
        Self::who_answers(Ok(Answer::Accepted(json)))
    }
}

impl Client for Person {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Answer, AskError>> {
        lock(&self.asked).push(question);
        let answer = lock(&self.answers).pop_front().unwrap_or(Ok(Answer::Dismissed));
        Box::pin(async move {
            if let Some(together) = &self.together {
                together.wait().await;
            }
            answer
        })
    }

    fn sample(&self, request: CompletionRequest) -> BoxFuture<'_, Result<Completion, ModelError>> {
        let text = format!("the client's {}", request.model);
        let said = completion(vec![Part::Text(text)], 4);
        Box::pin(std::future::ready(Ok(said)))
    }

    fn roots(&self) -> BoxFuture<'_, Result<Vec<Root>, AskError>> {
        let roots = lock(&self.roots).clone();
        let none = AskError::Unsupported("the client has no roots".to_owned());
        Box::pin(std::future::ready(roots.ok_or(none)))
    }

    fn within(self: Arc<Self>, _: &str) -> Arc<dyn Client> {
        self
    }

    fn log(&self, _: GuestLevel, logger: &str, text: &str) {
        lock(&self.logged).push(format!("{logger}: {text}"));
    }
}

/// Progress that somebody follows.
#[derive(Default)]
pub(super) struct Reports(pub(super) Mutex<Vec<(f64, Option<f64>)>>);

impl Progress for Reports {
    fn report(&self, progress: f64, total: Option<f64>, _: Option<&str>) {
        lock(&self.0).push((progress, total));
    }
}

/// A session of that name.
pub(super) fn session(name: &str) -> Option<SessionId> {
    Some(SessionId::new(name).expect("a session"))
}

/// The reference settings of a model, for a `[model]` table.
pub(super) const MODEL: &str =
    "[model]\nprovider = \"played\"\nname = \"m-1\"\nsystem = \"Be brief.\"\n";

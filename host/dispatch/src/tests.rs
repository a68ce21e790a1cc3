use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use aop_core::bucket::SessionId;
use aop_core::interface::Feature;
use aop_core::quota::{Owner, Quota, Resource};
use aop_core::{
    AgentId, AgentName, Arguments, CallContext, CallRecord, Caller, Digest, Executable,
    FeatureRoute, Hints, Lineage, Revision, RevisionNumber, Route, Settings, Shown, Target,
    TenantName, Tool, ToolName, Violation,
};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use super::*;

/// A tenant as it is when it begins.
fn made(name: &TenantName) -> Tenant {
    Tenant { name: name.clone(), created_unix_ms: 1 }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn answer() -> Output {
    Output { json: raw("\"done\""), shown: Shown::Text }
}

/// Fails as scripted, then answers; each execution first takes a permit of `gate`.
struct Script {
    failures: Mutex<VecDeque<Failure>>,
    executions: AtomicU32,
    gate: Semaphore,
}

impl Executable for Script {
    fn validate(&self, _: usize, arguments: &str) -> Result<Arguments, Vec<Violation>> {
        if arguments == "{}" {
            return Ok(Arguments(Box::new(())));
        }
        Err(vec![Violation { pointer: "/x".to_owned(), message: "unknown".to_owned() }])
    }

    fn execute<'a>(
        &'a self,
        _: usize,
        _: &'a Arguments,
        context: &'a Arc<CallContext>,
    ) -> BoxFuture<'a, Result<Output, Failure>> {
        self.executions.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            self.gate.acquire().await.unwrap().forget();
            let Some(failure) = self.failures.lock().unwrap().pop_front() else {
                return Ok(answer());
            };
            // As for a traceback.
            let _ = context.line(Instant::now());
            Err(failure)
        })
    }
}

#[derive(Default)]
struct Log {
    started: AtomicU32,
    finished: Mutex<Vec<(Option<ErrorCode>, u32, bool)>>,
}

impl Observe for Log {
    fn started(&self, _: &TenantName, _: &AgentName) {
        self.started.fetch_add(1, Ordering::SeqCst);
    }

    fn finished(&self, record: &CallRecord<'_>, ran: bool) {
        self.finished.lock().unwrap().push((record.code, record.attempts, ran));
    }
}

struct One(Route);

impl Resolve for One {
    fn resolve(&self, _: &TenantName, tool: &str) -> Option<Route> {
        (tool == "agent").then(|| self.0.clone())
    }

    fn resolve_feature(&self, _: &TenantName, _: &str, _: Feature) -> Option<FeatureRoute> {
        None
    }
}

struct Fixture {
    dispatcher: Arc<Dispatcher>,
    script: Arc<Script>,
    log: Arc<Log>,
    revision: Arc<Revision>,
    accounts: Arc<Accounts>,
}

fn fixture(
    settings: Settings,
    idempotent: bool,
    failures: Vec<Failure>,
    permits: usize,
) -> Fixture {
    let script = Arc::new(Script {
        failures: Mutex::new(failures.into()),
        executions: AtomicU32::new(0),
        gate: Semaphore::new(permits),
    });
    let tool = Arc::new(Tool {
        name: ToolName::new("agent").unwrap(),
        title: None,
        description: String::new(),
        input_schema: raw("{}"),
        output_schema: Some(raw("{}")),
        signature: String::new(),
        hints: Hints { idempotent, ..Hints::default() },
        task: aop_core::TaskUse::Never,
        headers: Vec::new(),
        converses: false,
        takes_handles: false,
        function: 0,
    });
    let accounts = Accounts::new(&Quota::default(), Quota::default(), 1_000);
    let agent = AgentName::new("agent").unwrap();
    let payer = accounts.payer(&TenantName::default_tenant(), &agent);
    payer.set_agent(&settings.quota, &settings.limits);
    let revision = Arc::new(Revision {
        tenant: TenantName::default_tenant(),
        agent,
        id: AgentId(uuid::Uuid::now_v7()),
        number: RevisionNumber(1),
        digest: Digest::of(b""),
        settings: Arc::new(settings),
        tools: vec![Arc::clone(&tool)],
        features: BTreeMap::new(),
        executable: Arc::clone(&script) as Arc<dyn Executable>,
        payer,
        in_flight: AtomicU32::new(0),
    });
    let log = Arc::new(Log::default());
    let route = Route { revision: Arc::clone(&revision), tool };
    let observe = Arc::clone(&log) as Arc<dyn Observe>;
    let dispatcher =
        Arc::new(Dispatcher::new(Arc::new(One(route)), observe, Arc::clone(&accounts), None));
    Fixture { dispatcher, script, log, revision, accounts }
}

impl Fixture {
    fn queued(&self) -> usize {
        self.dispatcher.queued.load(Ordering::Relaxed)
    }

    /// Whether no call holds or waits for anything.
    fn is_idle(&self) -> bool {
        let idle = |account: &aop_core::quota::Account| {
            (account.places.held(), account.places.waiting(), account.queued()) == (0, 0, 0)
        };
        self.queued() == 0 && self.accounts.all().iter().all(|(_, account)| idle(account))
    }
}

fn call<'a>(tool: &'a str, arguments: &'a str) -> Call<'a> {
    let caller = Caller::local(TenantName::default_tenant());
    Call::new(caller, Target::Tool(tool), arguments, tokio::time::Instant::now().into_std())
}

fn trap() -> Failure {
    Failure::executed(ErrorCode::GuestTrapped, "trap")
}

fn code(reply: &Reply) -> Option<ErrorCode> {
    reply.result.as_ref().err().map(|failure| failure.code)
}

#[tokio::test(start_paused = true)]
async fn an_idempotent_tool_is_executed_three_times_in_total() {
    let fixture = fixture(Settings::default(), true, vec![trap(); 5], 100);
    let reply = fixture.dispatcher.invoke(call("agent", "{}")).await;
    assert_eq!(code(&reply), Some(ErrorCode::GuestTrapped));
    assert_eq!(fixture.script.executions.load(Ordering::SeqCst), 3);
    assert_eq!(*fixture.log.finished.lock().unwrap(), [(Some(ErrorCode::GuestTrapped), 3, true)]);
}

/// Counts lines at `WARN` and above.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicU32>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let is_warning = *event.metadata().level() <= tracing::Level::WARN;
        self.0.fetch_add(u32::from(is_warning), Ordering::SeqCst);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn what_breaks_again_and_again_is_told_at_the_agents_rate() {
    let mut settings = Settings::default();
    settings.limits.log_lines_per_second = 1;
    let fixture = fixture(settings, false, vec![trap(); 1000], 1000);
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    for _ in 0..1000 {
        fixture.dispatcher.invoke(call("agent", "{}")).await;
    }
    assert_eq!(fixture.script.executions.load(Ordering::SeqCst), 1000);
    let told = warnings.0.load(Ordering::SeqCst);
    assert!((1..500).contains(&told), "{told} lines of 1000");
}

#[tokio::test(start_paused = true)]
async fn what_breaks_is_told_whatever_a_verbose_agent_says_of_itself() {
    let mut settings = Settings { verbose: true, ..Settings::default() };
    settings.limits.log_lines_per_second = 1;
    let fixture = fixture(settings, false, vec![], 1000);
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    for _ in 0..100 {
        fixture.dispatcher.invoke(call("agent", "{}")).await;
    }
    assert_eq!(warnings.0.load(Ordering::SeqCst), 0);
    fixture.script.failures.lock().unwrap().push_back(trap());
    fixture.dispatcher.invoke(call("agent", "{}")).await;
    assert_eq!(warnings.0.load(Ordering::SeqCst), 1, "with its traceback, which asks before it");
}

#[tokio::test(start_paused = true)]
async fn failures_of_the_host_are_told_whatever_the_agent_broke_at_a_rate_of_their_own() {
    let mut settings = Settings::default();
    settings.limits.log_lines_per_second = 1;
    let internal = Failure::executed(ErrorCode::Internal, "broken");
    let failures = [vec![trap(); 20], vec![internal; 1000]].concat();
    let fixture = fixture(settings, false, failures, 2000);
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    for _ in 0..30 {
        fixture.dispatcher.invoke(call("agent", "{}")).await;
    }
    let told = warnings.0.load(Ordering::SeqCst);
    assert!((11..30).contains(&told), "{told} lines, ten of them of the host's");
    for _ in 0..990 {
        fixture.dispatcher.invoke(call("agent", "{}")).await;
    }
    let told = warnings.0.load(Ordering::SeqCst);
    assert!(told < 500, "{told} lines of 1020");
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_of_an_idempotent_tool_is_repaired() {
    let fixture = fixture(Settings::default(), true, vec![trap(); 2], 100);
    let reply = fixture.dispatcher.invoke(call("agent", "{}")).await;
    assert_eq!(code(&reply), None);
    assert_eq!(*fixture.log.finished.lock().unwrap(), [(None, 3, true)]);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_run_is_not_repeated_unless_it_is_idempotent() {
    let fixture = fixture(Settings::default(), false, vec![trap()], 100);
    fixture.dispatcher.invoke(call("agent", "{}")).await;
    assert_eq!(fixture.script.executions.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_before_execution_is_repeated_for_every_tool() {
    let full = Failure::before_execution(ErrorCode::ResourceExhausted, "full");
    let fixture = fixture(Settings::default(), false, vec![full], 100);
    let reply = fixture.dispatcher.invoke(call("agent", "{}")).await;
    assert_eq!(code(&reply), None);
    assert_eq!(fixture.script.executions.load(Ordering::SeqCst), 2);
}

#[test]
fn what_the_guest_answers_is_never_repeated() {
    for code in ErrorCode::ALL {
        let failure = Failure::executed(code, "");
        assert!(!attempt::may_repeat(&failure, false), "{code} executed, not idempotent");
        let expected = matches!(
            code,
            ErrorCode::GuestTrapped
                | ErrorCode::Internal
                | ErrorCode::Unavailable
                | ErrorCode::ResourceExhausted
        );
        assert_eq!(attempt::may_repeat(&failure, true), expected, "{code} executed, idempotent");
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_tools_and_bad_arguments_are_refused_before_anything_runs() {
    let fixture = fixture(Settings::default(), true, vec![], 100);
    let unknown = fixture.dispatcher.invoke(call("nobody", "{}")).await;
    assert_eq!(code(&unknown), Some(ErrorCode::NotFound));
    let invalid = fixture.dispatcher.invoke(call("agent", "{\"x\":1}")).await;
    let failure = invalid.result.unwrap_err();
    assert_eq!(failure.code, ErrorCode::InvalidArguments);
    assert!(failure.message.contains("/x: unknown"), "{}", failure.message);
    assert_eq!(failure.details.unwrap().get(), r#"[{"pointer":"/x","message":"unknown"}]"#);
    assert_eq!(fixture.script.executions.load(Ordering::SeqCst), 0);
    assert_eq!(fixture.log.started.load(Ordering::SeqCst), 0);
    let finished = fixture.log.finished.lock().unwrap();
    assert_eq!(
        *finished,
        [(Some(ErrorCode::NotFound), 0, false), (Some(ErrorCode::InvalidArguments), 0, false)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_and_a_waiting_call_gets_the_next_place() {
    let mut settings = Settings::default();
    settings.limits.concurrency = 1;
    settings.limits.queue = 1;
    let fixture = fixture(settings, false, vec![], 0);
    let spawn = || {
        let dispatcher = Arc::clone(&fixture.dispatcher);
        tokio::spawn(async move { dispatcher.invoke(call("agent", "{}")).await })
    };
    let first = spawn();
    while fixture.script.executions.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let second = spawn();
    while fixture.queued() == 0 {
        tokio::task::yield_now().await;
    }
    let third = fixture.dispatcher.invoke(call("agent", "{}")).await;
    let refused = third.result.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ResourceExhausted);
    assert_eq!(refused.retry_after, Some(Duration::from_secs(1)));
    assert_eq!(fixture.revision.in_flight.load(Ordering::SeqCst), 1);
    fixture.script.gate.add_permits(2);
    assert_eq!(code(&first.await.unwrap()), None);
    assert_eq!(code(&second.await.unwrap()), None);
    assert_eq!(fixture.revision.in_flight.load(Ordering::SeqCst), 0);
    assert_eq!(fixture.queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_place_ends_at_the_deadline() {
    let mut settings = Settings::default();
    settings.limits.concurrency = 1;
    let fixture = fixture(settings, false, vec![], 0);
    let dispatcher = Arc::clone(&fixture.dispatcher);
    let first = tokio::spawn(async move { dispatcher.invoke(call("agent", "{}")).await });
    while fixture.script.executions.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let second = fixture.dispatcher.invoke(call("agent", "{}")).await;
    let failure = second.result.unwrap_err();
    assert_eq!(failure.code, ErrorCode::DeadlineExceeded);
    assert!(!failure.executed);
    first.abort();
}

#[tokio::test(start_paused = true)]
async fn an_agent_waits_for_a_place_of_another_only_briefly() {
    let mut settings = Settings { max_retries: 1, ..Settings::default() };
    settings.limits.concurrency = 1;
    let fixture = fixture(settings, false, vec![], 0);
    let dispatcher = Arc::clone(&fixture.dispatcher);
    let first = tokio::spawn(async move { dispatcher.invoke(call("agent", "{}")).await });
    while fixture.script.executions.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let parent = AgentId(uuid::Uuid::nil());
    let lineage = Some(Lineage::of(parent, AgentName::new("parent").unwrap(), None));
    let nested = fixture.dispatcher.invoke(Call { lineage, ..call("agent", "{}") }).await;
    let failure = nested.result.unwrap_err();
    assert_eq!(failure.code, ErrorCode::ResourceExhausted);
    assert!(!failure.executed && failure.retry_after.is_some());
    first.abort();
}

#[tokio::test(start_paused = true)]
async fn the_calls_of_a_tenant_end_with_it() {
    let Fixture { dispatcher, script, log, .. } = fixture(Settings::default(), false, vec![], 0);
    let (ours, acme) = (TenantName::default_tenant(), TenantName::new("acme").unwrap());
    dispatcher.begin(&made(&ours));
    dispatcher.begin(&made(&acme));
    let call = |tenant: &TenantName| {
        let (dispatcher, caller) = (Arc::clone(&dispatcher), Caller::local(tenant.clone()));
        tokio::spawn(async move {
            let target = Target::Tool("agent");
            dispatcher.invoke(Call::new(caller, target, "{}", Instant::now())).await.result
        })
    };
    let (theirs, other) = (call(&acme), call(&ours));
    while script.executions.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    dispatcher.end(&made(&acme)).await.unwrap();
    assert_eq!(log.finished.lock().unwrap().len(), 1, "it ended before the tenant did");
    assert_eq!(theirs.await.unwrap().unwrap_err().code, ErrorCode::Cancelled);
    let late = call(&acme).await.unwrap().unwrap_err();
    assert_eq!(late.code, ErrorCode::NotFound, "{late}");
    script.gate.add_permits(2);
    other.await.unwrap().unwrap();
    dispatcher.begin(&made(&acme));
    call(&acme).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_polls_does_not_hold_the_end_of_its_tenant_for_ever() {
    let Fixture { dispatcher, .. } = fixture(Settings::default(), false, vec![], 0);
    let acme = TenantName::new("acme").unwrap();
    dispatcher.begin(&made(&acme));
    let target = Target::Tool("agent");
    let caller = Caller::local(acme.clone());
    let mut call = dispatcher.invoke(Call::new(caller, target, "{}", Instant::now()));
    assert!(
        std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx)))
            .await
            .is_pending()
    );
    let refused = dispatcher.end(&made(&acme)).await.unwrap_err();
    assert!(refused.starts_with("1 of its calls"), "{refused}");
    drop(call);
    dispatcher.end(&made(&acme)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_recorded_as_cancelled_and_leaves_nothing() {
    let fixture = fixture(Settings::default(), false, vec![], 0);
    let dispatcher = Arc::clone(&fixture.dispatcher);
    let task = tokio::spawn(async move { dispatcher.invoke(call("agent", "{}")).await });
    while fixture.script.executions.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(*fixture.log.finished.lock().unwrap(), [(Some(ErrorCode::Cancelled), 1, true)]);
    assert_eq!(fixture.revision.in_flight.load(Ordering::SeqCst), 0);
    assert_eq!(fixture.dispatcher.running.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_not_called_while_it_waits_for_that_call() {
    let fixture = fixture(Settings::default(), true, vec![], 100);
    let name = AgentName::new("agent").unwrap();
    let lineage = |id| Some(Lineage::of(id, name.clone(), None));
    let looped = Call { lineage: lineage(fixture.revision.id), ..call("agent", "{}") };
    let reply = fixture.dispatcher.invoke(looped).await;
    assert_eq!(code(&reply), Some(ErrorCode::LoopDetected));
    assert_eq!(fixture.script.executions.load(Ordering::SeqCst), 0);
    let other = Call { lineage: lineage(AgentId(uuid::Uuid::nil())), ..call("agent", "{}") };
    assert_eq!(code(&fixture.dispatcher.invoke(other).await), None);
}

#[tokio::test(start_paused = true)]
async fn a_running_call_may_call_on_during_a_drain() {
    let fixture = fixture(Settings::default(), true, vec![], 100);
    assert!(fixture.dispatcher.drain(Duration::from_secs(1)).await);
    let parent = AgentId(uuid::Uuid::nil());
    let lineage = Some(Lineage::of(parent, AgentName::new("parent").unwrap(), None));
    let nested = Call { lineage, ..call("agent", "{}") };
    assert_eq!(code(&fixture.dispatcher.invoke(nested).await), None);
    let fresh = fixture.dispatcher.invoke(call("agent", "{}")).await;
    assert_eq!(code(&fresh), Some(ErrorCode::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn a_conversation_is_given_back() {
    let fixture = fixture(Settings::default(), true, vec![], 100);
    let session = SessionId::new("thread-1");
    assert!(session.is_some());
    let reply =
        fixture.dispatcher.invoke(Call { session: session.clone(), ..call("agent", "{}") }).await;
    assert_eq!(reply.session, session);
    assert_eq!(fixture.dispatcher.invoke(call("agent", "{}")).await.session, None);
}

#[tokio::test(start_paused = true)]
async fn a_feature_that_nobody_offers_is_not_found() {
    let fixture = fixture(Settings::default(), true, vec![], 100);
    let target = Target::Feature { agent: "agent", feature: Feature::PromptsList };
    let reply = fixture.dispatcher.invoke(Call { target, ..call("agent", "{}") }).await;
    let failure = reply.result.unwrap_err();
    assert_eq!(failure.code, ErrorCode::NotFound);
    assert!(failure.message.contains("prompts_list"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_refuses_new_calls_and_waits_for_running_ones() {
    let fixture = fixture(Settings::default(), false, vec![], 0);
    let dispatcher = Arc::clone(&fixture.dispatcher);
    let running = tokio::spawn(async move { dispatcher.invoke(call("agent", "{}")).await });
    while fixture.script.executions.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!fixture.dispatcher.drain(Duration::from_secs(1)).await);
    let refused = fixture.dispatcher.invoke(call("agent", "{}")).await;
    assert_eq!(code(&refused), Some(ErrorCode::Unavailable));
    fixture.script.gate.add_permits(1);
    assert!(fixture.dispatcher.drain(Duration::from_secs(1)).await);
    assert_eq!(code(&running.await.unwrap()), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_runs_once_a_drain_has_ended() {
    for _ in 0..500 {
        let fixture = fixture(Settings::default(), false, vec![], Semaphore::MAX_PERMITS);
        let late = Arc::clone(&fixture.dispatcher);
        let call = tokio::spawn(async move { late.invoke(call("agent", "{}")).await });
        assert!(fixture.dispatcher.drain(Duration::from_secs(60)).await);
        let executions = fixture.script.executions.load(Ordering::SeqCst);
        let is_refused = code(&call.await.unwrap()) == Some(ErrorCode::Unavailable);
        assert_eq!(executions, fixture.script.executions.load(Ordering::SeqCst));
        assert_eq!(is_refused, executions == 0);
    }
}

/// Lets other tasks run until something is so.
async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

fn quota(change: impl FnOnce(&mut Quota)) -> Quota {
    let mut quota = Quota::default();
    change(&mut quota);
    quota
}

fn set_tenant(fixture: &Fixture, name: &TenantName, change: impl FnOnce(&mut Quota)) {
    fixture.accounts.set_tenant(name, Some(quota(change)));
}

#[tokio::test(start_paused = true)]
async fn calls_over_the_rate_are_refused_until_it_lets_them_through() {
    let settings =
        Settings { quota: quota(|quota| quota.calls_per_second = Some(2)), ..Settings::default() };
    let fixture = fixture(settings, false, vec![], 100);
    for _ in 0..2 {
        assert_eq!(code(&fixture.dispatcher.invoke(call("agent", "{}")).await), None);
    }
    let refused = fixture.dispatcher.invoke(call("agent", "{}")).await.result.unwrap_err();
    assert_eq!(refused.code, ErrorCode::RateLimited);
    assert!(!refused.executed);
    // Time that is paused stands still, so the whole wait is left.
    let after = refused.retry_after.unwrap();
    assert_eq!(after, Duration::from_millis(500));
    // Arguments that do not fit cost a call as well: whoever sends them is to be slowed down first.
    let invalid = fixture.dispatcher.invoke(call("agent", "{\"x\":1}")).await;
    assert_eq!(code(&invalid), Some(ErrorCode::RateLimited));
    tokio::time::advance(after).await;
    assert_eq!(code(&fixture.dispatcher.invoke(call("agent", "{}")).await), None);
    assert!(fixture.is_idle());
}

#[tokio::test(start_paused = true)]
async fn what_no_agent_runs_counts_as_a_call_of_its_tenant() {
    let fixture = fixture(Settings::default(), false, vec![], 100);
    let default = TenantName::default_tenant();
    set_tenant(&fixture, &default, |quota| quota.calls_per_second = Some(2));
    let caller = Caller::local(default);
    let received = call("agent", "{}").received;
    fixture.dispatcher.charge(&caller, received).unwrap();
    let unknown = async || {
        let unknown = Call { received, ..call("nobody", "{}") };
        fixture.dispatcher.invoke(unknown).await.result.unwrap_err().code
    };
    assert_eq!(unknown().await, ErrorCode::NotFound);
    assert_eq!(unknown().await, ErrorCode::RateLimited);
    let refused = fixture.dispatcher.charge(&caller, received).unwrap_err();
    assert_eq!(refused.code, ErrorCode::RateLimited);
    // Where another node passed it here, it was one there.
    let passed = Call { received, here: true, ..call("nobody", "{}") };
    assert_eq!(code(&fixture.dispatcher.invoke(passed).await), Some(ErrorCode::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_tenant_has_places_and_a_queue_of_its_own_and_others_do_not_wait_for_it() {
    let fixture = fixture(Settings::default(), false, vec![], 0);
    let (default, other) = (TenantName::default_tenant(), TenantName::new("other").unwrap());
    set_tenant(&fixture, &default, |quota| {
        quota.concurrency = Some(1);
        quota.queue = Some(1);
    });
    let spawn = |tenant: &TenantName| {
        let (dispatcher, caller) = (Arc::clone(&fixture.dispatcher), Caller::local(tenant.clone()));
        tokio::spawn(async move { dispatcher.invoke(Call { caller, ..call("agent", "{}") }).await })
    };
    let executions = || fixture.script.executions.load(Ordering::SeqCst);
    let first = spawn(&default);
    until(|| executions() == 1).await;
    let second = spawn(&default);
    until(|| fixture.queued() == 1).await;
    let refused = fixture.dispatcher.invoke(call("agent", "{}")).await.result.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ResourceExhausted);
    assert!(refused.message.starts_with("the tenant"), "{}", refused.message);
    // The agent is shared with it here, and the tenant that calls pays.
    let others = spawn(&other);
    until(|| executions() == 2).await;
    fixture.script.gate.add_permits(3);
    for reply in [first.await, second.await, others.await] {
        assert_eq!(code(&reply.unwrap()), None);
    }
    assert!(fixture.is_idle());
    let figures = fixture.accounts.tenant(&default).figures(Instant::now());
    assert_eq!(figures[Resource::Queue as usize].refused, 1);
}

/// Places and queue of an agent that is shared with two tenants.
#[tokio::test(start_paused = true)]
async fn a_tenant_that_fills_the_queue_of_a_shared_agent_leaves_places_in_it_and_learns_nothing() {
    let mut settings = Settings::default();
    settings.limits.concurrency = 4;
    settings.limits.queue = 3;
    let fixture = fixture(settings, false, vec![], 0);
    let call_of = |name: &str| {
        let caller = Caller::local(TenantName::new(name).unwrap());
        Call { caller, ..call("agent", "{}") }
    };
    let spawn = |name: &str| {
        let (dispatcher, call) = (Arc::clone(&fixture.dispatcher), call_of(name));
        tokio::spawn(async move { dispatcher.invoke(call).await })
    };
    let executions = || fixture.script.executions.load(Ordering::SeqCst);
    let evil: Vec<_> = (0..5).map(|_| spawn("evil")).collect();
    until(|| executions() == 3 && fixture.queued() == 2).await;
    let refused = fixture.dispatcher.invoke(call_of("evil")).await.result.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ResourceExhausted);
    assert!(!refused.message.contains(|c: char| c.is_ascii_digit()), "{}", refused.message);
    let acme = [spawn("acme"), spawn("acme")];
    until(|| executions() == 4 && fixture.queued() == 3).await;
    fixture.script.gate.add_permits(7);
    for reply in evil.into_iter().chain(acme) {
        assert_eq!(code(&reply.await.unwrap()), None);
    }
    assert!(fixture.is_idle());
}

#[tokio::test(start_paused = true)]
async fn one_tenant_never_has_all_places_of_the_host_and_waiting_ones_take_turns() {
    let mut settings = Settings::default();
    settings.limits.concurrency = 10_000;
    settings.limits.queue = 10_000;
    let fixture = fixture(settings, false, vec![], 0);
    let spawn = |name: &str| {
        let caller = Caller::local(TenantName::new(name).unwrap());
        let dispatcher = Arc::clone(&fixture.dispatcher);
        tokio::spawn(async move { dispatcher.invoke(Call { caller, ..call("agent", "{}") }).await })
    };
    let executions = || fixture.script.executions.load(Ordering::SeqCst) as usize;
    let greedy: Vec<_> = (0..1_500).map(|_| spawn("greedy")).collect();
    until(|| executions() + fixture.queued() == 1_500).await;
    assert_eq!(executions(), 889, "eight ninths of a thousand");
    let small = spawn("small");
    until(|| executions() == 890).await;
    // Whoever goes away gives everything back.
    small.abort();
    greedy.iter().for_each(tokio::task::JoinHandle::abort);
    for task in greedy {
        assert!(task.await.is_err());
    }
    assert!(small.await.is_err());
    assert!(fixture.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_no_longer_than_the_quota_lets_it() {
    let mut settings =
        Settings { quota: quota(|quota| quota.queue_wait_ms = Some(50)), ..Settings::default() };
    settings.limits.concurrency = 1;
    let fixture = fixture(settings, false, vec![], 0);
    let dispatcher = Arc::clone(&fixture.dispatcher);
    let first = tokio::spawn(async move { dispatcher.invoke(call("agent", "{}")).await });
    until(|| fixture.script.executions.load(Ordering::SeqCst) == 1).await;
    let began = tokio::time::Instant::now();
    let refused = fixture.dispatcher.invoke(call("agent", "{}")).await.result.unwrap_err();
    assert_eq!(began.elapsed().as_millis() / 10, 5);
    assert_eq!(refused.code, ErrorCode::ResourceExhausted);
    assert!(refused.message.contains("50ms") && refused.retry_after.is_some(), "{refused}");
    first.abort();
    assert!(first.await.is_err());
    assert!(fixture.is_idle());
}

#[tokio::test(start_paused = true)]
async fn what_the_node_refuses_says_nothing_about_others() {
    let fixture = fixture(Settings::default(), false, vec![], 0);
    let node = fixture.accounts.node();
    assert_eq!(*node.owner(), Owner::Node);
    node.places.set_capacity(0);
    let call = Call { timeout: Some(Duration::from_secs(1)), ..call("agent", "{}") };
    let lineage =
        Some(Lineage::of(AgentId(uuid::Uuid::nil()), AgentName::new("parent").unwrap(), None));
    let refused = fixture.dispatcher.invoke(Call { lineage, timeout: None, ..call }).await;
    let refused = refused.result.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ResourceExhausted);
    assert!(!refused.message.chars().any(|c| c.is_ascii_digit()), "{}", refused.message);
    assert!(fixture.is_idle());
}

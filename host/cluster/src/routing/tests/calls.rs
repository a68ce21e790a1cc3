//! Calls between nodes that work.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aop_core::bucket::SessionId;
use aop_core::interface::Feature;
use aop_core::settings::Balance;
use aop_core::{CallContext, Lineage, Measure, Progress, Settings};

use super::{PATIENCE, Seen, context, name, nodes, some_id};

#[tokio::test]
async fn a_tool_of_another_node_is_called_with_everything_that_belongs_to_the_call() {
    let nodes = nodes(2, Settings::default()).await;
    let answer = nodes[0].call("agent_echo", r#"{"text": "Zürich \n"}"#).await.unwrap();
    assert_eq!(answer, r#"{"text": "Zürich \n"}"#, "byte for byte");
    let lineage = Lineage::of(some_id(), name("planner"), None);
    let deadline = Instant::now() + Duration::from_secs(5);
    let session = SessionId::new("talk").unwrap();
    let context = Arc::new(CallContext {
        lineage: Some(Arc::clone(&lineage)),
        deadline,
        session: session.into(),
        ..context("agent_spend")
    });
    nodes[0].call_with("agent_spend", "{}", &context).await.unwrap();
    let Seen { caller, waiting, calls_left: left, timeout } =
        nodes[1].invoke.seen.lock().unwrap().take().unwrap();
    assert_eq!(caller, context.caller);
    assert_eq!(waiting, [name("planner")]);
    let timeout = timeout.unwrap();
    assert!(timeout <= Duration::from_secs(5) && timeout > Duration::from_secs(1));
    assert_eq!(lineage.calls_left(), left - 4, "five were made there, one of which is this one");
}

#[tokio::test]
async fn a_feature_is_called_like_a_tool() {
    let nodes = nodes(2, Settings::default()).await;
    let revision = nodes[0].registry.foreign.borrow()["agent"].revision.clone();
    let function = revision.features[&Feature::PromptsList];
    let arguments = revision.executable.validate(function, "{}").unwrap();
    let context = Arc::new(context("prompts_list"));
    let output = revision.executable.execute(function, &arguments, &context).await.unwrap();
    assert_eq!(output.json.get(), "{}");
}

type Report = (f64, Option<f64>, Option<String>);

#[derive(Default)]
struct Reports(Mutex<Vec<Report>>);

impl Progress for Reports {
    fn report(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        self.0.lock().unwrap().push((progress, total, message.map(str::to_owned)));
    }
}

#[tokio::test]
async fn progress_comes_back_before_the_answer() {
    let nodes = nodes(2, Settings::default()).await;
    let reports = Arc::new(Reports::default());
    let sink: Arc<dyn Progress> = reports.clone();
    let context = Arc::new(CallContext { progress: Some(sink), ..context("agent_progress") });
    let arguments = format!(r#"{{"text":"{}"}}"#, "x".repeat(300_000));
    let answer = nodes[0].call_with("agent_progress", &arguments, &context).await.unwrap();
    assert_eq!(answer, arguments);
    let expected = [(1.0, Some(2.0), Some("half".to_owned())), (2.0, Some(2.0), None)];
    assert_eq!(*reports.0.lock().unwrap(), expected);
}

#[tokio::test]
async fn what_the_caller_gives_up_stops_on_the_other_node() {
    let nodes = nodes(2, Settings::default()).await;
    let mut started = nodes[1].invoke.started.subscribe();
    let mut stopped = nodes[1].invoke.stopped.subscribe();
    for with_progress in [false, true] {
        let sink: Option<Arc<dyn Progress>> =
            with_progress.then(|| Arc::new(Reports::default()) as _);
        let before = *stopped.borrow();
        let context = Arc::new(CallContext { progress: sink, ..context("agent_hang") });
        let call = nodes[0].call_with("agent_hang", "{}", &context);
        tokio::select! {
            _ = call => panic!("it hangs"),
            began = started.wait_for(|count| *count > before) => drop(began.unwrap()),
        }
        let wait = stopped.wait_for(|count| *count > before);
        tokio::time::timeout(PATIENCE, wait).await.expect("it still runs").unwrap();
    }
}

#[tokio::test]
async fn the_deadline_holds_although_the_other_node_forgets_it() {
    let nodes = nodes(2, Settings::default()).await;
    let deadline = Instant::now() + Duration::from_millis(100);
    let context = Arc::new(CallContext { deadline, ..context("agent_hang") });
    let failure = nodes[0].call_with("agent_hang", "{}", &context).await.unwrap_err();
    assert_eq!(failure.code, aop_core::ErrorCode::DeadlineExceeded);
    assert!(failure.executed);
}

#[tokio::test]
async fn many_calls_share_few_connections_and_more_streams_open_more() {
    let nodes = nodes(2, Settings::default()).await;
    let calls = (0..200).map(|_| nodes[0].call("agent_echo", "{}"));
    for answer in futures::future::join_all(calls).await {
        answer.unwrap();
    }
    let open =
        nodes[0].router.measure().iter().find(|s| s.name == "peer_connections").unwrap().value;
    assert!((1.0..=4.0).contains(&open), "{open}");
    assert_eq!(nodes[1].invoke.calls.load(Ordering::SeqCst), 200);
}

#[tokio::test]
async fn round_robin_is_what_the_settings_say() {
    let settings = Settings { balance: Some(Balance::RoundRobin), ..Settings::default() };
    let nodes = nodes(4, settings).await;
    for _ in 0..30 {
        nodes[0].call("agent_echo", "{}").await.unwrap();
    }
    for node in &nodes[1..] {
        assert_eq!(node.invoke.calls.load(Ordering::SeqCst), 10);
    }
}

#[tokio::test]
async fn a_session_stays_on_its_node() {
    let nodes = nodes(4, Settings::default()).await;
    let mut answers = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let session = SessionId::new("talk").unwrap();
        let context = Arc::new(CallContext { session: session.into(), ..context("agent_node") });
        answers.insert(nodes[0].call_with("agent_node", "{}", &context).await.unwrap());
    }
    assert_eq!(answers.len(), 1);
}

#[tokio::test]
async fn agents_do_not_wait_for_themselves_across_nodes() {
    let nodes = nodes(2, Settings::default()).await;
    let lineage = Lineage::of(some_id(), name("agent"), None);
    let context = Arc::new(CallContext { lineage: Some(lineage), ..context("agent_echo") });
    let failure = nodes[0].call_with("agent_echo", "{}", &context).await.unwrap_err();
    assert_eq!(failure.code, aop_core::ErrorCode::LoopDetected);
    assert_eq!(nodes[1].invoke.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_call_that_came_from_a_node_is_not_passed_on_again() {
    let nodes = nodes(2, Settings::default()).await;
    let context = Arc::new(CallContext { here: true, ..context("agent_echo") });
    let failure = nodes[0].call_with("agent_echo", "{}", &context).await.unwrap_err();
    assert!(!failure.executed && failure.code == aop_core::ErrorCode::Unavailable);
}

#[tokio::test]
async fn arguments_are_one_object_and_nothing_else() {
    let nodes = nodes(2, Settings::default()).await;
    let revision = nodes[0].registry.foreign.borrow()["agent"].revision.clone();
    for bad in ["", "[]", "{", "{} {}", r#"{}, "_meta": {}"#, "null"] {
        assert!(revision.executable.validate(0, bad).is_err(), "{bad}");
    }
}

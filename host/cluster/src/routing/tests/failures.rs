//! Nodes that fail, and what a call sees of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aop_core::cluster::ReportRoutes as _;
use aop_core::settings::Balance;
use aop_core::{CallContext, ErrorCode, Measure, Settings};
use tokio::io::AsyncReadExt as _;

use super::{PATIENCE, context, nodes};

fn round_robin() -> Settings {
    Settings { balance: Some(Balance::RoundRobin), ..Settings::default() }
}

#[tokio::test]
async fn a_call_that_did_not_begin_goes_to_another_replica_at_once() {
    let nodes = nodes(4, round_robin()).await;
    nodes[1].kill();
    nodes[2].kill();
    for _ in 0..20 {
        // Not idempotent: nothing of it ran on the dead ones.
        nodes[0].call("agent_once", "{}").await.unwrap();
    }
    assert_eq!(nodes[3].invoke.calls.load(Ordering::SeqCst), 20, "each ran exactly once");
    assert!(!nodes[0].router.breakers().is_empty(), "the dead ones are not asked every time");
}

#[tokio::test]
async fn a_call_that_may_have_run_says_so_and_its_node_is_not_asked_again() {
    let nodes = nodes(3, Settings::default()).await;
    let context = Arc::new(context("agent_hang"));
    let revision = nodes[0].registry.foreign.borrow()["agent"].revision.clone();
    let function = revision.tools.iter().find(|t| &*t.name == "agent_hang").unwrap().function;
    let arguments = revision.executable.validate(function, "{}").unwrap();
    let call = revision.executable.execute(function, &arguments, &context);
    let mut call = std::pin::pin!(call);
    let one_runs = async {
        let mut first = nodes[1].invoke.started.subscribe();
        let mut second = nodes[2].invoke.started.subscribe();
        tokio::select! {
            _ = first.wait_for(|count| *count > 0) => 1,
            _ = second.wait_for(|count| *count > 0) => 2,
        }
    };
    let victim = tokio::select! {
        _ = &mut call => panic!("it hangs"),
        victim = one_runs => victim,
    };
    nodes[victim].kill();
    let failure = tokio::time::timeout(PATIENCE, call).await.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.executed), (ErrorCode::Unavailable, true));
    assert!(failure.message.contains("whether it ran is not known"), "{failure}");
    // The dispatcher repeats what is idempotent: with the same arguments, elsewhere.
    let again = revision.executable.execute(function, &arguments, &context);
    let other = &nodes[3 - victim].invoke.started;
    let mut other = other.subscribe();
    tokio::select! {
        _ = again => panic!("it hangs there too"),
        began = other.wait_for(|count| *count > 0) => drop(began.unwrap()),
    }
}

#[tokio::test]
async fn what_the_guest_answered_is_neither_repeated_nor_held_against_the_node() {
    let nodes = nodes(3, Settings::default()).await;
    for _ in 0..10 {
        let failure = nodes[0].call("agent_trap", "{}").await.unwrap_err();
        assert_eq!((failure.code, failure.executed), (ErrorCode::GuestTrapped, true));
    }
    let calls = |node: usize| nodes[node].invoke.calls.load(Ordering::SeqCst);
    assert_eq!(calls(1) + calls(2), 10);
    assert!(nodes[0].router.breakers().is_empty());
}

#[tokio::test]
async fn a_draining_replica_is_passed_over_and_with_all_draining_the_caller_hears_it() {
    let nodes = nodes(3, Settings::default()).await;
    let failure = nodes[0].call("agent_drain", "{}").await.unwrap_err();
    assert_eq!((failure.code, failure.executed), (ErrorCode::Unavailable, false));
    let calls = |node: usize| nodes[node].invoke.calls.load(Ordering::SeqCst);
    assert_eq!((calls(1), calls(2)), (1, 1), "both were asked once");
    nodes[0].zone.change(&nodes[1].id, |member| member.draining = true);
    let mut left = 0;
    while left < 20 {
        let before = calls(1);
        nodes[0].call("agent_echo", "{}").await.unwrap();
        // The view arrives while calls go on.
        left = if calls(1) == before { left + 1 } else { 0 };
    }
}

#[tokio::test]
async fn a_node_that_freezes_loses_its_calls_to_another_within_the_deadline() {
    let nodes = nodes(3, round_robin()).await;
    // What listens there accepts and reads, and never answers.
    let frozen = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = frozen.local_addr().unwrap();
    nodes[1].kill();
    nodes[0].zone.addresses.lock().unwrap().insert(nodes[1].id.clone(), address);
    let acceptor = tokio_rustls::TlsAcceptor::from(nodes[0].zone.server.clone());
    let _frozen = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (stream, _) = frozen.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            held.push(tokio::spawn(async move {
                let mut read = [0; 1024];
                while stream.read(&mut read).await.is_ok_and(|count| count > 0) {}
            }));
        }
    }));
    for _ in 0..4 {
        let deadline = Instant::now() + Duration::from_secs(3);
        let context = Arc::new(CallContext { deadline, ..context("agent_node") });
        let revision = nodes[0].registry.foreign.borrow()["agent"].revision.clone();
        let function = revision.tools.iter().find(|t| &*t.name == "agent_node").unwrap().function;
        let arguments = revision.executable.validate(function, "{}").unwrap();
        let first = revision.executable.execute(function, &arguments, &context).await;
        // As the dispatcher does with what is idempotent.
        let answer = match first {
            Err(failure) if failure.executed => {
                assert_eq!(failure.code, ErrorCode::Unavailable);
                revision.executable.execute(function, &arguments, &context).await
            }
            answer => answer,
        };
        assert_eq!(answer.unwrap().json.get(), format!("{:?}", nodes[2].id.to_string()));
    }
}

#[tokio::test]
async fn an_ejected_node_lets_go_of_its_calls_at_once() {
    let nodes = nodes(2, Settings::default()).await;
    let mut started = nodes[1].invoke.started.subscribe();
    let call = nodes[0].call("agent_hang", "{}");
    let eject = async {
        drop(started.wait_for(|count| *count > 0).await.unwrap());
        nodes[0].zone.eject(&nodes[1].id);
        std::future::pending::<()>().await;
    };
    let failure = tokio::select! {
        answer = call => answer.unwrap_err(),
        () = eject => unreachable!(),
    };
    assert_eq!((failure.code, failure.executed), (ErrorCode::Unavailable, true));
}

#[tokio::test]
async fn failures_are_counted() {
    let nodes = nodes(2, Settings::default()).await;
    nodes[1].kill();
    nodes[0].call("agent_echo", "{}").await.unwrap_err();
    let sample = |name: &str| {
        nodes[0].router.measure().iter().find(|sample| sample.name == name).unwrap().value
    };
    assert_eq!((sample("forwarded_calls"), sample("forwarded_calls_broken")), (1.0, 1.0));
}

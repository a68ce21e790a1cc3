//! Many spinning guests at once: others are served, connections are accepted, and all of them end.

use std::time::{Duration, Instant};

use aop_tests::{AgentsDirectory, BOUND, Host, Sandbox, http_client, within};
use futures::future::join_all;
use serde_json::json;

use super::{failed, hurried, wat};

const SPINNERS: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn while_64_guests_spin_the_host_serves_others() {
    let agents = AgentsDirectory::new()
        .with("echo")
        .with_text("spinner", wat::SPIN)
        .with_settings("spinner", "timeout = \"5s\"\nmax_retries = 1\n");
    let host = Host::serve(agents.path()).await;
    let mcp = host.mcp();
    let crowd = join_all((0..SPINNERS).map(|_| mcp.call("spinner", json!({}))));
    let others = async {
        aop_tests::eventually("all of them spin", || async {
            let metrics = host.metrics().await;
            metrics
                .value("aop_executions_running")
                .is_some_and(|running| running >= SPINNERS as f64)
                .then_some(())
        })
        .await;
        for round in 0..20 {
            let text = format!("round {round}");
            let result = within(
                BOUND,
                "an answer beside spinners",
                mcp.call("echo_echo", json!({ "text": text })),
            );
            assert_eq!(result.await.value(), &json!(text));
            // A new client each time: connections are accepted, too.
            let health = http_client().get(host.url("/healthz")).send();
            assert_eq!(
                within(BOUND, "health beside spinners", health).await.expect("it answers").status(),
                200
            );
        }
    };
    let (results, ()) = tokio::join!(crowd, others);
    for result in results {
        assert_eq!(result.code(), "deadline_exceeded");
    }
    host.no_instances().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_spinners_are_all_stopped_in_time() {
    let sandbox = Sandbox::new();
    let loaded = sandbox.load(wat::SPIN, hurried(300)).await;
    let started = Instant::now();
    for result in join_all((0..100).map(|_| loaded.call("run", "{}"))).await {
        failed(result, aop_core::ErrorCode::DeadlineExceeded);
    }
    let took = started.elapsed();
    assert!(
        (Duration::from_millis(300)..BOUND).contains(&took),
        "the last was answered after {took:?}"
    );
    sandbox.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_more_than_a_slot_takes_nothing_of_the_pool() {
    let sandbox = Sandbox::new();
    let hog = sandbox.load(&wat::sleeps_with_memories(16), hurried(3000)).await;
    let other = sandbox.load(wat::NOTHING, super::patient()).await;
    // With 128 places there are 256 memories in the pool.
    let crowd = join_all((0..60).map(|_| hog.call("run", "{}")));
    let others = async {
        aop_tests::eventually("all of them wait", || async {
            (sandbox.sample("instances_live") >= 60.0).then_some(())
        })
        .await;
        for _ in 0..10 {
            other.call("run", "{}").await.expect("others run");
        }
    };
    let (results, ()) = tokio::join!(crowd, others);
    for result in results {
        failed(result, aop_core::ErrorCode::DeadlineExceeded);
    }
    sandbox.is_empty().await;
    let bytes = aop_tests::component(&wat::sleeps_with_memories(17));
    let refused = sandbox.load_bytes(&bytes, hurried(1000)).await;
    let reason = refused.map(drop).expect_err("it is refused").to_string();
    assert!(reason.contains("17 linear memories"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_outside_the_pool_is_bounded_too() {
    let sandbox = Sandbox::new();
    let hog = sandbox.load(&wat::sleeps_with_memories(3), hurried(2000)).await;
    let results = join_all((0..300).map(|_| hog.call("run", "{}"))).await;
    let mut refused = 0;
    for result in results {
        let failure = result.expect_err("none of them ends");
        if failure.code == aop_core::ErrorCode::ResourceExhausted {
            assert!(
                failure.message.contains("more than a slot") && !failure.executed,
                "{failure:?}"
            );
            refused += 1;
        }
    }
    assert!(refused >= 300 - 256, "{refused} were refused");
    sandbox.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stacks_that_some_calls_take_leave_every_place_its_own() {
    let sandbox = Sandbox::new();
    // A stack for each of its parts and one for itself: more than a place has, and all that an instance may have.
    let hog = sandbox.load(&wat::waits_in_parts(15, wat::PART), hurried(600_000)).await;
    let fitting = sandbox.load(&wat::waits_in_parts(2, wat::PART), hurried(5000)).await;
    let other = sandbox.load(wat::ASYNC_NOTHING, super::patient()).await;
    let others = async {
        aop_tests::eventually("all of them wait", || async {
            (sandbox.sample("instances_live") >= 60.0).then_some(())
        })
        .await;
        other.call("run", "{}").await.expect("others run");
        // As many as there are places.
        join_all((0..Sandbox::INSTANCES_MAX).map(|_| fitting.call("run", "{}"))).await
    };
    let results = tokio::select! {
        ended = join_all((0..60).map(|_| hog.call("run", "{}"))) => panic!("{ended:?}"),
        results = others => results,
    };
    for result in results {
        failed(result, aop_core::ErrorCode::DeadlineExceeded);
    }
    sandbox.is_empty().await;
    for part in [wat::PART, wat::PART_WITHOUT_MODULE] {
        let bytes = aop_tests::component(&wat::waits_in_parts(16, part));
        let refused = sandbox.load_bytes(&bytes, hurried(1000)).await;
        let reason = refused.map(drop).expect_err("it is refused").to_string();
        assert!(reason.contains("17 counted"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_is_told_as_such() {
    let sandbox = Sandbox::new();
    let loaded = sandbox.load(wat::SLEEP, hurried(1000)).await;
    let results = join_all((0..400).map(|_| loaded.call("run", "{}"))).await;
    let mut refused = 0;
    for result in results {
        let failure = result.expect_err("nobody sleeps to the end");
        if failure.code == aop_core::ErrorCode::ResourceExhausted {
            assert!(failure.retry_after.is_some() && !failure.executed, "{failure:?}");
            refused += 1;
        } else {
            assert_eq!(failure.code, aop_core::ErrorCode::DeadlineExceeded, "{failure:?}");
        }
    }
    assert!(refused > 0, "400 instances do not fit");
    sandbox.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_instances_leave_half_of_the_pool_and_give_way_to_calls() {
    let sandbox = Sandbox::new();
    let pool = f64::from(Sandbox::INSTANCES_MAX);
    let nap = wat::SLEEP.replace("3600000000000", "200000000");
    let lifetime = aop_core::settings::Lifetime::WARM;
    let nappers = sandbox.load(&nap, aop_core::Settings { lifetime, ..hurried(30_000) }).await;
    for result in join_all((0..100).map(|_| nappers.call("run", "{}"))).await {
        result.expect("everybody wakes up");
    }
    assert_eq!(sandbox.sample("instances_live"), pool / 2.0, "the others were thrown away");
    // As many as there are places: none may be kept by an instance that has nothing to do.
    let sleepers = sandbox.load(wat::SLEEP, hurried(1000)).await;
    for result in join_all((0..Sandbox::INSTANCES_MAX).map(|_| sleepers.call("run", "{}"))).await {
        failed(result, aop_core::ErrorCode::DeadlineExceeded);
    }
    assert_eq!(sandbox.sample("instances_live"), 0.0, "the idle ones gave way");
}

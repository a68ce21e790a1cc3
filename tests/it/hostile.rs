//! Components that attack the host from inside: each gets its answer, the right one, in time, and
//! leaves nothing behind. They are written as text here, so that what they do can be read.

pub(crate) mod bombs;
mod crowd;
mod http;
mod refused;
mod wat;

use std::time::{Duration, Instant};

use aop_core::settings::Lifetime;
use aop_core::{ErrorCode, Failure, Output, Settings};
use aop_tests::{BOUND, Sandbox};

/// Settings with a short timeout: what never ends is over soon.
fn hurried(milliseconds: u64) -> Settings {
    let mut settings = Settings { traceback: false, ..Settings::default() };
    settings.limits.timeout = Duration::from_millis(milliseconds);
    settings
}

/// Settings whose timeout is out of reach, so that only another limit can end the call.
fn patient() -> Settings {
    hurried(60_000)
}

/// Runs `run` of a component once in a runtime of its own, and checks that no instance is left.
async fn attack(text: &str, settings: Settings) -> Result<Output, Failure> {
    let sandbox = Sandbox::new();
    let loaded = sandbox.load(text, settings).await;
    let result = loaded.call("run", "{}").await;
    sandbox.is_empty().await;
    assert_eq!(sandbox.sample("executions_running"), 0.0);
    result
}

#[track_caller]
fn failed(result: Result<Output, Failure>, code: ErrorCode) -> Failure {
    let failure = result.expect_err("the call fails");
    assert_eq!(failure.code, code, "{failure:?}");
    failure
}

/// Whatever the guest does, its caller has the answer at the deadline.
async fn is_stopped(text: &str) {
    let sandbox = Sandbox::new();
    let loaded = sandbox.load(text, hurried(200)).await;
    let started = Instant::now();
    let failure = failed(loaded.call("run", "{}").await, ErrorCode::DeadlineExceeded);
    let took = started.elapsed();
    assert!((Duration::from_millis(200)..BOUND).contains(&took), "answered after {took:?}");
    assert!(failure.executed);
    sandbox.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_infinite_loop_is_stopped() {
    is_stopped(wat::SPIN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_of_host_calls_is_stopped() {
    is_stopped(wat::HOST_CALL_FLOOD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_past_the_deadline_is_stopped() {
    is_stopped(wat::SLEEP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_function_that_hangs_is_stopped() {
    is_stopped(wat::START_SPINS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filling_memory_over_and_over_is_stopped() {
    is_stopped(wat::FILL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_log_lines_is_stopped() {
    is_stopped(wat::LOG_FLOOD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_comes_is_not_waited_for() {
    let sandbox = Sandbox::new();
    let bytes = std::fs::read(aop_tests::guest("asynchronous")).expect("the guest can be read");
    let loaded = sandbox.load_bytes(&bytes, hurried(200)).await.expect("the guest loads");
    failed(
        loaded.call("async-sleep", r#"{"milliseconds": 600000}"#).await,
        ErrorCode::DeadlineExceeded,
    );
    sandbox.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_bomb_meets_its_limit() {
    let failure = failed(attack(wat::MEMORY_BOMB, patient()).await, ErrorCode::GuestLimit);
    assert!(failure.message.contains("64MiB"), "{failure}");
    assert!(failure.message.contains("`memory`"), "the fix is named: {failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn memories_are_counted_together() {
    let failure = failed(attack(&wat::many_memories(), patient()).await, ErrorCode::GuestLimit);
    assert!(failure.message.contains("64MiB"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_that_is_too_large_from_the_start_is_refused() {
    let result = attack(wat::LARGE_MEMORY, patient()).await;
    failed(result, ErrorCode::GuestLimit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_bomb_meets_its_limit() {
    let failure = failed(attack(wat::TABLE_BOMB, patient()).await, ErrorCode::GuestLimit);
    assert!(failure.message.contains("100000"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_recursion_meets_the_end_of_the_stack() {
    let failure = failed(attack(wat::RECURSE, patient()).await, ErrorCode::GuestLimit);
    assert!(failure.message.contains("stack"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_of_100_megabytes_is_refused() {
    let mut settings = patient();
    settings.limits.memory_max_bytes = 256 << 20;
    let failure = failed(attack(wat::LARGE_RESULT, settings).await, ErrorCode::GuestLimit);
    assert!(failure.message.contains("`output`"), "the fix is named: {failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_small_for_the_guest_and_large_for_the_host_is_refused() {
    failed(attack(wat::LARGE_LIST, patient()).await, ErrorCode::GuestLimit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_outside_of_memory_is_a_trap() {
    failed(attack(wat::RESULT_OUT_OF_BOUNDS, patient()).await, ErrorCode::GuestTrapped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_not_utf8_is_a_trap() {
    failed(attack(wat::RESULT_NOT_UTF8, patient()).await, ErrorCode::GuestTrapped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_told_apart() {
    let failure = failed(attack(wat::TRAP, patient()).await, ErrorCode::GuestTrapped);
    assert!(failure.executed);
    assert!(failure.message.contains("unreachable"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_is_no_answer_even_with_success() {
    let failure = failed(attack(wat::EXIT, patient()).await, ErrorCode::GuestTrapped);
    assert!(failure.message.contains("exit code 0"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_are_cut_and_the_guest_goes_on() {
    let sandbox = Sandbox::new();
    let bytes = std::fs::read(aop_tests::guest("faults")).expect("the guest can be read");
    let loaded = sandbox.load_bytes(&bytes, patient()).await.expect("the guest loads");
    let output =
        loaded.call("flood-stdout", r#"{"lines": 5000}"#).await.expect("the guest answers");
    assert_eq!(output.json.get(), "5000");
    let lines = sandbox.log().lines();
    assert_eq!(lines.len(), 5000, "the runtime hands over every line; the log's rate is the log's");
    assert_eq!(lines[4999], "line 4999 of 5000");
    sandbox.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_instance_is_reused_and_a_poisoned_one_is_not() {
    let sandbox = Sandbox::new();
    let settings = Settings { lifetime: Lifetime::WARM, ..patient() };
    let loaded = sandbox.load(wat::COUNT_AND_TRAP_AT_3, settings).await;
    for round in 0..3 {
        for expected in ["1", "2"] {
            let output = loaded.call("run", "{}").await.expect("the guest answers");
            assert_eq!(output.json.get(), expected, "round {round}");
        }
        assert_eq!(sandbox.sample("instances_live"), 1.0, "the instance waits for the next call");
        failed(loaded.call("run", "{}").await, ErrorCode::GuestTrapped);
        assert_eq!(sandbox.sample("instances_live"), 0.0, "a trapped instance is thrown away");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_without_an_end_belongs_to_the_call_that_wrote_it() {
    let sandbox = Sandbox::new();
    let settings = Settings { lifetime: Lifetime::WARM, ..patient() };
    let loaded = sandbox.load(wat::WRITE_HALF_A_LINE, settings).await;
    for calls in 1..=3 {
        loaded.call("run", "{}").await.expect("the guest answers");
        assert_eq!(sandbox.log().lines(), vec!["half"; calls], "said before the next call begins");
        assert_eq!(sandbox.sample("instances_live"), 1.0, "by the same instance");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_instance_serves_no_more_than_its_calls_and_idles_no_longer_than_it_may() {
    let sandbox = Sandbox::new();
    let lifetime = Lifetime::Warm { calls_max: 2, idle_max: Duration::from_millis(50) };
    let loaded = sandbox.load(wat::COUNT_AND_TRAP_AT_3, Settings { lifetime, ..patient() }).await;
    for _ in 0..4 {
        let first = loaded.call("run", "{}").await.expect("never the third call of an instance");
        assert!(["1", "2"].contains(&first.json.get()), "{first:?}");
    }
    sandbox.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_instance_that_was_too_late_is_thrown_away() {
    let sandbox = Sandbox::new();
    let loaded =
        sandbox.load(wat::SPIN, Settings { lifetime: Lifetime::WARM, ..hurried(100) }).await;
    failed(loaded.call("run", "{}").await, ErrorCode::DeadlineExceeded);
    sandbox.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_instance_remembers_nothing() {
    let sandbox = Sandbox::new();
    let loaded = sandbox.load(wat::COUNT_AND_TRAP_AT_3, patient()).await;
    for _ in 0..5 {
        assert_eq!(loaded.call("run", "{}").await.expect("the guest answers").json.get(), "1");
        assert_eq!(sandbox.sample("instances_live"), 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_stops_its_guest() {
    let sandbox = Sandbox::new();
    let loaded = sandbox.load(wat::SPIN, patient()).await;
    let call = loaded.call("run", "{}");
    let watched = aop_tests::eventually("the guest runs", || async {
        (sandbox.sample("executions_running") > 0.0).then_some(())
    });
    tokio::select! {
        result = call => panic!("a guest that spins answered: {result:?}"),
        () = watched => {}
    }
    sandbox.is_empty().await;
}

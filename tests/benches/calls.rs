//! What the sandbox costs, without a network: `cargo bench -p aop-tests`.
//!
//! - `echo`: one call in a fresh instance; the median is the figure of the contract (≤ 20 µs).
//! - `echo/two tasks` against `cpu/two tasks`: how calls grow from one task to two, as a share of what
//!   a pure computation grows on the same machine in the same run (≥ 0.8).
//! - `spinner`: how late a guest that never stops is stopped at a deadline of 100 ms.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark talks and stops on failure"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use aop_core::Settings;
use aop_tests::{Loaded, Sandbox, guest};
use criterion::{Criterion, Throughput};
use tokio::runtime::Runtime;

/// Calls per task and measurement of the scaling: about half a second.
const SCALING_CALLS: u32 = 40_000;
/// Tries of the deadline, as the contract has it.
const SPINNER_TRIES: usize = 200;
const SPINNER_TIMEOUT: Duration = Duration::from_millis(100);

const SPIN: &str = r#"(component
  (core module $m (func (export "run") (loop $again (br $again))))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))"#;

fn main() {
    if cfg!(debug_assertions) {
        panic!("a benchmark of an unoptimised build says nothing: use `cargo bench`");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let sandbox = {
        let _inside = runtime.enter();
        Sandbox::new()
    };
    let bytes = std::fs::read(guest("echo")).expect("the guest can be read");
    let echo =
        runtime.block_on(sandbox.load_bytes(&bytes, Settings::default())).expect("the guest loads");
    let echo = std::sync::Arc::new(echo);

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("calls");
    group.throughput(Throughput::Elements(1));
    group.bench_function("echo in a fresh instance", |bencher| {
        bencher.to_async(&runtime).iter(|| echo_once(&echo));
    });
    group.finish();
    criterion.final_summary();

    percentiles("echo in a fresh instance", runtime.block_on(echo_times(&echo)));
    scaling(&runtime, &echo);
    let spinner = runtime.block_on(spinner_times(&sandbox));
    percentiles("late after a deadline of 100 ms", spinner);
}

async fn echo_once(echo: &Loaded) {
    let output = echo.call("echo", r#"{"text":"hello"}"#).await.expect("echo answers");
    black_box(output);
}

async fn echo_times(echo: &std::sync::Arc<Loaded>) -> Vec<Duration> {
    let echo = std::sync::Arc::clone(echo);
    // On a worker thread, as calls are in a host.
    let measure = tokio::spawn(async move {
        let mut times = Vec::with_capacity(SCALING_CALLS as usize);
        for _ in 0..SCALING_CALLS {
            let started = Instant::now();
            echo_once(&echo).await;
            times.push(started.elapsed());
        }
        times
    });
    measure.await.expect("the calls end")
}

/// Calls per second and loops per second on one task and on two.
fn scaling(runtime: &Runtime, echo: &std::sync::Arc<Loaded>) {
    let calls = |tasks: u32| {
        let started = Instant::now();
        runtime.block_on(async {
            let running: Vec<_> = (0..tasks)
                .map(|_| {
                    let echo = std::sync::Arc::clone(echo);
                    tokio::spawn(async move {
                        for _ in 0..SCALING_CALLS {
                            echo_once(&echo).await;
                        }
                    })
                })
                .collect();
            for task in running {
                task.await.expect("the calls end");
            }
        });
        f64::from(tasks * SCALING_CALLS) / started.elapsed().as_secs_f64()
    };
    let loops = |tasks: u32| {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..tasks {
                scope.spawn(|| (0..300_000_000_u64).fold(0, |sum, number| black_box(sum ^ number)));
            }
        });
        f64::from(tasks) / started.elapsed().as_secs_f64()
    };
    let (call_growth, loop_growth) = (calls(2) / calls(1), loops(2) / loops(1));
    println!(
        "scaling from one task to two: calls {call_growth:.2} ×, a pure loop {loop_growth:.2} ×, share {:.2}",
        call_growth / loop_growth
    );
}

async fn spinner_times(sandbox: &Sandbox) -> Vec<Duration> {
    let mut settings = Settings { traceback: false, ..Settings::default() };
    settings.limits.timeout = SPINNER_TIMEOUT;
    let spinner = sandbox.load(SPIN, settings).await;
    let mut times = Vec::with_capacity(SPINNER_TRIES);
    for _ in 0..SPINNER_TRIES {
        let started = Instant::now();
        spinner.call("run", "{}").await.expect_err("nobody answers");
        times.push(started.elapsed().saturating_sub(SPINNER_TIMEOUT));
    }
    times
}

fn percentiles(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index into the times"
        )]
        let index = (times.len() as f64 * share) as usize;
        times[index.min(times.len() - 1)]
    };
    println!(
        "{what}: p50 {:?}, p95 {:?}, p99 {:?}, max {:?}",
        at(0.50),
        at(0.95),
        at(0.99),
        at(1.0)
    );
}

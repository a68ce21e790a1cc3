//! What a call costs in the process: `cargo bench -p aop-tests --bench calls [-- SECTION…]`.
//!
//! Every number stands beside a baseline of the same run, since a number alone says more about the
//! machine than about the host. Sections: `echo`, `scaling`, `deadline`, `fairness`, `tenants`,
//! `waiting`.
//! docs/benchmarks.md keeps the results.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and may panic")]

mod measure;

use std::hint::black_box;
use std::time::{Duration, Instant};

use aop_core::quota::{Accounts, Quota};
use aop_core::settings::Lifetime;
use aop_core::{AgentName, Settings, TenantName};
use aop_tests::guest;
use measure::{Bench, Function, Latencies, PATIENCE};
use tokio::task::JoinHandle;

/// What `aop` itself allocates with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

async fn faults(bench: &Bench, name: &str, arguments: &'static str) -> Function {
    bench.file(&guest("faults"), name, arguments, Settings::default()).await
}

async fn echo(bench: &Bench) {
    println!("echo: one call in the process, validation included");
    let fresh = bench.echo().await;
    let warm = Settings { lifetime: Lifetime::WARM, ..Settings::default() };
    let warm = bench.file(&guest("echo"), "echo", r#"{"text":"hi"}"#, warm).await;
    let wasi = faults(bench, "count", "{}").await;
    Latencies::of(&fresh, 2_000).await;
    Latencies::of(&fresh, 50_000).await.row("fresh sandbox, no imports");
    Latencies::of(&warm, 50_000).await.row("warm instance");
    Latencies::of(&wasi, 20_000).await.row("fresh sandbox, Rust std with WASI");
}

/// Calls per second of `tasks` tasks.
async fn rate(function: &Function, tasks: usize, calls: usize) -> f64 {
    let started = Instant::now();
    let spawn = |_| {
        let function = function.clone();
        tokio::spawn(async move {
            for _ in 0..calls {
                function.call(PATIENCE).await.unwrap();
            }
        })
    };
    join((0..tasks).map(spawn).collect()).await;
    f64::from(u32::try_from(tasks * calls).unwrap()) / started.elapsed().as_secs_f64()
}

async fn join(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.await.unwrap();
    }
}

/// Loops per second of `threads` threads that share nothing.
fn pure_rate(threads: u32) -> f64 {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut value = 1_u64;
                for step in 0..400_000_000_u64 {
                    value = black_box(value.wrapping_mul(6_364_136_223_846_793_005) ^ step);
                }
                value
            });
        }
    });
    f64::from(threads) / started.elapsed().as_secs_f64()
}

async fn scaling(bench: &Bench) {
    println!("scaling: calls/s from one task to two, beside a pure CPU loop");
    let function = bench.echo().await;
    rate(&function, 2, 5_000).await;
    for round in 1..=3 {
        let (one, two) = (rate(&function, 1, 60_000).await, rate(&function, 2, 60_000).await);
        let pure = pure_rate(2) / pure_rate(1);
        let grown = two / one;
        println!(
            "  round {round}: {one:>8.0} → {two:>8.0} calls/s = {grown:.2} ×; CPU loop {pure:.2} ×; ratio {:.2}",
            grown / pure
        );
    }
}

fn spin(function: &Function, count: usize, timeout: Duration) -> Vec<JoinHandle<()>> {
    let deadline = Instant::now() + timeout;
    let spawn = |_| {
        let function = function.clone();
        tokio::spawn(async move {
            function.call_until(deadline).await.unwrap_err();
        })
    };
    (0..count).map(spawn).collect()
}

async fn deadline(bench: &Bench) {
    println!("deadline: 100 ms on a guest that spins");
    let timeout = Duration::from_millis(100);
    let function = faults(bench, "spin", "{}").await;
    let mut durations = Vec::new();
    for _ in 0..200 {
        let started = Instant::now();
        function.call(timeout).await.unwrap_err();
        durations.push(started.elapsed());
    }
    Latencies::sorted(durations).row("one spinner, 200 tries");
    let mut durations = Vec::new();
    for _ in 0..200 {
        let started = Instant::now();
        tokio::time::sleep(timeout).await;
        durations.push(started.elapsed());
    }
    Latencies::sorted(durations).row("a timer without a guest, 200 tries");
    let started = Instant::now();
    join(spin(&function, 1_000, timeout)).await;
    println!("  1,000 spinners at once: the last is gone after {:.2?}", started.elapsed());
}

async fn fairness(bench: &Bench) {
    println!("fairness: echo while 64 guests spin");
    let echo = bench.echo().await;
    let spinner = faults(bench, "spin", "{}").await;
    let measure = |calls| {
        let echo = echo.clone();
        tokio::spawn(async move { Latencies::of(&echo, calls).await })
    };
    measure(5_000).await.unwrap().row("alone");
    let spinners = spin(&spinner, 64, PATIENCE);
    measure(1_000).await.unwrap().row("with 64 spinners");
    for spinner in &spinners {
        spinner.abort();
    }
}

/// One tenant's small calls while another one does its worst: 256 guests that spin, and 64 callers that are just small
/// enough never to queue for a slice.
async fn tenants(bench: &Bench) {
    println!("tenants: echo of one tenant while another computes as much as it can");
    let accounts = Accounts::new(&Quota::default(), Quota::default(), 2048);
    let payer = |tenant: &str| {
        accounts.payer(&TenantName::new(tenant).unwrap(), &AgentName::new("bench").unwrap())
    };
    let (mut echo, mut spinner) = (bench.echo().await, faults(bench, "spin", "{}").await);
    (echo.payer, spinner.payer) = (payer("small"), payer("greedy"));
    let measure = |calls| {
        let echo = echo.clone();
        tokio::spawn(async move { Latencies::of(&echo, calls).await })
    };
    let alone = measure(5_000).await.unwrap();
    alone.row("alone");
    let goal = (alone.at(99) * 3).max(alone.at(99) + Duration::from_millis(8));
    let check = |beside: &Latencies| {
        let (p99, kept) = (beside.at(99), beside.at(99) <= goal);
        println!("  goal p99 ≤ {goal:.2?}: {p99:.2?}, {}", if kept { "kept" } else { "MISSED" });
    };
    let spinners = spin(&spinner, 256, PATIENCE);
    let beside = measure(2_000).await.unwrap();
    beside.row("with 256 spinners of another tenant");
    check(&beside);
    spinners.iter().for_each(JoinHandle::abort);
    for spinner in spinners {
        let _ = spinner.await;
    }
    // Calls that are stopped after half a millisecond, one after another.
    let crowd: Vec<_> = (0..64)
        .map(|_| {
            let spinner = spinner.clone();
            tokio::spawn(async move {
                loop {
                    spinner.call(Duration::from_micros(500)).await.unwrap_err();
                }
            })
        })
        .collect();
    let beside = measure(2_000).await.unwrap();
    beside.row("with 64 callers of just less than a slice");
    check(&beside);
    crowd.iter().for_each(JoinHandle::abort);
}

async fn waiting(bench: &Bench) {
    println!("waiting: 1,000 calls that each wait 1 s in the host");
    let second = r#"{"milliseconds":1000}"#;
    let sleeper = faults(bench, "sleep", second).await;
    let started = Instant::now();
    let spawn = |_| {
        let sleeper = sleeper.clone();
        tokio::spawn(async move {
            sleeper.call(PATIENCE).await.unwrap();
        })
    };
    join((0..1_000).map(spawn).collect()).await;
    println!("  all done after {:.2?}", started.elapsed());
}

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wants = |section: &str| wanted.is_empty() || wanted.iter().any(|name| name == section);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let bench = Bench::at(directory.path());
        if wants("echo") {
            echo(&bench).await;
        }
        if wants("scaling") {
            scaling(&bench).await;
        }
        if wants("deadline") {
            deadline(&bench).await;
        }
        if wants("fairness") {
            fairness(&bench).await;
        }
        if wants("tenants") {
            tenants(&bench).await;
        }
        if wants("waiting") {
            waiting(&bench).await;
        }
    });
}

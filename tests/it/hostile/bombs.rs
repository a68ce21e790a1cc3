//! Components that attack the compiler: bounded in time and memory, and the host goes on meanwhile.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use aop_core::{PrepareError, Settings};
use aop_runtime::CompileLimits;
use aop_tests::{BOUND, Sandbox, component};

use super::{patient, wat};

/// Limits that are reached quickly. The worker itself needs a gigabyte of address space.
fn tight() -> CompileLimits {
    CompileLimits {
        cpu_max: Duration::from_secs(3),
        wall_max: Duration::from_secs(30),
        memory_max_bytes: 1536 << 20,
        component_max_bytes: 8 << 20,
        code_max_bytes: 16 << 20,
    }
}

/// Loads an attacker; whatever becomes of it, the runtime serves others afterwards.
async fn detonate(bytes: &[u8], limits: CompileLimits) -> Result<(), PrepareError> {
    let sandbox = Sandbox::with_limits(limits);
    let result = sandbox.load_bytes(bytes, Settings::default()).await.map(drop);
    let harmless = sandbox.load(wat::HARMLESS, patient()).await;
    let output = harmless.call("run", r#"{"number": 1}"#).await.expect("the host goes on");
    assert_eq!(output.json.get(), "2");
    result
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_types_are_bounded() {
    let types = "(type (func (param \"a\" u8) (result (list string))))".repeat(100_000);
    let text = format!("(component {types})");
    // It may be refused or, since it exports nothing, load; either is an answer.
    let result = detonate(&component(&text), tight()).await;
    if let Err(error) = result {
        assert!(!matches!(error, PrepareError::Internal(_)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_core_types_are_bounded() {
    let types = "(type (func (param i32 i64) (result f32)))".repeat(100_000);
    let text = format!("(component (core module {types}))");
    if let Err(error) = detonate(&component(&text), tight()).await {
        assert!(!matches!(error, PrepareError::Internal(_)), "{error}");
    }
}

/// Each type holds the one before twice: a few hundred bytes, an endless schema.
fn nested_types(depth: usize) -> String {
    let mut types = String::from("(type $t0 (tuple u8 u8))");
    for level in 1..=depth {
        let below = level - 1;
        write!(types, "(type $t{level} (tuple $t{below} $t{below}))")
            .expect("a string takes everything");
    }
    format!(
        r#"(component
  {types}
  (core module $m
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "run") (param i32)))
  (core instance $i (instantiate $m))
  (type $f (func (param "value" $t{depth})))
  (func (export "run") (type $f)
    (canon lift (core func $i "run") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_double_are_bounded() {
    for depth in [12, 18, 40] {
        let bytes = component(&nested_types(depth));
        let started = Instant::now();
        if let Err(error) = detonate(&bytes, tight()).await {
            assert!(!matches!(error, PrepareError::Internal(_)), "depth {depth}: {error}");
        }
        assert!(started.elapsed() < 6 * BOUND, "depth {depth} took {:?}", started.elapsed());
    }
}

/// One function of a million instructions that depend on each other.
fn huge_function() -> Vec<u8> {
    let step = "(local.set 0 (i64.mul (i64.xor (local.get 0) (local.get 1)) (i64.add (local.get 1) (local.get 0))))\
                (local.set 1 (i64.rotl (local.get 0) (local.get 1)))";
    let body = step.repeat(150_000);
    let text = format!(
        r#"(component
  (core module $m (func (export "run") (local i64 i64) {body}))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))"#
    );
    component(&text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_costs_too_much_is_given_up() {
    let error =
        detonate(&huge_function(), CompileLimits { cpu_max: Duration::from_secs(1), ..tight() })
            .await
            .expect_err("it is refused");
    assert!(matches!(error, PrepareError::TooCostly(_)), "{error:?}");
    assert!(error.to_string().contains("`compile."), "the setting is named: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_above_the_size_limit_is_refused() {
    let filler = "x".repeat(9 << 20);
    let text = format!(r#"(component (@custom "filler" "{filler}"))"#);
    let error = detonate(&component(&text), tight()).await.expect_err("it is refused");
    assert!(error.to_string().contains("8 MiB"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiler_that_takes_too_long_is_stopped() {
    let limits = CompileLimits {
        wall_max: Duration::from_millis(200),
        cpu_max: Duration::from_secs(60),
        ..tight()
    };
    let sandbox = Sandbox::with_limits(limits);
    let error = sandbox
        .load_bytes(&huge_function(), Settings::default())
        .await
        .map(drop)
        .expect_err("it is refused");
    assert!(matches!(error, PrepareError::TooCostly(_)), "{error:?}");
}

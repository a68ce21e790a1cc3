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

/// An unsigned number as wasm writes it.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A section of a binary.
fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(content.len()), content].concat()
}

/// A section with one entry over and over. Attackers write binaries; as text these would take longer
/// to parse than the host takes to refuse them.
fn repeated(id: u8, count: usize, entry: &[u8]) -> Vec<u8> {
    section(id, &[leb(count), entry.repeat(count)].concat())
}

const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_types_are_bounded() {
    // (type (func (param "a" u8) (result string)))
    let types = repeated(7, 100_000, &[0x40, 0x01, 0x01, b'a', 0x7d, 0x00, 0x73]);
    // It may be refused or, since it exports nothing, load; either is an answer.
    let started = Instant::now();
    if let Err(error) = detonate(&[COMPONENT, &types].concat(), tight()).await {
        assert!(!matches!(error, PrepareError::Internal(_)), "{error}");
    }
    assert!(started.elapsed() < 3 * BOUND, "it took {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_core_types_are_bounded() {
    // (type (func (param i32 i64) (result f32)))
    let types = repeated(1, 100_000, &[0x60, 0x02, 0x7f, 0x7e, 0x01, 0x7d]);
    let module = section(1, &[MODULE, &types].concat());
    let started = Instant::now();
    if let Err(error) = detonate(&[COMPONENT, &module].concat(), tight()).await {
        assert!(!matches!(error, PrepareError::Internal(_)), "{error}");
    }
    assert!(started.elapsed() < 3 * BOUND, "it took {:?}", started.elapsed());
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

/// One function whose values all depend on the ones before, and none of which can be left out.
pub(crate) fn huge_function(steps: usize) -> Vec<u8> {
    // local 0 := (local 0 * local 1) rotated by local 1; local 1 := local 1 ^ local 0
    let step = [0x20, 0, 0x20, 1, 0x7e, 0x20, 1, 0x89, 0x21, 0, 0x20, 1, 0x20, 0, 0x85, 0x21, 1];
    let body = [&[0][..], &step.repeat(steps), &[0x20, 0, 0x0b]].concat();
    let code = section(10, &[&leb(1)[..], &leb(body.len()), &body].concat());
    let module = [
        MODULE,
        // (type (func (param i64 i64) (result i64))), one function of it, exported as "run"
        &section(1, &[1, 0x60, 2, 0x7e, 0x7e, 1, 0x7e]),
        &section(3, &[1, 0]),
        &section(7, &[1, 3, b'r', b'u', b'n', 0, 0]),
        &code,
    ]
    .concat();
    // The rest is text, around a small module in whose place the huge one is put.
    let small = component(
        r#"(component
  (core module $m (func (export "run") (param i64 i64) (result i64) unreachable))
  (core instance $i (instantiate $m))
  (func (export "run") (param "a" u64) (param "b" u64) (result u64) (canon lift (core func $i "run"))))"#,
    );
    let (kind, length) = (small[COMPONENT.len()], usize::from(small[COMPONENT.len() + 1]));
    assert!(kind == 1 && length < 0x80, "the module comes first and is short");
    let rest = &small[COMPONENT.len() + 2 + length..];
    [COMPONENT, &section(1, &module), rest].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_costs_too_much_is_given_up() {
    let error = detonate(
        &huge_function(400_000),
        CompileLimits { cpu_max: Duration::from_secs(1), ..tight() },
    )
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
        .load_bytes(&huge_function(400_000), Settings::default())
        .await
        .map(drop)
        .expect_err("it is refused");
    assert!(matches!(error, PrepareError::TooCostly(_)), "{error:?}");
}

//! The attackers.

/// Never comes back.
pub(super) const SPIN: &str = r#"(component
  (core module $m (func (export "run") (loop $again (br $again))))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))"#;

/// Never comes back, through the host.
pub(super) const HOST_CALL_FLOOD: &str = r#"(component
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock (export "now" (func (result u64)))))
  (core func $now (canon lower (func $clock "now")))
  (core module $m
    (import "host" "now" (func $now (result i64)))
    (func (export "run") (loop $again (drop (call $now)) (br $again))))
  (core instance $i (instantiate $m (with "host" (instance (export "now" (func $now))))))
  (func (export "run") (canon lift (core func $i "run"))))"#;

/// Sleeps in the host for an hour.
pub(super) const SLEEP: &str = r#"(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $pollable))
    (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core module $m
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "host" "block" (func $block (param i32)))
    (func (export "run") (call $block (call $subscribe (i64.const 3600000000000)))))
  (core instance $i (instantiate $m (with "host" (instance
    (export "subscribe" (func $subscribe)) (export "block" (func $block))))))
  (func (export "run") (canon lift (core func $i "run"))))"#;

/// The same with so many memories, all of them empty.
pub(super) fn sleeps_with_memories(count: usize) -> String {
    SLEEP.replacen("(func (export", &format!("{}(func (export", "(memory 0) ".repeat(count)), 1)
}

/// Ends at once.
pub(super) const NOTHING: &str = r#"(component
  (core module $m (func (export "run")))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))"#;

/// Does nothing, as an asynchronous function.
pub(super) const ASYNC_NOTHING: &str = r#"(component
  (core module $m (func (export "run")))
  (core instance $i (instantiate $m))
  (func (export "run") async (canon lift (core func $i "run"))))"#;

/// Waits with code of its own.
pub(super) const PART: &str = r#"(core module $m
      (import "" "wait" (func $wait (param i64)))
      (func (export "run") (param i64) (call $wait (local.get 0))))
    (core instance $i (instantiate $m (with "" (instance (export "wait" (func $wait))))))
    (func (export "run") async (param "how-long" u64) (canon lift (core func $i "run")))"#;

/// Waits without any: what it lifts is what it imports.
pub(super) const PART_WITHOUT_MODULE: &str = r#"(func (export "run") async (param "how-long" u64)
      (canon lift (core func $wait)))"#;

/// So many parts that wait in the host for an hour at one time, each on a stack of its own, and one that calls them.
pub(super) fn waits_in_parts(count: usize, part: &str) -> String {
    let each =
        |line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<Vec<_>>().join("\n  ");
    let parts =
        each(&|n| format!(r#"(instance $p{n} (instantiate $part (with "wait" (func $wait))))"#));
    let imports = each(&|n| {
        format!(
            r#"(import "r{n}" (func $f{n} async (param "how-long" u64)))
  (core func $r{n} (canon lower (func $f{n}) async))"#
        )
    });
    let wanted = each(&|n| format!(r#"(import "" "r{n}" (func $r{n} (param i64) (result i32)))"#));
    let calls = each(&|n| format!("(drop (call $r{n} (i64.const 3600000000000)))"));
    let given = each(&|n| format!(r#"(export "r{n}" (func $r{n}))"#));
    let with = each(&|n| format!(r#"(with "r{n}" (func $p{n} "run"))"#));
    format!(
        r#"(component
  (import "wasi:clocks/monotonic-clock@0.3.0" (instance $clock
    (export "wait-for" (func async (param "how-long" u64)))))
  (alias export $clock "wait-for" (func $wait))
  (component $part
    (import "wait" (func $wait async (param "how-long" u64)))
    (core func $wait (canon lower (func $wait)))
    {part})
  (component $caller
  (import "wait" (func $wait async (param "how-long" u64)))
  (core func $wait (canon lower (func $wait)))
  {imports}
  (core module $m
  (import "" "wait" (func $wait (param i64)))
  {wanted}
  (func (export "run")
  {calls}
  (call $wait (i64.const 3600000000000))))
  (core instance $i (instantiate $m (with "" (instance (export "wait" (func $wait))
  {given}))))
  (func (export "run") async (canon lift (core func $i "run"))))
  {parts}
  (instance $caller (instantiate $caller (with "wait" (func $wait))
  {with}))
  (export "run" (func $caller "run")))"#
    )
}

/// Never becomes an instance.
pub(super) const START_SPINS: &str = r#"(component
  (core module $m
    (func $spin (loop $again (br $again)))
    (start $spin)
    (func (export "run")))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))"#;

/// Keeps the processor in bulk operations, which no epoch interrupts.
pub(super) const FILL: &str = r#"(component
  (core module $m
    (memory 512)
    (func (export "run")
      (loop $again
        (memory.fill (i32.const 0) (i32.const 1) (i32.const 33554432))
        (br $again))))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))"#;

/// Writes to the log as fast as it can.
pub(super) const LOG_FLOOD: &str = r#"(component
  (import "wasi:logging/logging@0.1.0-draft" (instance $logging
    (type $cases (enum "trace" "debug" "info" "warn" "error" "critical"))
    (export "level" (type $level (eq $cases)))
    (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
  (core module $memory (memory (export "memory") 1) (data (i32.const 0) "flood"))
  (core instance $memory (instantiate $memory))
  (core func $log (canon lower (func $logging "log") (memory (core memory $memory "memory"))))
  (core module $m
    (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
    (func (export "run")
      (loop $again
        (call $log (i32.const 2) (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 5))
        (br $again))))
  (core instance $i (instantiate $m (with "host" (instance (export "log" (func $log))))))
  (func (export "run") (canon lift (core func $i "run"))))"#;

/// Takes memory until it gets no more, then gives up.
pub(super) const MEMORY_BOMB: &str = r#"(component
  (core module $m
    (memory 1)
    (func (export "run")
      (loop $again
        (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
      unreachable))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))"#;

/// Each memory is below the limit; all of them are not.
pub(super) fn many_memories() -> String {
    let memories = 8;
    let memory = r#"(memory 320)"#.repeat(memories);
    format!(
        r#"(component
  (core module $m {memory} (func (export "run")))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))"#
    )
}

/// 128 MiB at once.
pub(super) const LARGE_MEMORY: &str = r#"(component
  (core module $m (memory 2048) (func (export "run")))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))"#;

/// Takes table elements until it gets no more, then gives up.
pub(super) const TABLE_BOMB: &str = r#"(component
  (core module $m
    (table $t 1 funcref)
    (func (export "run")
      (loop $again
        (br_if $again
          (i32.ne (table.grow $t (ref.null func) (i32.const 10000)) (i32.const -1))))
      unreachable))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))"#;

/// Calls itself for ever.
pub(super) const RECURSE: &str = r#"(component
  (core module $m
    (func $run (export "run") (call $run) (call $run)))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))"#;

/// A component whose `run` gives back what lies at an address.
macro_rules! gives_back {
    ($pages:literal, $data:literal, $kind:literal, $address:literal, $length:literal) => {
        concat!(
            r#"(component
  (core module $m
    (memory (export "memory") "#,
            $pages,
            r#") "#,
            $data,
            r#"
    (func (export "run") (result i32)
      (i32.store (i32.const 0) (i32.const "#,
            $address,
            r#"))
      (i32.store (i32.const 4) (i32.const "#,
            $length,
            r#"))
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (func (export "run") (result "#,
            $kind,
            r#") (canon lift (core func $i "run") (memory (core memory $i "memory")))))"#
        )
    };
}

/// A string of 100,000,000 bytes.
pub(super) const LARGE_RESULT: &str = gives_back!("1600", "", "string", "8", "100000000");
/// Two million numbers of 4 bytes, each of which costs the host ten times as much.
pub(super) const LARGE_LIST: &str = gives_back!("160", "", "(list u32)", "8", "2000000");
/// A string that is not there.
pub(super) const RESULT_OUT_OF_BOUNDS: &str = gives_back!("1", "", "string", "65530", "1000");
/// A string that is none.
pub(super) const RESULT_NOT_UTF8: &str =
    gives_back!("1", r#"(data (i32.const 8) "\ff\fe\fd\fc")"#, "string", "8", "4");

/// Crashes.
pub(super) const TRAP: &str = r#"(component
  (core module $m (func (export "run") unreachable))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))"#;

/// Ends itself successfully instead of answering.
pub(super) const EXIT: &str = r#"(component
  (import "wasi:cli/exit@0.2.0" (instance $exit
    (export "exit" (func (param "status" (result))))))
  (core func $exit (canon lower (func $exit "exit")))
  (core module $m
    (import "host" "exit" (func $exit (param i32)))
    (func (export "run") (call $exit (i32.const 0))))
  (core instance $i (instantiate $m (with "host" (instance (export "exit" (func $exit))))))
  (func (export "run") (canon lift (core func $i "run"))))"#;

/// Writes to standard output and does not end the line.
pub(super) const WRITE_HALF_A_LINE: &str = r#"(component
  (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer 1 $error (type $error))
    (export "output-stream" (type $output (sub resource)))
    (type $cases (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $failure (eq $cases)))
    (export "[method]output-stream.blocking-write-and-flush" (func
      (param "self" (borrow $output)) (param "contents" (list u8))
      (result (result (error $failure)))))))
  (alias export $streams "output-stream" (type $output))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output (type $output))
    (export "get-stdout" (func (result (own $output))))))
  (core module $memory (memory (export "memory") 1) (data (i32.const 64) "half"))
  (core instance $memory (instantiate $memory))
  (core func $stdout (canon lower (func $stdout "get-stdout")))
  (core func $write (canon lower
    (func $streams "[method]output-stream.blocking-write-and-flush")
    (memory (core memory $memory "memory"))))
  (core module $m
    (import "host" "stdout" (func $stdout (result i32)))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))
    (func (export "run") (call $write (call $stdout) (i32.const 64) (i32.const 4) (i32.const 0))))
  (core instance $i (instantiate $m (with "host" (instance
    (export "stdout" (func $stdout)) (export "write" (func $write))))))
  (func (export "run") (canon lift (core func $i "run"))))"#;

/// Counts its calls and crashes at the third.
pub(super) const COUNT_AND_TRAP_AT_3: &str = r#"(component
  (core module $m
    (global $calls (mut i32) (i32.const 0))
    (func (export "run") (result i32)
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (if (i32.ge_u (global.get $calls) (i32.const 3)) (then unreachable))
      (global.get $calls)))
  (core instance $i (instantiate $m))
  (func (export "run") (result u32) (canon lift (core func $i "run"))))"#;

/// Adds one to a number: a component that does no harm.
pub(super) const HARMLESS: &str = r#"(component
  (core module $m
    (func (export "run") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))
  (core instance $i (instantiate $m))
  (func (export "run") (param "number" u32) (result u32) (canon lift (core func $i "run"))))"#;

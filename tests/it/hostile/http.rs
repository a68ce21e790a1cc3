//! What a guest builds in the host's memory, outside its own: HTTP headers and bodies, and the resources
//! that stand for them. Each is bounded, also when nothing is ever sent.

use aop_core::ErrorCode;
use aop_tests::Sandbox;

use super::{failed, patient};

/// Makes as many sets of HTTP fields as it is told, and keeps them.
const FIELDS: &str = r#"(component
  (import "wasi:http/types@0.2.0" (instance $http
    (export "fields" (type $fields (sub resource)))
    (export "[constructor]fields" (func (result (own $fields))))))
  (core func $new (canon lower (func $http "[constructor]fields")))
  (core module $m
    (import "host" "new" (func $new (result i32)))
    (func (export "run") (param $left i32)
      (loop $again
        (drop (call $new))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br_if $again (local.get $left)))))
  (core instance $i (instantiate $m (with "host" (instance (export "new" (func $new))))))
  (func (export "run") (param "count" u32) (canon lift (core func $i "run"))))"#;

/// Appends as many headers of a thousand bytes to one set of fields as it is told.
const HEADERS: &str = r#"(component
  (import "wasi:http/types@0.2.0" (instance $http
    (export "fields" (type $fields (sub resource)))
    (type $cases (variant (case "invalid-syntax") (case "forbidden") (case "immutable")))
    (export "header-error" (type $failure (eq $cases)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[method]fields.append" (func
      (param "self" (borrow $fields)) (param "name" string) (param "value" (list u8))
      (result (result (error $failure)))))))
  (core module $memory (memory (export "memory") 1) (data (i32.const 64) "x"))
  (core instance $memory (instantiate $memory))
  (core func $new (canon lower (func $http "[constructor]fields")))
  (core func $append (canon lower (func $http "[method]fields.append")
    (memory (core memory $memory "memory"))))
  (core module $m
    (import "host" "memory" (memory 1))
    (import "host" "new" (func $new (result i32)))
    (import "host" "append" (func $append (param i32 i32 i32 i32 i32 i32)))
    (func (export "run") (param $left i32)
      (local $fields i32)
      (memory.fill (i32.const 128) (i32.const 97) (i32.const 1000))
      (local.set $fields (call $new))
      (loop $again
        (call $append (local.get $fields)
          (i32.const 64) (i32.const 1) (i32.const 128) (i32.const 1000) (i32.const 0))
        (if (i32.load8_u (i32.const 0)) (then unreachable))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br_if $again (local.get $left)))))
  (core instance $i (instantiate $m (with "host" (instance
    (export "memory" (memory $memory "memory"))
    (export "new" (func $new)) (export "append" (func $append))))))
  (func (export "run") (param "count" u32) (canon lift (core func $i "run"))))"#;

/// Starts the body of a request and gives back how much it may write before it is read.
const BODY: &str = r#"(component
  (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer 1 $error (type $error))
    (export "output-stream" (type $output (sub resource)))
    (type $cases (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $failure (eq $cases)))
    (export "[method]output-stream.check-write" (func
      (param "self" (borrow $output)) (result (result u64 (error $failure)))))))
  (alias export $streams "output-stream" (type $output))
  (import "wasi:http/types@0.2.0" (instance $http
    (alias outer 1 $output (type $output))
    (export "fields" (type $fields (sub resource)))
    (export "outgoing-request" (type $request (sub resource)))
    (export "outgoing-body" (type $body (sub resource)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[constructor]outgoing-request" (func
      (param "headers" (own $fields)) (result (own $request))))
    (export "[method]outgoing-request.body" (func
      (param "self" (borrow $request)) (result (result (own $body)))))
    (export "[method]outgoing-body.write" (func
      (param "self" (borrow $body)) (result (result (own $output)))))))
  (core module $memory (memory (export "memory") 1))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $memory))
  (core func $fields (canon lower (func $http "[constructor]fields")))
  (core func $request (canon lower (func $http "[constructor]outgoing-request")))
  (core func $body (canon lower (func $http "[method]outgoing-request.body") (memory $memory)))
  (core func $write (canon lower (func $http "[method]outgoing-body.write") (memory $memory)))
  (core func $check (canon lower
    (func $streams "[method]output-stream.check-write") (memory $memory)))
  (core module $m
    (import "host" "memory" (memory 1))
    (import "host" "fields" (func $fields (result i32)))
    (import "host" "request" (func $request (param i32) (result i32)))
    (import "host" "body" (func $body (param i32 i32)))
    (import "host" "write" (func $write (param i32 i32)))
    (import "host" "check" (func $check (param i32 i32)))
    (func (export "run") (result i64)
      (call $body (call $request (call $fields)) (i32.const 0))
      (call $write (i32.load (i32.const 4)) (i32.const 16))
      (call $check (i32.load (i32.const 20)) (i32.const 32))
      (i64.load (i32.const 40))))
  (core instance $i (instantiate $m (with "host" (instance
    (export "memory" (memory $memory))
    (export "fields" (func $fields)) (export "request" (func $request))
    (export "body" (func $body)) (export "write" (func $write)) (export "check" (func $check))))))
  (func (export "run") (result u64) (canon lift (core func $i "run"))))"#;

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_bounded() {
    let sandbox = Sandbox::new();
    let loaded = sandbox.load(FIELDS, patient()).await;
    loaded.call("run", r#"{"count": 512}"#).await.expect("as many as there may be");
    let failure = failed(loaded.call("run", r#"{"count": 513}"#).await, ErrorCode::GuestTrapped);
    assert!(failure.message.contains("resource"), "{failure}");
    sandbox.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_bounded() {
    let sandbox = Sandbox::new();
    let loaded = sandbox.load(HEADERS, patient()).await;
    loaded.call("run", r#"{"count": 7}"#).await.expect("7 kB fit into 8 KiB");
    let failure = failed(loaded.call("run", r#"{"count": 9}"#).await, ErrorCode::GuestTrapped);
    assert!(failure.message.contains("size"), "{failure}");
    sandbox.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_body_buffers_is_bounded() {
    let sandbox = Sandbox::new();
    let loaded = sandbox.load(BODY, patient()).await;
    let output = loaded.call("run", "{}").await.expect("the guest answers");
    assert_eq!(output.json.get(), "16384");
    sandbox.is_empty().await;
}

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::{AT_ONCE_MAX, CALLS_MAX};
use crate::tests::requests::call;
use crate::tests::{World, send};

async fn many(world: &std::sync::Arc<World>, calls: Value) -> Value {
    send(&world.server(), call("aop_call_many", &json!({ "calls": calls }))).await.result()
}

#[tokio::test]
async fn every_call_has_a_result_of_its_own_in_order() {
    let world = World::new();
    let result = many(
        &world,
        json!([
            { "tool": "echo", "arguments": { "n": 1 } },
            { "tool": "fail" },
            { "tool": "nobody" },
            { "tool": "aop_call", "arguments": {} },
            { "tool": "echo", "arguments": 7 },
            { "tool": "picture" },
            { "tool": "ask" },
            { "tool": "echo" },
        ]),
    )
    .await;
    assert_eq!(result["isError"], false);
    let results = result["structuredContent"]["result"]["results"].as_array().unwrap();
    assert_eq!(results[0], json!({ "success": true, "result": r#"{"n":1}"# }));
    assert_eq!(results[7], json!({ "success": true, "result": "{}" }));
    let codes: Vec<_> =
        results.iter().map(|result| result["code"].as_str().unwrap_or_default()).collect();
    assert_eq!(
        codes,
        [
            "",
            "guest_error",
            "not_found",
            "invalid_arguments",
            "invalid_arguments",
            "",
            "guest_error",
            ""
        ]
    );
    assert_eq!(results[5]["result"]["tag"], "image");
}

#[tokio::test]
async fn a_batch_is_bounded() {
    let world = World::new();
    let calls = |count: usize| json!(vec![json!({ "tool": "echo" }); count]);
    let result = many(&world, calls(CALLS_MAX)).await;
    assert_eq!(
        result["structuredContent"]["result"]["results"].as_array().unwrap().len(),
        CALLS_MAX
    );
    let before = world.calls.load(Ordering::Relaxed);
    for bad in [
        calls(CALLS_MAX + 1),
        json!({}),
        json!([{ "arguments": {} }]),
        json!([{ "tool": "echo", "x": 1 }]),
    ] {
        let refused = many(&world, bad).await;
        assert_eq!(refused["structuredContent"]["code"], "invalid_arguments");
    }
    assert_eq!(world.calls.load(Ordering::Relaxed), before, "nothing of a wrong batch runs");
    assert_eq!(
        many(&world, json!([])).await["structuredContent"]["result"],
        json!({ "results": [] })
    );
}

#[tokio::test]
async fn only_so_many_calls_run_at_a_time_and_all_stop_with_their_client() {
    let world = World::new();
    let server = world.server();
    let calls = vec![json!({ "tool": "hang" }); AT_ONCE_MAX + 20];
    let waiting = tokio::spawn(async move {
        send(&server, call("aop_call_many", &json!({ "calls": calls }))).await
    });
    world.until_hanging(AT_ONCE_MAX).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*world.hanging.borrow(), AT_ONCE_MAX);
    waiting.abort();
    world.until_hanging(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_calls_take_as_long_as_the_slowest() {
    let world = World::new();
    let began = tokio::time::Instant::now();
    many(&world, json!(vec![json!({ "tool": "later" }); 100])).await;
    assert_eq!(began.elapsed().as_millis(), 500);
}

#[tokio::test]
async fn results_are_bounded_together() {
    let world = World::new();
    let result = many(&world, json!(vec![json!({ "tool": "large" }); 40])).await;
    let results = result["structuredContent"]["result"]["results"].as_array().unwrap();
    let kept = results.iter().filter(|result| result["success"] == true).count();
    assert_eq!(kept, 31);
    assert!(
        results
            .iter()
            .all(|result| result["success"] == true || result["code"] == "resource_exhausted")
    );
}

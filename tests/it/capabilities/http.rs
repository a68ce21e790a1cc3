//! `wasi:http`: requests of agents, as far as their policy lets them.

use std::time::Duration;

use serde_json::json;

use super::world::{World, lock};

const SETTINGS: &str = "timeout = \"5s\"\n[policy]\nhttp = [\"GET https://*.example/v1/*\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_where_a_rule_permits_it() {
    let world = World::new().with("a", "capabilities", SETTINGS).await;
    let get = |authority: &str, path: &str| json!({ "authority": authority, "path": path });
    let said = world.answer("a_fetch", get("api.example", "/v1/x?y=1")).await;
    assert_eq!(said, json!([200, "you asked for https://api.example/v1/x?y=1"]));
    let first_byte = lock(&world.network.requests)[0].1;
    assert!(first_byte <= Duration::from_secs(5), "no longer than the call: {first_byte:?}");

    for (authority, path) in [
        ("api.example", "/v2/x"),
        ("api.example", "/v1/../v2/x"),
        ("api.example:8443", "/v1/x"),
        ("example", "/v1/x"),
        ("api.example.org", "/v1/x"),
        ("169.254.169.254", "/v1/x"),
    ] {
        let said = world.error("a_fetch", get(authority, path)).await;
        assert!(said.contains("denied: "), "{authority}{path}: {said}");
    }
    assert_eq!(lock(&world.network.requests).len(), 1, "nothing else went out");
    world.log.has(&["policy: refused", "169.254.169.254", "`http` under `[policy]`"]);
    let said = world.error("a_fetch", get("nowhere.example", "/v1/")).await;
    assert!(said.contains("DnsError"), "{said}");
    let said = world.error("a_fetch", get("inside.example", "/v1/")).await;
    assert!(said.contains("denied: "), "{said}");
    world.log.has(&[
        "policy: refused",
        "a private address",
        "`private_networks` or `http` under `[policy]`",
    ]);
    // Why a header cannot be made is the operator's alone.
    let said = world.error("a_fetch", get("sealed.example", "/v1/")).await;
    assert!(said.contains("denied: ") && !said.contains("PAYMENT_KEY"), "{said}");
    world.log.has(&["policy: refused", "PAYMENT_KEY", "`http` under `[policy]`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn few_requests_are_on_their_way_at_one_time() {
    let settings = "[policy]\nhttp = [\"https://api.example\"]\n";
    let world = World::new().with("a", "capabilities", settings).await;
    let open =
        world.answer("a_fetch_many", json!({ "authority": "api.example", "count": 40 })).await;
    assert_eq!(open, 16);
    let open =
        world.answer("a_fetch_many", json!({ "authority": "api.example", "count": 3 })).await;
    assert_eq!(open, 3, "places come back");
}

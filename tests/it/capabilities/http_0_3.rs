//! `wasi:http` 0.3: the same rules as those of 0.2, and bodies and waits that end, against a real server.

use std::time::Duration;

use aop_tests::{AgentsDirectory, Host, Mcp};
use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::world::{World, lock};

const SETTINGS: &str = "timeout = \"5s\"\n[policy]\nhttp = [\"GET https://*.example/v1/*\"]\n";

fn get(https: bool, authority: &str, path: &str) -> Value {
    json!({ "https": https, "authority": authority, "path": path })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_where_a_rule_permits_it() {
    let world = World::new().with("a", "outside", SETTINGS).await;
    let said = world.answer("a_get", get(true, "api.example", "/v1/x?y=1")).await;
    assert_eq!(said, json!([200, "you asked for https://api.example/v1/x?y=1"]));
    let first_byte = lock(&world.network.requests)[0].1;
    assert!(first_byte <= Duration::from_secs(5), "no longer than the call: {first_byte:?}");
    let mut patient = get(true, "api.example", "/v1/x");
    patient["milliseconds"] = json!(1500);
    world.answer("a_get", patient).await;
    assert_eq!(lock(&world.network.requests)[1].1, Duration::from_millis(1500));

    for (https, authority, path) in [
        (true, "api.example", "/v2/x"),
        (true, "api.example", "/v1/../v2/x"),
        (true, "api.example:8443", "/v1/x"),
        (true, "api.example.org", "/v1/x"),
        (true, "169.254.169.254", "/v1/x"),
        (false, "api.example", "/v1/x"),
    ] {
        let said = world.error("a_get", get(https, authority, path)).await;
        assert!(said.contains("denied: "), "{authority}{path}: {said}");
    }
    let post = json!({ "authority": "api.example", "path": "/v1/x", "count": 10 });
    let said = world.error("a_post", post).await;
    assert!(said.contains("denied: "), "the method is in the rule: {said}");
    assert_eq!(lock(&world.network.requests).len(), 2, "nothing else went out");
    world.log.has(&["policy: refused", "169.254.169.254", "`http` under `[policy]`"]);
    let said = world.error("a_get", get(true, "nowhere.example", "/v1/")).await;
    assert!(said.contains("DnsError"), "{said}");
    let said = world.error("a_get", get(true, "inside.example", "/v1/")).await;
    assert!(said.contains("denied: "), "{said}");
    world.log.has(&[
        "policy: refused",
        "a private address",
        "`private_networks` or `http` under `[policy]`",
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn few_requests_are_on_their_way_at_one_time() {
    let settings = "[policy]\nhttp = [\"https://api.example\"]\n";
    let world = World::new().with("a", "outside", settings).await;
    let many = |count: u32| json!({ "authority": "api.example", "count": count });
    assert_eq!(world.answer("a_get_many", many(40)).await, 16);
    assert_eq!(world.answer("a_get_many", many(3)).await, 3, "places come back");
}

/// A server that says how many bytes came; `/large` answers 64 KiB, `/silent` nothing. Ends with the runtime of the test.
async fn server() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    let routes = Router::new()
        .route("/small", any(async |body: Bytes| format!("{} bytes came", body.len())))
        .route("/large", any(async || "y".repeat(64 << 10)))
        .route("/silent", any(async || std::future::pending::<String>().await));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

async fn failed(mcp: &Mcp, tool: &str, arguments: Value) -> String {
    let result = mcp.call(tool, arguments).await;
    assert_eq!(result.code(), "guest_error", "{}", result.0);
    result.text().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_is_reached_within_bounds_and_by_its_own_rule_only() {
    let server = server().await;
    let permit = format!("permit = \"GET,POST http://{server}/*\"");
    let limits = "request_max = \"32KiB\", response_max = \"8KiB\"";
    let inside = format!("[policy]\nhttp = [{{ {permit}, {limits} }}]\n");
    let outside = format!("[policy]\nhttp = [\"GET http://localhost:{}/*\"]\n", server.port());
    let agents = AgentsDirectory::new()
        .with_as("outside", "inside")
        .with_settings("inside", &inside)
        .with_as("outside", "outside")
        .with_settings("outside", &outside);
    let host = Host::serve(agents.path()).await;
    let (mcp, authority) = (host.mcp(), server.to_string());
    let said = mcp.call("inside_get", get(false, &authority, "/small")).await;
    assert_eq!(said.value(), &json!([200, "0 bytes came"]));
    let post = |count: u32| json!({ "authority": authority, "path": "/small", "count": count });
    let said = mcp.call("inside_post", post(20_000)).await;
    assert_eq!(said.value(), &json!([200, "20000 bytes came"]));

    failed(&mcp, "inside_post", post(100_000)).await;
    failed(&mcp, "inside_get", get(false, &authority, "/large")).await;
    let mut silent = get(false, &authority, "/silent");
    silent["milliseconds"] = json!(200);
    let said = failed(&mcp, "inside_get", silent).await;
    assert!(said.contains("Timeout"), "{said}");

    let said = failed(&mcp, "outside_get", get(false, &authority, "/small")).await;
    assert!(said.contains("denied: "), "an address is not the name: {said}");
}

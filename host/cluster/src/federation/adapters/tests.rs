use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::federation::router;
use crate::federation::testing::World;

async fn get(world: &World, path: &str) -> (StatusCode, Value) {
    let router = router(world.at("eu.acme.example").zone.clone());
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let answer = router.oneshot(request).await.unwrap();
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

fn world() -> World {
    let world = World::of(&["eu.acme.example"], Duration::from_secs(300));
    for (agent, to) in [
        ("writer", Some(&["world"][..])),
        ("reader", Some(&["world"][..])),
        ("inner", Some(&["parent"][..])),
        ("hidden", None),
    ] {
        world.at("eu.acme.example").agents.add(agent, to);
    }
    world
}

#[tokio::test]
async fn the_world_finds_what_is_exported_to_the_world_and_nothing_else() {
    let world = world();
    let (_, catalog) = get(&world, "/.well-known/ai-catalog.json").await;
    assert_eq!(catalog["specVersion"], "1.0");
    let identifiers: Vec<_> =
        catalog["entries"].as_array().unwrap().iter().map(|entry| &entry["identifier"]).collect();
    assert_eq!(
        identifiers,
        ["urn:air:eu.acme.example:agent:reader", "urn:air:eu.acme.example:agent:writer"]
    );
    let (_, card) = get(&world, "/.well-known/agent-card.json").await;
    let skills: Vec<_> =
        card["skills"].as_array().unwrap().iter().map(|skill| &skill["id"]).collect();
    assert_eq!(skills, ["reader_run", "writer_run"]);
    assert_eq!(card["supportedInterfaces"][0]["protocolBinding"], "MCP");
    for document in [catalog, card] {
        let text = document.to_string();
        assert!(!text.contains("inner") && !text.contains("hidden"), "{text}");
    }
}

#[tokio::test]
async fn servers_come_in_pages_and_by_name_and_version() {
    let world = world();
    let (status, first) = get(&world, "/v0.1/servers?limit=1").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(first["servers"][0]["server"]["name"], "example.acme.eu/reader");
    let cursor = first["metadata"]["nextCursor"].as_str().unwrap().replace('/', "%2F");
    let (_, second) = get(&world, &format!("/v0.1/servers?limit=1&cursor={cursor}")).await;
    assert_eq!(second["servers"][0]["server"]["name"], "example.acme.eu/writer");
    assert_eq!(second["metadata"].get("nextCursor"), None);
    let (_, found) = get(&world, "/v0.1/servers?search=WRIT&version=latest").await;
    assert_eq!(found["metadata"]["count"], 1);
    let path = "/v0.1/servers/example.acme.eu%2Fwriter/versions";
    let (_, versions) = get(&world, path).await;
    let version = versions["servers"][0]["server"]["version"].as_str().unwrap().to_owned();
    for asked in ["latest", version.as_str()] {
        let (status, one) = get(&world, &format!("{path}/{asked}")).await;
        assert_eq!((status, &one["server"]["version"]), (StatusCode::OK, &version.clone().into()));
        assert!(one["server"]["remotes"][0]["url"].as_str().unwrap().ends_with("/zone/v1/mcp"));
    }
}

async fn ask(world: &World, method: &str, message: Value) -> Value {
    let router = router(world.at("eu.acme.example").zone.clone());
    let request = Request::post("/zone/v1/mcp")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method);
    let request = request.body(Body::from(message.to_string())).unwrap();
    let answer = router.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let body = to_bytes(answer.into_body(), 4 << 20).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn a_stranger_lists_at_the_published_endpoint_what_is_for_the_world() {
    let world = world();
    let message = |method: &str, cursor: Option<&str>| json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": { "cursor": cursor, "_meta": {} } });
    let (_, card) = get(&world, "/.well-known/agent-card.json").await;
    assert!(card["url"].as_str().unwrap().ends_with("/zone/v1/mcp"));
    let found = ask(&world, "server/discover", message("server/discover", None)).await;
    assert_eq!(
        (&found["id"], &found["result"]["supportedVersions"][0]),
        (&json!(7), &json!("2026-07-28"))
    );
    let names = |answer: &Value| -> Vec<String> {
        let tools = answer["result"]["tools"].as_array().unwrap();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = ask(&world, "tools/list", message("tools/list", None)).await;
    assert_eq!(names(&all), ["reader_run", "writer_run"]);
    assert!(
        all["result"]["tools"][0]["inputSchema"].is_object()
            && all["result"].get("nextCursor").is_none()
    );
    let rest = ask(&world, "tools/list", message("tools/list", Some("reader_run"))).await;
    assert_eq!(names(&rest), ["writer_run"]);
    for (method, body) in [
        ("tools/list", json!([])),
        ("tools/list", json!({ "jsonrpc": "2.0", "method": "tools/list" })),
        ("tools/list", message("tools/call", None)),
        ("initialize", message("initialize", None)),
    ] {
        let answer = ask(&world, method, body).await;
        assert!(answer["error"]["code"].is_i64() && answer.get("result").is_none(), "{answer}");
    }
}

#[tokio::test]
async fn a_list_comes_in_pages_that_miss_nothing() {
    let world = world();
    for number in 0..250 {
        world.at("eu.acme.example").agents.add(&format!("more{number}"), Some(&["world"][..]));
    }
    let (mut names, mut cursor, mut pages) = (std::collections::BTreeSet::new(), Value::Null, 0);
    loop {
        let params = json!({ "cursor": cursor });
        let message =
            json!({ "jsonrpc": "2.0", "id": "a", "method": "tools/list", "params": params });
        let answer = ask(&world, "tools/list", message).await;
        let tools = answer["result"]["tools"].as_array().unwrap();
        names.extend(tools.iter().map(|tool| tool["name"].to_string()));
        pages += 1;
        cursor = answer["result"]["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!((names.len(), pages), (252, 3));
}

#[tokio::test]
async fn what_is_not_there_and_what_makes_no_sense_is_said() {
    let world = world();
    for path in [
        "/v0.1/servers/example.acme.eu%2Finner/versions",
        "/v0.1/servers/example.acme.eu%2Fhidden/versions/latest",
        "/v0.1/servers/example.acme.eu%2Fwriter/versions/99.0.0",
    ] {
        let (status, body) = get(&world, path).await;
        assert_eq!((status, &body["error"]), (StatusCode::NOT_FOUND, &"Server not found".into()));
    }
    for path in ["/v0.1/servers?limit=0", "/v0.1/servers?limit=101"] {
        let (status, body) = get(&world, path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body["error"].as_str().unwrap().contains("1 to 100"));
    }
}

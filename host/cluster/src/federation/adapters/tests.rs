use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use serde_json::Value;
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
        assert!(one["server"]["remotes"][0]["url"].as_str().unwrap().ends_with("/mcp"));
    }
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

use axum::Json;
use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::get;
use serde_json::Value;
use tokio::net::TcpListener;

use super::*;

const NO_ZONE: u16 = 409;

fn mounted() -> Value {
    json!({ "servers": [{
        "name": "far", "tenant": "default", "transport": "stdio", "place": "server", "state": "up", "for_ms": 1,
        "server": null, "protocol": null, "tools": 1, "calls_running": 0, "error": null, "retry_in_ms": null, "notes": [],
    }] })
}

/// What a host that answers these two questions so is found to say.
async fn told(
    servers: (u16, Value),
    zone: (u16, Value),
) -> Result<(Option<ClusterStatus>, Vec<ServerStatus>), String> {
    let answer = |(status, body): (u16, Value)| {
        let answer = (StatusCode::from_u16(status).unwrap(), Json(body));
        get(move || std::future::ready(answer.clone().into_response()))
    };
    let routes = Router::new()
        .route("/api/v1/cluster/servers", answer(servers))
        .route("/api/v1/cluster", answer(zone));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
    let told = standing(&Client::new(&url).unwrap()).await;
    serving.abort();
    told.map_err(|error| error.conclusion().0.unwrap())
}

#[test]
fn a_member_that_lives_twice_is_marked_with_where() {
    let node = NodeId::of_public_key(b"key");
    let of = |doubled: &[&str]| -> MemberStatus {
        serde_json::from_value(json!({
            "node": node, "generation": 1, "state": "alive", "endpoint": "10.0.0.1:8100", "load_percent": 0,
            "capacity": 1, "labels": { "site": "here" }, "holds_authority": true, "lag_ms": 0, "catalogue": null,
            "doubled": doubled,
        }))
        .unwrap()
    };
    assert_eq!(marks(&of(&[]), &node), "this authority site=here");
    let twice = marks(&of(&["10.0.0.1:8100", "10.0.0.2:8100"]), &node);
    assert!(twice.contains("LIVES MORE THAN ONCE, at 10.0.0.1:8100 10.0.0.2:8100"), "{twice}");
}

fn problem(message: &str) -> Value {
    json!({ "code": "some", "message": message })
}

#[tokio::test]
async fn a_host_in_no_zone_shows_what_it_mounts() {
    let (zone, servers) = told((200, mounted()), (NO_ZONE, problem("no zone"))).await.unwrap();
    assert!(zone.is_none());
    assert_eq!(servers[0].name.as_str(), "far");
    let nothing = (200, json!({ "servers": [] }));
    assert_eq!(told(nothing, (NO_ZONE, problem("no zone"))).await.unwrap_err(), "no zone");
}

#[tokio::test]
async fn a_host_that_knows_no_servers_mounts_none() {
    let told = told((404, problem("nothing here")), (NO_ZONE, problem("no zone"))).await;
    assert_eq!(told.unwrap_err(), "no zone");
}

#[tokio::test]
async fn a_refusal_is_told_and_not_taken_for_nothing() {
    for status in [401, 403, 500, 503] {
        let refused = || (status, problem("refused"));
        let error = told(refused(), (NO_ZONE, problem("no zone"))).await.unwrap_err();
        assert!(error.starts_with("refused"), "{status}: {error}");
        let error = told((200, mounted()), refused()).await.unwrap_err();
        assert!(error.starts_with("refused"), "{status}: {error}");
    }
    // Something that is no AOP host.
    let error = told((404, json!("nothing")), (200, json!({}))).await.unwrap_err();
    assert!(error.contains("is it an AOP host?"), "{error}");
}

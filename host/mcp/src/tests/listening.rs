//! `subscriptions/listen` for more than tools, and lists of what agents offer.

use std::sync::Arc;
use std::time::Duration;

use aop_core::{Listen as _, Offer, TenantName};
use http_body_util::BodyExt as _;
use rmcp::ServerHandler as _;
use rmcp::model::SubscriptionFilter;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::World;
use super::requests::stateless;
use crate::McpConfig;
use crate::edge::Edge;
use crate::handler::Handler;
use crate::tests::mounted;

#[tokio::test(start_paused = true)]
async fn a_listener_hears_only_what_it_asked_for() {
    let world = World::new();
    let server = world.server();
    let uris: Vec<_> = (0..10_000)
        .map(|index| format!("notes://{index}"))
        .chain(["nonsense".to_owned()])
        .collect();
    let filter = json!({ "promptsListChanged": true, "resourceSubscriptions": uris });
    let request =
        stateless(&json!("s"), "subscriptions/listen", json!({ "notifications": filter }));
    let mut body = mounted(&server).oneshot(request).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let accepted = String::from_utf8_lossy(&first).into_owned();
    assert!(accepted.contains("notes://255\"") && !accepted.contains("notes://256\""), "bounded");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let tenant = TenantName::default_tenant();
    world.changes.tools_changed(&tenant);
    for offer in [
        Offer::Resources,
        Offer::Prompts,
        Offer::Resource("notes://7".to_owned()),
        Offer::Resource("notes://9999".to_owned()),
    ] {
        world.changes.offer_changed(&tenant, offer);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.drain();
    let rest = body.collect().await.unwrap().to_bytes();
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.contains("notifications/prompts/list_changed") && rest.contains("notes://7\""));
    assert!(rest.contains(r#""io.modelcontextprotocol/subscriptionId":"s""#));
    assert!(!rest.contains("tools/list_changed") && !rest.contains("resources/list_changed"));
    assert!(!rest.contains("notes://9999"));
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_names_too_many_resources_follows_none() {
    let server = World::new().server();
    let uris: Vec<_> = (0..20_000).map(|index| format!("notes://{index}")).collect();
    let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": uris });
    let request =
        stateless(&json!("s"), "subscriptions/listen", json!({ "notifications": filter }));
    let mut body = mounted(&server).oneshot(request).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let accepted = String::from_utf8_lossy(&first).into_owned();
    assert!(accepted.contains("toolsListChanged") && !accepted.contains("notes://"), "{accepted}");
    server.drain();
}

#[test]
fn the_resources_that_a_listener_may_name_are_bounded() {
    let world = World::new();
    let edge = Edge::new(McpConfig::default(), world.parts());
    let handler = Handler::new(Arc::new(edge), CancellationToken::new());
    let accepted = |count: usize| {
        let uris = (0..count).map(|index| format!("notes://{index}"));
        let requested = SubscriptionFilter::builder().resource_subscriptions(uris).build();
        let accepted = handler.accepted_subscription_filter(&requested).unwrap();
        accepted.resource_subscriptions.map_or(0, |uris| uris.len())
    };
    assert_eq!([accepted(16_384), accepted(16_385)], [256, 0]);
}

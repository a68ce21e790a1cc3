#![expect(deprecated, reason = "2026-07-28 deprecates logging, and still has it")]

use std::sync::Arc;

use aop_core::{GuestLevel, Listen as _, Offer, TenantName};

use super::{Following, TooMany};
use crate::changes::{Changes, FOLLOWED_MAX, FOLLOWED_PER_TENANT_MAX, Versions};
use crate::level::Level;

fn tenant() -> TenantName {
    TenantName::default_tenant()
}

fn methods(following: &Following, known: Versions, now: Versions) -> Vec<String> {
    let news = following.news(known, now);
    let text = |news| serde_json::to_value(news).unwrap();
    news.iter()
        .map(text)
        .map(|news| {
            let method = news["method"].as_str().unwrap().trim_start_matches("notifications/");
            format!("{method} {}", news["params"]["uri"].as_str().unwrap_or_default())
        })
        .collect()
}

#[test]
fn only_what_was_subscribed_to_is_told() {
    let changes = Arc::new(Changes::new());
    let following = Following::new(changes.clone(), 10);
    let subscription = changes.subscribe(&tenant());
    let known = subscription.versions();
    changes.offer_changed(&tenant(), Offer::Resource("a:1".to_owned()));
    assert_eq!(subscription.versions(), known, "nobody follows it");
    following.subscribe(&tenant(), "a:1").unwrap();
    following.subscribe(&tenant(), "a:1").unwrap();
    following.subscribe(&tenant(), "a:2").unwrap();
    for offer in
        [Offer::Resource("a:1".to_owned()), Offer::Resource("a:3".to_owned()), Offer::Prompts]
    {
        changes.offer_changed(&tenant(), offer);
    }
    let other = TenantName::new("other").unwrap();
    changes.offer_changed(&other, Offer::Resource("a:2".to_owned()));
    let now = subscription.versions();
    assert_eq!(methods(&following, known, now), ["prompts/list_changed ", "resources/updated a:1"]);
    assert_eq!(methods(&following, now, now), [""; 0]);
    following.unsubscribe("a:1");
    changes.offer_changed(&tenant(), Offer::Resource("a:1".to_owned()));
    assert_eq!(subscription.versions(), now);
}

#[test]
fn subscriptions_are_bounded_and_end_with_their_client() {
    let changes = Arc::new(Changes::new());
    let greedy = Following::new(changes.clone(), 10_000);
    for index in 0..10_000 {
        greedy.subscribe(&tenant(), &format!("a:{index}")).unwrap();
    }
    assert_eq!(greedy.subscribe(&tenant(), "a:x"), Err(TooMany));
    let follow = |tenant: &TenantName| {
        let following = Following::new(changes.clone(), FOLLOWED_MAX);
        let accepted = (0..FOLLOWED_PER_TENANT_MAX + 1)
            .filter(|index| following.subscribe(tenant, &format!("b:{index}")).is_ok())
            .count();
        (following, accepted)
    };
    let rest = follow(&tenant());
    assert_eq!(rest.1, FOLLOWED_PER_TENANT_MAX - 10_000, "a tenant has a share");
    let others: Vec<_> = (1..=FOLLOWED_MAX / FOLLOWED_PER_TENANT_MAX)
        .map(|other| follow(&TenantName::new(&format!("other-{other}")).unwrap()))
        .collect();
    let total = 10_000 + rest.1 + others.iter().map(|(_, accepted)| accepted).sum::<usize>();
    assert_eq!(total, FOLLOWED_MAX, "and all have so much");
    drop((rest, others));
    let last = Following::new(changes.clone(), 1);
    last.subscribe(&tenant(), "c:1").unwrap();
}

#[test]
fn log_lines_are_wanted_from_a_level_on() {
    let following = Following::new(Arc::default(), 0);
    assert!(!following.wants_logs() && !following.wants(GuestLevel::Critical));
    following.set_level(Level::Notice);
    assert!(following.wants(GuestLevel::Warn) && !following.wants(GuestLevel::Info));
    following.set_level(Level::Debug);
    assert!(following.wants(GuestLevel::Trace));
}

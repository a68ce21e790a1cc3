use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::{Accounts, Quota, Rate, Shares, TenantKey};
use super::*;
use crate::{AgentName, Tenancy as _, Tenant, TenantName};

const SECOND: Duration = Duration::from_secs(1);

fn tenant() -> TenantName {
    TenantName::new("acme").unwrap()
}

fn shares(part: u64, all: u64) -> Shares {
    Shares { others: Share::of(part, all), named: HashMap::new() }
}

#[test]
fn parts_are_rounded_down_and_never_more_than_the_whole() {
    for all in 1..50 {
        let parts = (0..all).map(|_| Share::of(1, all).billionths()).sum::<u32>();
        assert!(parts <= Share::WHOLE.billionths());
    }
    assert_eq!(Share::of(5, 2), Share::WHOLE);
    assert_eq!(Share::of(1, 2).times(Share::of(1, 2)), Share::of(1, 4));
    assert_eq!(Share::of(1, 4).part_of(10), 2);
    assert_eq!(Share::WHOLE.part_of(u64::MAX), u64::MAX);
    assert_eq!(Share::NOTHING.minus(Share::WHOLE), Share::NOTHING);
}

#[test]
fn a_part_of_a_quota_is_a_part_of_each_of_its_limits_and_one_call_is_always_left() {
    let quota = Quota {
        calls_per_second: Some(10),
        concurrency: Some(10),
        cpu_ms_per_minute: Some(6_000),
        egress_bytes_per_hour: Some(3_600),
        tokens_per_day: Some(1_000),
        memory_max_bytes: Some(100),
        ..Quota::default()
    };
    let accounts = Accounts::new(&Quota::default(), quota, 100);
    let account = accounts.tenant(&tenant());
    let here = |resource| account.limit_here(resource).unwrap();
    let now = Instant::now();
    assert_eq!((here(Resource::Calls), here(Resource::Concurrency)), (10, 10));
    accounts.set_shares(shares(1, 2), now);
    assert_eq!((here(Resource::Calls), here(Resource::Concurrency)), (5, 5));
    assert_eq!((here(Resource::Cpu), here(Resource::Egress)), (3_000, 1_800));
    assert_eq!((here(Resource::Tokens), here(Resource::Memory)), (500, 100));
    assert_eq!(account.limit(Resource::Concurrency), Some(10), "the quota itself is what it is");
    let said = account.explain(Resource::Calls);
    assert!(said.contains("10") && said.contains("this node has 5"), "{said}");
    accounts.set_shares(shares(0, 1), now);
    assert_eq!((here(Resource::Calls), here(Resource::Concurrency)), (1, 1));
    account.calls.take(1, now).unwrap();
    // An account that begins later has the same part.
    let other = TenantName::new("other").unwrap();
    assert_eq!(accounts.tenant(&other).limit_here(Resource::Concurrency), Some(1));
    accounts.set_shares(
        Shares { named: HashMap::from([(TenantKey::of(&other), Share::WHOLE)]), ..shares(1, 2) },
        now,
    );
    assert_eq!(accounts.tenant(&other).limit_here(Resource::Concurrency), Some(10));
    assert_eq!(accounts.shared().len(), 2);
}

#[test]
fn what_was_not_used_before_a_part_grew_is_not_free_after() {
    let (rate, now) = (Rate::per(3600 * SECOND), Instant::now());
    rate.set(Some(3_600), None);
    rate.set_share(Share::of(1, 2), None);
    rate.take(1_000, now).unwrap();
    rate.set_share(Share::WHOLE, Some(now));
    assert!(rate.take(801, now).is_err());
    rate.take(799, now).unwrap();
    // From now on it comes back twice as fast: a unit per second.
    assert!(rate.take(100, now + 90 * SECOND).is_err());
    rate.take(100, now + 110 * SECOND).unwrap();
}

#[test]
fn what_is_owed_stays_owed_in_a_smaller_part() {
    let (rate, now) = (Rate::per(60 * SECOND), Instant::now());
    rate.set(Some(600), None);
    rate.set_share(Share::of(1, 2), None);
    rate.charge(350, now);
    // Fifty are owed, at five per second.
    assert_eq!(rate.wait(1, now).unwrap().as_secs(), 10);
    rate.set_share(Share::of(1, 4), Some(now));
    assert_eq!(rate.wait(1, now).unwrap().as_secs(), 20);
}

#[test]
fn a_call_that_another_node_passed_on_is_one_call_of_its_tenant() {
    let quota = Quota { calls_per_second: Some(1), ..Quota::default() };
    let accounts = Accounts::new(&Quota::default(), quota, 100);
    let payer = accounts.payer(&tenant(), &AgentName::new("one").unwrap());
    let now = Instant::now();
    payer.begin(now, false).unwrap();
    payer.begin(now, true).unwrap();
    assert!(payer.begin(now, false).is_err());
}

#[test]
fn a_node_that_has_nothing_of_a_quota_begins_one_call_and_says_when_to_come_back() {
    let name = AgentName::new("one").unwrap();
    for quota in [
        Quota { cpu_ms_per_minute: Some(1_000), ..Quota::default() },
        Quota { cpu_ms_per_minute: Some(1), calls_per_second: Some(10), ..Quota::default() },
        Quota { egress_bytes_per_hour: Some(1_000), ..Quota::default() },
    ] {
        let accounts = Accounts::new(&Quota::default(), quota.clone(), 100);
        let (payer, now) = (accounts.payer(&tenant(), &name), Instant::now());
        accounts.set_shares(shares(0, 1), now);
        payer.begin(now, false).unwrap_or_else(|failure| panic!("{quota:?}: {failure:?}"));
        payer.may_use_egress(now).unwrap();
        payer.used_cpu(Duration::from_millis(5), now);
        payer.used_egress(100, now);
        let again = payer.begin(now, false).and_then(|()| payer.may_use_egress(now)).unwrap_err();
        // Its part may be another one soon, so there is no use in saying how long this one would take.
        assert_eq!(again.retry_after, Some(15 * SECOND), "{quota:?}");
        // What was used with next to nothing keeps nobody from using more of it.
        accounts.set_shares(shares(1, 2), now);
        let later = now + 2 * 60 * 60 * SECOND;
        payer.begin(later, false).unwrap();
        payer.may_use_egress(later).unwrap();
    }
}

#[test]
fn a_quota_that_is_used_up_everywhere_says_when_it_comes_back() {
    let quota = Quota { egress_bytes_per_hour: Some(3_600), ..Quota::default() };
    let accounts = Accounts::new(&Quota::default(), quota, 100);
    let (account, now) = (accounts.tenant(&tenant()), Instant::now());
    accounts.set_shares(shares(1, 2), now);
    let after = |after| account.refuse(Resource::Egress, Some(after)).retry_after.unwrap();
    assert_eq!(after(10 * SECOND), 10 * SECOND);
    assert_eq!(after(20 * SECOND), 15 * SECOND);
    assert_eq!(after(100 * SECOND), 50 * SECOND, "as if all of it were here");
    let after = account.refuse(Resource::Tokens, Some(1000 * SECOND)).retry_after;
    assert_eq!(after, Some(1000 * SECOND), "a day ends when it ends");
}

#[test]
fn tokens_that_others_used_are_not_there_any_more() {
    let quota = Quota { tokens_per_day: Some(1_000), ..Quota::default() };
    let accounts = Accounts::new(&Quota::default(), quota, 100);
    let account = accounts.tenant(&tenant());
    assert_eq!(account.tokens_here(7, 1_000), 1_000);
    accounts.set_shares(shares(1, 2), Instant::now());
    assert_eq!(account.tokens_here(7, 1_000), 500);
    account.set_zone_tokens(ZoneTokens { day: 7, here: 100, elsewhere: 300 });
    assert_eq!(account.tokens_here(7, 1_000), 400);
    assert_eq!(account.tokens_here(8, 1_000), 500, "a day begins anew");
}

#[test]
fn demand_is_what_is_used_most_and_everything_when_something_was_refused() {
    let quota =
        Quota { calls_per_second: Some(10), tokens_per_day: Some(86_400), ..Quota::default() };
    let accounts = Accounts::new(&Quota::default(), quota, 100);
    let (account, now) = (accounts.tenant(&tenant()), Instant::now());
    let before = account.taken();
    assert_eq!(account.demand(&before, SECOND), Share::NOTHING);
    account.calls.take(2, now).unwrap();
    assert_eq!(account.demand(&before, SECOND), Share::of(1, 5));
    account.note_tokens(1, 1);
    account.note_tokens(1, 0);
    assert_eq!(account.demand(&before, SECOND), Share::WHOLE, "a token per second is all of them");
    let before = account.taken();
    let _ = account.refuse(Resource::Calls, None);
    assert_eq!(account.demand(&before, SECOND), Share::WHOLE);
    // Deleted, and there again: its account begins anew.
    let before = account.taken();
    let again = Tenant { name: tenant(), created_unix_ms: 1 };
    drop(accounts.end(&again));
    accounts.begin(&again);
    assert_eq!(accounts.tenant(&tenant()).demand(&before, SECOND), Share::NOTHING);
}

proptest! {
    /// However parts move between nodes, what all let through together is the burst and what became free meanwhile, beyond
    /// the one unit that every node may always begin with.
    #[test]
    fn moving_parts_lets_nothing_more_through(
        amount in 10_u64..1_000,
        moves in prop::collection::vec((0_usize..3, 0_u64..200, prop::collection::vec(0_u64..300, 3)), 1..60),
    ) {
        let rates: Vec<_> = (0..3).map(|_| Arc::new(Rate::per(SECOND))).collect();
        for rate in &rates {
            rate.set(Some(amount), None);
            rate.set_share(Share::of(1, 3), None);
        }
        let (start, mut elapsed, mut through) = (Instant::now(), 0_u64, 0_u64);
        for (busy, gap_ms, tries) in moves {
            elapsed += gap_ms;
            let now = start + Duration::from_millis(elapsed);
            // First those that get less, as who divides does it.
            for (_, rate) in rates.iter().enumerate().filter(|(index, _)| *index != busy) {
                rate.set_share(Share::of(1, 100), Some(now));
            }
            rates[busy].set_share(Share::of(98, 100), Some(now));
            for (rate, count) in rates.iter().zip(tries) {
                through += (0..count).filter(|_| rate.take(1, now).is_ok()).count() as u64;
            }
        }
        let most = amount + amount * elapsed / 1_000 + 3 * 3;
        prop_assert!(through <= most, "{through} > {most}");
    }
}

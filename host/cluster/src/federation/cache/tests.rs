use proptest::prelude::*;

use super::*;

impl Weigh for u32 {
    fn bytes(&self) -> u64 {
        0
    }
}

fn name(text: &str) -> FullName {
    text.parse().unwrap()
}

fn caller(text: &str) -> Scope {
    Scope::Caller(TenantName::new(text).unwrap())
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn times(ttl_s: u64) -> Times {
    Times { ttl: Duration::from_secs(ttl_s), life: DAY }
}

#[test]
fn an_entry_is_fresh_for_the_shortest_of_its_times() {
    let cache = Cache::<u32>::new(1 << 20);
    let (now, name) = (Instant::now(), name("a.example"));
    for (scope, ttl_s, fresh_s) in [
        (caller("x"), 1000, 60),
        (caller("x"), 10, 10),
        (Scope::Zone, 1000, 300),
        (Scope::Zone, 10, 10),
        (Scope::Peers, 1000, 900),
    ] {
        cache.put(&scope, &name, 1, Reach::World, times(ttl_s), now);
        let at = |seconds| now + Duration::from_secs(seconds);
        assert!(
            cache.fresh(&scope, &name, at(fresh_s - 1), |_| true).is_some(),
            "{scope:?} {ttl_s}"
        );
        assert!(cache.fresh(&scope, &name, at(fresh_s), |_| true).is_none(), "{scope:?} {ttl_s}");
        assert!(cache.stale(&scope, &name, at(fresh_s), |_| true).is_some(), "{scope:?} {ttl_s}");
        assert!(cache.stale(&scope, &name, now + DAY, |_| true).is_none(), "{scope:?} {ttl_s}");
    }
    cache.put(&Scope::Zone, &name, 1, Reach::World, Times { ttl: DAY, life: DAY / 1000 }, now);
    assert!(cache.fresh(&Scope::Zone, &name, now + DAY / 1000, |_| true).is_none());
}

#[test]
fn what_is_private_never_climbs() {
    let cache = Cache::<u32>::new(1 << 20);
    let now = Instant::now();
    let kept = |reach: Reach| {
        let name = FullName::new(&format!("{reach:?}"), &"example".parse().unwrap()).unwrap();
        [caller("x"), Scope::Zone, Scope::Peers].map(|scope| {
            cache.put(&scope, &name, 1, reach, times(100), now);
            cache.fresh(&scope, &name, now, |_| true).is_some()
        })
    };
    assert_eq!(kept(Reach::Caller), [true, false, false]);
    assert_eq!(kept(Reach::Zone), [true, true, false]);
    assert_eq!(kept(Reach::World), [true, true, true]);
}

#[test]
fn callers_do_not_see_each_others_entries_and_memory_is_bounded() {
    let cache = Cache::<u32>::new(64 * ENTRY_BYTES);
    let now = Instant::now();
    cache.put(&caller("x"), &name("a.example"), 1, Reach::World, times(60), now);
    assert!(cache.fresh(&caller("y"), &name("a.example"), now, |_| true).is_none());
    for number in 0..10_000 {
        let name = name(&format!("a{number}.example"));
        cache.put(&Scope::Zone, &name, number, Reach::World, times(60), now);
    }
    assert!(cache.len() <= 64);
}

proptest! {
    /// Against the plainest model: the newest value, its instant and its times.
    #[test]
    fn a_cache_answers_like_a_list(
        steps in prop::collection::vec((0u8..4, 0u8..3, 0u64..400, 0u64..200), 1..60),
    ) {
        let cache = Cache::<u32>::new(1 << 20);
        let mut model: std::collections::HashMap<(u8, u8), (Instant, u64, u32)> = Default::default();
        let mut now = Instant::now();
        for (index, (which, scope, ttl, pause)) in (0..).zip(steps) {
            let (name, at) = (name(&format!("a{which}.example")), scope);
            let scope = [caller("x"), Scope::Zone, Scope::Peers][usize::from(at)].clone();
            now += Duration::from_secs(pause);
            let expected = model.get(&(which, at)).and_then(|(since, ttl, value)| {
                let fresh = Duration::from_secs(*ttl).min(scope.level().cap());
                (now < *since + fresh).then_some(*value)
            });
            prop_assert_eq!(cache.fresh(&scope, &name, now, |_| true).map(|entry| entry.value), expected);
            if expected.is_none() && ttl > 0 {
                cache.put(&scope, &name, index, Reach::World, times(ttl), now);
                model.insert((which, at), (now, ttl, index));
            }
        }
    }
}

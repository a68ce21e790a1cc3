//! A hundred zones of a hundred nodes, modelled: what they cache, and what a lookup costs. Time is virtual, so hours
//! pass in seconds.

use std::time::Duration;

use aop_core::TenantName;
use tokio::time::Instant;

use super::super::cache::{Cache, Level, Reach, Scope, Times};
use super::super::name::FullName;
use super::super::testing::World;
use super::{MINUTE, found};

/// Names in the trace.
const NAMES: usize = 10_000;
/// Lookups per second.
const RATE: u64 = 1000;
/// Nodes of the zone that looks up.
const NODES: usize = 100;

/// A small generator of numbers: the same trace on every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Zipf(1.0): the share of the n-th name is 1/n of the first one's.
struct Zipf(Vec<f64>);

impl Zipf {
    #[expect(clippy::cast_precision_loss, reason = "ten thousand names")]
    fn new(names: usize) -> Self {
        let mut sum = 0.0;
        let mut ends: Vec<f64> = (1..=names)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        for end in &mut ends {
            *end /= sum;
        }
        Self(ends)
    }

    fn draw(&self, numbers: &mut Numbers) -> usize {
        let at = numbers.fraction();
        self.0.partition_point(|end| *end < at).min(self.0.len() - 1)
    }
}

/// Hits of each level and misses, over lookups of one zone after its caches are warm. Each node has its own first level
/// for a caller of its own; the second level is shared, as it is at the names' owners; the third belongs to the parent,
/// which other zones of the same organisation fill, too.
fn replay(nodes: usize, ttl: Duration) -> [f64; 4] {
    let (zipf, mut numbers) = (Zipf::new(NAMES), Numbers(7));
    let names: Vec<FullName> = (0..NAMES)
        .map(|number| format!("a{number}.z{}.example", number % 100).parse().unwrap())
        .collect();
    let first: Vec<Cache<u32>> = (0..nodes).map(|_| Cache::new(16 << 20)).collect();
    let (second, third) = (Cache::new(16 << 20), Cache::new(16 << 20));
    let caller = Scope::Caller(TenantName::default_tenant());
    let begun = Instant::now();
    let times = Times { ttl, life: Duration::from_secs(24 * 3600) };
    let step = Duration::from_micros(1_000_000 / RATE);
    let (warm_up, measured) = (15 * 60 * RATE, 5 * 60 * RATE);
    let mut counts = [0u64; 4];
    for lookup in 0..warm_up + measured {
        let now = begun + step * u32::try_from(lookup).unwrap();
        let name = &names[zipf.draw(&mut numbers)];
        let node = &first[usize::try_from(numbers.next()).unwrap_or(0) % nodes];
        let level = if node.fresh(&caller, name, now, |_| true).is_some() {
            0
        } else if second.fresh(&Scope::Zone, name, now, |_| true).is_some() {
            1
        } else if third.fresh(&Scope::Peers, name, now, |_| true).is_some() {
            2
        } else {
            3
        };
        if level >= 3 {
            third.put(&Scope::Peers, name, 0, Reach::World, times, now);
        }
        if level >= 2 {
            second.put(&Scope::Zone, name, 0, Reach::World, times, now);
        }
        if level >= 1 {
            let left = second
                .peek(&Scope::Zone, name)
                .map_or(times.ttl, |entry| entry.fresh_until.saturating_duration_since(now));
            node.put(&caller, name, 0, Reach::World, Times { ttl: left, ..times }, now);
        }
        if lookup >= warm_up {
            counts[level] += 1;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a share is shown to a tenth of a percent")]
    counts.map(|count| count as f64 * 100.0 / measured as f64)
}

#[test]
fn a_zipf_trace_is_answered_by_the_first_two_levels() {
    for (nodes, ttl) in [(1, 15 * MINUTE), (NODES, 5 * MINUTE)] {
        let [l1, l2, l3, miss] = replay(nodes, ttl);
        eprintln!(
            "{nodes} nodes, record ttl {} s: L1 {l1:.1} %, L2 {l2:.1} %, L3 {l3:.1} %, asked {miss:.1} %",
            ttl.as_secs()
        );
        assert!(l1 + l2 >= 85.0, "{nodes} nodes: L1 {l1:.1} % and L2 {l2:.1} %");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_zones_find_each_other() {
    let mut zones = vec!["example".to_owned()];
    zones.extend((0..9).map(|org| format!("org{org}.example")));
    zones.extend((0..90).map(|site| format!("site{site}.org{}.example", site % 9)));
    let names: Vec<_> = zones.iter().map(String::as_str).collect();
    let world = World::of(&names, 5 * MINUTE);
    for zone in &names {
        for agent in 0..3 {
            world.at(zone).agents.add(&format!("agent{agent}"), Some(&["world"]));
        }
    }
    let (mut numbers, mut lookups) = (Numbers(3), 0);
    for from in &names {
        for _ in 0..10 {
            let to = names[usize::try_from(numbers.next() % 100).unwrap()];
            let name = format!("agent{}.{to}", numbers.next() % 3);
            assert_eq!(found(world.at(from), &name).await, name, "from {from}");
            lookups += 1;
        }
    }
    // A lookup costs three questions when nothing is known, and less and less as zones are known.
    assert!(world.wires.total() <= lookups * 3 + 200, "{} for {lookups}", world.wires.total());
}

#[tokio::test(start_paused = true)]
async fn three_levels_cost_three_round_trips_and_nothing_else() {
    let world = World::of(&["a", "b.a", "c.b.a", "x.a"], 5 * MINUTE);
    world.at("c.b.a").agents.add("writer", Some(&["world"]));
    *world.wires.delay.lock().unwrap() = Duration::from_millis(10);
    let started = Instant::now();
    assert_eq!(found(world.at("x.a"), "writer.c.b.a").await, "writer.c.b.a");
    // Equation 10 with d = 3 and 20 ms for the way there and back.
    assert_eq!(started.elapsed(), Duration::from_millis(60));
    let again = Instant::now();
    found(world.at("x.a"), "writer.c.b.a").await;
    assert_eq!(again.elapsed(), Duration::ZERO);
    assert_eq!(world.at("x.a").zone.cache_figures(Level::L1)[0], 1);
}

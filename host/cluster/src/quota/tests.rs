//! Ledgers in virtual time, over gossip that is late, cut, and forgets.

use aop_core::TenantName;
use aop_core::quota::Quota;
use proptest::prelude::*;

use super::said::Entry;
use super::window::Window;
use super::*;

const WHOLE: u64 = Share::WHOLE.billionths() as u64;
/// Between two looks of a node; in between, others look.
const STEP: Duration = Duration::from_millis(250);
/// What gossip takes at the most.
const LAG_MAX_MS: u64 = 3000;
/// After which time gossip forgets a node that it does not hear.
const GOSSIP_GRACE: Duration = Duration::from_secs(15 * 60);

fn node(number: usize) -> NodeId {
    NodeId::of_public_key(&number.to_be_bytes())
}

fn key() -> TenantKey {
    TenantKey::of(&TenantName::new("acme").unwrap())
}

/// A node of which nothing has arrived before this time.
#[derive(Clone, Default)]
struct Delivered {
    /// What it was when it sent it.
    sent: u64,
    heard: Option<Instant>,
    said: BTreeMap<u8, String>,
}

struct Host {
    ledger: Option<Ledger>,
    remembered: Option<Remembered>,
    /// What it said, by the step.
    history: Vec<(u64, BTreeMap<u8, String>)>,
    delivered: BTreeMap<usize, Delivered>,
    has_left: bool,
    side: u8,
    demand: Share,
    used: u64,
    /// The part of each look, of the tenant and of all others.
    parts: (Share, Share),
}

/// A zone in virtual time.
struct World {
    hosts: Vec<Host>,
    now: Instant,
    step: u64,
    random: u64,
    evicted: BTreeSet<NodeId>,
}

impl World {
    fn new(count: usize) -> Self {
        let host = |_| Host {
            ledger: None,
            remembered: None,
            history: Vec::new(),
            delivered: BTreeMap::new(),
            has_left: false,
            side: 0,
            demand: Share::NOTHING,
            used: 0,
            parts: (Share::NOTHING, Share::NOTHING),
        };
        let mut world = Self {
            hosts: (0..count).map(host).collect(),
            now: Instant::now() + FORGET,
            step: 0,
            random: 1,
            evicted: BTreeSet::new(),
        };
        (0..count).for_each(|number| world.start(number));
        world
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % below
    }

    fn start(&mut self, number: usize) {
        // The first founds the zone; whoever joins knows where to find it.
        let joins = number > 0 || self.step > 0;
        let (now, host) = (self.now, &mut self.hosts[number]);
        if host.ledger.is_none() {
            let remembered = host.remembered.as_ref();
            host.ledger = Some(Ledger::new(node(number), remembered, joins, now));
            (host.has_left, host.delivered) = (false, BTreeMap::new());
            host.history = vec![(self.step, BTreeMap::new())];
        }
    }

    fn kill(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        (host.ledger, host.parts) = (None, (Share::NOTHING, Share::NOTHING));
    }

    fn run(&mut self, time: Duration) {
        let steps = u64::try_from(time.as_millis() / STEP.as_millis()).unwrap();
        for _ in 0..steps {
            self.step += 1;
            self.now += STEP;
            self.deliver();
            for number in 0..self.hosts.len() {
                if (self.step + number as u64).is_multiple_of(2) {
                    self.look(number);
                }
            }
            self.check();
        }
    }

    fn deliver(&mut self) {
        for to in 0..self.hosts.len() {
            for from in 0..self.hosts.len() {
                let lag = self.random(LAG_MAX_MS) / 250;
                let (source, target) = (&self.hosts[from], &self.hosts[to]);
                let is_up = (source.ledger.is_some() || source.has_left) && target.ledger.is_some();
                if from == to || !is_up || source.side != target.side {
                    continue;
                }
                let sent = self.step.saturating_sub(lag);
                let said = source.history.iter().rev().find(|(step, _)| *step <= sent);
                let Some((_, said)) = said.cloned() else { continue };
                let now = self.now;
                let known = self.hosts[to].delivered.entry(from).or_default();
                if sent > known.sent {
                    *known = Delivered { sent, heard: Some(now), said };
                }
            }
        }
        self.relay();
    }

    /// News also comes by way of others.
    fn relay(&mut self) {
        let count = self.hosts.len();
        for (by, to) in (0..count).flat_map(|by| (0..count).map(move |to| (by, to))) {
            let (source, target) = (&self.hosts[by], &self.hosts[to]);
            let is_up = source.ledger.is_some() && target.ledger.is_some();
            let is_due = (self.step + 3 * by as u64 + to as u64).is_multiple_of(8);
            if by == to || !is_up || !is_due || source.side != target.side {
                continue;
            }
            for (from, news) in source.delivered.clone() {
                let known = self.hosts[to].delivered.entry(from).or_default();
                if from != to && news.sent > known.sent {
                    *known = Delivered { heard: Some(self.now), ..news };
                }
            }
        }
    }

    fn look(&mut self, number: usize) {
        let (now, day) = (self.now, 1);
        if self.hosts[number].ledger.is_none() {
            return;
        }
        let is_fresh = |heard: Instant| now.duration_since(heard) < GOSSIP_GRACE;
        let mut sights: BTreeMap<usize, Sight> = BTreeMap::new();
        let mine = &self.hosts[number];
        for (other, known) in &mine.delivered {
            let Some(heard) = known.heard.filter(|heard| is_fresh(*heard)) else { continue };
            let sight = Sight {
                node: node(*other),
                is_heard: now.duration_since(heard) < SILENT,
                has_left: self.hosts[*other].has_left && self.hosts[*other].side == mine.side,
                said: known.said.clone(),
            };
            sights.insert(*other, sight);
        }
        // What others tell of those that this one has never heard.
        for (relay, _) in
            mine.delivered.iter().filter(|(relay, _)| self.hosts[**relay].side == mine.side)
        {
            for (other, known) in &self.hosts[*relay].delivered {
                let is_known = known.heard.is_some_and(is_fresh) && !self.hosts[*other].has_left;
                if *other != number && is_known {
                    sights.entry(*other).or_insert_with(|| Sight {
                        node: node(*other),
                        is_heard: false,
                        has_left: false,
                        said: BTreeMap::new(),
                    });
                }
            }
        }
        let is_measured = self.step % 8 < 2;
        let evicted = self.evicted.clone();
        let host = &mut self.hosts[number];
        let ledger = host.ledger.as_mut().unwrap();
        ledger.see(sights.into_values().collect(), &evicted, day, now);
        if is_measured {
            ledger.want(key(), host.demand, now);
            ledger.used_tokens(key(), host.used);
            let said = ledger.say(day, now);
            host.history.push((self.step, said));
        }
        let (others, named) = ledger.shares(now);
        host.parts = (named.get(&key()).copied().unwrap_or(others), others);
        host.remembered = Some(ledger.known());
    }

    fn sum(&self) -> (u64, u64) {
        let add = |(a, b): (u64, u64), host: &Host| {
            let (tenant, others) = host.parts;
            (a + u64::from(tenant.billionths()), b + u64::from(others.billionths()))
        };
        self.hosts.iter().fold((0, 0), add)
    }

    fn check(&self) {
        let (tenant, others) = self.sum();
        let parts: Vec<_> = self.hosts.iter().map(|host| host.parts).collect();
        assert!(tenant <= WHOLE && others <= WHOLE, "at {}: {parts:?}", self.step);
    }

    /// A node's part of the tenant's quota, in percent.
    fn percent(&self, number: usize) -> u64 {
        u64::from(self.hosts[number].parts.0.billionths()) * 100 / WHOLE
    }

    fn settled(count: usize) -> Self {
        let mut world = Self::new(count);
        world.run(Duration::from_secs(30));
        world
    }
}

const SECONDS_30: Duration = Duration::from_secs(30);

#[test]
fn idle_nodes_have_even_parts_and_lend_them() {
    let mut world = World::settled(3);
    assert_eq!([0, 1, 2].map(|number| world.percent(number)), [33; 3]);
    world.hosts[1].demand = Share::of(1, 2);
    world.run(SECONDS_30);
    assert!(world.percent(1) >= 99, "{}", world.percent(1));
    // Two that want everything have half each.
    world.hosts[1].demand = Share::WHOLE;
    world.hosts[2].demand = Share::WHOLE;
    world.run(SECONDS_30);
    assert_eq!([1, 2].map(|number| world.percent(number)), [49; 2]);
    // What is not wanted any more comes back.
    world.hosts[1].demand = Share::NOTHING;
    world.run(SECONDS_30);
    assert!(world.percent(2) >= 99, "{}", world.percent(2));
}

#[test]
fn both_sides_of_a_cut_have_what_is_theirs_and_are_one_afterwards() {
    let mut world = World::settled(5);
    world.hosts[4].demand = Share::WHOLE;
    world.run(SECONDS_30);
    assert!(world.percent(4) >= 99);
    world.hosts[3].side = 1;
    world.hosts[4].side = 1;
    world.run(SECONDS_30);
    // Within its side, one still lends to the other.
    assert!((39..=40).contains(&world.percent(4)), "{}", world.percent(4));
    assert_eq!([0, 1, 2].map(|number| world.percent(number)), [19, 19, 19]);
    // The minority goes back to nothing before the majority takes the rest.
    world.run(FENCE);
    assert_eq!(world.percent(4), 0);
    world.run(FORGET);
    assert_eq!([0, 1, 2].map(|number| world.percent(number)), [33; 3]);
    world.hosts[3].side = 0;
    world.hosts[4].side = 0;
    world.run(SECONDS_30);
    assert!(world.percent(4) >= 99);
}

#[test]
fn a_dead_node_keeps_its_even_part_until_somebody_knows_that_it_is_gone() {
    let mut world = World::settled(2);
    world.kill(1);
    world.run(SECONDS_30 + FENCE + FORGET);
    assert_eq!(world.percent(0), 50, "of two nobody is a majority");
    world.evicted.insert(node(1));
    world.run(SECONDS_30);
    assert_eq!(world.percent(0), 100);
    // One that says goodbye gives its part on.
    let mut world = World::settled(3);
    world.hosts[2].has_left = true;
    world.kill(2);
    world.run(SECONDS_30);
    assert_eq!([0, 1].map(|number| world.percent(number)), [50; 2]);
    // And one that comes back has one again, also in a minority.
    world.start(2);
    world.run(SECONDS_30);
    assert_eq!([0, 1, 2].map(|number| world.percent(number)), [33; 3]);
    (0..3).for_each(|number| world.kill(number));
    world.run(SECONDS_30);
    world.start(1);
    world.run(SECONDS_30);
    assert_eq!(world.percent(1), 0, "the others may be a majority elsewhere");
    world.start(0);
    world.run(SECONDS_30);
    assert_eq!([0, 1].map(|number| world.percent(number)), [33; 2]);
}

#[test]
fn tokens_are_known_elsewhere_and_parts_are_of_what_is_left() {
    let mut world = World::settled(3);
    world.hosts[0].used = 700;
    world.hosts[1].used = 200;
    world.run(SECONDS_30);
    let known =
        |number: usize| world.hosts[number].ledger.as_ref().unwrap().tokens(&key(), 1, world.now);
    assert_eq!([0, 1, 2].map(known), [(700, 200), (200, 700), (0, 900)]);
    let ledger = world.hosts[2].ledger.as_ref().unwrap();
    assert_eq!(ledger.tokens(&key(), 2, world.now), (0, 0), "of another day");
}

/// A node that hears nobody.
struct Silence(NodeId);

impl Surroundings for Silence {
    fn me(&self) -> &NodeId {
        &self.0
    }

    fn neighbours(&self) -> Option<Vec<Neighbour>> {
        Some(Vec::new())
    }

    fn evicted(&self) -> BTreeSet<NodeId> {
        BTreeSet::new()
    }

    fn say(&self, _: BTreeMap<u8, String>) {}
}

#[test]
fn a_node_that_forgot_its_zone_has_nothing_of_what_the_others_have() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("quota-nodes.json");
    let share = |company: bool| {
        let quota = Quota { calls_per_second: Some(9), ..Quota::default() };
        let accounts = Accounts::new(&Quota::default(), quota, 100);
        let around = Silence(node(0));
        let _ = ZoneQuotas::open(Arc::clone(&accounts), file.clone(), company, &around);
        accounts.tenant(&TenantName::new("acme").unwrap()).share()
    };
    assert_eq!(share(false), Share::WHOLE, "it founds the zone");
    assert_eq!(share(true), Share::NOTHING, "the file is gone");
    for torn in ["", "{\"", "[1]"] {
        std::fs::write(&file, torn).unwrap();
        assert_eq!(share(true), Share::NOTHING, "{torn}");
    }
    let known = Remembered::from([(node(0), None), (node(1), None)]);
    std::fs::write(&file, serde_json::to_vec(&known).unwrap()).unwrap();
    assert_eq!(share(true), Share::NOTHING, "the other one may have forgotten it");
    let alone = Remembered::from([(node(0), None)]);
    std::fs::write(&file, serde_json::to_vec(&alone).unwrap()).unwrap();
    assert_eq!(share(true), Share::WHOLE, "it knows that it was alone");
}

#[test]
fn windows_remember_for_a_lease() {
    let now = Instant::now();
    let mut window = Window::new(3);
    window.set(5, now);
    assert_eq!((window.min(now), window.max(now)), (3, 5));
    window.set(1, now + LEASE / 2);
    assert_eq!((window.min(now + LEASE), window.max(now + LEASE)), (1, 5));
    assert!(window.is_settled(1, now + 2 * LEASE));
}

#[test]
fn what_is_said_fits_and_is_read() {
    let key_of = |number: u64| TenantKey(number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    let entries: said::Entries = (0..1000)
        .map(|number| (key_of(number), Entry { weight: 1 << (number % 11), tokens: number }))
        .collect();
    let (mut texts, said) = said::write(7, &entries);
    said::write_pool(&mut texts, 7, Share::of(1, 3));
    assert_eq!(said::read_pool(&texts[&0]), Some(Share::of(1, 3)));
    assert_eq!(said::read_pool(&texts[&1]), None);
    assert!(texts.values().all(|text| text.len() <= 1024) && texts.len() <= usize::from(KEYS_MAX));
    assert!(said.len() > 350, "{}", said.len());
    assert!(said.contains_key(&key_of(999)), "what was used is said first");
    let heard: said::Entries = texts.values().flat_map(|text| said::read(text, 7)).collect();
    assert_eq!(heard, said);
    assert!(
        texts.values().flat_map(|text| said::read(text, 8)).all(|(_, entry)| entry.tokens == 0)
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_text_breaks_the_reader(
        text in "[0-9]{0,21}(:[0-9]{0,11})?;?([A-Za-z0-9_-]{9,10}[AEIMQUYcgkosw048]{0,2}[0-9a-f]?[0-9]{0,21}[,;]?){0,6}",
        at: prop::sample::Index,
        other: char,
    ) {
        // Nearly right, and once more with something in it that is not.
        let mut broken: Vec<_> = text.chars().collect();
        broken.insert(at.index(broken.len() + 1), other);
        for text in [text, broken.into_iter().collect()] {
            prop_assert!(said::read_pool(&text).is_none_or(|pool| pool <= Share::WHOLE));
            for (_, entry) in said::read(&text, 1) {
                prop_assert!((1..=1024).contains(&entry.weight) && entry.weight.is_power_of_two());
            }
        }
    }

    /// Whatever is wanted, cut, killed and started, in whatever order and pace: the parts are never more than the whole.
    #[test]
    fn parts_are_never_more_than_the_whole(
        count in 2_usize..6,
        seed: u64,
        events in prop::collection::vec((0_u8..7, 0_usize..6, 0_u64..40_000, 0_u64..4), 1..30),
    ) {
        let mut world = World::new(count);
        world.random = seed;
        for (event, number, wait_ms, how_much) in events {
            let number = number % count;
            match event {
                0 | 1 => world.hosts[number].demand = Share::of(how_much * how_much, 9),
                2 => world.hosts[number].side = 1 - world.hosts[number].side,
                3 => world.kill(number),
                4 | 5 => world.start(number),
                _ => world.run(Duration::from_secs(300)),
            }
            world.run(Duration::from_millis(wait_ms));
        }
    }
}

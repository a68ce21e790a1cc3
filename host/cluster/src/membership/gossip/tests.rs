//! Real chitchat on a paused clock, over a network in memory whose faults are data.

mod network;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

use aop_core::Digest;
use aop_core::cluster::MemberState;

use self::network::Network;
use super::*;
use crate::membership::DocumentVersion;

/// As in production.
const INTERVAL: Duration = Duration::from_millis(500);

/// What happens to a zone, in order.
enum Step {
    /// Everybody sees exactly these nodes, within so many seconds. Nodes that are cut off are not asked.
    Sees { who: &'static [usize], sees: &'static [usize], within_s: u64 },
    /// Nodes on different sides do not hear each other.
    Cut(&'static [usize], &'static [usize]),
    /// They do again.
    Heal,
    /// A node stops without a word.
    Kill(usize),
    /// It starts again, with the next generation.
    Start(usize),
    /// It says goodbye and stops.
    Leave(usize),
    /// Its chitchat ends by itself.
    Break(usize),
    /// Time passes.
    Wait(u64),
    /// Whether these nodes suspect a partition.
    Suspects(&'static [usize], bool),
    /// A node publishes something, and everybody's registry is the same within so many seconds.
    Publish { node: usize, within_s: u64 },
}

struct Node {
    gossip: Arc<Gossip>,
    stop: CancellationToken,
    generation: Arc<AtomicU64>,
    running: bool,
}

struct Zone {
    network: Network,
    nodes: Vec<Node>,
    published: u64,
}

fn address(number: usize) -> SocketAddr {
    let [high, low] = u16::try_from(number + 1).unwrap().to_be_bytes();
    ([10, 0, high, low], 8100).into()
}

fn node_id(number: usize) -> NodeId {
    NodeId::of_public_key(&number.to_be_bytes())
}

impl Zone {
    /// Everybody knows the first node only.
    fn new(count: usize, latency: Duration, loss: f64) -> Self {
        let network = Network::new(latency, loss);
        let mut zone = Self { network, nodes: Vec::new(), published: 0 };
        for number in 0..count {
            zone.add(node_id(number));
        }
        zone
    }

    /// One more that runs, with some id.
    fn add(&mut self, node: NodeId) {
        let number = self.nodes.len();
        let config = GossipConfig {
            zone: "test.example".parse().unwrap(),
            node,
            endpoint: address(number),
            interval: INTERVAL,
        };
        let contacts = Arc::new(Contacts::in_memory(address(number), vec![address(0)]));
        let gossip = Arc::new(Gossip::new(config, Keys::new(), contacts));
        let generation = Arc::new(AtomicU64::new(0));
        let stop = CancellationToken::new();
        self.nodes.push(Node { gossip, stop, generation, running: false });
        self.start(number);
    }

    fn start(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.stop = CancellationToken::new();
        node.running = true;
        let (gossip, stop, network, generation) =
            (node.gossip.clone(), node.stop.clone(), self.network.clone(), node.generation.clone());
        gossip.say(|own| own.remove(keys::LEFT));
        // Nodes are not in step with each other.
        let phase = INTERVAL * u32::try_from(number * 37 % 100).unwrap() / 100;
        tokio::spawn(async move {
            tokio::time::sleep(phase).await;
            let next = || Ok(Generation(generation.fetch_add(1, Ordering::Relaxed)));
            gossip.run(&network, next, stop).await;
        });
    }

    fn kill(&mut self, number: usize) {
        self.network.unplug(address(number));
        self.nodes[number].stop.cancel();
        self.nodes[number].running = false;
    }

    fn sees(&self, who: usize) -> BTreeSet<NodeId> {
        self.nodes[who].gossip.view.borrow().members.keys().cloned().collect()
    }

    /// Whether a node knows what another one published.
    fn knows(&self, who: usize, speaker: usize, version: DocumentVersion) -> bool {
        let view = self.nodes[who].gossip.view.borrow();
        view.members.get(&node_id(speaker)).and_then(Member::catalogue) == Some(version)
    }

    /// How long it takes until something holds.
    async fn until(&self, within: Duration, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < within, "not within {within:?}: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        start.elapsed()
    }

    async fn until_whole(&self) -> Duration {
        let count = self.nodes.len();
        let whole = |zone: &Self| (0..count).all(|node| zone.sees(node).len() == count);
        self.until(Duration::from_secs(60), "everybody sees everybody", whole).await
    }

    fn publish(&mut self, node: usize) -> DocumentVersion {
        self.published += 1;
        let digest = Digest::of(&self.published.to_be_bytes());
        let version = DocumentVersion { serial: self.published, digest };
        let key = keys::document_key(Member::CATALOGUE);
        let value = keys::write_version(version);
        self.nodes[node].gossip.say(|own| keys::set(own, &key, value)).unwrap();
        version
    }

    async fn run(&mut self, steps: &[Step]) {
        for (index, step) in steps.iter().enumerate() {
            let what = format!("step {index}");
            match step {
                Step::Sees { who, sees, within_s } => {
                    let expected: BTreeSet<_> = sees.iter().map(|node| node_id(*node)).collect();
                    let holds = |zone: &Self| who.iter().all(|node| zone.sees(*node) == expected);
                    self.until(Duration::from_secs(*within_s), &what, holds).await;
                }
                Step::Cut(a, b) => {
                    let side = |nodes: &[usize]| nodes.iter().map(|node| address(*node)).collect();
                    self.network.cut(side(a), side(b));
                }
                Step::Heal => self.network.heal(),
                Step::Kill(node) => self.kill(*node),
                Step::Start(node) => {
                    self.network.plug(address(*node));
                    self.start(*node);
                }
                Step::Leave(node) => {
                    let gossip = self.nodes[*node].gossip.clone();
                    gossip.say(|own| keys::set(own, keys::LEFT, keys::YES)).unwrap();
                    gossip.tell_everybody().await;
                    self.kill(*node);
                }
                Step::Break(node) => self.network.break_socket(address(*node)),
                Step::Wait(seconds) => tokio::time::sleep(Duration::from_secs(*seconds)).await,
                Step::Suspects(nodes, expected) => {
                    for node in *nodes {
                        let suspects = self.nodes[*node]
                            .gossip
                            .with_roster(|roster| roster.partition(Instant::now()).is_some());
                        assert_eq!(suspects, *expected, "{what}, node {node}");
                    }
                }
                Step::Publish { node, within_s } => {
                    let version = self.publish(*node);
                    let holds = |zone: &Self| {
                        let digests: BTreeSet<_> = zone
                            .nodes
                            .iter()
                            .filter(|node| node.running)
                            .map(|node| node.gossip.view.borrow().registry_digest())
                            .collect();
                        digests.len() == 1
                            && zone.nodes[0].gossip.view.borrow().members[&node_id(*node)]
                                .catalogue()
                                == Some(version)
                    };
                    self.until(Duration::from_secs(*within_s), &what, holds).await;
                }
            }
        }
    }
}

const ALL: &[usize] = &[0, 1, 2, 3, 4];

#[tokio::test(start_paused = true)]
async fn a_zone_survives_what_happens_to_zones() {
    let cases: &[(&str, &[Step])] = &[
        (
            "a node dies, is noticed within 5 s, and comes back as a new generation",
            &[
                Step::Sees { who: ALL, sees: ALL, within_s: 30 },
                Step::Wait(20),
                Step::Kill(3),
                Step::Sees { who: &[0, 1, 2, 4], sees: &[0, 1, 2, 4], within_s: 5 },
                Step::Suspects(&[0, 1, 2, 4], false),
                Step::Start(3),
                Step::Sees { who: ALL, sees: ALL, within_s: 15 },
            ],
        ),
        (
            "a partition is suspected, both sides go on, and it heals",
            &[
                Step::Sees { who: ALL, sees: ALL, within_s: 30 },
                Step::Wait(20),
                Step::Cut(&[0, 1], &[2, 3, 4]),
                Step::Sees { who: &[0, 1], sees: &[0, 1], within_s: 5 },
                Step::Sees { who: &[2, 3, 4], sees: &[2, 3, 4], within_s: 5 },
                Step::Suspects(ALL, true),
                Step::Heal,
                Step::Sees { who: ALL, sees: ALL, within_s: 30 },
                Step::Suspects(ALL, false),
                Step::Publish { node: 4, within_s: 5 },
            ],
        ),
        (
            "the sides find each other again after gossip forgot",
            &[
                Step::Sees { who: ALL, sees: ALL, within_s: 30 },
                Step::Cut(&[0, 1], &[2, 3, 4]),
                Step::Wait(30 * 60),
                Step::Sees { who: &[0, 1], sees: &[0, 1], within_s: 1 },
                Step::Heal,
                Step::Sees { who: ALL, sees: ALL, within_s: 90 },
            ],
        ),
        (
            "who says goodbye is gone at once",
            &[
                Step::Sees { who: ALL, sees: ALL, within_s: 30 },
                Step::Leave(2),
                Step::Sees { who: &[0, 1, 3, 4], sees: &[0, 1, 3, 4], within_s: 2 },
                Step::Suspects(&[0, 1, 3, 4], false),
                Step::Start(2),
                Step::Sees { who: ALL, sees: ALL, within_s: 15 },
            ],
        ),
        (
            "a chitchat that ends by itself starts anew",
            &[
                Step::Sees { who: ALL, sees: ALL, within_s: 30 },
                Step::Break(1),
                Step::Wait(3),
                Step::Sees { who: ALL, sees: ALL, within_s: 30 },
                Step::Publish { node: 1, within_s: 10 },
            ],
        ),
    ];
    for (name, steps) in cases {
        for (latency, loss) in [(1, 0.0), (50, 0.1)] {
            println!("{name}, latency {latency} ms, loss {loss}");
            Zone::new(5, Duration::from_millis(latency), loss).run(steps).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_reaches_everybody_within_four_intervals() {
    for count in [3, 10, 50, 100] {
        let mut zone = Zone::new(count, Duration::from_millis(5), 0.0);
        zone.until_whole().await;
        let mut times = Vec::new();
        for round in 0..3 {
            // Not in step with anybody's rounds.
            tokio::time::sleep(Duration::from_millis(1700)).await;
            let version = zone.publish(round % count);
            let start = Instant::now();
            let mut waiting: BTreeSet<_> = (0..count).collect();
            while !waiting.is_empty() {
                assert!(start.elapsed() < Duration::from_secs(30), "it never arrives");
                tokio::time::sleep(Duration::from_millis(20)).await;
                waiting.retain(|node| {
                    let view = zone.nodes[*node].gossip.view.borrow().clone();
                    let knows = view.members[&node_id(round % count)].catalogue() == Some(version);
                    if knows && *node != round % count {
                        times.push(start.elapsed().as_secs_f64() / INTERVAL.as_secs_f64());
                    }
                    !knows
                });
            }
        }
        times.sort_by(f64::total_cmp);
        let (p50, max) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{count} nodes: an update is known after p50 {p50:.2}, max {max:.2} intervals");
        assert!(p50 <= 2.0 && max <= 4.0, "{count} nodes: p50 {p50}, max {max}");
    }
}

/// Two fifths of a zone and the rest lose each other, over a network that is slow and loses every tenth message; both
/// go on, each with news of its own, and are one again with the same registry.
#[tokio::test(start_paused = true)]
async fn zones_of_every_size_survive_loss_latency_and_a_partition() {
    for count in [3, 10, 50, 100] {
        let mut zone = Zone::new(count, Duration::from_millis(50), 0.1);
        let formed = zone.until_whole().await;
        // Long enough for failure detectors to know the rhythm.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let cut = (count * 2).div_ceil(5);
        let sides = [(0..cut).collect::<BTreeSet<_>>(), (cut..count).collect()];
        let [few, many] = sides.each_ref().map(|side| side.iter().copied().map(address).collect());
        zone.network.cut(few, many);
        let apart = |zone: &Zone| {
            sides.iter().all(|side| {
                let own: BTreeSet<_> = side.iter().copied().map(node_id).collect();
                side.iter().all(|node| zone.sees(*node) == own)
            })
        };
        let parted = zone.until(Duration::from_secs(30), "each side sees itself", apart).await;
        // One node that is gone may have died; several are a partition.
        for side in sides.iter().filter(|side| count - side.len() > 1) {
            let suspects = |node: &usize| {
                let gossip = &zone.nodes[*node].gossip;
                gossip.with_roster(|roster| roster.partition(Instant::now()).is_some())
            };
            assert!(side.iter().all(suspects), "{count} nodes");
        }
        let news = [0, cut].map(|node| (node, zone.publish(node)));
        for (side, (speaker, version)) in sides.iter().zip(news) {
            let heard = |zone: &Zone| side.iter().all(|node| zone.knows(*node, speaker, version));
            zone.until(Duration::from_secs(30), "each side hears its news", heard).await;
        }
        zone.network.heal();
        let healed = zone.until_whole().await;
        let same = |zone: &Zone| {
            let digest = |node: &Node| node.gossip.view.borrow().registry_digest();
            let digests: BTreeSet<_> = zone.nodes.iter().map(digest).collect();
            let all =
                |(speaker, version)| (0..count).all(|node| zone.knows(node, speaker, version));
            digests.len() == 1 && news.into_iter().all(all)
        };
        let equal = zone.until(Duration::from_secs(30), "all registries are the same", same).await;
        println!(
            "{count} nodes, latency 50 ms, loss 10 %: whole after {formed:?}; a partition shows after {parted:?}; healed, whole after {healed:?}, the same after {equal:?} more"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_nodes_stay_together_notice_a_death_and_cost_little() {
    let mut zone = Zone::new(100, Duration::from_millis(20), 0.02);
    let formed = zone.until_whole().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    zone.network.count_bytes(true);
    let (start, sent) = (Instant::now(), zone.network.sent_bytes());
    let mut views: Vec<_> = zone.nodes.iter().map(|node| node.gossip.view()).collect();
    for view in &mut views {
        view.borrow_and_update();
    }
    // Long enough that almost every pair has talked before, so that the streams are warm.
    tokio::time::sleep(Duration::from_secs(40)).await;
    for view in &views {
        assert!(!view.has_changed().unwrap(), "nothing happened, and somebody saw something");
    }
    let (middle, warm) = (Instant::now(), zone.network.sent_bytes());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let rate = |from: u64, to: u64, time: Duration| (to - from) as f64 / 100.0 / time.as_secs_f64();
    let cold = rate(sent, warm, middle.duration_since(start));
    let idle = rate(warm, zone.network.sent_bytes(), middle.elapsed());
    zone.network.count_bytes(false);

    zone.kill(42);
    let gone = |zone: &Zone| {
        (0..100).filter(|node| *node != 42).all(|node| !zone.sees(node).contains(&node_id(42)))
    };
    let noticed = zone.until(Duration::from_secs(10), "its death is noticed", gone).await;
    println!(
        "100 nodes: whole after {formed:?}; {cold:.0} B/s per node while streams are new, {idle:.0} B/s idle; a death is noticed by all after {noticed:?}"
    );
    assert!(idle <= 6000.0, "{idle} B/s");
    assert!(noticed <= Duration::from_secs(5), "{noticed:?}");
    let silent = zone.nodes[0].gossip.with_roster(|roster| {
        roster.nodes().filter(|known| known.state == MemberState::Silent).count()
    });
    assert_eq!(silent, 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_node_that_runs_beside_it_is_noticed_by_everybody() {
    let mut zone = Zone::new(4, Duration::from_millis(5), 0.02);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let doubled =
        |zone: &Zone, who: usize| zone.nodes[who].gossip.with_roster(|roster| roster.doubled());
    // Nobody takes a node that starts again for two.
    zone.kill(2);
    zone.network.plug(address(2));
    zone.start(2);
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!((0..4).all(|who| doubled(&zone, who).is_empty()));
    }
    // Of the same generation as the one that it is a copy of.
    zone.add(node_id(1));
    let expected = BTreeMap::from([(node_id(1), BTreeSet::from([address(1), address(4)]))]);
    let noticed = |zone: &Zone| (0..5).all(|who| doubled(zone, who) == expected);
    zone.until(Duration::from_secs(40), "all of them know it", noticed).await;
    zone.kill(4);
    let over = |zone: &Zone| (0..4).all(|who| doubled(zone, who).is_empty());
    zone.until(Duration::from_secs(20), "it is over", over).await;
}

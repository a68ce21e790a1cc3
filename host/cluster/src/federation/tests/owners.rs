//! The second cache level over the nodes of a zone: a second node with the same keys, and the first one as the owner of
//! every name.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use aop_core::{BoxFuture, TenantName};
use bytes::Bytes;

use tokio::time::Instant;

use super::super::cache::Scope;
use super::super::resolver::{Owners, Resolver, ResolverParts};
use super::super::zone::Zone;
use super::*;

const ZONE: &str = "acme.example";

/// How the owner behaves.
#[derive(Clone, Copy)]
enum How {
    Answers,
    /// With what it knows of another name.
    Mixes(&'static str),
    Garbles,
    Hangs,
    Fails,
}

struct Owner {
    zone: Arc<Zone>,
    how: Mutex<How>,
    asked: AtomicU32,
}

impl Owners for Owner {
    fn ask(&self, name: &FullName) -> Option<BoxFuture<'static, Result<Bytes, String>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (zone, how, name) =
            (Arc::clone(&self.zone), *self.how.lock().unwrap(), name.to_string());
        Some(Box::pin(async move {
            let name = match how {
                How::Mixes(other) => other.to_owned(),
                How::Hangs => std::future::pending().await,
                How::Fails => return Err("it is gone".to_owned()),
                How::Answers | How::Garbles => name,
            };
            let mut answer = zone.answer_node(&name).await.ok_or("nothing to say")?;
            if matches!(how, How::Garbles) {
                let at = answer.len() / 2;
                answer[at] = if answer[at] == b'A' { b'B' } else { b'A' };
            }
            Ok(answer.into())
        }))
    }
}

/// A world, and a second node of [`ZONE`].
fn pair(how: How) -> (World, Arc<Owner>, Arc<Resolver>) {
    let world = world();
    let zone = Arc::clone(&world.at(ZONE).zone);
    let owner =
        Arc::new(Owner { zone: Arc::clone(&zone), how: Mutex::new(how), asked: AtomicU32::new(0) });
    let resolver = Resolver::new(ResolverParts {
        authority: Arc::clone(&zone.parts.authority),
        ways: Arc::clone(zone.ways()),
        owners: owner.clone(),
        counters: Arc::default(),
    });
    (world, owner, resolver)
}

async fn name_of(resolver: &Arc<Resolver>, name: &str) -> String {
    let answer = resolver.resolve(&tenant(), &name.parse().unwrap(), &Trace::off()).await.unwrap();
    match &answer.resolved.found {
        Found::Agent(agent) => agent.body.name.to_string(),
        Found::Zone => format!("zone {}", answer.resolved.cut.zone()),
        Found::Absent => "absent".to_owned(),
    }
}

/// Lets what other zones look up behind their referrals come to its end, before anything is counted: it goes on whenever
/// this test waits for another task. Time moves only when nothing else does.
async fn until_quiet() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_owner_knows_no_other_node_asks_for() {
    let (world, owner, resolver) = pair(How::Answers);
    for name in ["writer.us.globex.example", "writer.eu.acme.example", "zone us.globex.example"] {
        let asked_for = name.trim_start_matches("zone ");
        assert_eq!(found(world.at(ZONE), asked_for).await, name);
        until_quiet().await;
        let before = world.wires.total();
        assert_eq!(name_of(&resolver, asked_for).await, name);
        assert_eq!(world.wires.total(), before, "no other zone was asked for {name}");
    }
    assert_eq!(found(world.at(ZONE), "hidden.us.globex.example").await, "absent");
    until_quiet().await;
    let before = world.wires.total();
    assert_eq!(name_of(&resolver, "hidden.us.globex.example").await, "absent");
    assert_eq!(world.wires.total(), before);
    // A caller's own level comes first.
    let asked = owner.asked.load(Ordering::SeqCst);
    assert_eq!(name_of(&resolver, "writer.us.globex.example").await, "writer.us.globex.example");
    assert_eq!(owner.asked.load(Ordering::SeqCst), asked);
    // What the owner had for a while is not fresh for longer here.
    tokio::time::advance(2 * MINUTE).await;
    let name = "writer.us.globex.example".parse().unwrap();
    let answer = resolver.resolve(&tenant(), &name, &Trace::off()).await.unwrap();
    assert!(answer.resolved.times.ttl <= 3 * MINUTE, "{:?}", answer.resolved.times);
    assert_eq!(answer.resolved.reach, Reach::World);
}

#[tokio::test(start_paused = true)]
async fn callers_who_ask_together_ask_the_owner_once() {
    let (world, owner, resolver) = pair(How::Answers);
    *world.wires.delay.lock().unwrap() = Duration::from_millis(20);
    let name: FullName = "writer.us.globex.example".parse().unwrap();
    let tenants = (0..20).map(|number| TenantName::new(&format!("tenant{number}")).unwrap());
    let trace = Trace::off();
    let asked: Vec<_> = tenants
        .map(|tenant| {
            let (resolver, name, trace) = (Arc::clone(&resolver), name.clone(), trace.clone());
            async move { resolver.resolve(&tenant, &name, &trace).await.map(drop) }
        })
        .collect();
    for result in futures::future::join_all(asked).await {
        result.unwrap();
    }
    assert_eq!(owner.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_takes_the_owner_long_is_known_to_it_the_next_time() {
    let (world, owner, resolver) = pair(How::Answers);
    let name = "writer.us.globex.example";
    // Three questions of 800 ms each: longer than who asks the owner waits.
    *world.wires.delay.lock().unwrap() = Duration::from_millis(400);
    let asked = owner.zone.resolver().fresh(&Scope::Zone, &name.parse().unwrap(), Instant::now());
    assert!(asked.is_none());
    {
        let (waits, name) = (Duration::from_secs(1), name.parse().unwrap());
        let asking = owner.ask(&name).unwrap();
        assert!(tokio::time::timeout(waits, asking).await.is_err(), "it takes longer");
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    *world.wires.delay.lock().unwrap() = Duration::ZERO;
    let before = world.wires.total();
    assert_eq!(name_of(&resolver, name).await, name);
    assert_eq!(world.wires.total(), before, "the owner had it");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_fails_hangs_or_lies_is_done_without() {
    let name = "writer.us.globex.example";
    for how in [How::Fails, How::Hangs, How::Garbles, How::Mixes("writer.eu.acme.example")] {
        let (world, owner, resolver) = pair(how);
        let began = tokio::time::Instant::now();
        assert_eq!(name_of(&resolver, name).await, name);
        assert!(began.elapsed() <= Duration::from_secs(2));
        assert_eq!(owner.asked.load(Ordering::SeqCst), 1);
        assert!(world.wires.total() > 0, "it asked the zones itself");
    }
    // Own names are nobody else's business.
    let (_world, owner, resolver) = pair(How::Fails);
    assert_eq!(name_of(&resolver, "writer.acme.example").await, "writer.acme.example");
    assert_eq!(owner.asked.load(Ordering::SeqCst), 0);
}

use std::collections::BTreeMap;

use aop_core::interface::ResourceId;
use aop_core::{ErrorCode, TenantName};
use proptest::prelude::*;

use super::*;

/// What stands for an instance: it says when it ends.
struct Fake(Arc<AtomicU64>);

impl Drop for Fake {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

type TestHandles = Handles<Fake, u32>;
type TestPool = HandlePool<Fake, u32>;

const BLOB: ResourceId = ResourceId(0);

struct World {
    handles: Arc<TestHandles>,
    agent: AgentName,
    ended: Arc<AtomicU64>,
}

impl World {
    fn new(bounds: HandleBounds) -> Self {
        Self {
            handles: Handles::new(Uuid::from_u128(7), bounds, 1000),
            agent: AgentName::new("kv").unwrap(),
            ended: Arc::default(),
        }
    }

    fn pool(&self) -> TestPool {
        self.handles.pool(&limits())
    }

    fn visitor<'a>(&'a self, caller: &'a Caller, session: Option<&'a SessionId>) -> Visitor<'a> {
        Visitor { caller, agent: &self.agent, session }
    }

    /// A call that makes a resource and gives out a handle of it.
    async fn make(
        &self,
        pool: &TestPool,
        caller: &Caller,
        session: Option<&str>,
        value: u32,
    ) -> Result<Handle, Failure> {
        let session = session.map(session_id);
        let mut seat = pool.seat(self.visitor(caller, session.as_ref()), &[]).await?;
        let live = seat.take().unwrap_or_else(|| Fake(Arc::clone(&self.ended)));
        let handle = seat.give(BLOB, value)?;
        seat.keep(live, || Ok(session_id(&format!("minted-{value}"))))?;
        Ok(handle)
    }

    /// A call that uses handles, and what they stood for.
    async fn call(
        &self,
        pool: &TestPool,
        caller: &Caller,
        session: Option<&str>,
        taken: &[Taken],
    ) -> Result<Vec<u32>, Failure> {
        let session = session.map(session_id);
        let mut seat = pool.seat(self.visitor(caller, session.as_ref()), taken).await?;
        let found = seat.exchange(taken)?;
        let live = seat.take().expect("an instance is there");
        seat.keep(live, || Ok(session_id("never")))?;
        Ok(found)
    }

    fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    fn counts(&self) -> (usize, usize) {
        let table = self.handles.table();
        (table.handles(), table.places())
    }
}

fn limits() -> Limits {
    Limits {
        handle_instances_max: 3,
        handle_idle: Duration::from_secs(10),
        handle_lifetime: Duration::from_secs(60),
        ..Limits::default()
    }
}

fn caller(tenant: &str) -> Caller {
    Caller::local(TenantName::new(tenant).unwrap())
}

fn session_id(text: &str) -> SessionId {
    SessionId::new(text).unwrap()
}

fn lent(handle: Handle) -> Taken {
    Taken { pointer: "/self".to_owned(), handle: Some(handle), resource: BLOB, owned: false }
}

fn given(handle: Handle) -> Taken {
    Taken { owned: true, ..lent(handle) }
}

/// The message that a call with one handle gets.
fn refusal(result: Result<Vec<u32>, Failure>) -> String {
    let failure = result.unwrap_err();
    assert_eq!(failure.code, ErrorCode::InvalidArguments);
    assert!(!failure.executed);
    failure.message
}

#[tokio::test]
async fn a_handle_leads_to_its_resource_until_it_is_given_away() {
    let (world, ada) = (World::new(HandleBounds::default()), caller("ada"));
    let pool = world.pool();
    let (one, two) = (
        world.make(&pool, &ada, Some("s"), 1).await.unwrap(),
        world.make(&pool, &ada, Some("s"), 2).await.unwrap(),
    );
    assert_eq!(world.counts(), (2, 1), "a conversation shares an instance");
    let both = [lent(one), given(two)];
    assert_eq!(world.call(&pool, &ada, None, &both).await.unwrap(), [1, 2]);
    assert_eq!(world.counts(), (1, 1));
    refusal(world.call(&pool, &ada, None, &both).await);
    assert_eq!(world.call(&pool, &ada, Some("s"), &[given(one)]).await.unwrap(), [1]);
    assert_eq!((world.counts(), world.ended()), ((0, 0), 1), "the last handle was the instance's");
}

#[tokio::test]
async fn every_handle_that_leads_nowhere_is_refused_in_the_same_words() {
    let world = World::new(HandleBounds::default());
    let (ada, bob) = (caller("ada"), caller("bob"));
    let (pool, other_agent) = (world.pool(), world.pool());
    let handle = world.make(&pool, &ada, None, 1).await.unwrap();
    let session = Some("another");
    let forged = Handle { secret: handle.secret ^ 1, ..handle };
    let elsewhere = Handle { node: Uuid::from_u128(8), ..handle };
    let garbage = Taken { handle: None, ..lent(handle) };
    let of_another_type = Taken { resource: ResourceId(1), ..lent(handle) };
    let answers = [
        refusal(world.call(&pool, &ada, None, &[lent(forged)]).await),
        refusal(world.call(&pool, &ada, None, &[lent(elsewhere)]).await),
        refusal(world.call(&pool, &ada, None, &[garbage]).await),
        refusal(world.call(&pool, &ada, None, &[of_another_type]).await),
        refusal(world.call(&pool, &bob, None, &[lent(handle)]).await),
        refusal(world.call(&pool, &ada, session, &[lent(handle)]).await),
        refusal(world.call(&other_agent, &ada, None, &[lent(handle)]).await),
    ];
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(world.handles.refused.load(Ordering::SeqCst), 7);
    assert_eq!(world.call(&pool, &ada, None, &[lent(handle)]).await.unwrap(), [1]);
    drop(pool);
    assert_eq!(
        (world.counts(), world.ended()),
        ((0, 0), 1),
        "a revision takes its instances along"
    );
    let late = refusal(world.call(&other_agent, &ada, None, &[lent(handle)]).await);
    assert_eq!(late, answers[0]);
}

#[tokio::test]
async fn handles_of_different_conversations_do_not_meet() {
    let (world, ada) = (World::new(HandleBounds::default()), caller("ada"));
    let pool = world.pool();
    let one = world.make(&pool, &ada, None, 1).await.unwrap();
    let two = world.make(&pool, &ada, None, 2).await.unwrap();
    assert_eq!(world.counts(), (2, 2));
    let message = refusal(world.call(&pool, &ada, None, &[lent(one), lent(two)]).await);
    assert!(message.contains("different conversations"), "{message}");
    let message = refusal(world.call(&pool, &ada, None, &[given(one), lent(one)]).await);
    assert!(message.contains("more than once"), "{message}");
    assert_eq!(world.call(&pool, &ada, None, &[lent(one), lent(one)]).await.unwrap(), [1, 1]);
    assert_eq!(world.call(&pool, &ada, Some("minted-1"), &[lent(one)]).await.unwrap(), [1]);
}

#[tokio::test]
async fn instances_are_bounded_per_agent_tenant_and_host() {
    let world = World::new(HandleBounds { instances_max: 5, tenant_instances_max: 4 });
    let (ada, bob) = (caller("ada"), caller("bob"));
    let (first, second) = (world.pool(), world.pool());
    for value in 0..3 {
        world.make(&first, &ada, None, value).await.unwrap();
    }
    let full = |result: Result<Handle, Failure>| {
        let failure = result.unwrap_err();
        assert_eq!(failure.code, ErrorCode::ResourceExhausted);
        assert!(failure.retry_after.is_some_and(|after| after <= limits().handle_idle));
        failure.message
    };
    assert!(full(world.make(&first, &ada, None, 3).await).contains("`kv` keeps 3"));
    world.make(&second, &ada, None, 3).await.unwrap();
    assert!(full(world.make(&second, &ada, None, 4).await).contains("this tenant keeps 4"));
    let kept = world.make(&second, &bob, None, 4).await.unwrap();
    assert!(full(world.make(&second, &bob, None, 5).await).contains("this host keeps 5"));
    world.call(&second, &bob, None, &[given(kept)]).await.unwrap();
    world.make(&second, &bob, None, 5).await.unwrap();

    let none = world.handles.pool(&Limits { handle_instances_max: 0, ..limits() });
    let failure = world.make(&none, &ada, None, 0).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::PermissionDenied);
}

#[tokio::test]
async fn a_call_that_does_not_end_well_takes_the_instance_along() {
    let (world, ada) = (World::new(HandleBounds::default()), caller("ada"));
    let pool = world.pool();
    let handle = world.make(&pool, &ada, None, 1).await.unwrap();
    let taken = [lent(handle)];
    let mut seat = pool.seat(world.visitor(&ada, None), &taken).await.unwrap();
    let live = seat.take();
    // Another call waits behind it.
    let mut waiting = Box::pin(pool.seat(world.visitor(&ada, None), &taken));
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    drop((live, seat));
    refusal(waiting.await.map(|_| Vec::new()));
    assert_eq!((world.counts(), world.ended()), ((0, 0), 1));
    assert_eq!(world.handles.places.available_permits(), 500, "and gives its place back");
}

#[tokio::test]
async fn a_crowd_at_one_instance_is_refused() {
    let (world, ada) = (World::new(HandleBounds::default()), caller("ada"));
    let pool = world.pool();
    let handle = world.make(&pool, &ada, None, 1).await.unwrap();
    let taken = [lent(handle)];
    let seat = pool.seat(world.visitor(&ada, None), &taken).await.unwrap();
    let mut waiting = Vec::new();
    for _ in 1..WAITING_MAX {
        let mut next = Box::pin(pool.seat(world.visitor(&ada, None), &taken));
        assert!(futures::poll!(next.as_mut()).is_pending());
        waiting.push(next);
    }
    let failure = world.call(&pool, &ada, None, &taken).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::ResourceExhausted);
    // One that gives up makes room.
    waiting.pop();
    let mut next = Box::pin(pool.seat(world.visitor(&ada, None), &taken));
    assert!(futures::poll!(next.as_mut()).is_pending());
    drop((seat, waiting));
    next.await.map(drop).expect("the others left");
}

#[tokio::test]
async fn idle_and_old_instances_expire() {
    let (world, ada) = (World::new(HandleBounds::default()), caller("ada"));
    let pool = world.pool();
    let handle = world.make(&pool, &ada, None, 1).await.unwrap();
    let now = Instant::now();
    assert!(world.handles.expire(now + Duration::from_secs(9)));
    // What expired is refused before anybody looked for it.
    let late = pool.find(world.visitor(&ada, None), &[lent(handle)], now + Duration::from_secs(11));
    refusal(late.map(|_| Vec::new()));
    let seat = pool.seat(world.visitor(&ada, None), &[lent(handle)]).await.unwrap();
    assert!(world.handles.expire(now + Duration::from_secs(30)), "nobody idles in a call");
    assert!(!world.handles.expire(now + Duration::from_secs(61)), "and nobody lives for ever");
    assert_eq!(world.handles.expired.load(Ordering::SeqCst), 1);
    assert_eq!(world.ended(), 0, "the call that runs is not disturbed");
    drop(seat);
    assert_eq!(world.ended(), 1);
    refusal(world.call(&pool, &ada, None, &[lent(handle)]).await);
}

#[tokio::test]
async fn an_instance_has_room_for_so_many_handles() {
    let (world, ada) = (World::new(HandleBounds::default()), caller("ada"));
    let pool = world.pool();
    let session = session_id("s");
    let mut seat = pool.seat(world.visitor(&ada, Some(&session)), &[]).await.unwrap();
    assert!(seat.take().is_none());
    for value in 0..HANDLES_MAX {
        seat.check_room().unwrap();
        seat.give(BLOB, u32::try_from(value).unwrap()).unwrap();
    }
    assert_eq!(seat.check_room().unwrap_err().code, ErrorCode::ResourceExhausted);
    assert_eq!(seat.give(BLOB, 0).unwrap_err().code, ErrorCode::GuestLimit);
    drop(seat);
    assert_eq!(world.counts(), (0, 0), "what is not kept leaves nothing");
}

/// What callers do.
#[derive(Debug, Clone)]
enum Step {
    Make { caller: usize, session: Option<usize> },
    Use { caller: usize, handle: usize },
    GiveAway { caller: usize, handle: usize },
    Break { caller: usize, handle: usize },
    Replace,
}

fn step() -> impl Strategy<Value = Step> {
    let caller = 0..2_usize;
    prop_oneof![
        3 => (caller.clone(), proptest::option::of(0..2_usize))
            .prop_map(|(caller, session)| Step::Make { caller, session }),
        3 => (caller.clone(), 0..16_usize).prop_map(|(caller, handle)| Step::Use { caller, handle }),
        2 => (caller.clone(), 0..16_usize)
            .prop_map(|(caller, handle)| Step::GiveAway { caller, handle }),
        1 => (caller, 0..16_usize).prop_map(|(caller, handle)| Step::Break { caller, handle }),
        1 => Just(Step::Replace),
    ]
}

/// What a handle should lead to: whose, in which instance, and the value.
type Model = BTreeMap<usize, (usize, u64, u32)>;

proptest! {
    /// Whatever callers do, in any order: a handle leads its owner to its own resource exactly as long as it lives,
    /// and nothing else leads anywhere. Nothing is left when all of it ended.
    #[test]
    fn handles_lead_their_owners_and_nobody_else(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new(HandleBounds::default());
            let callers = [caller("ada"), caller("bob")];
            let mut pool = world.pool();
            let (mut model, mut all): (Model, Vec<Handle>) = (Model::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Make { caller, session } => {
                        let session = session.map(|session| format!("s{session}"));
                        let value = u32::try_from(all.len()).unwrap();
                        let made = world.make(&pool, &callers[caller], session.as_deref(), value);
                        let Ok(handle) = made.await else { continue };
                        let place = world.handles.table().held(handle.secret).unwrap().place;
                        model.insert(all.len(), (caller, place, value));
                        all.push(handle);
                    }
                    Step::Use { caller, handle } | Step::GiveAway { caller, handle } => {
                        let owned = matches!(step, Step::GiveAway { .. });
                        let Some(one) = all.get(handle) else { continue };
                        let taken = [Taken { owned, ..lent(*one) }];
                        let found = world.call(&pool, &callers[caller], None, &taken).await;
                        match model.get(&handle).filter(|(owner, ..)| *owner == caller) {
                            Some((_, _, value)) => {
                                assert_eq!(found.unwrap(), [*value]);
                                if owned {
                                    model.remove(&handle);
                                }
                            }
                            None => { refusal(found); }
                        }
                    }
                    Step::Break { caller, handle } => {
                        let Some(one) = all.get(handle) else { continue };
                        let seat = pool.seat(world.visitor(&callers[caller], None), &[lent(*one)]).await;
                        let Ok(mut seat) = seat else { continue };
                        drop(seat.take());
                        drop(seat);
                        let (_, gone, _) = model[&handle];
                        model.retain(|_, (_, place, _)| *place != gone);
                    }
                    Step::Replace => {
                        pool = world.pool();
                        model.clear();
                    }
                }
                let places: std::collections::BTreeSet<_> = model.values().map(|(_, place, _)| *place).collect();
                assert_eq!(world.counts(), (model.len(), places.len()));
                assert_eq!(world.handles.places.available_permits(), 500 - places.len());
            }
            drop(pool);
            assert_eq!(world.counts(), (0, 0));
        });
    }
}

#[tokio::test]
async fn what_a_deleted_tenant_holds_ends_and_its_places_are_free() {
    let world = World::new(HandleBounds { instances_max: 4, tenant_instances_max: 2 });
    let pool = world.pool();
    let caller = |tenant: &str| Caller::local(TenantName::new(tenant).unwrap());
    let (acme, other) = (caller("acme"), caller("other"));
    let held = world.make(&pool, &acme, None, 1).await.unwrap();
    world.make(&pool, &acme, None, 2).await.unwrap();
    world.make(&pool, &acme, None, 3).await.unwrap_err();
    let kept = world.make(&pool, &other, None, 4).await.unwrap();
    // A call of it runs while the tenant goes.
    let running = pool.seat(world.visitor(&acme, None), &[lent(held)]).await.unwrap();
    world.handles.forget(&acme.tenant);
    drop(running);
    assert_eq!(world.ended(), 2);
    let refused = world.call(&pool, &acme, None, &[lent(held)]).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidArguments);
    assert_eq!(world.call(&pool, &other, None, &[lent(kept)]).await.unwrap(), [4]);
    for value in 5..7 {
        world.make(&pool, &acme, None, value).await.unwrap();
    }
}

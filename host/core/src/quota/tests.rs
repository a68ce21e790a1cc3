use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::fair::{Flow, Permits};
use crate::{
    AgentName, CallContext, Caller, ErrorCode, Limits, Tenancy as _, Tenant, TenantName, ToolName,
};

fn tenant(name: &str) -> TenantName {
    TenantName::new(name).unwrap()
}

fn agent(name: &str) -> AgentName {
    AgentName::new(name).unwrap()
}

fn accounts(node: Quota, tenant: Quota) -> Arc<Accounts> {
    Accounts::new(&node, tenant, 100)
}

fn payer(accounts: &Accounts, quota: &Quota) -> Arc<Payer> {
    let payer = accounts.payer(&tenant("acme"), &agent("one"));
    payer.set_agent(quota, &Limits::default());
    payer
}

#[test]
fn a_call_needs_room_at_its_agent_its_tenant_and_the_node() {
    let per_second = |calls| Quota { calls_per_second: Some(calls), ..Quota::default() };
    let now = Instant::now();
    for (agent, tenant, node, whose) in
        [(1, 9, 9, "`one`"), (9, 1, 9, "the tenant"), (9, 9, 1, "this host")]
    {
        let accounts = accounts(per_second(node), per_second(tenant));
        let payer = payer(&accounts, &per_second(agent));
        payer.begin(now, false).unwrap();
        let failure = payer.begin(now, false).unwrap_err();
        assert_eq!(failure.code, ErrorCode::RateLimited);
        assert!(failure.message.contains(whose), "{}", failure.message);
        assert!(failure.retry_after.is_some() && !failure.executed);
        // What the others had let through is theirs again.
        assert!(payer.accounts().iter().all(|account| account.calls.used(now) <= 1));
        payer.begin(now + failure.retry_after.unwrap(), false).unwrap();
    }
}

#[test]
fn cpu_time_that_is_used_up_comes_back_with_time() {
    let quota = Quota { cpu_ms_per_minute: Some(6_000), ..Quota::default() };
    let accounts = accounts(Quota::default(), Quota::default());
    let (payer, now) = (payer(&accounts, &quota), Instant::now());
    assert_eq!(payer.cpu_pause(now), None);
    payer.used_cpu(Duration::from_secs(7), now);
    let failure = payer.begin(now, false).unwrap_err();
    assert_eq!(failure.code, ErrorCode::RateLimited);
    assert!(failure.message.contains("6s"), "{}", failure.message);
    // One second of time over, and a sixteenth of the budget must be back.
    let after = failure.retry_after.unwrap();
    assert!((Duration::from_secs(13)..Duration::from_secs(14)).contains(&after), "{after:?}");
    payer.begin(now + after, false).unwrap();
    let pause = payer.cpu_pause(now).unwrap();
    assert!(pause < after && payer.cpu_pause(now + pause).is_none(), "{pause:?}");
}

#[test]
fn memory_is_held_by_all_three_and_given_back() {
    let bytes = |max| Quota { memory_max_bytes: Some(max), ..Quota::default() };
    let accounts = accounts(bytes(100), bytes(60));
    let payer = payer(&accounts, &Quota::default());
    let mut first = MemoryHeld::new(Arc::clone(&payer));
    first.grow(40).unwrap();
    assert!(payer.may_begin_memory());
    let mut second = MemoryHeld::new(Arc::clone(&payer));
    let refusing = second.grow(30).err().unwrap();
    assert_eq!(refusing.owner(), &Owner::Tenant(tenant("acme")));
    assert_eq!(payer.node.memory.used(), 40, "nothing of the refused part is left");
    second.grow(20).unwrap();
    let failure = payer.begin(Instant::now(), false).unwrap_err();
    assert_eq!(failure.code, ErrorCode::ResourceExhausted);
    assert!(failure.retry_after.is_some() && !payer.may_idle());
    drop(first);
    assert!(payer.may_idle());
    payer.begin(Instant::now(), false).unwrap();
    let other = accounts.payer(&tenant("other"), &agent("one"));
    second.move_to(&other);
    assert_eq!((payer.tenant.memory.used(), other.tenant.memory.used()), (0, 20));
    drop(second);
    assert_eq!((accounts.node().memory.used(), other.tenant.memory.used()), (0, 0));
}

impl Payer {
    fn may_begin_memory(&self) -> bool {
        self.accounts()
            .iter()
            .all(|account| account.memory.limit().is_none_or(|limit| account.memory.used() < limit))
    }
}

#[test]
fn a_new_revision_takes_the_place_of_the_code_of_the_old_one() {
    let quota = Quota { code_max_bytes: Some(100), ..Quota::default() };
    let accounts = accounts(Quota::default(), quota);
    let one = payer(&accounts, &Quota::default());
    let two = accounts.payer(&tenant("acme"), &agent("two"));
    let held = CodeHeld::take(Arc::clone(&one), 70).unwrap();
    let failure = CodeHeld::take(Arc::clone(&two), 40).err().unwrap();
    assert_eq!((failure.code, failure.retry_after), (ErrorCode::ResourceExhausted, None));
    assert!(failure.message.contains("unload"), "{}", failure.message);
    let newer = CodeHeld::take(Arc::clone(&one), 90).unwrap();
    drop(held);
    assert_eq!(one.tenant.code.used(), 90);
    drop(newer);
    let _two = CodeHeld::take(two, 40).unwrap();
    let own = Quota { code_max_bytes: Some(10), ..Quota::default() };
    one.set_agent(&own, &Limits::default());
    assert!(CodeHeld::take(one, 11).is_err());
}

#[test]
fn agents_that_are_loaded_at_one_time_do_not_exceed_a_quota_together() {
    let quota = Quota { code_max_bytes: Some(100), ..Quota::default() };
    let accounts = accounts(Quota::default(), quota);
    let owner = accounts.tenant(&tenant("acme"));
    let barrier = std::sync::Barrier::new(8);
    for _ in 0..200 {
        std::thread::scope(|scope| {
            for number in 0..8 {
                let payer = accounts.payer(&tenant("acme"), &agent(&format!("a{number}")));
                let (barrier, owner) = (&barrier, &owner);
                scope.spawn(move || {
                    barrier.wait();
                    let held = CodeHeld::take(payer, 40);
                    barrier.wait();
                    assert!(owner.code.used() <= 100, "{}", owner.code.used());
                    barrier.wait();
                    drop(held);
                });
            }
        });
        assert_eq!(owner.code.used(), 0);
    }
}

#[test]
fn egress_is_counted_and_refused_in_words() {
    let quota = Quota { egress_bytes_per_hour: Some(1 << 20), ..Quota::default() };
    let accounts = accounts(Quota::default(), quota);
    let (payer, now) = (payer(&accounts, &Quota::default()), Instant::now());
    payer.may_use_egress(now).unwrap();
    payer.used_egress(1 << 20, now);
    let failure = payer.may_use_egress(now).unwrap_err();
    assert_eq!(failure.code, ErrorCode::RateLimited);
    assert!(failure.message.contains("1MiB"), "{}", failure.message);
    payer.may_use_egress(now + failure.retry_after.unwrap()).unwrap();
}

#[test]
fn a_tenant_has_its_own_quota_or_the_default_one_also_while_it_is_used() {
    let calls = |calls| Quota { calls_per_second: Some(calls), ..Quota::default() };
    let accounts = accounts(Quota::default(), calls(5));
    let limit = |name: &str| accounts.tenant(&tenant(name)).limit(Resource::Calls);
    assert_eq!((limit("acme"), limit("other")), (Some(5), Some(5)));
    accounts.set_tenant(&tenant("acme"), Some(Quota { weight: Some(7), ..calls(9) }));
    assert_eq!((limit("acme"), limit("other")), (Some(9), Some(5)));
    assert_eq!(accounts.tenant(&tenant("acme")).flow().weight, 7);
    accounts.set_tenant(&tenant("acme"), None);
    assert_eq!(limit("acme"), Some(5));
    assert_eq!(accounts.tenant(&tenant("acme")).flow().weight, Flow::WEIGHT_DEFAULT);
}

#[test]
fn a_late_call_of_a_tenant_that_ended_leaves_no_account() {
    let accounts = accounts(Quota::default(), Quota::default());
    let acme = Tenant { name: tenant("acme"), created_unix_ms: 1 };
    accounts.begin(&acme);
    let shared = accounts.payer(&tenant("other"), &agent("shared"));
    let running = accounts.payer(&acme.name, &agent("one"));
    assert_eq!(accounts.all().len(), 5, "the node, two tenants, and an agent of each");
    drop(accounts.end(&acme));
    running.begin(Instant::now(), false).unwrap();
    let late = accounts.payer(&acme.name, &agent("one"));
    late.begin(Instant::now(), false).unwrap();
    accounts.on_behalf_of(&acme.name, &shared).begin(Instant::now(), false).unwrap();
    drop(accounts.tenant(&acme.name));
    assert_eq!(accounts.all().len(), 3, "the node, the other tenant and its agent");
    assert!(accounts.agent(&acme.name, "one").is_none());

    accounts.begin(&acme);
    let _next = accounts.payer(&acme.name, &agent("one"));
    assert_eq!(accounts.all().len(), 5, "another tenant of its name has its own");
}

#[test]
fn loading_an_agent_anew_forgives_it_nothing_and_unloading_forgets_it() {
    let quota = Quota { calls_per_second: Some(1), ..Quota::default() };
    let accounts = accounts(Quota::default(), Quota::default());
    let (first, now) = (payer(&accounts, &quota), Instant::now());
    first.begin(now, false).unwrap();
    let second = payer(&accounts, &quota);
    drop(first);
    assert!(second.begin(now, false).is_err());
    assert!(accounts.agent(&tenant("acme"), "one").is_some());
    drop(second);
    assert!(accounts.agent(&tenant("acme"), "one").is_none());
}

#[test]
fn a_shared_agent_is_paid_for_by_the_tenant_that_calls_it() {
    let quota = Quota { calls_per_second: Some(1), ..Quota::default() };
    let accounts = accounts(Quota::default(), quota);
    let owners = payer(&accounts, &Quota::default());
    let callers = accounts.on_behalf_of(&tenant("caller"), &owners);
    let now = Instant::now();
    callers.begin(now, false).unwrap();
    owners.begin(now, false).unwrap();
    assert!(callers.begin(now, false).is_err());
    assert!(Arc::ptr_eq(&callers.agent, &owners.agent));
}

#[test]
fn figures_say_what_is_used_of_what_and_what_was_refused() {
    let quota = Quota { calls_per_second: Some(1), ..Quota::default() };
    let accounts = accounts(Quota::default(), Quota::default());
    let (payer, now) = (payer(&accounts, &quota), Instant::now());
    payer.begin(now, false).unwrap();
    payer.begin(now, false).unwrap_err();
    let figures = payer.agent.figures(now);
    assert_eq!(
        figures[0],
        Figure {
            quota: "calls_per_second",
            limit: Some(1),
            here: Some(1),
            used: Some(1),
            refused: 1
        }
    );
    assert_eq!(figures.len(), Resource::ALL.len());
    for (index, resource) in Resource::ALL.into_iter().enumerate() {
        assert_eq!(resource as usize, index);
    }
}

#[test]
fn nobody_has_no_limits() {
    let (nobody, now) = (Payer::nobody(), Instant::now());
    nobody.used_cpu(Duration::from_secs(1_000), now);
    nobody.begin(now, false).unwrap();
    assert_eq!(nobody.cpu_pause(now), None);
    assert_eq!(nobody.node.places.capacity(), Permits::UNLIMITED);
}

#[test]
fn small_calls_take_no_turns_until_they_add_up() {
    let account = accounts(Quota::default(), Quota::default()).tenant(&tenant("acme"));
    let now = Instant::now();
    for _ in 0..19 {
        account.used_without_turn(Duration::from_millis(1), now);
    }
    assert!(!account.must_take_turns(now));
    for _ in 0..100 {
        account.used_without_turn(Duration::from_millis(1), now);
    }
    assert!(account.must_take_turns(now));
    assert!(!account.must_take_turns(now + Duration::from_millis(50)), "and is soon forgiven");
}

#[test]
fn no_tenant_has_all_of_a_queue_that_others_wait_in_too() {
    let whose = |account: &Account| account.owner().clone();
    let waiting = |payer: &Payer| {
        let mut places = Vec::new();
        loop {
            match payer.enqueue() {
                Ok(place) => places.push(place),
                Err(full) => return (places, whose(full)),
            }
        }
    };
    let limits = Limits { queue: 9, ..Limits::default() };
    for (node, shared, part) in [(Some(9), 1_000_000, 8), (None, 9, 8)] {
        let accounts = accounts(Quota { queue: node, ..Quota::default() }, Quota::default());
        let own = payer(&accounts, &Quota::default());
        own.set_agent(&Quota::default(), &Limits { queue: shared, ..Limits::default() });
        let [evil, other] =
            ["evil", "other"].map(|name| accounts.on_behalf_of(&tenant(name), &own));
        let full = if node.is_some() { Owner::Node } else { Owner::Agent(agent("one")) };
        let (evils, refused_by) = waiting(&evil);
        assert_eq!((evils.len(), &refused_by), (part, &full));
        let (others, refused_by) = waiting(&other);
        assert_eq!((others.len(), &refused_by), (1, &full));
        drop((evils, others));
        assert!(own.accounts().iter().all(|account| account.queued() == 0));
    }
    // Its own tenant may have all of an agent's, and a tenant all of its own.
    let accounts = accounts(Quota::default(), Quota { queue: Some(10), ..Quota::default() });
    let own = payer(&accounts, &Quota::default());
    own.set_agent(&Quota::default(), &limits);
    let (places, refused_by) = waiting(&own);
    assert_eq!((places.len(), refused_by), (9, Owner::Agent(agent("one"))));
    let refused = own.agent.refuse(Resource::Queue, None);
    assert!(!refused.message.contains(|c: char| c.is_ascii_digit()), "{}", refused.message);
    drop(places);
    own.set_agent(&Quota::default(), &Limits { queue: 100, ..Limits::default() });
    let (places, refused_by) = waiting(&own);
    assert_eq!((places.len(), refused_by), (10, Owner::Tenant(tenant("acme"))));
    assert_eq!(own.tenant.queued(), 10);
}

#[test]
fn a_call_that_no_agent_runs_is_one_of_its_tenant_and_of_the_node() {
    let per_second = |calls| Quota { calls_per_second: Some(calls), ..Quota::default() };
    let now = Instant::now();
    for (of_tenant, node, whose) in [(1, 9, "the tenant"), (9, 1, "this host")] {
        let accounts = accounts(per_second(node), per_second(of_tenant));
        accounts.begin_without_agent(&tenant("acme"), now).unwrap();
        let failure = accounts.begin_without_agent(&tenant("acme"), now).unwrap_err();
        assert_eq!(failure.code, ErrorCode::RateLimited);
        assert!(failure.message.contains(whose), "{}", failure.message);
        assert_eq!(accounts.tenant(&tenant("acme")).calls.used(now), 1, "what was refused is free");
        // It is of the same budget as calls that an agent runs.
        assert!(payer(&accounts, &Quota::default()).begin(now, false).is_err());
        accounts.begin_without_agent(&tenant("acme"), now + failure.retry_after.unwrap()).unwrap();
    }
}

#[test]
fn lines_about_calls_have_a_rate_and_those_that_are_left_out_are_counted() {
    let accounts = accounts(Quota::default(), Quota::default());
    let (one, now) = (payer(&accounts, &Quota::default()), Instant::now());
    one.set_agent(&Quota::default(), &Limits { log_lines_per_second: 3, ..Limits::default() });
    let lines: Vec<_> = (0..10_000).map(|_| one.agent.lines.take(now)).collect();
    assert_eq!(lines[..3], [Some(0); 3]);
    assert!(lines[3..].iter().all(Option::is_none));
    let verbose: Vec<_> = (0..4).map(|_| one.agent.verbose_lines.take(now)).collect();
    assert_eq!(verbose, [Some(0), Some(0), Some(0), None], "a rate of its own");
    assert_eq!(one.agent.lines.take(now + Duration::from_secs(1)), Some(9_997));
    assert_eq!(one.agent.lines.take(now + Duration::from_secs(1)), Some(0));
    let other = accounts.payer(&tenant("acme"), &agent("two"));
    other.set_agent(&Quota::default(), &Limits { log_lines_per_second: 0, ..Limits::default() });
    assert_eq!(other.agent.lines.take(now), Some(0), "that it breaks is said all the same");
    assert_eq!(other.agent.lines.take(now), None);
}

#[test]
fn all_lines_about_the_failure_of_a_call_are_told_or_none_is() {
    let accounts = accounts(Quota::default(), Quota::default());
    let one = payer(&accounts, &Quota::default());
    one.set_agent(&Quota::default(), &Limits { log_lines_per_second: 1, ..Limits::default() });
    let call = || {
        let (caller, tool) = (Caller::local(tenant("acme")), ToolName::new("one_run").unwrap());
        let alone = CallContext::alone(caller, agent("one"), tool, Instant::now());
        CallContext { payer: Arc::clone(&one), ..alone }
    };
    let (told, left_out, now) = (call(), call(), Instant::now());
    assert_eq!(told.line(now), Some(0));
    // Nothing of the rate comes back while the test runs.
    let far = now + Duration::from_secs(3600);
    while one.agent.lines.take(far).is_some() {}
    assert_eq!(told.line(now), Some(0), "it was told already");
    assert_eq!([left_out.line(now), left_out.line(now)], [None, None]);
    let later = far + Duration::from_secs(1);
    assert_eq!(one.agent.lines.take(later), Some(2), "one of the loop, one of the call");
}

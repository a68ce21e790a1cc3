use std::time::Instant;

use aop_core::quota::{Accounts, Payer, Quota};
use aop_core::{AgentName, Caller, TenantName, ToolName};

use super::*;

fn context(payer: Arc<Payer>) -> CallContext {
    let caller = Caller::local(TenantName::default_tenant());
    let (agent, tool) = (AgentName::new("agent").unwrap(), ToolName::new("tool").unwrap());
    CallContext { payer, ..CallContext::alone(caller, agent, tool, Instant::now()) }
}

#[test]
fn what_the_tenant_has_altogether_bounds_instances_and_comes_back_when_they_go() {
    let quota = Quota { memory_max_bytes: Some(5_000), ..Quota::default() };
    let accounts = Accounts::new(&Quota::default(), quota, 10);
    let of = |agent: &str| {
        let name = AgentName::new(agent).unwrap();
        context(accounts.payer(&TenantName::default_tenant(), &name))
    };
    let (limits, one, other) = (Limits::default(), of("one"), of("other"));
    let mut first = InstanceLimiter::new(&limits, &one);
    let mut second = InstanceLimiter::new(&limits, &other);
    assert!(first.memory_growing(0, 3_000, None).unwrap());
    assert!(!second.memory_growing(0, 3_000, None).unwrap());
    assert!(matches!(second.refused(), Some(Refused::Quota(_))));
    drop(first);
    second.begin(&other);
    assert!(second.memory_growing(0, 3_000, None).unwrap());
    assert!(second.refused().is_none());
}

#[test]
fn memory_counts_for_its_call_at_once_and_for_the_next_one_of_a_warm_instance() {
    let (one, other) = (context(Payer::nobody()), context(Payer::nobody()));
    let (first, second) = (&one.meter, &other.meter);
    let mut limiter = InstanceLimiter::new(&Limits::default(), &one);
    assert!(limiter.memory_growing(0, 1000, None).unwrap());
    assert!(limiter.memory_growing(1000, 3000, None).unwrap());
    assert!(limiter.memory_growing(0, 500, None).unwrap(), "another memory of the same instance");
    assert_eq!(
        first.memory_peak_bytes(),
        3500,
        "nobody has to ask, and a call may end at any moment"
    );
    assert!(!limiter.memory_growing(0, usize::MAX, None).unwrap());
    assert_eq!(first.memory_peak_bytes(), 3500);
    limiter.begin(&other);
    assert_eq!(second.memory_peak_bytes(), 3500);
    assert!(limiter.refused().is_none());
    assert!(limiter.memory_growing(500, 600, None).unwrap());
    assert_eq!((first.memory_peak_bytes(), second.memory_peak_bytes()), (3500, 3600));
}

//! Guests as futures: what is between two waits for `next_slice` is a slice.

use std::sync::atomic::{AtomicU64, AtomicUsize};

use aop_core::quota::{Accounts, Quota};
use aop_core::{AgentName, CallContext, Caller, TenantName, ToolName};

use super::*;
use crate::deadline::Deadline;

async fn run<F: Future>(lane: &Lane, guest: impl FnOnce(Arc<Turn>) -> F) -> F::Output {
    run_for(lane, &Payer::nobody(), guest).await
}

async fn run_for<F: Future>(
    lane: &Lane,
    payer: &Arc<Payer>,
    guest: impl FnOnce(Arc<Turn>) -> F,
) -> F::Output {
    let turn = lane.turn(payer);
    let far = Instant::now() + Duration::from_secs(600);
    let caller = Caller::local(TenantName::default_tenant());
    let (agent, tool) = (AgentName::new("agent").unwrap(), ToolName::new("tool").unwrap());
    let context =
        CallContext { payer: Arc::clone(payer), ..CallContext::alone(caller, agent, tool, far) };
    let guest = guest(Arc::clone(&turn));
    Deadline::new(guest, turn, &context).await.expect("the deadline is far")
}

#[tokio::test]
async fn a_permit_is_held_while_a_slice_runs_and_not_while_the_host_is_waited_for() {
    let lane = Lane::with(1);
    let free = || lane.0.capacity() - lane.0.held();
    run(&lane, async |turn| {
        assert_eq!(free(), 1, "the first slice needs none");
        for _ in 0..3 {
            Arc::clone(&turn).next_slice().await;
            assert_eq!(free(), 0, "a slice runs");
        }
        tokio::task::yield_now().await;
        assert_eq!(free(), 1, "the guest waited for the host");
        Arc::clone(&turn).next_slice().await;
        assert_eq!(free(), 0);
    })
    .await;
    assert_eq!(free(), 1, "the guest has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_more_slices_run_than_there_are_permits() {
    let (lane, running, most) = (Lane::with(2), AtomicUsize::new(0), AtomicUsize::new(0));
    let guests = (0..8).map(|_| {
        run(&lane, async |turn| {
            for _ in 0..100 {
                Arc::clone(&turn).next_slice().await;
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            }
        })
    });
    futures::future::join_all(guests).await;
    assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    assert_eq!((lane.0.held(), lane.waiting()), (0, 0));
}

/// Computes for about so long.
fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[tokio::test]
async fn a_tenant_with_many_guests_gets_no_more_turns_than_one_with_one() {
    let accounts = Accounts::new(&Quota::default(), Quota::default(), 100);
    let payer = |tenant: &str| {
        accounts.payer(&TenantName::new(tenant).unwrap(), &AgentName::new("agent").unwrap())
    };
    let (lane, slices) = (Lane::with(1), [AtomicU64::new(0), AtomicU64::new(0)]);
    let (crowd, single) = (payer("crowd"), payer("single"));
    let spin = |payer, whose: usize| {
        let (lane, slices) = (&lane, &slices);
        async move {
            run_for(lane, payer, async |turn| {
                // All go on until the single one has had its slices.
                while slices[1].load(Ordering::Relaxed) < 50 {
                    Arc::clone(&turn).next_slice().await;
                    compute(Duration::from_micros(200));
                    slices[whose].fetch_add(1, Ordering::Relaxed);
                }
            })
            .await;
        }
    };
    let many = futures::future::join_all((0..64).map(|_| spin(&crowd, 0)));
    futures::future::join(many, spin(&single, 1)).await;
    let [of_crowd, of_single] = slices.map(AtomicU64::into_inner);
    // Each of the crowd has one more under way when the single one is done. What a slice costs is measured, on a machine
    // that others use too, so only the order of magnitude is sure: by turns of arrival it would be 64 times as many.
    assert!(of_crowd <= 64 + 10 * of_single, "{of_crowd} to {of_single}");
    assert_eq!((lane.0.held(), lane.waiting()), (0, 0));
    assert!(accounts.tenant(&TenantName::new("crowd").unwrap()).turn_wait() > Duration::ZERO);
}

#[tokio::test]
async fn who_used_up_its_time_pauses_and_goes_on_when_time_is_back() {
    let accounts = Accounts::new(&Quota::default(), Quota::default(), 100);
    let payer = accounts.payer(&TenantName::default_tenant(), &AgentName::new("agent").unwrap());
    let quota = Quota { cpu_ms_per_minute: Some(3_600_000), ..Quota::default() };
    payer.set_agent(&quota, &aop_core::Limits::default());
    payer.used_cpu(Duration::from_secs(3_601), Instant::now());
    let lane = Lane::with(1);
    run_for(&lane, &payer, async |turn| {
        // Sixty seconds come back per second, so this takes about 20 ms.
        Arc::clone(&turn).next_slice().await;
        assert!(turn.was_paused());
    })
    .await;
    assert_eq!(payer.cpu_pause(Instant::now() + Duration::from_secs(1)), None);
}

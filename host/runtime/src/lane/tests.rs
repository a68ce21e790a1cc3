//! Guests as futures: what is between two waits for `next_slice` is a slice.

use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use aop_core::Meter;

use super::*;
use crate::deadline::Deadline;

fn lane(permits: usize) -> Lane {
    Lane(Arc::new(Semaphore::new(permits)))
}

async fn run<F: Future>(lane: &Lane, guest: impl FnOnce(Arc<Turn>) -> F) -> F::Output {
    let turn = lane.turn();
    let far = Instant::now() + Duration::from_secs(600);
    let guest = guest(Arc::clone(&turn));
    Deadline::new(guest, far, turn, &Meter::default()).await.expect("the deadline is far")
}

#[tokio::test]
async fn a_permit_is_held_while_a_slice_runs_and_not_while_the_host_is_waited_for() {
    let lane = lane(1);
    let free = || lane.0.available_permits();
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
    let (lane, running, most) = (lane(2), AtomicUsize::new(0), AtomicUsize::new(0));
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
    assert_eq!(lane.0.available_permits(), 2);
}

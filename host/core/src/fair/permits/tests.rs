use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use super::super::Flow;
use super::*;

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn party(tenant: u64, agent: u64) -> Party {
    let flow = |id| Flow { id, weight: 100 };
    Party { tenant: flow(tenant), agent: flow(agent) }
}

fn poll<P: Deref<Target = Permits> + Unpin>(waiting: &mut Acquire<P>) -> Option<Permit<P>> {
    poll_with(waiting, &Arc::default())
}

fn poll_with<P: Deref<Target = Permits> + Unpin>(
    waiting: &mut Acquire<P>,
    woken: &Arc<Woken>,
) -> Option<Permit<P>> {
    let waker = Waker::from(Arc::clone(woken));
    match Pin::new(waiting).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(permit) => Some(permit),
        Poll::Pending => None,
    }
}

#[test]
fn places_are_given_in_fair_turn() {
    let permits = Permits::new(1, 1);
    let held = Permits::try_acquire(&permits, party(1, 1)).unwrap();
    let mut first = [1, 1, 2].map(|tenant| Permits::acquire(&permits, party(tenant, tenant)));
    assert!(first.iter_mut().all(|waiting| poll(waiting).is_none()));
    assert!(Permits::try_acquire(&permits, party(3, 3)).is_none(), "nobody goes past the queue");
    assert_eq!((permits.held(), permits.waiting()), (1, 3));
    drop(held);
    let [_, late, other] = &mut first;
    let second = poll(other).expect("the first tenant had the last turn");
    assert!(poll(late).is_none());
    drop(second);
    let [early, ..] = &mut first;
    assert!(poll(early).is_some());
}

#[test]
fn a_waiting_one_is_woken_when_its_turn_comes() {
    let permits = Permits::new(1, 1);
    let held = Permits::try_acquire(&permits, party(1, 1)).unwrap();
    let (mut waiting, woken) = (Permits::acquire(&permits, party(1, 1)), Arc::default());
    assert!(poll_with(&mut waiting, &woken).is_none());
    drop(held);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(poll(&mut waiting).is_some());
    assert_eq!((permits.held(), permits.waiting()), (0, 0));
}

#[test]
fn places_that_come_free_in_the_whole_wake_who_waits_in_a_part() {
    let whole = Arc::new(Permits::new(4, 1));
    let parts = [1, 2].map(|_| Permits::part_of(Arc::clone(&whole), Permits::UNLIMITED, 1));
    let others: Vec<_> =
        (0..4).map(|_| Permits::try_acquire(&*whole, party(9, 9)).unwrap()).collect();
    let firsts = parts.each_ref().map(|part| Permits::try_acquire(part, party(1, 1)).unwrap());
    let mut waiting = parts.each_ref().map(|part| Permits::acquire(part, party(1, 1)));
    let woken: [Arc<Woken>; 2] = Default::default();
    for (waiting, woken) in waiting.iter_mut().zip(&woken) {
        assert!(poll_with(waiting, woken).is_none(), "the whole has no more for a part");
    }
    drop(others);
    for (waiting, woken) in waiting.iter_mut().zip(&woken) {
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(poll(waiting).is_some());
    }
    drop(firsts);

    // Nor does a larger whole leave anybody waiting.
    let whole = Arc::new(Permits::new(1, 1));
    let part = Permits::part_of(Arc::clone(&whole), Permits::UNLIMITED, 1);
    let _of_part = Permits::try_acquire(&part, party(1, 1)).unwrap();
    let (mut waiting, woken) = (Permits::acquire(&part, party(1, 1)), Arc::default());
    assert!(poll_with(&mut waiting, &woken).is_none());
    whole.set_capacity(10);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(poll(&mut waiting).is_some());
}

#[test]
fn who_gives_up_leaves_nothing_behind() {
    let permits = Permits::new(1, 1);
    let held = Permits::try_acquire(&permits, party(1, 1)).unwrap();
    let mut waiting = Permits::acquire(&permits, party(1, 1));
    assert!(poll(&mut waiting).is_none());
    drop(waiting);
    assert_eq!(permits.waiting(), 0);
    let mut given = Permits::acquire(&permits, party(1, 1));
    let mut next = Permits::acquire(&permits, party(2, 2));
    assert!(poll(&mut given).is_none() && poll(&mut next).is_none());
    drop(held);
    // One of them has the place and never looks; the other gets it.
    drop(given);
    assert!(poll(&mut next).is_some());
    drop(next);
    assert_eq!((permits.held(), permits.waiting()), (0, 0));
    assert!(permits.0.line().given.is_empty());
}

#[test]
fn more_places_are_given_at_once() {
    let permits = Permits::new(0, 1);
    let mut waiting = [1, 2, 3].map(|tenant| Permits::acquire(&permits, party(tenant, 1)));
    assert!(waiting.iter_mut().all(|waiting| poll(waiting).is_none()));
    permits.set_capacity(2);
    let given: Vec<_> = waiting.iter_mut().filter_map(poll).collect();
    assert_eq!((given.len(), permits.held()), (2, 2));
    permits.set_capacity(1);
    drop(given);
    assert_eq!(permits.held(), 1, "the third has one now");
}

#[test]
fn a_part_leaves_places_of_the_whole_to_others() {
    let whole = Arc::new(Permits::new(90, 1));
    let part = |capacity| Permits::part_of(Arc::clone(&whole), capacity, 1);
    let (greedy, other) = (part(Permits::UNLIMITED), part(Permits::UNLIMITED));
    let take = |part: &Permits, id| {
        let of_part = Permits::try_acquire(part, party(id, id))?;
        let of_whole = Permits::try_acquire(&*whole, party(id, id))?;
        // Held to the end of the test.
        std::mem::forget((of_part, of_whole));
        Some(())
    };
    let most = std::iter::from_fn(|| take(&greedy, 1)).count();
    assert_eq!(most, 80, "eight ninths");
    let rest = std::iter::from_fn(|| take(&other, 2)).count();
    assert!((8..10).contains(&rest), "{rest} of ten");
    assert_eq!(std::iter::from_fn(|| take(&part(3), 3)).count(), 1, "and one for a third");
}

#[test]
fn threads_never_hold_more_than_there_are_and_leave_none_behind() {
    let permits = Permits::new(3, 1);
    let most = AtomicUsize::new(0);
    let running = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (permits, most, running) = (&permits, &most, &running);
            scope.spawn(move || {
                for turn in 0..2_000_u64 {
                    let mut waiting = Permits::acquire(permits, party(thread % 3, thread));
                    let unparked = Arc::new(Unpark(std::thread::current()));
                    let waker = Waker::from(unparked);
                    let permit = loop {
                        match Pin::new(&mut waiting).poll(&mut Context::from_waker(&waker)) {
                            Poll::Ready(permit) => break permit,
                            // Some give up.
                            Poll::Pending if turn % 7 == 0 => {
                                break continue_without(waiting, permits);
                            }
                            Poll::Pending => std::thread::park(),
                        }
                    };
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    running.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
    });
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    assert_eq!((permits.held(), permits.waiting()), (0, 0));
    assert!(permits.0.line().given.is_empty());
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Leaves the queue, and spins until a place is free.
fn continue_without<'p>(
    waiting: Acquire<&'p Permits>,
    permits: &'p Permits,
) -> Permit<&'p Permits> {
    drop(waiting);
    loop {
        if let Some(permit) = Permits::try_acquire(permits, party(9, 9)) {
            return permit;
        }
        std::thread::yield_now();
    }
}

//! Over numbers, which stand for instances.

use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn shelf(instances_max: u32) -> Arc<Shelf<u32>> {
    Shelf::new(instances_max)
}

#[tokio::test]
async fn the_instance_that_was_used_last_serves_next() {
    let pool = shelf(8).pool(10, HOUR);
    pool.put(1);
    pool.put(2);
    assert_eq!([pool.take(), pool.take(), pool.take()], [Some(2), Some(1), None]);
}

#[tokio::test]
async fn beyond_the_bound_the_longest_idle_goes_whoevers_it_is() {
    let shelf = shelf(6);
    let (a, b) = (shelf.pool(10, HOUR), shelf.pool(10, HOUR));
    a.put(1);
    a.put(2);
    b.put(3);
    b.put(4);
    assert_eq!([a.take(), a.take()], [Some(2), None], "three may idle, and 1 came first");
    assert_eq!([b.take(), b.take(), b.take()], [Some(4), Some(3), None]);
}

#[tokio::test]
async fn whoever_needs_a_place_gets_that_of_the_longest_idle() {
    let shelf = shelf(8);
    let (a, b) = (shelf.pool(10, HOUR), shelf.pool(10, HOUR));
    assert!(!shelf.evict(), "there is none");
    b.put(1);
    a.put(2);
    assert!(shelf.evict());
    assert_eq!((b.take(), a.take()), (None, Some(2)));
    assert!(!shelf.evict());
}

#[tokio::test]
async fn what_idled_too_long_goes_and_the_rest_waits() {
    let shelf = shelf(8);
    let (a, b) = (shelf.pool(10, HOUR), shelf.pool(10, 2 * HOUR));
    a.put(1);
    b.put(2);
    let later = Instant::now() + HOUR;
    assert_eq!(a.expire(later), None);
    let next = b.expire(later).expect("one waits");
    assert!(next <= HOUR && next > HOUR - Duration::from_secs(60), "{next:?}");
    assert_eq!((a.take(), b.take()), (None, Some(2)));
}

#[tokio::test]
async fn an_agent_that_goes_takes_its_instances_with_it() {
    let shelf = shelf(8);
    let (gone, stays) = (shelf.pool(10, HOUR), shelf.pool(10, HOUR));
    gone.put(1);
    stays.put(2);
    drop(gone);
    assert_eq!(shelf.places().idle.len(), 1);
    assert!(shelf.evict() && !shelf.evict());
    assert_eq!(stays.take(), None);
}

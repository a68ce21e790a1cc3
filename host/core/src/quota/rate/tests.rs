use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rate(amount: u64, burst: Option<u64>) -> Rate {
    let rate = Rate::per(SECOND);
    rate.set(Some(amount), burst);
    rate
}

#[test]
fn a_burst_and_then_so_many_per_second() {
    let (rate, now) = (rate(10, Some(3)), Instant::now());
    for _ in 0..3 {
        rate.take(1, now).unwrap();
    }
    assert_eq!(rate.used(now), 3);
    let wait = rate.take(1, now).unwrap_err();
    assert_eq!(wait, Duration::from_millis(100));
    rate.take(1, now + wait).unwrap();
    assert!(rate.take(1, now + wait).is_err());
    let later = now + 10 * SECOND;
    assert_eq!(rate.used(later), 0);
    assert_eq!((0..10).filter(|_| rate.take(1, later).is_ok()).count(), 3, "nothing is saved up");
}

#[test]
fn what_was_used_already_is_owed_and_no_more_than_another_burst() {
    let (rate, now) = (rate(1_000, None), Instant::now());
    rate.charge(1_500, now);
    assert_eq!(rate.wait(1, now), Some(Duration::from_millis(501)));
    assert_eq!(rate.wait(1, now + Duration::from_millis(501)), None);
    rate.charge(u64::MAX, now);
    assert_eq!(rate.used(now), 2_000);
    assert_eq!(rate.wait(0, now), Some(SECOND));
}

#[test]
fn without_a_limit_nothing_counts_and_with_another_one_it_goes_on() {
    let (rate, now) = (Rate::per(SECOND), Instant::now());
    rate.charge(u64::MAX, now);
    rate.take(u64::MAX, now).unwrap();
    assert_eq!((rate.wait(1, now), rate.used(now), rate.limit()), (None, 0, None));
    rate.set(Some(5), None);
    assert_eq!((0..10).filter(|_| rate.take(1, now).is_ok()).count(), 5);
    rate.give_back(2, now);
    assert_eq!((0..10).filter(|_| rate.take(1, now).is_ok()).count(), 2);
}

proptest! {
    /// Over any stretch of time no more is let through than the burst and what became free meanwhile, and whoever waits
    /// as long as it was told is let through.
    #[test]
    fn it_keeps_its_rate_and_its_word(
        amount in 1_u64..1_000,
        burst in 1_u64..100,
        gaps in prop::collection::vec(0_u64..50_000_000, 1..300),
    ) {
        let rate = rate(amount, Some(burst));
        let start = Instant::now();
        let (mut now, mut through) = (start, 0_u64);
        for gap in gaps {
            now += Duration::from_nanos(gap);
            match rate.take(1, now) {
                Ok(()) => through += 1,
                Err(wait) => {
                    prop_assert!(wait <= SECOND);
                    prop_assert!(rate.wait(1, now + wait).is_none());
                    prop_assert!(rate.wait(1, now).is_some());
                }
            }
            let elapsed = (now - start).as_secs_f64();
            let most = burst as f64 + elapsed * amount as f64;
            // A cost is a whole number of nanoseconds.
            prop_assert!(through as f64 <= most + 1.0, "{through} of {most}");
        }
    }
}

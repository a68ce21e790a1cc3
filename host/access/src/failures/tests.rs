use governor::clock::FakeRelativeClock;

use super::*;

fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn an_address_that_fails_too_often_is_told_to_wait_and_others_are_not() {
    let clock = FakeRelativeClock::default();
    let failures = Failures::new(clock.clone());
    let (bad, good) = (address("10.0.0.1"), address("10.0.0.2"));
    for _ in 0..BURST.get() {
        assert_eq!(failures.count(bad, 0), None);
    }
    assert_eq!(failures.used_up(bad, 0), None);
    assert_eq!(failures.count(bad, 0), Some(PAUSE));
    assert_eq!(failures.used_up(bad, 1000), Some(PAUSE - Duration::from_secs(1)));
    assert_eq!(failures.used_up(good, 0), None);
    assert_eq!(failures.count(good, 0), None);
    clock.advance(PAUSE);
    assert_eq!(failures.used_up(bad, 3000), None);
    assert_eq!(failures.count(bad, 3000), None);
    assert_eq!(failures.limited.load(Ordering::Relaxed), 1);
}

#[test]
fn a_host_of_ipv6_does_not_get_a_new_limit_with_each_of_its_addresses() {
    let failures = Failures::new(FakeRelativeClock::default());
    for index in 0..BURST.get() {
        assert_eq!(failures.count(address(&format!("2001:db8:1:2::{index:x}")), 0), None);
    }
    assert!(failures.count(address("2001:db8:1:2:ffff::1"), 0).is_some());
    assert_eq!(failures.count(address("2001:db8:1:3::1"), 0), None);
    assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()).to_string(), "10.0.0.1");
}

#[test]
fn the_table_of_addresses_is_bounded() {
    let failures = Failures::new(FakeRelativeClock::default());
    for index in 0..2 * ADDRESSES_MAX {
        failures.count(Some(IpAddr::V4(u32::try_from(index).unwrap().into())), 0);
    }
    assert!(failures.addresses.len() <= ADDRESSES_MAX);
}

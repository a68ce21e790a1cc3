use bytes::Bytes;
use http_body_util::Full;
use tokio::sync::Semaphore;

use super::*;

#[test]
fn a_guest_chooses_its_timeouts_within_bounds() {
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
    let connect = |wanted: Option<Duration>, left: Duration| {
        timeouts(RequestOptions { connect_timeout: wanted, ..RequestOptions::default() }, left)
            .connect
    };
    assert_eq!(connect(Some(second), hour), second);
    assert_eq!(connect(None, second), second, "the call ends then anyhow");
    for (wanted, left) in [(None, hour), (Some(hour), hour)] {
        assert_eq!(connect(wanted, left), CONNECT_MAX);
    }
    for (wanted, left) in [(Some(Duration::ZERO), hour), (None, Duration::ZERO)] {
        assert_eq!(connect(wanted, left), CONNECT_MIN);
    }
}

#[test]
fn a_place_is_free_when_both_bodies_are_gone() {
    let places = Arc::new(Semaphore::new(1));
    let place = Arc::new(Arc::clone(&places).try_acquire_owned().unwrap());
    let (payer, over) = (Payer::nobody(), |_| unreachable!("nobody pays"));
    let body = |place| Placed {
        body: Full::<Bytes>::default(),
        payer: Arc::clone(&payer),
        over,
        _place: place,
    };
    let (sent, received) = (body(Arc::clone(&place)), body(place));
    drop(received);
    assert_eq!(places.available_permits(), 0, "the guest still writes");
    drop(sent);
    assert_eq!(places.available_permits(), 1);
}

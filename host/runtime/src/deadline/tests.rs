use super::*;

/// Computes for at least so long.
fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn what_a_guest_computes_within_another_counts_once() {
    let slice = Duration::from_millis(2);
    let mut inner = [Duration::ZERO; 2];
    let start = Instant::now();
    let (middle, outer) = measured(start, || {
        compute(slice);
        for took in &mut inner {
            (_, *took) = measured(Instant::now(), || compute(slice));
        }
        measured(Instant::now(), || measured(Instant::now(), || compute(slice)).1)
    });
    let all = start.elapsed();
    let (innermost, around) = middle;
    let parts = outer + inner[0] + inner[1] + innermost + around;
    assert!(parts <= all, "{parts:?} of {all:?}");
    for part in [outer, inner[0], inner[1], innermost] {
        assert!(part >= slice, "{part:?}");
    }
}

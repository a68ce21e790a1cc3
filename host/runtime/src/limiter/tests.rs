use super::*;

#[test]
fn memory_counts_for_its_call_at_once_and_for_the_next_one_of_a_warm_instance() {
    let (first, second) = (Arc::new(Meter::default()), Arc::new(Meter::default()));
    let mut limiter = InstanceLimiter::new(&Limits::default(), Arc::clone(&first));
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
    limiter.begin(Arc::clone(&second));
    assert_eq!((second.memory_peak_bytes(), limiter.refused()), (3500, None));
    assert!(limiter.memory_growing(500, 600, None).unwrap());
    assert_eq!((first.memory_peak_bytes(), second.memory_peak_bytes()), (3500, 3600));
}

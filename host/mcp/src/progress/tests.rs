use aop_core::Progress as _;
use rmcp::model::{NumberOrString, ProgressToken};

use super::{QUEUE_LENGTH, Reporter};

#[test]
fn reports_beyond_the_queue_are_dropped() {
    let (reporter, mut reports) = Reporter::new(ProgressToken(NumberOrString::Number(1)));
    for step in 0..2 * QUEUE_LENGTH {
        reporter.report(f64::from(u32::try_from(step).unwrap()), None, None);
    }
    let mut seen = 0;
    while reports.try_recv().is_ok() {
        seen += 1;
    }
    assert_eq!(seen, QUEUE_LENGTH);
    // What was dropped does not count as reported.
    reporter.report(f64::from(u32::try_from(QUEUE_LENGTH).unwrap()), Some(f64::NAN), Some("on"));
    let report = reports.try_recv().unwrap();
    assert_eq!((report.total, report.message.as_deref()), (None, Some("on")));
}

#[test]
fn reports_only_grow() {
    let (reporter, mut reports) = Reporter::new(ProgressToken(NumberOrString::String("t".into())));
    for step in [1.0, 1.0, 0.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 2.0] {
        reporter.report(step, None, None);
    }
    let seen: Vec<_> =
        std::iter::from_fn(|| reports.try_recv().ok()).map(|report| report.progress).collect();
    assert_eq!(seen, [1.0, 2.0]);
}

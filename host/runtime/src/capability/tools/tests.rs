use aop_core::Shown;
use serde_json::value::RawValue;

use super::*;

fn output(bytes: usize) -> Result<Output, Failure> {
    let json = RawValue::from_string(format!("\"{}\"", "x".repeat(bytes - 2))).unwrap();
    Ok(Output { json, shown: Shown::Text })
}

#[test]
fn a_batch_hands_back_what_fits_the_agents_memory() {
    let failed = || Err(Failure::executed(ErrorCode::GuestError, "no"));
    let results = bounded(vec![output(60), output(50), failed(), output(40)], 100);
    let codes = results.iter().map(|result| result.as_ref().map(String::len));
    let codes: Vec<_> = codes.map(|result| result.map_err(|error| error.code.as_str())).collect();
    assert_eq!(codes, [Ok(60), Err("resource_exhausted"), Err("guest_error"), Ok(40)]);
}

#[test]
fn a_failure_keeps_everything_that_a_caller_may_know() {
    let details = RawValue::from_string("[1]".to_owned()).unwrap();
    let failure = Failure::before_execution(ErrorCode::RateLimited, "slow down")
        .with_details(details)
        .with_retry_after(std::time::Duration::from_millis(1500));
    let told = tools::Failure::from(failure);
    assert_eq!((told.code.as_str(), told.message.as_str()), ("rate_limited", "slow down"));
    assert_eq!((told.details.as_deref(), told.retry_after_ms), (Some("[1]"), Some(1500)));
}

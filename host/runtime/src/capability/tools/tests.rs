use aop_core::Shown;
use serde_json::value::RawValue;

use super::*;

fn output(bytes: usize) -> Result<Output, Failure> {
    let json = RawValue::from_string(format!("\"{}\"", "x".repeat(bytes - 2))).unwrap();
    Ok(Output { json, shown: Shown::Text })
}

fn codes<'a>(
    results: impl IntoIterator<Item = &'a Result<String, tools::Failure>>,
) -> Vec<Result<usize, &'a str>> {
    let code = |result: &'a Result<String, tools::Failure>| {
        result.as_ref().map(String::len).map_err(|failure| failure.code.as_str())
    };
    results.into_iter().map(code).collect()
}

#[test]
fn a_batch_hands_back_what_fits_the_agents_memory() {
    let mut room = Room { left_bytes: 104 };
    let said = || Err(Failure::executed(ErrorCode::GuestError, "well"));
    let results = [output(60), output(50), said(), output(40), said()].map(|it| room.keep(it));
    let exhausted = Err("resource_exhausted");
    assert_eq!(codes(&results), [Ok(60), exhausted, Err("guest_error"), Ok(40), exhausted]);
}

/// Results that arrive first take the room: none waits in the host for an earlier one to be measured.
#[tokio::test]
async fn a_result_is_charged_when_it_arrives() {
    let invocations = (0..BATCH_MAX)
        .map(|index| Invocation { tool: index.to_string(), arguments: "{}".to_owned() });
    let others = Arc::new(tokio::sync::Semaphore::new(0));
    let call = |invocation: Invocation| {
        let others = Arc::clone(&others);
        async move {
            if invocation.tool == "0" {
                let all = u32::try_from(BATCH_MAX - 1).unwrap();
                drop(others.acquire_many(all).await);
            }
            others.add_permits(1);
            output(100)
        }
    };
    let results = run_all(invocations.collect(), Room { left_bytes: 1000 }, call).await;
    assert_eq!(results.len(), BATCH_MAX);
    assert_eq!(codes(&results[..1]), [Err("resource_exhausted")], "it came last");
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 10);
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

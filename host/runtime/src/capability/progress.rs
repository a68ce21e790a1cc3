//! `aop:agent/progress`: tells the caller how far a call is.
//!
//! The rules are MCP's and are checked here, so that no edge has to trust a guest. A report costs the
//! guest a call into the host and the sink drops what its client is too slow for, so nothing piles up.

use crate::binding::agent_0_1_0::progress;
use crate::capability::logging::clip;
use crate::state::State;

/// What is kept of a message: a line for a person.
const MESSAGE_MAX_BYTES: usize = 1024;

impl progress::Host for State {
    async fn report(
        &mut self,
        progress: f64,
        total: Option<f64>,
        message: Option<String>,
    ) -> wasmtime::Result<Result<(), String>> {
        let serving = self.guest.serving()?;
        if let Err(rule) = check(serving.progress, progress, total) {
            return Ok(Err(rule));
        }
        serving.progress = progress;
        if let Some(sink) = &serving.context.progress {
            let message = message.as_deref().map(|text| clip(text, MESSAGE_MAX_BYTES));
            sink.report(progress, total, message);
        }
        Ok(Ok(()))
    }
}

/// Whether a report may follow the one before.
///
/// # Errors
/// The rule that it breaks.
fn check(last: f64, progress: f64, total: Option<f64>) -> Result<(), String> {
    let is_amount = |amount: f64| amount.is_finite() && amount >= 0.0;
    if !is_amount(progress) {
        return Err(format!("progress must be a finite number and not negative, not {progress}"));
    }
    if let Some(total) = total.filter(|total| !is_amount(*total)) {
        return Err(format!("total must be a finite number and not negative, not {total}"));
    }
    if progress <= last {
        return Err(format!("progress must grow: {progress} does not come after {last}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_finite_not_negative_and_grows() {
        assert_eq!(check(f64::NEG_INFINITY, 0.0, None), Ok(()));
        assert_eq!(check(0.0, 0.5, Some(1.0)), Ok(()));
        assert_eq!(check(0.5, 2.0, Some(1.0)), Ok(()), "an estimate may be passed");
        for (last, progress, total) in [
            (f64::NEG_INFINITY, -1.0, None),
            (f64::NEG_INFINITY, f64::NAN, None),
            (f64::NEG_INFINITY, f64::INFINITY, None),
            (f64::NEG_INFINITY, 1.0, Some(-1.0)),
            (f64::NEG_INFINITY, 1.0, Some(f64::NAN)),
            (1.0, 1.0, None),
            (1.0, 0.5, None),
        ] {
            assert!(check(last, progress, total).is_err(), "{last} {progress} {total:?}");
        }
    }
}

//! Tools that tell the caller something while they run.

use std::thread::sleep;
use std::time::Duration;

use aop_agent::{changes, log, progress};

use crate::exports::conformance::test::running::Guest;

/// Between two messages: a client must be able to tell that they come while the tool runs.
const PAUSE: Duration = Duration::from_millis(50);

impl Guest for crate::Test {
    fn tool_with_logging() -> String {
        log::info("Tool execution started");
        sleep(PAUSE);
        log::info("Tool processing data");
        sleep(PAUSE);
        log::info("Tool execution completed");
        "Three lines were logged.".to_owned()
    }

    fn logging_tool() -> String {
        log::info("The logging tool ran");
        "A line was logged.".to_owned()
    }

    fn tool_with_progress() -> Result<String, String> {
        progress::report(0.0, 100.0, "started")?;
        sleep(PAUSE);
        progress::report(50.0, 100.0, "half done")?;
        sleep(PAUSE);
        progress::report(100.0, 100.0, "done")?;
        Ok("Progress was reported.".to_owned())
    }

    fn reconnection() -> String {
        sleep(PAUSE);
        "The connection held, or was found again.".to_owned()
    }

    fn touch_resource() -> Result<String, String> {
        changes::resource_updated("test://watched-resource")?;
        Ok("Subscribers were told.".to_owned())
    }

    fn trigger_prompt_change() -> String {
        changes::prompts_changed();
        "Clients were told.".to_owned()
    }
}

//! What happens in the host, a line for each call and each line that the guest writes, for a person who
//! watches.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::output;

/// Shows some of the host's log. Each kind of event is told by its target and its fields.
pub(super) struct Live;

/// The target of what guests write.
const GUEST: &str = "aop::guest";

/// The fields that are shown.
#[derive(Default)]
struct Fields {
    message: String,
    tool: Option<String>,
    context: Option<String>,
    code: Option<String>,
    error: Option<String>,
    state: Option<String>,
    revision: Option<u64>,
    seconds: Option<f64>,
    success: Option<bool>,
    dropped_before: u64,
}

impl<S: Subscriber> Layer<S> for Live {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(line) = fields.show(event.metadata().target(), *event.metadata().level()) {
            // Nobody can be told when that fails.
            let _ = output::line(output::printable(&line));
        }
    }
}

impl Fields {
    fn show(&self, target: &str, level: Level) -> Option<String> {
        let message = &self.message;
        if target == GUEST {
            let mut line = String::new();
            if self.dropped_before > 0 {
                let _ = writeln!(line, "  … {} lines over the limit", self.dropped_before);
            }
            let context = self.context.as_deref().unwrap_or_default();
            let _ = write!(line, "  {context} | {message}");
            return Some(line);
        }
        if let (Some(seconds), Some(success)) = (self.seconds, self.success) {
            let mark = if success { "✓" } else { "✗" };
            let tool = self.tool.as_deref().unwrap_or("no such tool");
            return Some(format!("{mark} {tool}  {:.1} ms", seconds * 1000.0));
        }
        if let Some(code) = &self.code {
            return Some(format!("  {code}: {}", message.replace('\n', "\n  ")));
        }
        if let (Some("ACTIVE"), Some(revision)) = (self.state.as_deref(), self.revision) {
            return Some(format!("revision {revision} serves"));
        }
        let error = self.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
        (level <= Level::WARN).then(|| format!("{level}: {message}{error}"))
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "result.success" {
            self.success = Some(value);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "seconds" {
            self.seconds = Some(value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "dropped_before" => self.dropped_before = value,
            "revision" => self.revision = Some(value),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_text(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_text(field, format!("{value:?}"));
    }
}

impl Fields {
    fn record_text(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            "tool" => self.tool = Some(text),
            "context" => self.context = Some(text),
            "code" => self.code = Some(text),
            "error" => self.error = Some(text),
            "state" => self.state = Some(text),
            // Some are formatted, whatever they are.
            "revision" => self.revision = text.parse().ok(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_their_tool_and_their_time() {
        let fields = |success| Fields {
            message: "Agent execution finished".to_owned(),
            tool: Some("demo_split".to_owned()),
            seconds: Some(0.00321),
            success: Some(success),
            ..Fields::default()
        };
        let show = |fields: Fields| fields.show("aop_dispatch::record", Level::DEBUG);
        assert_eq!(show(fields(true)).unwrap(), "✓ demo_split  3.2 ms");
        assert_eq!(show(fields(false)).unwrap(), "✗ demo_split  3.2 ms");
        let failure = Fields {
            message: "one\ntwo".to_owned(),
            code: Some("guest_error".to_owned()),
            ..Fields::default()
        };
        assert_eq!(show(failure).unwrap(), "  guest_error: one\n  two");
    }

    #[test]
    fn what_the_guest_writes_is_set_apart() {
        let fields = Fields {
            message: "hello".to_owned(),
            context: Some("stdout".to_owned()),
            dropped_before: 3,
            ..Fields::default()
        };
        let line = fields.show(GUEST, Level::INFO).unwrap();
        assert_eq!(line, "  … 3 lines over the limit\n  stdout | hello");
    }

    #[test]
    fn of_the_rest_only_what_went_wrong_is_shown() {
        let fields = |state: &str| Fields {
            message: "it happened".to_owned(),
            state: Some(state.to_owned()),
            revision: Some(2),
            error: Some("no".to_owned()),
            ..Fields::default()
        };
        let show = |fields: Fields, level| fields.show("aop_registry", level);
        assert_eq!(show(fields("ACTIVE"), Level::INFO).unwrap(), "revision 2 serves");
        assert_eq!(show(fields("DRAINING"), Level::INFO), None);
        assert_eq!(show(fields("ERROR"), Level::WARN).unwrap(), "WARN: it happened: no");
    }
}

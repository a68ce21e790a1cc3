use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tracing::field::Empty;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The span in the one line that `run` logs.
fn span_of(run: impl FnOnce()) -> Value {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let lines = fmt::layer().with_writer(move || writer.clone()).json().fmt_fields(SpanFields);
    let subscriber = tracing_subscriber::registry().with(lines);
    tracing::subscriber::with_default(subscriber, run);
    let bytes = buffer.0.lock().unwrap();
    let line: Value = serde_json::from_slice(&bytes).unwrap();
    line["span"].clone()
}

#[test]
fn fields_of_every_kind_are_json() {
    let span = span_of(|| {
        let span = tracing::info_span!(
            "work",
            text = "a \"quoted\"\\\n\u{1}\u{1f600} text",
            shown = %"x",
            debugged = ?Some("y"),
            count = 3_u64,
            below = -3_i64,
            ratio = 0.5_f64,
            infinite = f64::INFINITY,
            yes = true,
        );
        span.in_scope(|| tracing::info!("here"));
    });
    let expected = json!({
        "name": "work",
        "text": "a \"quoted\"\\\n\u{1}\u{1f600} text",
        "shown": "x",
        "debugged": "Some(\"y\")",
        "count": 3,
        "below": -3,
        "ratio": 0.5,
        "infinite": null,
        "yes": true,
    });
    assert_eq!(span, expected);
}

#[test]
fn fields_are_added_to_many_few_and_none_and_the_last_value_counts() {
    let span = span_of(|| {
        let span = tracing::info_span!("work", first = 1, second = Empty, third = Empty);
        span.record("second", "two").record("third", 3).record("first", 4);
        span.in_scope(|| tracing::info!("here"));
    });
    assert_eq!(span, json!({ "name": "work", "first": 4, "second": "two", "third": 3 }));
    let span = span_of(|| {
        let span = tracing::info_span!("work", later = Empty);
        span.record("later", true);
        span.in_scope(|| tracing::info!("here"));
    });
    assert_eq!(span, json!({ "name": "work", "later": true }));
    let span = span_of(|| {
        tracing::info_span!("work").in_scope(|| tracing::info!("here"));
    });
    assert_eq!(span, json!({ "name": "work" }));
}

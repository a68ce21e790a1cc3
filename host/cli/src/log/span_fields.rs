//! The fields of spans in JSON lines.
//!
//! Every call has a span, whose fields are written when they become known, whether a line ever shows
//! them or not. tracing-subscriber's own `JsonFields` builds a tree for that, and reads back and writes
//! anew all that is there whenever one is added, which was a seventh of what a whole call over HTTP
//! costs. This one appends text. A field that is recorded again is there twice: JSON readers, the one
//! that puts the line together first of all, take the last.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, FormattedFields};

/// Writes a span's fields as one JSON object.
pub(super) struct SpanFields;

impl<'writer> FormatFields<'writer> for SpanFields {
    fn format_fields<R: RecordFields>(&self, mut out: Writer<'writer>, fields: R) -> fmt::Result {
        out.write_char('{')?;
        Members::write(&mut out, &fields, true)?;
        out.write_char('}')
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        let is_open = current.fields.pop().is_some();
        if !is_open {
            current.fields.push('{');
        }
        let is_first = current.fields.len() == 1;
        Members::write(&mut current.fields, fields, is_first)?;
        current.fields.write_char('}')
    }
}

/// The members of an object on their way into it.
struct Members<'a> {
    out: &'a mut dyn fmt::Write,
    is_first: bool,
    result: fmt::Result,
}

impl<'a> Members<'a> {
    fn write(
        out: &'a mut dyn fmt::Write,
        fields: &impl RecordFields,
        is_first: bool,
    ) -> fmt::Result {
        let mut members = Self { out, is_first, result: Ok(()) };
        fields.record(&mut members);
        members.result
    }

    /// Field names are identifiers and dots: nothing in them needs escaping.
    fn member(&mut self, field: &Field, value: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.begin(field.name()).and_then(|()| value(self.out));
        }
    }

    fn begin(&mut self, name: &str) -> fmt::Result {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.write_char(',')?;
        }
        self.out.write_char('"')?;
        self.out.write_str(name.trim_start_matches("r#"))?;
        self.out.write_str("\":")
    }

    fn text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        self.member(field, |out| {
            out.write_char('"')?;
            Escaping(out).write_fmt(text)?;
            out.write_char('"')
        });
    }
}

impl Visit for Members<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field, |out| match value {
            value if value.is_finite() => write!(out, "{value}"),
            // JSON has no such numbers.
            _ => out.write_str("null"),
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |out| out.write_str(if value { "true" } else { "false" }));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, |out| {
            out.write_char('"')?;
            Escaping(out).write_str(value)?;
            out.write_char('"')
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }
}

/// The inside of a JSON string.
struct Escaping<'a>(&'a mut dyn fmt::Write);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        // Each of them is a character of one byte, and no part of a longer one.
        let special = |byte: u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
        while let Some(at) = rest.bytes().position(special) {
            self.0.write_str(&rest[..at])?;
            write!(self.0, "\\u{:04x}", rest.as_bytes()[at])?;
            rest = &rest[at + 1..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests;

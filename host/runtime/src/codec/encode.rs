//! Results: from values to compact JSON, straight into the text that is sent.
//!
//! The limit is checked while writing, before each piece, so a guest's 100 MB result costs the
//! limit and not its size.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use aop_core::interface::{Interface, TypeId, TypeKind};
use aop_core::schema::{ResultError, ResultShape, ResultValue};
use aop_core::{ErrorCode, Failure, Output, Shown};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::value::RawValue;
use wasmtime::component::Val;

use super::AT_ONCE_MAX_BYTES;

/// The largest integer that JavaScript and most JSON readers keep exactly.
const EXACT_INTEGER_MAX: u64 = (1 << 53) - 1;

/// Bytes that are base64-encoded at a time; a multiple of three, so that the pieces join.
const BASE64_CHUNK_BYTES: usize = 3 << 10;

pub(super) fn result(
    interface: &Interface,
    shape: ResultShape,
    results: &[Val],
    limit_bytes: usize,
) -> Result<Output, Failure> {
    let mut writer = Writer::new(interface, limit_bytes);
    let outcome = match (shape.error, results) {
        (ResultError::Never, [value]) => Ok(Some(value)),
        (ResultError::Never, []) => Ok(None),
        (_, [Val::Result(Ok(value))]) => Ok(value.as_deref()),
        (_, [Val::Result(Err(error))]) => Err(error.as_deref()),
        _ => return Err(Broken::Mismatch.into_failure(limit_bytes)),
    };
    let written = match (outcome, shape.value) {
        (Ok(None), ResultValue::Nothing) => {
            writer.text.push_str("null");
            Ok(())
        }
        (Ok(Some(value)), ResultValue::One(ty)) => writer.value(ty, value),
        (Ok(Some(Val::List(items))), ResultValue::Stream(ty)) => writer.list(ty, items),
        (Err(error), _) => return Err(guest_error(writer, shape.error, error)),
        _ => Err(Broken::Mismatch),
    };
    written.map_err(|broken| broken.into_failure(limit_bytes))?;
    let shown = match outcome {
        _ if shape.is_content => Shown::Content,
        Ok(Some(Val::String(_))) => Shown::Text,
        _ => Shown::Json,
    };
    Ok(Output { json: raw(writer.text)?, shown })
}

/// What the guest returned as its error, for people and typed.
fn guest_error(mut writer: Writer<'_>, error: ResultError, value: Option<&Val>) -> Failure {
    let limit_bytes = writer.limit_bytes;
    let (ty, value) = match (error, value) {
        (ResultError::Typed(ty), Some(value)) => (ty, value),
        (ResultError::Bare, None) => {
            return Failure::executed(
                ErrorCode::GuestError,
                "the agent returned an error without saying more",
            );
        }
        _ => return Broken::Mismatch.into_failure(limit_bytes),
    };
    if let Val::String(message) = value {
        if message.len() > limit_bytes {
            return Broken::TooLong.into_failure(limit_bytes);
        }
        return Failure::executed(ErrorCode::GuestError, message.clone());
    }
    if let Err(broken) = writer.value(ty, value) {
        return broken.into_failure(limit_bytes);
    }
    match raw(writer.text) {
        Ok(details) => {
            let message = readable(value).unwrap_or_else(|| details.get().to_owned());
            Failure::executed(ErrorCode::GuestError, message).with_details(details)
        }
        Err(failure) => failure,
    }
}

/// A rendering for people: `not_found: no such city`. Only what reads better than JSON.
fn readable(value: &Val) -> Option<String> {
    match value {
        Val::String(text) => Some(text.clone()),
        Val::Enum(label) | Val::Variant(label, None) => Some(spelt(label)),
        Val::Variant(tag, Some(payload)) => {
            readable(payload).map(|payload| format!("{}: {payload}", spelt(tag)))
        }
        Val::Option(Some(inner)) => readable(inner),
        Val::Record(fields) => fields.iter().find_map(|(name, value)| match value {
            Val::String(text) if name == "message" => Some(text.clone()),
            _ => None,
        }),
        _ => None,
    }
}

fn spelt(wit: &str) -> String {
    aop_core::schema::identifier(wit)
}

fn raw(text: String) -> Result<Box<RawValue>, Failure> {
    RawValue::from_string(text).map_err(|error| {
        Failure::executed(
            ErrorCode::Internal,
            format!("the host wrote a result that is not JSON: {error}"),
        )
    })
}

/// Why values could not be written.
enum Broken {
    TooLong,
    Mismatch,
}

impl Broken {
    fn into_failure(self, limit_bytes: usize) -> Failure {
        match self {
            Self::TooLong => Failure::executed(
                ErrorCode::GuestLimit,
                format!("the agent's result has more than {limit_bytes} bytes as JSON"),
            ),
            Self::Mismatch => Failure::executed(
                ErrorCode::BadOutput,
                "the agent's result is not of the type it declares",
            ),
        }
    }
}

struct Writer<'a> {
    interface: &'a Interface,
    text: String,
    limit_bytes: usize,
}

impl<'a> Writer<'a> {
    fn new(interface: &'a Interface, limit_bytes: usize) -> Self {
        Self { interface, text: String::new(), limit_bytes }
    }

    /// Called before a piece of `bytes` at least, and after the last one.
    fn reserve(&self, bytes: usize) -> Result<(), Broken> {
        if self.text.len().saturating_add(bytes) > self.limit_bytes {
            return Err(Broken::TooLong);
        }
        Ok(())
    }

    fn value(&mut self, ty: TypeId, value: &Val) -> Result<(), Broken> {
        use TypeKind as K;
        match (&self.interface.get(ty).kind, value) {
            (K::Bool, Val::Bool(value)) => self.display(value),
            (K::U8, Val::U8(value)) => self.display(value),
            (K::U16, Val::U16(value)) => self.display(value),
            (K::U32, Val::U32(value)) => self.display(value),
            (K::S8, Val::S8(value)) => self.display(value),
            (K::S16, Val::S16(value)) => self.display(value),
            (K::S32, Val::S32(value)) => self.display(value),
            (K::U64, Val::U64(value)) => self.wide(value, *value),
            (K::S64, Val::S64(value)) => self.wide(value, value.unsigned_abs()),
            (K::F32, Val::Float32(value)) => self.float(value, f64::from(*value)),
            (K::F64, Val::Float64(value)) => self.float(value, *value),
            (K::Char, Val::Char(value)) => self.quoted(value.encode_utf8(&mut [0; 4]))?,
            // The string that was put in the place of a handle.
            (K::String | K::Own(_), Val::String(value)) => self.quoted(value)?,
            (K::List(of), Val::List(items)) if matches!(self.interface.get(*of).kind, K::U8) => {
                self.bytes(items)?;
            }
            (K::List(of), Val::List(items)) => self.list(*of, items)?,
            (K::FixedList(of, length), Val::FixedLengthList(items))
                if items.len() == *length as usize =>
            {
                self.list(*of, items)?;
            }
            (K::Tuple(types), Val::Tuple(items)) if types.len() == items.len() => {
                self.sequence(types.iter().copied().zip(items))?;
            }
            (K::Map(key, of), Val::Map(pairs)) => self.map(*key, *of, pairs)?,
            (K::Option(_), Val::Option(None)) => self.text.push_str("null"),
            (K::Option(of), Val::Option(Some(inner))) => {
                if matches!(self.interface.get(*of).kind, K::Option(_)) {
                    self.text.push_str(r#"{"some":"#);
                    self.value(*of, inner)?;
                    self.text.push('}');
                } else {
                    self.value(*of, inner)?;
                }
            }
            (K::Record(fields), Val::Record(values)) if fields.len() == values.len() => {
                self.record(fields, values)?;
            }
            (K::Variant(cases), Val::Variant(tag, payload)) => {
                let case = cases.iter().find(|case| case.name == *tag).ok_or(Broken::Mismatch)?;
                self.case(tag, case.ty, payload.as_deref())?;
            }
            (K::Result { ok, .. }, Val::Result(Ok(payload))) => {
                self.case("ok", *ok, payload.as_deref())?
            }
            (K::Result { err, .. }, Val::Result(Err(payload))) => {
                self.case("err", *err, payload.as_deref())?;
            }
            (K::Enum(labels), Val::Enum(label)) if labels.iter().any(|l| l.name == *label) => {
                self.identifier(label);
            }
            (K::Flags(_), Val::Flags(labels)) => {
                self.text.push('[');
                for (index, label) in labels.iter().enumerate() {
                    self.comma(index);
                    self.identifier(label);
                }
                self.text.push(']');
            }
            _ => return Err(Broken::Mismatch),
        }
        self.reserve(0)
    }

    fn record(
        &mut self,
        fields: &[aop_core::interface::Field],
        values: &[(String, Val)],
    ) -> Result<(), Broken> {
        self.text.push('{');
        let mut written = 0;
        for (field, (name, value)) in fields.iter().zip(values) {
            if field.name != *name {
                return Err(Broken::Mismatch);
            }
            if matches!(value, Val::Option(None)) {
                continue;
            }
            self.comma(written);
            self.identifier(name);
            self.text.push(':');
            self.value(field.ty, value)?;
            written += 1;
        }
        self.text.push('}');
        Ok(())
    }

    fn case(&mut self, tag: &str, ty: Option<TypeId>, payload: Option<&Val>) -> Result<(), Broken> {
        self.text.push_str(r#"{"tag":"#);
        self.identifier(tag);
        match (ty, payload) {
            (Some(ty), Some(value)) => {
                self.text.push_str(r#","val":"#);
                self.value(ty, value)?;
            }
            (None, None) => {}
            _ => return Err(Broken::Mismatch),
        }
        self.text.push('}');
        Ok(())
    }

    fn list(&mut self, ty: TypeId, items: &[Val]) -> Result<(), Broken> {
        self.sequence(items.iter().map(|item| (ty, item)))
    }

    fn sequence<'v>(
        &mut self,
        items: impl Iterator<Item = (TypeId, &'v Val)>,
    ) -> Result<(), Broken> {
        self.text.push('[');
        for (index, (ty, item)) in items.enumerate() {
            self.comma(index);
            self.value(ty, item)?;
        }
        self.text.push(']');
        self.reserve(0)
    }

    /// A guest may repeat a key, and the last one counts; a JSON object must not.
    fn map(&mut self, key: TypeId, of: TypeId, pairs: &[(Val, Val)]) -> Result<(), Broken> {
        if !matches!(self.interface.get(key).kind, TypeKind::String) {
            self.text.push('[');
            for (index, (name, value)) in pairs.iter().enumerate() {
                self.comma(index);
                self.sequence([(key, name), (of, value)].into_iter())?;
            }
            self.text.push(']');
            return Ok(());
        }
        let mut last = HashMap::with_capacity(pairs.len());
        for (index, (name, _)) in pairs.iter().enumerate() {
            let Val::String(name) = name else { return Err(Broken::Mismatch) };
            last.insert(name.as_str(), index);
        }
        self.text.push('{');
        let mut written = 0;
        for (index, (name, value)) in pairs.iter().enumerate() {
            let Val::String(name) = name else { return Err(Broken::Mismatch) };
            if last.get(name.as_str()) == Some(&index) {
                self.comma(written);
                self.quoted(name)?;
                self.text.push(':');
                self.value(of, value)?;
                written += 1;
            }
        }
        self.text.push('}');
        Ok(())
    }

    fn bytes(&mut self, items: &[Val]) -> Result<(), Broken> {
        self.reserve(items.len() / 3 * 4)?;
        self.text.push('"');
        let mut chunk = Vec::with_capacity(items.len().min(BASE64_CHUNK_BYTES));
        for part in items.chunks(BASE64_CHUNK_BYTES) {
            chunk.clear();
            for item in part {
                let Val::U8(byte) = item else { return Err(Broken::Mismatch) };
                chunk.push(*byte);
            }
            BASE64.encode_string(&chunk, &mut self.text);
        }
        self.text.push('"');
        Ok(())
    }

    fn wide(&mut self, value: &dyn std::fmt::Display, magnitude: u64) {
        if magnitude <= EXACT_INTEGER_MAX {
            self.display(value);
        } else {
            let _ = write!(self.text, "\"{value}\"");
        }
    }

    fn float(&mut self, value: &dyn std::fmt::Debug, wide: f64) {
        if wide.is_finite() {
            // `Debug` is the shortest text that reads back as the same number, and JSON.
            let _ = write!(self.text, "{value:?}");
        } else if wide.is_nan() {
            self.text.push_str("\"NaN\"");
        } else if wide.is_sign_positive() {
            self.text.push_str("\"Infinity\"");
        } else {
            self.text.push_str("\"-Infinity\"");
        }
    }

    fn display(&mut self, value: &dyn std::fmt::Display) {
        // Writing into a String cannot fail.
        let _ = write!(self.text, "{value}");
    }

    /// A WIT identifier, which needs no escapes, in its JSON spelling.
    fn identifier(&mut self, wit: &str) {
        self.text.push('"');
        self.text.extend(wit.chars().map(|c| if c == '-' { '_' } else { c }));
        self.text.push('"');
    }

    fn quoted(&mut self, text: &str) -> Result<(), Broken> {
        self.reserve(text.len() + 2)?;
        self.text.push('"');
        let mut plain = 0;
        for (index, byte) in text.bytes().enumerate() {
            let escape = match byte {
                b'"' => "\\\"",
                b'\\' => "\\\\",
                b'\n' => "\\n",
                b'\r' => "\\r",
                b'\t' => "\\t",
                0..=0x1f => "",
                _ => continue,
            };
            self.text.push_str(&text[plain..index]);
            plain = index + 1;
            if escape.is_empty() {
                let _ = write!(self.text, "\\u{byte:04x}");
                // Escapes make the text longer than was reserved.
                self.reserve(0)?;
            } else {
                self.text.push_str(escape);
            }
        }
        self.text.push_str(&text[plain..]);
        self.text.push('"');
        self.reserve(0)
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.text.push(',');
        }
    }
}

/// Writes the items of a stream as they come.
pub(crate) struct StreamEncoder {
    interface: Arc<Interface>,
    item: TypeId,
    text: String,
    limit_bytes: usize,
}

impl StreamEncoder {
    pub(super) fn new(
        interface: &Arc<Interface>,
        shape: ResultShape,
        limit_bytes: usize,
    ) -> Option<Self> {
        let ResultValue::Stream(item) = shape.value else { return None };
        Some(Self { interface: Arc::clone(interface), item, text: "[".to_owned(), limit_bytes })
    }

    /// Adds an item and answers its JSON, for a progress report.
    ///
    /// # Errors
    /// As of [`FunctionCodec::encode`](super::FunctionCodec::encode).
    pub(crate) fn push(&mut self, item: &Val) -> Result<&str, Failure> {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        let start = self.text.len();
        let text = std::mem::take(&mut self.text);
        let mut writer = Writer { interface: &self.interface, text, limit_bytes: self.limit_bytes };
        let written = writer.value(self.item, item);
        self.text = writer.text;
        written.map_err(|broken| broken.into_failure(self.limit_bytes))?;
        Ok(&self.text[start..])
    }

    /// Whether what is left to do takes longer than a guest's slice: the whole text is read once more.
    pub(crate) const fn is_large(&self) -> bool {
        self.text.len() > AT_ONCE_MAX_BYTES
    }

    /// The array of all items.
    ///
    /// # Errors
    /// `guest_limit` when the closing bracket passes the limit.
    pub(crate) fn finish(mut self) -> Result<Output, Failure> {
        self.text.push(']');
        if self.text.len() > self.limit_bytes {
            return Err(Broken::TooLong.into_failure(self.limit_bytes));
        }
        Ok(Output { json: raw(self.text)?, shown: Shown::Json })
    }
}

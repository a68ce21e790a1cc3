//! From the type table to JSON Schema 2020-12, in the subset that model APIs accept.
//!
//! The text is written directly, so that properties keep the order of the WIT. Types are inlined;
//! a component can fan out exponentially that way (458 bytes made 11 MB), so inlining stops at
//! [`NODES_MAX`] schema nodes and the schema is written again with `$defs`, where every type
//! appears once and the size is linear in the type table.

mod notes;
mod sequences;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::shape::{ResultError, ResultShape, ResultValue};
use super::{SchemaError, identifier, standard};
use crate::interface::{Case, Field, Function, Interface, Label, TypeId, TypeKind};
use crate::{ErrorCode, RepeatedParameter};

/// Schema nodes and enum values that may be inlined. Model APIs count properties in the low thousands, and a model
/// reads all of them.
pub(super) const NODES_MAX: usize = 1_000;

/// Bytes that may be inlined: doc comments repeat with the type they describe.
const INLINE_MAX_BYTES: usize = 64 << 10;

/// Bytes of one schema: far more than a model would read, so only an attack gets there.
pub(super) const SCHEMA_MAX_BYTES: usize = 256 << 10;

/// The largest finite f32. A number beyond it would silently become infinite.
const F32_MAX: &str = "3.4028234663852886e38";

/// The input schema of a function: a plain object with a property per parameter, which says whether an HTTP
/// header repeats it.
///
/// # Errors
/// [`SchemaError::TooLarge`].
pub fn input_schema(
    interface: &Interface,
    function: &Function,
    headers: &[RepeatedParameter],
) -> Result<Box<RawValue>, SchemaError> {
    let is_standard = standard::is_run(interface, function);
    render(interface, Side::Input, |renderer| {
        renderer.object(&function.parameters, |field| {
            let name = identifier(&field.name);
            let repeated = headers.iter().find(|repeated| repeated.parameter == name);
            let own = field.docs.as_deref();
            Said {
                docs: own.or(standard::description(&field.name).filter(|_| is_standard)),
                header: repeated.map(|repeated| repeated.header.as_str()),
            }
        });
    })
}

/// The output schema of a function: the envelope as a plain object, which both of its forms fit.
///
/// # Errors
/// [`SchemaError::TooLarge`].
pub fn output_schema(
    interface: &Interface,
    function: &Function,
) -> Result<Box<RawValue>, SchemaError> {
    let shape = ResultShape::of(interface, function);
    let response = standard::is_run(interface, function).then_some(standard::RESPONSE);
    render(interface, Side::Output, |renderer| renderer.envelope(shape, response))
}

/// Which way the values go: what a handle is worth depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Input,
    Output,
}

fn render(
    interface: &Interface,
    side: Side,
    write: impl Fn(&mut Renderer<'_>),
) -> Result<Box<RawValue>, SchemaError> {
    let mut renderer = Renderer::new(interface, side, None);
    write(&mut renderer);
    if renderer.is_over() {
        renderer = Renderer::new(interface, side, Some(Definitions::default()));
        write(&mut renderer);
        renderer.definitions();
    }
    renderer.text.push('}');
    if renderer.is_over() {
        return Err(SchemaError::TooLarge);
    }
    RawValue::from_string(renderer.text).map_err(SchemaError::Malformed)
}

/// What is said of a property besides its type.
struct Said<'a> {
    docs: Option<&'a str>,
    /// The HTTP header that repeats it.
    header: Option<&'a str>,
}

/// Types that were referred to, in the order of the first reference.
#[derive(Default)]
struct Definitions {
    order: Vec<TypeId>,
    known: BTreeSet<TypeId>,
}

struct Renderer<'a> {
    interface: &'a Interface,
    side: Side,
    text: String,
    nodes: usize,
    /// With `$defs`: every type that was referred to.
    defined: Option<Definitions>,
}

impl<'a> Renderer<'a> {
    fn new(interface: &'a Interface, side: Side, defined: Option<Definitions>) -> Self {
        Self { interface, side, text: String::new(), nodes: 0, defined }
    }

    fn is_over(&self) -> bool {
        match self.defined {
            None => self.nodes > NODES_MAX || self.text.len() > INLINE_MAX_BYTES,
            Some(_) => self.text.len() > SCHEMA_MAX_BYTES,
        }
    }

    fn kind(&self, id: TypeId) -> &'a TypeKind {
        &self.interface.get(id).kind
    }

    /// Writes `{"type":"object",…` without the closing brace.
    fn object<'f>(&mut self, fields: &'f [Field], said: impl Fn(&'f Field) -> Said<'f>) {
        self.text.push_str(r#"{"type":"object","properties":{"#);
        for (index, field) in fields.iter().enumerate() {
            self.comma(index);
            self.quoted(&identifier(&field.name));
            self.text.push(':');
            match said(field) {
                Said { docs, header: None } => self.schema(field.ty, docs),
                Said { docs, header: Some(header) } => self.repeated(field.ty, docs, header),
            }
        }
        self.text.push('}');
        let required = fields.iter().filter(|f| !matches!(self.kind(f.ty), TypeKind::Option(_)));
        let required: Vec<_> = required.map(|field| identifier(&field.name)).collect();
        if !required.is_empty() {
            self.text.push_str(r#","required":"#);
            self.strings(required.iter().map(String::as_str));
        }
        self.text.push_str(r#","additionalProperties":false"#);
    }

    fn envelope(&mut self, shape: ResultShape, response: Option<&str>) {
        self.text.push_str(r#"{"type":"object","properties":{"success":{"type":"boolean","description":"Whether the call succeeded"},"result":"#);
        match shape.value {
            ResultValue::Nothing => self.text.push_str(r#"{"type":"null"}"#),
            ResultValue::One(id) => self.schema(id, response),
            ResultValue::Stream(item) => {
                self.text.push_str(r#"{"type":"array","items":"#);
                self.schema(item, None);
                self.text.push('}');
            }
        }
        self.text.push_str(
            r#","error":{"type":"string","description":"What went wrong"},"code":{"type":"string","enum":"#,
        );
        self.strings(ErrorCode::ALL.iter().map(|code| code.as_str()));
        self.text.push_str(r#"},"details":"#);
        let violations = r#"{"type":"array","items":{"type":"object","properties":{"pointer":{"type":"string"},"message":{"type":"string"}},"required":["pointer","message"],"additionalProperties":false},"description":"Every way in which the arguments do not fit the input schema"}"#;
        match shape.error {
            ResultError::Typed(id) if !matches!(self.kind(id), TypeKind::String) => {
                self.text.push_str(r#"{"anyOf":["#);
                self.alternative(id);
                self.text.push(',');
                self.text.push_str(violations);
                self.text.push_str("]}");
            }
            _ => self.text.push_str(violations),
        }
        self.text.push_str(r#","retry_after_ms":{"type":"integer","minimum":0,"description":"When to try again"}},"required":["success"]"#);
    }

    /// Writes the `$defs` of every type referred to; writing one may refer to more.
    fn definitions(&mut self) {
        self.text.push_str(r#","$defs":{"#);
        let mut index = 0;
        while let Some(id) = self.defined.as_ref().and_then(|all| all.order.get(index).copied()) {
            self.comma(index);
            let name = self.definition_name(id);
            self.quoted(&name);
            self.text.push(':');
            self.body(id, None);
            index += 1;
        }
        self.text.push('}');
    }

    /// Unique, since the index is.
    fn definition_name(&self, id: TypeId) -> String {
        match &self.interface.get(id).name {
            Some(name) => format!("{}_{}", identifier(name), id.0),
            None => format!("type_{}", id.0),
        }
    }

    /// The schema of a type as one node. `docs` are those of the place that has the type.
    fn schema(&mut self, id: TypeId, docs: Option<&str>) {
        self.nodes += 1;
        if self.is_over() {
            return;
        }
        if !self.refers(id) {
            return self.body(id, docs);
        }
        // Nothing may stand beside a `$ref`: several readers drop it.
        match docs {
            None => self.reference(id),
            Some(docs) => {
                self.text.push_str(r#"{"anyOf":["#);
                self.reference(id);
                self.text.push_str(r#"],"description":"#);
                self.quoted(docs);
                self.text.push('}');
            }
        }
    }

    /// The schema of a parameter that a header repeats: in place, since clients look for the type beside the header.
    fn repeated(&mut self, id: TypeId, docs: Option<&str>, header: &str) {
        self.nodes += 1;
        if self.is_over() {
            return;
        }
        self.body(id, docs);
        // The brace that ends the node.
        self.text.pop();
        self.text.push_str(r#","x-mcp-header":"#);
        self.quoted(header);
        self.text.push('}');
    }

    /// Whether a type stands in `$defs` instead of where it is used.
    fn refers(&self, id: TypeId) -> bool {
        let leaf = |id| {
            use TypeKind::{
                Bool, Borrow, Char, F32, F64, Own, S8, S16, S32, S64, String, U8, U16, U32, U64,
            };
            matches!(
                self.kind(id),
                Own(_)
                    | Borrow(_)
                    | Bool
                    | U8
                    | U16
                    | U32
                    | U64
                    | S8
                    | S16
                    | S32
                    | S64
                    | F32
                    | F64
                    | Char
                    | String
            )
        };
        // An option stays where it is, so that its property can be seen to be optional.
        self.defined.is_some() && !leaf(id) && !matches!(self.kind(id), TypeKind::Option(_))
    }

    fn reference(&mut self, id: TypeId) {
        let name = self.definition_name(id);
        let _ = write!(self.text, r##"{{"$ref":"#/$defs/{name}"}}"##);
        if let Some(defined) = &mut self.defined
            && defined.known.insert(id)
        {
            defined.order.push(id);
        }
    }

    /// A type that is one of several alternatives beside others.
    fn alternative(&mut self, id: TypeId) {
        if is_union(self.kind(id)) && !self.refers(id) {
            self.nodes += 1;
            if !self.is_over() {
                self.alternatives(id);
            }
        } else {
            self.schema(id, None);
        }
    }

    fn body(&mut self, id: TypeId, docs: Option<&str>) {
        use TypeKind as K;
        let kind = self.kind(id);
        match kind {
            K::Bool => self.text.push_str(r#"{"type":"boolean""#),
            K::U8 => self.integer(0, u8::MAX.into()),
            K::U16 => self.integer(0, u16::MAX.into()),
            K::U32 => self.integer(0, u32::MAX.into()),
            K::S8 => self.integer(i8::MIN.into(), i8::MAX.into()),
            K::S16 => self.integer(i16::MIN.into(), i16::MAX.into()),
            K::S32 => self.integer(i32::MIN.into(), i32::MAX.into()),
            K::Char => self.text.push_str(r#"{"type":"string","minLength":1,"maxLength":1"#),
            K::String | K::Own(_) | K::Borrow(_) => self.text.push_str(r#"{"type":"string""#),
            K::List(of) if matches!(self.kind(*of), K::U8) => {
                self.text.push_str(r#"{"type":"string","contentEncoding":"base64""#);
            }
            K::List(of) | K::Stream(of) => {
                self.text.push_str(r#"{"type":"array","items":"#);
                self.schema(*of, None);
            }
            K::FixedList(of, length) => self.fixed_list(*of, *length),
            K::Tuple(types) => self.tuple(types),
            K::Map(key, value) => self.map(*key, *value),
            K::Record(fields) => {
                self.object(fields, |field| Said { docs: field.docs.as_deref(), header: None })
            }
            K::Enum(labels) => {
                self.text.push_str(r#"{"type":"string","enum":"#);
                self.labels(labels);
            }
            K::Flags(labels) => {
                self.text.push_str(r#"{"type":"array","items":{"type":"string","enum":"#);
                self.labels(labels);
                self.text.push_str(r#"},"uniqueItems":true"#);
            }
            // Only at the top of a function's result, where the envelope has taken it off.
            K::Future(_) => self.text.push_str(r#"{"type":"null""#),
            K::U64 | K::S64 | K::F32 | K::F64 | K::Option(_) | K::Variant(_) | K::Result { .. } => {
                self.text.push_str(r#"{"anyOf":["#);
                self.alternatives(id);
                self.text.push(']');
            }
        }
        if let Some(description) = self.description(id, docs) {
            self.text.push_str(r#","description":"#);
            self.quoted(&description);
        }
        self.text.push('}');
    }

    /// The members of a union, without the brackets, so that unions inside unions are one.
    fn alternatives(&mut self, id: TypeId) {
        use TypeKind as K;
        match self.kind(id) {
            K::U64 => self.text.push_str(
                r#"{"type":"integer","minimum":0},{"type":"string","pattern":"^(0|[1-9][0-9]{0,19})$"}"#,
            ),
            K::S64 => self.text.push_str(
                r#"{"type":"integer"},{"type":"string","pattern":"^(0|-?[1-9][0-9]{0,18})$"}"#,
            ),
            K::F32 => {
                let _ = write!(
                    self.text,
                    r#"{{"type":"number","minimum":-{F32_MAX},"maximum":{F32_MAX}}},"#
                );
                self.not_finite();
            }
            K::F64 => {
                self.text.push_str(r#"{"type":"number"},"#);
                self.not_finite();
            }
            K::Option(inner) => {
                if matches!(self.kind(*inner), K::Option(_)) {
                    self.text.push_str(r#"{"type":"object","properties":{"some":"#);
                    self.schema(*inner, None);
                    self.text.push_str(r#"},"required":["some"],"additionalProperties":false}"#);
                } else {
                    self.alternative(*inner);
                }
                self.text.push_str(r#",{"type":"null"}"#);
            }
            K::Variant(cases) => {
                for (index, Case { name, docs, ty }) in cases.iter().enumerate() {
                    self.comma(index);
                    self.case(name, *ty, docs.as_deref());
                }
            }
            K::Result { ok, err } => {
                self.case("ok", *ok, None);
                self.text.push(',');
                self.case("err", *err, None);
            }
            _ => self.schema(id, None),
        }
    }

    fn not_finite(&mut self) {
        self.text.push_str(r#"{"type":"string","enum":["NaN","Infinity","-Infinity"]}"#);
    }

    fn case(&mut self, name: &str, payload: Option<TypeId>, docs: Option<&str>) {
        self.nodes += 2;
        if self.is_over() {
            return;
        }
        self.text.push_str(r#"{"type":"object","properties":{"tag":{"type":"string","enum":["#);
        self.quoted(&identifier(name));
        self.text.push_str("]}");
        if let Some(payload) = payload {
            self.text.push_str(r#","val":"#);
            self.schema(payload, None);
            self.text.push_str(r#"},"required":["tag","val"]"#);
        } else {
            self.text.push_str(r#"},"required":["tag"]"#);
        }
        self.text.push_str(r#","additionalProperties":false"#);
        if let Some(docs) = docs {
            self.text.push_str(r#","description":"#);
            self.quoted(docs);
        }
        self.text.push('}');
    }

    fn integer(&mut self, minimum: i64, maximum: i64) {
        let _ = write!(self.text, r#"{{"type":"integer","minimum":{minimum},"maximum":{maximum}"#);
    }

    fn labels(&mut self, labels: &[Label]) {
        // Model APIs count these as well.
        self.nodes += labels.len();
        let labels: Vec<_> = labels.iter().map(|label| identifier(&label.name)).collect();
        self.strings(labels.iter().map(String::as_str));
    }

    fn strings<'s>(&mut self, strings: impl Iterator<Item = &'s str>) {
        self.text.push('[');
        for (index, text) in strings.enumerate() {
            self.comma(index);
            self.quoted(text);
        }
        self.text.push(']');
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.text.push(',');
        }
    }

    fn quoted(&mut self, text: &str) {
        let _ = write!(self.text, "{}", serde_json::Value::from(text));
    }
}

fn is_union(kind: &TypeKind) -> bool {
    use TypeKind as K;
    matches!(
        kind,
        K::U64 | K::S64 | K::F32 | K::F64 | K::Option(_) | K::Variant(_) | K::Result { .. }
    )
}

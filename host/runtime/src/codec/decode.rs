//! Arguments: from JSON text to values in one pass.
//!
//! The visitor never stops at a value that does not fit: it notes the violation with its pointer,
//! skips the value and goes on, so one answer tells a caller everything that is wrong. Only broken
//! JSON and a passed bound end it early. Depth is bounded by the types (`derive` bounds those) and,
//! for what is skipped, by `serde_json`, which skips without recursion.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt::{self, Write as _};

use aop_core::Violation;
use aop_core::interface::{Field, Interface, TypeId, TypeKind};
use aop_core::schema::identifier;
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use wasmtime::component::Val;

use super::VAL_BYTES;
use index::{Index, Known};
use keys::{KeySeed, NameSeed};
use visit::PairSeed;
use words::{Special, canonical, excerpt, expected, not_finite};

mod case;
mod index;
mod keys;
mod taken;
mod visit;
mod words;

pub(super) use index::Names;
pub(crate) use taken::{Decoded, Taken};

/// Violations that are reported. More would not help anybody.
pub(crate) const VIOLATIONS_MAX: usize = 32;

/// What the values of one call may take in memory. A request of the 4 MiB that the edges let in
/// holds at most 3 MiB of base64, which is 120 MiB of values.
pub(super) const VALUES_MAX_BYTES: usize = 128 << 20;

/// Integers up to here are exact as floating point numbers: `5.0` is taken as 5, but not a number
/// that may have been rounded on its way.
const EXACT_FLOAT_MAX: f64 = 9_007_199_254_740_991.0;

/// Padding may be left out, as many encoders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

pub(super) fn arguments(
    interface: &Interface,
    names: &Names,
    function: usize,
    text: &str,
) -> Result<Decoded, Vec<Violation>> {
    let context = Context {
        interface,
        names,
        taken: RefCell::new(Vec::new()),
        violations: RefCell::new(Vec::new()),
        bytes_left: Cell::new(VALUES_MAX_BYTES),
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let seed = ArgumentsSeed { context: &context, function };
    let outcome =
        seed.deserialize(&mut deserializer).and_then(|values| deserializer.end().map(|()| values));
    let violations = context.violations.into_inner();
    match outcome {
        Ok(values) if violations.is_empty() => {
            Ok(Decoded { values, taken: context.taken.into_inner() })
        }
        Err(error) if !error.is_data() || violations.is_empty() => Err(vec![Violation {
            pointer: String::new(),
            message: if error.is_data() {
                "the arguments are not a JSON object with the parameters as its properties"
                    .to_owned()
            } else {
                format!("the arguments are not valid JSON: {error}")
            },
        }]),
        _ => Err(violations),
    }
}

/// What one decoding shares.
struct Context<'a> {
    interface: &'a Interface,
    names: &'a Names,
    taken: RefCell<Vec<Taken>>,
    violations: RefCell<Vec<Violation>>,
    bytes_left: Cell<usize>,
}

impl<'a> Context<'a> {
    fn kind(&self, id: TypeId) -> &'a TypeKind {
        &self.interface.get(id).kind
    }

    fn violation(&self, path: &Path<'_>, message: impl FnOnce() -> String) {
        let mut violations = self.violations.borrow_mut();
        if violations.len() < VIOLATIONS_MAX {
            violations.push(Violation { pointer: path.to_string(), message: message() });
        }
    }

    /// Counts memory that values are about to take. Also the place where decoding gives up: what
    /// has as many violations as are reported is not worth the rest of the work.
    fn charge<E: de::Error>(&self, path: &Path<'_>, bytes: usize) -> Result<(), E> {
        if self.violations.borrow().len() == VIOLATIONS_MAX {
            return Err(E::custom("there are too many violations"));
        }
        match self.bytes_left.get().checked_sub(bytes) {
            Some(left) => {
                self.bytes_left.set(left);
                Ok(())
            }
            None => {
                let limit = VALUES_MAX_BYTES >> 20;
                self.violation(path, || {
                    format!(
                        "the arguments take more than {limit} MiB of memory up to here: send less"
                    )
                });
                Err(E::custom("the arguments take too much memory"))
            }
        }
    }
}

/// Where a value is: a chain on the stack, so that a valid call allocates nothing for it.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    /// A WIT identifier, in its JSON spelling.
    Field(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

/// RFC 6901.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Index(parent, index) => write!(f, "{parent}/{index}"),
            Self::Field(parent, name) => write!(f, "{parent}/{}", identifier(name)),
            Self::Key(parent, key) => {
                write!(f, "{parent}/")?;
                key.chars().try_for_each(|c| match c {
                    '~' => f.write_str("~0"),
                    '/' => f.write_str("~1"),
                    c => f.write_char(c),
                })
            }
        }
    }
}

struct ArgumentsSeed<'a> {
    context: &'a Context<'a>,
    /// Which of the interface's functions.
    function: usize,
}

impl<'de> DeserializeSeed<'de> for ArgumentsSeed<'_> {
    type Value = Vec<Val>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Val>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ArgumentsSeed<'_> {
    type Value = Vec<Val>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the parameters as properties")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Val>, A::Error> {
        let parameters = &self.context.interface.functions[self.function].parameters;
        let index = self.context.names.of_parameters(self.function);
        fields(self.context, &Path::Root, parameters, index, map)
    }
}

/// Decodes the properties of an object into one value per field, in the order of the fields.
fn fields<'de, A: MapAccess<'de>>(
    context: &Context<'_>,
    path: &Path<'_>,
    fields: &[Field],
    index: Option<&Index>,
    mut map: A,
) -> Result<Vec<Val>, A::Error> {
    context.charge(path, fields.len() * (VAL_BYTES + size_of::<String>()))?;
    let mut slots: Vec<Option<Val>> = Vec::new();
    slots.resize_with(fields.len(), || None);
    let name_of = |index: usize| fields.get(index).map(|field| field.name.as_str());
    let known = Known { name_of: &name_of, index };
    let mut next = 0;
    while let Some(key) = map.next_key_seed(KeySeed { known, next })? {
        let Some(index) = key.expect_new(context, path, &name_of, |i| slots[i].is_some()) else {
            map.next_value::<IgnoredAny>()?;
            context.charge(path, 0)?;
            continue;
        };
        let field = &fields[index];
        let at = Path::Field(path, &field.name);
        slots[index] = Some(map.next_value_seed(Seed { context, ty: field.ty, path: &at })?);
        next = index + 1;
    }
    let complete = slots.into_iter().zip(fields).map(|(slot, field)| match slot {
        Some(value) => value,
        None if matches!(context.kind(field.ty), TypeKind::Option(_)) => Val::Option(None),
        None => {
            context.violation(&Path::Field(path, &field.name), || {
                format!("required, and missing: expected {}", expected(context, field.ty))
            });
            UNFIT
        }
    });
    Ok(complete.collect())
}

/// Stands for a value that did not fit. It never leaves this module.
const UNFIT: Val = Val::Bool(false);

/// Decodes one value of a type.
struct Seed<'a> {
    context: &'a Context<'a>,
    ty: TypeId,
    path: &'a Path<'a>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Val;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Val, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Seed<'a> {
    fn kind(&self) -> &'a TypeKind {
        self.context.kind(self.ty)
    }

    /// The index of the type's names, when it is a wide one.
    fn index(&self) -> Option<&'a Index> {
        self.context.names.of_type(self.ty)
    }

    /// The seed of an option's payload, when that is written without a wrapper.
    fn inner(&self) -> Option<Self> {
        match self.kind() {
            TypeKind::Option(of) if !matches!(self.context.kind(*of), TypeKind::Option(_)) => {
                Some(Self { context: self.context, ty: *of, path: self.path })
            }
            _ => None,
        }
    }

    fn unfit(&self, found: impl FnOnce() -> String) -> Val {
        self.context.violation(self.path, || {
            format!("expected {}, found {}", expected(self.context, self.ty), found())
        });
        UNFIT
    }

    fn integer(&self, value: i128) -> Val {
        use TypeKind as K;
        let fitting = match self.kind() {
            K::U8 => u8::try_from(value).ok().map(Val::U8),
            K::U16 => u16::try_from(value).ok().map(Val::U16),
            K::U32 => u32::try_from(value).ok().map(Val::U32),
            K::U64 => u64::try_from(value).ok().map(Val::U64),
            K::S8 => i8::try_from(value).ok().map(Val::S8),
            K::S16 => i16::try_from(value).ok().map(Val::S16),
            K::S32 => i32::try_from(value).ok().map(Val::S32),
            K::S64 => i64::try_from(value).ok().map(Val::S64),
            _ => None,
        };
        fitting.unwrap_or_else(|| self.unfit(|| format!("the number {value}")))
    }

    fn float(&self, value: f64) -> Val {
        match self.kind() {
            TypeKind::F64 => Val::Float64(value),
            #[expect(clippy::cast_possible_truncation, reason = "rounding is what f32 means")]
            TypeKind::F32 if value.abs() <= f64::from(f32::MAX) => Val::Float32(value as f32),
            TypeKind::U64 | TypeKind::S64 if value.abs() > EXACT_FLOAT_MAX => {
                self.unfit(|| format!("the number {value:e}, which is not exact: send a string"))
            }
            _ if value.fract() == 0.0 && value.abs() <= EXACT_FLOAT_MAX =>
            {
                #[expect(clippy::cast_possible_truncation, reason = "a whole number in range")]
                self.integer(value as i128)
            }
            _ => self.unfit(|| format!("the number {value}")),
        }
    }

    fn string<E: de::Error>(&self, text: &str) -> Result<Val, E> {
        use TypeKind as K;
        let found = || format!("the string \"{}\"", excerpt(text));
        let fitting = match self.kind() {
            K::String => {
                self.context.charge(self.path, text.len())?;
                Some(Val::String(text.to_owned()))
            }
            K::Char => {
                let mut chars = text.chars();
                chars.next().filter(|_| chars.next().is_none()).map(Val::Char)
            }
            K::Own(resource) => Some(self.handle(text, *resource, true)?),
            K::Borrow(resource) => Some(self.handle(text, *resource, false)?),
            K::Enum(labels) => {
                let name_of = |index: usize| labels.get(index).map(|label| label.name.as_str());
                let known = Known { name_of: &name_of, index: self.index() };
                known.find(text).map(|index| Val::Enum(labels[index].name.clone()))
            }
            K::U64 => canonical::<u64>(text).map(Val::U64),
            K::S64 => canonical::<i64>(text).map(Val::S64),
            K::F32 => not_finite(text).map(|value| match value {
                Special::NotANumber => Val::Float32(f32::NAN),
                Special::Infinity => Val::Float32(f32::INFINITY),
                Special::NegativeInfinity => Val::Float32(f32::NEG_INFINITY),
            }),
            K::F64 => not_finite(text).map(|value| match value {
                Special::NotANumber => Val::Float64(f64::NAN),
                Special::Infinity => Val::Float64(f64::INFINITY),
                Special::NegativeInfinity => Val::Float64(f64::NEG_INFINITY),
            }),
            K::List(of) if matches!(self.context.kind(*of), K::U8) => {
                // What is charged covers the decoded bytes as well: they are fewer than the values.
                self.context.charge(self.path, text.len() / 4 * 3 * VAL_BYTES)?;
                let bytes = BASE64.decode(text).ok();
                bytes.map(|bytes| Val::List(bytes.into_iter().map(Val::U8).collect()))
            }
            _ => None,
        };
        Ok(fitting.unwrap_or_else(|| self.unfit(found)))
    }

    fn items<'de, A: SeqAccess<'de>>(&self, of: TypeId, seq: &mut A) -> Result<Vec<Val>, A::Error> {
        let mut values = Vec::new();
        loop {
            let path = Path::Index(self.path, values.len());
            let seed = Seed { context: self.context, ty: of, path: &path };
            let Some(value) = seq.next_element_seed(seed)? else { return Ok(values) };
            self.context.charge(self.path, VAL_BYTES)?;
            values.push(value);
        }
    }

    /// Exactly `length` items, the type of each from `type_of`.
    fn exactly<'de, A: SeqAccess<'de>>(
        &self,
        length: usize,
        type_of: impl Fn(usize) -> TypeId,
        seq: &mut A,
    ) -> Result<Option<Vec<Val>>, A::Error> {
        let mut values = Vec::new();
        while values.len() < length {
            let path = Path::Index(self.path, values.len());
            let seed = Seed { context: self.context, ty: type_of(values.len()), path: &path };
            let Some(value) = seq.next_element_seed(seed)? else { break };
            self.context.charge(self.path, VAL_BYTES)?;
            values.push(value);
        }
        let mut count = values.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        if count == length {
            return Ok(Some(values));
        }
        self.context.violation(self.path, || format!("expected {length} items, found {count}"));
        Ok(None)
    }

    fn pairs<'de, A: SeqAccess<'de>>(
        &self,
        key: TypeId,
        value: TypeId,
        seq: &mut A,
    ) -> Result<Val, A::Error> {
        let mut pairs = Vec::new();
        loop {
            let path = Path::Index(self.path, pairs.len());
            let seed = PairSeed { context: self.context, key, value, path: &path };
            let Some(pair) = seq.next_element_seed(seed)? else { return Ok(Val::Map(pairs)) };
            pairs.push(pair);
        }
    }

    fn flags<'de, A: SeqAccess<'de>>(
        &self,
        labels: &[aop_core::interface::Label],
        seq: &mut A,
    ) -> Result<Val, A::Error> {
        let name_of = |index: usize| labels.get(index).map(|label| label.name.as_str());
        let known = Known { name_of: &name_of, index: self.index() };
        let mut is_set = vec![false; labels.len()];
        for position in 0.. {
            let path = Path::Index(self.path, position);
            let seed = NameSeed { context: self.context, path: &path, known };
            let Some(index) = seq.next_element_seed(seed)? else { break };
            let Some(index) = index else { continue };
            if std::mem::replace(&mut is_set[index], true) {
                self.context.violation(&path, || "given twice".to_owned());
            }
        }
        let set = labels.iter().zip(is_set).filter(|(_, set)| *set);
        let names: Vec<_> = set.map(|(label, _)| label.name.clone()).collect();
        let bytes = names.iter().map(|name| size_of::<String>() + name.len()).sum();
        self.context.charge(self.path, bytes)?;
        Ok(Val::Flags(names))
    }

    fn string_map<'de, A: MapAccess<'de>>(
        &self,
        value: TypeId,
        mut map: A,
    ) -> Result<Val, A::Error> {
        let mut pairs = Vec::new();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = Path::Key(self.path, &key);
            self.context.charge(&path, 2 * (VAL_BYTES + key.len()))?;
            let seed = Seed { context: self.context, ty: value, path: &path };
            let value = map.next_value_seed(seed)?;
            if !seen.insert(key.clone()) {
                self.context.violation(&Path::Key(self.path, &key), || "given twice".to_owned());
            }
            pairs.push((Val::String(key), value));
        }
        Ok(Val::Map(pairs))
    }

    /// `{"some": …}`, the payload of an option that is an option itself.
    fn wrapped<'de, A: MapAccess<'de>>(&self, of: TypeId, mut map: A) -> Result<Val, A::Error> {
        let name_of = |index: usize| (index == 0).then_some("some");
        let known = Known { name_of: &name_of, index: None };
        let mut some = None;
        while let Some(key) = map.next_key_seed(KeySeed { known, next: 0 })? {
            match key.expect_new(self.context, self.path, &name_of, |_| some.is_some()) {
                Some(_) => {
                    let path = Path::Key(self.path, "some");
                    let seed = Seed { context: self.context, ty: of, path: &path };
                    some = Some(map.next_value_seed(seed)?);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if some.is_none() {
            self.context.violation(&Path::Key(self.path, "some"), || {
                format!("required, and missing: expected {}", expected(self.context, of))
            });
        }
        self.context.charge(self.path, VAL_BYTES)?;
        Ok(Val::Option(some.map(Box::new)))
    }
}

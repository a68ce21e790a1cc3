//! JSON and component values: a type on the first line, the arguments of a function of that type on the others.
//!
//! A type is written in Polish notation, a character for each type and a digit for a count, so that most changes of a
//! type are another type: `b` bool, `1248` unsigned and `hijk` signed integers, `f` and `d` floats, `c` char, `s` string,
//! `l` list, `x` list of a fixed length, `m` map, `t` tuple, `w` doubled tuple, `o` option, `u` result, `r` record,
//! `v` variant, `e` enum, `g` flags; `-` where a payload may be missing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use aop_core::Envelope;
use aop_core::interface::TypeKind;
use jsonschema::Validator;
use serde_json::Value;
use wasmtime::component::Val;

use crate::codec::made::{LIMIT, Ty, identity, json_of, schemas};
use crate::codec::{FunctionCodec, VIOLATIONS_MAX};

/// Types of one input. Each is a character, and larger types say nothing that these do not.
const TYPES_MAX: usize = 24;
/// Types within types: the limit of components, less what `json_of` wraps around them.
const NESTING_MAX: usize = 12;
/// Functions that are kept, because making a schema's validator takes longer than everything else.
const MADE_MAX: usize = 512;

/// Reasons that JSON Schema cannot say: the alphabet of base64, bounds beyond 2^53, what is given twice, and memory.
const BEYOND_SCHEMA: [&str; 4] = ["base64", "decimal string", "given twice", "of memory"];

struct Made {
    ty: Ty,
    codec: FunctionCodec,
    input: Validator,
    output: Validator,
}

thread_local! {
    static MADE: RefCell<HashMap<String, Option<Rc<Made>>>> = RefCell::default();
}

/// Arguments for `f: func(value: T) -> T`: they fit the schema, become values, and come back as the same JSON value; or
/// every reason why not has a pointer to where.
pub fn value(text: &str) {
    let (line, arguments) = text.split_once('\n').unwrap_or((text, ""));
    let Some(made) = made(line) else { return };
    let whole = serde_json::from_str::<Value>(arguments).ok();
    let is_valid = whole.as_ref().is_some_and(|whole| made.input.is_valid(whole));
    match made.codec.decode(arguments) {
        Ok(decoded) => {
            assert!(is_valid, "{line} takes {arguments}");
            assert!(decoded.taken.is_empty());
            round_trips(&made, &decoded.values[0]);
        }
        Err(violations) => {
            assert!((1..=VIOLATIONS_MAX).contains(&violations.len()));
            for violation in &violations {
                assert!(is_pointer(&violation.pointer), "{violation:?}");
                assert!(!violation.message.is_empty());
                let is_beyond = BEYOND_SCHEMA.iter().any(|word| violation.message.contains(word));
                assert!(!is_valid || is_beyond, "{line} refuses {arguments}: {violation:?}");
            }
        }
    }
}

fn round_trips(made: &Made, value: &Val) {
    let json = json_of(&made.ty, value);
    let again = made.codec.decode(&format!("{{\"value\":{json}}}"));
    let values = again.map(|decoded| decoded.values);
    assert_eq!(values.as_deref(), Ok(std::slice::from_ref(value)), "{json}");
    assert_eq!(json_of(&made.ty, &values.unwrap()[0]), json);
    let result = made.codec.encode(std::slice::from_ref(value), LIMIT);
    let envelope = serde_json::to_value(Envelope::new(&result)).unwrap();
    assert!(made.output.is_valid(&envelope), "{envelope}");
}

/// RFC 6901.
fn is_pointer(text: &str) -> bool {
    let mut parts = text.split('~').skip(1);
    (text.is_empty() || text.starts_with('/')) && parts.all(|rest| rest.starts_with(['0', '1']))
}

fn made(line: &str) -> Option<Rc<Made>> {
    MADE.with_borrow_mut(|known| {
        if known.len() > MADE_MAX {
            known.clear();
        }
        known.entry(line.to_owned()).or_insert_with(|| make(line).map(Rc::new)).clone()
    })
}

fn make(line: &str) -> Option<Made> {
    let mut reader = Reader { rest: line.chars(), types_left: TYPES_MAX };
    let ty = reader.ty(0)?;
    reader.rest.next().is_none().then_some(())?;
    let codec = identity(&ty);
    let (input, output) = schemas(&codec);
    let [input, output] = [input, output].map(|schema| jsonschema::validator_for(&schema).unwrap());
    Some(Made { ty, codec, input, output })
}

struct Reader<'a> {
    rest: std::str::Chars<'a>,
    types_left: usize,
}

impl Reader<'_> {
    /// The next type; none where the text is none.
    fn ty(&mut self, depth: usize) -> Option<Ty> {
        self.types_left = self.types_left.checked_sub(1).filter(|_| depth < NESTING_MAX)?;
        let next = self.rest.next()?;
        if let Some(kind) = plain(next) {
            return Some(Ty::Plain(kind));
        }
        let depth = depth + 1;
        Some(match next {
            'l' => Ty::List(self.boxed(depth)?),
            'x' => Ty::FixedList(self.boxed(depth)?, u32::try_from(self.count()?).ok()?),
            'm' => {
                let key = plain(self.rest.next()?)?;
                let is_key = !matches!(key, TypeKind::F32 | TypeKind::F64);
                Ty::Map(is_key.then_some(key)?, self.boxed(depth)?)
            }
            't' => Ty::Tuple(self.many(|own| own.ty(depth))?),
            'w' => Ty::Doubled(self.boxed(depth)?, u32::try_from(self.count()?).ok()?.min(4)),
            'o' => Ty::Option(self.boxed(depth)?),
            'u' => {
                let mut payload = || Some(self.payload(depth)?.map(Box::new));
                Ty::Result(payload()?, payload()?)
            }
            'r' => Ty::Record(self.many(|own| own.ty(depth))?),
            'v' => Ty::Variant(self.many(|own| own.payload(depth))?),
            'e' => Ty::Enum(self.count()?),
            'g' => Ty::Flags(self.count()?),
            _ => return None,
        })
    }

    fn boxed(&mut self, depth: usize) -> Option<Box<Ty>> {
        self.ty(depth).map(Box::new)
    }

    fn payload(&mut self, depth: usize) -> Option<Option<Ty>> {
        if self.rest.as_str().starts_with('-') {
            self.rest.next();
            return Some(None);
        }
        self.ty(depth).map(Some)
    }

    fn count(&mut self) -> Option<usize> {
        let digit = self.rest.next()?.to_digit(10)?;
        (digit > 0).then_some(digit as usize)
    }

    fn many<T>(&mut self, mut next: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count()?;
        (0..count).map(|_| next(self)).collect()
    }
}

fn plain(name: char) -> Option<TypeKind> {
    Some(match name {
        'b' => TypeKind::Bool,
        '1' => TypeKind::U8,
        '2' => TypeKind::U16,
        '4' => TypeKind::U32,
        '8' => TypeKind::U64,
        'h' => TypeKind::S8,
        'i' => TypeKind::S16,
        'j' => TypeKind::S32,
        'k' => TypeKind::S64,
        'f' => TypeKind::F32,
        'd' => TypeKind::F64,
        'c' => TypeKind::Char,
        's' => TypeKind::String,
        _ => return None,
    })
}

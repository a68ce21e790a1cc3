//! What a type takes, in words, and the strings that stand for numbers.

use aop_core::interface::TypeId;
use aop_core::interface::TypeKind;
use aop_core::schema::identifier;

use super::Context;

/// Characters of a caller's text that a message repeats.
const EXCERPT_LENGTH_MAX: usize = 40;

/// Names that a message lists.
const LISTED_MAX: usize = 8;

pub(super) enum Special {
    NotANumber,
    Infinity,
    NegativeInfinity,
}

pub(super) fn not_finite(text: &str) -> Option<Special> {
    match text {
        "NaN" => Some(Special::NotANumber),
        "Infinity" => Some(Special::Infinity),
        "-Infinity" => Some(Special::NegativeInfinity),
        _ => None,
    }
}

/// A decimal integer in its one spelling, as the schema's pattern has it.
pub(super) fn canonical<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|value| value.to_string() == text)
}

/// What a type takes, in words.
pub(super) fn expected(context: &Context<'_>, id: TypeId) -> String {
    use TypeKind as K;
    let range = |low: i128, high: i128| format!("an integer from {low} to {high}");
    match context.kind(id) {
        K::Bool => "true or false".to_owned(),
        K::U8 => range(0, u8::MAX.into()),
        K::U16 => range(0, u16::MAX.into()),
        K::U32 => range(0, u32::MAX.into()),
        K::U64 => range(0, u64::MAX.into()) + ", as a number or a decimal string",
        K::S8 => range(i8::MIN.into(), i8::MAX.into()),
        K::S16 => range(i16::MIN.into(), i16::MAX.into()),
        K::S32 => range(i32::MIN.into(), i32::MAX.into()),
        K::S64 => range(i64::MIN.into(), i64::MAX.into()) + ", as a number or a decimal string",
        K::F32 => "a number in the range of f32, \"NaN\", \"Infinity\" or \"-Infinity\"".to_owned(),
        K::F64 => "a number, \"NaN\", \"Infinity\" or \"-Infinity\"".to_owned(),
        K::Char => "a string of exactly one character".to_owned(),
        K::String => "a string".to_owned(),
        K::Own(_) | K::Borrow(_) => "a handle, as a tool of this agent returned it".to_owned(),
        K::List(of) if matches!(context.kind(*of), K::U8) => "a base64 string".to_owned(),
        K::List(_) | K::Stream(_) => "an array".to_owned(),
        K::FixedList(_, length) => format!("an array of {length} items"),
        K::Tuple(types) => format!("an array of {} items", types.len()),
        K::Map(key, _) if matches!(context.kind(*key), K::String) => "an object".to_owned(),
        K::Map(..) => "an array of [key, value] pairs".to_owned(),
        K::Record(_) => "an object".to_owned(),
        K::Option(of) if matches!(context.kind(*of), K::Option(_)) => {
            "null or {\"some\": …}".to_owned()
        }
        K::Option(of) => format!("null or {}", expected(context, *of)),
        K::Variant(cases) => {
            let name_of = |index: usize| cases.get(index).map(|case| case.name.as_str());
            format!("{{\"tag\": …}} with one of {}", listed(&name_of))
        }
        K::Result { .. } => "{\"tag\": …} with one of \"ok\", \"err\"".to_owned(),
        K::Enum(labels) => {
            let name_of = |index: usize| labels.get(index).map(|label| label.name.as_str());
            format!("one of {}", listed(&name_of))
        }
        K::Flags(labels) => {
            let name_of = |index: usize| labels.get(index).map(|label| label.name.as_str());
            format!("an array with some of {}", listed(&name_of))
        }
        K::Future(_) => "nothing".to_owned(),
    }
}

pub(super) fn listed<'n>(name_of: &impl Fn(usize) -> Option<&'n str>) -> String {
    let names = (0..LISTED_MAX).map_while(name_of);
    let mut text =
        names.map(|name| format!("\"{}\"", identifier(name))).collect::<Vec<_>>().join(", ");
    if name_of(LISTED_MAX).is_some() {
        text.push_str(", …");
    }
    text
}

/// Names the nearest known property, or what there is.
pub(super) fn hint(key: &str, names: &[String]) -> String {
    let nearest = names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, &excerpt(key)), name))
        .min()
        .filter(|(distance, name)| *distance * 2 <= name.len());
    match (nearest, names) {
        (Some((_, name)), _) => format!("; did you mean `{name}`?"),
        (None, []) => ": there are none".to_owned(),
        (None, names) => {
            let name_of = |index: usize| names.get(index).map(String::as_str);
            format!("; expected {}", listed(&name_of))
        }
    }
}

pub(super) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

//! Properties and names among those that a type knows, found without allocating.

use std::fmt;

use aop_core::schema::identifier;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::index::Known;
use super::words::{excerpt, hint, listed};
use super::{Context, Path};

/// Finds a property among known names without allocating; the next one in order is tried first.
pub(super) struct KeySeed<'f, F> {
    pub(super) known: Known<'f, F>,
    pub(super) next: usize,
}

/// A property that was read.
pub(super) enum Key {
    Known(usize),
    Unknown(String),
}

impl Key {
    /// Its index, unless it is unknown or was there before.
    pub(super) fn expect_new<'n>(
        self,
        context: &Context<'_>,
        path: &Path<'_>,
        name_of: &impl Fn(usize) -> Option<&'n str>,
        is_there: impl FnOnce(usize) -> bool,
    ) -> Option<usize> {
        match self {
            Self::Known(index) if is_there(index) => {
                let name = name_of(index).unwrap_or_default();
                context.violation(&Path::Field(path, name), || "given twice".to_owned());
                None
            }
            Self::Known(index) => Some(index),
            Self::Unknown(key) => {
                context.violation(&Path::Key(path, &key), || {
                    let names = (0..).map_while(name_of).map(identifier).collect::<Vec<_>>();
                    format!("unknown property `{}`{}", excerpt(&key), hint(&key, &names))
                });
                None
            }
        }
    }
}

impl<'de, 'n, F: Fn(usize) -> Option<&'n str>> DeserializeSeed<'de> for KeySeed<'_, F> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, 'n, F: Fn(usize) -> Option<&'n str>> Visitor<'de> for KeySeed<'_, F> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a property name")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Key, E> {
        if self.known.is(self.next, text) {
            return Ok(Key::Known(self.next));
        }
        Ok(self.known.find(text).map_or_else(|| Key::Unknown(text.to_owned()), Key::Known))
    }
}

/// A string that is one of known names: its index.
pub(super) struct NameSeed<'a, F> {
    pub(super) context: &'a Context<'a>,
    pub(super) path: &'a Path<'a>,
    pub(super) known: Known<'a, F>,
}

impl<'n, F: Fn(usize) -> Option<&'n str>> NameSeed<'_, F> {
    fn unfit<E>(&self, found: impl FnOnce() -> String) -> Result<Option<usize>, E> {
        self.context.violation(self.path, || {
            format!("expected one of {}, found {}", listed(self.known.name_of), found())
        });
        Ok(None)
    }
}

impl<'de, 'n, F: Fn(usize) -> Option<&'n str>> DeserializeSeed<'de> for NameSeed<'_, F> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, 'n, F: Fn(usize) -> Option<&'n str>> Visitor<'de> for NameSeed<'_, F> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<usize>, E> {
        self.unfit(|| "null".to_owned())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Option<usize>, E> {
        self.unfit(|| value.to_string())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Option<usize>, E> {
        self.unfit(|| format!("the number {value}"))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Option<usize>, E> {
        self.unfit(|| format!("the number {value}"))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Option<usize>, E> {
        self.unfit(|| format!("the number {value}"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<usize>, E> {
        match self.known.find(text) {
            Some(index) => Ok(Some(index)),
            None => self.unfit(|| format!("the string \"{}\"", excerpt(text))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<usize>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.unfit(|| "an array".to_owned())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<usize>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.unfit(|| "an object".to_owned())
    }
}

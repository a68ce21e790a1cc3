//! Which JSON a type takes: the visitor of one value.

use std::fmt;

use aop_core::interface::{TypeId, TypeKind};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use wasmtime::component::Val;

use super::index::Known;
use super::words::{excerpt, expected};
use super::{Context, Path, Seed, UNFIT, fields};
use crate::codec::VAL_BYTES;

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Val;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&expected(self.context, self.ty))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Val, E> {
        match self.kind() {
            TypeKind::Option(_) => Ok(Val::Option(None)),
            _ => Ok(self.unfit(|| "null".to_owned())),
        }
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Val, E> {
        if let Some(inner) = self.inner() {
            return inner.visit_bool(value).and_then(|value| self.some(value));
        }
        match self.kind() {
            TypeKind::Bool => Ok(Val::Bool(value)),
            _ => Ok(self.unfit(|| value.to_string())),
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Val, E> {
        if let Some(inner) = self.inner() {
            return inner.visit_u64(value).and_then(|value| self.some(value));
        }
        #[expect(clippy::cast_precision_loss, reason = "a JSON number is the nearest f64")]
        match self.kind() {
            TypeKind::F32 | TypeKind::F64 => Ok(self.float(value as f64)),
            _ => Ok(self.integer(value.into())),
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Val, E> {
        if let Some(inner) = self.inner() {
            return inner.visit_i64(value).and_then(|value| self.some(value));
        }
        #[expect(clippy::cast_precision_loss, reason = "a JSON number is the nearest f64")]
        match self.kind() {
            TypeKind::F32 | TypeKind::F64 => Ok(self.float(value as f64)),
            _ => Ok(self.integer(value.into())),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Val, E> {
        match self.inner() {
            Some(inner) => self.some(inner.float(value)),
            None => Ok(self.float(value)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Val, E> {
        match self.inner() {
            Some(inner) => inner.string(text).and_then(|value| self.some(value)),
            None => self.string(text),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Val, A::Error> {
        use TypeKind as K;
        if let Some(inner) = self.inner() {
            return inner.visit_seq(seq).and_then(|value| self.some(value));
        }
        match self.kind() {
            K::List(of) if !matches!(self.context.kind(*of), K::U8) => {
                self.items(*of, &mut seq).map(Val::List)
            }
            K::FixedList(of, length) => {
                let values = self.exactly(*length as usize, |_| *of, &mut seq)?;
                Ok(values.map_or(UNFIT, Val::FixedLengthList))
            }
            K::Tuple(types) => {
                let values = self.exactly(types.len(), |index| types[index], &mut seq)?;
                Ok(values.map_or(UNFIT, Val::Tuple))
            }
            K::Flags(labels) => self.flags(labels, &mut seq),
            K::Map(key, value) if !matches!(self.context.kind(*key), K::String) => {
                self.pairs(*key, *value, &mut seq)
            }
            _ => {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(self.unfit(|| "an array".to_owned()))
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Val, A::Error> {
        use TypeKind as K;
        if let Some(inner) = self.inner() {
            return inner.visit_map(map).and_then(|value| self.some(value));
        }
        match self.kind() {
            K::Record(of) => {
                let values = fields(self.context, self.path, of, self.index(), map)?;
                self.context.charge(self.path, of.iter().map(|field| field.name.len()).sum())?;
                let named = of.iter().map(|field| field.name.clone()).zip(values);
                Ok(Val::Record(named.collect()))
            }
            K::Map(key, value) if matches!(self.context.kind(*key), K::String) => {
                self.string_map(*value, map)
            }
            K::Option(of) => self.wrapped(*of, map),
            K::Variant(cases) => {
                let name_of = |index: usize| cases.get(index).map(|case| case.name.as_str());
                let known = Known { name_of: &name_of, index: self.index() };
                let found = self.case(known, |index| cases[index].ty, map)?;
                let variant =
                    |(index, value): (usize, _)| Val::Variant(cases[index].name.clone(), value);
                Ok(found.map_or(UNFIT, variant))
            }
            K::Result { ok, err } => {
                let name_of = |index: usize| ["ok", "err"].get(index).copied();
                let known = Known { name_of: &name_of, index: None };
                let found = self.case(known, |index| if index == 0 { *ok } else { *err }, map)?;
                let result =
                    |(index, value)| Val::Result(if index == 0 { Ok(value) } else { Err(value) });
                Ok(found.map_or(UNFIT, result))
            }
            _ => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(self.unfit(|| "an object".to_owned()))
            }
        }
    }
}

impl Seed<'_> {
    fn some<E: de::Error>(&self, value: Val) -> Result<Val, E> {
        self.context.charge(self.path, VAL_BYTES)?;
        Ok(Val::Option(Some(Box::new(value))))
    }
}

/// One entry of a map whose keys are not strings.
pub(super) struct PairSeed<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) key: TypeId,
    pub(super) value: TypeId,
    pub(super) path: &'a Path<'a>,
}

impl<'de> DeserializeSeed<'de> for PairSeed<'_> {
    type Value = (Val, Val);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(Val, Val), D::Error> {
        // Everything but an array goes to the same message as a tuple's.
        deserializer.deserialize_any(self)
    }
}

impl PairSeed<'_> {
    fn unfit<E>(&self, found: &str) -> Result<(Val, Val), E> {
        self.context.violation(self.path, || {
            format!("expected a pair of a key and a value as an array, found {found}")
        });
        Ok((UNFIT, UNFIT))
    }
}

impl<'de> Visitor<'de> for PairSeed<'_> {
    type Value = (Val, Val);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pair")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(Val, Val), E> {
        self.unfit("null")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(Val, Val), E> {
        self.unfit(&value.to_string())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(Val, Val), E> {
        self.unfit(&format!("the number {value}"))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(Val, Val), E> {
        self.unfit(&format!("the number {value}"))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(Val, Val), E> {
        self.unfit(&format!("the number {value}"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(Val, Val), E> {
        self.unfit(&format!("the string \"{}\"", excerpt(text)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(Val, Val), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.unfit("an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(Val, Val), A::Error> {
        let Self { context, key, value, path } = self;
        let tuple = Seed { context, ty: key, path };
        let type_of = |index| if index == 0 { key } else { value };
        let mut values = tuple.exactly(2, type_of, &mut seq)?.unwrap_or_default().into_iter();
        Ok((values.next().unwrap_or(UNFIT), values.next().unwrap_or(UNFIT)))
    }
}

//! Variants and results: `{"tag": …, "val": …}`, the members in any order.

use aop_core::interface::TypeId;
use aop_core::schema::identifier;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess};
use serde_json::value::RawValue;
use wasmtime::component::Val;

use super::index::Known;
use super::keys::{KeySeed, NameSeed};
use super::words::{expected, listed};
use super::{Path, Seed};
use crate::codec::VAL_BYTES;

/// The index of a case, and its payload.
type TaggedValue = (usize, Option<Box<Val>>);

/// The `val` of a variant.
enum Payload<'de> {
    Absent,
    Decoded(Val),
    Raw(&'de RawValue),
}

impl Seed<'_> {
    /// `{"tag": …, "val": …}`.
    pub(super) fn case<'de, 'n, A: MapAccess<'de>>(
        &self,
        known: Known<'_, impl Fn(usize) -> Option<&'n str>>,
        payload_of: impl Fn(usize) -> Option<TypeId>,
        mut map: A,
    ) -> Result<Option<TaggedValue>, A::Error> {
        let name_of = known.name_of;
        let keys = |index: usize| ["tag", "val"].get(index).copied();
        let members = Known { name_of: &keys, index: None };
        let [tag_path, val_path] = ["tag", "val"].map(|key| Path::Key(self.path, key));
        let mut tag: Option<Option<usize>> = None;
        let mut payload = Payload::Absent;
        while let Some(key) =
            map.next_key_seed(KeySeed { known: members, next: usize::from(tag.is_some()) })?
        {
            let is_there =
                |i| if i == 0 { tag.is_some() } else { !matches!(payload, Payload::Absent) };
            match (key.expect_new(self.context, self.path, &keys, is_there), tag) {
                (None, _) => {
                    map.next_value::<IgnoredAny>()?;
                }
                (Some(0), _) => {
                    let seed = NameSeed { context: self.context, path: &tag_path, known };
                    tag = Some(map.next_value_seed(seed)?);
                }
                (Some(_), Some(Some(case))) => {
                    payload = match payload_of(case) {
                        Some(ty) => {
                            let seed = Seed { context: self.context, ty, path: &val_path };
                            Payload::Decoded(map.next_value_seed(seed)?)
                        }
                        None => Payload::Raw(map.next_value()?),
                    };
                }
                // Its type is not known yet: it is read again once the tag has come.
                (Some(_), _) => payload = Payload::Raw(map.next_value()?),
            }
        }
        let Some(tag) = tag else {
            self.context.violation(&tag_path, || {
                format!("required, and missing: expected one of {}", listed(name_of))
            });
            return Ok(None);
        };
        let Some(case) = tag else { return Ok(None) };
        let name = || identifier(name_of(case).unwrap_or_default());
        let value = match (payload_of(case), payload) {
            (None, Payload::Absent) => None,
            (None, _) => {
                self.context.violation(&val_path, || format!("case `{}` has no `val`", name()));
                None
            }
            (Some(ty), Payload::Absent) => {
                self.context.violation(&val_path, || {
                    let expected = expected(self.context, ty);
                    format!("required by case `{}`, and missing: expected {expected}", name())
                });
                None
            }
            (Some(_), Payload::Decoded(value)) => Some(value),
            (Some(ty), Payload::Raw(raw)) => {
                let seed = Seed { context: self.context, ty, path: &val_path };
                let mut deserializer = serde_json::Deserializer::from_str(raw.get());
                Some(seed.deserialize(&mut deserializer).map_err(de::Error::custom)?)
            }
        };
        self.context.charge(self.path, VAL_BYTES)?;
        Ok(Some((case, value.map(Box::new))))
    }
}

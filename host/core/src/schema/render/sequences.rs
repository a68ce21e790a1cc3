//! Schemas of types that hold several values in order, and of maps.

use std::fmt::Write as _;

use super::Renderer;
use crate::interface::{TypeId, TypeKind};

/// Elements of a fixed-length list that are spelt out in `prefixItems`. The rest are of the same
/// type, which `items` says as exactly.
const PREFIX_ITEMS_MAX: u32 = 16;

impl Renderer<'_> {
    pub(super) fn fixed_list(&mut self, of: TypeId, length: u32) {
        self.text.push_str(r#"{"type":"array","prefixItems":["#);
        for index in 0..length.min(PREFIX_ITEMS_MAX) {
            self.comma(index as usize);
            self.schema(of, None);
        }
        let _ =
            write!(self.text, r#"],"minItems":{length},"maxItems":{length},"items":{{"anyOf":["#);
        self.alternative(of);
        self.text.push_str("]}");
    }

    pub(super) fn tuple(&mut self, types: &[TypeId]) {
        self.text.push_str(r#"{"type":"array","prefixItems":["#);
        for (index, ty) in types.iter().enumerate() {
            self.comma(index);
            self.schema(*ty, None);
        }
        let length = types.len();
        let _ =
            write!(self.text, r#"],"minItems":{length},"maxItems":{length},"items":{{"anyOf":["#);
        let mut distinct = types.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        for (index, ty) in distinct.into_iter().enumerate() {
            self.comma(index);
            self.alternative(ty);
        }
        self.text.push_str("]}");
    }

    pub(super) fn map(&mut self, key: TypeId, value: TypeId) {
        if matches!(self.kind(key), TypeKind::String) {
            self.text.push_str(r#"{"type":"object","additionalProperties":"#);
            self.schema(value, None);
        } else {
            self.text.push_str(r#"{"type":"array","items":"#);
            self.tuple(&[key, value]);
            self.text.push('}');
        }
    }
}

//! A function as WIT text, named types by their names.

use aop_core::interface::{Function, Resource, TypeDef, TypeId, TypeKind};

use super::limits::SIGNATURE_MAX_BYTES;

/// `summarize: async func(text: string, style: option<style>) -> result<string, string>`.
pub(super) fn of(table: &[TypeDef], resources: &[Resource], function: &Function) -> String {
    let is_async = if function.is_async { "async " } else { "" };
    let mut text = format!("{}: {is_async}func(", function.spelling());
    for (index, parameter) in function.parameters.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&parameter.name);
        text.push_str(": ");
        spell((table, resources), parameter.ty, &mut text);
    }
    text.push(')');
    if let Some(result) = function.result {
        text.push_str(" -> ");
        spell((table, resources), result, &mut text);
    }
    text
}

fn spell(tables: (&[TypeDef], &[Resource]), id: TypeId, text: &mut String) {
    use TypeKind as K;
    let (table, resources) = tables;
    let def = &table[id.0 as usize];
    let name_of = |index: u32| resources.get(index as usize).map_or("resource", |r| &r.name);
    if text.len() > SIGNATURE_MAX_BYTES {
        text.push('…');
        return;
    }
    if let Some(name) = &def.name {
        text.push_str(name);
        return;
    }
    let (word, parts): (&str, Vec<Option<TypeId>>) = match &def.kind {
        K::Bool => ("bool", vec![]),
        K::U8 => ("u8", vec![]),
        K::U16 => ("u16", vec![]),
        K::U32 => ("u32", vec![]),
        K::U64 => ("u64", vec![]),
        K::S8 => ("s8", vec![]),
        K::S16 => ("s16", vec![]),
        K::S32 => ("s32", vec![]),
        K::S64 => ("s64", vec![]),
        K::F32 => ("f32", vec![]),
        K::F64 => ("f64", vec![]),
        K::Char => ("char", vec![]),
        K::String => ("string", vec![]),
        K::List(of) => ("list", vec![Some(*of)]),
        K::FixedList(of, length) => {
            text.push_str("list<");
            spell(tables, *of, text);
            text.push_str(&format!(", {length}>"));
            return;
        }
        K::Map(key, value) => ("map", vec![Some(*key), Some(*value)]),
        K::Tuple(types) => ("tuple", types.iter().copied().map(Some).collect()),
        K::Option(of) => ("option", vec![Some(*of)]),
        K::Result { ok: None, err: None } => ("result", vec![]),
        K::Result { ok, err: None } => ("result", vec![*ok]),
        K::Result { ok, err } => ("result", vec![*ok, *err]),
        K::Future(None) => ("future", vec![]),
        K::Future(of) => ("future", vec![*of]),
        K::Stream(of) => ("stream", vec![Some(*of)]),
        K::Own(resource) => (name_of(resource.0), vec![]),
        K::Borrow(resource) => {
            text.push_str(&format!("borrow<{}>", name_of(resource.0)));
            return;
        }
        // WIT has no anonymous ones.
        K::Record(_) => ("record", vec![]),
        K::Variant(_) => ("variant", vec![]),
        K::Enum(_) => ("enum", vec![]),
        K::Flags(_) => ("flags", vec![]),
    };
    text.push_str(word);
    for (index, part) in parts.iter().enumerate() {
        text.push_str(if index == 0 { "<" } else { ", " });
        match part {
            Some(id) => spell(tables, *id, text),
            None => text.push('_'),
        }
        if text.len() > SIGNATURE_MAX_BYTES {
            break;
        }
    }
    if !parts.is_empty() {
        text.push('>');
    }
}

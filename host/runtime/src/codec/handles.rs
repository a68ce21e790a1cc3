//! Handles within values: where they are, so that they can be exchanged for what they stand for.

use aop_core::Interface;
use aop_core::interface::{ResourceId, TypeId, TypeKind};
use wasmtime::component::Val;

/// Shows every handle within a value to `visit`. `tables` are the interface and, for each of its types, whether a
/// handle is in it: what has none is not looked at.
pub(super) fn each<E>(
    tables: (&Interface, &[bool]),
    ty: TypeId,
    value: &mut Val,
    visit: &mut dyn FnMut(ResourceId, &mut Val) -> Result<(), E>,
) -> Result<(), E> {
    use TypeKind as K;
    let (interface, with_handles) = tables;
    if !with_handles[ty.0 as usize] {
        return Ok(());
    }
    match (&interface.get(ty).kind, value) {
        (K::Own(resource) | K::Borrow(resource), value) => visit(*resource, value),
        (K::List(of), Val::List(items)) | (K::FixedList(of, _), Val::FixedLengthList(items)) => {
            items.iter_mut().try_for_each(|item| each(tables, *of, item, visit))
        }
        (K::Tuple(types), Val::Tuple(items)) => {
            types.iter().zip(items).try_for_each(|(ty, item)| each(tables, *ty, item, visit))
        }
        (K::Map(key, of), Val::Map(pairs)) => pairs.iter_mut().try_for_each(|(name, value)| {
            each(tables, *key, name, visit)?;
            each(tables, *of, value, visit)
        }),
        (K::Option(of), Val::Option(Some(inner))) => each(tables, *of, inner, visit),
        (K::Record(fields), Val::Record(values)) => fields
            .iter()
            .zip(values)
            .try_for_each(|(field, (_, value))| each(tables, field.ty, value, visit)),
        (K::Variant(cases), Val::Variant(tag, Some(payload))) => {
            let case = cases.iter().find(|case| case.name == *tag);
            case.and_then(|case| case.ty).map_or(Ok(()), |ty| each(tables, ty, payload, visit))
        }
        (K::Result { ok: Some(ty), .. }, Val::Result(Ok(Some(payload))))
        | (K::Result { err: Some(ty), .. }, Val::Result(Err(Some(payload)))) => {
            each(tables, *ty, payload, visit)
        }
        // Nothing inside, or not of its type, which encoding will say.
        _ => Ok(()),
    }
}

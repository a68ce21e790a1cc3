//! Which of a type's names a text is.
//!
//! Most types have a handful of names, and looking at each is faster than hashing. A type may have
//! thousands, though, and a caller may send a million texts to look up: such a type gets a table, made
//! once for its interface.

use std::collections::HashMap;

use aop_core::interface::{Field, Interface, TypeId, TypeKind};
use aop_core::schema::identifier;

/// Names that are compared one by one: about where hashing begins to pay.
const NARROW_MAX: usize = 16;

/// The names of one type in their JSON spelling, and their places.
pub(super) type Index = HashMap<String, usize>;

/// The tables of an interface's wide types.
#[derive(Debug, Default)]
pub(in crate::codec) struct Names {
    types: HashMap<TypeId, Index>,
    /// Of functions with many parameters, by their place in the interface.
    parameters: HashMap<usize, Index>,
}

impl Names {
    /// Makes a table for every type and function that has many names.
    pub(in crate::codec) fn new(interface: &Interface) -> Self {
        let mut names = Self::default();
        for (id, ty) in (0..).zip(&interface.types) {
            let index = match &ty.kind {
                TypeKind::Record(fields) => of_fields(fields),
                TypeKind::Variant(cases) => index(cases.iter().map(|case| case.name.as_str())),
                TypeKind::Enum(labels) | TypeKind::Flags(labels) => {
                    index(labels.iter().map(|label| label.name.as_str()))
                }
                _ => None,
            };
            names.types.extend(index.map(|index| (TypeId(id), index)));
        }
        for (place, function) in interface.functions.iter().enumerate() {
            names.parameters.extend(of_fields(&function.parameters).map(|index| (place, index)));
        }
        names
    }

    /// The table of a type, if it is a wide one.
    pub(super) fn of_type(&self, id: TypeId) -> Option<&Index> {
        self.types.get(&id)
    }

    /// The table of a function's parameters, if there are many.
    pub(super) fn of_parameters(&self, function: usize) -> Option<&Index> {
        self.parameters.get(&function)
    }
}

fn of_fields(fields: &[Field]) -> Option<Index> {
    index(fields.iter().map(|field| field.name.as_str()))
}

fn index<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> Option<Index> {
    (names.len() > NARROW_MAX)
        .then(|| names.enumerate().map(|(place, name)| (identifier(name), place)).collect())
}

/// The names that a type knows, and how to find one without allocating.
pub(super) struct Known<'f, F> {
    /// The WIT identifier at a place.
    pub(super) name_of: &'f F,
    /// Of a wide type.
    pub(super) index: Option<&'f Index>,
}

impl<F> Clone for Known<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Known<'_, F> {}

impl<'n, F: Fn(usize) -> Option<&'n str>> Known<'_, F> {
    /// Whether that is the name at a place.
    pub(super) fn is(&self, place: usize, text: &str) -> bool {
        (self.name_of)(place).is_some_and(|name| spells(text, name))
    }

    /// The place of a name.
    pub(super) fn find(&self, text: &str) -> Option<usize> {
        match self.index {
            Some(index) => index.get(text).copied(),
            None => (0..).map_while(self.name_of).position(|name| spells(text, name)),
        }
    }
}

/// Whether JSON text spells a WIT identifier.
fn spells(text: &str, wit: &str) -> bool {
    text.len() == wit.len()
        && text.bytes().zip(wit.bytes()).all(|(t, w)| t == if w == b'-' { b'_' } else { w })
}

#[cfg(test)]
mod tests;

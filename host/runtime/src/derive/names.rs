//! What the types of a component are called: every name under which a type crosses its boundary.

use std::collections::HashMap;

use wasmparser::component_types::{ComponentAnyTypeId, ComponentEntityType, ComponentItem};

use super::scan::Scan;

/// Where a type was named: the interface (empty for the root) and the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TypeName<'a> {
    pub(super) scope: &'a str,
    pub(super) name: &'a str,
}

/// The names of types, by the identity that naming gave them.
pub(super) struct TypeNames<'a> {
    scan: &'a Scan<'a>,
    names: HashMap<ComponentAnyTypeId, TypeName<'a>>,
}

impl<'a> TypeNames<'a> {
    pub(super) fn new(scan: &'a Scan<'a>) -> Self {
        let exports = scan.exports.iter().filter_map(|name| Some((*name, scan.export(name)?)));
        let imports = scan.imports.iter().filter_map(|name| Some((*name, scan.import(name)?)));
        let mut found = Vec::new();
        for (outer, item) in exports.chain(imports) {
            match item.ty {
                ComponentEntityType::Instance(id) => {
                    let types = scan.types[id].exports.iter();
                    found.extend(types.map(|(name, item)| (TypeName { scope: outer, name }, item)));
                }
                _ => found.push((TypeName { scope: "", name: outer }, item)),
            }
        }
        let mut names = HashMap::new();
        // The name that created an identity says more than one that referred to it.
        for (name, item) in &found {
            if let Some((created, _)) = identities(item) {
                names.entry(created).or_insert(*name);
            }
        }
        for (name, item) in &found {
            if let Some((_, referenced)) = identities(item) {
                names.entry(referenced).or_insert(*name);
            }
        }
        Self { scan, names }
    }

    /// What a type is called; aliases that have no name of their own are followed.
    pub(super) fn get(&self, id: ComponentAnyTypeId) -> Option<TypeName<'a>> {
        let mut id = id;
        loop {
            if let Some(name) = self.names.get(&id) {
                return Some(*name);
            }
            id = self.scan.types.peel_alias(id)?;
        }
    }
}

fn identities(item: &ComponentItem) -> Option<(ComponentAnyTypeId, ComponentAnyTypeId)> {
    match item.ty {
        ComponentEntityType::Type { created, referenced } => Some((created, referenced)),
        _ => None,
    }
}

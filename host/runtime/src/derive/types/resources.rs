//! The resources of which callers can hold handles: those that the component itself exports.

use std::collections::HashMap;

use aop_core::interface::{Resource, ResourceId};
use wasmparser::component_types::{
    AliasableResourceId, ComponentAnyTypeId, ComponentEntityType, ComponentItem,
    ResourceId as WasmResourceId,
};

use super::super::limits::{IDENTIFIER_MAX_BYTES, INTERFACE_NAME_MAX_BYTES, RESOURCES_MAX, cut};
use super::super::names::TypeNames;
use super::super::scan::Scan;
use super::{DeriveError, Obstacle};

/// Numbers the resources that functions use.
pub(super) struct Resources<'a> {
    names: &'a TypeNames<'a>,
    /// Where each was exported, and as what.
    exported: HashMap<WasmResourceId, (&'a str, &'a str)>,
    known: HashMap<WasmResourceId, ResourceId>,
    table: Vec<Resource>,
}

impl<'a> Resources<'a> {
    pub(super) fn new(scan: &'a Scan<'a>, names: &'a TypeNames<'a>) -> Self {
        let mut exported = HashMap::new();
        for outer in &scan.exports {
            // Worlds cannot export a resource of their own, only interfaces can: one at the root has no name to call it by.
            let named = resources_of(scan, scan.export(outer)).into_iter();
            for (name, resource) in named.filter(|(name, _)| !name.is_empty()) {
                exported.entry(resource).or_insert((*outer, name));
            }
        }
        // A resource of the host stays the host's, also where an interface passes it on.
        for outer in &scan.imports {
            for (_, resource) in resources_of(scan, scan.import(outer)) {
                exported.remove(&resource);
            }
        }
        Self { names, exported, known: HashMap::new(), table: Vec::new() }
    }

    pub(super) fn table(&self) -> &[Resource] {
        &self.table
    }

    pub(super) fn into_table(self) -> Vec<Resource> {
        self.table
    }

    /// The number of a resource; the first use gives it one.
    pub(super) fn find(&mut self, resource: AliasableResourceId) -> Result<ResourceId, Obstacle> {
        let id = resource.resource();
        if let Some(known) = self.known.get(&id) {
            return Ok(*known);
        }
        let Some((interface, name)) = self.exported.get(&id) else {
            let name = self.names.get(ComponentAnyTypeId::Resource(resource));
            return Err(Obstacle::Unsupported(format!(
                "a handle of `{}`, which is not a resource of an interface that the component exports: callers could neither get nor give one; pass plain values instead",
                cut(name.map_or("resource", |name| name.name), IDENTIFIER_MAX_BYTES)
            )));
        };
        if name.len() > IDENTIFIER_MAX_BYTES || interface.len() > INTERFACE_NAME_MAX_BYTES {
            return Err(Obstacle::Unsupported(format!(
                "the resource `{}` or its interface has a name that is too long: shorten it",
                cut(name, IDENTIFIER_MAX_BYTES)
            )));
        }
        if self.table.len() == RESOURCES_MAX {
            let what = "exported resources";
            return Err(Obstacle::Fatal(DeriveError::TooLarge { what, limit: RESOURCES_MAX }));
        }
        let number = ResourceId(u32::try_from(self.table.len()).unwrap_or(u32::MAX));
        self.table.push(Resource { interface: (*interface).to_owned(), name: (*name).to_owned() });
        self.known.insert(id, number);
        Ok(number)
    }
}

/// The resources that an imported or exported instance names, and those named at the root: under the identity that
/// naming gave them, and the one that they had.
fn resources_of<'a>(
    scan: &'a Scan<'a>,
    item: Option<&'a ComponentItem>,
) -> Vec<(&'a str, WasmResourceId)> {
    let mut found = Vec::new();
    let mut add = |name: &'a str, item: &ComponentItem| {
        if let ComponentEntityType::Type { referenced, created } = item.ty {
            for id in [created, referenced] {
                if let ComponentAnyTypeId::Resource(id) = id {
                    found.push((name, id.resource()));
                }
            }
        }
    };
    match item.map(|item| item.ty) {
        Some(ComponentEntityType::Instance(id)) => {
            scan.types[id].exports.iter().for_each(|(name, item)| add(name, item));
        }
        Some(_) => item.into_iter().for_each(|item| add("", item)),
        None => {}
    }
    found
}

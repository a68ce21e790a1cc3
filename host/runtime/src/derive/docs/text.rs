//! `agent.wit` sections: WIT source. It is parsed but not resolved, so that a file which uses
//! packages that are not there still gives its docs.

use std::collections::{HashMap, HashSet};

use wit_parser::{
    InterfaceId, Type, TypeDef, TypeDefKind, TypeId, UnresolvedPackage, UnresolvedPackageGroup,
    WorldId, WorldItem, WorldKey,
};

use super::super::scan::Scan;
use super::{Docs, World, without_version};

/// Aliases of aliases that are followed to find a type's docs.
const ALIASES_MAX: usize = 16;

/// Worlds including worlds that are followed.
const INCLUDES_MAX: usize = 16;

/// Reads one section into `docs`; text that is not WIT says nothing.
pub(super) fn read(docs: &mut Docs, scan: &Scan<'_>, text: &str) {
    let Ok(group) = UnresolvedPackageGroup::parse("agent.wit", text) else { return };
    for package in std::iter::once(&group.main).chain(&group.nested) {
        let names = interface_names(package);
        for (id, interface) in package.interfaces.iter() {
            let Some(name) = names.get(&id) else { continue };
            for (function, item) in &interface.functions {
                docs.add_function(name, function, item.docs.contents.as_deref());
            }
            for (ty, id) in &interface.types {
                add_type(docs, package, name, ty, *id);
            }
        }
    }
    choose_world(docs, scan, &group.main);
}

/// What each interface of a package is called in a component, without version.
fn interface_names(package: &UnresolvedPackage) -> HashMap<InterfaceId, String> {
    let mut names = HashMap::new();
    for (foreign, items) in &package.foreign_deps {
        for (name, (item, _)) in items {
            if let wit_parser::AstItem::Interface(id) = item {
                names.insert(*id, without_version(&foreign.interface_id(name)).to_owned());
            }
        }
    }
    for (id, interface) in package.interfaces.iter() {
        if let Some(name) = &interface.name {
            let full = package.name.interface_id(name);
            names.entry(id).or_insert_with(|| without_version(&full).to_owned());
        }
    }
    // An interface that a world declares inline has the name it is exported under.
    for (_, world) in package.worlds.iter() {
        for (key, item) in &world.exports {
            if let (WorldKey::Name(name), WorldItem::Interface { id, .. }) = (key, item) {
                names.entry(*id).or_insert_with(|| name.clone());
            }
        }
    }
    names
}

fn add_type(docs: &mut Docs, package: &UnresolvedPackage, scope: &str, name: &str, id: TypeId) {
    let mut def: &TypeDef = &package.types[id];
    let own = def.docs.contents.as_deref();
    for _ in 0..ALIASES_MAX {
        match def.kind {
            TypeDefKind::Type(Type::Id(next)) => def = &package.types[next],
            _ => break,
        }
    }
    let text = own.or(def.docs.contents.as_deref());
    let members: Vec<(&str, Option<&str>)> = match &def.kind {
        TypeDefKind::Record(record) => {
            record.fields.iter().map(|f| (f.name.as_str(), f.docs.contents.as_deref())).collect()
        }
        TypeDefKind::Variant(variant) => {
            variant.cases.iter().map(|c| (c.name.as_str(), c.docs.contents.as_deref())).collect()
        }
        TypeDefKind::Enum(of) => {
            of.cases.iter().map(|c| (c.name.as_str(), c.docs.contents.as_deref())).collect()
        }
        TypeDefKind::Flags(flags) => {
            flags.flags.iter().map(|f| (f.name.as_str(), f.docs.contents.as_deref())).collect()
        }
        _ => Vec::new(),
    };
    docs.add_type(scope, name, text, members.into_iter());
}

/// Takes the world that has the most in common with what the component exports.
fn choose_world(docs: &mut Docs, scan: &Scan<'_>, package: &UnresolvedPackage) {
    let names = interface_names(package);
    let exported: HashSet<&str> = scan.exports.iter().map(|name| without_version(name)).collect();
    let mut best: Option<(usize, WorldId)> = None;
    for (id, _) in package.worlds.iter() {
        let mut world = World::default();
        collect(package, &names, id, &mut world, INCLUDES_MAX);
        let keys = world.functions.iter().chain(world.interfaces.keys());
        let shared = keys.filter(|key| exported.contains(key.as_str())).count();
        if shared > 0 && best.is_none_or(|(most, _)| shared > most) {
            best = Some((shared, id));
        }
    }
    let Some((_, id)) = best else { return };
    if docs.world.is_some() {
        return;
    }
    let mut world = World::default();
    collect(package, &names, id, &mut world, INCLUDES_MAX);
    root_docs(docs, package, id);
    let text = package.worlds[id].docs.contents.as_deref().or(package.docs.contents.as_deref());
    world.docs = docs.bounded(text);
    docs.world = Some(world);
}

/// Gathers what a world exports, included worlds of the same package too.
fn collect(
    package: &UnresolvedPackage,
    names: &HashMap<InterfaceId, String>,
    id: WorldId,
    world: &mut World,
    includes_left: usize,
) {
    let source = &package.worlds[id];
    let foreign = package.foreign_deps.values().flat_map(|items| items.values());
    let mut foreign_worlds = foreign.filter_map(|(item, _)| match item {
        wit_parser::AstItem::World(id) => Some(*id),
        wit_parser::AstItem::Interface(_) => None,
    });
    if includes_left == 0 || foreign_worlds.any(|foreign| foreign == id) {
        world.is_partial = true;
        return;
    }
    for (key, item) in &source.exports {
        match (key, item) {
            (WorldKey::Name(name), WorldItem::Function(_)) => {
                world.functions.insert(name.clone());
            }
            (key, WorldItem::Interface { id, .. }) => {
                let name = match key {
                    WorldKey::Name(name) => Some(name.clone()),
                    WorldKey::Interface(id) => names.get(id).cloned(),
                };
                let functions = &package.interfaces[*id].functions;
                // The functions of a foreign interface are not in this text.
                let known = !functions.is_empty();
                let functions = known.then(|| functions.keys().cloned().collect());
                world.interfaces.extend(name.map(|name| (name, functions)));
            }
            _ => {}
        }
    }
    for include in &source.includes {
        collect(package, names, include.id, world, includes_left - 1);
    }
}

/// The docs of what a world exports at its root.
fn root_docs(docs: &mut Docs, package: &UnresolvedPackage, id: WorldId) {
    let world = &package.worlds[id];
    for (key, item) in world.exports.iter().chain(&world.imports) {
        match (key, item) {
            (WorldKey::Name(name), WorldItem::Function(function)) => {
                docs.add_function("", name, function.docs.contents.as_deref());
            }
            (WorldKey::Name(name), WorldItem::Type { id, .. }) => {
                add_type(docs, package, "", name, *id);
            }
            _ => {}
        }
    }
    for include in &world.includes {
        if include.id != id {
            for (name, item) in &package.worlds[include.id].exports {
                if let (WorldKey::Name(name), WorldItem::Function(function)) = (name, item) {
                    docs.add_function("", name, function.docs.contents.as_deref());
                }
            }
        }
    }
}

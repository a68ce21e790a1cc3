//! The interface of an agent, from the WIT in its `wit` directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aop_core::AgentName;
use wit_component::WitPrinter;
use wit_parser::{
    Function, InterfaceId, LiveTypes, PackageId, ParseError, Resolve, ResolveError, Type,
    TypeDefKind, TypeId, TypeOwner, UnresolvedPackageGroup, WorldId, WorldItem,
};

use super::project::files_with;
use crate::args::Language;
use crate::command::wit;
use crate::exit::{CommandError, misuse};

/// Where every language's template, and most tools, look for WIT.
const DIRECTORY: &str = "wit";
/// The world of an agent in a package with several, unless one is named after the agent.
const WORLD: &str = "agent";

/// An agent's interface.
pub(crate) struct Wit {
    pub(crate) directory: PathBuf,
    pub(super) resolve: Resolve,
    pub(super) world: WorldId,
    /// Its own package as text, and what it exports of others, for the component to carry.
    pub(super) text: String,
}

impl Wit {
    /// Reads and resolves it.
    pub(super) fn read(project: &Path, agent: &AgentName) -> anyhow::Result<Self> {
        let directory = project.join(DIRECTORY);
        anyhow::ensure!(
            directory.is_dir(),
            "{} does not exist: describe there, in WIT, what the agent offers",
            directory.display()
        );
        let mut resolve = Resolve::new();
        let pushed = resolve.push_dir(&directory);
        let (package, _) = pushed.map_err(|error| {
            let shown = rendered(&resolve, &error);
            let advice = lacking(&shown).map(|name| format!("\n{}", wit::advice(name)));
            let advice = advice.unwrap_or_default();
            anyhow::anyhow!(
                "the WIT in {} is wrong: {}{advice}",
                directory.display(),
                shown.trim_end()
            )
        })?;
        let world = world_of(&resolve, package, agent)?;
        let mut text = text_of(&directory, &resolve, package)?;
        text.push_str(&exported(&resolve, world, package, &text)?);
        Ok(Self { directory, resolve, world, text })
    }

    /// Every function that the world exports, with the name of its interface where it has one.
    pub(super) fn functions(&self) -> impl Iterator<Item = (Option<String>, &Function)> {
        let exports = self.resolve.worlds[self.world].exports.iter();
        exports.flat_map(|(key, item)| {
            let (interface, functions): (_, Vec<_>) = match item {
                WorldItem::Function(function) => (None, vec![function]),
                WorldItem::Interface { id, .. } => {
                    let functions = self.resolve.interfaces[*id].functions.values();
                    (Some(self.resolve.name_world_key(key)), functions.collect())
                }
                WorldItem::Type { .. } => (None, Vec::new()),
            };
            functions.into_iter().map(move |function| (interface.clone(), function))
        })
    }

    /// The first of what the world exports that a language's toolchain has no types for, and ends with in its own words.
    ///
    /// # Errors
    /// Names the function, its place, and what to write instead.
    pub(super) fn check(&self, language: Language) -> Result<(), CommandError> {
        for (_, function) in self.functions() {
            let mut types = LiveTypes::default();
            types.add_func(&self.resolve, function);
            let kinds = types.iter().map(|id| &self.resolve.types[id].kind);
            let Some((what, instead)) = kinds.filter_map(|kind| lacking_in(language, kind)).next()
            else {
                continue;
            };
            return Err(misuse(format!(
                "`{}` ({}) has {what}, which the toolchain of {language} does not have: write {instead}",
                function.name,
                self.resolve.source_map.render_location(function.span)
            )));
        }
        Ok(())
    }

    /// The world that is built.
    pub(super) fn world_name(&self) -> &str {
        &self.resolve.worlds[self.world].name
    }
}

/// What of WIT a language's toolchain does not have, and what does the same. Tried with the versions that are named when
/// one is missing.
fn lacking_in(language: Language, kind: &TypeDefKind) -> Option<(&'static str, &'static str)> {
    match kind {
        TypeDefKind::FixedLengthList(..) if language != Language::Rust => {
            Some(("a list of fixed length", "`list<T>`, or a record where each has a meaning"))
        }
        TypeDefKind::Map(..) if language == Language::Python => {
            Some(("a `map`", "`list<tuple<K, V>>`"))
        }
        _ => None,
    }
}

/// With the file, the place and the line, where the error has one.
fn rendered(resolve: &Resolve, error: &anyhow::Error) -> String {
    let placed = error.chain().find_map(|cause| {
        let parsing = cause.downcast_ref::<ParseError>().map(|e| e.render(&resolve.source_map));
        parsing
            .or_else(|| cause.downcast_ref::<ResolveError>().map(|e| e.render(&resolve.source_map)))
    });
    placed.unwrap_or_else(|| format!("{error:#}"))
}

/// The package that an error is about when it is not there.
fn lacking(error: &str) -> Option<&str> {
    let (_, rest) = error.split_once("package '")?;
    rest.split_once("' not found").map(|(name, _)| name)
}

fn world_of(resolve: &Resolve, package: PackageId, agent: &AgentName) -> anyhow::Result<WorldId> {
    let worlds = &resolve.packages[package].worlds;
    let named = |name: &str| worlds.get(name).copied();
    let only = worlds.values().next().copied().filter(|_| worlds.len() == 1);
    let found = only.or_else(|| named(agent)).or_else(|| named(WORLD));
    found.with_context(|| {
        if worlds.is_empty() {
            "the WIT has no world: add `world agent { export …; }`".to_owned()
        } else {
            let names: Vec<_> = worlds.keys().map(String::as_str).collect();
            format!(
                "the WIT has the worlds {}: name the one to build `{agent}` or `{WORLD}`",
                names.join(", ")
            )
        }
    })
}

/// The author's own text where it is one file; several are printed as one package.
fn text_of(directory: &Path, resolve: &Resolve, package: PackageId) -> anyhow::Result<String> {
    if let [file] = files_with(directory, "wit").as_slice() {
        return std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()));
    }
    let mut printer = WitPrinter::default();
    printer.print(resolve, package, &[])?;
    Ok(printer.output.to_string())
}

/// The interfaces of other packages that a world exports, in their packages: their comments describe tools as those of
/// the author do. With them come those whose types they use, without which the text would be wrong. `own` is the text of
/// the author, which may have the packages already.
fn exported(
    resolve: &Resolve,
    world: WorldId,
    package: PackageId,
    own: &str,
) -> anyhow::Result<String> {
    let exports = resolve.worlds[world].exports.values();
    let mut wanted: Vec<InterfaceId> = exports
        .filter_map(|item| match item {
            WorldItem::Interface { id, .. } => Some(*id),
            _ => None,
        })
        .collect();
    let mut kept: BTreeMap<PackageId, BTreeSet<InterfaceId>> = BTreeMap::new();
    while let Some(id) = wanted.pop() {
        let owner = resolve.interfaces[id].package.filter(|owner| *owner != package);
        if let Some(owner) = owner
            && kept.entry(owner).or_default().insert(id)
        {
            let used = used(resolve, id).into_iter();
            wanted.extend(used.filter(|used| resolve.interfaces[*used].package == Some(owner)));
        }
    }
    let parsed = UnresolvedPackageGroup::parse("agent.wit", own).map_err(|(_, error)| error);
    let present = parsed.context("cannot read the WIT again")?.nested;
    let mut resolve = resolve.clone();
    let mut text = String::new();
    for (id, interfaces) in kept {
        let package = &mut resolve.packages[id];
        if present.iter().any(|present| present.name == package.name) {
            continue;
        }
        package.interfaces.retain(|_, interface| interfaces.contains(interface));
        package.worlds.clear();
        let mut printer = WitPrinter::default();
        printer.print_package(&resolve, id, false)?;
        text.push_str(&format!("\n{}\n", printer.output));
    }
    Ok(text)
}

/// The interfaces whose types an interface uses.
fn used(resolve: &Resolve, interface: InterfaceId) -> BTreeSet<InterfaceId> {
    let owner = |id: &TypeId| match resolve.types[*id].kind {
        TypeDefKind::Type(Type::Id(of)) => match resolve.types[of].owner {
            TypeOwner::Interface(owner) => Some(owner),
            _ => None,
        },
        _ => None,
    };
    resolve.interfaces[interface].types.values().filter_map(owner).collect()
}

//! Doc comments, from the WIT text and the `package-docs` sections that a component carries.
//!
//! Both are untrusted and may describe something else than the component: everything is matched by
//! name, what does not match is dropped, and nothing here can fail a load. The WIT text also says
//! what the author's world exports, which tells an agent's functions from those its runtime leaks.

use std::collections::{HashMap, HashSet};

use super::limits::{DOC_MAX_BYTES, DOCS_MAX_BYTES, cut};
use super::scan::Scan;

mod package;
mod text;

/// The docs of a type.
#[derive(Debug, Default)]
pub(super) struct TypeDocs {
    pub(super) docs: Option<String>,
    /// Of fields, cases and labels.
    pub(super) members: HashMap<String, String>,
}

/// The docs of an interface, or of the root.
#[derive(Debug, Default)]
struct Scope {
    functions: HashMap<String, String>,
    types: HashMap<String, TypeDocs>,
}

/// What the author's world exports.
#[derive(Debug, Default)]
struct World {
    docs: Option<String>,
    functions: HashSet<String>,
    /// Each with its functions, when they are known.
    interfaces: HashMap<String, Option<HashSet<String>>>,
    /// It includes a world whose text is not there.
    is_partial: bool,
}

/// All docs that a component carries.
#[derive(Debug, Default)]
pub(super) struct Docs {
    /// By interface without version, `""` for the root, and by bare interface name for
    /// `package-docs`, which do not name their package.
    scopes: HashMap<String, Scope>,
    world: Option<World>,
    bytes: usize,
}

impl Docs {
    pub(super) fn read(scan: &Scan<'_>) -> Self {
        let mut docs = Self::default();
        for wit in &scan.wit {
            text::read(&mut docs, scan, wit);
        }
        for section in &scan.package_docs {
            package::read(&mut docs, section);
        }
        docs
    }

    /// The docs of the author's world.
    pub(super) fn world(&self) -> Option<&str> {
        self.world.as_ref()?.docs.as_deref()
    }

    /// Whether the author's world exports a function; none when the component does not say.
    pub(super) fn world_exports(&self, interface: Option<&str>, name: &str) -> Option<bool> {
        let world = self.world.as_ref().filter(|world| !world.is_partial)?;
        Some(match interface {
            None => world.functions.contains(name),
            Some(interface) => match world.interfaces.get(without_version(interface)) {
                None => false,
                Some(None) => true,
                Some(Some(functions)) => functions.contains(name),
            },
        })
    }

    pub(super) fn function(&self, interface: Option<&str>, name: &str) -> Option<&str> {
        let mut scopes = self.scopes_of(interface.unwrap_or_default());
        scopes.find_map(|scope| scope.functions.get(name)).map(String::as_str)
    }

    pub(super) fn ty(&self, scope: &str, name: &str) -> Option<&TypeDocs> {
        self.scopes_of(scope).find_map(|scope| scope.types.get(name))
    }

    fn scopes_of(&self, interface: &str) -> impl Iterator<Item = &Scope> {
        let full = without_version(interface);
        let bare = full.rsplit_once('/').map(|(_, bare)| bare);
        std::iter::once(full).chain(bare).filter_map(|key| self.scopes.get(key))
    }

    /// Keeps a doc comment, within the bounds.
    fn bounded(&mut self, text: Option<&str>) -> Option<String> {
        let text = text.map(str::trim).filter(|text| !text.is_empty())?;
        let text = cut(text, DOC_MAX_BYTES);
        self.bytes += text.len();
        (self.bytes <= DOCS_MAX_BYTES).then_some(text)
    }

    /// What was read first stays: WIT text says more than `package-docs`.
    fn add_function(&mut self, scope: &str, name: &str, text: Option<&str>) {
        if let Some(text) = self.bounded(text) {
            let scope = self.scopes.entry(scope.to_owned()).or_default();
            scope.functions.entry(name.to_owned()).or_insert(text);
        }
    }

    fn add_type<'d>(
        &mut self,
        scope: &str,
        name: &str,
        text: Option<&str>,
        members: impl Iterator<Item = (&'d str, Option<&'d str>)>,
    ) {
        let docs = self.bounded(text);
        let members: HashMap<_, _> = members
            .filter_map(|(name, text)| Some((name.to_owned(), self.bounded(text)?)))
            .collect();
        if docs.is_some() || !members.is_empty() {
            let scope = self.scopes.entry(scope.to_owned()).or_default();
            scope.types.entry(name.to_owned()).or_insert(TypeDocs { docs, members });
        }
    }
}

fn without_version(interface: &str) -> &str {
    interface.split_once('@').map_or(interface, |(name, _)| name)
}

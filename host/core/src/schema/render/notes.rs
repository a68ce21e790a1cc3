//! What a schema node says in words, besides what it can say by itself.

use super::{Renderer, Side, identifier};
use crate::interface::{Label, ResourceId, TypeId, TypeKind};

impl Renderer<'_> {
    /// The text for a node: the docs of the place, or of its type, and what the schema cannot say.
    pub(super) fn description(&self, id: TypeId, docs: Option<&str>) -> Option<String> {
        let mut id = id;
        let mut docs = docs.or(self.interface.get(id).docs.as_deref());
        while let TypeKind::Option(inner) = self.kind(id)
            && !self.refers(*inner)
        {
            id = *inner;
            docs = docs.or(self.interface.get(id).docs.as_deref());
        }
        let note = match self.kind(id) {
            TypeKind::U64 => Some(
                "Integer from 0 to 18446744073709551615, as a number or a decimal string".to_owned(),
            ),
            TypeKind::S64 => Some(
                "Integer from -9223372036854775808 to 9223372036854775807, as a number or a decimal string"
                    .to_owned(),
            ),
            TypeKind::List(of) if matches!(self.kind(*of), TypeKind::U8) => Some("Base64".to_owned()),
            TypeKind::Enum(labels) | TypeKind::Flags(labels) => label_docs(labels),
            TypeKind::Own(resource) => Some(self.handle_note(*resource, true)),
            TypeKind::Borrow(resource) => Some(self.handle_note(*resource, false)),
            _ => None,
        };
        match (docs, note) {
            (Some(docs), Some(note)) => Some(format!("{docs}\n{note}")),
            (Some(docs), None) => Some(docs.to_owned()),
            (None, note) => note,
        }
    }

    /// What the string is, where to get one, and what becomes of it.
    fn handle_note(&self, resource: ResourceId, is_owned: bool) -> String {
        let name =
            self.interface.resources.get(resource.0 as usize).map_or("resource", |r| &r.name);
        match (self.side, is_owned) {
            (Side::Output, _) => format!("A handle of a `{name}`: pass it on as it is"),
            (Side::Input, false) => {
                format!("A handle of a `{name}`, as a tool of this agent returned it")
            }
            (Side::Input, true) => format!(
                "A handle of a `{name}`, as a tool of this agent returned it. The call takes it: it is worth nothing afterwards"
            ),
        }
    }
}

/// Labels have no schema node of their own to be described at.
fn label_docs(labels: &[Label]) -> Option<String> {
    let described = labels.iter().filter_map(|label| {
        let docs = label.docs.as_deref()?;
        Some(format!("- {}: {docs}", identifier(&label.name)))
    });
    let lines: Vec<_> = described.collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

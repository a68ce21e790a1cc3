//! Bounds on what is kept of a component, each far above what real agents have (the largest seen
//! has 40 functions and 200 types) and low enough that ten thousand hostile agents fit in memory.

/// Exported functions of one component.
pub(crate) const FUNCTIONS_MAX: usize = 1_000;

/// Entries of the type table.
pub(crate) const TYPES_MAX: usize = 10_000;

/// Resources of one component. Each adds a function of its own, which drops it.
pub(crate) const RESOURCES_MAX: usize = 100;

/// Fields, cases, labels and parameters of one component together.
pub(crate) const MEMBERS_MAX: usize = 50_000;

/// Fields, cases or labels of one type, since the codec looks them up one after another.
pub(crate) const MEMBERS_PER_TYPE_MAX: usize = 1_000;

/// Types within types. Each is at most three levels of JSON, of which `serde_json` reads 128.
pub(crate) const NESTING_MAX: usize = 32;

/// Bytes of one identifier. Tool names have at most 64 characters.
pub(crate) const IDENTIFIER_MAX_BYTES: usize = 128;

/// Bytes of an interface's full name, `namespace:package/interface@version`.
pub(crate) const INTERFACE_NAME_MAX_BYTES: usize = 256;

/// Interfaces and functions that a component imports.
pub(crate) const IMPORTS_MAX: usize = 1_000;

/// Bytes of all WIT text and docs sections that a component carries.
pub(crate) const DOCS_SECTIONS_MAX_BYTES: usize = 1 << 20;

/// Bytes of one doc comment; longer ones are cut. A model reads every one of them.
pub(crate) const DOC_MAX_BYTES: usize = 4 << 10;

/// Bytes of all doc comments that are kept; further ones are left out.
pub(crate) const DOCS_MAX_BYTES: usize = 1 << 20;

/// Bytes of one metadata text (a name, a description); longer ones are cut.
pub(crate) const METADATA_MAX_BYTES: usize = 4 << 10;

/// Bytes of a function's signature; deeper parts of a longer one are left out.
pub(crate) const SIGNATURE_MAX_BYTES: usize = 1 << 10;

/// Names of tools that built a component and of libraries in it. Python's runtime has about 15.
pub(crate) const PRODUCERS_MAX: usize = 100;

/// Cuts text to `bytes`, at a character.
pub(super) fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

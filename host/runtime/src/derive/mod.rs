//! What a component exports: from its bytes to the host's schema model.
//!
//! Runs in the worker process that also compiles, since the bytes are untrusted: a component that
//! makes the parser run away takes only the worker with it. Types always come from the component
//! itself, straight from the validator's type information (reconstructing WIT from it, as
//! `wit_parser::decode` does, fails on components that export more than WIT can say). Doc comments
//! and the choice of exports come from the WIT text that an agent carries, which is only ever read:
//! a component whose text is broken loads without docs.
//!
//! Every quantity is bounded by a constant of [`limits`], because all of it is kept for as long as
//! the agent is loaded.

mod docs;
mod format;
mod functions;
pub(crate) mod limits;
mod names;
pub(crate) mod parts;
mod scan;
mod signature;
mod types;

use aop_core::Interface;

/// Why a component has no interface, in words that say what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeriveError {
    /// The bytes are something else.
    #[error("{0}")]
    NotAComponent(String),
    /// The bytes are cut off, damaged, or break a rule of the format.
    #[error(
        "the component is not valid ({0}): if it is cut off or damaged, build or copy it again"
    )]
    Malformed(String),
    /// The component is bigger than any honest one.
    #[error("the component has more than {limit} {what}: split it into several agents")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much is accepted.
        limit: usize,
    },
}

/// Derives the interface of a component whose size the caller has bounded.
///
/// # Errors
/// [`DeriveError`].
pub(crate) fn interface(component: &[u8]) -> Result<Interface, DeriveError> {
    format::check(component)?;
    let scan = scan::Scan::new(component)?;
    let docs = docs::Docs::read(&scan);
    functions::derive(&scan, &docs)
}

#[cfg(test)]
mod tests;

//! What the fuzz target `supply` of `tests/fuzz` runs: what comes with a component. A panic says that it found something.
//! In no build of the host: only in that of a fuzzer, and in the tests, which repeat every input that was kept.
#![allow(clippy::expect_used, reason = "a panic is how a target says that it found something")]

use std::sync::LazyLock;

use aop_core::supply::{OciReference, Vouch as _};

use crate::{Credentials, Signatures, SignaturesConfig};

static SIGNATURES: LazyLock<Signatures> = LazyLock::new(|| {
    Signatures::new(SignaturesConfig::default()).expect("the trusted root is one")
});

/// References, credentials and bundles of signatures. A reference reads back as it was written, errors hold no credential,
/// and no bundle is believed for a component that nobody signed.
pub fn supply(text: &str) {
    if let Ok(reference) = text.parse::<OciReference>() {
        assert_eq!(reference.to_string().parse(), Ok(reference));
    }
    if let Ok(credentials) = Credentials::from_json(text) {
        assert!(!format!("{credentials:?}").contains("\u{1b}"), "what is shown is escaped");
    }
    SIGNATURES.signed(b"a component that nobody signed", text).expect_err("nobody did");
}

#[cfg(test)]
mod tests;

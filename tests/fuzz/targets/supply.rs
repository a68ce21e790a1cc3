//! What comes with a component: references, credentials and bundles of signatures. A reference reads back as it was written,
//! errors hold no credential, and no bundle is believed for a component that nobody signed.
#![no_main]

use std::sync::LazyLock;

use aop_core::supply::{OciReference, Vouch as _};
use aop_supply::{Credentials, Signatures, SignaturesConfig};
use libfuzzer_sys::fuzz_target;

static SIGNATURES: LazyLock<Signatures> = LazyLock::new(|| {
    Signatures::new(SignaturesConfig::default()).expect("the trusted root is one")
});

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<OciReference>() {
        assert_eq!(reference.to_string().parse(), Ok(reference));
    }
    if let Ok(credentials) = Credentials::from_json(text) {
        assert!(!format!("{credentials:?}").contains("\u{1b}"), "what is shown is escaped");
    }
    SIGNATURES.signed(b"a component that nobody signed", text).expect_err("nobody did");
});

//! Against the provenance of a real package of npm; where it comes from is in `fixtures/README.md`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sigstore_verify::types::{ArtifactDigest, HashAlgorithm};

use super::*;

const BUNDLE: &str = include_str!("fixtures/npm-sigstore-5.0.0.sigstore.json");
const ISSUER: &str = "https://token.actions.githubusercontent.com";
const IDENTITY: &str =
    "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main";
/// Of the package's tarball, which is 20 times as large as the rest of this test.
const SHA512: &str = "849a897e81bf7b8a8541a6ae40bd3473a27a16b1cb0462ad905bd6dc96d34881053a12eb4a375233f81677fc9439f628fe0b0445e8535c60b5559597fbd5f80e";

fn signer(identity: &str) -> Signer {
    Signer::new(ISSUER.to_owned(), identity.to_owned(), None).unwrap()
}

fn signatures(required: bool, identity: &str) -> Signatures {
    let signers = [("npm".to_owned(), signer(identity))].into();
    Signatures::new(SignaturesConfig { required, signers, trusted_root: None }).unwrap()
}

fn tarball() -> Artifact<'static> {
    let byte = |at: usize| u8::from_str_radix(&SHA512[at..at + 2], 16).unwrap();
    let digest: Vec<u8> = (0..SHA512.len()).step_by(2).map(byte).collect();
    Artifact::Digest(ArtifactDigest::new(HashAlgorithm::Sha2512, digest).unwrap())
}

/// What is said of the real package by a bundle that was changed.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut bundle: Value = serde_json::from_str(BUNDLE).unwrap();
    change(&mut bundle);
    signatures(true, IDENTITY).check(tarball(), &bundle.to_string()).unwrap_err()
}

/// Flips a bit in the middle of what is behind base64.
fn flip(value: &mut Value) {
    let mut bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    *value = STANDARD.encode(bytes).into();
}

fn log_entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

fn remove(bundle: &mut Value, key: &str) {
    log_entry(bundle).as_object_mut().unwrap().remove(key).unwrap();
}

#[test]
fn the_provenance_of_a_real_package_is_read() {
    let said = signatures(true, IDENTITY).check(tarball(), BUNDLE).unwrap();
    assert_eq!(said.signer.as_deref(), Some("npm"));
    assert_eq!((said.identity.as_str(), said.issuer.as_str()), (IDENTITY, ISSUER));
    assert_eq!(said.source_repository.as_deref(), Some("https://github.com/sigstore/sigstore-js"));
    assert_eq!(said.source_ref.as_deref(), Some("refs/heads/main"));
    assert_eq!(said.source_commit.as_ref().map(String::len), Some(40));
    assert_eq!(said.workflow.as_deref(), Some(IDENTITY));
    assert!(said.run.unwrap().contains("/actions/runs/"));
    assert!(said.signed_unix_ms.unwrap() > 1_600_000_000_000);
}

#[test]
fn a_signer_is_who_the_operator_says() {
    let name = |identity: &str, repository: Option<&str>, issuer: &str| {
        let repository = repository.map(str::to_owned);
        let signer = Signer::new(issuer.to_owned(), identity.to_owned(), repository).unwrap();
        let config = SignaturesConfig {
            signers: [("it".to_owned(), signer)].into(),
            ..SignaturesConfig::default()
        };
        Signatures::new(config).unwrap().check(tarball(), BUNDLE).unwrap().signer
    };
    let workflow = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@*";
    let repository = "https://github.com/sigstore/sigstore-js";
    assert!(name(workflow, None, ISSUER).is_some());
    assert!(name("https://github.com/sigstore/*", Some(repository), ISSUER).is_some());
    assert_eq!(name(workflow, Some("https://github.com/sigstore/other"), ISSUER), None);
    assert_eq!(name(workflow, None, "https://accounts.google.com"), None);
    assert_eq!(name("https://github.com/acme/*", None, ISSUER), None);
    assert_eq!(name(IDENTITY.trim_end_matches('n'), None, ISSUER), None, "no star, no prefix");
}

#[test]
fn a_signer_that_is_not_listed_is_refused_where_one_must_be() {
    for (identity, is_enough) in [(IDENTITY, true), ("https://github.com/acme/*", false)] {
        let said = |required: bool| {
            let signatures = signatures(required, identity);
            signatures.check(tarball(), BUNDLE).and_then(|said| signatures.authorize(said))
        };
        let (asked, not_asked) = (said(true), said(false).unwrap());
        assert_eq!((asked.is_ok(), not_asked.signer.is_some()), (is_enough, is_enough));
        if let Err(refusal) = asked {
            assert!(
                refusal.contains(IDENTITY) && refusal.ends_with("believes: `npm`"),
                "{refusal}"
            );
        }
    }
}

#[test]
fn a_component_without_a_signature_runs_where_none_is_asked_for() {
    assert_eq!(signatures(false, IDENTITY).unsigned(), Ok(()));
    let refusal = signatures(true, IDENTITY).unsigned().unwrap_err();
    assert!(
        refusal.contains("NAME.wasm.sigstore.json") && refusal.ends_with("one of `npm`"),
        "{refusal}"
    );
}

#[test]
fn the_signature_of_another_artifact_is_not_believed() {
    for required in [true, false] {
        let refusal = signatures(required, IDENTITY).signed(b"another", BUNDLE).unwrap_err();
        assert!(refusal.contains("that of another artifact"), "{refusal}");
    }
}

#[test]
fn what_was_changed_is_not_believed() {
    let certificate = changed(|bundle| {
        flip(&mut bundle["verificationMaterial"]["certificate"]["rawBytes"]);
    });
    let signature = changed(|bundle| flip(&mut bundle["dsseEnvelope"]["signatures"][0]["sig"]));
    let entry = changed(|bundle| flip(&mut log_entry(bundle)["canonicalizedBody"]));
    let proof = changed(|bundle| flip(&mut log_entry(bundle)["inclusionProof"]["hashes"][0]));
    let root = changed(|bundle| flip(&mut log_entry(bundle)["inclusionProof"]["rootHash"]));
    let none = changed(|bundle| remove(bundle, "inclusionProof"));
    let no_entry = changed(|bundle| {
        bundle["verificationMaterial"]["tlogEntries"] = Vec::<Value>::new().into()
    });
    let payload = changed(|bundle| {
        let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
        let text = String::from_utf8(STANDARD.decode(payload).unwrap()).unwrap();
        let text = text.replace("refs/heads/main", "refs/heads/evil");
        bundle["dsseEnvelope"]["payload"] = STANDARD.encode(text).into();
    });
    for refusal in [certificate, signature, entry, proof, root, none, no_entry, payload] {
        let elsewhere = ["another artifact", "not a Sigstore bundle"];
        assert!(!elsewhere.iter().any(|reason| refusal.contains(reason)), "{refusal}");
    }
}

#[test]
fn a_certificate_counts_for_the_minutes_it_was_made_for() {
    // The log's own clock is signed, so moving it breaks the promise; without one there is no time at all.
    let moved = changed(|bundle| {
        log_entry(bundle)["integratedTime"] = "4102444800".into();
    });
    let without = changed(|bundle| {
        remove(bundle, "integratedTime");
        remove(bundle, "inclusionPromise");
    });
    assert!(moved.contains("SET"), "{moved}");
    assert!(without.contains("timestamp"), "{without}");
}

#[test]
fn another_root_believes_nobody_of_this_one() {
    let root = sigstore_verify::trust_root::SIGSTORE_STAGING_TRUSTED_ROOT;
    let config =
        SignaturesConfig { trusted_root: Some(root.to_owned()), ..SignaturesConfig::default() };
    assert!(Signatures::new(config).unwrap().check(tarball(), BUNDLE).is_err());
}

#[test]
fn what_is_no_bundle_is_told_so() {
    let signatures = signatures(false, IDENTITY);
    for text in ["", "{}", "[]", "not json"] {
        let refusal = signatures.signed(b"x", text).unwrap_err();
        assert!(refusal.contains("not a Sigstore bundle"), "{refusal}");
    }
    let large = " ".repeat(BUNDLE_MAX_BYTES + 1);
    assert!(signatures.signed(b"x", &large).unwrap_err().contains("more than"));
}

#[test]
fn patterns_that_fit_strangers_are_mistakes() {
    for (identity, complaint) in [
        ("*", "at its end only"),
        ("https://*/x", "at its end only"),
        ("https://*", "would fit others"),
        ("https://github.com/*", "would fit others"),
        ("https://github.com/acme*", "would fit others"),
    ] {
        let error = Signer::new(ISSUER.to_owned(), identity.to_owned(), None).unwrap_err();
        assert!(error.contains(complaint), "{identity}: {error}");
    }
    let error = Signer::new("github".to_owned(), "a@b".to_owned(), None).unwrap_err();
    assert!(error.contains("no issuer"), "{error}");
}

#[test]
fn a_configuration_that_can_load_nothing_is_a_mistake() {
    let refused = |config| Signatures::new(config).err().unwrap().to_string();
    let nobody = SignaturesConfig { required: true, ..SignaturesConfig::default() };
    assert!(refused(nobody).contains("[supply.signers.NAME]"));
    let root =
        SignaturesConfig { trusted_root: Some("{".to_owned()), ..SignaturesConfig::default() };
    assert!(refused(root).contains("trusted root"));
}

//! Agents whose components are signed, or should be.

use std::sync::atomic::Ordering;

use aop_core::{Catalog as _, CatalogError, RevisionNumber, Settings, State};

use super::{Host, tenant};

fn signed(by: &str) -> Settings {
    Settings { signature: Some(format!("by {by}").into()), ..Settings::default() }
}

impl Host {
    fn signer(&self, name: &str) -> Option<String> {
        self.status(name).provenance.map(|provenance| provenance.identity)
    }

    fn require_signatures(&self) {
        self.vouch.required.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn who_signed_is_shown_and_kept_with_its_revision() {
    let host = Host::scanned().await;
    host.load_with("a", "fn run One.", signed("alice")).await.unwrap();
    host.load_with("a", "fn run Two.", signed("bob")).await.unwrap();
    assert_eq!(host.signer("a").as_deref(), Some("bob"));
    host.registry.rollback(&tenant(), "a").await.unwrap();
    assert_eq!(host.signer("a").as_deref(), Some("alice"));
    let host = host.restarted().await;
    assert_eq!(host.signer("a").as_deref(), Some("alice"));
    host.load("b", "fn run Three.").await.unwrap();
    assert_eq!(host.signer("b"), None);
}

#[tokio::test]
async fn a_signature_that_is_not_believed_is_refused_whether_one_is_asked_for_or_not() {
    let host = Host::scanned().await;
    let settings = Settings { signature: Some("forged".into()), ..Settings::default() };
    let refused = host.load_with("a", "fn run One.", settings).await.unwrap_err();
    let CatalogError::Refused { setting, reason } = refused else { panic!("{refused}") };
    assert_eq!((setting, reason.as_str()), ("signature", "the signature is not believed"));
    assert!(host.tools().is_empty());
}

#[tokio::test]
async fn no_source_passes_unsigned_where_signatures_are_asked_for() {
    let host = Host::scanned().await;
    host.load("before", "fn run One.").await.unwrap();
    host.load_with("after", "fn run Two.", signed("alice")).await.unwrap();
    host.require_signatures();
    let refused = host.load("upload", "fn run Three.").await.unwrap_err();
    assert!(matches!(refused, CatalogError::Refused { setting: "signature", .. }), "{refused}");
    host.write("agents/file.wasm", "fn run Four.");
    // What served without one comes back with its signature only.
    let host = host.restarted().await;
    for name in ["before", "file"] {
        let status = host.status(name);
        assert_eq!(status.state, State::Error, "{name}");
        assert!(status.error.unwrap().contains("signed components only"), "{name}");
    }
    assert_eq!(host.tools(), ["after"]);
}

#[tokio::test]
async fn a_bundle_beside_a_file_is_its_signature() {
    let host = Host::new();
    host.require_signatures();
    host.write("agents/a.wasm", "fn run One.");
    host.registry.scan().await.unwrap();
    assert_eq!(host.status("a").state, State::Error);
    host.write("agents/a.wasm.sigstore.json", "by alice");
    host.registry.watch();
    host.until_state("a", State::Active).await;
    assert_eq!(host.signer("a").as_deref(), Some("alice"));

    // Another bundle is another revision, and one that is not believed changes nothing.
    host.write("agents/a.wasm.sigstore.json", "by bob");
    host.until("bob's bundle is read", |host| host.signer("a").as_deref() == Some("bob")).await;
    assert_eq!(host.status("a").revision, Some(RevisionNumber(2)));
    host.write("agents/a.wasm.sigstore.json", "forged");
    host.until_state("a", State::Error).await;
    assert_eq!(host.resolved("a").as_deref(), Some("One."));

    // What the settings say is more deliberate.
    host.write("agents/a.toml", "signature = \"by carol\"");
    host.until("the settings' bundle is read", |host| host.signer("a").as_deref() == Some("carol"))
        .await;
}

#[tokio::test]
async fn a_bundle_that_is_too_large_is_not_read() {
    let host = Host::new();
    host.write("agents/a.wasm", "fn run One.");
    host.write("agents/a.wasm.sigstore.json", &"x".repeat(aop_core::supply::BUNDLE_MAX_BYTES + 1));
    host.registry.scan().await.unwrap();
    let error = host.status("a").error.unwrap();
    assert!(error.contains("bundle of the signature is larger than"), "{error}");
}

//! Keyless signatures: a Sigstore bundle beside a component says who signed it, as a certificate authority wrote it down
//! and a public log recorded it.
//!
//! A bundle is checked in two steps. `sigstore-verify` establishes that the certificate comes from the trusted root,
//! was valid when the log's or a timestamp authority's clock says that the signature was made, that the log has
//! the entry, and that the signature is over this component. Whether this signer is enough is decided here, by the
//! operator's list. A list without patterns in the library would have to spell out every tag.

use std::collections::BTreeMap;

use aop_core::supply::{BUNDLE_MAX_BYTES, Provenance, Vouch};
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};
use sigstore_verify::types::{Artifact, Bundle, SignatureContent};
use sigstore_verify::{Error, VerificationPolicy, VerificationResult, Verifier};

use crate::crypto;

/// Whom the operator believes. [`Signer::new`] checks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    issuer: String,
    /// As it is written.
    identity: String,
    source_repository: Option<String>,
}

impl Signer {
    /// A signer whom `issuer` knows under `identity`; a star at the end stands for everything that begins like it.
    /// `source_repository` is the repository that was built, where one identity builds many.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub fn new(
        issuer: String,
        identity: String,
        source_repository: Option<String>,
    ) -> Result<Self, String> {
        if !issuer.starts_with("https://") {
            return Err(format!(
                "`{issuer}` is no issuer: write it like `https://token.actions.githubusercontent.com`"
            ));
        }
        let (prefix, is_pattern) = match identity.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (identity.as_str(), false),
        };
        if prefix.is_empty() || prefix.contains('*') {
            return Err(format!(
                "`{identity}` may have a star at its end only: write it like `https://github.com/acme/textkit/.github/workflows/release.yml@refs/tags/*`"
            ));
        }
        // `https://github.com/acme*` would be everyone's whose name begins like it, and `https://*` anybody's.
        let is_bounded = prefix.ends_with(['/', '@']) && prefix.matches('/').count() > 3;
        if is_pattern && !is_bounded {
            return Err(format!(
                "`{identity}` would fit others' names, too: its star must follow a `/` or `@` behind a host and an owner"
            ));
        }
        Ok(Self { issuer, identity, source_repository })
    }

    fn fits(&self, provenance: &Provenance) -> bool {
        let identity = match self.identity.strip_suffix('*') {
            Some(prefix) => provenance.identity.starts_with(prefix),
            None => provenance.identity == self.identity,
        };
        let source = self
            .source_repository
            .as_ref()
            .is_none_or(|repository| provenance.source_repository.as_ref() == Some(repository));
        identity && source && provenance.issuer == self.issuer
    }
}

/// What a host asks of signatures.
#[derive(Debug, Clone, Default)]
pub struct SignaturesConfig {
    /// Refuse every component that none of `signers` signed.
    pub required: bool,
    /// Who may sign, by the name that the operator gives them.
    pub signers: BTreeMap<String, Signer>,
    /// The trusted root as JSON, instead of that of the public good instance of Sigstore.
    pub trusted_root: Option<String>,
}

/// The configuration of signatures cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SignaturesError {
    /// The trusted root is not one.
    #[error("the trusted root of signatures cannot be used: {0}")]
    TrustedRoot(String),
    /// Nothing could ever be loaded.
    #[error(
        "`supply.require_signature` refuses every component as long as nobody may sign: add a table `[supply.signers.NAME]`"
    )]
    NoSigners,
}

/// Why a bundle is not believed.
#[derive(Debug, thiserror::Error)]
enum Doubt {
    #[error("its bundle has more than {BUNDLE_MAX_BYTES} bytes")]
    TooLarge,
    #[error("it is not a Sigstore bundle: {0}")]
    NoBundle(String),
    #[error("it is that of another artifact: sign the .wasm file itself")]
    OtherArtifact,
    #[error("{0}")]
    Wrong(String),
}

/// What a bundle is worth of which there is no better one.
pub(crate) const RANK_BEST: u8 = 3;

/// Checks signatures.
pub struct Signatures {
    verifier: Verifier,
    required: bool,
    signers: BTreeMap<String, Signer>,
}

impl Signatures {
    /// Reads the trusted root.
    ///
    /// # Errors
    /// [`SignaturesError`].
    pub fn new(config: SignaturesConfig) -> Result<Self, SignaturesError> {
        if config.required && config.signers.is_empty() {
            return Err(SignaturesError::NoSigners);
        }
        crypto::install();
        let root = config.trusted_root.as_deref().unwrap_or(SIGSTORE_PRODUCTION_TRUSTED_ROOT);
        let cannot =
            |error: &dyn std::fmt::Display| SignaturesError::TrustedRoot(error.to_string());
        let root = TrustedRoot::from_json(root).map_err(|error| cannot(&error))?;
        let verifier = Verifier::new(&root).map_err(|error| cannot(&error))?;
        Ok(Self { verifier, required: config.required, signers: config.signers })
    }

    /// How much a bundle is worth for a component, where there are several: 3 when one of the operator's signers signed
    /// it, 2 when somebody did, 1 when it is over that component and not believed, 0 when it has nothing to do with it.
    #[must_use]
    pub fn rank(&self, component: &[u8], bundle: &str) -> u8 {
        match self.examine(component, bundle) {
            Ok(provenance) if provenance.signer.is_some() => RANK_BEST,
            Ok(_) => 2,
            Err(Doubt::Wrong(_)) => 1,
            Err(Doubt::TooLarge | Doubt::NoBundle(_) | Doubt::OtherArtifact) => 0,
        }
    }

    fn check<'a>(
        &self,
        component: impl Into<Artifact<'a>>,
        bundle: &str,
    ) -> Result<Provenance, String> {
        self.examine(component, bundle).map_err(|doubt| doubt.to_string())
    }

    fn examine<'a>(
        &self,
        component: impl Into<Artifact<'a>>,
        bundle: &str,
    ) -> Result<Provenance, Doubt> {
        if bundle.len() > BUNDLE_MAX_BYTES {
            return Err(Doubt::TooLarge);
        }
        let bundle =
            Bundle::from_json(bundle).map_err(|error| Doubt::NoBundle(error.to_string()))?;
        let policy = VerificationPolicy::any_identity();
        let component: Artifact<'a> = component.into();
        let verify = || self.verifier.verify(component.clone(), &bundle, &policy);
        let verified = match (&component, &bundle.content) {
            (Artifact::Blob(bytes), SignatureContent::MessageSignature(_)) => {
                crypto::with_message(bytes, verify)
            }
            _ => verify(),
        };
        let result = verified.map_err(|error| match error {
            Error::ArtifactMismatch(_) => Doubt::OtherArtifact,
            other => Doubt::Wrong(other.to_string()),
        })?;
        self.provenance(&result).map_err(Doubt::Wrong)
    }

    fn provenance(&self, result: &VerificationResult) -> Result<Provenance, String> {
        let certificate = result.certificate().ok_or("the bundle has no certificate")?;
        let identity = result.identity().ok_or("the certificate names nobody")?;
        let issuer = result.issuer().ok_or("the certificate does not say who knows the signer")?;
        let claims = certificate.ci_claims.clone();
        let mut provenance = Provenance {
            signer: None,
            identity: identity.as_str().to_owned(),
            issuer: issuer.to_owned(),
            signed_unix_ms: result
                .verified_timestamps()
                .iter()
                .map(|time| time.as_millisecond())
                .min(),
            source_repository: claims.source_repository_uri,
            source_ref: claims.source_repository_ref,
            source_commit: claims.source_repository_digest,
            workflow: claims.build_config_uri.or(claims.build_signer_uri),
            run: claims.run_invocation_uri,
        };
        let signer = self.signers.iter().find(|(_, signer)| signer.fits(&provenance));
        provenance.signer = signer.map(|(name, _)| name.clone());
        Ok(provenance)
    }

    /// Whether who signed is enough for this host.
    fn authorize(&self, provenance: Provenance) -> Result<Provenance, String> {
        if self.required && provenance.signer.is_none() {
            return Err(format!(
                "the component was signed by {} (known to {}), who is none of the signers that this host believes: {}",
                provenance.identity,
                provenance.issuer,
                self.names()
            ));
        }
        Ok(provenance)
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.signers.keys().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    }
}

impl Vouch for Signatures {
    fn unsigned(&self) -> Result<(), String> {
        if !self.required {
            return Ok(());
        }
        Err(format!(
            "this host runs signed components only, and this one comes without a signature: supply its Sigstore bundle as NAME.wasm.sigstore.json beside it, signed by one of {}",
            self.names()
        ))
    }

    fn signed(&self, component: &[u8], bundle: &str) -> Result<Provenance, String> {
        let provenance = self
            .check(component, bundle)
            .map_err(|reason| format!("the component's signature is not believed: {reason}"))?;
        self.authorize(provenance)
    }
}

#[cfg(test)]
mod tests;

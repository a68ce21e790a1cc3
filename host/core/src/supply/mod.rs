//! Where components come from and who vouches for them. `supply` implements it.

mod reference;

use serde::{Deserialize, Serialize};

pub use reference::OciReference;

/// Longest bundle of a signature, in bytes. Those of today have 7 to 12 KiB; ones with long workflow names and
/// statements of a hundred files stay below this.
pub const BUNDLE_MAX_BYTES: usize = 128 << 10;

/// Who signed a component and from what it was built, as its signature's certificate says. Whoever issued the
/// certificate checked each of these; what is missing was not claimed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// The entry of `[supply.signers]` that it fits; none when nobody there signed it.
    pub signer: Option<String>,
    /// Who signed: a workflow's URL or an e-mail address.
    pub identity: String,
    /// Who says that they are that.
    pub issuer: String,
    /// When it was signed, in milliseconds since the Unix epoch.
    pub signed_unix_ms: Option<i64>,
    /// The repository of the sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_repository: Option<String>,
    /// The branch or tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<String>,
    /// The commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_commit: Option<String>,
    /// The workflow that built it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The run of that workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// Decides whether a component may run, from who signed it. Takes milliseconds and asks nobody.
pub trait Vouch: Send + Sync {
    /// What is said of a component without a signature.
    ///
    /// # Errors
    /// Why the host runs no such component, and what to do.
    fn unsigned(&self) -> Result<(), String>;

    /// Checks the signature of a component.
    ///
    /// # Errors
    /// Why it is not believed, or why its signer is not enough, and what to do.
    fn signed(&self, component: &[u8], bundle: &str) -> Result<Provenance, String>;
}

/// Asks for no signature and believes none: what runs one component without a host.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSignatures;

impl Vouch for NoSignatures {
    fn unsigned(&self) -> Result<(), String> {
        Ok(())
    }

    fn signed(&self, _: &[u8], _: &str) -> Result<Provenance, String> {
        Err("signatures are checked by a host only".to_owned())
    }
}

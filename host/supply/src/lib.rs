//! Where components come from, and who vouches for them.
//!
//! - [`Registries`] pulls a component from an OCI registry that the operator named.
//! - [`Signatures`] checks the Sigstore bundle of a component against the operator's list of signers.
//!
//! Both read what strangers wrote. What is pulled is bounded in bytes and time, goes to hosts that were named or to
//! public addresses, and is nothing until its digest is the one that was asked for. A bundle is checked offline: the
//! trusted root comes with the program or from a file, and nobody is asked.

mod credentials;
mod crypto;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod manifest;
mod registry;
mod signature;
mod wire;

pub use credentials::{Credentials, CredentialsError};
pub use registry::{PullError, Pulled, Registries, RegistriesConfig};
pub use signature::{Signatures, SignaturesConfig, SignaturesError, Signer};

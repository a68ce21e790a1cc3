//! ring as the cryptography of `sigstore-verify`, so that the host has one library for it. Signing is left out:
//! the host only verifies.
//!
//! `sigstore-verify` checks a signature over a file by the file's digest, and ring hashes by itself. So whoever checks such a
//! signature says of which file first ([`with_message`]), and the file is hashed once more: where that is the digest,
//! the signature over the file is that over the digest.

use std::cell::RefCell;

use ring::digest::{Algorithm, Context, SHA256, SHA384, SHA512, digest};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use sigstore_verify::crypto::{
    CryptoProvider, Error, HashContext, Result, SigningScheme, install_default_provider,
};
use sigstore_verify::types::HashAlgorithm;

/// Has signatures checked by ring from now on. The first one to say so wins, and nobody else here does.
pub(crate) fn install() {
    // An error means that it is installed already.
    let _ = install_default_provider(&Ring);
}

thread_local! {
    /// The file whose signature is checked on this thread now.
    static MESSAGE: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Runs a check of a signature over `message`. It stays on this thread, and holds a copy meanwhile.
pub(crate) fn with_message<T>(message: &[u8], check: impl FnOnce() -> T) -> T {
    struct Forget;
    impl Drop for Forget {
        fn drop(&mut self) {
            MESSAGE.set(None);
        }
    }
    MESSAGE.set(Some(message.to_vec()));
    let _forget = Forget;
    check()
}

#[derive(Debug)]
struct Ring;

struct Hash(Context);

impl HashContext for Hash {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

impl CryptoProvider for Ring {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>> {
        Ok(Box::new(Hash(Context::new(hash_of(algorithm)?))))
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        data: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        UnparsedPublicKey::new(algorithm(scheme)?, key)
            .verify(data, signature)
            .map_err(|_| Error::Verification(format!("the {} signature is wrong", scheme.name())))
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        wanted: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        let alone = || Error::UnsupportedAlgorithm(format!("{} of a digest alone", scheme.name()));
        let algorithm = hash_of(scheme.hash_algorithm().ok_or_else(alone)?)?;
        MESSAGE.with_borrow(|message| {
            let is_it = |message: &&Vec<u8>| digest(algorithm, message).as_ref() == wanted;
            let message = message.as_ref().filter(is_it).ok_or_else(alone)?;
            self.verify_raw(scheme, key, message, signature)
        })
    }
}

fn hash_of(algorithm: HashAlgorithm) -> Result<&'static Algorithm> {
    match algorithm {
        HashAlgorithm::Sha2256 => Ok(&SHA256),
        HashAlgorithm::Sha2384 => Ok(&SHA384),
        HashAlgorithm::Sha2512 => Ok(&SHA512),
        other => Err(Error::UnsupportedAlgorithm(other.to_string())),
    }
}

fn algorithm(scheme: SigningScheme) -> Result<&'static dyn VerificationAlgorithm> {
    Ok(match scheme {
        SigningScheme::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
        SigningScheme::EcdsaP256Sha384 => &signature::ECDSA_P256_SHA384_ASN1,
        SigningScheme::EcdsaP384Sha256 => &signature::ECDSA_P384_SHA256_ASN1,
        SigningScheme::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_ASN1,
        SigningScheme::Ed25519 => &signature::ED25519,
        SigningScheme::RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
        SigningScheme::RsaPssSha384 => &signature::RSA_PSS_2048_8192_SHA384,
        SigningScheme::RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
        SigningScheme::RsaPkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        SigningScheme::RsaPkcs1Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        SigningScheme::RsaPkcs1Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        other => return Err(Error::UnsupportedAlgorithm(other.name().to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

    use super::*;

    #[test]
    fn a_signature_over_a_digest_is_that_over_the_file_of_this_digest_and_no_other() {
        const SCHEME: SigningScheme = SigningScheme::EcdsaP256Sha256;
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let signature = key.sign(&random, b"a file").unwrap();
        let verify = |wanted: &[u8]| {
            let wanted = digest(&SHA256, wanted);
            let (key, signature) = (key.public_key().as_ref(), signature.as_ref());
            Ring.verify_prehashed(SCHEME, key, wanted.as_ref(), signature)
        };
        assert!(with_message(b"a file", || verify(b"a file")).is_ok());
        let of_another = with_message(b"another", || verify(b"another"));
        assert!(matches!(of_another, Err(Error::Verification(_))), "{of_another:?}");
        let unknown = with_message(b"another", || verify(b"a file"));
        assert!(matches!(unknown, Err(Error::UnsupportedAlgorithm(_))), "{unknown:?}");
        assert!(verify(b"a file").is_err(), "it was forgotten");
    }
}

//! A Sigstore instance of one test: its certificate authority, its certificate log, its signature log and its trusted root,
//! with keys that nobody else has. What it signs is checked by the same code as what the public instance signs.
//!
//! The certificates are as Fulcio makes them (identity, issuer and claims of a build in extensions; the promise of a log
//! that was given for the same certificate without it), the entries as Rekor does (`hashedrekord` 0.0.1 with a promise,
//! an inclusion proof and a checkpoint).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

/// Below this are the extensions of Fulcio.
const FULCIO: [u64; 8] = [1, 3, 6, 1, 4, 1, 57264, 1];
/// The extension with the promises of certificate logs (RFC 6962).
const PROMISES: [u64; 10] = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
/// What stands before the point of a P-256 key in its SPKI.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Whom the authority certifies, and what it says of the build.
pub(super) struct Identity {
    pub(super) issuer: &'static str,
    pub(super) workflow: &'static str,
    pub(super) repository: &'static str,
    pub(super) reference: &'static str,
    pub(super) commit: &'static str,
}

/// A log: its key, and by what others know it.
struct Log {
    key: EcdsaKeyPair,
    spki: Vec<u8>,
    id: Vec<u8>,
}

impl Log {
    fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            .expect("a key can be made");
        let key = signing_key(pkcs8.as_ref());
        let spki = [&SPKI_PREFIX, key.public_key().as_ref()].concat();
        let id = sha256(&spki);
        Self { key, spki, id }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        sign(&self.key, message)
    }

    /// As a trusted root names it.
    fn trusted(&self, url: &str) -> Value {
        json!({
            "baseUrl": url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": STANDARD.encode(&self.spki),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": { "start": "2020-01-01T00:00:00Z" },
            },
            "logId": { "keyId": STANDARD.encode(&self.id) },
        })
    }
}

/// See the module's documentation.
pub(super) struct Instance {
    authority: CertifiedIssuer<'static, KeyPair>,
    certificates: Log,
    signatures: Log,
}

impl Instance {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("it names nobody");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key can be made");
        let authority = CertifiedIssuer::self_signed(params, key).expect("it can be signed");
        Self { authority, certificates: Log::new(), signatures: Log::new() }
    }

    /// What a host has to believe to believe this instance.
    pub(super) fn trusted_root(&self) -> String {
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self.signatures.trusted("https://rekor.test")],
            "certificateAuthorities": [{
                "subject": { "organization": "test", "commonName": "test" },
                "uri": "https://fulcio.test",
                "certChain": { "certificates": [{ "rawBytes": STANDARD.encode(self.authority.der()) }] },
                "validFor": { "start": "2020-01-01T00:00:00Z" },
            }],
            "ctlogs": [self.certificates.trusted("https://ctfe.test")],
            "timestampAuthorities": [],
        })
        .to_string()
    }

    /// The bundle of somebody who signs an artifact now.
    pub(super) fn sign(&self, artifact: &[u8], identity: &Identity) -> String {
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = self.certify(&key, identity);
        let signer = signing_key(&key.serialize_der());
        let signature = sign(&signer, artifact);
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": { "rawBytes": STANDARD.encode(&certificate) },
                "tlogEntries": [self.record(artifact, &signature, &certificate)],
            },
            "messageSignature": {
                "messageDigest": {
                    "algorithm": "SHA2_256",
                    "digest": STANDARD.encode(sha256(artifact)),
                },
                "signature": STANDARD.encode(&signature),
            },
        })
        .to_string()
    }

    /// A certificate for ten minutes, with the log's promise.
    fn certify(&self, key: &KeyPair, identity: &Identity) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).expect("it names nobody");
        let now = SystemTime::now();
        params.not_before = (now - Duration::from_secs(300)).into();
        params.not_after = (now + Duration::from_secs(300)).into();
        params.serial_number = Some(SerialNumber::from(vec![0x42; 16]));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let workflow = identity.workflow.try_into().expect("it is ASCII");
        params.subject_alt_names = vec![SanType::URI(workflow)];
        for (number, value) in [
            (8, identity.issuer),
            (12, identity.repository),
            (13, identity.commit),
            (14, identity.reference),
            (18, identity.workflow),
        ] {
            let id = [&FULCIO[..], &[number]].concat();
            // UTF8String
            params
                .custom_extensions
                .push(CustomExtension::from_oid_content(&id, der(0x0c, value.as_bytes())));
        }
        let signed = |params: &CertificateParams| {
            params.signed_by(key, &self.authority).expect("it can be signed").der().to_vec()
        };
        let promise = self.promise(&signed(&params));
        let list = prefixed(2, &prefixed(2, &promise));
        // OCTET STRING
        let content = der(0x04, &list);
        params.custom_extensions.push(CustomExtension::from_oid_content(&PROMISES, content));
        signed(&params)
    }

    /// What a certificate log promises of a certificate that has no promise yet (RFC 6962, section 3.2).
    fn promise(&self, certificate: &[u8]) -> Vec<u8> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        let time = u64::try_from(since.as_millis()).expect("it is before the end of time");
        let (_, authority) =
            x509_parser::parse_x509_certificate(self.authority.der()).expect("it is one");
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).expect("it is one");
        let promised = [
            &[0, 0][..],
            &time.to_be_bytes(),
            &[0, 1],
            &sha256(authority.tbs_certificate.subject_pki.raw),
            &prefixed(3, parsed.tbs_certificate.as_ref()),
            &[0, 0],
        ]
        .concat();
        let signature = self.certificates.sign(&promised);
        [
            &[0][..],
            &self.certificates.id,
            &time.to_be_bytes(),
            &[0, 0],
            // SHA-256 and ECDSA
            &[4, 3],
            &prefixed(2, &signature),
        ]
        .concat()
    }

    /// The entry of a signature in a log that has no other.
    fn record(&self, artifact: &[u8], signature: &[u8], certificate: &[u8]) -> Value {
        let pem = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            STANDARD.encode(certificate)
        );
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": { "hash": { "algorithm": "sha256", "value": hex(&sha256(artifact)) } },
                "signature": {
                    "content": STANDARD.encode(signature),
                    "publicKey": { "content": STANDARD.encode(pem) },
                },
            },
        })
        .to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        let log = &self.signatures;
        let body_text = STANDARD.encode(&body);
        // Canonical JSON: members in order, no spaces.
        let promised = json!({
            "body": body_text, "integratedTime": now, "logID": hex(&log.id), "logIndex": 0,
        });
        let root = sha256(&[&[0], body.as_bytes()].concat());
        let note = format!("rekor.test\n1\n{}\n", STANDARD.encode(&root));
        let noted = [&log.id[..4], &log.sign(note.as_bytes())].concat();
        let checkpoint = format!("{note}\n\u{2014} rekor.test {}\n", STANDARD.encode(noted));
        json!({
            "logIndex": "0",
            "logId": { "keyId": STANDARD.encode(&log.id) },
            "kindVersion": { "kind": "hashedrekord", "version": "0.0.1" },
            "integratedTime": now.to_string(),
            "inclusionPromise": {
                "signedEntryTimestamp": STANDARD.encode(log.sign(promised.to_string().as_bytes())),
            },
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": STANDARD.encode(&root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": { "envelope": checkpoint },
            },
            "canonicalizedBody": body_text,
        })
    }
}

fn signing_key(pkcs8: &[u8]) -> EcdsaKeyPair {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &SystemRandom::new())
        .expect("it is a key")
}

fn sign(key: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
    key.sign(&SystemRandom::new(), message).expect("it can be signed").as_ref().to_vec()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes behind their length, in so many bytes (TLS).
fn prefixed(width: usize, bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_be_bytes();
    [&length[length.len() - width..], bytes].concat()
}

/// A value of a tag, up to 64 KiB (DER).
fn der(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len();
    let head = match u8::try_from(length) {
        Ok(length @ 0..0x80) => vec![tag, length],
        Ok(length) => vec![tag, 0x81, length],
        Err(_) => [&[tag, 0x82][..], &prefixed(2, bytes)[..2]].concat(),
    };
    [&head, bytes].concat()
}

//! A store in memory, and an issuer whose keys are here.
#![allow(clippy::unwrap_used, reason = "tests, and what fuzz targets stand on")]
#![cfg_attr(not(test), allow(dead_code, reason = "fuzz targets use a part of it"))]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aop_core::{
    AccessStore, Audit, AuditEvent, BoxFuture, KeyId, KeyRecord, SealedSecret, SecretName,
    StoreError, Tenancy, Tenant, TenantName,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::{Value, json};

use crate::{Access, AccessConfig, AccessParts, Fetch, IssuerConfig, TenantRule, Vault};

pub(crate) const ISSUER: &str = "https://issuer.example/realm";
pub(crate) const AUDIENCE: &str = "https://aop.example/mcp";

pub(crate) fn named(name: &str) -> TenantName {
    TenantName::new(name).unwrap()
}

#[derive(Default)]
pub(crate) struct FakeStore {
    pub(crate) tenants: Mutex<BTreeMap<TenantName, Tenant>>,
    pub(crate) keys: Mutex<BTreeMap<KeyId, KeyRecord>>,
    pub(crate) secrets: Mutex<BTreeMap<(TenantName, SecretName), SealedSecret>>,
    pub(crate) fails: Mutex<bool>,
    had_keys: Mutex<bool>,
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, StoreError>> {
    Box::pin(std::future::ready(Ok(value)))
}

impl FakeStore {
    pub(crate) fn with(tenants: &[&str]) -> Arc<Self> {
        let store = Self::default();
        for name in tenants {
            let tenant = Tenant { name: named(name), created_unix_ms: 1 };
            store.tenants.lock().unwrap().insert(named(name), tenant);
        }
        Arc::new(store)
    }
}

impl AccessStore for FakeStore {
    fn tenants(&self) -> BoxFuture<'_, Result<Vec<Tenant>, StoreError>> {
        ready(self.tenants.lock().unwrap().values().cloned().collect())
    }

    fn add_tenant(&self, tenant: Tenant) -> BoxFuture<'_, Result<(), StoreError>> {
        let known = self.tenants.lock().unwrap().insert(tenant.name.clone(), tenant);
        Box::pin(std::future::ready(known.map_or(Ok(()), |_| Err(StoreError::Conflict))))
    }

    fn renew_tenant(&self, tenant: Tenant) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut tenants = self.tenants.lock().unwrap();
        if let Some(known) = tenants.get_mut(&tenant.name) {
            *known = tenant;
        }
        ready(())
    }

    fn remove_tenant<'a>(
        &'a self,
        tenant: &'a TenantName,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.tenants.lock().unwrap().remove(tenant);
        self.keys.lock().unwrap().retain(|_, record| record.key.tenant != *tenant);
        ready(())
    }

    fn keys(&self) -> BoxFuture<'_, Result<Vec<KeyRecord>, StoreError>> {
        ready(self.keys.lock().unwrap().values().cloned().collect())
    }

    fn put_keys(&self, keys: Vec<KeyRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        *self.had_keys.lock().unwrap() = true;
        let mut stored = self.keys.lock().unwrap();
        stored.extend(keys.into_iter().map(|record| (record.key.id.clone(), record)));
        ready(())
    }

    fn remove_keys(&self, keys: Vec<KeyId>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.keys.lock().unwrap().retain(|id, _| !keys.contains(id));
        ready(())
    }

    fn note_used(&self, used: Vec<(KeyId, u64)>) -> BoxFuture<'_, Result<(), StoreError>> {
        if *self.fails.lock().unwrap() {
            let full = StoreError::Failed("the disk is full".to_owned());
            return Box::pin(std::future::ready(Err(full)));
        }
        for (id, at) in used {
            if let Some(record) = self.keys.lock().unwrap().get_mut(&id) {
                record.key.last_used_unix_ms = Some(at);
            }
        }
        ready(())
    }

    fn had_keys(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        ready(*self.had_keys.lock().unwrap())
    }

    fn secrets<'a>(
        &'a self,
        tenant: Option<&'a TenantName>,
    ) -> BoxFuture<'a, Result<Vec<SealedSecret>, StoreError>> {
        let secrets = self.secrets.lock().unwrap();
        let shown = secrets.values().filter(|secret| tenant.is_none_or(|of| secret.tenant == *of));
        ready(shown.cloned().collect())
    }

    fn secret<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<Option<SealedSecret>, StoreError>> {
        ready(self.secrets.lock().unwrap().get(&(tenant.clone(), name.clone())).cloned())
    }

    fn put_secrets(&self, secrets: Vec<SealedSecret>) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut stored = self.secrets.lock().unwrap();
        for secret in secrets {
            stored.insert((secret.tenant.clone(), secret.entry.name.clone()), secret);
        }
        ready(())
    }

    fn remove_secret<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let removed = self.secrets.lock().unwrap().remove(&(tenant.clone(), name.clone()));
        ready(removed.is_some())
    }
}

/// An audit log to look into.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<String>>);

impl Log {
    /// What was noted since the last look.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Audit for Log {
    fn note(&self, event: AuditEvent<'_>) {
        let AuditEvent { who, action, outcome, tenant, subject, .. } = event;
        let tenant = tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
        let (action, outcome) = (action.as_str(), outcome.as_str());
        self.0.lock().unwrap().push(format!("{who} {action} {outcome} {tenant} {subject}"));
    }
}

/// Something that waits until it may go on, and says when it begins to.
pub(crate) struct Held {
    pub(crate) began: tokio::sync::Notify,
    pub(crate) go: tokio::sync::Semaphore,
}

impl Held {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { began: tokio::sync::Notify::new(), go: tokio::sync::Semaphore::new(0) })
    }

    async fn wait(&self) {
        self.began.notify_one();
        self.go.acquire().await.unwrap().forget();
    }
}

impl Tenancy for Held {
    fn begin(&self, _: &Tenant) {}

    fn end<'a>(&'a self, _: &'a Tenant) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            self.wait().await;
            Ok(())
        })
    }
}

/// An issuer that takes its time.
pub(crate) struct SlowIssuer {
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) held: Arc<Held>,
}

impl Fetch for SlowIssuer {
    fn get<'a>(&'a self, url: &'a str, max_bytes: usize) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            self.held.wait().await;
            self.issuer.get(url, max_bytes).await
        })
    }
}

/// Notes who began and ended.
#[derive(Default)]
pub(crate) struct Noted {
    pub(crate) what: Mutex<Vec<String>>,
    /// When those that ended were created.
    pub(crate) ended: Mutex<Vec<u64>>,
    pub(crate) fails: Mutex<bool>,
}

impl Tenancy for Noted {
    fn begin(&self, tenant: &Tenant) {
        self.what.lock().unwrap().push(format!("+{}", tenant.name));
    }

    fn end<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<(), String>> {
        self.what.lock().unwrap().push(format!("-{}", tenant.name));
        self.ended.lock().unwrap().push(tenant.created_unix_ms);
        let fails = *self.fails.lock().unwrap();
        Box::pin(async move { if fails { Err("it is stuck".to_owned()) } else { Ok(()) } })
    }
}

/// An issuer with keys of two kinds.
pub(crate) struct Issuer {
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
    /// What its documents are; what is not among them is not there.
    pub(crate) documents: Mutex<BTreeMap<String, Vec<u8>>>,
    pub(crate) fetches: AtomicUsize,
}

impl Issuer {
    pub(crate) fn new() -> Arc<Self> {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let issuer = Self {
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random)
                .unwrap(),
            documents: Mutex::default(),
            fetches: AtomicUsize::new(0),
        };
        issuer.publish("jwks", &json!({ "keys": [issuer.ed_jwk("ed"), issuer.ec_jwk("ec")] }));
        issuer.publish(
            &format!("{ISSUER}/.well-known/openid-configuration"),
            &json!({ "issuer": ISSUER, "jwks_uri": format!("{ISSUER}/jwks") }),
        );
        Arc::new(issuer)
    }

    /// Documents are found by the end of their URL or by all of it.
    pub(crate) fn publish(&self, url: &str, document: &Value) {
        let url = if url == "jwks" { format!("{ISSUER}/jwks") } else { url.to_owned() };
        self.documents.lock().unwrap().insert(url, document.to_string().into_bytes());
    }

    pub(crate) fn ed_jwk(&self, kid: &str) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.ed.public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "alg": "EdDSA", "x": x })
    }

    fn ec_jwk(&self, kid: &str) -> Value {
        let point = self.ec.public_key().as_ref();
        let coordinate = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": coordinate(1..33), "y": coordinate(33..65) })
    }

    pub(crate) fn public_bytes(&self) -> Vec<u8> {
        self.ed.public_key().as_ref().to_vec()
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = match header["alg"].as_str() {
            Some("ES256") => {
                let signed = self.ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
                URL_SAFE_NO_PAD.encode(signed)
            }
            _ => URL_SAFE_NO_PAD.encode(self.ed.sign(message.as_bytes())),
        };
        format!("{message}.{signature}")
    }

    /// A good token that is good until `expires`, in seconds.
    pub(crate) fn token(&self, expires: u64) -> String {
        self.sign(&json!({ "alg": "EdDSA", "kid": "ed", "typ": "at+jwt" }), &claims(expires))
    }
}

pub(crate) fn claims(expires: u64) -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": expires, "org": { "tenant": "acme" },
            "scope": "openid tools:call cluster:admin" })
}

impl Fetch for Issuer {
    fn get<'a>(&'a self, url: &'a str, max_bytes: usize) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let document = self.documents.lock().unwrap().get(url).cloned();
        let answer = match document {
            Some(document) if document.len() <= max_bytes => Ok(document),
            Some(_) => Err("too large".to_owned()),
            None => Err(format!("{url} answered 404")),
        };
        Box::pin(std::future::ready(answer))
    }
}

pub(crate) fn issuer_config() -> IssuerConfig {
    IssuerConfig {
        issuer: ISSUER.to_owned(),
        audiences: vec!["other".to_owned(), AUDIENCE.to_owned()],
        jwks_url: None,
        algorithms: crate::ALGORITHMS.map(str::to_owned).to_vec(),
        tenant: TenantRule::Claim("org.tenant".to_owned()),
        scope_claim: "scope".to_owned(),
        scopes: BTreeMap::new(),
        grant: Default::default(),
    }
}

pub(crate) fn config() -> AccessConfig {
    let vault = Vault::new(&"ab".repeat(32)).unwrap();
    AccessConfig {
        required: false,
        is_local: true,
        tenants: Vec::new(),
        issuers: Vec::new(),
        vault: Some(vault),
    }
}

pub(crate) async fn open(
    config: AccessConfig,
    store: &Arc<FakeStore>,
    issuer: &Arc<Issuer>,
) -> Access {
    let parts = AccessParts {
        store: store.clone(),
        audit: Arc::new(aop_core::NoAudit),
        fetch: issuer.clone(),
        tenancies: Vec::new(),
    };
    Access::open(config, parts).await.unwrap()
}

//! Turns what a request carries into a caller.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aop_core::audit::{Action, Actor, Outcome};
use aop_core::{
    AccessStore, Audit, AuditEvent, Authenticate, AuthenticateError, Bond, BoxFuture, Caller,
    Identified, Known, Measure, Presented, Sample, Scope, Scopes, Secret, SecretError, SecretName,
    Secrets, Standing, StoreError, Tenancy, Tenant, TenantName,
};
use arc_swap::ArcSwap;

use crate::departures::Departures;
use crate::failures::Failures;
use crate::key::{self, Keys};
use crate::token::{Fetch, IssuerConfig, Repute, TokenError, Tokens};
use crate::vault::Vault;

/// How often uses of keys are written down.
const NOTE_USES_EVERY: Duration = Duration::from_secs(60);

/// What a host asks of its callers.
#[derive(Debug)]
pub struct AccessConfig {
    /// Whether a credential is needed although there is nothing yet that one could be checked against.
    pub required: bool,
    /// Whether only this machine reaches the host. Whoever uses an open host from elsewhere manages nothing.
    pub is_local: bool,
    /// Tenants that exist because the configuration says so.
    pub tenants: Vec<TenantName>,
    /// Whose tokens are believed.
    pub issuers: Vec<IssuerConfig>,
    /// Encrypts secrets; without it, none can be set.
    pub vault: Option<Vault>,
}

/// What it stands on.
pub struct AccessParts {
    /// Where tenants, keys and secrets are.
    pub store: Arc<dyn AccessStore>,
    /// Where it is written down who did what.
    pub audit: Arc<dyn Audit>,
    /// Gets the keys of issuers.
    pub fetch: Arc<dyn Fetch>,
    /// Who keeps something of tenants, in the order in which they have to let go.
    pub tenancies: Vec<Arc<dyn Tenancy>>,
}

/// See the crate's documentation. Clones are the same.
#[derive(Clone)]
pub struct Access {
    pub(crate) inner: Arc<Inner>,
    /// Of whom changes are made for; none where nobody can take it away.
    pub(crate) standing: Option<Standing>,
}

/// Whom a credential speaks for, before it is known whether there is such a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vouched {
    pub(crate) caller: Caller,
    pub(crate) bond: Bond,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn AccessStore>,
    pub(crate) audit: Arc<dyn Audit>,
    pub(crate) tenancies: Vec<Arc<dyn Tenancy>>,
    pub(crate) keys: Keys,
    /// And when each was created, which tells it from earlier ones of its name.
    pub(crate) tenants: ArcSwap<BTreeMap<TenantName, u64>>,
    /// Tenants that the configuration names: it would bring them back.
    pub(crate) configured: Vec<TenantName>,
    pub(crate) vault: Option<Vault>,
    /// Held while something changes, so that the store and what is in memory change alike.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// Grows with whatever the other nodes of the zone should know.
    pub(crate) version: AtomicU64,
    pub(crate) departures: Departures,
    tokens: Tokens,
    failures: Failures,
    is_closed: AtomicBool,
    open_caller: Caller,
    accepted: AtomicU64,
}

impl Access {
    /// Reads what is stored. Secrets that an older key encrypted are encrypted again.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or written.
    pub async fn open(config: AccessConfig, parts: AccessParts) -> Result<Self, StoreError> {
        let AccessParts { store, audit, fetch, tenancies } = parts;
        let tokens = Tokens::new(config.issuers, &fetch);
        let keys = Keys::default();
        keys.restore(store.keys().await?);
        let had_keys = store.had_keys().await?;
        let mut stored = store.tenants().await?;
        let mut tenants: BTreeMap<_, _> =
            stored.iter().map(|tenant| (tenant.name.clone(), tenant.created_unix_ms)).collect();
        for name in &config.tenants {
            if !tenants.contains_key(name) {
                let created_unix_ms = unix_ms(SystemTime::now());
                tenants.insert(name.clone(), created_unix_ms);
                let tenant = Tenant { name: name.clone(), created_unix_ms };
                store.add_tenant(tenant.clone()).await?;
                stored.push(tenant);
                audit.note(AuditEvent {
                    tenant: Some(name),
                    detail: "the configuration names it",
                    ..AuditEvent::of_host(Action::TenantCreate, name)
                });
            }
        }
        let scopes = if config.is_local {
            Scopes::ALL
        } else {
            Scopes::ALL.without(Scope::TenantAdmin).without(Scope::ClusterAdmin)
        };
        let open_caller = Caller { scopes, ..Caller::local(TenantName::default_tenant()) };
        let inner = Inner {
            is_closed: AtomicBool::new(config.required || had_keys || !tokens.is_empty()),
            tenants: ArcSwap::from_pointee(tenants),
            store,
            audit,
            tenancies,
            keys,
            configured: config.tenants,
            vault: config.vault,
            changing: tokio::sync::Mutex::default(),
            version: AtomicU64::new(0),
            departures: Departures::default(),
            tokens,
            failures: Failures::default(),
            open_caller,
            accepted: AtomicU64::new(0),
        };
        let access = Self { inner: Arc::new(inner), standing: None };
        access.encrypt_again().await?;
        stored.iter().for_each(|tenant| access.tell_begin(tenant));
        Ok(access)
    }

    /// Whether callers have to authenticate.
    #[must_use]
    pub fn authenticates(&self) -> bool {
        self.inner.is_closed.load(Ordering::Acquire)
    }

    /// The issuers of tokens, for clients that want one.
    #[must_use]
    pub fn issuers(&self) -> Vec<String> {
        self.inner.tokens.issuers().map(str::to_owned).collect()
    }

    /// Writes down when keys were used, every minute, until it is dropped.
    pub async fn note_uses(&self) {
        loop {
            tokio::time::sleep(NOTE_USES_EVERY).await;
            self.note_uses_now().await;
        }
    }

    /// Writes down when keys were used.
    pub async fn note_uses_now(&self) {
        let used = self.inner.keys.unstored_uses();
        if used.is_empty() {
            return;
        }
        match self.inner.store.note_used(used.clone()).await {
            Ok(()) => self.inner.keys.stored_uses(&used),
            Err(error) => {
                tracing::warn!(%error, "when keys were used last is not written down yet");
            }
        }
    }

    /// What was encrypted with an older key is encrypted with the newest.
    async fn encrypt_again(&self) -> Result<(), StoreError> {
        let Some(vault) = &self.inner.vault else { return Ok(()) };
        let stored = self.inner.store.secrets(None).await?;
        let (mut again, mut lost) = (Vec::new(), 0_usize);
        for mut secret in stored.into_iter().filter(|secret| !vault.is_current(&secret.sealed)) {
            match vault.open(&secret.tenant, &secret.entry.name, &secret.sealed) {
                Ok(value) => {
                    secret.sealed = vault.seal(&secret.tenant, &secret.entry.name, &value);
                    again.push(secret);
                }
                Err(_) => lost += 1,
            }
        }
        if lost > 0 {
            tracing::warn!(
                secrets = lost,
                "secrets cannot be decrypted with the keys that this host has: add the old key as a further line, or set them again"
            );
        }
        if !again.is_empty() {
            let secrets = again.len();
            self.inner.store.put_secrets(again).await?;
            tracing::info!(secrets, "encrypted secrets with the new key: the old ones may go");
        }
        Ok(())
    }
}

impl Inner {
    /// Something is different from now on, which the other nodes of the zone should know.
    pub(crate) fn changed(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// From now on there is a key, so callers need one.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// Lets the caller act for the tenant that the path names: its own, or any for whoever manages all. One that does not
    /// exist and one that the caller may not know of are the same.
    fn for_tenant(
        &self,
        caller: Caller,
        named: Option<&str>,
    ) -> Result<(Caller, u64), AuthenticateError> {
        let tenants = self.tenants.load();
        let Some(named) = named.filter(|named| **named != *caller.tenant) else {
            // Of a token, the issuer says which; a tenant that was deleted is none.
            return match tenants.get(&caller.tenant) {
                Some(since_unix_ms) => Ok((caller, *since_unix_ms)),
                None => Err(AuthenticateError::Invalid),
            };
        };
        match tenants.get_key_value(named).filter(|_| caller.scopes.has(Scope::ClusterAdmin)) {
            Some((tenant, since_unix_ms)) => {
                Ok((Caller { tenant: tenant.clone(), ..caller }, *since_unix_ms))
            }
            None => {
                // Names are the caller's choice, so they make no kinds of refusals.
                let detail = format!("it named a tenant that it may not act for: `{named}`");
                self.audit.note(AuditEvent {
                    who: Actor::Caller(&caller.subject),
                    outcome: Outcome::Refused,
                    tenant: Some(&caller.tenant),
                    detail: &detail,
                    ..AuditEvent::of_host(Action::AccessRefuse, "tenant")
                });
                Err(AuthenticateError::UnknownTenant)
            }
        }
    }

    pub(crate) fn accept(
        &self,
        Vouched { caller, bond }: Vouched,
        named: Option<&str>,
    ) -> Result<Known, AuthenticateError> {
        let (caller, since_unix_ms) = self.for_tenant(caller, named)?;
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(Known { caller, bond, since_unix_ms })
    }

    fn refuse(
        &self,
        address: Option<IpAddr>,
        now_unix_ms: u64,
        reason: &dyn std::fmt::Display,
    ) -> AuthenticateError {
        match self.failures.count(address, now_unix_ms) {
            Some(retry_after) => AuthenticateError::TooMany { retry_after },
            None => {
                let (from, reason) =
                    (address.map(|address| address.to_string()), reason.to_string());
                let from = from.unwrap_or_default();
                tracing::warn!(address = from, reason, "refused a credential");
                self.audit.note(AuditEvent {
                    who: Actor::Anonymous,
                    outcome: Outcome::Refused,
                    detail: &reason,
                    ..AuditEvent::of_host(Action::AccessRefuse, &from)
                });
                AuthenticateError::Invalid
            }
        }
    }

    fn key(
        &self,
        text: &str,
        presented: Presented<'_>,
        now_unix_ms: u64,
    ) -> Result<Known, AuthenticateError> {
        match self.keys.find(text, now_unix_ms) {
            Ok(known) => self.accept(known, presented.tenant),
            Err(reason) => Err(self.refuse(
                presented.address,
                now_unix_ms,
                &format_args!("API key: {reason:?}"),
            )),
        }
    }

    async fn verify(
        self: Arc<Self>,
        token: Secret,
        tenant: Option<String>,
        (address, standing): (Option<IpAddr>, Repute),
        now_unix_ms: u64,
    ) -> Result<Known, AuthenticateError> {
        match self.tokens.verify(token.expose(), standing, now_unix_ms).await {
            Ok(known) => self.accept(known, tenant.as_deref()),
            Err(TokenError::Unavailable(_)) => Err(AuthenticateError::Unavailable),
            Err(reason) => Err(self.refuse(address, now_unix_ms, &format_args!("token: {reason}"))),
        }
    }
}

impl Authenticate for Access {
    fn authenticate(&self, presented: Presented<'_>) -> Identified {
        let inner = &self.inner;
        if !self.authenticates() {
            let open = Vouched { caller: inner.open_caller.clone(), bond: Bond::Open };
            return Identified::Now(inner.accept(open, presented.tenant));
        }
        let Some(text) = presented.bearer else {
            return Identified::Now(Err(AuthenticateError::Missing));
        };
        let now = unix_ms(SystemTime::now());
        if key::looks_like_one(text) {
            return Identified::Now(inner.key(text, presented, now));
        }
        if let Some(known) = inner.tokens.known(text, now) {
            return Identified::Now(inner.accept(known, presented.tenant));
        }
        let wait = inner.failures.used_up(presented.address, now);
        if let Some(retry_after) = wait.filter(|_| !inner.tokens.may_be_good(text, now)) {
            inner.failures.limited.fetch_add(1, Ordering::Relaxed);
            return Identified::Now(Err(AuthenticateError::TooMany { retry_after }));
        }
        let standing = if wait.is_some() { Repute::Doubted } else { Repute::Good };
        if inner.tokens.is_empty() {
            let reason = "no issuer of tokens is configured";
            return Identified::Now(Err(inner.refuse(presented.address, now, &reason)));
        }
        let (token, tenant) = (Secret::new(text.to_owned()), presented.tenant.map(str::to_owned));
        let verifying = inner.clone().verify(token, tenant, (presented.address, standing), now);
        Identified::Soon(Box::pin(verifying))
    }

    fn holds(&self, known: &Known) -> bool {
        let (inner, now) = (&self.inner, unix_ms(SystemTime::now()));
        let is_good = match &known.bond {
            Bond::Open => !self.authenticates(),
            Bond::Key(id) => inner.keys.is_good(id, now),
            Bond::Token { expires_unix_ms } => now < *expires_unix_ms,
        };
        is_good && inner.tenants.load().get(&known.caller.tenant) == Some(&known.since_unix_ms)
    }
}

impl Secrets for Access {
    fn get<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<Secret, SecretError>> {
        Box::pin(async move {
            let stored = self.inner.store.secret(tenant, name).await;
            let stored = stored.map_err(|error| SecretError::Failed(error.to_string()))?;
            let stored = stored.ok_or_else(|| SecretError::Missing(name.clone()))?;
            let vault = self.inner.vault.as_ref().ok_or_else(|| {
                SecretError::Sealed("this host has no key for its secrets: set `secrets_key_file` under `[access]`, or AOP_SECRETS_KEY".to_owned())
            })?;
            vault.open(tenant, name, &stored.sealed).map_err(|error| {
                SecretError::Sealed(format!("the secret `{name}` cannot be decrypted: {error}"))
            })
        })
    }
}

impl Measure for Access {
    fn measure(&self) -> Vec<Sample> {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let inner = &self.inner;
        vec![
            Sample::counter(
                "requests_authenticated",
                "Requests whose caller is known",
                read(&inner.accepted),
            ),
            Sample::counter(
                "credentials_refused",
                "Credentials that were not valid",
                read(&inner.failures.counted),
            ),
            Sample::counter(
                "credentials_limited",
                "Requests refused because their address sent too many invalid credentials",
                read(&inner.failures.limited),
            ),
            Sample::gauge(
                "api_keys",
                "API keys, expired and revoked ones included",
                inner.keys.len() as u64,
            ),
            Sample::gauge("tenants", "Tenants", inner.tenants.load().len() as u64),
        ]
    }
}

pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

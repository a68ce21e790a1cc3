//! Makes what agents' capabilities stand on, with the keys of the environment.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aop_core::bucket::{Bucket, BucketError, BucketQuota, Buckets, KeyPage};
use aop_core::model::TokenLedger;
use aop_core::{
    AgentName, BoxFuture, Hit, Query, Search, SearchError, Secret, SecretError, SecretName,
    Secrets, TenantName, Tool,
};
use aop_services::{
    HttpEgress, ModelConfig, ModelProvider, ModelProviders, Network, ProviderKind, SystemResolver,
};
use aop_store::{SqliteStore, StoreConfig};
use aop_web::Metrics;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::config::{Config, ServicesConfig};
use crate::state::Remembering;
use crate::{environment, mounts};

mod known;

pub(crate) use known::KnownProviders;

/// Providers that need no declaration: name, kind, URL if it is not the company's, and the variable of the key.
const WELL_KNOWN: [(&str, ProviderKind, Option<&str>, Option<&str>); 3] = [
    ("openai", ProviderKind::OpenAi, None, Some("OPENAI_API_KEY")),
    ("anthropic", ProviderKind::Anthropic, None, Some("ANTHROPIC_API_KEY")),
    ("ollama", ProviderKind::OpenAi, Some("http://127.0.0.1:11434/v1"), None),
];
/// How often conversations that nobody continues are looked for. They are kept for days.
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);

/// The ways out of the host.
pub(crate) struct Outside {
    pub(crate) models: Arc<ModelProviders>,
    pub(crate) egress: Arc<HttpEgress>,
    pub(crate) network: Network,
    /// What agents may see of the environment: not the keys.
    pub(crate) environment: Arc<BTreeMap<String, String>>,
}

impl Outside {
    pub(crate) fn open(
        config: &ServicesConfig,
        ledger: Option<Arc<dyn TokenLedger>>,
        secrets: Arc<dyn Secrets>,
    ) -> anyhow::Result<Self> {
        let mut environment = environment::texts();
        let models = ModelConfig {
            providers: providers(config, &mut environment)?,
            ..config.models.clone()
        };
        let network = Network::new(SystemResolver);
        Ok(Self {
            models: Arc::new(ModelProviders::new(
                models,
                network.clone(),
                secrets.clone(),
                ledger,
            )?),
            egress: Arc::new(HttpEgress::new(network.clone(), secrets, config.egress)),
            network,
            environment: Arc::new(environment),
        })
    }

    /// Keeps from agents, whatever their settings name, the host's own variables, and those that the configuration
    /// names for something else.
    pub(crate) fn hide_from_agents(&mut self, config: &Config) {
        hide(Arc::make_mut(&mut self.environment), config);
    }

    pub(crate) fn register(&self, metrics: &Metrics) {
        metrics.register(self.models.clone());
        metrics.register(self.egress.clone());
    }
}

/// The host's own variables are all hidden, not only those with credentials: what a later release reads from one is hidden
/// before it exists.
fn hide(environment: &mut BTreeMap<String, String>, config: &Config) {
    let mounted = mounts::variables(&config.cluster.servers);
    let password = config.services.state_database.password_env.as_deref();
    environment.retain(|name, _| {
        let is_ours = name.starts_with(environment::PREFIX);
        !is_ours && !mounted.contains(name.as_str()) && password != Some(name)
    });
}

/// The key in a variable, without blanks around it, which files of variables often have and no key does.
fn key_in(environment: &BTreeMap<String, String>, variable: &str) -> Option<Secret> {
    let key = environment.get(variable)?.trim();
    (!key.is_empty()).then(|| Secret::new(key.to_owned()))
}

/// The providers with their keys, which are taken out of the environment.
fn providers(
    config: &ServicesConfig,
    environment: &mut BTreeMap<String, String>,
) -> anyhow::Result<Vec<ModelProvider>> {
    let mut found = Vec::new();
    for (name, declared) in &config.providers {
        let key = declared.key_env.as_ref().map(|variable| {
            key_in(environment, variable).ok_or_else(|| {
                anyhow::anyhow!(
                    "the model provider `{name}` takes its key from {variable}, which the environment does not have: set it, or leave `key_env` out"
                )
            })
        });
        let url = declared.url.as_deref().unwrap_or_else(|| declared.kind.default_url());
        found.push(ModelProvider {
            name: name.clone(),
            kind: declared.kind,
            url: url.to_owned(),
            key: key.transpose()?,
            key_secret: declared.key_secret.clone(),
        });
    }
    for (name, kind, url, variable) in WELL_KNOWN {
        let key = variable.and_then(|variable| key_in(environment, variable));
        if config.providers.contains_key(name) || (variable.is_some() && key.is_none()) {
            continue;
        }
        found.push(ModelProvider {
            name: name.to_owned(),
            kind,
            url: url.unwrap_or_else(|| kind.default_url()).to_owned(),
            key,
            key_secret: None,
        });
    }
    let declared = config.providers.values().filter_map(|provider| provider.key_env.as_deref());
    let well_known = WELL_KNOWN.iter().filter_map(|(.., variable)| *variable);
    for variable in declared.chain(well_known) {
        environment.remove(variable);
    }
    Ok(found)
}

/// What agents' settings may name, among them well-known providers that are not there, each with the variable that it lacks.
pub(crate) fn nameable<'n>(
    present: impl Iterator<Item = &'n str>,
) -> BTreeMap<String, Option<String>> {
    let well_known = WELL_KNOWN
        .iter()
        .map(|(name, .., variable)| ((*name).to_owned(), variable.map(str::to_owned)));
    let mut nameable: BTreeMap<_, _> = well_known.collect();
    nameable.extend(present.map(|name| (name.to_owned(), None)));
    nameable
}

/// Forgets conversations that nobody continues, until it is dropped.
pub(crate) struct Forgetting(JoinHandle<()>);

impl Forgetting {
    pub(crate) fn start(store: Remembering, retention: Duration) -> Self {
        Self(tokio::spawn(async move {
            loop {
                match store.forget_sessions(retention).await {
                    Ok(0) => {}
                    Ok(sessions) => {
                        tracing::info!(sessions, "forgot conversations that nobody continued")
                    }
                    Err(error) => {
                        tracing::error!(%error, "conversations that nobody continues are kept")
                    }
                }
                tokio::time::sleep(FORGET_EVERY).await;
            }
        }))
    }
}

impl Drop for Forgetting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// State for one call without a host: it begins empty and ends with the process. Nothing is made before an agent
/// remembers something.
#[derive(Default)]
pub(crate) struct Fleeting(OnceLock<Result<Held, String>>);

struct Held {
    store: SqliteStore,
    // After the store, which writes there until it is dropped.
    _directory: TempDir,
}

impl Fleeting {
    fn store(&self) -> Result<&SqliteStore, BucketError> {
        let make = || -> anyhow::Result<Held> {
            let directory = tempfile::tempdir()?;
            let store = SqliteStore::open(&StoreConfig::new(directory.path()))?;
            Ok(Held { store, _directory: directory })
        };
        let held = self.0.get_or_init(|| make().map_err(|error| error.to_string()));
        held.as_ref().map(|held| &held.store).map_err(|reason| BucketError::Failed(reason.clone()))
    }
}

impl Buckets for Fleeting {
    fn get<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, BucketError>> {
        Box::pin(async move { self.store()?.get(bucket, key).await })
    }

    fn exists<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<bool, BucketError>> {
        Box::pin(async move { self.store()?.exists(bucket, key).await })
    }

    fn set<'a>(
        &'a self,
        bucket: &'a Bucket,
        quota: BucketQuota,
        entries: &'a [(String, Vec<u8>)],
    ) -> BoxFuture<'a, Result<(), BucketError>> {
        Box::pin(async move { self.store()?.set(bucket, quota, entries).await })
    }

    fn delete<'a>(
        &'a self,
        bucket: &'a Bucket,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<(), BucketError>> {
        Box::pin(async move { self.store()?.delete(bucket, keys).await })
    }

    fn swap<'a>(
        &'a self,
        bucket: &'a Bucket,
        quota: BucketQuota,
        key: &'a str,
        expected: Option<&'a [u8]>,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), BucketError>> {
        Box::pin(async move { self.store()?.swap(bucket, quota, key, expected, value).await })
    }

    fn keys<'a>(
        &'a self,
        bucket: &'a Bucket,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<KeyPage, BucketError>> {
        Box::pin(async move { self.store()?.keys(bucket, after, limit).await })
    }
}

/// The secrets of a host, from when it is whole on: who keeps them stands on what stands on the way out.
#[derive(Default)]
pub(crate) struct HostSecrets(OnceLock<Arc<dyn Secrets>>);

impl HostSecrets {
    pub(crate) fn open(&self, secrets: Arc<dyn Secrets>) {
        // Only the first counts, and there is no second.
        let _ = self.0.set(secrets);
    }
}

impl Secrets for HostSecrets {
    fn get<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<Secret, SecretError>> {
        match self.0.get() {
            Some(secrets) => secrets.get(tenant, name),
            None => Box::pin(async { Err(SecretError::Failed("the host starts".to_owned())) }),
        }
    }
}

/// No secrets: around one call there is no tenant that stored any.
pub(crate) struct NoSecrets;

impl Secrets for NoSecrets {
    fn get<'a>(
        &'a self,
        _: &'a TenantName,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<Secret, SecretError>> {
        Box::pin(async move { Err(SecretError::Missing(name.clone())) })
    }
}

/// An index without tools: around one call there are no other agents.
pub(crate) struct NoTools;

impl Search for NoTools {
    fn publish(&self, _: &TenantName, _: &AgentName, _: &[Arc<Tool>]) -> Result<(), SearchError> {
        Ok(())
    }

    fn search(&self, _: &TenantName, _: &Query) -> Result<Vec<Hit>, SearchError> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests;

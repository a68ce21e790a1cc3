//! Language models: the operator's providers, spoken to through `rig-core`, which knows their formats and
//! leaves the network to us ([`transport`]).
//!
//! A completion passes through: its provider is found by name; the conversation is translated ([`translate`]); tokens are
//! reserved against the budgets of the day ([`budget`]); the key is found ([`key`]); it is sent, and again where that may
//! help ([`retry`]); what it really took is settled. An error says what an agent can do about it
//! ([`failure`]), and neither it nor the completion holds the key ([`cover`]).

mod budget;
mod config;
mod counts;
mod cover;
mod failure;
mod key;
mod mend;
mod retry;
mod stream;
#[cfg(test)]
mod tests;
mod translate;
mod transport;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use aop_core::model::{
    Completion, CompletionRequest, CompletionStream, ModelBinding, ModelError, Models, Reserved,
    Spender, TokenLedger, Usage,
};
use aop_core::{AgentId, BoxFuture, Measure, Sample, Secrets, Tenancy, Tenant};
use rig_core::http_client::{DynHttpClient, HttpClientExt};
use rig_core::operation;
use rig_core::providers::anthropic::wire::AnthropicConfig;
use rig_core::providers::openai::wire::{Auth, Dialect, OPENAI, OpenAIConfig};
use rig_core::{DynModel, ProviderError};
use tokio::time::Instant;
use tracing::instrument::{WithDispatch, WithSubscriber as _};
use tracing::subscriber::NoSubscriber;

use self::budget::{Budgets, Reservation};
pub use self::config::{ModelConfig, ModelProvider, ProviderKind};
use self::counts::Counts;
use self::cover::Cover;
use self::failure::Trouble;
use self::key::{Key, Keys};
use self::retry::Retries;
use self::stream::Writing;
use self::transport::Transport;
use crate::ServicesError;
use crate::network::{Network, Target};
use crate::share::{Place, Portions};

/// A server that speaks OpenAI's format, whoever made it.
const COMPATIBLE: Dialect = Dialect::gateway("openai", "", "");

/// What is wrong with a text that is no key.
const UNUSABLE: &str = "it is empty, or holds a blank or another character that no key has";

type Model = DynModel<operation::Completion>;
/// The time of day, so that a test can choose it.
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The model providers of a host.
pub struct ModelProviders {
    providers: HashMap<String, Arc<Provider>>,
    keys: Keys,
    budgets: Arc<Budgets>,
    retries: Retries,
    shares: Portions<AgentId>,
    clock: Clock,
    /// Of providers that agents name and that this host does not have.
    unknown: Counts,
}

/// A provider and the way to it.
struct Provider {
    config: ModelProvider,
    http: DynHttpClient,
    counts: Counts,
}

impl Provider {
    fn new(config: ModelProvider, http: DynHttpClient) -> Result<Self, ServicesError> {
        let wrong = |reason: String| ServicesError::Provider { name: config.name.clone(), reason };
        let uri = config.url.parse::<http::Uri>();
        let uri = uri.map_err(|error| wrong(format!("`{}` is not a URL: {error}", config.url)))?;
        let target =
            Target::of(&uri).map_err(|reason| wrong(format!("`{}`: {reason}", config.url)))?;
        if uri.query().is_some() {
            return Err(wrong(format!("`{}` holds a query: leave it out", config.url)));
        }
        if config.key.as_ref().is_some_and(|key| !key::is_key(key)) {
            return Err(wrong(format!("its key cannot be used: {UNUSABLE}")));
        }
        let has_key = config.key.is_some() || config.key_secret.is_some();
        if has_key && !target.is_tls && !is_near(&target) {
            tracing::warn!(
                provider = config.name,
                "the provider's key travels unencrypted: use https in its `url`"
            );
        }
        Ok(Self { config, http, counts: Counts::default() })
    }

    /// One of its models.
    fn model(&self, name: &str, key: &Key) -> Model {
        let ModelProvider { kind, url, .. } = &self.config;
        let key = key.expose();
        match kind {
            ProviderKind::OpenAi => {
                // Only OpenAI itself names the limit of its reasoning models differently.
                let dialect = if url.trim_end_matches('/') == kind.default_url() {
                    &OPENAI
                } else {
                    &COMPATIBLE
                };
                let config = OpenAIConfig::with_key(dialect, key)
                    .with_base_url(url)
                    .with_auth(Auth::OptionalBearer);
                config.connect(self.http.clone()).chat(name).erase()
            }
            ProviderKind::Anthropic => {
                let config = AnthropicConfig::new(key).with_base_url(url);
                config.connect(self.http.clone()).completion(name).erase()
            }
        }
    }
}

/// Whether a server is on this machine.
fn is_near(target: &Target) -> bool {
    target.host == "localhost" || target.literal().is_some_and(|address| address.is_loopback())
}

impl ModelProviders {
    /// Providers over a network. Without a ledger, budgets begin anew with the process.
    ///
    /// # Errors
    /// [`ServicesError::Provider`].
    pub fn new(
        config: ModelConfig,
        network: Network,
        secrets: Arc<dyn Secrets>,
        ledger: Option<Arc<dyn TokenLedger>>,
    ) -> Result<Self, ServicesError> {
        let transport = Transport::new(network, &config);
        Self::over(config, transport, secrets, (ledger, Arc::new(SystemTime::now)))
    }

    fn over(
        config: ModelConfig,
        http: impl HttpClientExt + 'static,
        secrets: Arc<dyn Secrets>,
        (ledger, clock): (Option<Arc<dyn TokenLedger>>, Clock),
    ) -> Result<Self, ServicesError> {
        let http = DynHttpClient::new(http);
        let mut providers = HashMap::new();
        for provider in config.providers {
            let name = provider.name.clone();
            providers.insert(name, Arc::new(Provider::new(provider, http.clone())?));
        }
        Ok(Self {
            providers,
            keys: Keys::of(secrets),
            budgets: Arc::new(Budgets::new(
                config.tenant_tokens_per_day,
                ledger,
                Arc::clone(&clock),
            )),
            retries: Retries { window: config.retry_window },
            shares: Portions::new(config.completions_max),
            clock,
            unknown: Counts::default(),
        })
    }

    /// Where a completion is counted.
    fn counts(&self, binding: &ModelBinding) -> &Counts {
        self.providers.get(&binding.provider).map_or(&self.unknown, |provider| &provider.counts)
    }

    /// What agents' settings may name, besides the connected client.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.providers.keys().map(String::as_str)
    }

    /// Takes what the ledger knows of today into account. Before that, budgets count from zero.
    pub async fn restore(&self) {
        self.budgets.restore().await;
    }

    /// What every completion begins with.
    async fn begin(
        &self,
        spender: &Spender,
        binding: &ModelBinding,
        mut request: CompletionRequest,
    ) -> Result<Begun, ModelError> {
        let provider = self.providers.get(&binding.provider).ok_or_else(|| {
            ModelError::Denied(format!(
                "this host has no model provider `{}`: its operator adds one below `[model.providers]`, or sets the key that a well-known one lacks",
                binding.provider
            ))
        })?;
        request.max_tokens.get_or_insert(binding.max_tokens);
        let size = translate::estimate(&request);
        let name = request.model.clone();
        let request = translate::request(provider.config.kind, request)?;
        // First, because it costs nothing: who has no tokens left makes the host read no secret.
        let reservation = self.budgets.reserve(spender, binding, size)?;
        let key = self.keys.find(&provider.config, &spender.owner).await?;
        let model = provider.model(&name, &key);
        let (provider, clock) = (Arc::clone(provider), Arc::clone(&self.clock));
        Ok(Begun { provider, key, model, name, request, reservation, clock })
    }

    /// One attempt, and the place that it takes. Between attempts a completion has none.
    async fn attempt<T>(
        &self,
        begun: &Begun,
        work: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<(T, Place), Trouble> {
        let spender = begun.reservation.spender();
        let place = self.shares.place(spender.agent, spender.payer.party()).await;
        let place = place.map_err(|_| Trouble::shutting_down())?;
        begun.reservation.sent();
        match quietly(work).await {
            Ok(done) => Ok((done, place)),
            Err(error) => {
                let trouble = begun.trouble(&error);
                if trouble.is_free {
                    begun.reservation.refused();
                }
                Err(trouble)
            }
        }
    }

    async fn run(
        &self,
        spender: &Spender,
        binding: &ModelBinding,
        request: CompletionRequest,
    ) -> Result<Completion, ModelError> {
        let mut begun = self.begin(spender, binding, request).await?;
        let attempt = || self.attempt(&begun, begun.model.call(begun.request.clone()));
        match self
            .retries
            .run(&begun.provider.config, &begun.provider.counts.retries, attempt)
            .await
        {
            Ok((response, _place)) => {
                let completion = begun.completion(response);
                begun.reservation.settle(completion.usage);
                Ok(completion)
            }
            Err(trouble) => Err(begun.fail(trouble)),
        }
    }

    async fn open(
        &self,
        spender: &Spender,
        binding: &ModelBinding,
        request: CompletionRequest,
        since: Instant,
    ) -> Result<Writing, ModelError> {
        let begun = self.begin(spender, binding, request).await?;
        let attempt = || self.attempt(&begun, stream::open(&begun.model, begun.request.clone()));
        match self
            .retries
            .run(&begun.provider.config, &begun.provider.counts.retries, attempt)
            .await
        {
            Ok((opened, place)) => Ok(Writing::new(opened, begun, place, since)),
            Err(trouble) => Err(begun.fail(trouble)),
        }
    }
}

/// Keeps the client library from logging: it would write down conversations, and texts of providers with
/// whatever they repeat, a key for example.
fn quietly<F: Future>(work: F) -> WithDispatch<F> {
    work.with_subscriber(NoSubscriber::default())
}

/// A completion that is about to be sent.
struct Begun {
    provider: Arc<Provider>,
    key: Key,
    model: Model,
    /// The model's, as it was asked for.
    name: String,
    request: rig_core::completion::CompletionRequest,
    reservation: Reservation,
    clock: Clock,
}

impl Begun {
    /// What the agent gets.
    fn completion(&self, response: rig_core::completion::CompletionResponse) -> Completion {
        let mut completion = translate::completion(response, &self.name, self.reservation.size());
        self.cover().completion(&mut completion);
        completion
    }

    fn cover(&self) -> Cover {
        self.key.cover()
    }

    fn trouble(&self, error: &ProviderError) -> Trouble {
        Trouble::of(error, &self.provider.config.name, &self.key, (self.clock)())
    }

    fn fail(self, trouble: Trouble) -> ModelError {
        let (provider, model) = (&self.provider.config.name, &self.name);
        tracing::warn!(provider, model, key = %self.key, error = %trouble.error, "no completion");
        trouble.error
    }
}

impl Models for ModelProviders {
    fn complete<'a>(
        &'a self,
        spender: &'a Spender,
        binding: &'a ModelBinding,
        request: CompletionRequest,
    ) -> BoxFuture<'a, Result<Completion, ModelError>> {
        Box::pin(async move {
            let since = Instant::now();
            let outcome = self.run(spender, binding, request).await;
            match &outcome {
                Ok(completion) => self.counts(binding).completed(completion.usage, since),
                Err(error) => self.counts(binding).failed(error, since),
            }
            outcome
        })
    }

    fn stream<'a>(
        &'a self,
        spender: &'a Spender,
        binding: &'a ModelBinding,
        request: CompletionRequest,
    ) -> BoxFuture<'a, Result<Box<dyn CompletionStream>, ModelError>> {
        Box::pin(async move {
            let since = Instant::now();
            match self.open(spender, binding, request, since).await {
                Ok(writing) => Ok(Box::new(writing) as Box<dyn CompletionStream>),
                Err(error) => {
                    self.counts(binding).failed(&error, since);
                    Err(error)
                }
            }
        })
    }

    fn reserve(
        &self,
        spender: &Spender,
        binding: &ModelBinding,
        most: Usage,
    ) -> Result<Box<dyn Reserved>, ModelError> {
        let reservation = self.budgets.reserve(spender, binding, most)?;
        // The client's model works from now on, whoever waits for it.
        reservation.sent();
        Ok(Box::new(reservation))
    }
}

impl Tenancy for ModelProviders {
    fn begin(&self, _: &Tenant) {}

    fn end<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<(), String>> {
        self.budgets.forget(&tenant.name);
        self.keys.tidy();
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Measure for ModelProviders {
    fn measure(&self) -> Vec<Sample> {
        let mut providers: Vec<_> =
            self.providers.iter().map(|(name, provider)| (&**name, &provider.counts)).collect();
        providers.sort_unstable_by_key(|(name, _)| *name);
        providers.push((counts::UNKNOWN, &self.unknown));
        counts::measure(&providers)
    }
}

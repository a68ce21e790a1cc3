//! Who serves models, and within which bounds.

use std::time::Duration;

use aop_core::{Secret, SecretName};

/// What a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderKind {
    /// OpenAI's chat completions, which Ollama, vLLM, LM Studio, llama.cpp and most gateways speak as well.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
}

impl ProviderKind {
    /// Where the company of that name serves it.
    #[must_use]
    pub const fn default_url(self) -> &'static str {
        match self {
            Self::OpenAi => "https://api.openai.com/v1",
            Self::Anthropic => "https://api.anthropic.com",
        }
    }
}

/// A provider. Its keys go to its URL only, which is the operator's: agents name providers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelProvider {
    /// As agents' settings name it.
    pub name: String,
    /// What it speaks.
    pub kind: ProviderKind,
    /// What its paths are appended to, such as `http://127.0.0.1:11434/v1`.
    pub url: String,
    /// The host's own. None for a server that asks for none, or where tenants have theirs.
    pub key: Option<Secret>,
    /// The secret that is the key for the agents of every tenant that has it.
    pub key_secret: Option<SecretName>,
}

/// Who serves models, and within which bounds.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// The providers, by their names.
    pub providers: Vec<ModelProvider>,
    /// Tokens, read and written, that the agents of one tenant may use per day (UTC) together.
    pub tenant_tokens_per_day: u64,
    /// Completions at one time. Each holds its conversation in memory, and its answer.
    pub completions_max: usize,
    /// Until a connection to a provider stands.
    pub connect_timeout: Duration,
    /// Until the answer begins. A model that thinks sends nothing before it is done.
    pub answer_timeout: Duration,
    /// Between two pieces of an answer.
    pub silence_timeout: Duration,
    /// How long after its beginning a completion may be tried again.
    pub retry_window: Duration,
    /// The largest answer. The longest outputs of models are below 1 MiB of text; with reasoning and the
    /// framing of streams, some more.
    pub answer_max_bytes: u64,
}

impl ModelConfig {
    /// The default of `tenant_tokens_per_day`: some hundred long conversations a day, and a bill that a loop
    /// which nobody watches cannot make large.
    pub const TENANT_TOKENS_PER_DAY: u64 = 10_000_000;

    /// The defaults for some providers.
    #[must_use]
    pub fn new(providers: Vec<ModelProvider>) -> Self {
        Self {
            providers,
            tenant_tokens_per_day: Self::TENANT_TOKENS_PER_DAY,
            completions_max: 256,
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(5 * 60),
            silence_timeout: Duration::from_secs(60),
            retry_window: Duration::from_secs(60),
            answer_max_bytes: 16 << 20,
        }
    }
}

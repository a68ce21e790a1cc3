//! The keys of what agents' capabilities stand on: `[model]`, `[egress]` and `[state]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aop_core::SecretName;
use aop_core::model::ModelBinding;
use aop_core::settings::keys::{Bounds, Entries, Form, Key, Row, reference};
use aop_services::{EgressConfig, ModelConfig, ProviderKind};
use aop_store::{PostgresConfig, StoreConfig};

use super::Config;
use super::keys::{DAY, GIB, HOUR, KIB, MIB, MINUTE, SECOND, wide};

/// Providers of one host; more are generated.
const PROVIDERS_MAX: usize = 64;
/// Longest name of a provider, as in agents' settings.
const NAME_CHARS_MAX: usize = 128;
/// Longest URL.
const URL_CHARS_MAX: usize = 2048;

/// What agents' capabilities stand on.
#[derive(Debug, Clone)]
pub(crate) struct ServicesConfig {
    /// Everything but its providers.
    pub(crate) models: ModelConfig,
    /// By name.
    pub(crate) providers: BTreeMap<String, Provider>,
    pub(crate) egress: EgressConfig,
    pub(crate) state_database: StateDatabase,
    pub(crate) state_max_bytes: u64,
    pub(crate) agent_state_max_bytes: u64,
    pub(crate) task_results_max_bytes: u64,
    /// How long a conversation is remembered that nobody continues.
    pub(crate) session_retention: Duration,
}

impl Default for ServicesConfig {
    fn default() -> Self {
        let store = StoreConfig::new("");
        Self {
            models: ModelConfig::new(Vec::new()),
            providers: BTreeMap::new(),
            egress: EgressConfig::default(),
            state_database: StateDatabase::default(),
            state_max_bytes: store.state_max_bytes,
            agent_state_max_bytes: store.agent_state_max_bytes,
            task_results_max_bytes: store.task_outcomes_max_bytes,
            // Longer than a holiday.
            session_retention: 30 * DAY,
        }
    }
}

/// A database in which hosts share what agents remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateDatabase {
    /// None is the host's own store.
    pub(crate) url: Option<String>,
    /// The variable of the environment that holds the password.
    pub(crate) password_env: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) connections_max: usize,
}

impl Default for StateDatabase {
    fn default() -> Self {
        // Each write takes a few milliseconds of one, and a database of default size gives a hundred.
        Self { url: None, password_env: None, password_file: None, connections_max: 16 }
    }
}

/// A model provider as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Provider {
    pub(crate) kind: ProviderKind,
    /// None is where the company of that kind serves it.
    pub(crate) url: Option<String>,
    /// The variable of the environment that holds its key.
    pub(crate) key_env: Option<String>,
    /// The secret of tenants that is the key for their agents.
    pub(crate) key_secret: Option<SecretName>,
}

impl Default for Provider {
    fn default() -> Self {
        Self { kind: ProviderKind::OpenAi, url: None, key_env: None, key_secret: None }
    }
}

pub(super) static MODEL_KEYS: &[Key<Config>] = &[
    Key::count(
        "tenant_tokens_per_day",
        "Tokens, read and written, that the agents of a tenant may use per day (UTC) together.",
        Bounds::new(0, 1_000_000_000_000, "0 refuses every completion"),
        |config| config.services.models.tenant_tokens_per_day,
        |config, count| config.services.models.tenant_tokens_per_day = count,
    ),
    Key::count(
        "completions_max",
        "Completions at one time.",
        Bounds::new(1, 100_000, "each holds its conversation and a connection"),
        |config| config.services.models.completions_max as u64,
        |config, count| config.services.models.completions_max = wide(count),
    ),
    Key::time(
        "answer_timeout",
        "How long a provider may take until its answer begins.",
        Bounds::new(SECOND, HOUR, "a model that thinks sends nothing before it is done"),
        |config| config.services.models.answer_timeout,
        |config, time| config.services.models.answer_timeout = time,
    ),
    Key::time(
        "silence_timeout",
        "How long an answer that began may pause.",
        Bounds::new(SECOND, HOUR, "a model that calls tools of its own pauses between its words"),
        |config| config.services.models.silence_timeout,
        |config, time| config.services.models.silence_timeout = time,
    ),
    Key::time(
        "retry_window",
        "How long after its beginning a completion is tried again when its provider is busy.",
        Bounds::new(Duration::ZERO, HOUR, "0 tries once, and calls have seconds or minutes"),
        |config| config.services.models.retry_window,
        |config, time| config.services.models.retry_window = time,
    ),
    Key::size(
        "answer_max",
        "The largest answer of a provider.",
        Bounds::new(MIB, GIB, "it is held in memory"),
        |config| config.services.models.answer_max_bytes,
        |config, bytes| config.services.models.answer_max_bytes = bytes,
    ),
    Key {
        name: "providers",
        meaning: "Who serves models.",
        form: Form::Open {
            placeholder: "<provider>",
            entries_max: PROVIDERS_MAX,
            read: read_providers,
            rows: || -> Vec<Row> { reference(PROVIDER_KEYS) },
        },
    },
];

static PROVIDER_KEYS: &[Key<Provider>] = &[
    Key {
        name: "kind",
        meaning: "What the provider speaks: `openai` (chat completions; so do Ollama, vLLM, LM Studio, llama.cpp and most gateways) or `anthropic`. Without declaring them there are `openai` and `anthropic`, with the keys in `OPENAI_API_KEY` and `ANTHROPIC_API_KEY` where those are set, and `ollama` on this machine.",
        form: Form::Choice {
            choices: &["openai", "anthropic"],
            get: |provider| {
                Some(match provider.kind {
                    ProviderKind::OpenAi => "openai",
                    ProviderKind::Anthropic => "anthropic",
                })
            },
            set: |provider, word| {
                provider.kind = if word == "anthropic" {
                    ProviderKind::Anthropic
                } else {
                    ProviderKind::OpenAi
                };
            },
        },
    },
    Key {
        name: "url",
        meaning: "What the paths of its API are appended to. Without it, where the company of that kind serves it. The key goes there and nowhere else.",
        form: Form::Text {
            chars_max: URL_CHARS_MAX,
            get: |provider| provider.url.clone(),
            set: |provider, text| {
                provider.url = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "key_env",
        meaning: "The variable of the host's environment that holds its key; blanks around it are left out. Without it and `key_secret`, none is sent. No agent sees that variable.",
        form: Form::Text {
            chars_max: NAME_CHARS_MAX,
            get: |provider| provider.key_env.clone(),
            set: |provider, text| {
                provider.key_env = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "key_secret",
        meaning: "The secret that holds the key for the agents of each tenant that has one of that name (`aop secret set`). It is read for every completion. An agent whose tenant has none uses the key in `key_env`, and is refused where there is no `key_env`. No agent sees the secret.",
        form: Form::Text {
            chars_max: NAME_CHARS_MAX,
            get: |provider| provider.key_secret.as_ref().map(ToString::to_string),
            set: |provider, text| {
                provider.key_secret = Some(text.parse().map_err(|error| format!("{error}"))?);
                Ok(())
            },
        },
    },
];

static DATABASE_KEYS: &[Key<Config>] = &[
    Key {
        name: "url",
        meaning: "Where it is: `postgres://USER@HOST:PORT/DATABASE`, over TLS, whose certificate is checked, unless it is on this machine or says `?sslmode=disable` or `prefer`. Without it, agents remember in the data directory of each host.",
        form: Form::Text {
            chars_max: URL_CHARS_MAX,
            // A password may stand in it.
            get: |config| config.services.state_database.url.as_ref().map(|_| "…".to_owned()),
            set: |config, text| {
                PostgresConfig::check(text).map_err(|error| error.to_string())?;
                config.services.state_database.url = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "password_env",
        meaning: "The variable of the host's environment that holds the password. No agent sees that variable.",
        form: Form::Text {
            chars_max: NAME_CHARS_MAX,
            get: |config| config.services.state_database.password_env.clone(),
            set: |config, text| {
                config.services.state_database.password_env = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "password_file",
        meaning: "The file that holds the password.",
        form: Form::Text {
            chars_max: URL_CHARS_MAX,
            get: |config| {
                let file = config.services.state_database.password_file.as_ref();
                file.map(|path| path.display().to_string())
            },
            set: |config, text| {
                config.services.state_database.password_file = Some(PathBuf::from(text));
                Ok(())
            },
        },
    },
    Key::count(
        "connections_max",
        "Connections of this host to it.",
        Bounds::new(
            1,
            1_000,
            "one serves everything in turn, and databases have few hundred for all",
        ),
        |config| config.services.state_database.connections_max as u64,
        |config, count| config.services.state_database.connections_max = wide(count),
    ),
];

fn read_providers(config: &mut Config, entries: &mut Entries<'_, '_>) {
    entries.each(|name, mut entry| {
        if name == ModelBinding::CLIENT {
            return Err("that is the connected client's own model: choose another name".to_owned());
        }
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            return Err(format!("its name must have 1 to {NAME_CHARS_MAX} characters"));
        }
        let mut provider = Provider::default();
        entry.read(PROVIDER_KEYS, &mut provider);
        config.services.providers.insert(name.to_owned(), provider);
        Ok(())
    });
}

pub(super) static EGRESS_KEYS: &[Key<Config>] = &[
    Key::count(
        "requests_max",
        "Requests of agents at one time.",
        Bounds::new(1, 100_000, "each may hold a connection and a buffer"),
        |config| config.services.egress.requests_max as u64,
        |config, count| config.services.egress.requests_max = wide(count),
    ),
    Key::size(
        "request_max",
        "The largest body of a request.",
        Bounds::new(KIB, 64 * GIB, "a short message must pass, and bodies are not held in memory"),
        |config| config.services.egress.request_max_bytes,
        |config, bytes| config.services.egress.request_max_bytes = bytes,
    ),
    Key::size(
        "response_max",
        "The largest body of a response.",
        Bounds::new(KIB, 64 * GIB, "a short message must pass, and bodies are not held in memory"),
        |config| config.services.egress.response_max_bytes,
        |config, bytes| config.services.egress.response_max_bytes = bytes,
    ),
];

pub(super) static STATE_KEYS: &[Key<Config>] = &[
    Key::section(
        "database",
        "A PostgreSQL database in which several hosts share what agents remember.",
        DATABASE_KEYS,
    ),
    Key::size(
        "total_max",
        "What all agents together may remember, and three quarters of it those of one tenant.",
        Bounds::new(
            MIB,
            3 * GIB,
            "the store, which also holds the agents themselves, ends at 4 GiB",
        ),
        |config| config.services.state_max_bytes,
        |config, bytes| config.services.state_max_bytes = bytes,
    ),
    Key::size(
        "agent_max",
        "What one agent may remember over all its conversations, and what a tenant's agents may share.",
        Bounds::new(
            MIB,
            3 * GIB,
            "the store, which also holds the agents themselves, ends at 4 GiB",
        ),
        |config| config.services.agent_state_max_bytes,
        |config, bytes| config.services.agent_state_max_bytes = bytes,
    ),
    Key::size(
        "task_results_max",
        "What the results of all tasks may take while they are kept, and three quarters of it those of one tenant's. A result that does not fit fails its task.",
        Bounds::new(
            MIB,
            3 * GIB,
            "the store, which also holds the agents themselves, ends at 4 GiB",
        ),
        |config| config.services.task_results_max_bytes,
        |config, bytes| config.services.task_results_max_bytes = bytes,
    ),
    Key::time(
        "session_retention",
        "How long a conversation is remembered that nobody continues.",
        Bounds::new(
            MINUTE,
            Duration::from_secs(315_576_000),
            "a person needs longer than a minute to answer",
        ),
        |config| config.services.session_retention,
        |config, time| config.services.session_retention = time,
    ),
];

//! Makes what knows the callers: its keys come from files and the environment, its documents over the network.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aop_access::{Access, AccessConfig, AccessParts, Fetch, Vault, is_loopback};
use aop_core::{AccessStore, Audit, BoxFuture, Tenancy};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::environment;

/// How long an issuer may take to accept a connection, and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The most that is read of the file with the key of the secrets: eight keys, with room for line ends.
const KEY_FILE_MAX_BYTES: u64 = 4 << 10;

/// What knows the callers, and the task that writes down when keys were used.
pub(crate) struct Gatekeeper {
    pub(crate) access: Access,
    noting: JoinHandle<()>,
}

impl Gatekeeper {
    pub(crate) async fn open(
        config: &Config,
        store: Arc<dyn AccessStore>,
        audit: Arc<dyn Audit>,
        tenancies: Vec<Arc<dyn Tenancy>>,
    ) -> anyhow::Result<Self> {
        if let Some(warning) = key_among_secrets(config) {
            tracing::warn!("{warning}");
        }
        let access_config = AccessConfig {
            required: config.access.required,
            is_local: is_loopback(config.listen.ip()),
            tenants: config.tenants.keys().cloned().collect(),
            issuers: config.access.issuers.values().cloned().collect(),
            vault: vault(config.access.secrets_key_file.as_deref())?,
        };
        let parts = AccessParts { store, audit, fetch: Arc::new(HttpFetch::new()?), tenancies };
        let access = Access::open(access_config, parts).await?;
        let noting = tokio::spawn({
            let access = access.clone();
            async move { access.note_uses().await }
        });
        Ok(Self { access, noting })
    }
}

impl Drop for Gatekeeper {
    fn drop(&mut self) {
        self.noting.abort();
    }
}

/// A key that lies with what it encrypts protects no copy of it.
pub(crate) fn key_among_secrets(config: &Config) -> Option<String> {
    let file = config.access.secrets_key_file.as_ref()?.canonicalize().ok()?;
    let data = config.data_directory().ok()?.canonicalize().ok()?;
    file.starts_with(&data).then(|| {
        format!(
            "`access.secrets_key_file` is in the data directory, {}: whoever gets a copy of that reads the secrets. Keep it elsewhere",
            data.display()
        )
    })
}

/// What encrypts secrets; none when nobody gave a key.
fn vault(file: Option<&Path>) -> anyhow::Result<Option<Vault>> {
    let text = match file {
        Some(path) => Some(key_file(path)?),
        None => environment::secrets_key(),
    };
    let from = || match file {
        Some(path) => path.display().to_string(),
        None => environment::SECRETS_KEY.to_owned(),
    };
    text.map(|text| Vault::new(&text).with_context(from)).transpose()
}

fn key_file(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).with_context(|| {
        format!("cannot read the key of the secrets, {shown}: make one with `openssl rand -hex 32`")
    })?;
    anyhow::ensure!(
        metadata.len() <= KEY_FILE_MAX_BYTES,
        "{shown} has more than {KEY_FILE_MAX_BYTES} bytes: it is not the key of the secrets"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o077 != 0 {
            tracing::warn!(path = %shown, "other users may read the key of the secrets: chmod 600 it");
        }
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))
}

/// Gets the documents of issuers.
struct HttpFetch(reqwest::Client);

impl HttpFetch {
    fn new() -> anyhow::Result<Self> {
        // An error means that somebody installed one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            // A redirect could lead from the issuer that the operator named to anywhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("cannot set up an HTTP client")?;
        Ok(Self(client))
    }
}

impl Fetch for HttpFetch {
    fn get<'a>(&'a self, url: &'a str, max_bytes: usize) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let failed = |error: reqwest::Error| format!("{url}: {}", error.without_url());
            let mut response = self.0.get(url).send().await.map_err(failed)?;
            if response.status() != reqwest::StatusCode::OK {
                return Err(format!("{url} answered {}", response.status()));
            }
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(failed)? {
                if body.len() + chunk.len() > max_bytes {
                    return Err(format!("{url} answered more than {max_bytes} bytes"));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        })
    }
}

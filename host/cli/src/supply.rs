//! Makes what components come from and what checks their signatures, from the configuration.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aop_services::{EgressConfig, HttpEgress, Network, SystemResolver};
use aop_supply::{Credentials, Registries, RegistriesConfig, Signatures, SignaturesConfig};

use crate::config::{Config, SupplySettings};
use crate::environment;
use crate::services::NoSecrets;

/// Larger than any trusted root or file of credentials: those have some ten kilobytes.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// The registries that may be asked.
pub(crate) fn registries(config: &Config) -> anyhow::Result<Registries> {
    let settings = &config.supply;
    let credentials = match (&settings.credentials_file, environment::registry_credentials()) {
        (Some(path), _) => Some(read(path)?),
        (None, from_environment) => from_environment,
    };
    let credentials = match credentials {
        Some(text) => Credentials::from_json(&text)?,
        None => Credentials::default(),
    };
    let component_max_bytes = config.compile.component_max_bytes;
    let egress =
        EgressConfig { response_max_bytes: component_max_bytes, ..EgressConfig::default() };
    let egress = HttpEgress::new(Network::new(SystemResolver), Arc::new(NoSecrets), egress);
    let config = RegistriesConfig {
        hosts: settings.registries.clone(),
        plain_http: settings.plain_http.clone(),
        credentials,
        component_max_bytes,
        pull_timeout: Duration::from_secs(300),
    };
    Ok(Registries::new(Arc::new(egress), config))
}

/// What checks signatures.
pub(crate) fn signatures(settings: &SupplySettings) -> anyhow::Result<Signatures> {
    let trusted_root = settings.trusted_root.as_deref().map(read).transpose()?;
    let config = SignaturesConfig {
        required: settings.require_signature,
        signers: settings.signers.clone(),
        trusted_root,
    };
    Ok(Signatures::new(config)?)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let size = std::fs::metadata(path).with_context(cannot)?.len();
    anyhow::ensure!(size <= FILE_MAX_BYTES, "{} is larger than 1 MiB", path.display());
    std::fs::read_to_string(path).with_context(cannot)
}

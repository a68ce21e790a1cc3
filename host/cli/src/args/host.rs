//! The arguments of every command that talks to a running host.

use aop_core::TenantName;
use clap::Args;

use crate::client::Endpoint;
use crate::environment;

/// Where a host listens when nobody says otherwise.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8000";

/// The host that client commands talk to.
#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// The host, or its MCP endpoint
    #[arg(long, value_name = "URL", env = environment::URL, hide_env_values = true, default_value = DEFAULT_URL)]
    pub(crate) url: String,
    /// The API key or access token to use, where the host asks for one
    #[arg(long, value_name = "KEY", env = environment::KEY, hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// The tenant to act for [default: that of the key]
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<TenantName>,
}

impl HostArgs {
    /// Where that is.
    pub(crate) fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let endpoint = Endpoint::parse(&self.url)?;
        match &self.tenant {
            Some(tenant) => endpoint.for_tenant(tenant),
            None => Ok(endpoint),
        }
    }
}

//! The arguments of `aop tenant`, `aop key` and `aop secret`.

use std::path::PathBuf;
use std::time::Duration;

use aop_core::settings::parse_time;
use aop_core::{KeyId, Scope, SecretName, TenantName};
use clap::{Args, Subcommand};

use super::HostArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Create a tenant
    #[command(after_help = "Example:\n  aop tenant create acme")]
    Create(TenantArgs),
    /// List every tenant
    #[command(after_help = "Example:\n  aop tenant list --json | jq -r '.tenants[].name'")]
    List(ListArgs),
    /// Show one tenant, and how much there is of it
    #[command(after_help = "Example:\n  aop tenant show acme")]
    Show(TenantArgs),
    /// Remove a tenant with everything of it: agents, state, keys, secrets, tasks
    #[command(after_help = "Example:\n  aop tenant delete acme --yes")]
    Delete(TenantDeleteArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create an API key. It is printed once, and nobody can print it again
    #[command(after_help = "\
Examples:
  aop key create admin --admin --offline
  aop key create ci --scope agents:write --expires 90d
  aop key create desktop --scope tools:call --scope tools:list --tenant acme")]
    Create(KeyCreateArgs),
    /// List the keys of a tenant, without what opens them
    #[command(after_help = "Example:\n  aop key list --tenant acme")]
    List(ListArgs),
    /// Make a key worthless at once
    ///
    /// What it opened (sessions, streams, running calls) ends within seconds.
    #[command(
        after_help = "Examples:\n  aop key revoke k3xq7zv2m4pa\n  aop key revoke k3xq7zv2m4pa --yes"
    )]
    Revoke(KeyRevokeArgs),
    /// Replace a key by a new one with the same scopes, which is printed once
    #[command(after_help = "Example:\n  aop key rotate k3xq7zv2m4pa --overlap 1h")]
    Rotate(KeyRotateArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Set a secret to what stdin or a file holds, without a line end at its end
    #[command(after_help = "\
Examples:
  printf %s \"$TOKEN\" | aop secret set github-token
  aop secret set github-token --from token.txt --tenant acme")]
    Set(SecretSetArgs),
    /// List the names of a tenant's secrets; nothing shows their values
    #[command(after_help = "Example:\n  aop secret list")]
    List(ListArgs),
    /// Forget a secret
    #[command(after_help = "Example:\n  aop secret delete github-token")]
    Delete(SecretArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TenantArgs {
    /// The tenant
    pub(crate) name: TenantName,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TenantDeleteArgs {
    #[command(flatten)]
    pub(crate) tenant: TenantArgs,
    /// Do it: there is no way back
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeyCreateArgs {
    /// What it is for
    pub(crate) name: String,
    /// What it may do; may be given several times [default: tools:call and tools:list]
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<Scope>,
    /// Give it every scope
    #[arg(long, conflicts_with = "scopes")]
    pub(crate) admin: bool,
    /// How long it is valid [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = parse_time)]
    pub(crate) expires: Option<Duration>,
    /// Write it into the data directory of a host that does not run: how the first key comes to be
    #[arg(long)]
    pub(crate) offline: bool,
    /// With --offline: the data directory, which must be there [default: the platform's data directory]
    #[arg(long, value_name = "DIR", requires = "offline")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The key's id
    pub(crate) id: KeyId,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeyRevokeArgs {
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Do it although no other key of the tenant may manage the host
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeyRotateArgs {
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// How long the old key stays valid
    #[arg(long, value_name = "DURATION", value_parser = parse_time, default_value = "24h")]
    pub(crate) overlap: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct SecretArgs {
    /// The secret
    pub(crate) name: SecretName,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SecretSetArgs {
    #[command(flatten)]
    pub(crate) secret: SecretArgs,
    /// The file with the value [default: stdin]
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
}

//! The arguments of `aop agent`.

use std::path::PathBuf;

use aop_core::{Digest, Settings};
use clap::{Args, Subcommand};

use super::HostArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// List every agent with its state, also those that failed to load
    #[command(
        after_help = "Example:\n  aop agent list --json | jq '.agents[] | select(.state == \"ERROR\")'"
    )]
    List(AgentListArgs),
    /// Show one agent: tools, revisions, figures, and why it failed to load
    #[command(after_help = "Example:\n  aop agent show textkit")]
    Show(AgentNameArgs),
    /// Load a component as a new agent, or as a new revision of one
    #[command(
        after_help = "Examples:\n  aop agent load textkit.wasm\n  aop agent load build/out.wasm --name textkit --settings textkit.toml\n  aop agent load https://example.com/textkit.wasm --digest sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n  aop agent load oci://ghcr.io/acme/textkit:1.2@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n  aop agent load textkit.wasm --replicas 3"
    )]
    Load(AgentLoadArgs),
    /// Remove an agent that was loaded through the API
    #[command(after_help = "Example:\n  aop agent unload textkit")]
    Unload(AgentNameArgs),
    /// Go back to the revision before the one that serves
    #[command(after_help = "Example:\n  aop agent rollback textkit")]
    Rollback(AgentNameArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AgentListArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AgentNameArgs {
    /// The agent
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AgentLoadArgs {
    /// The component: a file, an https URL together with --digest, or an artifact of an OCI registry, oci://HOST/NAME[:TAG]@sha256:…; or settings that name one
    #[arg(value_name = "FILE.wasm | URL | FILE.toml")]
    pub(crate) file: PathBuf,
    /// The component's digest; any other component is refused
    #[arg(long, value_name = "sha256:…")]
    pub(crate) digest: Option<Digest>,
    /// The Sigstore bundle that vouches for the component [default: FILE.wasm.sigstore.json, or what the registry has]
    #[arg(long, value_name = "FILE.json")]
    pub(crate) signature: Option<PathBuf>,
    /// The configuration file, for its registries [default: aop.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The agent's name [default: from the file's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The agent's settings [default: FILE.toml, if there is one]
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) settings: Option<PathBuf>,
    /// On how many nodes of the zone it shall live, as `replicas` in the settings [default: where it is loaded]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(Settings::REPLICAS_MAX)))]
    pub(crate) replicas: Option<u32>,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

//! The arguments of `aop cluster`.

use std::path::PathBuf;
use std::time::Duration;

use aop_core::NodeId;
use aop_core::settings::parse_time;
use clap::{Args, Subcommand};

use super::HostArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show the zone as a host sees it: its nodes, replicas and breakers
    #[command(
        after_help = "Examples:\n  aop cluster status\n  aop cluster status --json | jq '.members[] | select(.state == \"silent\")'"
    )]
    Status(ClusterStatusArgs),
    /// Print a token with which nodes join the zone; makes a zone of a host that is in none
    ///
    /// Whoever has the token can join until it ends or is used up. It names the zone, so that whoever
    /// joins with it cannot be lured into another one.
    #[command(
        after_help = "Examples:\n  aop serve --listen 127.0.0.1:8001 --data ./second --token $(aop cluster join-token)\n  aop cluster join-token --uses 10 --lifetime 24h"
    )]
    JoinToken(JoinTokenArgs),
    /// Take a node out of the zone for good, because its key may be in the wrong hands
    ///
    /// Every other node cuts its connections with it and refuses its certificate within seconds. The
    /// machine comes back as a new node, with a new join token.
    #[command(
        after_help = "Example:\n  aop cluster evict 7be01c22d90f4c1e8a6f03d5\n\nIds are in `aop cluster status`."
    )]
    Evict(EvictArgs),
    /// Give the zone a new key
    ///
    /// Live nodes renew their certificates within seconds. Those of the old key count for --overlap more, for
    /// nodes that are away; who is away for longer joins again with a token. Other nodes that hold the
    /// key need the new one: `aop cluster ca export` and `import`. Join tokens that were made before are void.
    #[command(
        after_help = "Examples:\n  aop cluster rotate-key\n  aop cluster rotate-key --overlap 1m    # the old key was stolen"
    )]
    RotateKey(RotateKeyArgs),
    /// Back up the zone's key, or give it to further nodes
    #[command(subcommand)]
    Ca(CaCommand),
}

#[derive(Debug, Args)]
pub(crate) struct ClusterStatusArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct JoinTokenArgs {
    /// How long it can be used, at most 7 days
    #[arg(long, value_name = "DURATION", value_parser = parse_time, default_value = "1h")]
    pub(crate) lifetime: Duration,
    /// How many nodes it lets in, at most 200
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) uses: u32,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EvictArgs {
    /// The node's id
    #[arg(value_name = "NODE")]
    pub(crate) node: NodeId,
    /// Also when this node does not know it now, because it left or was away for long
    #[arg(long)]
    pub(crate) absent: bool,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RotateKeyArgs {
    /// How long certificates of the old key still count, 30 s to 90 days
    #[arg(long, value_name = "DURATION", value_parser = parse_time, default_value = "24h")]
    pub(crate) overlap: Duration,
    /// Also while an earlier key still counts, which then ends with this overlap: for a key in the wrong hands
    #[arg(long)]
    pub(crate) again: bool,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Write the zone's key and certificate to a file that only you can read
    ///
    /// Whoever has the file can make members of the zone: keep it where your other keys are.
    #[command(
        after_help = "Examples:\n  aop cluster ca export zone.pem\n  aop cluster ca export zone.pem --data /var/lib/aop"
    )]
    Export(CaFileArgs),
    /// Give a node the zone's key, so that it can let others in; a running host uses it at once
    ///
    /// Into an empty data directory, it makes the first node of a zone whose nodes are all lost.
    #[command(after_help = "Example:\n  aop cluster ca import zone.pem --data /var/lib/aop")]
    Import(CaFileArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CaFileArgs {
    /// The file; `export` refuses to replace one
    #[arg(value_name = "FILE.pem")]
    pub(crate) file: PathBuf,
    /// The host's data directory [default: the platform's data directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

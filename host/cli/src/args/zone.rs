//! The command line of federation.

use std::path::PathBuf;

use aop_cluster::federation::key::Thumbprint;
use aop_cluster::federation::record::Endpoint;
use aop_cluster::federation::{ZoneName, book::Relation};
use clap::{Args, Subcommand};

use super::HostArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum ZoneCommand {
    Keygen(KeygenArgs),
    Keys(ZoneKeysArgs),
    Retire(RetireArgs),
    Delegate(DelegateArgs),
    Peer(PeerArgs),
    Forget(ForgetArgs),
    Status(ZoneStatusArgs),
    Resolve(ResolveArgs),
}

/// Where a zone's keys and peers are kept.
#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// The configuration file of the host [default: aop.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The host's data directory [default: the configuration's, else the platform's]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// Make a key with which the zone signs what it says.
///
/// The key stays in the data directory, readable by its owner only, and is never printed. With a key there already, the
/// new one signs from now on and the old one vouches for it; once others have learnt it (twice the zone's ttl), retire
/// the old one. A running host notices by itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop zone keygen
  aop zone keygen --data /var/lib/aop --json")]
pub(crate) struct KeygenArgs {
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// List the zone's keys by their thumbprints, the oldest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop zone keys
  aop zone keys --json")]
pub(crate) struct ZoneKeysArgs {
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Remove a key that the zone has replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  aop zone retire kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")]
pub(crate) struct RetireArgs {
    /// The key's thumbprint, as `aop zone keys` prints it
    // One of 64 begins with a hyphen.
    #[arg(allow_hyphen_values = true)]
    pub(crate) thumbprint: Thumbprint,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How another zone is known.
#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// The key that the zone must have, by its thumbprint; ask its operator. Without it, the zone's own word is taken
    // One of 64 begins with a hyphen.
    #[arg(long, value_name = "THUMBPRINT", allow_hyphen_values = true)]
    pub(crate) key: Option<Thumbprint>,
    /// A file with the token that the zone gave to this one
    #[arg(long, value_name = "FILE")]
    pub(crate) token: Option<PathBuf>,
    /// Make a token with which the zone calls this one, and write it to a file that is not there yet
    #[arg(long, value_name = "FILE")]
    pub(crate) issue_token: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Vouch for a zone below this one: its key is pinned, and others are referred to it.
///
/// Say it again to change something. A running host notices by itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop zone delegate eu.acme.example --issue-token eu.token
  aop zone delegate eu.acme.example --at http://10.1.0.7:8000 --key kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k
  aop zone delegate lab.acme.example --attached --key kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")]
pub(crate) struct DelegateArgs {
    /// The zone below
    pub(crate) child: ZoneName,
    /// The URL at which it answers [default: https:// and its name]
    #[arg(long, value_name = "URL", value_parser = zone_url)]
    pub(crate) at: Option<String>,
    /// The zone cannot be reached: it keeps a connection to this one (`reach = "parent"` in its `[zone]`)
    #[arg(long, conflicts_with = "at", requires = "key")]
    pub(crate) attached: bool,
    #[command(flatten)]
    pub(crate) pin: PinArgs,
}

/// Pin the key of the zone above, or of another zone to begin with.
///
/// Names are looked up from the longest pinned zone that contains them. A running host notices by itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop zone peer --parent https://acme.example --token eu.token
  aop zone peer --anchor https://root.example --key kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")]
pub(crate) struct PeerArgs {
    /// The URL of the zone above
    #[arg(
        long,
        value_name = "URL",
        value_parser = zone_url,
        required_unless_present = "anchor",
        conflicts_with = "anchor"
    )]
    pub(crate) parent: Option<String>,
    /// The URL of any other zone: one further up, or another organisation's
    #[arg(long, value_name = "URL", value_parser = zone_url)]
    pub(crate) anchor: Option<String>,
    #[command(flatten)]
    pub(crate) pin: PinArgs,
}

/// Where a zone answers: what a record of it may hold.
fn zone_url(text: &str) -> Result<String, String> {
    match Endpoint::new(text) {
        Ok(endpoint) => Ok(endpoint.url),
        Err(_) => Err("write it like `https://eu.acme.example`, without user or query".to_owned()),
    }
}

impl PeerArgs {
    pub(crate) fn at(&self) -> (&str, Relation) {
        match (&self.parent, &self.anchor) {
            (Some(url), _) => (url, Relation::Parent),
            (None, url) => (url.as_deref().unwrap_or_default(), Relation::Other),
        }
    }
}

/// Forget a zone: its key, its tokens, and its delegation.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  aop zone forget eu.acme.example")]
pub(crate) struct ForgetArgs {
    /// The zone
    pub(crate) zone: ZoneName,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show the zone of a running host: its keys, the zones it knows, what it exports, how its cache does.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop zone status
  aop zone status --json --url http://127.0.0.1:9000")]
pub(crate) struct ZoneStatusArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Find who has a name, as a running host does.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop zone resolve textkit.eu.acme.example
  aop zone resolve textkit_summarize.eu.acme.example --trace
  aop zone resolve eu.acme.example --json")]
pub(crate) struct ResolveArgs {
    /// The full name of an agent, a tool or a zone
    pub(crate) name: String,
    /// Show every step: caches, referrals, signatures, times
    #[arg(long)]
    pub(crate) trace: bool,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Search the tools of a running host, or of other zones.
///
/// With --zone, that zone and those below it are searched; zones that do not answer are named, and the rest is shown.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop discover 'summarise a text'
  aop discover 'summarise a text' --zone acme.example
  aop discover translate --zone acme.example --zone globex.example --json")]
pub(crate) struct DiscoverArgs {
    /// Words that describe the task
    #[arg(default_value = "")]
    pub(crate) query: String,
    /// A zone to search, with those below it; may be given several times
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Vec<ZoneName>,
    /// At most this many tools of each zone
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

//! `aop cluster status|join-token|evict|rotate-key|ca export|ca import`

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aop_cluster::durable;
use aop_cluster::membership::{IdentityDirectory, MembershipError};
use aop_core::NodeId;
use aop_core::cluster::{
    BreakerStatus, CatalogueStatus, ClusterStatus, EvictRequest, EvictedNode, JoinTokenRequest,
    MemberStatus, ReplicaStatus, RotateKeyRequest, ServerStatus,
};
use reqwest::StatusCode;
use serde::Serialize;
use serde_json::json;

use crate::args::{
    CaCommand, CaFileArgs, ClusterCommand, ClusterStatusArgs, EvictArgs, JoinTokenArgs,
    RotateKeyArgs,
};
use crate::client::{Client, status_of};
use crate::config::platform_data_directory;
use crate::exit::{CommandError, CommandResult, failure, misuse, usage};
use crate::output;

pub(crate) async fn run(command: &ClusterCommand) -> CommandResult {
    match command {
        ClusterCommand::Status(args) => status(args).await,
        ClusterCommand::JoinToken(args) => join_token(args).await,
        ClusterCommand::Evict(args) => evict(args).await,
        ClusterCommand::RotateKey(args) => rotate_key(args).await,
        ClusterCommand::Ca(CaCommand::Export(args)) => export(args),
        ClusterCommand::Ca(CaCommand::Import(args)) => import(args),
    }
}

async fn status(args: &ClusterStatusArgs) -> CommandResult {
    let (status, servers) = standing(&Client::of(&args.host)?).await?;
    if args.json {
        let zone = status.as_ref();
        return output::json(&WithServers { zone, servers: &servers });
    }
    if let Some(status) = &status {
        zone(status)?;
    }
    if !servers.is_empty() {
        let gap = if status.is_some() { "\n" } else { "" };
        output::line(format_args!("{gap}{}", servers_table(&servers)))?;
        for ServerStatus { name, notes, .. } in &servers {
            notes.iter().for_each(|note| {
                output::note(format_args!("note: server {name}: {}", output::printable(note)));
            });
        }
    }
    Ok(())
}

/// The zone, if the host is in one, and the servers that it mounts. What it refuses to tell is an error, and not nothing.
async fn standing(
    client: &Client,
) -> Result<(Option<ClusterStatus>, Vec<ServerStatus>), CommandError> {
    let servers = match client.servers().await {
        // A host of the release before this one mounts nothing.
        Err(error) if status_of(&error) == Some(StatusCode::NOT_FOUND) => Vec::new(),
        servers => servers?,
    };
    let status = match client.cluster().await {
        // A host in no zone can mount servers, too.
        Err(error) if status_of(&error) == Some(StatusCode::CONFLICT) && !servers.is_empty() => {
            None
        }
        status => Some(status?),
    };
    Ok((status, servers))
}

/// The zone, if there is one, with the servers beside its members.
#[derive(Serialize)]
struct WithServers<'a> {
    #[serde(flatten)]
    zone: Option<&'a ClusterStatus>,
    servers: &'a [ServerStatus],
}

fn servers_table(servers: &[ServerStatus]) -> String {
    let seconds = |ms: u64| format!("{} s", ms / 1000);
    output::table(
        ["SERVER", "STATE", "SINCE", "PLACE", "TOOLS", "CALLS", "SPEAKS", "WHY"],
        servers.iter().map(|server| {
            let why = server.error.as_deref().map(|error| match server.retry_in_ms {
                Some(ms) => format!("{error}; tried again in {}", seconds(ms)),
                None => error.to_owned(),
            });
            [
                server.name.to_string(),
                server.state.as_str().to_owned(),
                seconds(server.for_ms),
                output::printable(&server.place).into_owned(),
                server.tools.to_string(),
                server.calls_running.to_string(),
                output::printable(server.protocol.as_deref().unwrap_or("-")).into_owned(),
                output::printable(why.as_deref().unwrap_or("-")).into_owned(),
            ]
        }),
    )
}

fn zone(status: &ClusterStatus) -> CommandResult {
    output::line(facts(status))?;
    output::line(format_args!("\n{}", members_table(status)))?;
    if !status.replicas.is_empty() {
        output::line(format_args!("\n{}", replicas_table(&status.replicas)))?;
    }
    if !status.breakers.is_empty() {
        output::line(format_args!("\n{}", breakers_table(&status.breakers)))?;
    }
    if !status.evicted.is_empty() {
        output::line(format_args!("\n{}", evicted_table(&status.evicted)))?;
    }
    if status.evicted.iter().any(|evicted| evicted.node == status.node) {
        output::note(
            "warning: this node was evicted from the zone: start it with a new join token to come back as a new node",
        );
    }
    if let Some(partition) = &status.partition {
        output::note(format_args!(
            "warning: {} nodes fell silent together {} s ago: the network to them may be cut",
            partition.silent.len(),
            partition.for_ms / 1000
        ));
    }
    Ok(())
}

fn facts(status: &ClusterStatus) -> String {
    let certificate = match status.certificate_ends_in_s {
        0 => "counts for no other node: start this host again with `--token` and what `aop cluster join-token` prints on a node of the zone".to_owned(),
        seconds => format!("renews itself, {} h left", seconds / 3600),
    };
    let mut lines = vec![
        ("zone", status.zone.clone()),
        ("node", status.node.to_string()),
        ("endpoint", status.endpoint.to_string()),
        ("registry", status.registry_digest.to_string()),
        ("certificate", certificate),
    ];
    if let Some(seconds) = status.key_retires_in_s {
        lines.push(("key", format!("rotated; the one before counts for {seconds} s more")));
    }
    if let Some(quotas) = status.quotas.as_ref().filter(|quotas| quotas.reach_permille < 1000) {
        let percent = quotas.reach_permille / 10;
        let silent: Vec<_> = quotas.silent.iter().map(ToString::to_string).collect();
        let why = match silent.as_slice() {
            [] => "this node has not heard the others for long enough".to_owned(),
            silent => format!(
                "kept for silent nodes, in case they live: {}; `aop cluster evict` gives on what one that is gone had",
                silent.join(" ")
            ),
        };
        lines.push(("quotas", format!("{percent} % here and at nodes that are heard; {why}")));
    }
    let line = |(name, value): &(&str, String)| format!("{name:<12} {}", output::printable(value));
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What there is to say of a member beside its numbers.
fn marks(member: &MemberStatus, this: &NodeId) -> String {
    let mut marks = Vec::new();
    if member.node == *this {
        marks.push("this".to_owned());
    }
    if member.holds_authority {
        marks.push("authority".to_owned());
    }
    if !member.doubled.is_empty() {
        let at: Vec<_> = member.doubled.iter().map(ToString::to_string).collect();
        marks.push(format!(
            "LIVES MORE THAN ONCE, at {}: its data directory was copied",
            at.join(" ")
        ));
    }
    let labels = member.labels.iter().map(|(name, value)| format!("{name}={value}"));
    marks.extend(labels.map(|label| output::printable(&label).into_owned()));
    marks.join(" ")
}

fn members_table(status: &ClusterStatus) -> String {
    let row = |member: &MemberStatus| {
        [
            member.node.to_string(),
            member.state.as_str().to_owned(),
            member.endpoint.to_string(),
            format!("{} %", member.load_percent),
            member.capacity.to_string(),
            format!("{:.1} s", Duration::from_millis(member.lag_ms).as_secs_f64()),
            catalogue(member.catalogue.as_ref()),
            marks(member, &status.node),
        ]
    };
    output::table(
        ["NODE", "STATE", "ENDPOINT", "LOAD", "CAPACITY", "LAG", "CATALOGUE", "NOTES"],
        status.members.iter().map(row),
    )
}

fn catalogue(catalogue: Option<&CatalogueStatus>) -> String {
    match catalogue {
        None => "-".to_owned(),
        Some(CatalogueStatus { serial, fetched: false, .. }) => format!("#{serial}, on its way"),
        Some(CatalogueStatus { serial, agents, .. }) => format!("#{serial}, {agents} agents"),
    }
}

fn replicas_table(replicas: &[ReplicaStatus]) -> String {
    output::table(
        ["AGENT", "REVISION", "REPLICAS", "NODES"],
        replicas.iter().map(|replica| {
            let wanted = replica.wanted.map_or_else(|| "-".to_owned(), |count| count.to_string());
            let nodes: Vec<_> = replica.nodes.iter().map(ToString::to_string).collect();
            [
                replica.agent.to_string(),
                replica.revision.to_string(),
                format!("{}/{wanted}", replica.nodes.len()),
                nodes.join(" "),
            ]
        }),
    )
}

fn breakers_table(breakers: &[BreakerStatus]) -> String {
    output::table(
        ["BREAKER OF NODE", "TOOL", "STATE"],
        breakers.iter().map(|breaker| {
            [
                breaker.node.to_string(),
                output::printable(&breaker.tool).into_owned(),
                output::printable(&breaker.state).into_owned(),
            ]
        }),
    )
}

fn evicted_table(evicted: &[EvictedNode]) -> String {
    output::table(
        ["EVICTED", "BY", "AGO"],
        evicted.iter().map(|evicted| {
            let at = UNIX_EPOCH + Duration::from_secs(evicted.at_unix_s);
            let hours = SystemTime::now().duration_since(at).unwrap_or_default().as_secs() / 3600;
            [evicted.node.to_string(), evicted.by.to_string(), format!("{hours} h")]
        }),
    )
}

async fn evict(args: &EvictArgs) -> CommandResult {
    let request = EvictRequest { node: args.node.clone(), absent: args.absent };
    let report = Client::of(&args.host)?.evict(&request).await?;
    if args.json {
        return output::json(&report);
    }
    let node = &report.node;
    if report.is_new {
        output::line(format_args!("evicted {node}"))?;
    } else {
        output::line(format_args!("{node} was evicted before"))?;
    }
    if !report.was_member {
        output::note(format_args!("note: {node} is no live member; if it comes, it is refused"));
    }
    if report.held_authority {
        output::note(
            "warning: it held the zone's key, with which it can make new members: run `aop cluster rotate-key --again --overlap 1m`",
        );
    }
    Ok(())
}

async fn rotate_key(args: &RotateKeyArgs) -> CommandResult {
    let (overlap, bounds) = (args.overlap, RotateKeyRequest::OVERLAP);
    if !bounds.contains(&overlap) {
        return Err(misuse("--overlap must be 30s to 90days: nodes need time to renew"));
    }
    let request = RotateKeyRequest { overlap_s: overlap.as_secs(), again: args.again };
    let rotation = Client::of(&args.host)?.rotate_cluster_key(&request).await?;
    if args.json {
        return output::json(&rotation);
    }
    output::line(format_args!(
        "{} has a new key; the one before counts for {} s more",
        output::printable(&rotation.zone),
        overlap.as_secs()
    ))?;
    output::note(
        "back it up with `aop cluster ca export`, and give it to the other nodes that should hold it; join tokens that were made before are void",
    );
    Ok(())
}

async fn join_token(args: &JoinTokenArgs) -> CommandResult {
    let request = JoinTokenRequest { lifetime_s: args.lifetime.as_secs(), uses: args.uses };
    if !(1..=JoinTokenRequest::LIFETIME_MAX.as_secs()).contains(&request.lifetime_s) {
        return Err(misuse("--lifetime must be 1s to 7days: make another token when it has ended"));
    }
    if !(1..=JoinTokenRequest::USES_MAX).contains(&request.uses) {
        return Err(misuse(format!("--uses must be 1 to {}", JoinTokenRequest::USES_MAX)));
    }
    let grant = Client::of(&args.host)?.join_token(&request).await?;
    if args.json {
        return output::json(&grant);
    }
    output::line(&grant.token)?;
    output::note(format_args!(
        "join {} with: aop serve --join {} --token TOKEN",
        output::printable(&grant.zone),
        grant.endpoint
    ));
    Ok(())
}

fn identity(data: Option<&Path>) -> Result<IdentityDirectory, CommandError> {
    let data = data.map_or_else(platform_data_directory, |data| Ok(PathBuf::from(data)))?;
    Ok(IdentityDirectory::of_data(&data))
}

fn export(args: &CaFileArgs) -> CommandResult {
    let pem = identity(args.data.as_deref())?.export_authority().map_err(|error| match error {
        MembershipError::NoAuthority => failure(
            "this data directory does not have the zone's key: name that of a node that holds it with --data (see `authority` in `aop cluster status`)",
        ),
        error => failure(error.to_string()),
    })?;
    write_new(&args.file, &pem)?;
    let file = args.file.display().to_string();
    if args.json {
        return output::json(&json!({ "exported": file }));
    }
    output::line(format_args!("wrote {file}: whoever has it can make members of the zone"))?;
    Ok(())
}

/// Writes a file that did not exist, for its owner alone.
fn write_new(path: &Path, text: &str) -> CommandResult {
    durable::write_new(path, text.as_bytes()).map_err(|error| {
        usage(anyhow::anyhow!(
            "cannot write {}: {error}: name a file that does not exist",
            path.display()
        ))
    })
}

fn import(args: &CaFileArgs) -> CommandResult {
    let zone =
        identity(args.data.as_deref())?.import_authority(&args.file).map_err(
            |error| match error {
                MembershipError::File { .. } | MembershipError::Exposed(_) => usage(error),
                error => failure(error.to_string()),
            },
        )?;
    if args.json {
        return output::json(&json!({ "imported": zone.to_string() }));
    }
    output::line(format_args!("this host can now let nodes into {zone}"))?;
    Ok(())
}

#[cfg(test)]
mod tests;

//! `aop cluster status|join-token|ca export|ca import`

use std::path::{Path, PathBuf};

use aop_cluster::durable;
use aop_cluster::membership::{IdentityDirectory, MembershipError};
use aop_core::cluster::{
    BreakerStatus, CatalogueStatus, ClusterStatus, JoinTokenRequest, MemberStatus, ReplicaStatus,
};
use serde_json::json;

use crate::args::{CaCommand, CaFileArgs, ClusterCommand, ClusterStatusArgs, JoinTokenArgs};
use crate::client::Client;
use crate::config::platform_data_directory;
use crate::exit::{CommandError, CommandResult, failure, misuse, usage};
use crate::output;

pub(crate) async fn run(command: &ClusterCommand) -> CommandResult {
    match command {
        ClusterCommand::Status(args) => status(args).await,
        ClusterCommand::JoinToken(args) => join_token(args).await,
        ClusterCommand::Ca(CaCommand::Export(args)) => export(args),
        ClusterCommand::Ca(CaCommand::Import(args)) => import(args),
    }
}

async fn status(args: &ClusterStatusArgs) -> CommandResult {
    let status = Client::of(&args.host)?.cluster().await?;
    if args.json {
        return output::json(&status);
    }
    output::line(facts(&status))?;
    output::line(format_args!("\n{}", members_table(&status)))?;
    if !status.replicas.is_empty() {
        output::line(format_args!("\n{}", replicas_table(&status.replicas)))?;
    }
    if !status.breakers.is_empty() {
        output::line(format_args!("\n{}", breakers_table(&status.breakers)))?;
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
    let hours = status.certificate_ends_in_s / 3600;
    let lines = [
        ("zone", status.zone.clone()),
        ("node", status.node.to_string()),
        ("endpoint", status.endpoint.to_string()),
        ("registry", status.registry_digest.to_string()),
        ("certificate", format!("renews itself, {hours} h left")),
    ];
    let line = |(name, value): &(&str, String)| format!("{name:<12} {}", output::printable(value));
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn members_table(status: &ClusterStatus) -> String {
    let row = |member: &MemberStatus| {
        let mut marks = Vec::new();
        if member.node == status.node {
            marks.push("this".to_owned());
        }
        if member.holds_authority {
            marks.push("authority".to_owned());
        }
        let labels = member.labels.iter().map(|(name, value)| format!("{name}={value}"));
        marks.extend(labels.map(|label| output::printable(&label).into_owned()));
        [
            member.node.to_string(),
            member.state.as_str().to_owned(),
            member.endpoint.to_string(),
            format!("{} %", member.load_percent),
            member.capacity.to_string(),
            format!("{:.1} s", std::time::Duration::from_millis(member.lag_ms).as_secs_f64()),
            catalogue(member.catalogue.as_ref()),
            marks.join(" "),
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

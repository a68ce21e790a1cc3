//! `aop agent list|show|load|unload|rollback`

mod source;

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use aop_core::cluster::ClusterStatus;
use aop_core::interface::Refusal;
use aop_core::supply::Provenance;
use aop_core::{AgentName, AgentStatus, Origin, RevisionStatus, Settings, Source};
use serde_json::{Map, Value};

use crate::args::{AgentCommand, AgentListArgs, AgentLoadArgs, AgentNameArgs};
use crate::client::{Client, QuotaUse};
use crate::exit::{CommandError, CommandResult, misuse, usage};
use crate::{arguments, local, output};
use source::{Component, Meant};

pub(crate) async fn run(command: &AgentCommand) -> CommandResult {
    match command {
        AgentCommand::List(args) => list(args).await,
        AgentCommand::Show(args) => show(args).await,
        AgentCommand::Load(args) => load(args).await,
        AgentCommand::Unload(args) => unload(args).await,
        AgentCommand::Rollback(args) => roll_back(args).await,
    }
}

async fn list(args: &AgentListArgs) -> CommandResult {
    let agents = Client::of(&args.host)?.agents().await?;
    if args.json {
        return output::json(&agents);
    }
    output::line(agents_table(&agents.agents))?;
    for agent in &agents.agents {
        if let Some(error) = &agent.error {
            output::note(format_args!("{}: {}", agent.name, output::printable(error)));
        }
    }
    Ok(())
}

fn agents_table(agents: &[AgentStatus]) -> String {
    output::table(
        ["AGENT", "STATE", "REVISION", "TOOLS", "RUNNING", "SOURCE"],
        agents.iter().map(|agent| {
            [
                agent.name.to_string(),
                agent.state.as_str().to_owned(),
                agent.revision.map_or_else(|| "-".to_owned(), |number| number.to_string()),
                agent.tools.len().to_string(),
                format!("{}/{}", agent.in_flight, agent.concurrency),
                source(agent),
            ]
        }),
    )
}

fn source(agent: &AgentStatus) -> String {
    let mut text = match &agent.origin {
        Origin::File { path } => path.display().to_string(),
        Origin::Api => "API".to_owned(),
        Origin::Elsewhere { source, places } => elsewhere(source, places),
    };
    if agent.pinned {
        text.push_str(" (pinned)");
    }
    text
}

fn elsewhere(source: &Source, places: &[String]) -> String {
    match source {
        Source::Nodes => format!("on {}", places.join(", ")),
        Source::Tenant(tenant) => format!("shared by {tenant}"),
        Source::Server(name) => format!("server {name}"),
        Source::Zone(zone) => format!("zone {zone}"),
    }
}

async fn show(args: &AgentNameArgs) -> CommandResult {
    let details = Client::of(&args.host)?.agent(&args.name).await?;
    if args.json {
        return output::json(&details);
    }
    output::line(facts(&details.agent))?;
    output::line(format_args!("\n{}", revisions_table(&details.revisions)))?;
    output::line(format_args!("\n{}", figures_table(&details.stats)))?;
    output::line(format_args!("\n{}", quotas_table(&details.quotas)))?;
    Ok(())
}

fn facts(agent: &AgentStatus) -> String {
    let mut lines = vec![
        ("agent", agent.name.to_string()),
        ("id", agent.id.map_or_else(|| "-".to_owned(), |id| id.to_string())),
        ("state", agent.state.as_str().to_owned()),
        ("source", source(agent)),
        ("digest", agent.digest.map_or_else(|| "-".to_owned(), |digest| digest.to_string())),
        (
            "description",
            if agent.description.is_empty() { "-".to_owned() } else { agent.description.clone() },
        ),
        ("running", format!("{} of at most {}", agent.in_flight, agent.concurrency)),
    ];
    lines.extend(agent.component.iter().map(|component| {
        ("component", format!("{component} (as whoever loaded it says; the digest is what runs)"))
    }));
    lines.extend(agent.provenance.iter().flat_map(provenance));
    lines.extend(agent.error.iter().map(|error| ("error", error.clone())));
    lines.extend(agent.warnings.iter().map(|warning| ("warning", warning.clone())));
    lines.extend(agent.tools.iter().map(|tool| ("tool", tool.to_string())));
    lines.extend(
        agent
            .refused
            .iter()
            .map(|refusal| ("refused", format!("{}: {}", refusal.function, refusal.reason))),
    );
    let line = |(name, value): (&str, String)| format!("{name:<12} {}", output::printable(&value));
    lines.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Who signed the component, and from what it was built.
fn provenance(said: &Provenance) -> Vec<(&'static str, String)> {
    let signer = match &said.signer {
        Some(signer) => format!("{signer}: {}", said.identity),
        None => format!("{} (none of the configured signers)", said.identity),
    };
    let mut lines = vec![("signed by", signer), ("known to", said.issuer.clone())];
    let at = said.signed_unix_ms.and_then(|time| u64::try_from(time).ok());
    let at = at.map(|time| UNIX_EPOCH + Duration::from_millis(time));
    lines.extend(at.map(|time| ("signed at", humantime::format_rfc3339_seconds(time).to_string())));
    let built = [
        ("built from", &said.source_repository),
        ("at", &said.source_ref),
        ("commit", &said.source_commit),
        ("workflow", &said.workflow),
        ("run", &said.run),
    ];
    lines.extend(built.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
    lines
}

fn revisions_table(revisions: &[RevisionStatus]) -> String {
    output::table(
        ["REVISION", "DIGEST", "SERVING"],
        revisions.iter().map(|revision| {
            let serving = if revision.serving { "yes" } else { "" };
            [revision.number.to_string(), revision.digest.to_string(), serving.to_owned()]
        }),
    )
}

fn figures_table(stats: &Map<String, Value>) -> String {
    let show = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::Number(number) => match number.as_f64() {
            Some(number) if number.fract() != 0.0 => format!("{number:.3}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    };
    output::table(
        ["FIGURE", "SINCE THE START"],
        stats.iter().map(|(name, value)| [name.clone(), show(value)]),
    )
}

fn quotas_table(quotas: &[QuotaUse]) -> String {
    let show = |number: Option<u64>, none: &str| {
        number.map_or_else(|| none.to_owned(), |number| number.to_string())
    };
    output::table(
        ["QUOTA", "USED", "LIMIT", "REFUSED"],
        quotas.iter().map(|quota| {
            [
                output::printable(&quota.quota).to_string(),
                show(quota.used, "-"),
                show(quota.limit, "none"),
                quota.refused.to_string(),
            ]
        }),
    )
}

async fn load(args: &AgentLoadArgs) -> CommandResult {
    let is_settings = args.file.extension().is_some_and(|extension| extension == "toml")
        && !args.file.to_string_lossy().contains("://");
    let settings = match (is_settings, &args.settings) {
        (true, Some(_)) => {
            return Err(misuse("the settings are given twice: name them, or give --settings"));
        }
        (true, None) => Some((args.file.clone(), arguments::read_file(&args.file)?)),
        (false, named) => local::settings_text(&args.file, named.as_deref())?,
    };
    let stated = match &settings {
        Some((path, text)) => check(path, text)?,
        None => Settings::default(),
    };
    let meant = Meant::of(&args.file, is_settings.then_some(&stated))?;
    let name = match &args.name {
        Some(name) => AgentName::new(name).map_err(usage)?,
        None if is_settings => local::agent_name(&args.file)?,
        None => meant.agent_name()?,
    };
    let mut component = meant.read(args.digest.or(stated.pinned), args.config.as_deref()).await?;
    if let Some(path) = &args.signature {
        component.bundle = Some(arguments::read_file(path)?);
    }
    let settings = settings.map(|(_, text)| text).unwrap_or_default();
    let settings = additions(args, &component, &stated)? + &settings;
    let settings = Some(settings).filter(|text| !text.is_empty());
    let component = component.bytes;
    let client = Client::of(&args.host)?;
    let before = client.cluster().await;
    let agent = client.load_agent(&name, component, settings).await?;
    if args.json {
        return output::json(&agent);
    }
    output::line(agents_table(std::slice::from_ref(&agent)))?;
    for warning in &agent.warnings {
        output::note(format_args!("warning: {}", output::printable(warning)));
    }
    for Refusal { function, reason } in &agent.refused {
        let text = format!("{function} is no tool: {reason}");
        output::note(format_args!("warning: {}", output::printable(&text)));
    }
    if let Some(note) =
        note_of_replicas(&name, args.replicas.or(stated.replicas), before.ok().as_ref())
    {
        output::note(note);
    }
    Ok(())
}

/// What somebody may not expect of the replicas of an agent; nothing when that is not known. `before` is the zone as it was
/// before.
fn note_of_replicas(
    name: &AgentName,
    wanted: Option<u32>,
    before: Option<&ClusterStatus>,
) -> Option<String> {
    match (wanted, before) {
        (Some(wanted), None) if wanted > 1 => Some(format!(
            "note: {wanted} replicas are wanted, and this host is in no zone or does not show it: there is one until others join (`aop cluster status`)"
        )),
        (None, Some(zone)) => {
            let replica = zone.replicas.iter().find(|replica| replica.agent == *name)?;
            let had = replica.wanted.filter(|had| *had > 1)?;
            Some(format!(
                "note: {name} had {had} replicas and lives on this node only from now on: load it with --replicas {had} to keep them"
            ))
        }
        _ => None,
    }
}

/// What the command line and the component's source add to the settings, as lines of TOML for their top, before any
/// table begins.
fn additions(
    args: &AgentLoadArgs,
    component: &Component,
    stated: &Settings,
) -> Result<String, CommandError> {
    let mut lines = String::new();
    match (args.replicas, stated.replicas) {
        (Some(_), Some(stated)) => {
            return Err(misuse(format!(
                "the settings say `replicas = {stated}` already: change it there, or leave --replicas out"
            )));
        }
        (Some(count), None) => lines.push_str(&format!("replicas = {count}\n")),
        (None, _) => {}
    }
    match (&component.reference, &stated.component) {
        (Some(reference), None) => {
            lines.push_str(&format!("component = {}\n", quoted(&reference.to_string())?));
        }
        (Some(pulled), Some(stated))
            if (pulled.host(), pulled.name()) != (stated.host(), stated.name()) =>
        {
            return Err(misuse(format!(
                "the settings say `component = \"{stated}\"`, and this is {pulled}: load the one or change the other"
            )));
        }
        _ => {}
    }
    // What the settings have is more deliberate than what lies beside the component.
    if let Some(bundle) = component.bundle.as_deref().filter(|_| stated.signature.is_none()) {
        lines.push_str(&format!("signature = {}\n", quoted(bundle.trim())?));
    }
    Ok(lines)
}

/// A string of JSON is one of TOML, too.
fn quoted(text: &str) -> Result<String, CommandError> {
    Ok(serde_json::to_string(text)?)
}

fn check(path: &Path, text: &str) -> Result<Settings, CommandError> {
    Settings::from_toml(text).map_err(|mistakes| local::mistaken(path, &mistakes))
}

async fn unload(args: &AgentNameArgs) -> CommandResult {
    Client::of(&args.host)?.unload_agent(&args.name).await?;
    if args.json {
        output::json(&serde_json::json!({ "unloaded": args.name }))
    } else {
        output::line(format_args!("unloaded {}", args.name))?;
        Ok(())
    }
}

async fn roll_back(args: &AgentNameArgs) -> CommandResult {
    let agent = Client::of(&args.host)?.roll_back_agent(&args.name).await?;
    if args.json {
        return output::json(&agent);
    }
    output::line(agents_table(std::slice::from_ref(&agent)))?;
    Ok(())
}

#[cfg(test)]
mod tests;
